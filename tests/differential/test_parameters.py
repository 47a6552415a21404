"""Bound parameters where the proxy computes: HAVING, expressions over aggregates, ORDER BY over groups, empty lists.

Each statement is described before it is bound, then run with open and with declared types, with values and results in
either format, outside and inside a transaction; and once without its values, as a simple Query.
"""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import pytest
from psycopg.pq.abc import PGconn

from tests.differential.compare import REFUSED, Answer, answer_of, connect, same_rows
from tests.differential.fix_sides import Sides

TEXT, BINARY = 0, 1

CASES: list[tuple[str, tuple[str | None, ...]]] = [
    ("SELECT genre, count(*) FROM books GROUP BY genre HAVING count(*) > $1 ORDER BY genre", ("3",)),
    ("SELECT genre, count(*) FROM books GROUP BY genre HAVING count(*) > $1", ("100000",)),
    ("SELECT genre, count(*) FROM books GROUP BY genre HAVING count(*) > $1", (None,)),
    ("SELECT genre FROM books GROUP BY genre HAVING sum(price) >= $1 AND count(*) < $2 ORDER BY 1", ("20.5", "40")),
    ("SELECT genre FROM books WHERE price > $1 GROUP BY genre HAVING max(price) > $1 ORDER BY 1", ("7.00",)),
    ("SELECT genre FROM books WHERE isbn > $2 GROUP BY genre HAVING count(*) BETWEEN $3 AND $1", ("90", "5", "1")),
    ("SELECT genre, count(*) FROM books GROUP BY genre HAVING genre = $1 OR genre IS NULL", ("fantasy",)),
    ("SELECT genre, count(*) FROM books GROUP BY genre HAVING min(book_name) LIKE $1", ("%e%",)),
    ("SELECT genre FROM books GROUP BY genre HAVING count(*) = ANY ($1) ORDER BY 1", ("{1,2,3,20,30,31,32}",)),
    ("SELECT genre FROM books GROUP BY genre HAVING count(*) = ANY ($1) ORDER BY 1", ("{}",)),
    (
        "SELECT genre FROM books GROUP BY genre HAVING count(*) IN ($1, $2) OR bool_or(checked_out) = $3",
        ("1", "30", "t"),
    ),
    ("SELECT count(*) FROM books HAVING count(*) > $1", ("1",)),
    ("SELECT count(*) FROM books HAVING count(*) > $1", ("100000",)),
    ("SELECT count(*) FROM books WHERE isbn < 0 HAVING count(*) = $1", ("0",)),
    ("SELECT $1 FROM books HAVING true", ("x",)),
    ("SELECT count(*) * $1::int FROM books", ("3",)),
    ("SELECT count(*) + $1, $2, $1 FROM books", ("9000000000", "two")),
    ("SELECT genre, count(*) * $1::numeric(6,2) AS share FROM books GROUP BY genre ORDER BY genre", ("1.256",)),
    ("SELECT genre, round(avg(price), $1) FROM books GROUP BY genre ORDER BY genre", ("2",)),
    ("SELECT genre, coalesce(sum(patron_id), $1) FROM books GROUP BY genre ORDER BY genre", ("-1",)),
    ("SELECT genre, coalesce(max(genre), $1), $1 FROM books GROUP BY genre ORDER BY genre", ("none",)),
    ("SELECT CASE WHEN count(*) > $1 THEN $2 ELSE $3 END FROM books", ("5", "many", "few")),
    (
        "SELECT max(updated_at) > $1, max(updated_at) + $2 FROM books WHERE isfinite(updated_at)",
        ("2000-01-01 00:00:00+00", "1 day"),
    ),
    ("SELECT region, max(day) - $1 FROM measures WHERE isfinite(day) GROUP BY region ORDER BY 1", ("2000-01-01",)),
    (
        "SELECT region, count(*) FROM measures GROUP BY region HAVING max(ref::text) > $1::uuid::text ORDER BY 1",
        ("00000001-0000-4000-8000-000000000000",),
    ),
    ("SELECT region FROM measures GROUP BY region HAVING max(real8) > $1 ORDER BY 1", ("1.5",)),
    ("SELECT region FROM measures GROUP BY region HAVING max(blob) > $1 ORDER BY 1", ("\\x01",)),
    (
        "SELECT small + $1 AS s, count(*) FROM measures WHERE small < 100 GROUP BY small + $1 HAVING small + $1 > $2 ORDER BY 1",
        ("1", "2"),
    ),
    (
        "SELECT date_trunc($1, stamp) AS d, count(*) FROM measures WHERE isfinite(stamp) GROUP BY d ORDER BY d",
        ("year",),
    ),
    (
        "SELECT date_trunc($1, stamp), count(*) + 1 FROM measures WHERE isfinite(stamp) GROUP BY date_trunc($1, stamp) ORDER BY 1",
        ("year",),
    ),
    ("SELECT genre || $1, count(*) FROM books GROUP BY 1 HAVING count(*) > $2 ORDER BY 2, 1", ("!", "1")),
    ("SELECT $1, count(*) FROM books GROUP BY $1", ("x",)),
    ("SELECT $1 AS x, count(*) FROM books GROUP BY x ORDER BY x", ("x",)),
    ("SELECT genre, count(*) FROM books GROUP BY genre ORDER BY count(*) % $1, genre", ("7",)),
    (
        "SELECT genre, count(*) FROM books GROUP BY genre ORDER BY count(*) * $1 DESC, genre LIMIT $2 OFFSET $3",
        ("-1", "3", "1"),
    ),
    ("SELECT sum(price * $1), count(*) FILTER (WHERE price > $2) + $3 FROM books", ("2", "7", "1")),
    ("SELECT isbn, count(*) FROM books GROUP BY isbn HAVING count(*) >= $1 ORDER BY isbn", ("1",)),
    (
        "SELECT isbn, branch, generate_series(1, 20) AS g, count(*) * $1 FROM books GROUP BY 1, 2, 3 HAVING count(*) >= $2 ORDER BY 1, 2, 3",
        ("2", "1"),
    ),
    ("SELECT genre FROM books GROUP BY genre HAVING 10 / (count(*) - $1) > $2", ("0", "0")),
    ("SELECT count(*) FROM books WHERE branch = ANY ($1)", ("{}",)),
    ("SELECT isbn FROM books WHERE branch = ANY ($1) ORDER BY isbn", ("{}",)),
    ("SELECT count(*) FROM patrons WHERE patron_id = ANY ($1)", ("{}",)),
    ("SELECT count(*) FROM patrons WHERE patron_id = ANY ($1)", (None,)),
    ("UPDATE patrons SET name = $2 WHERE patron_id = ANY ($1) RETURNING patron_id, name", ("{}", "x")),
    ("DELETE FROM patrons WHERE patron_id = ANY ($1)", ("{}",)),
    ("SELECT count(*) FROM patrons WHERE $1", ("f",)),
    ("SELECT count(*) FROM patrons WHERE $1", ("t",)),
    (
        "INSERT INTO kvc (k, v) VALUES ($1, $2), ($3, $4), ($5, $2), ($6, 1) ON CONFLICT (k) DO UPDATE SET v = excluded.v RETURNING k, v, $2 -- in the ORDER BY of VALUES",
        ("p1", "1", "p2", "2", "p3", "p4"),
    ),
    ("INSERT INTO kdate (k, v) VALUES ($1, 77), ($2, $3), ($4, 78)", ("2018-01-01", "2022-02-02", "79", "2030-03-03")),
    ("UPDATE kdate SET v = v + $2 WHERE k > $1 AND v > 10", ("2019-01-01", "0")),
    ("DELETE FROM kdate WHERE v IN (77, $1, 78) RETURNING v", ("79",)),
    (
        "INSERT INTO ktz (k, v) VALUES ($1, $2), ($3, $2), ($4, $2) RETURNING k, v -- in the ORDER BY of VALUES",
        ("2018-01-01 00:00:00+00", "501", "2022-02-02 00:00:00+00", "2030-03-03 00:00:00+00"),
    ),
    ("DELETE FROM ktz WHERE v = $1 RETURNING v", ("501",)),
    ("UPDATE nulls SET n = $1, v = $2 WHERE k < $3 RETURNING k, v, n", ("1.5", None, "7")),
    ("UPDATE nulls SET v = $1::int WHERE k = ANY ($2)", ("4", "{1,2,3,4,5,6,7,8}")),
    ("DELETE FROM kvc WHERE k IN ($1, $2, $3, $4) RETURNING k", ("p1", "p2", "p3", "p4")),
]

