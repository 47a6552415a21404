from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from pgproxy.errors import NodeFailure
from pgproxy.operators.concat import Concat
from tests.operators.fake_source import INT4, TEXT, FakeSource, columns, described, open_steps, rows_of, run

N = columns(n=INT4)
PAIR = columns(n=INT4, name=TEXT)


def test_batches_come_as_they_arrive() -> None:
    slow = FakeSource(N, rows_of("1", "2", "3"), waits=3)
    fast = FakeSource(N, rows_of("4", "5", "6", "7"))
    assert run(Concat(), [slow, fast]) == rows_of("4", "5", "6", "7", "1", "2", "3")


def test_ready_inputs_take_turns() -> None:
    one, two = FakeSource(N, rows_of(*"1234")), FakeSource(N, rows_of(*"5678"))
    assert run(Concat(), [one, two]) == rows_of(*"12563478")


@pytest.mark.parametrize("inputs", [[], [[]], [[], [], []]])
def test_no_rows(inputs: list[list[str]]) -> None:
    sources = [FakeSource(N, []), *(FakeSource(N, rows_of(*one)) for one in inputs)]
    assert run(Concat(), sources) == []


def test_hidden_columns_are_cut() -> None:
    rows = [("1", "a"), (None, "b"), ("3", None)]
    assert run(Concat(visible=1), [FakeSource(PAIR, rows)]) == rows_of("1", None, "3")
    assert described(Concat(visible=1), [FakeSource(PAIR, rows)]) == N


def test_untouched_bytes_without_hidden_columns() -> None:
    class Once(FakeSource):
        async def next_batch(self):  # type: ignore[no-untyped-def]
            self.given = await super().next_batch()
            return self.given

    source = Once(PAIR, [("1", "a")])
    top = open_steps(Concat(), [source, FakeSource(PAIR, [], waits=9)])

    async def first() -> object:
        await top.describe()
        return await top.next_batch()

    assert asyncio.run(first()) is source.given


def test_ready_when_any_input_is() -> None:
    one, two = FakeSource(N, [], waits=1), FakeSource(N, [], waits=2)
    top = open_steps(Concat(), [one, two])
    assert not top.ready
    one.progress()
    assert top.ready


def test_the_first_input_that_is_ready_describes_the_rows() -> None:
    """The others would do it in the same way, and may keep us waiting."""
    slow = FakeSource([replace(N[0], table_oid=101)], [], waits=3)
    quick = FakeSource([replace(N[0], table_oid=102)], [])
    assert described(Concat(), [slow, quick]) == (replace(N[0], table_oid=102),)


def test_failure_closes_the_other_inputs() -> None:
    sources = [FakeSource(N, rows_of("1")), FakeSource(N, [], fails=NodeFailure("west-library", "gone"))]
    with pytest.raises(NodeFailure):
        run(Concat(), sources)
    assert all(source.closed for source in sources)


def test_explain() -> None:
    assert Concat().explain() == "Concat"
