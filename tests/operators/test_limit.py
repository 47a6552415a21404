from __future__ import annotations

import psycopg
import pytest

from pgproxy.errors import ProxyError, Refused
from pgproxy.operators.arguments import Arguments, LiteralRef
from pgproxy.operators.limit import Limit, row_count
from tests.operators.fake_source import INT4, FakeSource, columns, described, rows_of, run

N = columns(n=INT4)
FIVE = rows_of(*"12345")


@pytest.mark.parametrize(
    ("limit", "offset", "rows"),
    [
        (None, None, "12345"),
        (0, None, ""),
        (1, None, "1"),
        (2, None, "12"),
        (3, None, "123"),
        (5, None, "12345"),
        (9, None, "12345"),
        (None, 0, "12345"),
        (None, 1, "2345"),
        (None, 2, "345"),
        (None, 3, "45"),
        (None, 5, ""),
        (None, 9, ""),
        (1, 1, "2"),
        (2, 1, "23"),
        (3, 1, "234"),
        (2, 4, "5"),
        (0, 4, ""),
    ],
)
def test_rows(limit: int | None, offset: int | None, rows: str) -> None:
    assert run(Limit(limit, offset), [FakeSource(N, FIVE)]) == rows_of(*rows)


@pytest.mark.parametrize(("limit", "batches"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_input_is_closed_as_soon_as_the_limit_is_reached(limit: int, batches: int) -> None:
    source = FakeSource(N, FIVE)
    run(Limit(limit), [source])
    assert source.closed
    assert source.batches_taken == batches


def test_limit_zero_still_describes() -> None:
    assert described(Limit(0), [FakeSource(N, FIVE)]) == N


def test_literals_come_from_the_arguments() -> None:
    step = Limit(LiteralRef(1), LiteralRef(0))
    assert run(step, [FakeSource(N, FIVE)], literals=("'1'", "2")) == rows_of("2", "3")


LITERALS = [
    "5", "0", "'5'", "' 5 '", "'+5'", "5.4", "5.5", "4.5", ".5", "1e1", "1.5e0", "0x1F", "0b11", "0o17", "1_000", "007",
    "'0x10'", "'1_0'", "NULL", "-1", "-0.4", "-0.5", "'-1'", "'abc'", "''", "'1.5'", "'- 1'", "'it''s'",
    "9223372036854775807", "9223372036854775808", "'9223372036854775808'", "1e30", "1e400", "'5' ",
]  # fmt: skip


@pytest.mark.parametrize("literal", LITERALS)
@pytest.mark.parametrize("clause", ["LIMIT", "OFFSET"])
def test_literal_means_what_the_server_says(connection: psycopg.Connection, literal: str, clause: str) -> None:
    rows: list[str] | str
    try:
        sql = f"SELECT n FROM generate_series(1, 40) AS n ORDER BY n {clause} {literal}"
        rows = [str(row[0]) for row in connection.execute(sql.encode()).fetchall()]
    except psycopg.Error as error:
        rows = error.sqlstate or ""
    step = Limit(LiteralRef(0)) if clause == "LIMIT" else Limit(None, LiteralRef(0))
    source = FakeSource(N, rows_of(*map(str, range(1, 41))))
    try:
        ours: object = [row[0] for row in run(step, [source], literals=(literal,))]
    except ProxyError as error:
        ours = error.sqlstate
        assert source.closed
    assert ours == rows


@pytest.mark.parametrize(
    ("limit", "offset", "message"),
    [
        (-1, None, "LIMIT must not be negative"),
        (None, -1, "OFFSET must not be negative"),
        (-1, -1, "OFFSET must not be negative"),
    ],
)
def test_negative(limit: int | None, offset: int | None, message: str) -> None:
    source = FakeSource(N, FIVE)
    with pytest.raises(ProxyError, match=message):
        run(Limit(limit, offset), [source])
    assert source.closed


@pytest.mark.parametrize(
    ("limit", "offset", "sqlstate", "message"),
    [
        ("'x'", "-1", "22P02", 'invalid input syntax for type bigint: "x"'),
        ("1e19", "-1", "22003", "bigint out of range"),
        ("9223372036854775808", "0", "22003", "bigint out of range"),
        ("'9223372036854775808'", "0", "22003", 'value "9223372036854775808" is out of range for type bigint'),
    ],
)
def test_no_bigint(limit: str, offset: str, sqlstate: str, message: str) -> None:
    """What is no bigint is wrong before anything is negative."""
    with pytest.raises(ProxyError, match=message) as caught:
        run(Limit(LiteralRef(0), LiteralRef(1)), [FakeSource(N, FIVE)], literals=(limit, offset))
    assert caught.value.sqlstate == sqlstate


@pytest.mark.parametrize("literal", ["B'1'", "$$5$$", "U&'5'", "true", "?"])
def test_other_forms_are_refused(literal: str) -> None:
    with pytest.raises(Refused):
        row_count(LiteralRef(0), Arguments((literal,)))


def test_explain() -> None:
    assert Limit(5).explain() == "Limit"
