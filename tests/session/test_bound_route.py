"""A Bind read in place leads where it leads when it is decoded."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.operators.arguments import Arguments
from pgproxy.planner.plan import Sharded
from pgproxy.planner.planner import Planner
from pgproxy.session.bound_route import BoundRoute
from pgproxy.shardmap.model import Shard
from pgproxy.wire import extended as x
from pgproxy.wire.sequences import read_sequence
from tests.planner.conftest import make_facts, make_shard_map

INT8, TEXT = 20, 25
ONE = "SELECT book_name FROM books WHERE branch = $1 AND isbn = $2"
PATRON = "SELECT name, 'x' FROM patrons WHERE patron_id = $1"
TWICE = "SELECT name FROM patrons WHERE patron_id = $1 AND name <> $1"
PLANNER = Planner(make_shard_map(), make_facts(), cache_size=100)
EXECUTE = x.execute_message("", 0)


def route_of(sql: str, types: tuple[int, ...] = ()) -> BoundRoute:
    planned = PLANNER.plan(sql)
    assert isinstance(planned.plan, Sharded)
    return BoundRoute(sql, planned, planned.plan, PLANNER, types)


Found = tuple[Shard, Arguments, tuple[int, ...]] | None


def read(route: BoundRoute, bind: bytes, described: tuple[int, ...] | None = None) -> Found:
    data = bind + EXECUTE
    sequence = read_sequence(data, 0)
    assert sequence is not None
    return route.read(data, sequence.values_at, sequence.bind_end, described)


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
