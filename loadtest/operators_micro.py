"""What the operators cost alone: µs of CPU per row over three inputs that are already in memory.

`python -m loadtest.operators_micro [rows]`. No server, no sockets: the floor of what `make bench` measures.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from pgproxy.operators.arguments import NO_ARGUMENTS
from pgproxy.operators.concat import Concat
from pgproxy.operators.group_merge import Combine, GroupMerge
from pgproxy.operators.merge_sort import MergeSort, SortKey
from pgproxy.operators.source import Batch, RowSource, Step
from pgproxy.operators.unique import Unique
from pgproxy.wire.rows import Column, data_row

_INPUTS = 3
_BATCH_ROWS = 600  # about 64 KB of the rows below
_INT8, _TEXT, _NUMERIC, _TIMESTAMPTZ = 20, 25, 1700, 1184

Rows = list[tuple[bytes, ...]]


class Given:
    """Batches made beforehand, always ready."""

    ready = True

    def __init__(self, columns: tuple[Column, ...], rows: Rows) -> None:
        self._columns = columns
        self._batches = _batches(rows)

    async def describe(self) -> tuple[Column, ...]:
        return self._columns

    async def next_batch(self) -> Batch | None:
        return self._batches.pop() if self._batches else None

    def close(self) -> None:
        self._batches = []


class Alone:
    """An environment for steps that need no session."""

    sort_memory_bytes = 16 << 20
    bytewise_default = True

    async def any_ready(self, sources: Sequence[RowSource]) -> None:
        assert all(source.ready for source in sources)

    def evaluate(self, sql: str) -> RowSource:
        raise NotImplementedError


def _batches(rows: Rows) -> list[Batch]:
    parts = [rows[start : start + _BATCH_ROWS] for start in range(0, len(rows), _BATCH_ROWS)]
    return [Batch(b"".join(map(data_row, part)), len(part)) for part in reversed(parts)]


def _book(n: int) -> tuple[bytes, ...]:
    day = b"2024-%02d-%02d 12:34:%02d.5+00" % (n % 12 + 1, n % 28 + 1, n % 60)
    return (b"%d" % (9780000000000 + n), b"downtown", b"The book numbered %d" % (n * 7919 % 1000003), b"12.50", day)


_BOOK = (
    Column("isbn", type_oid=_INT8),
    Column("branch", type_oid=_TEXT),
    Column("book_name", type_oid=_TEXT),
    Column("price", type_oid=_NUMERIC),
    Column("updated_at", type_oid=_TIMESTAMPTZ),
)
_GROUP = (Column("isbn", type_oid=_INT8), Column("count", type_oid=_INT8), Column("sum", type_oid=_NUMERIC))


def _group(n: int) -> tuple[bytes, ...]:
    return b"%d" % (n % 1000), b"7", b"1234.50"


def _sorted_by(column: int) -> Callable[[tuple[bytes, ...]], bytes]:
    return lambda row: row[column]


def _cases(count: int) -> Iterator[tuple[str, Step, tuple[Column, ...], list[Rows]]]:
    numbers = list(range(count))
    random.Random(1).shuffle(numbers)
    shares = [sorted(numbers[start::_INPUTS]) for start in range(_INPUTS)]
    books = [[_book(n) for n in share] for share in shares]
    by_name = [sorted(rows, key=_sorted_by(2)) for rows in books]
    by_time = [sorted(rows, key=_sorted_by(4)) for rows in books]
    yield "concat", Concat(), _BOOK, books
    yield "concat, last column hidden", Concat(visible=4), _BOOK, books
    yield "merge on bigint", MergeSort((SortKey(0),)), _BOOK, books
    yield "merge on text, third column", MergeSort((SortKey(2),)), _BOOK, by_name
    yield "merge on text, text descending", MergeSort((SortKey(1, descending=True), SortKey(0))), _BOOK, books
    yield "merge on timestamptz, hidden", MergeSort((SortKey(4),), visible=4), _BOOK, by_time
    yield "unique on bigint", Unique((SortKey(0),)), _BOOK, books[:1]
    groups = [[_group(n) for n in range(len(share))] for share in shares]
    distinct = [[_with_key(row, n) for n, row in enumerate(rows)] for rows in groups]
    step = GroupMerge((SortKey(0),), (Combine("count", (1,)), Combine("sum", (2,))))
    yield "group merge, groups on all inputs", step, _GROUP, distinct
    apart = [[_with_key(row, n * _INPUTS + shard) for n, row in enumerate(rows)] for shard, rows in enumerate(groups)]
    yield "group merge, groups on one input each", step, _GROUP, apart


def _with_key(row: tuple[bytes, ...], key: int) -> tuple[bytes, ...]:
    return b"%d" % key, *row[1:]


async def _run(step: Step, columns: tuple[Column, ...], inputs: list[Rows]) -> float:
    """µs of CPU per input row."""
    top = step.open([Given(columns, rows) for rows in inputs], NO_ARGUMENTS, Alone())
    started = time.process_time()
    await top.describe()
    while await top.next_batch() is not None:
        pass
    return (time.process_time() - started) * 1e6 / sum(map(len, inputs))


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    for name, step, columns, inputs in _cases(count):
        best = min(asyncio.run(_run(step, columns, inputs)) for _ in range(3))
        print(f"{name:40} {best:6.3f} µs/row")


if __name__ == "__main__":
    main()
