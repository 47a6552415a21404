// node-postgres: parametrised and prepared statements, a transaction, a cursor, a pool. Prints JSON.
import pg from "pg";
import Cursor from "pg-cursor";

const [host, port] = process.argv.slice(2);
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
const all = new Promise((resolve) => client.on("notification", (message) => {
  heard.push([message.channel, message.payload, message.processId === client.processID]);
  if (heard.length === 2) resolve();
}));
await client.query("LISTEN shelf");
await speaker.query("NOTIFY shelf, 'one'");
await client.query("SELECT pg_notify('shelf', $1)", ["two"]);
await all;
found.heard = heard;
await client.query("CREATE TEMP TABLE own (a int, b text)");
await client.query("INSERT INTO own VALUES ($1, $2)", [1, "x"]);
found.temporary = (await client.query("SELECT * FROM own")).rows;
await client.query("PREPARE double (int) AS SELECT $1 * 2 AS twice");
found.executed = (await client.query("EXECUTE double (21)")).rows;
await client.query("DISCARD ALL");
speaker.release();
client.release();

const ids = [1001, 1002, 1003, 1004, 1005];
const answers = ids.map((id) => pool.query("SELECT name, joined FROM patrons WHERE patron_id = $1", [id]));
found.pool = (await Promise.all(answers)).map((answer) => answer.rows);
console.log(JSON.stringify(found));
await pool.end();
