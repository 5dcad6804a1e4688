// The original example's way: each record is one awaited SET or DEL, in the order given.
import { readFileSync } from "node:fs";
import { unmarshall } from "@aws-sdk/util-dynamodb";
import Redis from "ioredis";

const { CACHE_HOST, CACHE_PORT, CACHE_CA_FILE } = process.env;
const redis = new Redis({
  host: CACHE_HOST,
  port: Number(CACHE_PORT),
  tls: CACHE_CA_FILE ? { ca: readFileSync(CACHE_CA_FILE) } : undefined,
});

export const handler = async (event) => {
  for (const { eventName, dynamodb } of event.Records) {
    const { id } = unmarshall(dynamodb.Keys);
    const key = `original:${id}`;
    if (eventName === "REMOVE") {
      await redis.del(key);
    } else {
      await redis.set(key, JSON.stringify(unmarshall(dynamodb.NewImage)));
    }
  }
};
