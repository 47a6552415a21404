"""Examples for every line of docs/sql-support.md's tables, by the line's first cell.

In SELECT's table what happens is in the page's own columns: each example runs with a condition that leaves one shard
(`{w}`, or `{b}` for `books b`), and with one that leaves two. In the others each example says what becomes of it.
"""

from __future__ import annotations

# ruff: noqa: E501, ISC004 - the page's own words are keys, statements of one example stand together

ONE, TWO = "{}branch = 'west'", "{}branch IN ('west', 'north')"
OK, REFUSED, NO_SHARD = None, "0A000", "23514"

SELECT: dict[str, tuple[str, ...]] = {
    "any `WHERE`, any expression, function or cast over columns": (
        "SELECT upper(book_name), price::text, isbn + 1 FROM books WHERE {w} AND (price > 1 OR genre LIKE 'c%')",
        "SELECT CASE WHEN checked_out THEN 1 END, coalesce(genre, '-') FROM books WHERE {w} AND author ~ 'e'",
    ),
    "`SELECT *`, `b.*`, `SELECT` without columns": (
        "SELECT * FROM books WHERE {w}",
        "SELECT b.* FROM books b WHERE {b}",
        "SELECT FROM books WHERE {w}",
    ),
    "`LIMIT`, `OFFSET`, `FETCH FIRST n ROWS ONLY` with constants, also cast to an integer type (`('5'::int4)`), and parameters": (
        "SELECT isbn FROM books WHERE {w} ORDER BY isbn, branch LIMIT ('5'::int4) OFFSET (2::bigint)",
        "SELECT isbn FROM books WHERE {w} ORDER BY isbn, branch LIMIT 3 OFFSET 2",
        "SELECT isbn FROM books WHERE {w} ORDER BY isbn, branch FETCH FIRST 2 ROWS ONLY",
    ),
    "`LIMIT` with an expression, `FETCH … WITH TIES`": (
        "SELECT isbn FROM books WHERE {w} ORDER BY isbn, branch LIMIT 1 + 1",
        "SELECT isbn FROM books WHERE {w} ORDER BY isbn, branch FETCH FIRST 3 ROWS WITH TIES",
    ),
    "`ORDER BY` columns, positions, output names, expressions, columns not selected; `ASC`, `DESC`, `NULLS FIRST/LAST`": (
        "SELECT isbn, branch AS b, price FROM books WHERE {w} ORDER BY b DESC, 1 ASC",
        "SELECT book_name FROM books WHERE {w} ORDER BY length(author) NULLS FIRST, price DESC NULLS LAST, isbn, branch",
    ),
    "`ORDER BY` text whose collation is not `C`, `POSIX` or `C.UTF-8` (see below)": (
        'SELECT book_name FROM books WHERE {w} ORDER BY book_name COLLATE "pg_unicode_fast", isbn, branch',
    ),
    "`ORDER BY … USING`": ("SELECT isbn FROM books WHERE {w} ORDER BY isbn USING >, branch",),
    "`SELECT DISTINCT`, also with `ORDER BY` and `LIMIT`": (
        "SELECT DISTINCT genre FROM books WHERE {w}",
        "SELECT DISTINCT genre, checked_out FROM books WHERE {w} ORDER BY genre, 2 LIMIT 3",
    ),
    "`SELECT DISTINCT ON`": (
        "SELECT DISTINCT ON (genre) genre, isbn FROM books WHERE {w} ORDER BY genre, isbn, branch",
    ),
    "`count`, `sum`, `min`, `max`, `avg`, `bool_and`, `bool_or`, `every`, `bit_and`, `bit_or`, `bit_xor`; with `FILTER`": (
        "SELECT count(*), count(price), sum(price), min(isbn), max(author), avg(published_year) FROM books WHERE {w}",
        "SELECT bool_and(checked_out), bool_or(checked_out), every(price > 0) FROM books WHERE {w}",
        "SELECT bit_and(isbn), bit_or(isbn), bit_xor(isbn) FROM books WHERE {w}",
        "SELECT count(*) FILTER (WHERE checked_out), sum(price) FILTER (WHERE price > 6) FROM books WHERE {w}",
        "SELECT min(DISTINCT price), max(DISTINCT isbn) FROM books WHERE {w}",
    ),
    "these inside expressions, with parameters too: `count(*) + 1`, `coalesce(sum(x), $1)`, `HAVING count(*) > $2`, `ORDER BY count(*) * $3`": (
        "SELECT genre FROM books WHERE {w} GROUP BY genre HAVING count(*) > 2 ORDER BY count(*) * 3, genre",
        "SELECT count(*) + 1, coalesce(sum(price), 0) FROM books WHERE {w}",
        "SELECT genre, CASE WHEN count(*) > 1 THEN 'many' END FROM books WHERE {w} GROUP BY genre ORDER BY genre",
    ),
    "`GROUP BY` columns, expressions, positions, output names; `HAVING`; aggregates only in `HAVING` or `ORDER BY`": (
        "SELECT genre AS g, count(*) FROM books WHERE {w} GROUP BY g HAVING count(*) > 1 ORDER BY max(price), g",
        "SELECT upper(genre), sum(price) FROM books WHERE {w} GROUP BY 1 ORDER BY 1",
        "SELECT 1 FROM books WHERE {w} GROUP BY length(author) HAVING min(isbn) > 0 ORDER BY count(*), length(author)",
    ),
    "columns that depend on a grouped primary key but are not grouped themselves": (
        "SELECT branch, isbn, book_name, count(*) FROM books WHERE {w} GROUP BY branch, isbn",
    ),
    "`count(DISTINCT x)` and other aggregates of `DISTINCT` values, except `min` and `max`": (
        "SELECT count(DISTINCT genre) FROM books WHERE {w}",
        "SELECT sum(DISTINCT price) FROM books WHERE {w}",
    ),
    "all other aggregates (`string_agg`, `array_agg`, `stddev`, `percentile_cont` …), `ORDER BY` inside an aggregate": (
        "SELECT string_agg(author, ',' ORDER BY isbn, branch) FROM books WHERE {w}",
        "SELECT array_agg(isbn ORDER BY isbn, branch) FROM books WHERE {w}",
        "SELECT stddev(published_year) FROM books WHERE {w}",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY price) FROM books WHERE {w}",
        "SELECT sum(price ORDER BY isbn) FROM books WHERE {w}",
    ),
    "`GROUPING SETS`, `ROLLUP`, `CUBE`, `GROUP BY ()`": (
        "SELECT genre, count(*) FROM books WHERE {w} GROUP BY GROUPING SETS ((genre), ())",
        "SELECT genre, count(*) FROM books WHERE {w} GROUP BY ROLLUP (genre)",
        "SELECT genre, count(*) FROM books WHERE {w} GROUP BY CUBE (genre)",
        "SELECT count(*) FROM books WHERE {w} GROUP BY ()",
    ),
    "window functions": ("SELECT isbn, rank() OVER (ORDER BY isbn, branch) FROM books WHERE {w}",),
    "`DISTINCT` together with aggregates or `GROUP BY`": (
        "SELECT DISTINCT count(*) FROM books WHERE {w}",
        "SELECT DISTINCT genre FROM books WHERE {w} GROUP BY genre",
    ),
    "`FOR UPDATE`, `FOR SHARE` …": (
        "SELECT isbn FROM books WHERE {w} FOR UPDATE",
        "SELECT isbn FROM books WHERE {w} FOR KEY SHARE SKIP LOCKED",
    ),
    "`now()`, `current_date` and the like": (
        "SELECT isbn FROM books WHERE {w} AND updated_at < now()",
        "SELECT isbn, current_date > '2020-01-01', localtimestamp IS NULL FROM books WHERE {w}",
    ),
    "`'now'`, `'today'`, `'tomorrow'`, `'yesterday'` where they may be dates": (
        "SELECT isbn FROM books WHERE {w} AND updated_at < 'tomorrow'",
        "SELECT isbn, 'now'::timestamp > '2020-01-01' FROM books WHERE {w}",
    ),
    "text cast to a date or time (`book_name::date`), unless it is a constant": (
        "SELECT isbn FROM books WHERE {w} AND ('2020-01-0' || length(genre))::date > '2020-01-07'",
    ),
    "`random()`, `gen_random_uuid()`": ("SELECT isbn, random() < 2, gen_random_uuid() IS NULL FROM books WHERE {w}",),
    "functions that read tables, sequences or the node's state": (
        "SELECT isbn, pg_relation_size('books') >= 0 FROM books WHERE {w}",
        "SELECT isbn, nextval('nowhere') FROM books WHERE {w}",
        "SELECT isbn, pg_backend_pid() > 0 FROM books WHERE {w}",
    ),
    "join with reference tables, inner or with the sharded table on the side that is kept": (
        "SELECT b.isbn, r.city FROM books b JOIN branches r ON r.branch = b.branch WHERE {b} ORDER BY b.isbn, r.city",
        "SELECT b.isbn, r.city FROM books b LEFT JOIN branches r ON r.branch = b.branch WHERE {b}",
        "SELECT * FROM branches r RIGHT JOIN books b ON r.branch = b.branch WHERE {b}",
    ),
    "sub-queries over reference tables only": (
        "SELECT isbn FROM books WHERE {w} AND branch IN (SELECT branch FROM branches)",
        "SELECT isbn, (SELECT city FROM branches r WHERE r.branch = books.branch) FROM books WHERE {w}",
    ),
    "sharded table on the nullable side of an outer join": (
        "SELECT count(*) FROM branches r LEFT JOIN books b ON r.branch = b.branch AND {b}",
        "SELECT count(*) FROM books b FULL JOIN branches r ON r.branch = b.branch WHERE {b}",
    ),
    "two sharded tables, or one named twice": (
        "SELECT count(*) FROM books b JOIN patrons p ON p.patron_id = b.patron_id WHERE {b}",
        "SELECT count(*) FROM books b JOIN books o ON o.isbn = b.isbn WHERE {b} AND o.branch = 'west'",
    ),
    "sharded table in a sub-query, `WITH`, `UNION`/`INTERSECT`/`EXCEPT`, `SELECT INTO`": (
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM books WHERE {w})",
        "WITH x AS (SELECT isbn FROM books WHERE {w}) SELECT count(*) FROM x",
        "SELECT isbn FROM books WHERE {w} UNION SELECT 1",
        "SELECT isbn FROM books WHERE {w} INTERSECT SELECT 1",
        "SELECT isbn FROM books WHERE {w} EXCEPT SELECT 1",
        "SELECT isbn INTO copied FROM books WHERE {w}",
    ),
    "`TABLESAMPLE`, `ONLY`, functions or sub-queries in `FROM`, column aliases in `FROM`, `TABLE books`": (
        "SELECT count(*) FROM books TABLESAMPLE BERNOULLI (100) WHERE {w}",
        "SELECT count(*) FROM ONLY books WHERE {w}",
        "SELECT count(*) FROM books, generate_series(1, 2) WHERE {w}",
        "SELECT count(*) FROM (SELECT * FROM books WHERE {w}) AS x",
        "SELECT i FROM books AS b (i, branch) WHERE {b}",
        "TABLE books",
    ),
    "whole rows (`SELECT b FROM books b`), system columns (`ctid`, `tableoid`, `xmin` …)": (
        "SELECT b FROM books b WHERE {b}",
        "SELECT ctid FROM books WHERE {w}",
        "SELECT tableoid::regclass FROM books WHERE {w}",
    ),
}

