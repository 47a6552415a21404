"""ByPlace: rows of several inputs in an order that says for each row which input it comes from.

Each input has its own rows in that order already. Where the order is from is the session's to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pgproxy.errors import ProxyError
from pgproxy.operators.arguments import Arguments
from pgproxy.operators.inputs import Operator
from pgproxy.operators.source import Batch, Environment, RowSource
from pgproxy.wire.rows import split_rows

_MOST_ROWS = 256  # of a batch that is put together


@dataclass(frozen=True, slots=True)
class ByPlace:
    """The plan. `order` has the input's index for each row."""

    order: Sequence[int]

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        return ByPlaceOperator(inputs, self.order)

    def explain(self) -> str:
        return "By Place"


class ByPlaceOperator(Operator):
    """Holds one batch of each input."""

    def __init__(self, inputs: Sequence[RowSource], order: Sequence[int]) -> None:
        super().__init__(inputs)
        self._runs: Iterator[tuple[int, int]] = ((index, sum(1 for _ in run)) for index, run in groupby(order))
        self._from = self._wanted = 0  # which input has the next rows, and how many of them
        self._rows: list[list[bytes]] = [[] for _ in inputs]
        self._at = [0] * len(inputs)

    async def _next(self) -> Batch | None:
        taken: list[bytes] = []
        while len(taken) < _MOST_ROWS:
            if not self._wanted:
                self._from, self._wanted = next(self._runs, (0, 0))
            if not self._wanted:
                break
            rows = await self._some_of(self._from, min(self._wanted, _MOST_ROWS - len(taken)))
            self._wanted -= len(rows)
            taken += rows
        return Batch(b"".join(taken), len(taken)) if taken else None

    async def _some_of(self, index: int, most: int) -> list[bytes]:
        """The next rows of an input, at least one."""
        at = self._at[index]
        if at == len(self._rows[index]):
            batch = await self._inputs[index].next_batch()
            if batch is None:
                raise ProxyError("XX000", "a shard has given fewer rows than it has said")
            self._rows[index], at = split_rows(batch.data), 0
        rows = self._rows[index][at : at + most]
        self._at[index] = at + len(rows)
        return rows
