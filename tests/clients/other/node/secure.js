// Logging in with a password over TLS by both drivers. Prints lines.
import { readFileSync } from "node:fs";
import pg from "pg";
import postgres from "postgres";

const [host, port, ca, otherCa] = process.argv.slice(3);
const west = "SELECT count(*)::int AS books FROM books WHERE branch = 'west'";
const trusted = { ca: readFileSync(ca, "utf8") };
const cases = {
  "verify-full": ["secret", trusted],
  require: ["secret", { rejectUnauthorized: false }],
  disable: ["secret", false],
  "other authority": ["secret", { ca: readFileSync(otherCa, "utf8") }],
  "wrong password": ["wrong", trusted],
};

async function byPg(options) {
  const client = new pg.Client({ ...options, enableChannelBinding: true });
  try {
    await client.connect();
    return (await client.query(west)).rows[0].books;
  } finally {
    await client.end().catch(() => {});
  }
}

async function byPostgresJs(options) {
  const sql = postgres({ ...options, max: 1 });
  try {
    return (await sql.unsafe(west))[0].books;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

for (const [name, [password, ssl]] of Object.entries(cases)) {
  const options = { host, port: Number(port), user: "reader", password, database: "library_system", ssl };
  for (const [driver, ask] of Object.entries({ "node-postgres": byPg, "postgres.js": byPostgresJs }))
    console.log(`${driver} ${name}: ${await ask(options).catch((error) => error.code)}`);
}