# What the cells say besides.
SELECT_BESIDES = (
    ("SELECT count(*), now() > '2020-01-01' FROM books", REFUSED),
    ("SELECT count(*), now() > '2020-01-01' FROM books GROUP BY 2", OK),
    ("SELECT count(*) FILTER (WHERE updated_at < now()) FROM books", OK),
    ("SELECT max(updated_at) < now() FROM books", REFUSED),
    ("SELECT * FROM books b JOIN branches r ON r.branch = b.branch ORDER BY isbn, city", REFUSED),
    ("SELECT count(*) FROM books WHERE branch IN (SELECT branch FROM branches)", OK),
    ("SELECT (SELECT max(n) FROM branches), isbn FROM books", REFUSED),
    ("SELECT count(*), (SELECT 1 FROM branches LIMIT 1) FROM books", REFUSED),
    ("SELECT isbn, branch, book_name::date FROM books WHERE isbn < 0", REFUSED),
    ("SELECT isbn FROM books WHERE updated_at > '2020-01-01'::date", OK),
    (
        "PREPARE p AS SELECT genre, coalesce(sum(price), $1) FROM books GROUP BY genre HAVING count(*) > $2 "
        "ORDER BY count(*) * $3, genre LIMIT $4; EXECUTE p(0, 1, -1, 2); DEALLOCATE p",
        OK,
    ),
)

