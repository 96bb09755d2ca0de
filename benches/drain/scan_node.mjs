// As in the tutorials: prints the documents of a collection as Extended JSON with the Node driver.

import { EJSON } from "bson";
import { MongoClient } from "mongodb";

const [uri, db, coll] = process.argv.slice(2);
const client = new MongoClient(uri);
for await (const document of client.db(db).collection(coll).find()) {
  console.log(EJSON.stringify(document));
}
await client.close();
