// The handler as Lambda's runtime client loads it: reports when it is loaded, and when it is done.
const { writeSync } = require("node:fs");

writeSync(1, "ready\n");
const { handler } = require(process.env.BENCH_BUNDLE);

exports.handler = async (event) => {
  await handler(event);
  writeSync(1, "handled\n");
};
