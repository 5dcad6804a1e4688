// Reads as an application does, once and again at each line of input: reading.mjs CLIENT PROGRAM
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [client, program] = process.argv.slice(2);

// The programs renew their token every ten minutes: here, when there is a new one.
const { setInterval } = globalThis;
const password = () => readFileSync(process.env.PASSWORD_FILE, "utf-8");
let known = password();
globalThis.setInterval = (call, wait, ...rest) => {
  if (wait !== 600_000) return setInterval(call, wait, ...rest);
  return setInterval(() => {
    if (password() === known) return;
    known = password();
    call();
  }, 50);
};

const { cache } = await import(pathToFileURL(program));
const days = "orders:{c1}:%%";

const reads = {
  async ioredis() {
    return [await cache.get("users:7"), await cache.hgetall("hash:7"), await cache.zrange(days, "-", "+", "BYLEX", "LIMIT", 0, 2)];
  },
  async "node-redis"() {
    const range = { BY: "LEX", LIMIT: { offset: 0, count: 2 } };
    return [await cache.get("users:7"), await cache.hGetAll("hash:7"), await cache.zRange(days, "-", "+", range)];
  },
  async "glide-node"() {
    const { InfBoundary } = await import("@valkey/valkey-glide");
    const range = { type: "byLex", start: InfBoundary.NegativeInfinity, end: InfBoundary.PositiveInfinity, limit: { offset: 0, count: 2 } };
    const fields = (await cache.hgetall("hash:7")).map(({ field, value }) => [field, value]);
    return [await cache.get("users:7"), Object.fromEntries(fields), await cache.zrange(days, range)];
  },
};
reads.iovalkey = reads.ioredis;

async function all() {
  const [entry, hash, members] = await reads[client]();
  const refused = await cache.set("users:7", "").then(String, (error) => error.message);
  return { [client]: { entry, hash, members, refused } };
}

// A connection that was closed may fail the requests that were waiting for it.
async function persistently() {
  for (;;) {
    try {
      return await all();
    } catch (error) {
      console.error(error.message);
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}

console.log(JSON.stringify(await all()));
for await (const _line of createInterface({ input: process.stdin })) console.log(JSON.stringify(await persistently()));
process.exit();
