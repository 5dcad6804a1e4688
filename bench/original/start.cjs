// `node start.cjs BUNDLE EVENT`: handles one event, and says so, as function.py does.
const { readFileSync } = require("node:fs");

const [bundle, event] = process.argv.slice(2);
const { handler } = require(bundle);

handler(JSON.parse(readFileSync(event, "utf8"))).then(() => {
  console.log("handled");
  process.exit(0);
});
