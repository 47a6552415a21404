"""Expressions over finished rows, computed by a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import psycopg
import pytest

from pgproxy.errors import NodeFailure, ProxyError, Refused
from pgproxy.operators.arguments import LiteralRef
from pgproxy.operators.evaluate import Evaluate, quoted
from tests.operators.fake_source import (
    INT4,
    INT8,
    NUMERIC,
    TEXT,
    FakeEnvironment,
    FakeSource,
    columns,
    described,
    drain,
    open_steps,
    query,
    run,
    source_of,
)
from tests.operators.test_values import VALUES


@pytest.fixture
def environment(connection: psycopg.Connection) -> FakeEnvironment:
    return FakeEnvironment(answer=lambda sql: source_of(connection, sql))


GROUPS = columns(k=INT4, count=INT8, sum=NUMERIC)
ROWS = [("3", "5", "1.50"), ("1", "2", None), (None, "4", "10.00")]


def test_expressions_and_their_description(environment: FakeEnvironment) -> None:
    step = Evaluate(("v.c1, v.c2 + 1 AS more, coalesce(v.c3, 0) / v.c2 AS share, 'x' || v.c1",))
    source = FakeSource(GROUPS, ROWS)
    described, batches = asyncio.run(drain(open_steps(step, [source], environment=environment)))
    assert [row for batch in batches for row in batch] == [
        ("3", "6", "0.30000000000000000000", "x3"),
        ("1", "3", "0.00000000000000000000", "x1"),
        (None, "5", "2.5000000000000000", None),
    ]
    assert [(column.name, column.type_oid) for column in described] == [
        ("c1", INT4),
        ("more", INT8),
        ("share", NUMERIC),
        ("?column?", TEXT),
    ]


def test_columns_that_stay_as_they_are_keep_their_modifiers(environment: FakeEnvironment) -> None:
    """A group key of numeric(10,2) or varchar(5) beside an expression: the VALUES list that carries it has none."""
    key, code, amount = (
        replace(column, type_modifier=modifier)
        for column, modifier in zip(columns(k=NUMERIC, code=TEXT, sum=NUMERIC), ((10 << 16 | 2) + 4, 9, 7), strict=True)
    )
    step = Evaluate(("v.c2, v.c1, v.c1 + v.c3, v.c3 AS again, v.c1",), unchanged=(1, 0, None, 2, None))
    for rows in ([("1.50", "abc", "2")], []):
        source = FakeSource((key, code, amount), rows)
        described, batches = asyncio.run(drain(open_steps(step, [source], environment=environment)))
        assert [column.type_modifier for column in described] == [9, key.type_modifier, -1, 7, -1]
        assert [column.name for column in described] == ["c2", "c1", "?column?", "again", "c1"]
        assert [row for batch in batches for row in batch] == [("abc", "1.50", "3.50", "2", "1.50")][: len(rows)]


def test_filter_and_literals(environment: FakeEnvironment) -> None:
    step = Evaluate(("v.c1 + ", LiteralRef(1)), ("v.c2 > ", LiteralRef(0)))
    assert run(step, [FakeSource(GROUPS, ROWS)], literals=("3", "100"), environment=environment) == [("103",), (None,)]


def test_filter_that_leaves_nothing_still_describes(environment: FakeEnvironment) -> None:
    source = FakeSource(GROUPS, ROWS)
    top = open_steps(Evaluate(("v.c2 * 2 AS double",), ("false",)), [source], environment=environment)
    described, batches = asyncio.run(drain(top))
    assert (described[0].name, batches) == ("double", [])


def test_no_rows_at_all(environment: FakeEnvironment) -> None:
    top = open_steps(Evaluate(("v.c2 * 2 AS double", ", 1 / v.c1")), [FakeSource(GROUPS, [])], environment=environment)
    described, batches = asyncio.run(drain(top))
    assert [column.name for column in described] == ["double", "?column?"]
    assert batches == []


def test_many_rows_in_order_and_in_chunks(environment: FakeEnvironment) -> None:
    rows = [(str(n * 7919 % 1300), "1", "0.5") for n in range(1300)]
    step = Evaluate(("v.c1",), ("v.c1 % 2 = 0",))
    result = run(step, [FakeSource(GROUPS, rows, batch_rows=1100)], environment=environment)
    assert result == [row[:1] for row in rows if int(row[0]) % 2 == 0]
    assert len(environment.evaluated) == 4  # 500 + 500 + 100, then 200


@pytest.mark.parametrize("type_name", VALUES)
@pytest.mark.parametrize("conforming", ["on", "off"])
def test_values_of_every_type_arrive_unchanged(
    connection: psycopg.Connection, environment: FakeEnvironment, type_name: str, conforming: str
) -> None:
    array = psycopg.sql.Literal([None, *VALUES[type_name], "' \\' ; --" if type_name == "text" else None]).as_string()
    given, rows = query(connection, f"SELECT t::{type_name} FROM unnest({array}::text[]) AS u(t)")
    connection.execute(f"SET standard_conforming_strings = {conforming}; SET escape_string_warning = off".encode())
    try:
        step = Evaluate(("v.c1, v.c1 IS NOT DISTINCT FROM v.c1",))
        top = open_steps(step, [FakeSource(given, rows, batch_rows=100)], environment=environment)
        described, batches = asyncio.run(drain(top))
    finally:
        connection.execute("RESET standard_conforming_strings")
    assert [row for batch in batches for row in batch] == [(row[0], "t") for row in rows]
    assert described[0].type_oid == given[0].type_oid


def test_instants_with_the_name_of_their_zone_are_refused(environment: FakeEnvironment) -> None:
    """What IST or CST is, depends on the server's version."""
    instants = columns(c=1184)
    for value in ("2024-05-05 10:35:05.5+05:30", "0044-03-15 06:00:00+00 BC", "infinity", "-infinity", None):
        run(Evaluate(("v.c1",)), [FakeSource(instants, [(value,)])], environment=environment)
    for value in ("05/05/2024 10:35:05.5 IST", "Sun May 05 10:35:05.5 2024 IST", "05.05.2024 18:05:05 CST"):
        source = FakeSource(instants, [("2024-05-05 10:35:05+00",), (value,)])
        with pytest.raises(Refused):
            run(Evaluate(("v.c1",)), [source], environment=environment)
        assert source.closed


