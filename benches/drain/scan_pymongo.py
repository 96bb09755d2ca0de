"""As in the tutorials: prints the documents of a collection as JSON with pymongo."""

import sys

from bson.json_util import dumps
from pymongo import MongoClient

uri, db, coll = sys.argv[1:]
for document in MongoClient(uri)[db][coll].find():
    print(dumps(document))