# How many of three shards are asked.
SHARDS: dict[str, tuple[tuple[str, int], ...]] = {
    "`key = constant`, either way round, also with a cast to the key's own type": (
        ("books WHERE branch = 'west'", 1),
        ("books WHERE 'west' = branch", 1),
        ("books WHERE branch = 'west'::text", 1),
        ("patrons WHERE patron_id = 7::bigint", 1),
    ),
    "`key IN (constants)`, `key = ANY (ARRAY[…])`, `key = ANY ('{…}')`": (
        ("books WHERE branch IN ('west', 'north')", 2),
        ("books WHERE branch = ANY (ARRAY['west', 'north'])", 2),
        ("books WHERE branch = ANY ('{west,north}')", 2),
        ("patrons WHERE patron_id IN (7)", 1),
    ),
    "`key < > <= >= constant`, `BETWEEN`": (
        ("readings WHERE id < 0", 1),
        ("readings WHERE id >= 0", 2),
        ("readings WHERE id BETWEEN 1 AND 50", 1),
        ("books WHERE branch > 'north'", 1),
        ("patrons WHERE patron_id < 5", 3),
    ),
    "`(key, other) = (constant, …)`, `(key, other) IN ((constant, …), …)`": (
        ("books WHERE (branch, isbn) = ('west', 1)", 1),
        ("books WHERE (isbn, branch) IN ((1, 'west'), (2, 'north'))", 2),
    ),
    "`key IS NULL`, `key IS NOT DISTINCT FROM constant`": (
        ("nulls WHERE k IS NULL", 1),
        ("nulls WHERE k IS NOT DISTINCT FROM 3", 1),
    ),
    "`a AND b`": (
        ("books WHERE branch IN ('west', 'north') AND branch IN ('west', 'downtown')", 1),
        ("books WHERE branch = 'west' AND price > 1", 1),
    ),
    "`a OR b`": (
        ("books WHERE branch = 'west' OR branch = 'north'", 2),
        ("books WHERE branch = 'west' OR price > 1", 3),
    ),
    "`false`, `NULL`, `1 = 0`, `1 != 1`; `x IN (SELECT …)` and `EXISTS (SELECT …)` whose own `WHERE` is one of these; `key IN (NULL)`, `key = ANY ('{}')`": tuple(
        (f"books WHERE {condition}", 1)
        for condition in (
            *("false", "NULL", "1 = 0", "1 != 1", "branch IN (NULL)", "branch = ANY ('{}')"),
            "isbn IN (SELECT n FROM branches WHERE false)",
            "EXISTS (SELECT 1 FROM branches WHERE 1 = 0)",
        )
    ),
    "`NOT …`, `<>`, `LIKE`, expressions over the key, operators that are not PostgreSQL's own, an explicit `COLLATE`": (
        ("books WHERE NOT branch = 'west'", 3),
        ("books WHERE branch <> 'west'", 3),
        ("books WHERE branch LIKE 'west'", 3),
        ("books WHERE branch || '' = 'west'", 3),
        ("books WHERE branch = 'west' COLLATE \"C\"", 3),
    ),
}

