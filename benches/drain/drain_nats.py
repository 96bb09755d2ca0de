# The tutorial's loop, with each event published to NATS JetStream.
# Arguments: the connection string, database, collection, the two halves of the start time, the number of events, the URL of NATS.

import asyncio
import sys

import nats
from bson import Timestamp, json_util
from pymongo import AsyncMongoClient

uri, db, coll, time, increment, count, url = sys.argv[1:]


async def main():
    client = AsyncMongoClient(uri)
    nc = await nats.connect(url)
    js = nc.jetstream()
    start = Timestamp(int(time), int(increment))
    stream = await client[db][coll].watch(start_at_operation_time=start)
    for _ in range(int(count)):
        change = await stream.next()
        subject = f"cswatch.{db}.{coll}.{change['operationType']}"
        await js.publish(subject, json_util.dumps(change).encode())
    await nc.close()


asyncio.run(main())
