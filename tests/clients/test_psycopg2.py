"""psycopg2 with its usual idioms: values are written into the statement, so all is the simple protocol."""

from __future__ import annotations

from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extras
import psycopg2.pool
import pytest

from tests.clients.sides import Side, Sides
from tests.clients.values import ISBN, NEW_ISBN, STATEMENTS, VALUES

INSERT = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES (%s, %s, %s, %s, %s)"
MINE = "SELECT book_name, price FROM books WHERE branch = 'west' AND isbn >= 9999999999001 ORDER BY isbn"
KEPT = [(name, value) for name, value in VALUES if name not in ("int", "smallint")]  # -1::int is -(1::int) there


@pytest.fixture(autouse=True, scope="module")
def _uuids() -> None:
    psycopg2.extras.register_uuid()


def alike(sides: Sides, program: Any) -> Any:
    def connected(side: Side) -> Any:
        connection = psycopg2.connect(side.url())
        try:
            return program(connection)
        finally:
            connection.close()

    return sides.alike(connected)


@pytest.mark.parametrize(("type_name", "value"), KEPT, ids=[f"{name}-{str(value)[:20]}" for name, value in KEPT])
def test_a_value_comes_back(sides: Sides, type_name: str, value: Any) -> None:
    def program(connection: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT %s::{type_name}, NULL::{type_name}", (value,))
            given, null = cursor.fetchone()
            return (bytes(given) if type_name == "bytea" else given), null

    assert alike(sides, program) == (value, None)


def test_statements(sides: Sides) -> None:
    def program(connection: Any) -> Any:
        found = []
        with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            for sql, values in STATEMENTS:
                cursor.execute(sql, values)
                found += [cursor.fetchone(), cursor.fetchmany(2), cursor.fetchall(), cursor.rowcount]
                found.append([(column.name, column.type_code) for column in cursor.description])
        return found

    alike(sides, program)


@pytest.mark.parametrize("where", ["", "branch = 'west' AND"])
def test_named_cursors(where: str, sides: Sides) -> None:
    def program(connection: Any) -> Any:
        sql = f"SELECT isbn, branch FROM books WHERE {where} price > %s ORDER BY isbn, branch"
        found = []
        with connection.cursor("one") as one, connection.cursor("two", scrollable=True) as two:
            one.itersize = 6
            one.execute(sql, (5,))
            two.execute(sql, (9,))
            for row in one:
                found += [row, two.fetchone()]
            two.scroll(-4)
            found += [two.fetchone(), two.fetchmany(3)]
            two.scroll(2, mode="absolute")
            found += two.fetchall()
        held = connection.cursor("held", withhold=True)
        held.execute(sql, (5,))
        found += held.fetchmany(3)
        connection.commit()
        found += held.fetchmany(3)
        held.close()
        connection.rollback()
        return found

    assert len(alike(sides, program)) > 10


def test_transactions_savepoints_and_many_rows(sides: Sides) -> None:
    def program(connection: Any) -> Any:
        books = [(NEW_ISBN + at, "west", f"book {at}", "me", at) for at in range(20)]
        found = []
        with connection, connection.cursor() as cursor:
            cursor.executemany(INSERT, books[:3])
            psycopg2.extras.execute_batch(cursor, INSERT, books[3:8], page_size=3)
            found += psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO books (isbn, branch, book_name, author, price) VALUES %s RETURNING isbn",
                books[8:],
                fetch=True,
            )
            cursor.execute("SAVEPOINT here")
            with pytest.raises(psycopg2.errors.UniqueViolation):
                cursor.execute(INSERT, books[0])
            cursor.execute("ROLLBACK TO SAVEPOINT here")
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM books WHERE branch = 'west' AND isbn >= %s", (NEW_ISBN,))
            found.append(cursor.rowcount)
            connection.rollback()
        with connection, connection.cursor() as cursor:
            cursor.execute(MINE)
            found += cursor.fetchall()
            cursor.execute("DELETE FROM books WHERE branch = 'west' AND isbn >= %s", (NEW_ISBN,))
            found.append(cursor.rowcount)
        return found

    assert alike(sides, program)[-1] == 20


@pytest.mark.parametrize(
    ("sql", "values", "error"),
    [
        ("SELECT nope FROM books WHERE isbn = %s", (1,), psycopg2.errors.UndefinedColumn),
        ("SELEC %s", (1,), psycopg2.errors.SyntaxError),
        ("SELECT price / %s FROM books", (0,), psycopg2.errors.DivisionByZero),
        (INSERT, (ISBN, "west", "a", "b", 1), psycopg2.errors.UniqueViolation),
    ],
)
def test_errors(sides: Sides, sql: str, values: tuple[Any, ...], error: type[psycopg2.Error]) -> None:
    def program(connection: Any) -> Any:
        with connection.cursor() as cursor:
            with pytest.raises(error) as raised:
                cursor.execute(sql, values)
            with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
                cursor.execute("SELECT 1")
            connection.rollback()
            cursor.execute("SELECT 1")
            return raised.value.pgcode, raised.value.diag.statement_position, cursor.fetchone()

    alike(sides, program)


def test_the_pool_and_the_session_reset(sides: Sides) -> None:
    def program(side: Side) -> Any:
        pool = psycopg2.pool.ThreadedConnectionPool(1, 3, side.url())
        connection = pool.getconn()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET application_name TO 'mine'")
            cursor.execute("SHOW application_name")
            found = [cursor.fetchone()]
        connection.reset()
        with connection.cursor() as cursor:
            cursor.execute("SHOW application_name")
            found.append(cursor.fetchone())
        connection.rollback()
        connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
            found.append(cursor.fetchone())
        pool.putconn(connection)
        pool.closeall()
        return found

    assert sides.alike(program) == [("mine",), ("",), ("serializable", "on")]
