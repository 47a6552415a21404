"""Partial groups of three shards against one server's GROUP BY over all rows."""

from __future__ import annotations

import asyncio
import re

import psycopg
import pytest

from pgproxy.errors import NodeFailure, ProxyError, Refused
from pgproxy.operators.group_merge import Combine, GroupMerge
from pgproxy.operators.values import SortKey
from pgproxy.wire.rows import Column
from tests.operators.fake_source import (
    FLOAT8,
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
    rows_of,
    run,
    source_of,
)

SHARDS = 3


@pytest.fixture(scope="module")
def measured(connection: psycopg.Connection) -> psycopg.Connection:
    """A table of 20,000 rows over all types; floats are multiples of 1/4, so that their sums are exact."""
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        """
        CREATE TEMPORARY TABLE measured AS
        SELECT shard, k % 1500 AS k, 'g' || (k % 200) AS t, n, n::int4 AS i4, n::int2 AS i2,
               n * 1000000007::int8 AS i8, n::float8 / 4 AS f8, (n / 64)::float4 / 4 AS f4, n % 7 > 0 AS b,
               round((n::numeric / 7) * 10::numeric ^ (k % 9), k % 11) AS num,
               (k % 5)::numeric(6, 2) / 10 ^ (k % 3) AS numkey,
               date '2024-01-01' + n::int4 AS d, timestamptz '2024-01-01 00:00+00' + n * interval '1 minute' AS ts,
               md5(n::text) AS s, (n || ' ')::bpchar AS bp, n * interval '1 day' AS iv
        FROM (
            SELECT (random() * 2)::int AS shard, (random() * 3000)::int AS k,
                   CASE WHEN random() < 0.9 THEN (random() * 60000 - 30000)::int END AS n
            FROM setseed(0.3), generate_series(1, 20000)
        ) AS random
        """
    )
    return connection


# The whole's select item, the shards' partial items, and how they combine (columns counted among the partials).
AGGREGATES = [
    ("count(*)", ["count(*)"], "count"),
    ("count(n)", ["count(n)"], "count"),
    ("sum(i2)", ["sum(i2)"], "sum"),
    ("sum(i4)", ["sum(i4)"], "sum"),
    ("sum(i8)", ["sum(i8)"], "sum"),
    ("sum(num)", ["sum(num)"], "sum"),
    ("sum(f8)", ["sum(f8)"], "sum"),
    ("sum(f4)", ["sum(f4)"], "sum"),
    ("avg(i2)", ["sum(i2)", "count(i2)"], "avg"),
    ("avg(i4)", ["sum(i4)", "count(i4)"], "avg"),
    ("avg(i8)", ["sum(i8)", "count(i8)"], "avg"),
    ("avg(num)", ["sum(num)", "count(num)"], "avg"),
    ("avg(f8)", ["sum(f8)", "count(f8)"], "avg"),
    ("avg(f4)", ["sum(f4::float8)", "count(f4)"], "avg"),
    *((f"{kind}({column})", [f"{kind}({column})"], kind) for kind in ("min", "max")
      for column in ("i4", "i8", "num", "f8", "d", "ts", "bp", "iv", "s")),
    ("bool_and(b)", ["bool_and(b)"], "bool_and"),
    ("bool_or(b)", ["bool_or(b)"], "bool_or"),
    ("every(b)", ["every(b)"], "every"),
    ("bit_and(i4)", ["bit_and(i4)"], "bit_and"),
    ("bit_or(i8)", ["bit_or(i8)"], "bit_or"),
    ("bit_xor(i2)", ["bit_xor(i2)"], "bit_xor"),
]  # fmt: skip

KEYS = [
    ([], []),
    (["k"], [SortKey(0)]),
    (["k DESC NULLS LAST"], [SortKey(0, descending=True)]),
    (["numkey"], [SortKey(0)]),
    (
        ['t COLLATE "C" DESC', "b NULLS FIRST"],
        [SortKey(0, descending=True, nulls_first=True), SortKey(1, nulls_first=True)],
    ),
]


