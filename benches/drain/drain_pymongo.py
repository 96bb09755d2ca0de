"""As in the tutorials: watches a collection with pymongo and prints each change as JSON."""

import sys

from bson.json_util import dumps
from bson.timestamp import Timestamp
from pymongo import MongoClient

uri, db, coll, time, increment, count = sys.argv[1:]
remaining = int(count)
start = Timestamp(int(time), int(increment))
with MongoClient(uri)[db][coll].watch(start_at_operation_time=start) as stream:
    for change in stream:
        print(dumps(change))
        remaining -= 1
        if remaining == 0:
            break
