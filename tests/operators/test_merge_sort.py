from __future__ import annotations

import asyncio
import random

import pytest

from pgproxy.errors import NodeFailure, ProxyError, Refused
from pgproxy.operators.merge_sort import MergeSort, SortKey
from tests.operators.fake_source import (
    INT4,
    INT8,
    TEXT,
    FakeEnvironment,
    FakeSource,
    Row,
    columns,
    described,
    drain,
    open_steps,
    rows_of,
    run,
)

ISBN = columns(isbn=INT8)
PAIR = columns(n=INT4, name=TEXT)


@pytest.mark.parametrize(
    ("inputs", "merged"),
    [
        ([["1", "4"], ["2", "5"], ["3", "6"]], ["1", "2", "3", "4", "5", "6"]),
        ([["1", "2", "3", "4", "5"], ["9"]], ["1", "2", "3", "4", "5", "9"]),
        ([["5", "6", "7"], ["1", "2", "3"]], ["1", "2", "3", "5", "6", "7"]),
        ([["2", "10", "100"], ["9", "11"]], ["2", "9", "10", "11", "100"]),
        ([["1", "1", "1"], ["1", "1", "1", "1"]], ["1"] * 7),
        ([["1", None, None, None], ["2", None]], ["1", "2", None, None, None, None]),
        ([[], ["1"], []], ["1"]),
        ([[], []], []),
        ([["1", "2", "3"]], ["1", "2", "3"]),
    ],
)
def test_merges(inputs: list[list[str | None]], merged: list[str | None]) -> None:
    assert run(MergeSort((SortKey(0),)), [FakeSource(ISBN, rows_of(*one)) for one in inputs]) == rows_of(*merged)


@pytest.mark.parametrize("seed", range(40))
def test_random_inputs_merge_as_a_stable_sort_would(seed: int) -> None:
    """Each input's rows carry its number, so that the order of equal keys shows."""
    chance = random.Random(seed)
    descending, nulls_first = chance.random() < 0.5, chance.random() < 0.5

    def rank(row: Row) -> tuple[int, int]:
        if row[0] is None:
            return (-1 if nulls_first else 1), 0
        return 0, -int(row[0]) if descending else int(row[0])

    inputs = []
    for number in range(chance.randrange(1, 6)):
        values = [chance.choice([None, *map(str, range(6))]) for _ in range(chance.randrange(12))]
        inputs.append(sorted(((value, f"{number}") for value in values), key=rank))
    expected = sorted((row for rows in inputs for row in rows), key=rank)
    sources = [FakeSource(PAIR, rows, batch_rows=chance.randrange(1, 5)) for rows in inputs]
    assert run(MergeSort((SortKey(0, descending, nulls_first),)), sources) == expected


def test_several_keys_of_different_directions() -> None:
    keys = (SortKey(1, descending=True), SortKey(0))
    one = [("1", "b"), ("3", "b"), ("2", "a"), ("9", "")]
    two = [("2", "b"), ("2", "ab"), ("1", "a")]
    assert run(MergeSort(keys), [FakeSource(PAIR, one), FakeSource(PAIR, two)]) == [
        ("1", "b"), ("2", "b"), ("3", "b"), ("2", "ab"), ("1", "a"), ("2", "a"), ("9", ""),
    ]  # fmt: skip


def test_hidden_sort_columns_are_cut_from_rows_and_description() -> None:
    inputs = [[("7", "a"), ("5", "c")], [("6", "b"), ("4", "d"), (None, "e"), ("1", "f")]]
    step = MergeSort((SortKey(1),), visible=1)
    sources = [FakeSource(PAIR, rows) for rows in inputs]
    assert run(step, sources) == rows_of("7", "6", "5", "4", None, "1")
    assert described(step, [FakeSource(PAIR, []), FakeSource(PAIR, [])]) == PAIR[:1]


def test_few_rows_are_held() -> None:
    """No input is read further than the batch that the first rows need."""
    sources = [FakeSource(ISBN, rows_of(*map(str, range(start, 1000, 3)))) for start in range(3)]
    top = open_steps(MergeSort((SortKey(0),)), sources)

    async def first() -> None:
        await top.describe()
        await top.next_batch()

    asyncio.run(first())
    assert [source.batches_taken for source in sources] == [1, 1, 1]


def test_ready_when_every_needed_input_is() -> None:
    sources = [FakeSource(ISBN, rows_of("1", "2")), FakeSource(ISBN, rows_of("3"), waits=1)]
    top = open_steps(MergeSort((SortKey(0),)), sources)
    asyncio.run(top.describe())
    assert not top.ready
    sources[1].progress()
    assert top.ready


def test_unsorted_input_is_our_own_bug() -> None:
    with pytest.raises(ProxyError, match="not in the order"):
        run(MergeSort((SortKey(0),)), [FakeSource(ISBN, rows_of("3", "4", "1")), FakeSource(ISBN, rows_of("9", "9"))])


def test_failure_closes_the_other_inputs() -> None:
    failure = NodeFailure("west-library", "gone")
    sources = [
        FakeSource(ISBN, rows_of(*"123456")),
        FakeSource(ISBN, rows_of("2"), fails=failure),
        FakeSource(ISBN, rows_of("9")),
    ]
    with pytest.raises(NodeFailure) as raised:
        run(MergeSort((SortKey(0),)), sources)
    assert raised.value is failure
    assert all(source.closed for source in sources)


def test_text_in_the_order_of_a_collation_is_refused_and_inputs_closed() -> None:
    sources = [FakeSource(PAIR, []), FakeSource(PAIR, [])]
    with pytest.raises(Refused, match="collation"):
        described(MergeSort((SortKey(1),)), sources, environment=FakeEnvironment(bytewise_default=False))
    assert all(source.closed for source in sources)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (columns(n=INT4), "2 columns on one, 1 on another"),
        (columns(n=INT8, name=TEXT), 'column 1 "n" is integer on one, bigint on another'),
    ],
)
def test_shards_that_disagree(other: tuple[object, ...], message: str) -> None:
    sources = [FakeSource(PAIR, []), FakeSource(other, [])]  # type: ignore[arg-type]
    with pytest.raises(ProxyError, match=message) as raised:
        described(MergeSort((SortKey(0),)), sources)
    assert raised.value.sqlstate == "XX000"
    assert all(source.closed for source in sources)


def test_close_closes_all_inputs_and_may_be_repeated() -> None:
    sources = [FakeSource(ISBN, rows_of(*"12345")), FakeSource(ISBN, rows_of(*"12345"))]
    top = open_steps(MergeSort((SortKey(0),)), sources)
    top.close()
    top.close()
    assert all(source.closed for source in sources)


def test_last_input_is_passed_on_batch_by_batch() -> None:
    top = open_steps(MergeSort((SortKey(0),)), [FakeSource(ISBN, rows_of("1")), FakeSource(ISBN, rows_of(*"23456"))])
    _, batches = asyncio.run(drain(top))
    assert batches[-2:] == [rows_of("4", "5"), rows_of("6")]


def test_explain() -> None:
    assert MergeSort((SortKey(1, descending=True, nulls_first=True),)).explain() == "Merge Sort  Key: 2 DESC"