FAILING: list[tuple[str, tuple[str | None, ...], str]] = [
    ("SELECT genre FROM books GROUP BY genre HAVING count(*) > $1", ("x",), "22P02"),
    ("SELECT genre FROM books WHERE isbn < 0 GROUP BY genre HAVING count(*) > $1", ("x",), "22P02"),
    ("SELECT genre FROM books GROUP BY genre HAVING count(*) / $1 > 1", ("0",), "22012"),
    ("SELECT genre FROM books GROUP BY genre HAVING $1", ("7",), "22P02"),
    ("SELECT count(*) || $1 + 1 FROM books", ("7",), "42883"),
    ("SELECT genre FROM books GROUP BY genre HAVING count(*) > $2", ("1", "1"), "42P18"),
    ("INSERT INTO kvc (k, v) VALUES ($1, 1), ($2, $3), ($4, 2)", ("p1", "p2", "x", "p3"), "22P02"),
    ("INSERT INTO kvc (k, v) VALUES ($1, 1), ($2, 1 / $3::int), ($4, 2)", ("p1", "p2", "0", "p3"), "22012"),
    ("INSERT INTO kvc (k, v) VALUES ($1, 1), ($2, 2), ($4, 2)", ("p1", "p2", "0", "p3"), "42P18"),
    ("UPDATE nulls SET v = $1", ("x",), "22P02"),
]


