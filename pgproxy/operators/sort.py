"""Sort: rows in no order into order, in memory as far as allowed, beyond that through a temporary file.

For rows that only exist here (finished groups); where the nodes can sort, Merge Sort is the one to use.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from pgproxy.errors import ProxyError
from pgproxy.operators.arguments import Arguments
from pgproxy.operators.batches import cut_batch, cut_columns
from pgproxy.operators.inputs import Operator
from pgproxy.operators.limit import Bound, LimitOperator, bounds
from pgproxy.operators.merge_sort import MergeSortOperator
from pgproxy.operators.source import Batch, Environment, RowSource
from pgproxy.operators.values import KeyReader, SortKey, explain_keys, ordering_reader
from pgproxy.wire.frames import scan_rows
from pgproxy.wire.rows import Column

# What a row costs beyond its bytes: bytes object, key, slots in two lists.
_ROW_OVERHEAD_BYTES = 200
_BATCH_ROWS = 1000
_READ_BYTES = 128 * 1024
# Rows kept above LIMIT before the worst are thrown away again.
_TOP_SLACK = 2000


@dataclass(frozen=True, slots=True)
class Sort:
    """The plan of a sort. With a limit only the first limit + offset rows are ever kept."""

    keys: tuple[SortKey, ...]
    limit: Bound = None
    offset: Bound = None
    visible: int | None = None

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        limit, offset = bounds(self.limit, self.offset, arguments, inputs)
        top = None if limit is None else limit + offset
        sort = SortOperator(inputs, self.keys, top, self.visible, environment)
        if limit is None and not offset:
            return sort
        return LimitOperator((sort,), limit, offset)

    def explain(self) -> str:
        method = "Sort" if self.limit is None else "Top-N Sort"
        return f"{method}  Key: {explain_keys(self.keys)}"


class SortOperator(Operator):
    """Over one input, which is read to its end before the first row comes out. Stable."""

    def __init__(
        self,
        inputs: Sequence[RowSource],
        keys: Sequence[SortKey],
        top: int | None,
        visible: int | None,
        environment: Environment,
    ) -> None:
        super().__init__(inputs)
        (self._input,) = inputs
        self._sort_keys = keys
        self._top = top
        self._visible = visible
        self._environment = environment
        self._columns_read: tuple[Column, ...] = ()
        self._reader: KeyReader | None = None
        self._keys: list[Any] = []
        self._rows: list[bytes] = []
        self._held_bytes = 0
        self._spill: Spill | None = None
        self._output: RowSource | None = None

    @property
    def ready(self) -> bool:
        return self._output is not None

    def close(self) -> None:
        super().close()
        self._keys, self._rows = [], []
        if self._spill is not None:
            self._spill.close()

    def _prepare(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        self._reader = ordering_reader(self._sort_keys, columns, bytewise_default=self._environment.bytewise_default)
        self._columns_read = columns
        return cut_columns(columns, self._visible)

    async def _next(self) -> Batch | None:
        if self._output is None:
            self._output = await self._sort()
        batch = await self._output.next_batch()
        if batch is None:
            self.close()
            return None
        return batch if self._visible is None else cut_batch(batch, self._visible)

    async def _sort(self) -> RowSource:
        while (batch := await self._input.next_batch()) is not None:
            self._add(batch)
        self._order()
        if self._spill is None:
            rows, self._keys, self._rows = self._rows, [], []
            return SortedRows(self._columns_read, _in_batches(rows))
        self._spill_rows()
        merge = MergeSortOperator(
            self._spill.runs(self._columns_read),
            self._sort_keys,
            None,
            bytewise_default=True,  # _prepare has asked already
        )
        await merge.describe()
        return merge

    def _add(self, batch: Batch) -> None:
        assert self._reader is not None, "describe comes first"
        keys, rows = self._reader.read(batch.data)
        self._keys += keys
        self._rows += rows
        self._held_bytes += len(batch.data) + _ROW_OVERHEAD_BYTES * batch.count
        if self._top is not None and len(self._rows) > 2 * self._top + _TOP_SLACK:
            self._order()
        if self._held_bytes > self._environment.sort_memory_bytes:
            self._order()
            self._spill_rows()

    def _order(self) -> None:
        """Sort what is held, and forget what LIMIT can never reach."""
        order = sorted(range(len(self._keys)), key=self._keys.__getitem__)
        kept = order if self._top is None else order[: self._top]
        self._keys = list(map(self._keys.__getitem__, kept))
        self._rows = list(map(self._rows.__getitem__, kept))
        if len(kept) < len(order):
            self._held_bytes = sum(map(len, self._rows)) + _ROW_OVERHEAD_BYTES * len(kept)

    def _spill_rows(self) -> None:
        try:
            if self._spill is None:
                self._spill = Spill()
            self._spill.write(self._rows)
        except OSError as error:
            raise ProxyError("53100", f"could not write a temporary file for sorting: {error.strerror}") from error
        self._keys, self._rows = [], []
        self._held_bytes = 0


class SortedRows:
    """A source of batches that are already here."""

    ready = True

    def __init__(self, columns: tuple[Column, ...], batches: Iterator[Batch]) -> None:
        self._columns = columns
        self._batches = batches

    async def describe(self) -> tuple[Column, ...]:
        return self._columns

    async def next_batch(self) -> Batch | None:
        return next(self._batches, None)

    def close(self) -> None:
        self._batches = iter(())


def _in_batches(rows: list[bytes]) -> Iterator[Batch]:
    for start in range(0, len(rows), _BATCH_ROWS):
        part = rows[start : start + _BATCH_ROWS]
        yield Batch(b"".join(part), len(part))


class Spill:
    """A temporary file of sorted runs. Reads and writes are not awaited: they meet the page cache."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="pgproxy-sort-")  # noqa: SIM115 - closed by close()
        self._ends: list[int] = []

    def write(self, rows: list[bytes]) -> None:
        """Append one run."""
        for start in range(0, len(rows), _BATCH_ROWS):
            self._file.write(b"".join(rows[start : start + _BATCH_ROWS]))
        self._file.flush()
        self._ends.append(self._file.tell())

    def runs(self, columns: tuple[Column, ...]) -> list[RowSource]:
        """A source for each run written, in their order."""
        starts = [0, *self._ends]
        return [SortedRows(columns, self._read(*span)) for span in zip(starts, self._ends, strict=False)]

    def close(self) -> None:
        self._file.close()

    def _read(self, at: int, end: int) -> Iterator[Batch]:
        size = _READ_BYTES
        while at < end:
            data = os.pread(self._file.fileno(), min(size, end - at), at)
            rows_end, count = scan_rows(data, 0)
            if count:
                yield Batch(data[:rows_end], count)
                at += rows_end
                size = _READ_BYTES
            else:  # one row is larger than what was read
                size *= 2
