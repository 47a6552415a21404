"""Which shard holds a value, and which may hold a range, as partitions of one PostgreSQL table would."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from pgproxy.hashing import NULL, UNKNOWN, KeyValue, NoValue
from pgproxy.shardmap.model import Method, Shard, Table
from pgproxy.shardmap.placement import Placement, PlacementError, placement_problems

BIGINT, TEXT, VARCHAR, DATE, NUMERIC, BPCHAR = 20, 25, 1043, 1082, 1700, 1042

Bounds = tuple[str | None, str | None]


def _list(*values: tuple[str, ...]) -> Table:
    shards = tuple(Shard(index, f"t_{index}", "n", values=each) for index, each in enumerate(values))
    return Table("t", "public", "k", Method.LIST, shards)


def _range(*bounds: Bounds, gaps: bool = False) -> Table:
    shards = tuple(Shard(index, f"t_{index}", "n", lower=low, upper=high) for index, (low, high) in enumerate(bounds))
    return Table("t", "public", "k", Method.RANGE, shards, gaps)


def _hash(modulus: int) -> Table:
    return Table("t", "public", "k", Method.HASH, tuple(Shard(index, f"t_{index}", "n") for index in range(modulus)))


BRANCHES = _list(("downtown", "east"), ("west",), ("north",))
NUMBERS = _list(("1", "2"), ("10",), ("-5", "20"))
TENS = _range(("10", "20"), (None, "10"), ("20", None))  # not in the order of their bounds
ISLANDS = _range(("0", "10"), ("20", "30"), gaps=True)


@pytest.mark.parametrize(
    ("table", "oid", "value", "shard"),
    [
        (BRANCHES, TEXT, "downtown", 0),
        (BRANCHES, TEXT, "east", 0),
        (BRANCHES, VARCHAR, "north", 2),
        (BRANCHES, TEXT, "Downtown", None),
        (BRANCHES, TEXT, "downtown ", None),
        (BRANCHES, TEXT, NULL, None),
        (NUMBERS, BIGINT, 2, 0),
        (NUMBERS, BIGINT, -5, 2),
        (NUMBERS, BIGINT, 3, None),
        (TENS, BIGINT, -(2**63), 1),
        (TENS, BIGINT, 9, 1),
        (TENS, BIGINT, 10, 0),
        (TENS, BIGINT, 19, 0),
        (TENS, BIGINT, 20, 2),
        (TENS, BIGINT, NULL, None),
        (ISLANDS, BIGINT, -1, None),
        (ISLANDS, BIGINT, 0, 0),
        (ISLANDS, BIGINT, 10, None),
        (ISLANDS, BIGINT, 29, 1),
        (ISLANDS, BIGINT, 30, None),
        (_hash(3), BIGINT, NULL, 0),
        (_hash(1), BIGINT, 77, 0),
    ],
)
def test_where_a_value_lives(table: Table, oid: int, value: KeyValue | NoValue, shard: int | None) -> None:
    assert Placement(table, oid).shard_of(value) == shard


@pytest.mark.parametrize(
    ("table", "oid", "bounds", "shards"),
    [
        # (lower, inclusive, upper, inclusive)
        (TENS, BIGINT, (None, False, None, False), (0, 1, 2)),
        (TENS, BIGINT, (10, True, None, False), (0, 2)),
        (TENS, BIGINT, (9, False, None, False), (0, 1, 2)),
        (TENS, BIGINT, (20, True, None, False), (2,)),
        (TENS, BIGINT, (None, False, 10, False), (1,)),
        (TENS, BIGINT, (None, False, 10, True), (0, 1)),
        (TENS, BIGINT, (12, True, 13, True), (0,)),
        (TENS, BIGINT, (10, True, 20, False), (0,)),
        (TENS, BIGINT, (10, True, 20, True), (0, 2)),
        (TENS, BIGINT, (10, True, 10, True), (0,)),
        (TENS, BIGINT, (10, True, 10, False), ()),
        (TENS, BIGINT, (11, True, 10, True), ()),
        (TENS, BIGINT, (NULL, True, None, True), ()),
        (TENS, BIGINT, (UNKNOWN, True, 5, True), (1,)),
        (TENS, BIGINT, (15, True, UNKNOWN, True), (0, 2)),
        (ISLANDS, BIGINT, (10, True, 19, True), ()),
        (ISLANDS, BIGINT, (None, True, -1, True), ()),
        (ISLANDS, BIGINT, (30, True, None, True), ()),
        (ISLANDS, BIGINT, (5, True, 25, True), (0, 1)),
        (ISLANDS, BIGINT, (10, True, 20, False), ()),
        (ISLANDS, BIGINT, (10, True, 20, True), (1,)),
        (NUMBERS, BIGINT, (2, True, 10, True), (0, 1)),
        (NUMBERS, BIGINT, (2, False, 10, False), ()),
        (NUMBERS, BIGINT, (None, False, 0, True), (2,)),
        (NUMBERS, BIGINT, (NULL, False, 0, True), ()),
        (BRANCHES, TEXT, ("e", True, "o", True), (0, 2)),
        (_hash(3), BIGINT, (1, True, 2, True), (0, 1, 2)),
        (_hash(3), BIGINT, (1, True, NULL, True), ()),
    ],
)
def test_where_a_range_may_live(
    table: Table,
    oid: int,
    bounds: tuple[KeyValue | NoValue | None, bool, KeyValue | NoValue | None, bool],
    shards: tuple[int, ...],
) -> None:
    assert Placement(table, oid).shards_of_range(*bounds) == shards


def test_text_is_not_filtered_by_a_range_under_another_collation() -> None:
    placement = Placement(BRANCHES, TEXT, bytewise=False)
    assert placement.shards_of_range("e", True, "o", True) == placement.all_shards
    assert placement.shard_of("west") == 1


@pytest.mark.parametrize("seed", range(20))
def test_ranges_agree_with_asking_for_each_value(seed: int) -> None:
    """Any cut of the integers into shards, in any order: a range is the union of its values' shards."""
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(1, 40), rng.randint(1, 6)))
    bounds: list[Bounds] = [(None, str(cuts[0])), (str(cuts[-1]), None)]
    bounds += [(str(low), str(high)) for low, high in pairwise(cuts)]
    rng.shuffle(bounds)
    if len(bounds) > 2:
        bounds.pop()
    placement = Placement(_range(*bounds, gaps=True), BIGINT)
    for _ in range(50):
        low, high = rng.randint(-3, 43), rng.randint(-3, 43)
        values = {placement.shard_of(value) for value in range(low, high + 1)}
        assert placement.shards_of_range(low, True, high, True) == tuple(sorted(values - {None}))  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("table", "value", "shards"),
    [
        (NUMBERS, 10, (1,)),
        (NUMBERS, 11, ()),
        (NUMBERS, NULL, ()),
        (_hash(2), NULL, ()),  # no row equals NULL, although remainder 0 holds those that are
        (NUMBERS, UNKNOWN, (0, 1, 2)),
    ],
)
def test_where_a_row_equal_to_it_may_live(table: Table, value: KeyValue | NoValue, shards: tuple[int, ...]) -> None:
    assert Placement(table, BIGINT).shards_of_equal(value) == shards