# Every one runs in a transaction of its own, which is undone.
WRITES: dict[str, tuple[tuple[str, str | None], ...]] = {
    "`INSERT … VALUES` with one or many rows, with or without a column list, `DEFAULT`, `RETURNING`, `OVERRIDING`": (
        ("INSERT INTO patrons VALUES (901, 'Eve', DEFAULT, 'west', '2020-01-01') RETURNING *", OK),
        ("INSERT INTO books (isbn, branch) VALUES (1, 'west'), (2, 'west')", OK),
        ("INSERT INTO books (isbn, branch) OVERRIDING USER VALUE VALUES (1, 'west')", OK),
        ("INSERT INTO books (isbn, branch) VALUES (1, 'west'), (2, 'north')", OK),
        ("INSERT INTO patrons (patron_id) VALUES (901), (902), (903), (904) RETURNING patron_id, name", OK),
        ("INSERT INTO books (isbn, branch, price) VALUES (1, 'west', 1), (2, 'north', 1 / 0), (3, 'west', 1)", "22012"),
    ),
    "the shard key as a constant, also cast to its own type": (
        ("INSERT INTO patrons (patron_id) VALUES (901::bigint)", OK),
        ("INSERT INTO patrons (patron_id) VALUES (900 + 1)", REFUSED),
    ),
    "a key that no shard has": (("INSERT INTO books (isbn, branch) VALUES (1, 'mars')", NO_SHARD),),
    "no key, or NULL, in a `NOT NULL` column": (
        ("INSERT INTO books (isbn) VALUES (1)", "23502"),
        ("INSERT INTO books (isbn, branch) VALUES (1, NULL)", "23502"),
    ),
    "`ON CONFLICT (columns) DO NOTHING`, `DO UPDATE`": (
        ("INSERT INTO books (isbn, branch) VALUES (1, 'west') ON CONFLICT (branch, isbn) DO NOTHING", OK),
        ("INSERT INTO patrons VALUES (1) ON CONFLICT (patron_id) DO UPDATE SET name = 'x' RETURNING name", OK),
    ),
    "… together with `RETURNING`, where it may leave rows out (`DO NOTHING`, `DO UPDATE … WHERE`)": (
        ("INSERT INTO books (isbn, branch) VALUES (1, 'west'), (1, 'west') ON CONFLICT DO NOTHING RETURNING isbn", OK),
        ("INSERT INTO patrons (patron_id) VALUES (901), (902), (903) ON CONFLICT DO NOTHING", OK),
        ("INSERT INTO patrons (patron_id) VALUES (901), (902), (903) ON CONFLICT DO NOTHING RETURNING name", REFUSED),
        (
            "INSERT INTO patrons AS p (patron_id) VALUES (1), (2), (3), (4) ON CONFLICT (patron_id) "
            "DO UPDATE SET name = 'x' WHERE p.name = 'y' RETURNING name",
            REFUSED,
        ),
    ),
    "`ON CONFLICT ON CONSTRAINT`, or setting the shard key there": (
        ("INSERT INTO patrons VALUES (1) ON CONFLICT ON CONSTRAINT patrons_pkey DO NOTHING", REFUSED),
        ("INSERT INTO patrons VALUES (1) ON CONFLICT (patron_id) DO UPDATE SET patron_id = 2", REFUSED),
    ),
    "`INSERT … SELECT` into a sharded table": (("INSERT INTO patrons (patron_id) SELECT 901", REFUSED),),
    "`UPDATE`, `DELETE` with a `WHERE` that pins one shard, or `WHERE CURRENT OF` a cursor over one; `RETURNING`; "
    "sub-queries and joins over reference tables": (
        ("UPDATE books SET price = 1 WHERE branch = 'west' AND price > 6 RETURNING isbn, price", OK),
        ("DELETE FROM patrons WHERE patron_id = 7 RETURNING *", OK),
        (
            "DECLARE c CURSOR FOR SELECT * FROM books WHERE branch = 'west' FOR UPDATE; FETCH c; "
            "UPDATE books SET price = 3 WHERE CURRENT OF c",
            OK,
        ),
        ("UPDATE books SET genre = city FROM branches r WHERE r.branch = books.branch AND books.branch = 'west'", OK),
        ("DELETE FROM books WHERE branch = 'west' AND branch IN (SELECT branch FROM branches)", OK),
    ),
    "… with a `WHERE` that leaves several shards, or without one": (
        ("UPDATE books SET price = 1", OK),
        ("UPDATE books SET price = -price, branch = branch WHERE branch IN ('west', 'north') RETURNING *", OK),
        ("DELETE FROM patrons WHERE patron_id IN (1, 2, 3, 4, 5)", OK),
        ("DELETE FROM books USING branches r WHERE r.branch = books.branch AND r.city = 'W' RETURNING isbn", OK),
        ("UPDATE books SET price = 1 / (price - price)", "22012"),
    ),
    "`now()`, `random()` and the like in writes on several shards": (
        ("UPDATE books SET updated_at = now() WHERE updated_at < current_date RETURNING updated_at = now()", OK),
        ("DELETE FROM books WHERE random() > 2", OK),
        ("UPDATE books SET price = (SELECT random())", REFUSED),
        ("UPDATE books SET price = r FROM random() AS r", REFUSED),
    ),
    "`'now'`, `'today'` where they may be dates, text cast to a date, `LIMIT` and aggregates that depend on the order of "
    "rows in sub-queries, functions of the node, in writes on several shards": (
        ("UPDATE books SET updated_at = 'now'", REFUSED),
        ("UPDATE books SET genre = 'now'", OK),
        ("UPDATE books SET updated_at = genre::timestamptz", REFUSED),
        ("UPDATE books SET genre = (SELECT city FROM branches LIMIT 1)", REFUSED),
        ("UPDATE books SET genre = (SELECT string_agg(city, ',') FROM branches)", REFUSED),
        ("UPDATE books SET genre = (SELECT max(city) FROM branches)", OK),
        ("DELETE FROM books WHERE price > pg_backend_pid()", REFUSED),
    ),
    "… with a `WHERE` that leaves no shard, such as `WHERE false` or an empty list": (
        ("UPDATE books SET price = 1 WHERE false", OK),
        ("DELETE FROM patrons WHERE patron_id = ANY ('{}')", OK),
        ("UPDATE books SET price = 1 WHERE branch = 'mars'", OK),
        ("DELETE FROM books WHERE branch = 'west' AND branch = 'north'", OK),
    ),
    "`SET` of the shard key": (
        ("UPDATE books SET branch = 'west' WHERE branch = 'west' AND isbn = 1", OK),
        ("UPDATE books SET branch = 'north' WHERE branch = 'west' AND isbn = 1", REFUSED),
        ("UPDATE books SET branch = lower(branch) WHERE branch = 'west' AND isbn = 1", REFUSED),
    ),
    "sub-queries and joins over sharded or unmapped tables, `WITH` queries that write, `WHERE CURRENT OF` a cursor over "
    "several shards or `WITH HOLD`": (
        ("UPDATE books SET price = 1 WHERE branch = 'west' AND isbn IN (SELECT isbn FROM books)", REFUSED),
        ("DELETE FROM books USING patrons p WHERE books.branch = 'west' AND p.patron_id = books.patron_id", REFUSED),
        ("WITH x AS (DELETE FROM books WHERE branch = 'west' RETURNING isbn) SELECT count(*) FROM x", REFUSED),
        (
            "DECLARE c CURSOR FOR SELECT * FROM books; FETCH c; "
            "DELETE FROM books WHERE branch = 'west' AND CURRENT OF c",
            "42601",
        ),
        ("DECLARE c CURSOR FOR SELECT * FROM books; FETCH c; DELETE FROM books WHERE CURRENT OF c", REFUSED),
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM books WHERE branch = 'west'; FETCH c; "
            "DELETE FROM books WHERE CURRENT OF c",
            REFUSED,
        ),
    ),
    "`MERGE`, `TRUNCATE` on a sharded table": (
        ("MERGE INTO patrons p USING branches r ON r.n = p.patron_id WHEN MATCHED THEN DELETE", REFUSED),
        ("TRUNCATE books", REFUSED),
    ),
    "whole rows (`RETURNING books`), `tableoid`": (
        ("DELETE FROM books WHERE branch = 'west' RETURNING books", REFUSED),
        ("DELETE FROM books WHERE branch = 'west' RETURNING tableoid", REFUSED),
    ),
    "writes to reference tables": (
        ("INSERT INTO branches VALUES ('east')", REFUSED),
        ("UPDATE branches SET n = 1", REFUSED),
        ("DELETE FROM branches", REFUSED),
    ),
}

