"""Concat: the inputs' batches as they arrive, in no particular order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgproxy.operators.arguments import Arguments
from pgproxy.operators.batches import cut_batch, cut_columns
from pgproxy.operators.inputs import Operator, common_columns
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
    """Whichever input is ready first describes the rows, and whichever is ready gives its batch: a busy one cannot
    keep the others waiting. Each is held against the description before its first batch is passed on."""

    def __init__(self, inputs: Sequence[RowSource], visible: int | None, environment: Environment) -> None:
        super().__init__(inputs)
        self._visible = visible
        self._environment = environment
        self._running = list(inputs)
        self._described: tuple[Column, ...] = ()
        self._unlike = set(inputs)  # not seen to be like the others yet

    @property
    def ready(self) -> bool:
        return not self._running or any(source.ready for source in self._running)

    async def describe(self) -> tuple[Column, ...]:
        if self._columns is None:
            try:
                self._described = await self._running[await self._first_ready()].describe()
            except BaseException:
                self.close()
                raise
            self._columns = cut_columns(self._described, self._visible)
        return self._columns

    async def _next(self) -> Batch | None:
        while self._running:
            index = await self._first_ready()
            source = self._running.pop(index)
            if source in self._unlike:
                self._unlike.remove(source)
                common_columns(self._described, await source.describe())
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
