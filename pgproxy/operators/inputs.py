"""What all operators share: inputs that are described alike, and are closed together when one of them fails.

How rows are combined is left to the operators, one file each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pgproxy.errors import ProxyError
from pgproxy.operators.source import Batch, RowSource
from pgproxy.operators.types import type_name
from pgproxy.wire.rows import Column


class Operator:
    """A RowSource over other RowSources. Subclasses give `_prepare` (what they need to know of the columns,
    and how their own look), `_next`, and `ready` where it is not simply the inputs'."""

    def __init__(self, inputs: Sequence[RowSource]) -> None:
        self._inputs = tuple(inputs)
        self._columns: tuple[Column, ...] | None = None

    @property
    def ready(self) -> bool:
        return all(source.ready for source in self._inputs)

    async def describe(self) -> tuple[Column, ...]:
        if self._columns is None:
            try:
                self._columns = self._prepare(await describe_alike(self._inputs))
            except BaseException:
                self.close()
                raise
        return self._columns

    async def next_batch(self) -> Batch | None:
        try:
            return await self._next()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for source in self._inputs:
            source.close()

    def _prepare(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        return columns

    async def _next(self) -> Batch | None:
        raise NotImplementedError


async def describe_alike(sources: Sequence[RowSource]) -> tuple[Column, ...]:
    """The columns that all sources have: the first one's, without type modifiers that others do not share.

    Raises ProxyError XX000 where count, type or format differ: shards are meant to be equal.
    """
    columns, *others = [await source.describe() for source in sources]
    for other in others:
        columns = common_columns(columns, other)
    return columns


def common_columns(columns: tuple[Column, ...], others: tuple[Column, ...]) -> tuple[Column, ...]:
    """What two sources have in common: their columns, which must be equal but for the type modifiers."""
    if columns is others:
        return columns
    if len(columns) != len(others):
        raise ProxyError("XX000", f"shards disagree: {len(columns)} columns on one, {len(others)} on another")
    return tuple(_common_column(position, *pair) for position, pair in enumerate(zip(columns, others, strict=True), 1))


def _common_column(position: int, column: Column, other: Column) -> Column:
    if (column.type_oid, column.format) != (other.type_oid, other.format):
        raise ProxyError(
            "XX000",
            f'shards disagree: column {position} "{column.name}" is {_kind(column)} on one, {_kind(other)} on another',
            hint="Give the column the same type on every shard.",
        )
    if column.type_modifier != other.type_modifier:
        return replace(column, type_modifier=-1)
    return column


def _kind(column: Column) -> str:
    return type_name(column.type_oid) + (" (binary)" if column.format else "")
