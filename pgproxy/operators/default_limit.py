"""Default Limit: passes the rows that `default_limit` allows and notes whether there were more.

The statement itself asks for one row more than that; telling the client is left to the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgproxy.operators.arguments import Arguments
from pgproxy.operators.batches import first_rows
from pgproxy.operators.inputs import Operator
from pgproxy.operators.source import Batch, Environment, RowSource


@dataclass(frozen=True, slots=True)
class DefaultLimit:
    """The plan of a LIMIT that the proxy added."""

    limit: int

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> DefaultLimitOperator:
        return DefaultLimitOperator(inputs, self.limit)

    def explain(self) -> str:
        return f"Limit  Default: {self.limit}"


class DefaultLimitOperator(Operator):
    """Over one input. `cut` is True once a row was held back; known at the end of the rows."""

    def __init__(self, inputs: Sequence[RowSource], limit: int) -> None:
        super().__init__(inputs)
        (self._input,) = inputs
        self.limit = self._wanted = limit
        self.cut = False

    @property
    def ready(self) -> bool:
        return self.cut or self._input.ready

    async def _next(self) -> Batch | None:
        if self.cut:
            return None
        batch = await self._input.next_batch()
        if batch is None:
            return None
        if batch.count <= self._wanted:
            self._wanted -= batch.count
            return batch
        self.cut = True
        self.close()
        return first_rows(batch, self._wanted) if self._wanted else None
