// postgres.js, which prepares all it runs: tagged templates, a transaction, a cursor, COPY, notifications. Prints JSON.
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import postgres from "postgres";

const [host, port] = process.argv.slice(3);
const sql = postgres({ host, port: Number(port), user: "postgres", database: "library_system", max: 2 });
const found = {};
const isbn = "9780451524935";
const mine = "9999999999001";

found.routed = await sql`SELECT * FROM books WHERE branch = ${"west"} AND isbn = ${isbn}`;
found.scattered = await sql`SELECT branch, price FROM books WHERE isbn = ${isbn} ORDER BY branch`;
found.limited = await sql`SELECT isbn, branch FROM books ORDER BY isbn, branch LIMIT ${5}`;
found.in = await sql`SELECT name FROM patrons WHERE patron_id IN ${sql([1001, 1002, 1003])} ORDER BY name`;
found.prepared = [];
for (let at = 0; at < 10; at++) {
  const branch = ["west", "north", "downtown"][at % 3];
  found.prepared.push(await sql`SELECT branch, price FROM books WHERE branch = ${branch} AND isbn = ${isbn}`);
}
found.types = await sql`SELECT ${-5}::int AS i, ${"9007199254740993"}::bigint AS l, ${"1.50"}::numeric AS n, ${true}::bool AS b,
  ${"2020-02-29"}::date AS d, ${new Date(0)}::timestamptz AS t, ${sql.json({ a: [1, null] })}::jsonb AS j, ${null}::text AS x`;
found.array = await sql`SELECT name FROM patrons WHERE patron_id = ANY(${[1001, 1002]}) ORDER BY name`.catch((error) => error.code);

class Undone extends Error {}
await sql
  .begin(async (sql) => {
    const book = { isbn: mine, branch: "west", book_name: "mine", author: "me", price: 1.5 };
    found.inserted = await sql`INSERT INTO books ${sql(book)} RETURNING price`;
    found.updated = (await sql`UPDATE books SET price = ${2} WHERE branch = ${"west"} AND isbn = ${mine}`).count;
    found.duplicate = await sql.savepoint((sql) => sql`INSERT INTO books ${sql(book)}`).catch((error) => error.code);
    found.deleted = (await sql`DELETE FROM books WHERE branch = ${"west"} AND isbn = ${mine}`).count;
    throw new Undone();
  })
  .catch((error) => {
    if (!(error instanceof Undone)) throw error;
  });

// Rows of several shards: all of them, or none.
const branches = ["west", "north", "downtown"];
const book = (at) => ({ isbn: 9999999999100 + at, branch: branches[at % 3], book_name: "mine", author: "me", price: at });
const among = () => sql`SELECT isbn, branch, price FROM books WHERE isbn BETWEEN 9999999999100 AND 9999999999199 ORDER BY isbn`;
await sql.begin(async (sql) => {
  await Promise.all([0, 1, 2, 3, 4, 5].map((at) => sql`INSERT INTO books ${sql(book(at))}`));
  found.clash = await sql
    .savepoint((sql) => Promise.all([6, 7, 0].map((at) => sql`INSERT INTO books ${sql(book(at))}`)))
    .catch((error) => error.code);
  await sql`INSERT INTO books ${sql(book(8))}`;
});
found.piped = await sql.begin((sql) => [8, 9, 10].map((at) => sql`INSERT INTO books ${sql(book(at))}`)).catch((error) => error.code);
found.among = await among();
for (const branch of branches)
  await sql`DELETE FROM books WHERE branch = ${branch} AND isbn BETWEEN 9999999999100 AND 9999999999199`;

found.error = await sql`SELECT nope FROM books WHERE isbn = ${isbn}`.catch((error) => [error.code, error.position]);
found.division = await sql`SELECT price / ${0} FROM books`.catch((error) => error.code);
found.parts = [];
for await (const part of sql`SELECT isbn FROM books WHERE branch = ${"west"} ORDER BY isbn`.cursor(10)) found.parts.push(part);
for await (const part of sql`SELECT isbn, branch FROM books ORDER BY isbn, branch`.cursor(10)) found.parts.push(part);
found.simple = (await sql`SELECT 1 AS a`.simple()).map((row) => row.a);
found.many = await Promise.all([1001, 1002, 1003, 1004].map((id) => sql`SELECT name, joined FROM patrons WHERE patron_id = ${id}`));

const lines = [...Array(12).keys()].map((at) => `${9300000 + at}\tTab\\t and \\\\ ${at}\t\\N\twest\t2024-05-0${1 + (at % 9)}\n`);
// (An error in a COPY never reaches the stream of postgres.js, whatever the server.)
const into = await sql`COPY patrons (patron_id, name, email, branch, joined) FROM STDIN`.writable();
await pipeline(Readable.from(lines), into);
const out = await sql`COPY (SELECT * FROM patrons WHERE patron_id >= 9300000 ORDER BY patron_id) TO STDOUT`.readable();
found.out = (await out.setEncoding("utf8").toArray()).join("");
for (const line of lines) await sql`DELETE FROM patrons WHERE patron_id = ${line.split("\t")[0]}`;

const heard = [];
let hear;
const both = new Promise((resolve) => (hear = resolve));
const { unlisten } = await sql.listen("postgres_js", (payload) => heard.push(payload) === 2 && hear());
await sql.notify("postgres_js", "one");
await sql`SELECT pg_notify('postgres_js', ${"two"})`;
await both;
await unlisten();
found.heard = heard;

const sleeping = sql`SELECT pg_sleep(60)`.execute();
setTimeout(() => sleeping.cancel(), 300);
found.cancelled = await sleeping.catch((error) => error.code);

found.values = await sql`SELECT ${"1605-01-16"}::date::text AS before, ${"-infinity"}::text::timestamptz::text AS infinite,
  ${sql.array([1, -3])}::int[] AS numbers, ${sql.array(["a", 'b"c', "{d,e}", ""])}::text[] AS texts, ${"[1,)"}::int4range AS range,
  ${Buffer.from([0, 1, 255])}::bytea AS bytes, ${"-12345678901234567890.00123"}::numeric AS numeric, ${"NaN"}::numeric AS nan,
  ${"00112233-4455-6677-8899-aabbccddeeff"}::uuid AS uuid, ${"x".repeat(300000)}::text AS big, ${null}::jsonb AS nothing`;
console.log(JSON.stringify(found));
await sql.end();
