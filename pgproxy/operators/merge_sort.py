"""Merge Sort: sorted inputs into one sorted stream, a few batches in memory at a time.

Of each input one batch is held. Everything up to the smallest of the batches' last keys is final, so it is
cut off each batch, and the pieces are merged by list.sort, which finds the sorted runs and merges them in C.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pgproxy.errors import ProxyError
from pgproxy.operators.arguments import Arguments
from pgproxy.operators.batches import cut_batch, cut_columns
from pgproxy.operators.inputs import Operator
from pgproxy.operators.source import Batch, Environment, RowSource
from pgproxy.operators.values import KeyReader, explain_keys, ordering_reader
from pgproxy.operators.values import SortKey as SortKey  # planners take it from here
from pgproxy.wire.rows import Column


@dataclass(frozen=True, slots=True)
class MergeSort:
    """The plan of a merge. `visible` is how many leading columns the client sees; the rest only sort."""

    keys: tuple[SortKey, ...]
    visible: int | None = None

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        return MergeSortOperator(inputs, self.keys, self.visible, bytewise_default=environment.bytewise_default)

    def explain(self) -> str:
        return f"Merge Sort  Key: {explain_keys(self.keys)}"


class SortedInput:
    """One sorted input: the batch in hand, as keys and rows from `start` on."""

    __slots__ = ("_last", "ended", "keys", "rows", "source", "start")

    def __init__(self, source: RowSource) -> None:
        self.source = source
        self.ended = False
        self.keys: list[Any] = []
        self.rows: list[bytes] = []
        self.start = 0
        self._last: list[Any] = []  # the last key of the batch before, if there was one

    @property
    def exhausted(self) -> bool:
        """Nothing in hand, but there may be more to read."""
        return self.start == len(self.keys) and not self.ended

    async def read(self, reader: KeyReader) -> None:
        batch = await self.source.next_batch()
        self.start = 0
        if batch is None:
            self.ended = True
            self.keys, self.rows = [], []
            return
        self.keys, self.rows = reader.read(batch.data)
        if (self._last and self.keys[0] < self._last[0]) or self.keys[-1] < self.keys[0]:
            raise unsorted_input()
        self._last = self.keys[-1:]

    def cut(self, end: int) -> tuple[list[Any], list[bytes]]:
        """Take what lies before position `end` of the batch."""
        start, self.start = self.start, end
        if start == 0 and end == len(self.keys):
            return self.keys, self.rows
        return self.keys[start:end], self.rows[start:end]


def unsorted_input() -> ProxyError:
    """A node sorts otherwise than the proxy compares: an answer made of it would be wrong."""
    return ProxyError(
        "XX001",
        "the rows of a node are not in the order that was asked for",
        hint='A node may have another collation than the others, or a damaged index: "pgproxy check" compares them.',
    )


class SortedInputs:
    """Several sorted inputs, taken off together in order; equal keys come in the order of the inputs."""

    def __init__(self, sources: Sequence[RowSource], reader: KeyReader) -> None:
        self._inputs = [SortedInput(source) for source in sources]
        self._reader = reader

    @property
    def ready(self) -> bool:
        return all(one.source.ready for one in self._inputs if one.exhausted)

    def alone(self) -> RowSource | None:
        """The only source that still has rows, if no row of it is in hand."""
        if len(self._inputs) == 1 and self._inputs[0].exhausted:
            return self._inputs[0].source
        return None

    async def take(self) -> tuple[list[Any], list[bytes]] | None:
        """The next keys and rows in order, never empty; None at the end."""
        for one in self._inputs:
            if one.exhausted:
                await one.read(self._reader)
        self._inputs = [one for one in self._inputs if not one.ended]
        if not self._inputs:
            return None
        return _in_order(self._final_pieces())

    def _final_pieces(self) -> list[tuple[list[Any], list[bytes]]]:
        """What no row still to be read can come before.

        The first input whose batch ends lowest gives all it has. Inputs behind it keep keys equal to that
        bound, because more of them may follow in the first one's next batch.
        """
        lowest, bound = 0, self._inputs[0].keys[-1]
        for index, one in enumerate(self._inputs):
            if one.keys[-1] < bound:
                lowest, bound = index, one.keys[-1]
        pieces = []
        for index, one in enumerate(self._inputs):
            bisect = bisect_right if index <= lowest else bisect_left
            end = bisect(one.keys, bound, one.start)
            if end > one.start:
                pieces.append(one.cut(end))
        return pieces


def _in_order(pieces: list[tuple[list[Any], list[bytes]]]) -> tuple[list[Any], list[bytes]]:
    if len(pieces) == 1:
        return pieces[0]
    keys = [key for piece_keys, _ in pieces for key in piece_keys]
    rows = [row for _, piece_rows in pieces for row in piece_rows]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return list(map(keys.__getitem__, order)), list(map(rows.__getitem__, order))


class MergeSortOperator(Operator):
    """A k-way merge of sorted inputs, stable in their order."""

    def __init__(
        self, inputs: Sequence[RowSource], keys: Sequence[SortKey], visible: int | None, *, bytewise_default: bool
    ) -> None:
        super().__init__(inputs)
        self._keys = keys
        self._visible = visible
        self._bytewise_default = bytewise_default
        self._sorted: SortedInputs | None = None

    @property
    def ready(self) -> bool:
        return self._sorted is not None and self._sorted.ready

    def _prepare(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        reader = ordering_reader(self._keys, columns, bytewise_default=self._bytewise_default, visible=self._visible)
        self._sorted = SortedInputs(self._inputs, reader)
        return cut_columns(columns, self._visible)

    async def _next(self) -> Batch | None:
        assert self._sorted is not None, "describe comes first"
        alone = self._sorted.alone()
        if alone is not None:
            return await self._pass_on(alone)
        taken = await self._sorted.take()
        if taken is None:
            return None
        rows = taken[1]
        return Batch(b"".join(rows), len(rows))

    async def _pass_on(self, source: RowSource) -> Batch | None:
        """What the last input gives needs no merging."""
        batch = await source.next_batch()
        if batch is None or self._visible is None:
            return batch
        return cut_batch(batch, self._visible)
