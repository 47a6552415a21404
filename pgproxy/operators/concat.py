"""Concat: the inputs' batches as they arrive, in no particular order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgproxy.operators.arguments import Arguments
from pgproxy.operators.batches import cut_batch, cut_columns
from pgproxy.operators.inputs import Operator
from pgproxy.operators.source import Batch, Environment, RowSource
from pgproxy.wire.rows import Column


@dataclass(frozen=True, slots=True)
class Concat:
    """The plan of a concatenation. `visible` is how many leading columns the client sees."""

    visible: int | None = None

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        return ConcatOperator(inputs, self.visible, environment)

    def explain(self) -> str:
        return "Concat"


class ConcatOperator(Operator):
    """Whichever input is ready gives its batch; a busy one cannot keep the others waiting."""

    def __init__(self, inputs: Sequence[RowSource], visible: int | None, environment: Environment) -> None:
        super().__init__(inputs)
        self._visible = visible
        self._environment = environment
        self._running = list(inputs)

    @property
    def ready(self) -> bool:
        return not self._running or any(source.ready for source in self._running)

    def _prepare(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        return cut_columns(columns, self._visible)

    async def _next(self) -> Batch | None:
        while self._running:
            index = await self._first_ready()
            source = self._running.pop(index)
            batch = await source.next_batch()
            if batch is not None:
                self._running.append(source)  # behind the others: they are asked first next time
                return batch if self._visible is None else cut_batch(batch, self._visible)
        return None

    async def _first_ready(self) -> int:
        if len(self._running) == 1:
            return 0
        while True:
            for index, source in enumerate(self._running):
                if source.ready:
                    return index
            await self._environment.any_ready(self._running)
