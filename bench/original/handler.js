// The original example's way: each record is one awaited SET or DEL, in the order given.
import { unmarshall } from "@aws-sdk/util-dynamodb";
import Redis from "ioredis";

const redis = new Redis({ host: process.env.CACHE_HOST, port: Number(process.env.CACHE_PORT) });

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
