// Invokes a bundled handler as Lambda does, one record at a time: `node drive.cjs BUNDLE EVENTS`.
// For each line of standard input, a number of records, it writes a line of seconds and CPU seconds.
const { readFileSync } = require("node:fs");
const { createInterface } = require("node:readline");

const [bundle, events] = process.argv.slice(2);
const { handler } = require(bundle);
const records = JSON.parse(readFileSync(events, "utf8")).Records;

(async () => {
  await handler({ Records: records.slice(0, 1) }); // connects
  for await (const line of createInterface({ input: process.stdin })) {
    const cpu = process.cpuUsage();
    const begin = process.hrtime.bigint();
    for (const record of records.slice(0, parseInt(line, 10))) {
      await handler({ Records: [record] });
    }
    const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
    const { user, system } = process.cpuUsage(cpu);
    console.log(JSON.stringify({ seconds, cpu: (user + system) / 1e6 }));
  }
  process.exit(0);
})();