@pytest.mark.parametrize("aggregate", AGGREGATES, ids=lambda aggregate: aggregate[0])
@pytest.mark.parametrize("keys", KEYS, ids=lambda keys: ", ".join(keys[0]) or "whole")
def test_groups_are_the_servers(
    measured: psycopg.Connection,
    aggregate: tuple[str, list[str], str],
    keys: tuple[list[str], list[SortKey]],
) -> None:
    whole, partial, kind = aggregate
    order, sort_keys = keys
    names = [key.split()[0] for key in order]
    tail = f" GROUP BY {', '.join(names)} ORDER BY {', '.join(order)}" if order else ""
    expected_columns, expected = query(measured, f"SELECT {', '.join([*names, whole])} FROM measured{tail}")
    sources = [
        source_of(measured, f"SELECT {', '.join([*names, *partial])} FROM measured WHERE shard = {shard}{tail}")
        for shard in range(SHARDS)
    ]
    combine = Combine(kind, tuple(range(len(names), len(names) + len(partial))))
    top = open_steps(GroupMerge(tuple(sort_keys), (combine,)), sources)
    our_columns, batches = asyncio.run(drain(top))
    ours = [row for batch in batches for row in batch]
    if "numkey" in names:  # 1.0 and 1.00 are one group, and either may be shown
        ours, expected = ([(trimmed(row[0]), *row[1:]) for row in rows] for rows in (ours, expected))
    assert ours == expected
    assert [(c.type_oid, c.type_size) for c in our_columns] == [(c.type_oid, c.type_size) for c in expected_columns]


def trimmed(number: str | None) -> str | None:
    return number and re.sub(r"\.?0*$", "", number) if number and "." in number else number


def test_several_aggregates_at_once() -> None:
    partials = columns(k=INT4, count=INT8, sum=NUMERIC, n=INT8, max=TEXT)
    one = [("1", "2", "1.5", "2", "a"), ("3", "1", None, "0", None)]
    two = [("1", "3", "2.50", "3", "b"), ("2", "1", "7", "1", "c"), (None, "5", "1", "1", "z")]
    aggregates = (Combine("count", (1,)), Combine("avg", (2, 3)), Combine("max", (4,)), Combine("sum", (2,)))
    step = GroupMerge((SortKey(0),), aggregates)
    assert run(step, [FakeSource(partials, one), FakeSource(partials, two)]) == [
        ("1", "5", "0.80000000000000000000", "b", "4.00"),
        ("2", "1", "7.0000000000000000", "c", "7"),
        ("3", "1", None, None, None),
        (None, "5", "1.00000000000000000000", "z", "1"),
    ]


def test_a_group_may_spread_over_many_batches() -> None:
    partials = columns(k=INT4, count=INT8)
    sources = [FakeSource(partials, [("1", "1"), ("2", "1"), ("2", "5")], batch_rows=1) for _ in range(5)]
    assert run(GroupMerge((SortKey(0),), (Combine("count", (1,)),)), sources) == [("1", "5"), ("2", "30")]