COPIES: dict[str, tuple[tuple[str, str | None], ...]] = {
    "`COPY` into a reference table": (("COPY branches FROM STDIN", REFUSED),),
    "files of the server, `PROGRAM`": (
        ("COPY books FROM '/tmp/books'", REFUSED),
        ("COPY books TO PROGRAM 'cat'", REFUSED),
    ),
    "`ENCODING` other than UTF8": (("COPY books FROM STDIN (ENCODING 'latin1')", REFUSED),),
    "`ON_ERROR`, `REJECT_LIMIT`": (
        ("COPY books FROM STDIN (ON_ERROR ignore)", REFUSED),
        ("COPY books FROM STDIN (ON_ERROR ignore, REJECT_LIMIT 3)", REFUSED),
    ),
}

ELSEWHERE: dict[str, tuple[tuple[str, str | None], ...]] = {
    "no table at all; `pg_catalog`, `information_schema`; reference tables; `SHOW`": (
        ("SELECT 1 + 1", OK),
        ("SELECT count(*) FROM pg_class WHERE relname = 'books'", OK),
        ("SELECT table_name FROM information_schema.tables WHERE table_name = 'patrons'", OK),
        ("SELECT * FROM branches ORDER BY branch", OK),
        ("SHOW server_encoding", OK),
    ),
    "unmapped tables: queries, writes, `CREATE`/`ALTER`/`DROP` and maintenance of tables, views, indexes, sequences, types, "
    "`LOCK`": (
        ("CREATE TABLE notes (n int); INSERT INTO notes VALUES (1); SELECT * FROM notes", OK),
        (
            "CREATE TABLE notes (n int); ALTER TABLE notes ADD m text; LOCK notes; CREATE INDEX ON notes (n); ANALYZE notes",
            OK,
        ),
        ("CREATE TABLE notes (n int); CREATE VIEW few AS SELECT n FROM notes; DROP VIEW few; DROP TABLE notes", OK),
        ("CREATE TYPE mood AS ENUM ('good'); CREATE SEQUENCE numbers; DROP SEQUENCE numbers", OK),
    ),
    "volatile functions that act on something (`nextval`, `setval`, `pg_notify`, advisory locks …)": (
        ("CREATE SEQUENCE numbers; SELECT nextval('numbers'), setval('numbers', 7)", OK),
        ("SELECT pg_notify('hello', '')", OK),
        ("SELECT pg_advisory_xact_lock(7)", OK),
        ("SELECT isbn, pg_notify('hello', '') FROM books WHERE branch = 'west'", REFUSED),
    ),
    "temporary tables, `LISTEN`, `NOTIFY`": (
        ("CREATE TEMPORARY TABLE notes (n int); INSERT INTO notes VALUES (1); SELECT * FROM notes", OK),
        ("LISTEN hello", OK),
        ("NOTIFY hello", OK),
    ),
    "a physical table by its own name (`books_a`)": (
        ("SELECT count(*) FROM books_b, patrons_c", REFUSED),
        ("SELECT count(*) FROM books_b, books", REFUSED),
    ),
    "views that read a sharded table": (("CREATE VIEW cheap AS SELECT * FROM books", REFUSED),),
    "definitions and maintenance of sharded or reference tables": (
        ("ALTER TABLE books ADD c int", REFUSED),
        ("CREATE INDEX ON patrons (name)", REFUSED),
        ("DROP TABLE branches", REFUSED),
        ("ANALYZE books", REFUSED),
    ),
    "`VACUUM`, `ANALYZE`, `REINDEX` of a whole database; functions, roles, extensions, databases; `GRANT` on other than "
    "tables": (
        ("ANALYZE", REFUSED),
        ("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'", REFUSED),
        ("CREATE ROLE eve", REFUSED),
        ("CREATE EXTENSION pgcrypto", REFUSED),
        ("GRANT USAGE ON SCHEMA public TO PUBLIC", REFUSED),
    ),
    "`DO`": (
        ("DO $$ BEGIN PERFORM 1; END $$", OK),
        ("DO $$ BEGIN DELETE FROM books; END $$", REFUSED),
        ("DO $$ BEGIN DELETE FROM books_a; END $$", REFUSED),
        ("DO $$ BEGIN PERFORM * FROM branches; END $$", REFUSED),
    ),
    "functions of your own": (),  # tests/planner: the nodes have none here
}

