from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from pgproxy.errors import NodeFailure, ProxyError, Refused
from pgproxy.operators.arguments import LiteralRef
from pgproxy.operators.sort import Sort, SortOperator
from pgproxy.operators.values import SortKey
from tests.operators.fake_source import (
    INT4,
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

N = columns(n=INT4)
PAIR = columns(n=INT4, name=TEXT)
TINY = FakeEnvironment(sort_memory_bytes=5_000)  # about 24 rows


def _shuffled(count: int, seed: int = 3) -> list[Row]:
    chance = random.Random(seed)
    return [(str(chance.randrange(count // 3)), f"row {n}") for n in range(count)]


def _by_number(row: Row) -> int:
    return int(row[0] or 0)


@pytest.mark.parametrize("environment", [FakeEnvironment(), TINY], ids=["memory", "spilled"])
@pytest.mark.parametrize("batch_rows", [1, 2, 50])
@pytest.mark.parametrize("count", [0, 1, 30, 500])
def test_rows_are_sorted_and_equal_ones_keep_their_order(
    environment: FakeEnvironment, count: int, batch_rows: int
) -> None:
    rows = _shuffled(count) if count > 3 else rows_of(*"1"[:count])
    source = FakeSource(PAIR if count > 3 else N, rows, batch_rows=batch_rows)
    assert run(Sort((SortKey(0),)), [source], environment=environment) == sorted(rows, key=_by_number)


@pytest.mark.parametrize("environment", [FakeEnvironment(), TINY], ids=["memory", "spilled"])
@pytest.mark.parametrize(
    ("limit", "offset"), [(10, None), (0, None), (None, 490), (10, 3), (3000, 10), (200, 100), (5, 600)]
)
def test_limit_and_offset(environment: FakeEnvironment, limit: int | None, offset: int | None) -> None:
    rows = _shuffled(500)
    end = None if limit is None else limit + (offset or 0)
    expected = sorted(rows, key=_by_number)[offset or 0 : end]
    assert run(Sort((SortKey(0),), limit, offset), [FakeSource(PAIR, rows)], environment=environment) == expected


def test_a_limit_keeps_few_rows_in_memory() -> None:
    sort = SortOperator([FakeSource(PAIR, _shuffled(9000), batch_rows=100)], (SortKey(0),), 10, None, FakeEnvironment())
    held = []
    add = sort._add

    def watched(batch):  # type: ignore[no-untyped-def]
        add(batch)
        held.append(len(sort._rows))

    sort._add = watched  # type: ignore[method-assign]
    _, batches = asyncio.run(drain(sort))
    assert [len(batch) for batch in batches] == [10]
    assert max(held) < 2500


def test_spilled_rows_larger_than_one_read() -> None:
    rows = [(str(n % 7), "x" * 300_000) for n in range(20)]
    environment = FakeEnvironment(sort_memory_bytes=1_000_000)
    assert run(Sort((SortKey(0),)), [FakeSource(PAIR, rows)], environment=environment) == sorted(rows, key=_by_number)


def test_literals_come_from_the_arguments() -> None:
    step = Sort((SortKey(0),), LiteralRef(0), LiteralRef(1))
    assert run(step, [FakeSource(N, rows_of(*"35142"))], literals=("2", "'1'")) == rows_of("2", "3")


def test_negative_limit_closes_the_input() -> None:
    source = FakeSource(N, rows_of("1"))
    with pytest.raises(ProxyError, match="LIMIT must not be negative"):
        run(Sort((SortKey(0),), -1), [source])
    assert source.closed


@pytest.mark.parametrize("environment", [FakeEnvironment(), TINY], ids=["memory", "spilled"])
def test_hidden_sort_columns_are_cut(environment: FakeEnvironment) -> None:
    rows = [(str(n), f"{n * 7919 % 100:03}") for n in range(100)]
    step = Sort((SortKey(1, descending=True),), visible=1)
    expected = [row[:1] for row in sorted(rows, key=lambda row: row[1], reverse=True)]
    assert run(step, [FakeSource(PAIR, rows)], environment=environment) == expected
    assert described(step, [FakeSource(PAIR, rows)]) == N


def test_spill_is_gone_after_close() -> None:
    sort = SortOperator([FakeSource(PAIR, _shuffled(100))], (SortKey(0),), None, None, TINY)

    async def first_batch() -> None:
        await sort.describe()
        await sort.next_batch()

    asyncio.run(first_batch())
    assert sort._spill is not None
    sort.close()
    sort.close()
    assert sort._spill._file.closed


def test_no_room_for_the_spill(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    source = FakeSource(PAIR, _shuffled(100))
    with pytest.raises(ProxyError, match="could not write a temporary file") as raised:
        run(Sort((SortKey(0),)), [source], environment=TINY)
    assert raised.value.sqlstate == "53100"
    assert source.closed


def test_failure_of_the_input() -> None:
    source = FakeSource(N, rows_of("1"), fails=NodeFailure("west-library", "gone"))
    with pytest.raises(NodeFailure):
        run(Sort((SortKey(0),)), [source])
    assert source.closed


def test_text_in_the_order_of_a_collation_is_refused() -> None:
    with pytest.raises(Refused, match="collation"):
        described(Sort((SortKey(1),)), [FakeSource(PAIR, [])], environment=FakeEnvironment(bytewise_default=False))


def test_ready_once_sorted() -> None:
    top = open_steps(Sort((SortKey(0),)), [FakeSource(N, rows_of(*"321"))])

    async def before_and_after() -> tuple[bool, bool]:
        await top.describe()
        before = top.ready
        await top.next_batch()
        return before, top.ready

    assert asyncio.run(before_and_after()) == (False, True)


def test_explain() -> None:
    assert Sort((SortKey(0),)).explain() == "Sort  Key: 1"
    assert Sort((SortKey(0, descending=True, nulls_first=True),), 5).explain() == "Top-N Sort  Key: 1 DESC"
