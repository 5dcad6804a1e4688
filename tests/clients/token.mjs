// Stands in for the token.mjs of docs/reading.md: the password in a file, which may change.
import { appendFileSync, readFileSync } from "node:fs";

export async function token() {
  const password = readFileSync(process.env.PASSWORD_FILE, "utf-8");
  appendFileSync(process.env.HANDED_OUT, `${password}\n`);
  return password;
}
