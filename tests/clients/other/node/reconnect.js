// Pools that outlive what they are connected to. For each line of input: "up" asks until all shards answer, "down" once.
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import pg from "pg";
import postgres from "postgres";

const [host, port] = process.argv.slice(3);
const server = { host, port: Number(port), user: "postgres", database: "library_system", max: 2 };
const pool = new pg.Pool(server);
pool.on("error", () => {}); // an idle connection that is lost
const sql = postgres({ ...server, backoff: 0.1 });
const asks = [
  (branch) => pool.query("SELECT count(*) FROM books WHERE branch = $1", [branch]),
  (branch) => sql`SELECT count(*) FROM books WHERE branch = ${branch}`,
];

async function askShard(ask, branch, patient) {
  const deadline = Date.now() + 40000;
  for (;;) {
    const verdict = await ask(branch).then(() => "ok", (error) => error.code);
    if (verdict === "ok" || !patient || Date.now() > deadline) return verdict;
    await setTimeout(100);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const words = [];
  for (const ask of asks)
    for (const branch of ["downtown", "west", "north"]) words.push(await askShard(ask, branch, line === "up"));
  console.log(words.join(" "));
}
await pool.end();
await sql.end();