@pytest.mark.parametrize("oid", [16400, 600])
def test_values_of_other_types_are_refused(environment: FakeEnvironment, oid: int) -> None:
    source = FakeSource(columns(c=oid), [])
    with pytest.raises(Refused):
        described(Evaluate(("v.c1",)), [source], environment=environment)
    assert source.closed


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        (None, "NULL"),
        (b"", "''"),
        (b"it's", "'it''s'"),
        (b"\\x00", "E'\\\\x00'"),
        (b"\\'; --", "E'\\\\''; --'"),
        ("日本".encode(), "'日本'"),
    ],
)
def test_quoted(value: bytes | None, sql: str) -> None:
    assert quoted(value) == sql


def test_statement_gives_types_once_and_numbers_the_rows(environment: FakeEnvironment) -> None:
    """VALUES keeps its order in practice, but promises none."""
    run(
        Evaluate(("v.c2",), ("v.c1 = 1",)), [FakeSource(GROUPS[:2], [("1", "2"), (None, "4")])], environment=environment
    )
    (sql,) = environment.evaluated
    assert sql == (
        "SELECT v.c2 FROM (VALUES (CAST('1' AS integer), CAST('2' AS bigint), 1), (NULL, '4', 2)) AS v(c1, c2, n) "
        "WHERE v.c1 = 1 ORDER BY v.n"
    )


def test_failing_statement_closes_the_input() -> None:
    failure = ProxyError("22012", "division by zero")
    answer = FakeSource(columns(x=INT4), [("1",)], fails=failure)
    environment = FakeEnvironment(answer=lambda _sql: answer)
    source = FakeSource(GROUPS, ROWS, batch_rows=1)
    with pytest.raises(ProxyError) as raised:
        run(Evaluate(("1 / v.c1",)), [source], environment=environment)
    assert raised.value is failure
    assert source.closed
    assert answer.closed


def test_failing_input_closes_what_runs(environment: FakeEnvironment) -> None:
    source = FakeSource(GROUPS, ROWS, fails=NodeFailure("west-library", "gone"))
    with pytest.raises(NodeFailure):
        run(Evaluate(("v.c1",)), [source], environment=environment)
    assert source.closed


def test_explain() -> None:
    step = Evaluate(("v.c1 + ", LiteralRef(1)), ("v.c2 > ", LiteralRef(0)))
    assert step.explain() == "Evaluate  v.c1 + $2  Filter: v.c2 > $1"
    assert Evaluate("v.c1").explain() == "Evaluate  v.c1"
