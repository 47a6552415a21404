// postgres.js, which prepares all it runs: tagged templates, a transaction with a savepoint, a cursor. Prints JSON.
import postgres from "postgres";

const [host, port] = process.argv.slice(2);
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

found.error = await sql`SELECT nope FROM books WHERE isbn = ${isbn}`.catch((error) => [error.code, error.position]);
found.division = await sql`SELECT price / ${0} FROM books`.catch((error) => error.code);
found.parts = [];
for await (const part of sql`SELECT isbn FROM books WHERE branch = ${"west"} ORDER BY isbn`.cursor(10)) found.parts.push(part);
for await (const part of sql`SELECT isbn, branch FROM books ORDER BY isbn, branch`.cursor(10)) found.parts.push(part);
found.simple = (await sql`SELECT 1 AS a`.simple()).map((row) => row.a);
found.many = await Promise.all([1001, 1002, 1003, 1004].map((id) => sql`SELECT name, joined FROM patrons WHERE patron_id = ${id}`));
console.log(JSON.stringify(found));
await sql.end();