@pytest.mark.parametrize(
    ("oid", "typmod", "text", "shard"),
    [
        (VARCHAR, 3 + 4, "abc", 0),
        (VARCHAR, 3 + 4, "abc ", UNKNOWN),  # the column stores "abc"
        (VARCHAR, -1, "abc ", None),
        (TEXT, -1, "abc", 0),
    ],
)
def test_a_new_row_goes_where_its_stored_key_lives(
    oid: int, typmod: int, text: str, shard: int | NoValue | None
) -> None:
    assert Placement(_list(("abc",)), oid, typmod=typmod).shard_of_new(text) == shard


def test_a_new_row_with_null_or_something_unknown() -> None:
    assert Placement(_hash(2), BIGINT).shard_of_new(NULL) == 0
    assert Placement(_hash(2), BIGINT).shard_of_new(UNKNOWN) is UNKNOWN


@pytest.mark.parametrize(
    ("table", "oid", "paths"),
    [
        (BRANCHES, TEXT, []),
        (TENS, BIGINT, []),
        (ISLANDS, BIGINT, []),
        (BRANCHES, BPCHAR, ["tables.t.key"]),
        (_hash(2), 701, ["tables.t.key"]),
        (BRANCHES, BIGINT, [f"tables.t.shards[{i}].values[{j}]" for i, j in ((0, 0), (0, 1), (1, 0), (2, 0))]),
        (_list(("1", "2"), ("1.0", "2.5")), NUMERIC, ["tables.t.shards[1].values[0]"]),
        (
            _list(
                ("a", "a"),
            ),
            TEXT,
            ["tables.t.shards[0].values[1]"],
        ),
        (_range(("10", "20"), ("15", "30"), gaps=True), BIGINT, ["tables.t.shards[1]"]),
        (_range((None, "10"), (None, "20"), gaps=True), BIGINT, ["tables.t.shards[1]"]),
        (_range(("10", None), ("20", None), gaps=True), BIGINT, ["tables.t.shards[1]"]),
        (_range(("20", "10"), gaps=True), BIGINT, ["tables.t.shards[0]"]),
        (_range((None, "10"), ("11", None)), BIGINT, ["tables.t.shards[1].lower"]),
        (_range(("0", "10"), ("10", None)), BIGINT, ["tables.t.shards[0].lower"]),
        (_range((None, "10"), ("10", "20")), BIGINT, ["tables.t.shards[1].upper"]),
        (_range((None, "2024-01-01"), ("2024-1-1", None)), DATE, ["tables.t.shards[1].lower"]),
        (_range((None, "9"), ("9", "10"), ("10", None)), BIGINT, []),
        (_range((None, "9"), ("9", "10"), ("10", None)), TEXT, ["tables.t.shards[1]"]),
    ],
)
def test_maps_that_do_not_suit_the_key(table: Table, oid: int, paths: list[str]) -> None:
    found = placement_problems(table, oid)
    assert sorted({problem.key_path for problem in found}) == sorted(set(paths))
    if found:
        with pytest.raises(PlacementError) as raised:
            Placement(table, oid)
        assert (raised.value.key_path, raised.value.message) == (found[0].key_path, found[0].message)


