"""Which shards a WHERE clause concerns. What no shard may be left out for matters more than what routes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import ast

from pgproxy.hashing import KEY_TYPES
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.choice import KeyReference, key_choice
from pgproxy.planner.text import SourceText
from pgproxy.shardmap.facts import ColumnFacts
from pgproxy.shardmap.model import Method, Shard, Table
from pgproxy.shardmap.placement import Placement

ALL = (0, 1, 2)
LIST = Table("t", "public", "k", Method.LIST, tuple(Shard(i, f"t{i}", "n", values=(v,)) for i, v in enumerate("abc")))
HASH = Table("t", "public", "k", Method.HASH, tuple(Shard(i, f"t{i}", "n") for i in range(3)))
RANGE = Table(
    "t",
    "public",
    "k",
    Method.RANGE,
    (Shard(0, "t0", "n", upper="10"), Shard(1, "t1", "n", lower="10", upper="20"), Shard(2, "t2", "n", lower="20")),
)
TEXT, INT8 = 25, 20


def shards(condition: str, table: Table, type_oid: int, **facts: bool) -> tuple[int, ...]:
    source = SourceText(f"SELECT 1 FROM t WHERE {condition}")
    select = source.tree[0].stmt
    assert isinstance(select, ast.SelectStmt)
    key = KeyReference(ColumnFacts("k", type_oid, **facts), frozenset({("t",), ("public", "t")}))
    placement = Placement(table, type_oid, bytewise=facts.get("bytewise", True))
    choice = key_choice(select.whereClause, key, placement, source)
    return choice.shards(Arguments(literals=source.literal_texts))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("k = 'b'", (1,)),
        ("'b' = k", (1,)),
        ("t.k = 'b'", (1,)),
        ("public.t.k = 'b'", (1,)),
        ("u.k = 'b'", ALL),
        ("x = 'b'", ALL),
        ("k = 'z'", ()),
        ("k = NULL", ()),
        ("k IN ('a', 'c')", (0, 2)),
        ("k IN ('a', x)", ALL),
        ("k IN ('a', NULL)", (0,)),
        ("k NOT IN ('a')", ALL),
        ("k = ANY (ARRAY['a', 'b'])", (0, 1)),
        ("k = ANY ('{a,c}')", (0, 2)),
        ("k = ANY ('{a,\"c\"}')", ALL),
        ("k = ANY (NULL)", ()),
        ("k = ANY ('{}')", ()),
        ("k = ANY ('{}'::text[])", ()),
        ("k = ANY ('{ }')", ALL),
        ("k = ALL (ARRAY['a', 'b'])", ALL),
        ("k = 'a' AND x = 1", (0,)),
        ("k = 'a' AND k = 'b'", ()),
        ("k IN ('a', 'b') AND k IN ('b', 'c')", (1,)),
        ("k = 'a' OR k = 'b'", (0, 1)),
        ("k = 'a' OR x = 1", ALL),
        ("(k = 'a' OR k = 'b') AND k = 'b'", (1,)),
        ("k = 'a' OR (k = 'b' AND x = 1)", (0, 1)),
        ("NOT k = 'a'", ALL),
        ("NOT (k = 'a' OR x = 1)", ALL),
        ("k <> 'a'", ALL),
        ("k LIKE 'a'", ALL),
        ("k > 'a'", (1, 2)),
        ("k >= 'b' AND k < 'c'", (1,)),
        ("'b' > k", (0,)),
        ("k BETWEEN 'aa' AND 'bb'", (1,)),
        ("k NOT BETWEEN 'aa' AND 'bb'", ALL),
        ("k BETWEEN SYMMETRIC 'b' AND 'a'", ALL),
        ("k IS NULL", ()),
        ("k IS NOT NULL", ALL),
        ("k IS NOT DISTINCT FROM 'a'", (0,)),
        ("k IS DISTINCT FROM 'a'", ALL),
        ("k = 'b'::text", (1,)),
        ("k = CAST('b' AS varchar)", (1,)),
        ("k = 'b'::varchar(1)", ALL),
        ("k = 'b'::char(3)", ALL),
        ("k = 'b'::mytype", ALL),
        ("k = 'b' COLLATE \"C\"", ALL),
        ("k COLLATE \"C\" = 'b'", ALL),
        ("k OPERATOR(s.=) 'b'", ALL),
        ("k || '' = 'b'", ALL),
        ("k = 1", ALL),
        ("k = E'b'", ALL),
        ("k = $$b$$", ALL),
        ("k = U&'b'", ALL),
        ("k = (SELECT 'b')", ALL),
        ("EXISTS (SELECT 1 FROM u WHERE k = 'a')", ALL),
        ("(k, x) = ('a', 1)", (0,)),
        ("(x, 'b') = (1, k)", (1,)),
        ("ROW(x, y) = ROW('a', 1)", ALL),
        ("(k, x) < ('a', 1)", ALL),
        ("(k, x) <> ('a', 1)", ALL),
        ("(k, x) = (SELECT 'a', 1)", ALL),
        ("(k, x) IN (('a', 1), ('b', 2))", (0, 1)),
        ("(k, x) IN (('a', 1), (y, 2))", ALL),
        ("(k, x) NOT IN (('a', 1))", ALL),
        ("CASE WHEN k = 'a' THEN true ELSE false END", ALL),
        ("(k = 'a') IS TRUE", ALL),
        ("(k = 'a') IS NOT TRUE", ALL),
        ("k = -(5)", ALL),
    ],
)
def test_list_of_text(condition: str, expected: tuple[int, ...]) -> None:
    assert shards(condition, LIST, TEXT) == expected


@pytest.mark.parametrize("condition", ["k = 'b'", "k IN ('a')", "k > 'b'", "k BETWEEN 'a' AND 'b'"])
def test_a_nondeterministic_collation_constrains_nothing(condition: str) -> None:
    assert shards(condition, LIST, TEXT, deterministic=False) == ALL


@pytest.mark.parametrize(
    ("condition", "expected"), [("k = 'b'", (1,)), ("k > 'b'", ALL), ("k BETWEEN 'b' AND 'b'", ALL)]
)
def test_a_language_s_order_constrains_no_range(condition: str, expected: tuple[int, ...]) -> None:
    assert shards(condition, LIST, TEXT, bytewise=False) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("k = 5", (0,)),
        ("k = 10", (1,)),
        ("k = '20'", (2,)),
        ("k = 20::int", (2,)),
        ("k = 20.0", (2,)),
        ("k = 20.5", ALL),
        ("k = -5", (0,)),
        ("k = '20'::numeric", ALL),
        ("k < 10", (0,)),
        ("k <= 10", (0, 1)),
        ("k > 9 AND k < 11", (0, 1)),
        ("10 <= k AND 20 > k", (1,)),
        ("k BETWEEN 12 AND 13", (1,)),
        ("k BETWEEN x AND 13", (0, 1)),
        ("k BETWEEN 13 AND 12", (1,)),
        ("k > 19.5", ALL),
        ("k > NULL", ()),
        ("k = 99999999999999999999", ALL),
        ("k < 10 OR k = 25", (0, 2)),
        ("k = true", ALL),
    ],
)
def test_range_of_integers(condition: str, expected: tuple[int, ...]) -> None:
    assert shards(condition, RANGE, INT8) == expected


@pytest.mark.parametrize(
    ("condition", "expected"), [("k > 5", ALL), ("k BETWEEN 1 AND 1", ALL), ("k IS NULL", (0,)), ("k = '4x'", ALL)]
)
def test_hash(condition: str, expected: tuple[int, ...]) -> None:
    assert shards(condition, HASH, INT8) == expected


_CONDITION = st.recursive(
    st.builds("k {} {}".format, st.sampled_from(["=", "<", "<=", ">", ">="]), st.integers(-2, 30)),
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("(NOT {})".format, inner),
    ),
    max_leaves=6,
)


@given(_CONDITION, st.integers(-2, 30))
def test_no_shard_with_a_matching_row_is_left_out(condition: str, value: int) -> None:
    python = condition.replace(" = ", " == ").replace("AND", "and").replace("OR", "or").replace("NOT", "not")
    if eval(python, {"k": value}):
        home = Placement(RANGE, INT8).shard_of(value)
        assert home in shards(condition, RANGE, INT8)


def test_a_constant_s_shard_is_remembered_by_its_text() -> None:
    source = SourceText("SELECT FROM t WHERE k = 5")
    read: list[str] = []
    placement = Placement(HASH, INT8)
    key_type = KEY_TYPES[INT8]

    def parse(text: str) -> object:
        read.append(text)
        return key_type.parse_bare(text)

    placement.key_type = replace(key_type, parse_bare=parse)  # type: ignore[arg-type]
    select = source.tree[0].stmt
    choice = key_choice(select.whereClause, KeyReference(ColumnFacts("k", INT8), frozenset()), placement, source)
    first = choice.shards(Arguments(literals=("5",)))
    assert choice.shards(Arguments(literals=("5",))) == first
    assert read == ["5"]