@dataclass(frozen=True, slots=True)
class Way:
    """How a statement is bound."""

    declared: bool
    values: int
    results: int
    in_transaction: bool


WAYS = [Way(*way) for way in product((False, True), (TEXT, BINARY), (TEXT, BINARY), (False, True))]


class Bound:
    """One side."""

    def __init__(self, conninfo: str) -> None:
        self.connection: PGconn = connect(conninfo)

    def described(self, sql: str) -> tuple[Answer, list[int]]:
        """The columns of a statement without its values, and its parameters' types."""
        prepared = self.connection.prepare(b"", sql.encode())
        if prepared.error_message:
            return answer_of(prepared), []
        result = self.connection.describe_prepared(b"")
        return answer_of(result), [result.param_type(at) for at in range(result.nparams)]

    def run(self, sql: str, values: Sequence[bytes | None], types: Sequence[int], way: Way) -> list[Answer]:
        formats = [way.values] * len(values)
        answers = [self._run(sql, values, types, formats, way.results)]
        if not way.in_transaction:
            return answers
        self.connection.exec_(b"BEGIN")
        answers = [self._run(sql, values, types, formats, way.results) for _ in range(2)]
        self.connection.exec_(b"ROLLBACK")
        return answers

    def _run(
        self, sql: str, values: Sequence[bytes | None], types: Sequence[int], formats: Sequence[int], results: int
    ) -> Answer:
        return answer_of(self.connection.exec_params(sql.encode(), values, types, formats, results))

    def binary(self, value: str | None, type_oid: int) -> bytes | None:
        if value is None:
            return None
        return self.connection.exec_params(b"SELECT $1", [value.encode()], [type_oid], None, BINARY).get_value(0, 0)


@pytest.fixture(scope="module")
def bound(sides: Sides) -> Iterator[tuple[Bound, Bound]]:
    proxy, reference = Bound(sides.proxy.conninfo), Bound(sides.reference.conninfo)
    yield proxy, reference
    proxy.connection.finish()
    reference.connection.finish()