def test_ranges_of_text_need_a_bytewise_collation() -> None:
    table = _range((None, "m"), ("m", None))
    assert placement_problems(table, TEXT) == []
    assert [problem.key_path for problem in placement_problems(table, TEXT, bytewise=False)] == ["tables.t.key"]
    assert placement_problems(_range((None, "1"), ("1", None)), BIGINT, bytewise=False) == []


SMALLINT, INTEGER = 21, 23


@pytest.mark.parametrize(("oid", "bits"), [(SMALLINT, 16), (INTEGER, 32), (BIGINT, 64)])
def test_the_ends_of_an_integer_type(oid: int, bits: int) -> None:
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    ranges = Placement(_range((None, str(least + 1)), (str(least + 1), str(most)), (str(most), None)), oid)
    assert [ranges.shard_of(value) for value in (least, least + 1, most - 1, most)] == [0, 1, 1, 2]
    assert ranges.shards_of_range(least, True, least, True) == (0,)
    assert ranges.shards_of_range(most, True, None, False) == (2,)
    assert ranges.shards_of_range(least, False, most, False) == (0, 1)
    lists = Placement(_list((str(least), "-0"), (str(most),)), oid)
    assert [lists.shard_of(value) for value in (least, 0, most, 1)] == [0, 0, 1, None]


@pytest.mark.parametrize("text", ["+5", "05", "-05", " 5", "5 ", "5.0", "1e3", "0x5", "", "32768", "-32769", "9" * 40])
def test_what_a_map_may_not_call_an_integer(text: str) -> None:
    """The form that every server reads alike is the only one."""
    (problem,) = placement_problems(_list((text,)), SMALLINT)
    assert "is not a value of type smallint in its plain form" in problem.reason
    (problem,) = placement_problems(_range((None, text), (text, None)), SMALLINT)[:1]
    assert problem.key_path == "tables.t.shards[0].upper"


def test_zero_has_one_home_however_it_is_written() -> None:
    assert [problem.key_path for problem in placement_problems(_list(("0",), ("-0",)), BIGINT)] == [
        "tables.t.shards[1].values[0]"
    ]