SESSIONS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "`BEGIN`, `START TRANSACTION`, `COMMIT`, `END`, `ROLLBACK`, `ABORT`, `AND CHAIN`, `SAVEPOINT`, `ROLLBACK TO`, `RELEASE`": (
        ("SAVEPOINT a; SELECT 1/0", "22012"),
        ("SAVEPOINT a; SELECT 1; ROLLBACK TO a; RELEASE a", OK),
        ("COMMIT AND CHAIN; SELECT 1; ABORT; START TRANSACTION READ ONLY; SELECT 2; END; BEGIN", OK),
    ),
    "`SET CONSTRAINTS ALL`": (("SET CONSTRAINTS ALL DEFERRED; SELECT 1; SET CONSTRAINTS ALL IMMEDIATE", OK),),
    "`PREPARE TRANSACTION`, `COMMIT PREPARED`, `ROLLBACK PREPARED`, `SET TRANSACTION SNAPSHOT`, "
    "`SET CONSTRAINTS` by name": (
        ("PREPARE TRANSACTION 'x'", REFUSED),
        ("COMMIT; COMMIT PREPARED 'x'", REFUSED),
        ("COMMIT; ROLLBACK PREPARED 'x'", REFUSED),
        ("SET TRANSACTION SNAPSHOT '0-0-1'", REFUSED),
        ("SET CONSTRAINTS books_unique DEFERRED", REFUSED),
    ),
    "`SET`, `SET LOCAL`, `SET TRANSACTION`, `SET SESSION CHARACTERISTICS` (one at once), `SET ROLE`, "
    "`SET SESSION AUTHORIZATION`, `RESET`, `DISCARD`": (
        ("SET LOCAL work_mem = '5MB'; SHOW work_mem", OK),
        ("SET application_name = 'me'; SHOW application_name; RESET application_name", OK),
        ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SHOW transaction_isolation", OK),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", OK),
        ("SET LOCAL ROLE pg_monitor; SELECT current_user", OK),
        ("COMMIT; SET SESSION AUTHORIZATION DEFAULT; DISCARD PLANS; BEGIN", OK),
    ),
    "`standard_conforming_strings = off`, `client_encoding` other than `UTF8`, `transform_null_equals = on`": (
        ("SET standard_conforming_strings = off", REFUSED),
        ("SET client_encoding = 'latin1'", REFUSED),
        ("SET transform_null_equals = on", REFUSED),
    ),
    "settings of the nodes themselves (configuration file, `ALTER SYSTEM`, `ALTER DATABASE` or `ROLE … SET`) that change "
    "answers": (),  # tests/cluster/test_node_settings.py
    "`extra_float_digits` below 1": (("SET extra_float_digits = 0", REFUSED),),
    "`DateStyle` other than `ISO`, `IntervalStyle` other than `postgres`, `bytea_output` other than `hex`": (
        ("SET LOCAL DateStyle = 'German'; SELECT joined FROM patrons WHERE patron_id = 7", OK),
        ("SET LOCAL DateStyle = 'German'; SELECT joined FROM patrons ORDER BY joined", REFUSED),
        ("SET LOCAL bytea_output = 'escape'; SELECT max(blob) FROM samples", REFUSED),
    ),
    "`SELECT set_config('name', value, false)`, alone or beside `current_setting()`": (
        ("SELECT set_config('work_mem', '5MB', false); SHOW work_mem", OK),
        ("SELECT current_setting('work_mem'), set_config('work_mem', '6MB', false)", OK),
    ),
    "`search_path` with `pg_temp` in it, `idle_session_timeout`": (
        ("SET search_path = pg_temp, public", REFUSED),
        ("SET idle_session_timeout = '1h'", REFUSED),
    ),
    "`statement_timeout`, `lock_timeout`, `transaction_timeout`, `idle_in_transaction_session_timeout`": (
        ("SET LOCAL statement_timeout = '50ms'; SELECT pg_sleep(10)", "57014"),
        ("SET lock_timeout = '1s'; SET transaction_timeout = '1h'; SET idle_in_transaction_session_timeout = '1h'", OK),
    ),
    "`set_config()` otherwise, `currval()`, `lastval()`": (
        ("SELECT set_config('work_mem', '5MB', true)", REFUSED),
        ("SELECT currval('numbers')", REFUSED),
        ("SELECT lastval()", REFUSED),
    ),
    "`PREPARE`, `EXECUTE`, `DEALLOCATE`": (
        ("PREPARE p AS SELECT count(*) FROM books WHERE branch = $1; EXECUTE p('west'); DEALLOCATE p", OK),
        ("EXECUTE nosuch", "26000"),
    ),
    "`EXPLAIN EXECUTE`, `CREATE TABLE AS EXECUTE`, functions that act on something (but `nextval`, `setval`) among the "
    "arguments of `EXECUTE`": (
        ("PREPARE p AS SELECT $1::int; EXPLAIN EXECUTE p(1)", REFUSED),
        ("PREPARE p AS SELECT $1::int; CREATE TABLE made AS EXECUTE p(1)", REFUSED),
        ("PREPARE p AS SELECT $1::text; EXECUTE p(pg_notify('hello', ''))", REFUSED),
    ),
    "`LISTEN`, `UNLISTEN`, `NOTIFY`, `pg_notify()`": (
        ("LISTEN a; UNLISTEN a; NOTIFY a; SELECT pg_notify('a', 'b')", OK),
    ),
    "temporary tables, session-level advisory locks": (
        ("CREATE TEMP TABLE notes AS SELECT 1 AS n; SELECT n FROM notes", OK),
        ("SELECT pg_advisory_lock(1), pg_advisory_unlock(1)", OK),
        ("CREATE TEMP TABLE notes AS SELECT 1 AS n; SELECT count(*) FROM books, notes", REFUSED),
        *((f'CREATE TEMP TABLE "{name}" (n int)', REFUSED) for name in ("books", "books_a", "branches", "pg_class")),
    ),
    "`CLOSE ALL`, `DISCARD ALL`, `PLANS`, `TEMP`, `SEQUENCES`": (
        ("CLOSE ALL; DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES", OK),
        ("DISCARD ALL", "25001"),
    ),
    "`DECLARE`, `FETCH`, `MOVE`, `CLOSE`": (
        (
            "DECLARE c CURSOR FOR SELECT isbn FROM books ORDER BY isbn, branch; FETCH 2 FROM c; MOVE 3 FROM c; CLOSE c",
            OK,
        ),
    ),
    "`EXPLAIN` of a sharded statement, with any options but `FORMAT`": (
        ("EXPLAIN (FORMAT JSON) SELECT * FROM books", REFUSED),
    ),
    "`STATUS;`": (),  # no PostgreSQL has it
}

