"""A Bind read in place leads where it leads when it is decoded."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.operators.arguments import Arguments
from pgproxy.planner.plan import Sharded, sql_for
from pgproxy.planner.planner import Planner
from pgproxy.session.bound_route import BoundRoute
from pgproxy.shardmap.model import Shard
from pgproxy.wire import extended as x
from pgproxy.wire.sequences import read_sequence
from tests.planner.conftest import make_facts, make_shard_map, shelves_facts, shelves_shard_map

INT8, INT4, TEXT = 20, 23, 25
ONE = "SELECT book_name FROM books WHERE branch = $1 AND isbn = $2"
PATRON = "SELECT name, 'x' FROM patrons WHERE patron_id = $1"
TWICE = "SELECT name FROM patrons WHERE patron_id = $1 AND name <> $1"
SHELF = "SELECT note FROM readings_of_a_shelf WHERE shelf = $1"
SHELF_AND_NOTE = "SELECT 'x', note FROM readings_of_a_shelf WHERE shelf = $1 AND note = $2"
SHELVES = Planner(shelves_shard_map(), shelves_facts(), cache_size=100)
PLANNER = Planner(make_shard_map(), make_facts(), cache_size=100)
EXECUTE = x.execute_message("", 0)


def route_of(sql: str, types: tuple[int, ...] = (), planner: Planner = PLANNER) -> BoundRoute:
    planned = planner.plan(sql)
    assert isinstance(planned.plan, Sharded)
    return BoundRoute(sql, planned, planned.plan, planner, types)


Found = tuple[Shard, Arguments, tuple[int, ...]] | None


def read(route: BoundRoute, bind: bytes, described: tuple[int, ...] | None = None) -> Found:
    data = bind + EXECUTE
    sequence = read_sequence(data, 0)
    assert sequence is not None
    found = route.find(data, sequence.values_at, sequence.bind_end, described)
    if found is None:
        return None
    shard, types = found
    return shard, route.arguments(data, sequence.values_at, described), types


def bind(*values: bytes | None, formats: Sequence[int] = (), results: Sequence[int] = ()) -> bytes:
    return x.bind_message("", "", formats, values, results)


@given(
    st.sampled_from([ONE, PATRON]),
    st.lists(
        st.sampled_from([b"west", b"north", b"downtown", b"", b"7", b"-1", b"x'y", b"today", b"\xff", None])
        | st.binary(max_size=9)
        | st.integers(-(2**70), 2**70).map(lambda number: b"%d" % number),
        min_size=1,
        max_size=2,
    ),
    st.sampled_from([(), (0,)]),
    st.lists(st.integers(0, 1), max_size=3),
)
def test_as_when_decoded(sql: str, values: list[bytes | None], formats: tuple[int, ...], results: list[int]) -> None:
    planned = PLANNER.plan(sql)
    found = read(route_of(sql), bind(*values, formats=formats, results=results))
    if len(values) != planned.parameters:
        assert found is None
        return
    bound = PLANNER.bound(planned, values, [0] * len(values), [0] * len(values))
    assert isinstance(bound.plan, Sharded)
    indexes = bound.plan.choice.shards(bound.arguments)
    if len(indexes) != 1:
        assert found is None
    else:
        assert found == (bound.plan.table.shards[indexes[0]], bound.arguments, ())


def test_binary_values_need_their_types() -> None:
    value = struct.pack("!q", 1005)
    of_client = read(route_of(PATRON, (INT8,)), bind(value, formats=[1]))
    of_node = read(route_of(PATRON), bind(value, formats=[1]), (INT8,))
    in_text = read(route_of(PATRON), bind(b"1005"))
    assert of_client is not None
    assert of_node is not None
    assert in_text is not None
    assert of_client[0] == of_node[0] == in_text[0]
    assert (of_client[2], of_node[2], in_text[2]) == ((INT8,), (INT8,), ())
    assert read(route_of(PATRON), bind(value, formats=[1])) is None


@given(
    st.sampled_from([SHELF, SHELF_AND_NOTE]),
    st.integers(-(2**70), 2**70).map(str) | st.sampled_from(["", "7", "10", "199", "200", " 7", "7_0", "٧", "1e2"]),
    st.sampled_from([(), (INT4,), (INT8,), (TEXT,), (705,)]),
)
def test_an_integer_that_decides_alone(sql: str, text: str, types: tuple[int, ...]) -> None:
    """Values that are nothing but digits are not made constants first; they lead to the same shard."""
    value = text.encode()
    found = read(route_of(sql, types, SHELVES), bind(*[value, b"x"][: sql.count("$")]))
    planned = SHELVES.plan(sql)
    bound = SHELVES.bound(
        planned, [value, b"x"][: sql.count("$")], [0, 0][: sql.count("$")], [*types, 0, 0][: sql.count("$")]
    )
    assert isinstance(bound.plan, Sharded)
    shards = bound.plan.choice.shards(bound.arguments)
    assert found is None if len(shards) != 1 else found == (bound.plan.table.shards[shards[0]], bound.arguments, types)


def test_the_text_for_a_shard_is_made_once() -> None:
    route = route_of(SHELF_AND_NOTE, (), SHELVES)
    shard = route.plan.table.shards[1]
    text = route.text(shard)
    assert text == sql_for(route.plan.route, shard, route.planned.arguments)
    assert route.text(shard) is text
    assert route.text(route.plan.table.shards[2]) != text


def test_a_parameter_used_twice_needs_its_type() -> None:
    route = route_of(TWICE)
    assert read(route, bind(b"1005")) is None
    assert read(route, bind(b"1005"), (INT8,)) is not None
    assert read(route_of(TWICE, (INT8,)), bind(b"1005")) is not None


@pytest.mark.parametrize(
    "message",
    [
        bind(b"west"),
        bind(b"west", b"1", b"2"),
        bind(b"west", b"1", formats=[0, 0, 0]),
        bind(b"west", b"1", formats=[2, 0]),
        bind(b"west", b"1", formats=[0xFFF]),
        bind(b"west", b"1")[:-2] + b"\0\1",
        bind(b"west", b"1")[:-2] + b"\0\0\0",
        bind(b"west", b"1").replace(b"\0\0\0\4west", b"\0\0\0\7west"),
        bind(b"west", b"1").replace(b"\0\0\0\4west", b"\x7f\xff\xff\xffwest"),
        bind(b"west", b"1").replace(b"\0\0\0\4west", b"\xff\xff\xff\xfewest"),
        b"B\0\0\0\6\0\0",
        b"B\0\0\0\7\0\0\0",
    ],
)
def test_what_is_wrong_is_left_to_others(message: bytes) -> None:
    message = message[:1] + struct.pack("!I", len(message) - 1) + message[5:]
    assert read(route_of(ONE), message) is None
