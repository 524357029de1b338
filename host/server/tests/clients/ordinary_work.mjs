import assert from "node:assert/strict";
import { createClient } from "redis";
import Redis from "ioredis";

const port = Number(process.argv[2]);

// node-redis, in its version of the protocol.
const db = createClient({ url: `redis://127.0.0.1:${port}`, name: "worker" });
db.on("error", (error) => { throw error; });
await db.connect();
await db.flushAll();
assert.equal(await db.set("a", "1"), "OK");
assert.equal(await db.incrBy("a", 5), 6);
assert.deepEqual(await db.mGet(["a", "none"]), ["6", null]);
assert.deepEqual(await db.multi().set("b", "x").get("b").exec(), ["OK", "x"]);
await Promise.all(Array.from({ length: 500 }, (_, number) => db.set(`key:${number}`, "x")));
const found = new Set();
for await (const keys of db.scanIterator({ MATCH: "key:*" })) {
  for (const key of [keys].flat()) found.add(key);
}
assert.equal(found.size, 500);
const listener = db.duplicate();
await listener.connect();
const heard = new Promise((resolve) => listener.subscribe("news", resolve).then(() => db.publish("news", "hello")));
assert.equal(await heard, "hello");
await listener.close();
assert.match(await db.info(), /redis_version:7/);
assert.equal((await db.configGet("maxclients")).maxclients, "1000");
await assert.rejects(db.sendCommand(["BOGUS"]), /^Error: ERR unknown command 'BOGUS'/);
await db.close();

// ioredis, which waits until INFO tells that the service is ready.
const other = new Redis({ port });
assert.equal(await other.get("a"), "6");
assert.deepEqual(await other.pipeline().incr("a").get("a").exec(), [[null, 7], [null, "7"]]);
assert.deepEqual(await other.multi().del("a").exec(), [[null, 1]]);
assert.equal(await other.setex("short", 100, "v"), "OK");
assert.ok((await other.ttl("short")) > 90);
await other.quit();
console.log("done");
