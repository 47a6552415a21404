"""psycopg 3 with its usual idioms: sync, async, pools, pipelines, text and binary."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row, namedtuple_row
from psycopg.types.json import Jsonb
from psycopg.types.range import Range
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tests.clients.sides import Side, Sides
from tests.clients.values import IDS, ISBN, NEW_ISBN, STATEMENTS, VALUES

INSERT = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES (%s, %s, %s, %s, %s)"
MINE = "SELECT book_name, price FROM books WHERE branch = 'west' AND isbn >= 9999999999001 ORDER BY isbn"


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize(("type_name", "value"), VALUES, ids=IDS)
def test_a_value_comes_back(sides: Sides, type_name: str, value: Any, binary: bool) -> None:
    placeholder = "%b" if binary else "%t"

    def program(side: Side) -> Any:
        with psycopg.connect(side.url()) as connection:
            cursor = connection.cursor(binary=binary)
            return cursor.execute(f"SELECT {placeholder}::{type_name}, NULL::{type_name}", (value,)).fetchone()

    assert sides.alike(program) == (value, None)


def test_json_and_ranges(sides: Sides) -> None:
    def program(side: Side) -> Any:
        with psycopg.connect(side.url()) as connection:
            sql = "SELECT %s::jsonb, %s::json, %s::int4range, %b::int8range"
            whole = Range(1, 5)
            return connection.execute(sql, (Jsonb({"a": [1, None]}), "[1.0]", "[2,4)", whole)).fetchone()

    assert sides.alike(program) == ({"a": [1, None]}, [1.0], Range(2, 4), Range(1, 5))


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_statements_prepared_and_not(sides: Sides, binary: bool) -> None:
    def program(side: Side) -> Any:
        with psycopg.connect(side.url(), autocommit=True) as connection:
            cursor = connection.cursor(binary=binary)
            return [
                cursor.execute(sql, values, prepare=prepare).fetchall()
                for prepare in (None, True, True, False)
                for sql, values in STATEMENTS
            ]

    answers = sides.alike(program)
    assert len(answers[1]) == 3


def test_rows_one_by_one(sides: Sides) -> None:
    def program(side: Side) -> Any:
        with psycopg.connect(side.url()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT isbn, branch FROM books ORDER BY isbn, branch")
            found: list[Any] = [cursor.rowcount, cursor.fetchone(), cursor.fetchmany(3), len(cursor.fetchall())]
            cursor.row_factory = dict_row
            found += cursor.execute("SELECT name, joined FROM patrons WHERE patron_id = 1001")
            cursor.row_factory = namedtuple_row
            found.append(cursor.execute("SELECT name FROM patrons WHERE patron_id = 1001").fetchone().name)
            found += [
                row.branch for row in cursor.stream("SELECT branch FROM books WHERE isbn = %s ORDER BY 1", (ISBN,))
            ]
            return found

    assert sides.alike(program)[-3:] == ["downtown", "north", "west"]


SCROLLED = "SELECT isbn, branch, price FROM books WHERE price > %s ORDER BY isbn, branch"
ROUTED = "SELECT isbn, branch, price FROM books WHERE branch = 'west' AND price > %s ORDER BY isbn"


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("sql", [SCROLLED, ROUTED])
def test_server_side_cursors(sql: str, binary: bool, sides: Sides) -> None:
    def program(side: Side) -> Any:
        found: list[Any] = []
        with psycopg.connect(side.url()) as connection:
            with connection.cursor("one", binary=binary) as one, connection.cursor("two", scrollable=True) as two:
                one.itersize = 7
                one.execute(sql, (5,))
                two.execute(sql, (9,))
                found += [column.name for column in one.description]
                for at, row in zip(range(20), one, strict=False):
                    found += [at, row, two.fetchone()]
                found += [one.fetchmany(4), two.fetchmany(3)]
                two.scroll(-5)
                found.append(two.fetchone())
                two.scroll(0, mode="absolute")
                found += [two.fetchmany(2), two.fetchall(), one.fetchall(), one.fetchone()]
            with connection.cursor("one", scrollable=False) as one:
                one.execute(sql, (5,))
                one.scroll(3)
                found.append(one.fetchone())
                with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
                    one.scroll(-1)
        return found

    assert len(sides.alike(program)) > 50


@pytest.mark.parametrize("sql", [SCROLLED, ROUTED])
def test_cursors_with_hold(sql: str, sides: Sides) -> None:
    def program(side: Side) -> Any:
        with psycopg.connect(side.url()) as connection:
            cursor = connection.cursor("held", withhold=True)
            cursor.execute(sql, (5,))
            found: list[Any] = [cursor.fetchmany(3)]
            connection.commit()
            found.append(cursor.fetchmany(3))
            connection.rollback()
            found.append(cursor.fetchall())
            cursor.close()
            connection.autocommit = True
            with connection.cursor("again", withhold=True, scrollable=True) as again:
                again.execute(sql, (5,))
                again.scroll(5)
                found += [again.fetchone(), again.fetchall()]
        return found

    alike = sides.alike(program)
    assert len(alike[0]) == 3


def test_async_server_side_cursor(sides: Sides) -> None:
    async def talk(side: Side) -> Any:
        async with await psycopg.AsyncConnection.connect(side.url()) as connection:
            async with connection.cursor("one") as cursor:
                cursor.itersize = 10
                await cursor.execute(SCROLLED, (5,))
                found = [row async for row in cursor]
            async with connection.cursor("two") as cursor:
                await cursor.execute(SCROLLED, (5,))
                found += await cursor.fetchmany(5)
            return found

    assert len(sides.alike(lambda side: asyncio.run(talk(side)))) > 10


def test_transactions_savepoints_and_executemany(sides: Sides) -> None:
    def program(side: Side) -> Any:
        found: list[Any] = []
        with psycopg.connect(side.url()) as connection, connection.cursor() as cursor:
            books = [(NEW_ISBN + at, "west", f"book {at}", "me", at) for at in range(20)]
            cursor.executemany(INSERT, books)
            found += [cursor.rowcount, cursor.execute(MINE).fetchall()]
            with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
                cursor.execute(INSERT, books[0])
            with connection.transaction():
                cursor.executemany(
                    "UPDATE books SET price = price * %s WHERE branch = 'west' AND isbn = %s RETURNING price",
                    [(2, NEW_ISBN), (3, NEW_ISBN + 1), (4, NEW_ISBN + 99)],
                    returning=True,
                )
                while True:
                    found.append(cursor.fetchall())
                    if not cursor.nextset():
                        break
            with connection.transaction():
                cursor.execute("DELETE FROM books WHERE branch = 'west' AND isbn > %s", (NEW_ISBN,))
                found.append(cursor.rowcount)
                raise psycopg.Rollback
            found.append(cursor.execute(MINE).fetchall())
            connection.rollback()
            found.append(cursor.execute(MINE).fetchall())
            connection.commit()
            cursor.execute(INSERT, books[3])
            connection.commit()
        with psycopg.connect(side.url()) as connection:
            found.append(connection.execute(MINE).fetchall())
            found.append(
                connection.execute("DELETE FROM books WHERE branch = 'west' AND isbn >= %s", (NEW_ISBN,)).rowcount
            )
        return found

    assert sides.alike(program)[-1] == 1


@pytest.mark.parametrize(
    ("sql", "values", "error"),
    [
        ("SELECT nope FROM books WHERE isbn = %s", (1,), psycopg.errors.UndefinedColumn),
        ("SELECT * FROM nope WHERE a = %s", (1,), psycopg.errors.UndefinedTable),
        ("SELEC %s", (1,), psycopg.errors.SyntaxError),
        ("SELECT 1 / %s", (0,), psycopg.errors.DivisionByZero),
        ("SELECT price / %s FROM books", (0,), psycopg.errors.DivisionByZero),
        ("SELECT * FROM books WHERE isbn = %s", ("x",), psycopg.errors.InvalidTextRepresentation),
        (INSERT, (ISBN, "west", "a", "b", 1), psycopg.errors.UniqueViolation),
        (INSERT, (NEW_ISBN, "west", None, "b", 1), psycopg.errors.NotNullViolation),
        (INSERT, (NEW_ISBN, "west", "a", "b", 10**9), psycopg.errors.NumericValueOutOfRange),
    ],
)
def test_errors(sides: Sides, sql: str, values: tuple[Any, ...], error: type[psycopg.Error]) -> None:
    def program(side: Side) -> Any:
        with psycopg.connect(side.url()) as connection:
            with pytest.raises(error) as raised:
                connection.execute(sql, values)
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                connection.execute("SELECT 1")
            connection.rollback()
            diagnosis = raised.value.diag
            after = connection.execute("SELECT 1").fetchone()
            return raised.value.sqlstate, diagnosis.column_name, diagnosis.statement_position, after

    assert sides.alike(program)[0] == error.sqlstate


def test_a_pipeline(sides: Sides) -> None:
    def program(side: Side) -> Any:
        with psycopg.connect(side.url(), autocommit=True) as connection, connection.pipeline() as pipeline:
            cursors = [connection.execute(sql, values) for sql, values in STATEMENTS * 4]
            pipeline.sync()
            found: list[Any] = [cursor.fetchall() for cursor in cursors]
            with pytest.raises(psycopg.errors.UniqueViolation):
                connection.execute(INSERT, (ISBN, "west", "a", "b", 1)).fetchall()
            pipeline.sync()
            found.append(connection.execute("SELECT %s::int", (5,)).fetchone())
            return found

    assert sides.alike(program)[-1] == (5,)


def test_async(sides: Sides) -> None:
    async def program(side: Side) -> Any:
        async with await psycopg.AsyncConnection.connect(side.url()) as connection:
            found = []
            for sql, values in STATEMENTS:
                cursor = await connection.execute(sql, values, binary=True)
                found.append([row async for row in cursor])
            async with connection.transaction(force_rollback=True):
                await connection.execute(INSERT, (NEW_ISBN, "west", "a", "b", 1))
            found.append(await (await connection.execute(MINE)).fetchall())
            return found

    assert sides.alike(lambda side: asyncio.run(program(side)))[-1] == []


def test_the_pool_replaces_a_broken_connection(sides: Sides) -> None:
    def program(side: Side) -> Any:
        with ConnectionPool(side.url(), min_size=1, max_size=2, check=ConnectionPool.check_connection) as pool:
            with pool.connection() as connection:
                connection.execute("SET application_name TO 'mine'")
            found = []
            with pool.connection() as connection, socket.socket(fileno=os.dup(connection.fileno())) as cut:
                cut.shutdown(socket.SHUT_RDWR)
            for sql, values in STATEMENTS:
                with pool.connection() as connection:
                    found.append(connection.execute(sql, values).fetchall())
            return found

    sides.alike(program)


def test_the_async_pool(sides: Sides) -> None:
    async def program(side: Side) -> Any:
        async with AsyncConnectionPool(side.url(), min_size=2, max_size=4, open=False) as pool:

            async def ask(sql: str, values: tuple[Any, ...]) -> Any:
                async with pool.connection() as connection:
                    return await (await connection.execute(sql, values)).fetchall()

            return await asyncio.gather(*(ask(sql, values) for sql, values in STATEMENTS * 5))

    sides.alike(lambda side: asyncio.run(program(side)))


def test_notifications_without_blocking(sides: Sides) -> None:
    async def program(side: Side) -> Any:
        listener = await psycopg.AsyncConnection.connect(side.url(), autocommit=True)
        speaker = await psycopg.AsyncConnection.connect(side.url(), autocommit=True)
        async with listener, speaker:
            await listener.execute("LISTEN shelf")

            async def listen() -> list[tuple[str, str]]:
                return [
                    (notify.channel, notify.payload) async for notify in listener.notifies(timeout=90, stop_after=3)
                ]

            task = asyncio.create_task(listen())
            for number in range(3):
                await speaker.execute("SELECT pg_notify('shelf', %s)", (str(number),))
            return await task

    assert sides.alike(lambda side: asyncio.run(program(side))) == [("shelf", "0"), ("shelf", "1"), ("shelf", "2")]


def test_temporary_tables_with_prepared_statements(sides: Sides) -> None:
    def program(side: Side) -> Any:
        with psycopg.connect(side.url(), prepare_threshold=1) as connection:
            connection.execute("CREATE TEMP TABLE mine (a int, b text)")
            for number in range(6):
                connection.execute("INSERT INTO mine VALUES (%s, %s)", (number, str(number)))
            connection.commit()
            found = connection.execute("SELECT * FROM mine WHERE a > %s ORDER BY a", (3,)).fetchall()
            connection.rollback()
            found += connection.execute("SELECT count(*) FROM mine").fetchall()
            return found

    assert sides.alike(program) == [(4, "4"), (5, "5"), (6,)]
