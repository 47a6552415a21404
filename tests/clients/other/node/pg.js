// node-postgres: parametrised and prepared statements, a transaction, cursors, COPY, notifications, a pool. Prints JSON.
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import pg from "pg";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";
import Cursor from "pg-cursor";

const [host, port] = process.argv.slice(3);
const pool = new pg.Pool({ host, port: Number(port), user: "postgres", database: "library_system", max: 2 });
const found = {};
const client = await pool.connect();
const isbn = "9780451524935";
const mine = "9999999999001";

found.routed = (await client.query("SELECT * FROM books WHERE branch = $1 AND isbn = $2", ["west", isbn])).rows;
found.scattered = (await client.query("SELECT branch, price FROM books WHERE isbn = $1 ORDER BY branch", [isbn])).rows;
found.limited = (await client.query("SELECT isbn, branch FROM books ORDER BY isbn, branch LIMIT $1", [5])).rows;
found.groups = (await client.query("SELECT genre, count(*), avg(price) FROM books GROUP BY 1 ORDER BY 1")).rows;
found.prepared = [];
for (let at = 0; at < 10; at++) {
  const values = [["west", "north", "downtown"][at % 3], isbn];
  const query = { name: "one", text: "SELECT branch, price FROM books WHERE branch = $1 AND isbn = $2", values };
  found.prepared.push((await client.query(query)).rows);
}
found.types = (
  await client.query({
    text: "SELECT $1::int, $2::bigint, $3::numeric, $4::bool, $5::date, $6::timestamptz, $7::jsonb, $8::int[], $9::text",
    values: [-5, "9007199254740993", "1.50", true, "2020-02-29", new Date(0), { a: [1, null] }, [1, 2], null],
    rowMode: "array",
  })
).rows;

await client.query("BEGIN");
const insert = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES ($1, $2, $3, $4, $5) RETURNING price";
found.inserted = (await client.query(insert, [mine, "west", "mine", "me", 1.5])).rows;
const update = "UPDATE books SET price = $1 WHERE branch = $2 AND isbn = $3";
found.updated = (await client.query(update, [2, "west", mine])).rowCount;
await client.query("SAVEPOINT here");
found.duplicate = await client.query(insert, [mine, "west", "again", "me", 1]).catch((error) => error.code);
await client.query("ROLLBACK TO SAVEPOINT here");
found.deleted = (await client.query("DELETE FROM books WHERE branch = $1 AND isbn = $2", ["west", mine])).rowCount;
await client.query("ROLLBACK");

// Rows of several shards: all of them, or none.
const branches = ["west", "north", "downtown"];
const book = (at, isbn = 9999999999100 + at) => client.query(insert, [isbn, branches[at % 3], "mine", "me", at]);
const among = () => client.query("SELECT isbn, branch, price FROM books WHERE isbn BETWEEN 9999999999100 AND 9999999999199 ORDER BY isbn, branch");
await client.query("BEGIN");
for (let at = 0; at < 6; at++) await book(at);
await client.query("SAVEPOINT here");
found.clash = await book(6).then(() => book(0)).catch((error) => error.code);
await client.query("ROLLBACK TO SAVEPOINT here");
found.within = (await among()).rows;
found.committed = (await client.query("COMMIT")).command;
found.after = (await among()).rows;
const several = (isbn) => branches.map((branch) => `INSERT INTO books (isbn, branch, book_name, author) VALUES (${isbn}, '${branch}', 'mine', 'me')`);
found.several = (await client.query(several(9999999999150).join("; "))).map((result) => result.rowCount);
found.none = await client.query([...several(9999999999160), several(9999999999150)[0]].join("; ")).catch((error) => error.code);
found.finally = (await among()).rows;
for (const branch of branches)
  await client.query("DELETE FROM books WHERE branch = $1 AND isbn BETWEEN 9999999999100 AND 9999999999199", [branch]);

found.error = await client.query("SELECT nope FROM books WHERE isbn = $1", [isbn]).catch((error) => [error.code, error.position]);
found.division = await client.query("SELECT price / $1 FROM books", [0]).catch((error) => error.code);

await client.query("BEGIN");
const cursor = client.query(new Cursor("SELECT isbn FROM books WHERE branch = $1 ORDER BY isbn", ["west"]));
found.parts = [await cursor.read(3), await cursor.read(3)];
await cursor.close();
const all = client.query(new Cursor("SELECT isbn, branch FROM books WHERE price > $1 ORDER BY isbn, branch", [5]));
found.merged = [await all.read(3), await all.read(20), await all.read(100), await all.read(5)];
await client.query("ROLLBACK");

