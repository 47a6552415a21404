"""Group Merge: each shard's partial groups, sorted by their keys, into one row per group.

What the shards' partial results are is left to the planner; which values combine how is a table in `combine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pgproxy.operators.arguments import Arguments
from pgproxy.operators.batches import raw_fields, row_of_raw
from pgproxy.operators.combine import Combine as Combine  # planners take it from here
from pgproxy.operators.combine import Combiner, combiner
from pgproxy.operators.inputs import Operator
from pgproxy.operators.merge_sort import SortedInputs
from pgproxy.operators.source import Batch, Environment, RowSource
from pgproxy.operators.values import SortKey, explain_keys, ordering_reader
from pgproxy.wire.rows import Column, fields_of


@dataclass(frozen=True, slots=True)
class GroupMerge:
    """The plan of a final aggregation. Inputs carry the keys in their first columns, sorted by them.

    The result has the keys, then one column per aggregate. Without keys it is always exactly one row.
    """

    keys: tuple[SortKey, ...]
    aggregates: tuple[Combine, ...]

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        return GroupMergeOperator(inputs, self, bytewise_default=environment.bytewise_default)

    def explain(self) -> str:
        kinds = ", ".join(aggregate.kind for aggregate in self.aggregates)
        if not self.keys:
            return f"Aggregate Merge  {kinds}"
        return f"Group Merge  Key: {explain_keys(self.keys)}" + (f"  {kinds}" if kinds else "")


class GroupMergeOperator(Operator):
    """Holds the partial rows of one group: no more than one from each input."""

    def __init__(self, inputs: Sequence[RowSource], plan: GroupMerge, *, bytewise_default: bool) -> None:
        super().__init__(inputs)
        self._plan = plan
        self._bytewise_default = bytewise_default
        self._sorted: SortedInputs | None = None
        self._combiners: tuple[Combiner, ...] = ()
        self._lone_passes = False
        self._key: Any = object()  # equal to no key
        self._group: list[bytes] = []
        self._ended = False

    @property
    def ready(self) -> bool:
        return self._ended or (self._sorted is not None and self._sorted.ready)

    def _prepare(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        keys, aggregates = self._plan.keys, self._plan.aggregates
        reader = ordering_reader(keys, columns, bytewise_default=self._bytewise_default)
        self._sorted = SortedInputs(self._inputs, reader)
        self._combiners = tuple(
            combiner(aggregate, columns, bytewise_default=self._bytewise_default) for aggregate in aggregates
        )
        taken = (*range(len(keys)), *(one.lone_column for one in self._combiners))
        self._lone_passes = taken == tuple(range(len(columns)))
        return (*columns[: len(keys)], *(one.column for one in self._combiners))

    async def _next(self) -> Batch | None:
        assert self._sorted is not None, "describe comes first"
        while not self._ended:
            taken = await self._sorted.take()
            if taken is None:
                self._ended = True
                finished = [self._finish()] if self._group or not self._plan.keys else []
            else:
                finished = self._finished_by(*taken)
            if finished:
                return Batch(b"".join(finished), len(finished))
        return None

    def _finished_by(self, keys: list[Any], rows: list[bytes]) -> list[bytes]:
        """The groups that these further partial rows show to be complete."""
        finished = []
        for key, row in zip(keys, rows, strict=True):
            if key == self._key:
                self._group.append(row)
                continue
            if self._group:
                finished.append(self._finish())
            self._key = key
            self._group = [row]
        return finished

    def _finish(self) -> bytes:
        """The group's row. A group that only one shard has may already be it."""
        group = self._group
        if self._lone_passes and len(group) == 1:
            return group[0]
        partials = [fields_of(row) for row in group]
        key_fields = raw_fields(group[0])[: len(self._plan.keys)] if group else []
        return row_of_raw([*key_fields, *(one.raw_result(partials) for one in self._combiners)])
