"""The extended query protocol as real clients speak it, held against one PostgreSQL."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import pq
from psycopg.rows import tuple_row

from pgproxy.demo.nodes import programs_folder
from tests.fix_nodes import ReferencePostgres
from tests.fix_proxy import RunningProxy

ISBN = 9780451524935


@pytest.fixture
def connection(shared_proxy: RunningProxy) -> Iterator[psycopg.Connection]:
    """psycopg as it comes: server-side binding, prepares what is used five times."""
    with psycopg.connect(shared_proxy.conninfo, autocommit=True) as connected:
        yield connected


@pytest.fixture
def reference(reference_pg: ReferencePostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(reference_pg.conninfo, autocommit=True) as connected:
        yield connected


STATEMENTS: list[tuple[str, tuple[Any, ...]]] = [
    ("SELECT book_name, price FROM books WHERE branch = %s AND isbn = %s", ("west", ISBN)),
    ("SELECT book_name, price FROM books WHERE branch = %s AND isbn = %s", ("nowhere", ISBN)),
    ("SELECT book_name, price FROM books WHERE branch = %s", (None,)),
    ("SELECT branch, book_name, price FROM books WHERE isbn = %s ORDER BY branch DESC", (ISBN,)),
    ("SELECT isbn, branch, price, updated_at > '2000-01-01' FROM books ORDER BY price DESC, isbn, 2 LIMIT %s", (7,)),
    ("SELECT isbn, branch FROM books ORDER BY isbn, branch LIMIT %s OFFSET %s", (5, 60)),
    ("SELECT isbn, branch FROM books ORDER BY isbn, branch LIMIT %s", (None,)),
    ("SELECT DISTINCT genre FROM books WHERE published_year > %s ORDER BY genre NULLS FIRST", (1950,)),
    (
        ("SELECT genre, count(*), sum(price), avg(price), max(book_name) FROM books WHERE branch = ANY(%s) "
        "GROUP BY genre ORDER BY genre"),
        (["west", "north"],),
    ),
    ("SELECT count(*), avg(published_year), min(price), sum(isbn) FROM books WHERE price > %s", (Decimal("10.5"),)),
    ("SELECT genre, count(*) + 1 AS more FROM books GROUP BY genre HAVING count(*) > 2 ORDER BY more DESC, genre", ()),
    ("SELECT name, joined FROM patrons WHERE patron_id = %s", (1005,)),
    ("SELECT name, joined FROM patrons WHERE patron_id IN (%s, %s) ORDER BY 1", (1005, 1006)),
    ("SELECT name, joined FROM patrons WHERE joined < %s ORDER BY joined, patron_id LIMIT 3", (date(2020, 1, 1),)),
    ("SELECT patron_id, name FROM patrons WHERE patron_id BETWEEN %s AND %s ORDER BY patron_id", (1001, 1010)),
    ("SELECT %s::int + 1, %s::text || 'x', now() IS NOT NULL", (41, "a")),
    ("SELECT 1 AS a, NULL AS b, 'c' AS c", ()),
    ("SHOW server_encoding", ()),
]  # fmt: skip


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize(("sql", "values"), STATEMENTS, ids=[sql for sql, _ in STATEMENTS])
def test_an_answer_is_one_postgresqls(
    connection: psycopg.Connection, reference: psycopg.Connection, sql: str, values: tuple[Any, ...], binary: bool
) -> None:
    for _ in range(8):  # prepared on the way
        ours = connection.cursor(binary=binary, row_factory=tuple_row).execute(sql, values or None)
        theirs = reference.cursor(binary=binary, row_factory=tuple_row).execute(sql, values or None)
        rows, expected = ours.fetchall(), theirs.fetchall()
        if "ORDER BY" not in sql:
            rows, expected = sorted(rows, key=repr), sorted(expected, key=repr)
        assert rows == expected
        assert ours.statusmessage == theirs.statusmessage
        described = [(column.name, column.type_code) for column in ours.description or ()]
        assert described == [(column.name, column.type_code) for column in theirs.description or ()]


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("SELECT nope FROM books WHERE branch = $1", (b"west",)),
        ("SELECT book_name FROM books WHERE isbn = $1", (b"x",)),
        ("SELECT book_name FROM books WHERE branch = $1 AND isbn = $2", (b"west", b"x")),
        ("SELECT book_name FROM books WHERE branch = $1", ()),
        ("SELECT book_name FROM books WHERE branch = $1", (b"a", b"b")),
        ("SELECT 1; SELECT 2", ()),
        ("SELEC 1", ()),
        ("SELECT 1 / $1::int", (b"0",)),
        ("SELECT price / $1 FROM books WHERE branch = 'west'", (b"0",)),
        ("SELECT $1::nope", (b"0",)),
        ("SELECT isbn FROM books ORDER BY isbn LIMIT $1", (b"-1",)),
        ("INSERT INTO books (isbn, branch, book_name, author) VALUES ($1, $2, 'x', 'y')", (b"1", b"mars")),
        ("INSERT INTO patrons (patron_id, name, branch, joined) VALUES ($1, 'x', 'y', now())", (None,)),
    ],
)
def test_errors_have_their_sqlstates(
    connection: psycopg.Connection, reference: psycopg.Connection, sql: str, values: tuple[bytes | None, ...]
) -> None:
    states = []
    for client in (connection, reference):
        result = client.pgconn.exec_params(sql.encode(), values)
        states.append(result.error_field(pq.DiagnosticField.SQLSTATE))
        assert client.execute("SELECT 1").fetchone() == (1,)
    if "mars" in repr(values):
        assert states[0] == b"23514"  # no shard; a single table would take it
        reference.execute("DELETE FROM books WHERE branch = 'mars'")
    else:
        assert states[0] == states[1]
    assert states[0] is not None


def test_statements_are_described_before_they_are_bound(
    connection: psycopg.Connection, reference: psycopg.Connection
) -> None:
    sql = b"SELECT book_name, price, isbn FROM books WHERE isbn = $1 AND price < $2 ORDER BY updated_at LIMIT $3"
    described = []
    for client in (connection, reference):
        assert client.pgconn.prepare(b"s", sql).status == pq.ExecStatus.COMMAND_OK
        result = client.pgconn.describe_prepared(b"s")
        described.append(
            (
                [result.param_type(at) for at in range(result.nparams)],
                [(result.fname(at), result.ftype(at), result.fmod(at)) for at in range(result.nfields)],
            )
        )
        assert client.pgconn.describe_prepared(b"none").error_field(pq.DiagnosticField.SQLSTATE) == b"26000"
    assert described[0] == described[1]
    assert described[0][0] == [20, 1700, 20]


def test_writes_in_transactions(connection: psycopg.Connection) -> None:
    connection.autocommit = False
    with connection.transaction():
        written = connection.execute(
            "UPDATE books SET price = price + %s WHERE branch = %s AND isbn = %s RETURNING price", (1, "west", ISBN)
        ).fetchall()
        assert len(written) == 1
        again = connection.execute("SELECT price FROM books WHERE branch = %s AND isbn = %s", ("west", ISBN)).fetchall()
        assert again == written
        raise psycopg.Rollback
    now = connection.execute("SELECT price FROM books WHERE branch = %s AND isbn = %s", ("west", ISBN)).fetchall()
    assert now != written
    connection.rollback()


def test_a_pipeline_answers_in_order_and_is_one_transaction(connection: psycopg.Connection) -> None:
    with connection.pipeline():
        cursors = [
            connection.execute("SELECT branch, %s::int FROM books WHERE branch = %s AND isbn = %s", (at, branch, ISBN))
            for at, branch in enumerate(["west", "north", "downtown"] * 20)
        ]
        assert [cursor.fetchone() for cursor in cursors] == [
            (branch, at) for at, branch in enumerate(["west", "north", "downtown"] * 20)
        ]
    price = "SELECT price FROM books WHERE branch = 'west' AND isbn = 9780451524935"
    before = connection.execute(price).fetchone()
    with pytest.raises(psycopg.errors.DivisionByZero):
        _fail_in_a_pipeline(connection)
    assert connection.execute(price).fetchone() == before


def _fail_in_a_pipeline(connection: psycopg.Connection) -> None:
    with connection.pipeline():
        connection.execute("UPDATE books SET price = 1 WHERE branch = %s AND isbn = %s", ("west", ISBN))
        connection.execute("SELECT 1 / %s", (0,))
        connection.execute("SELECT 2")


def test_many_clients_share_what_is_prepared(shared_proxy: RunningProxy) -> None:
    for client in range(30):
        with psycopg.connect(shared_proxy.conninfo, autocommit=True, prepare_threshold=0) as connection:
            for branch in ("west", "north", "downtown"):
                row = connection.execute(
                    "SELECT branch, %s::int FROM books WHERE branch = %s AND isbn = %s", (client, branch, ISBN)
                ).fetchone()
                assert row == (branch, client)


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(shared_proxy: RunningProxy, tmp_path: Any, mode: str) -> None:
    pgbench = programs_folder(tmp_path) / "pgbench"
    script = tmp_path / "script.sql"
    script.write_text(
        "\\set id random(1001, 1060)\n"
        "SELECT name FROM patrons WHERE patron_id = :id;\n"
        "BEGIN;\nUPDATE patrons SET email = email WHERE patron_id = :id;\nCOMMIT;\n"
        "SELECT count(*) FROM books WHERE isbn > :id;\n"
    )
    command = [pgbench, "-n", "-M", mode, "-f", str(script), "-c", "4", "-t", "20", "-h", shared_proxy.host]
    done = subprocess.run(
        [*command, "-p", str(shared_proxy.port), "-U", "postgres", "library_system"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "80/80" in done.stdout