const speaker = await pool.connect();
const heard = [];
const both = new Promise((resolve) => client.on("notification", (message) => {
  heard.push([message.channel, message.payload, message.processId === client.processID]);
  if (heard.length === 2) resolve();
}));
await client.query("LISTEN shelf");
await speaker.query("NOTIFY shelf, 'one'");
await client.query("SELECT pg_notify('shelf', $1)", ["two"]);
await both;
found.heard = heard;
await client.query("CREATE TEMP TABLE own (a int, b text)");
await client.query("INSERT INTO own VALUES ($1, $2)", [1, "x"]);
found.temporary = (await client.query("SELECT * FROM own")).rows;
await client.query("PREPARE double (int) AS SELECT $1 * 2 AS twice");
found.executed = (await client.query("EXECUTE double (21)")).rows;
await client.query("DISCARD ALL");
speaker.release();

const text = (stream) => stream.setEncoding("utf8").toArray().then((parts) => parts.join(""));
const sorted = "SELECT patron_id, name, email, branch, joined FROM patrons WHERE patron_id >= 9200000 ORDER BY patron_id";
const lines = [...Array(12).keys()].map((at) => `${9200000 + at}\tTab\\t and \\\\ ${at}\t${at % 3 ? "\\N" : ""}\twest\t2024-05-0${1 + (at % 9)}\n`);
const into = "COPY patrons (patron_id, name, email, branch, joined) FROM STDIN";
const copied = client.query(copyFrom(into));
await pipeline(Readable.from(lines), copied);
found.copied = copied.rowCount;
found.again = await pipeline(Readable.from(lines), client.query(copyFrom(into))).catch((error) => error.code);
found.wrong = await pipeline(Readable.from(["1\tx\n"]), client.query(copyFrom(into))).catch((error) => [error.code, error.where]);
found.out = await text(client.query(copyTo(`COPY (${sorted}) TO STDOUT`)));
found.sheet = await text(client.query(copyTo(`COPY (${sorted}) TO STDOUT (FORMAT csv, HEADER)`)));
found.whole = (await text(client.query(copyTo("COPY patrons (patron_id) TO STDOUT")))).split("\n").sort();
for (const line of lines) await client.query("DELETE FROM patrons WHERE patron_id = $1", [line.split("\t")[0]]);
client.release();

const values = {
  int2: -7, int4: -(2 ** 31), int8: "9223372036854775807", numeric: "-12345678901234567890.00123", float8: 0.1, bool: false,
  text: "Brontë 'quoted' \\ \n$1", bytea: Buffer.from([0, 1, 255]), uuid: "00112233-4455-6677-8899-aabbccddeeff",
  date: "1605-01-16", timestamp: "1999-12-31 23:59:59.000001", timestamptz: "-infinity", interval: "1 day 00:00:01.5",
  jsonb: { a: [1, null, "ü"] }, json: '[1, "x"]', "int4[]": [1, null, -3], "text[]": ["a", 'b"c', "{d,e}", null, ""],
  int4range: "[1,)", numrange: "(1.5,2]", inet: "10.0.0.1", "float4[]": [1.5, Infinity], "date[]": ["infinity", "0044-03-15 BC"],
};
found.values = [];
for (const [type, value] of Object.entries(values)) {
  const text = `SELECT $1::${type}, NULL::${type}, $1::${type}::text FROM books WHERE branch = 'west' AND isbn = ${isbn}`;
  const answer = await pool.query({ text, values: [value], rowMode: "array" });
  found.values.push([type, answer.rows]);
}
// (In binary node-postgres reads integers only: it makes text of everything first, whatever the server.)
found.binary = (await pool.query({ text: "SELECT 1::int2 AS a, true AS b, NULL::int4 AS c", binary: true })).rows;
found.big = (await pool.query("SELECT $1::text AS big", ["x".repeat(300000)])).rows[0].big.length;

const ids = [1001, 1002, 1003, 1004, 1005];
const answers = ids.map((id) => pool.query("SELECT name, joined FROM patrons WHERE patron_id = $1", [id]));
found.pool = (await Promise.all(answers)).map((answer) => answer.rows);
console.log(JSON.stringify(found));
await pool.end();