CURSORS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "one node's rows, without `HOLD`": (
        (
            "DECLARE c SCROLL CURSOR FOR SELECT isbn FROM books WHERE branch = 'west' ORDER BY isbn; "
            "FETCH LAST FROM c; FETCH PRIOR FROM c; FETCH ABSOLUTE 2 FROM c; FETCH BACKWARD ALL FROM c",
            OK,
        ),
    ),
    "several shards": (
        (
            "DECLARE c CURSOR FOR SELECT isbn FROM books ORDER BY isbn, branch; "
            "FETCH 3 FROM c; MOVE 2 FROM c; FETCH RELATIVE 2 FROM c; FETCH ABSOLUTE 20 FROM c",
            OK,
        ),
    ),
    "several shards, `SCROLL`": (
        (
            "DECLARE c SCROLL CURSOR FOR SELECT isbn FROM books ORDER BY isbn, branch; "
            "FETCH LAST FROM c; FETCH PRIOR FROM c; FETCH ABSOLUTE 2 FROM c; FETCH BACKWARD ALL FROM c",
            OK,
        ),
    ),
    "several shards, neither `SCROLL` nor `NO SCROLL`, backward": (
        ("DECLARE c CURSOR FOR SELECT isbn FROM books; FETCH 3 FROM c; FETCH PRIOR FROM c", REFUSED),
    ),
    "anything, `WITH HOLD`": (
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT isbn FROM books ORDER BY isbn, branch; FETCH 3 FROM c; COMMIT; "
            "FETCH 3 FROM c; CLOSE c",
            OK,
        ),
    ),
    "several shards, with `FOR UPDATE` or in `REPEATABLE READ` and `SERIALIZABLE`": (
        ("DECLARE c CURSOR FOR SELECT isbn FROM books FOR UPDATE", REFUSED),
        ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; DECLARE c CURSOR FOR SELECT isbn FROM books", REFUSED),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; DECLARE c CURSOR FOR SELECT isbn FROM books", REFUSED),
    ),
}
