"""What an operator reads from and what it is: a source of row batches. Declared here, met by sessions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from pgproxy.operators.arguments import Arguments
from pgproxy.wire.rows import Batch, Column

__all__ = ["Batch", "Environment", "Pipeline", "RowSource", "Step"]


class RowSource(Protocol):
    """A running statement on one shard, or an operator over several.

    `describe` must be awaited before the first `next_batch`. `next_batch` gives None at the end and raises
    ProxyError when the statement failed. `close` says that no more rows are wanted (idempotent, never
    waits); after it `next_batch` must not be called. `ready` is True when `next_batch` would not wait.
    """

    @property
    def ready(self) -> bool: ...

    async def describe(self) -> tuple[Column, ...]: ...

    async def next_batch(self) -> Batch | None: ...

    def close(self) -> None: ...


class Environment(Protocol):
    """What operators may ask of the session that runs them."""

    @property
    def sort_memory_bytes(self) -> int:
        """Memory that one sort may hold before it spills to a temporary file."""
        ...

    @property
    def bytewise_default(self) -> bool:
        """The database's default collation compares text by bytes."""
        ...

    async def any_ready(self, sources: Sequence[RowSource]) -> None:
        """Wait until at least one of the sources is ready."""
        ...

    def evaluate(self, sql: str, parameters: Collection[int] = ()) -> RowSource:
        """Run a statement of ours (no table in it) on one of the nodes in use. `parameters` are the numbers of those
        `$n` of the client's statement that stand in it: they have the values and types that they have on the shards."""
        ...


class Step(Protocol):
    """The plan of one operator: a frozen dataclass beside its operator. `open` builds the operator."""

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource: ...

    def explain(self) -> str:
        """One line for EXPLAIN, such as `Merge Sort  Key: 1 DESC NULLS FIRST`."""
        ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps from the bottom up: the first gets every shard's source, each later one gets the one below it."""

    steps: tuple[Step, ...]

    def open(self, sources: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        inputs = sources
        for step in self.steps:
            inputs = (step.open(inputs, arguments, environment),)
        (top,) = inputs
        return top