@pytest.mark.parametrize(
    ("kind", "oid", "given", "result"),
    [
        ("count", INT8, ["1", "2"], "3"),
        ("count", INT8, [], "0"),
        ("sum", INT8, [], None),
        ("sum", INT8, [None, None], None),
        ("sum", INT8, [None, "7"], "7"),
        ("sum", NUMERIC, ["1.0", "2.000", None], "3.000"),
        ("sum", NUMERIC, ["Infinity", "-Infinity"], "NaN"),
        ("sum", NUMERIC, ["1e400".replace("e400", "0" * 400), "0.1"], "1" + "0" * 400 + ".1"),
        ("sum", FLOAT8, ["1e+15", "0.25"], "1.0000000000000002e+15"),
        ("min", NUMERIC, ["NaN", "5"], "5"),
        ("max", NUMERIC, ["NaN", "Infinity"], "NaN"),
        ("max", FLOAT8, ["NaN", "Infinity", None], "NaN"),
        ("bool_and", 16, ["t", "f"], "f"),
        ("bool_and", 16, ["t", None], "t"),
        ("bool_or", 16, ["f", None, "f"], "f"),
        ("bit_and", INT8, ["-1", "12"], "12"),
    ],
)
def test_one_row_for_a_whole(kind: str, oid: int, given: list[str | None], result: str | None) -> None:
    partial = columns(c=oid)
    sources = [FakeSource(partial, []), *(FakeSource(partial, rows_of(value)) for value in given)]
    assert run(GroupMerge((), (Combine(kind, (0,)),)), sources) == [(result,)]


def test_no_groups() -> None:
    partials = columns(k=INT4, count=INT8)
    assert run(GroupMerge((SortKey(0),), (Combine("count", (1,)),)), [FakeSource(partials, [])]) == []


@pytest.mark.parametrize("values", [("9223372036854775807", "1"), ("-9223372036854775808", "-1")])
def test_bigint_overflow(values: tuple[str, str]) -> None:
    sources = [FakeSource(columns(sum=INT8), rows_of(value)) for value in values]
    with pytest.raises(ProxyError, match="bigint out of range") as raised:
        run(GroupMerge((), (Combine("sum", (0,)),)), sources)
    assert raised.value.sqlstate == "22003"
    assert all(source.closed for source in sources)


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("sum", Column("money", type_oid=790)),
        ("sum", Column("interval", type_oid=1186)),
        ("sum", Column("binary", type_oid=INT8, format=1)),
        ("min", Column("json", type_oid=114)),
        ("count", Column("text", type_oid=TEXT)),
        ("stddev", Column("numeric", type_oid=NUMERIC)),
    ],
)
def test_what_cannot_be_combined_is_refused(kind: str, column: Column) -> None:
    source = FakeSource([column], [])
    with pytest.raises(Refused):
        described(GroupMerge((), (Combine(kind, (0,)),)), [source])
    assert source.closed


@pytest.mark.parametrize("oid", [700, 1186])
def test_averages_of_other_sums_are_refused(oid: int) -> None:
    with pytest.raises(Refused):
        described(GroupMerge((), (Combine("avg", (0, 1)),)), [FakeSource(columns(sum=oid, count=INT8), [])])


def test_least_text_needs_a_bytewise_collation() -> None:
    source = FakeSource(columns(min=TEXT), rows_of("a"))
    environment = FakeEnvironment(bytewise_default=False)
    with pytest.raises(Refused, match="collation"):
        described(GroupMerge((), (Combine("min", (0,)),)), [source], environment=environment)
    known = GroupMerge((), (Combine("min", (0,), bytewise=True),))
    assert run(known, [FakeSource(columns(min=TEXT), rows_of("b"))], environment=environment) == [("b",)]


def test_failure_closes_the_other_inputs() -> None:
    partial = columns(count=INT8)
    sources = [FakeSource(partial, rows_of("1")), FakeSource(partial, [], fails=NodeFailure("west-library", "gone"))]
    with pytest.raises(NodeFailure):
        run(GroupMerge((), (Combine("count", (0,)),)), sources)
    assert all(source.closed for source in sources)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (
            GroupMerge((SortKey(0),), (Combine("count", (1,)), Combine("avg", (2, 3)))),
            "Group Merge  Key: 1  count, avg",
        ),
        (GroupMerge((SortKey(0),), ()), "Group Merge  Key: 1"),
        (GroupMerge((), (Combine("sum", (0,)),)), "Aggregate Merge  sum"),
    ],
)
def test_explain(step: GroupMerge, text: str) -> None:
    assert step.explain() == text
