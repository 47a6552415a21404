"""asyncpg with its usual idioms: all parameters and rows in binary, every statement prepared, a pool that resets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests.clients.sides import Side, Sides
from tests.clients.values import IDS, ISBN, NEW_ISBN, STATEMENTS, VALUES

INSERT = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES ($1, $2, $3, $4, $5)"
MINE = "SELECT book_name, price FROM books WHERE branch = 'west' AND isbn >= 9999999999001 ORDER BY isbn"


def alike(sides: Sides, program: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
    async def connected(side: Side) -> Any:
        connection = await asyncpg.connect(side.url())
        try:
            return await program(connection)
        finally:
            await connection.close()

    return sides.alike(lambda side: asyncio.run(connected(side)))


def numbered(sql: str) -> str:
    """%s as $1, $2 …"""
    first, *others = sql.split("%s")
    return first + "".join(f"${at}{text}" for at, text in enumerate(others, 1))


def rows(records: list[asyncpg.Record]) -> list[tuple[Any, ...]]:
    return [tuple(record.items()) for record in records]


@pytest.mark.parametrize(("type_name", "value"), VALUES, ids=IDS)
def test_a_value_comes_back(sides: Sides, type_name: str, value: Any) -> None:
    async def program(connection: asyncpg.Connection) -> Any:
        return await connection.fetchval(f"SELECT $1::{type_name}", value)

    assert alike(sides, program) == value


def test_json_by_a_codec_and_other_types(sides: Sides) -> None:
    async def program(connection: asyncpg.Connection) -> Any:
        await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        row = await connection.fetchrow(
            "SELECT $1::jsonb, $2::inet, $3::text[][], NULL::uuid, now() > $4::timestamptz",
            {"a": [1, None]}, "10.0.0.1", [["a"], ["b"]], None,
        )  # fmt: skip
        return tuple(row)

    assert alike(sides, program)[0] == {"a": [1, None]}


def test_statements_fetched_and_prepared(sides: Sides) -> None:
    async def program(connection: asyncpg.Connection) -> Any:
        found: list[Any] = []
        for _ in range(3):
            for sql, values in STATEMENTS:
                found.append(rows(await connection.fetch(numbered(sql), *values)))
        for sql, values in STATEMENTS:
            statement = await connection.prepare(numbered(sql))
            found += [statement.get_parameters(), statement.get_attributes()]
            found += [rows(await statement.fetch(*values)) for _ in range(10)]
            found.append(statement.get_statusmsg())
        found.append(await connection.fetchval("SELECT count(*) FROM books"))
        found.append(await connection.fetchrow("SELECT * FROM books WHERE branch = $1", "nowhere"))
        sql = "SELECT isbn FROM books WHERE branch = ANY($1) AND price < $2 ORDER BY 1"
        found.append(rows(await connection.fetch(sql, ["west", "north"], Decimal(10))))
        found.append(rows(await connection.fetch(sql, [], Decimal(10))))
        sql = (
            "SELECT genre, count(*) * $3 AS n FROM books GROUP BY 1 HAVING sum(price) > $1 AND count(*) > $2 ORDER BY 1"
        )
        statement = await connection.prepare(sql)
        found += [statement.get_parameters(), statement.get_attributes()]
        found += [rows(await statement.fetch(Decimal("10.5"), least, 2)) for least in (0, 5, 1000)]
        return found

    alike(sides, program)


def test_transactions_savepoints_and_executemany(sides: Sides) -> None:
    async def program(connection: asyncpg.Connection) -> Any:
        books = [(NEW_ISBN + at, "west", f"book {at}", "me", at) for at in range(20)]
        found: list[Any] = []
        await connection.executemany(INSERT, books)
        found.append(rows(await connection.fetch(MINE)))
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.executemany(INSERT, [(NEW_ISBN + 50, "west", "a", "b", 1), books[0]])
        found.append(
            await connection.fetchval("SELECT count(*) FROM books WHERE branch = 'west' AND isbn > $1", NEW_ISBN)
        )
        async with connection.transaction():
            found.append(
                await connection.execute(
                    "UPDATE books SET price = 1 WHERE branch = $1 AND isbn >= $2", "west", NEW_ISBN
                )
            )
            with pytest.raises(asyncpg.PostgresError):
                async with connection.transaction():
                    await connection.execute(INSERT, *books[0])
            async with connection.transaction():
                found.append(
                    await connection.execute("DELETE FROM books WHERE branch = 'west' AND isbn > $1", NEW_ISBN)
                )
        found.append(rows(await connection.fetch(MINE)))
        transaction = connection.transaction(isolation="repeatable_read")
        await transaction.start()
        found.append(await connection.execute("DELETE FROM books WHERE branch = 'west' AND isbn >= $1", NEW_ISBN))
        await transaction.rollback()
        found.append(await connection.execute("DELETE FROM books WHERE branch = 'west' AND isbn >= $1", NEW_ISBN))
        return found

    assert alike(sides, program)[-1] == "DELETE 1"


@pytest.mark.parametrize("condition", ["branch = $1", "branch >= $1"])
def test_cursors(condition: str, sides: Sides) -> None:
    async def program(connection: asyncpg.Connection) -> Any:
        async with connection.transaction(readonly=True):
            sql = f"SELECT isbn, branch, price FROM books WHERE {condition} ORDER BY isbn, branch"
            found = [tuple(record) async for record in connection.cursor(sql, "north", prefetch=5)]
            cursor = await connection.cursor(sql, "west")
            other = await connection.cursor(sql, "north")
            found += [tuple(record) for record in await cursor.fetch(3)]
            found.append(tuple(await cursor.fetchrow()))
            found.append(await other.forward(4))
            found += [tuple(record) for record in await other.fetch(2)]
            found.append(await cursor.forward(2))
            found.append(await connection.fetchval("SELECT count(*) FROM books"))
            found.append(tuple(await cursor.fetchrow()))
            found.append(await cursor.forward(1000))
            found.append(await cursor.fetchrow())
            return found

    alike(sides, program)


@pytest.mark.parametrize(
    ("sql", "values", "error"),
    [
        ("SELECT nope FROM books WHERE isbn = $1", (1,), asyncpg.UndefinedColumnError),
        ("SELECT * FROM nope WHERE a = $1", (1,), asyncpg.UndefinedTableError),
        ("SELEC $1", (1,), asyncpg.PostgresSyntaxError),
        ("SELECT 1 / $1::int", (0,), asyncpg.DivisionByZeroError),
        ("SELECT price / $1 FROM books", (0,), asyncpg.DivisionByZeroError),
        (INSERT, (ISBN, "west", "a", "b", 1), asyncpg.UniqueViolationError),
        (INSERT, (NEW_ISBN, "west", None, "b", 1), asyncpg.NotNullViolationError),
        (INSERT, (NEW_ISBN, "west", "a", "b", 10**9), asyncpg.NumericValueOutOfRangeError),
    ],
)
def test_errors(sides: Sides, sql: str, values: tuple[Any, ...], error: type[asyncpg.PostgresError]) -> None:
    async def program(connection: asyncpg.Connection) -> Any:
        with pytest.raises(error) as raised:
            await connection.fetch(sql, *values)
        return raised.value.sqlstate, raised.value.column_name, await connection.fetchval("SELECT 1")

    alike(sides, program)


def test_the_pool_resets_its_connections(sides: Sides) -> None:
    async def ask(side: Side) -> Any:
        async with asyncpg.create_pool(side.url(), min_size=1, max_size=1) as pool:
            async with pool.acquire() as connection:
                await connection.execute("SET application_name TO 'mine'")
                found = [await connection.fetchval("SHOW application_name")]
            found.append(await pool.fetchval("SHOW application_name"))
            for sql, values in STATEMENTS:
                found.append(rows(await pool.fetch(numbered(sql), *values)))
            await pool.expire_connections()
            found.append(await pool.fetchval("SELECT $1::int", 5))
            return found

    assert sides.alike(lambda side: asyncio.run(ask(side)))[:2] == ["mine", ""]


def test_many_at_once(sides: Sides) -> None:
    async def ask(side: Side) -> Any:
        async with asyncpg.create_pool(side.url(), min_size=2, max_size=5) as pool:
            answers = await asyncio.gather(*(pool.fetch(numbered(sql), *values) for sql, values in STATEMENTS * 5))
            return [rows(answer) for answer in answers]

    sides.alike(lambda side: asyncio.run(ask(side)))


def test_listeners_temporary_tables_and_locks_over_a_pool(sides: Sides) -> None:
    """What asyncpg's pool says when it takes a connection back ends listening and gives up locks."""

    async def ask(side: Side) -> Any:
        async with asyncpg.create_pool(side.url(), min_size=2, max_size=3) as pool:
            heard: asyncio.Queue[tuple[str, str, bool]] = asyncio.Queue()
            async with pool.acquire() as listener, pool.acquire() as speaker:
                own = listener.get_server_pid()

                def hear(_: Any, pid: int, channel: str, payload: str) -> None:
                    heard.put_nowait((channel, payload, pid == own))

                await listener.add_listener("shelf", hear)
                await speaker.execute("NOTIFY shelf, 'one'")
                found: list[Any] = [await asyncio.wait_for(heard.get(), 90)]
                await listener.execute("SELECT pg_notify('shelf', $1)", "two")
                found.append(await asyncio.wait_for(heard.get(), 90))
                await listener.remove_listener("shelf", hear)
                found.append(await listener.fetchval("SELECT pg_try_advisory_lock(4711)"))
                found.append(await speaker.fetchval("SELECT pg_try_advisory_lock(4711)"))
                await listener.execute("CREATE TEMP TABLE mine (a int, b text)")
                await listener.executemany("INSERT INTO mine VALUES ($1, $2)", [(1, "x"), (2, "y")])
                found.append(rows(await listener.fetch("SELECT * FROM mine WHERE a > $1", 1)))
                await listener.execute("PREPARE double (int) AS SELECT $1 * 2 AS twice")
                found.append(rows(await listener.fetch("EXECUTE double (21)")))
            found.append(await pool.fetchval("SELECT pg_try_advisory_lock(4711)"))
            return found

    found = sides.alike(lambda side: asyncio.run(ask(side)))
    assert found[:2] == [("shelf", "one", False), ("shelf", "two", True)]
