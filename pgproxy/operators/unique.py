"""Unique: of adjacent rows with equal keys only the first, for DISTINCT and DISTINCT ON over a sorted stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pgproxy.operators.arguments import Arguments
from pgproxy.operators.batches import cut_columns
from pgproxy.operators.inputs import Operator
from pgproxy.operators.source import Batch, Environment, RowSource
from pgproxy.operators.values import KeyReader, SortKey, equality_reader, explain_keys
from pgproxy.wire.rows import Column


@dataclass(frozen=True, slots=True)
class Unique:
    """The plan of DISTINCT. Rows are equal if PostgreSQL says so of every key (1.0 = 1.00, NULL like NULL)."""

    keys: tuple[SortKey, ...]
    visible: int | None = None

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        return UniqueOperator(inputs, self.keys, self.visible)

    def explain(self) -> str:
        return f"Unique  Key: {explain_keys(self.keys)}"


class UniqueOperator(Operator):
    """Over one input that is sorted by the keys."""

    def __init__(self, inputs: Sequence[RowSource], keys: Sequence[SortKey], visible: int | None) -> None:
        super().__init__(inputs)
        (self._input,) = inputs
        self._keys = keys
        self._visible = visible
        self._reader: KeyReader | None = None
        self._last: Any = object()  # equal to no key

    def _prepare(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        self._reader = equality_reader(self._keys, columns, visible=self._visible)
        return cut_columns(columns, self._visible)

    async def _next(self) -> Batch | None:
        assert self._reader is not None, "describe comes first"
        while (batch := await self._input.next_batch()) is not None:
            keys, rows = self._reader.read(batch.data)
            kept = self._first_of_each(keys, rows)
            if kept:
                return Batch(b"".join(kept), len(kept))
        return None

    def _first_of_each(self, keys: list[Any], rows: list[bytes]) -> list[bytes]:
        before = [self._last, *keys[:-1]]
        self._last = keys[-1]
        return [row for row, key, previous in zip(rows, keys, before, strict=True) if key != previous]
