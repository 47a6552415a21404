"""pg8000, a driver in pure Python, by its DB-API and by its native interface."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pg8000.dbapi
import pg8000.native
import pytest

from tests.clients.sides import Side, Sides
from tests.clients.values import ISBN, NEW_ISBN, STATEMENTS, VALUES

INSERT = "INSERT INTO books (isbn, branch, book_name, author, price) VALUES (%s, %s, %s, %s, %s)"
MINE = "SELECT book_name, price FROM books WHERE branch = 'west' AND isbn >= 9999999999001 ORDER BY isbn"
KEPT = [(name, value) for name, value in VALUES if value not in (float("-inf"), [])]  # pg8000 sends these otherwise


@contextmanager
def connected(side: Side) -> Iterator[Any]:
    connection = pg8000.dbapi.connect(side.user, host=side.host, port=side.port, database=side.database)
    try:
        yield connection
    finally:
        connection.close()


@pytest.mark.parametrize(("type_name", "value"), KEPT, ids=[f"{name}-{str(value)[:20]}" for name, value in KEPT])
def test_a_value_comes_back(sides: Sides, type_name: str, value: Any) -> None:
    def program(side: Side) -> Any:
        with connected(side) as connection:
            cursor = connection.cursor()
            cursor.execute(f"SELECT CAST(%s AS {type_name}), CAST(NULL AS {type_name})", (value,))
            return cursor.fetchone()

    assert sides.alike(program) == [value, None]


def test_statements(sides: Sides) -> None:
    def program(side: Side) -> Any:
        found = []
        with connected(side) as connection:
            cursor = connection.cursor()
            for sql, values in STATEMENTS:
                cursor.execute(sql, values)
                found += [cursor.fetchone(), cursor.fetchmany(2), cursor.fetchall(), cursor.rowcount]
                found.append([column[:2] for column in cursor.description])
        return found

    sides.alike(program)


def test_transactions_savepoints_and_executemany(sides: Sides) -> None:
    def program(side: Side) -> Any:
        found = []
        with connected(side) as connection:
            cursor = connection.cursor()
            cursor.executemany(INSERT, [(NEW_ISBN + at, "west", f"book {at}", "me", at) for at in range(10)])
            cursor.execute("SAVEPOINT here")
            with pytest.raises(pg8000.dbapi.DatabaseError) as raised:
                cursor.execute(INSERT, (NEW_ISBN, "west", "again", "me", 1))
            found.append(raised.value.args[0]["C"])
            cursor.execute("ROLLBACK TO SAVEPOINT here")
            cursor.execute(MINE)
            found.append(cursor.fetchall())
            connection.rollback()
            cursor.execute(MINE)
            found.append(cursor.fetchall())
            cursor.execute(INSERT, (NEW_ISBN, "west", "kept", "me", 1))
            connection.commit()
        with connected(side) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("DELETE FROM books WHERE branch = 'west' AND isbn >= %s RETURNING book_name", (NEW_ISBN,))
            found.append(cursor.fetchall())
        return found

    assert sides.alike(program)[-1] == (["kept"],)


@pytest.mark.parametrize(
    ("sql", "values", "sqlstate"),
    [
        ("SELECT nope FROM books WHERE isbn = %s", (1,), "42703"),
        ("SELEC %s", (1,), "42601"),
        ("SELECT price / %s FROM books", (0,), "22012"),
        (INSERT, (ISBN, "west", "a", "b", 1), "23505"),
    ],
)
def test_errors(sides: Sides, sql: str, values: tuple[Any, ...], sqlstate: str) -> None:
    def program(side: Side) -> Any:
        with connected(side) as connection:
            cursor = connection.cursor()
            with pytest.raises(pg8000.dbapi.DatabaseError) as raised:
                cursor.execute(sql, values)
            connection.rollback()
            cursor.execute("SELECT 1")
            return raised.value.args[0]["C"], cursor.fetchone()

    assert sides.alike(program) == (sqlstate, [1])


def test_native_prepared_statements(sides: Sides) -> None:
    def program(side: Side) -> Any:
        connection = pg8000.native.Connection(side.user, host=side.host, port=side.port, database=side.database)
        try:
            found = [connection.run("SELECT name FROM patrons WHERE patron_id = :id", id=1005)]
            routed = connection.prepare("SELECT book_name, price FROM books WHERE branch = :branch AND isbn = :isbn")
            scattered = connection.prepare("SELECT branch FROM books WHERE isbn = :isbn ORDER BY branch")
            for _ in range(5):
                found += [routed.run(branch=branch, isbn=ISBN) for branch in ("west", "north", "downtown", "nowhere")]
                found.append(scattered.run(isbn=ISBN))
            routed.close()
            return found
        finally:
            connection.close()

    assert sides.alike(program)[-1] == [["downtown"], ["north"], ["west"]]
