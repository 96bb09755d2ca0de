"""What the tutorials show: watch a collection with pymongo, print each change as JSON."""

import sys

from bson.json_util import dumps
from bson.timestamp import Timestamp
from pymongo import MongoClient

uri, db, coll, time, increment, count = sys.argv[1:]
left = int(count)
start = Timestamp(int(time), int(increment))
with MongoClient(uri)[db][coll].watch(start_at_operation_time=start) as stream:
    for change in stream:
        print(dumps(change))
        left -= 1
        if left == 0:
            break
