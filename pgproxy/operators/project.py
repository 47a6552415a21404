"""Project: columns in another order, repeated, left out or renamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pgproxy.operators.arguments import Arguments
from pgproxy.operators.batches import cut_batch, raw_fields, row_of_raw
from pgproxy.operators.inputs import Operator
from pgproxy.operators.source import Batch, Environment, RowSource
from pgproxy.wire.rows import Column, split_rows


@dataclass(frozen=True, slots=True)
class Project:
    """The plan of a projection: the input's column (from 0) for each column of the output, and its new name
    (None, or no name given, keeps the old one)."""

    columns: tuple[int, ...]
    names: tuple[str | None, ...] = ()

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        return ProjectOperator(inputs, self.columns, self.names)

    def explain(self) -> str:
        return f"Project  Columns: {', '.join(str(column + 1) for column in self.columns)}"


class ProjectOperator(Operator):
    """Over one input. Rows whose leading columns stay as they are, are passed on or cut, not rebuilt."""

    def __init__(self, inputs: Sequence[RowSource], columns: tuple[int, ...], names: tuple[str | None, ...]) -> None:
        super().__init__(inputs)
        (self._input,) = inputs
        self._taken = columns
        self._names = names or (None,) * len(columns)
        self._untouched = False

    def _prepare(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        self._untouched = self._taken == tuple(range(len(columns)))
        taken = [columns[index] for index in self._taken]
        return tuple(
            column if name is None else replace(column, name=name)
            for column, name in zip(taken, self._names, strict=True)
        )

    async def _next(self) -> Batch | None:
        batch = await self._input.next_batch()
        if batch is None or self._untouched:
            return batch
        if self._taken == tuple(range(len(self._taken))):
            return cut_batch(batch, len(self._taken))
        return Batch(b"".join(map(self._project, split_rows(batch.data))), batch.count)

    def _project(self, row: bytes) -> bytes:
        fields = raw_fields(row)
        return row_of_raw([fields[index] for index in self._taken])
