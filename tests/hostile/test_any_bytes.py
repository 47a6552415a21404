"""Any bytes from clients and nodes, drawn by hypothesis; `make fuzz` looks longer, guided by coverage."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile.draw import HypothesisDraw
from tests.hostile.targets import check_client, check_decoders, check_node


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_decoders_take_any_bytes(data: bytes) -> None:
    check_decoders(data)


@given(st.data())
@settings(max_examples=300)
def test_a_client_may_send_anything(data: st.DataObject) -> None:
    check_client(HypothesisDraw(data))


@given(st.data())
@settings(max_examples=300)
def test_a_node_may_answer_anything(data: st.DataObject) -> None:
    check_node(HypothesisDraw(data))
