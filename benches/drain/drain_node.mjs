// As in the tutorials: watches a collection with the Node driver and prints each change as Extended JSON.

import { EJSON } from "bson";
import { MongoClient, Timestamp } from "mongodb";

const [uri, db, coll, time, increment, count] = process.argv.slice(2);
const client = new MongoClient(uri);
const startAtOperationTime = new Timestamp({ t: Number(time), i: Number(increment) });
let remaining = Number(count);
for await (const change of client.db(db).collection(coll).watch([], { startAtOperationTime })) {
  console.log(EJSON.stringify(change));
  remaining -= 1;
  if (remaining === 0) {
    break;
  }
}
await client.close();
