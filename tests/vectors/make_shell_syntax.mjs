// Writes shell_syntax.jsonl: the filters of shell_syntax_inputs.json, and what mongosh sends to the server for each.
//
//     npm install mongosh@2.12.0 bson@7
//     node PATH/make_shell_syntax.mjs mongodb://127.0.0.1:27017 > PATH/shell_syntax.jsonl
//
// mongosh runs `db.c.find(FILTER)` for each filter through a proxy, which records the filter of the command as it is on the wire. Each line
// has the filter as typed (`shell`), and either the BSON sent in hex (`bson`) with its canonical Extended JSON for readers (`sent`), or the
// error of mongosh (`error`).

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRequire } from 'node:module';

// Packages are those of the current directory, not of the directory of this script.
const require = createRequire(join(process.cwd(), 'package.json'));
const { deserialize, EJSON } = require('bson');

const filters = JSON.parse(readFileSync(new URL('shell_syntax_inputs.json', import.meta.url), 'utf8'));
const server = new URL(process.argv[2].replace(/^mongodb:/, 'http:'));
const sent = new Map();

/** Records the filters of the `find` commands in a stream of messages from the client. */
function recorder() {
  let pending = Buffer.alloc(0);
  return (data) => {
    pending = Buffer.concat([pending, data]);
    while (pending.length >= 4 && pending.length >= pending.readInt32LE(0)) {
      const message = pending.subarray(0, pending.readInt32LE(0));
      pending = pending.subarray(message.length);
      // OP_MSG with a body as its first section.
      if (message.readInt32LE(12) !== 2013 || message[20] !== 0) continue;
      const body = message.subarray(21, 21 + message.readInt32LE(21));
      const command = deserialize(body);
      if (command.find === 'c') sent.set(Number(command.comment), filterOf(body));
    }
  };
}

/** Returns the bytes of the field `filter` of a command. */
function filterOf(body) {
  // The key, preceded by the type of a document.
  const at = body.indexOf(Buffer.from('\x03filter\0', 'latin1')) + 8;
  return body.subarray(at, at + body.readInt32LE(at));
}

const proxy = net.createServer((client) => {
  const upstream = net.connect(Number(server.port || 27017), server.hostname);
  client.on('data', recorder());
  client.pipe(upstream).pipe(client);
  for (const socket of [client, upstream]) socket.on('error', () => {});
});
await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));

const folder = mkdtempSync(join(tmpdir(), 'filters-'));
const script = join(folder, 'filters.js');
const results = join(folder, 'errors.json');
writeFileSync(
  script,
  `const errors = {};
   ${JSON.stringify(filters)}.forEach((text, index) => {
     let filter;
     try { filter = new Function('return (' + text + '\\n)')(); } catch (error) { errors[index] = String(error.message); return; }
     try { db.c.find(filter).comment(String(index)).toArray(); } catch (error) { errors[index] = String(error.message); }
   });
   fs.writeFileSync(${JSON.stringify(results)}, JSON.stringify(errors));`,
);
const uri = `mongodb://127.0.0.1:${proxy.address().port}/test?directConnection=true`;
await new Promise((resolve) => {
  const shell = spawn('node_modules/.bin/mongosh', ['--quiet', uri, '--file', script], {
    stdio: ['ignore', process.stderr, process.stderr],
    env: { ...process.env, TZ: 'UTC' },
  });
  shell.on('exit', resolve);
});
proxy.close();
const errors = JSON.parse(readFileSync(results, 'utf8'));
rmSync(folder, { recursive: true });
for (const [index, shell] of filters.entries()) {
  const bson = sent.get(index);
  const line = bson
    ? {
        shell,
        bson: bson.toString('hex'),
        sent: EJSON.serialize(deserialize(bson, { promoteValues: false, bsonRegExp: true }), { relaxed: false }),
      }
    : { shell, error: errors[index] };
  console.log(JSON.stringify(line));
}
process.exit(0);