@pytest.mark.parametrize(("sql", "values"), CASES)
def test_bound(sql: str, values: tuple[str | None, ...], bound: tuple[Bound, Bound]) -> None:
    proxy, reference = bound
    (got, got_types), (want, types) = proxy.described(sql), reference.described(sql)
    assert (got, got_types) == (want, types)
    texts = [None if value is None else value.encode() for value in values]
    binaries = [reference.binary(value, oid) for value, oid in zip(values, types, strict=True)]
    for way in WAYS:
        declared = types if way.declared else [0] * len(types)
        sent = binaries if way.values == BINARY else texts
        wants = reference.run(sql, sent, declared, way)
        for got, want in zip(proxy.run(sql, sent, declared, way), wants, strict=True):
            assert (got.sqlstate, got.columns, got.tag) == (want.sqlstate, want.columns, want.tag), (
                f"{way} {got} {want}"
            )
            assert want.sqlstate is None or want.sqlstate == "22012", want
            ordered = "ORDER BY" in sql
            assert got.rows == want.rows if ordered else same_rows(got.rows, want.rows) is None, f"{way} {got} {want}"


@pytest.mark.parametrize(("sql", "values", "sqlstate"), FAILING)
def test_failing(sql: str, values: tuple[str, ...], sqlstate: str, bound: tuple[Bound, Bound]) -> None:
    texts = [value.encode() for value in values]
    proxy, reference = bound
    for way in WAYS:
        if not way.declared and way.values == TEXT:
            wants, gots = (side.run(sql, texts, [0] * len(texts), way)[0] for side in (reference, proxy))
            assert (wants.sqlstate, gots.sqlstate) == (sqlstate, sqlstate), f"{wants} {gots}"


@pytest.mark.parametrize("sql", ["SELECT count(*) + $1 FROM books", "SELECT 1 FROM books HAVING count(*) > $1"])
def test_without_values(sql: str, sides: Sides) -> None:
    """A simple Query has none."""
    for side in (sides.proxy, sides.reference):
        assert side.run(sql).sqlstate == "42P02"


def test_types_that_are_unknown_are_open(bound: tuple[Bound, Bound]) -> None:
    """Declared as `unknown`, a parameter takes the type of its place."""
    for sql in (
        "SELECT count(*) FROM books HAVING count(*) > $1",
        "SELECT isbn FROM books ORDER BY isbn, branch LIMIT $1",
    ):
        got, want = (side.run(sql, [b"3"], [705], Way(False, TEXT, BINARY, True)) for side in bound)
        assert got == want
        assert got[0].sqlstate is None


def test_prepared_in_sql(sides: Sides) -> None:
    for side_sql in (
        "PREPARE busy (int) AS SELECT genre FROM books GROUP BY genre HAVING count(*) > $1 ORDER BY 1",
        "EXECUTE busy (2)",
        "EXECUTE busy (1 + 30)",
        "BEGIN; DECLARE c CURSOR FOR SELECT genre, count(*) + 1 FROM books GROUP BY genre ORDER BY 1; FETCH 2 c; COMMIT",
        "DEALLOCATE busy",
    ):
        got, want = sides.proxy.run_all(side_sql), sides.reference.run_all(side_sql)
        assert REFUSED not in [one.sqlstate for one in got]
        assert got == want


def test_cursor_over_groups(bound: tuple[Bound, Bound]) -> None:
    sql = b"DECLARE c SCROLL CURSOR FOR SELECT isbn, count(*) + $1 FROM books GROUP BY isbn HAVING count(*) > $2 ORDER BY 1"
    steps = (b"FETCH 3 c", b"FETCH ALL c", b"FETCH BACKWARD 2 c")
    answers = []
    for side in bound:
        side.connection.exec_(b"BEGIN")
        opened = answer_of(side.connection.exec_params(sql, [b"5", b"0"]))
        answers.append([opened, *(answer_of(side.connection.exec_(step)) for step in steps)])
        side.connection.exec_(b"ROLLBACK")
    got, want = answers
    assert got == want
    assert not any(answer.sqlstate for answer in got)
