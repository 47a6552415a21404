"""A source of given rows, two at a time, and an environment to run steps in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import psycopg

from pgproxy.errors import ProxyError
from pgproxy.operators.arguments import Arguments
from pgproxy.operators.source import Batch, Pipeline, RowSource, Step
from pgproxy.wire.rows import Column, data_row, fields_of, split_rows

Row = tuple[str | None, ...]

INT8, INT4, TEXT, NUMERIC, FLOAT8, BPCHAR, DATE = 20, 23, 25, 1700, 701, 1042, 1082


def columns(**type_oids: int) -> tuple[Column, ...]:
    return tuple(Column(name, type_oid=oid) for name, oid in type_oids.items())


def rows_of(*values: str | None) -> list[Row]:
    """Rows of one column."""
    return [(value,) for value in values]


class FakeSource:
    """Gives `batch_rows` rows at a time. `waits` is how often it must be waited for before each batch;
    `fails` is raised when the rows are through."""

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Sequence[Row],
        *,
        batch_rows: int = 2,
        waits: int = 0,
        fails: ProxyError | None = None,
    ) -> None:
        self._columns = tuple(columns)
        self._rows = list(rows)
        self._batch_rows = batch_rows
        self._fails = fails
        self._waits = waits
        self._waits_left = waits
        self._described = False
        self._ended = False
        self.closed = False
        self.batches_taken = 0

    @property
    def ready(self) -> bool:
        return self._waits_left == 0

    def progress(self) -> None:
        self._waits_left = max(0, self._waits_left - 1)

    async def describe(self) -> tuple[Column, ...]:
        self._described = True
        return self._columns

    async def next_batch(self) -> Batch | None:
        assert self._described, "next_batch before describe"
        assert not self.closed, "next_batch after close"
        assert not self._ended, "next_batch after the end"
        self._waits_left = self._waits
        part, self._rows = self._rows[: self._batch_rows], self._rows[self._batch_rows :]
        if part:
            self.batches_taken += 1
            return batch_of(part)
        self._ended = True
        if self._fails is not None:
            raise self._fails
        return None

    def close(self) -> None:
        self.closed = True


def batch_of(rows: Sequence[Row]) -> Batch:
    return Batch(b"".join(data_row(None if f is None else f.encode() for f in row) for row in rows), len(rows))


def rows_in(batch: Batch) -> list[Row]:
    rows = [tuple(None if f is None else f.decode() for f in fields_of(row)) for row in split_rows(batch.data)]
    assert rows, "a batch must not be empty"
    assert batch.count == len(rows)
    return rows


@dataclass
class FakeEnvironment:
    sort_memory_bytes: int = 1 << 20
    bytewise_default: bool = True
    answer: Callable[[str], RowSource] | None = None
    evaluated: list[str] = field(default_factory=list)

    async def any_ready(self, sources: Sequence[RowSource]) -> None:
        while not any(source.ready for source in sources):
            await asyncio.sleep(0)
            for source in sources:
                assert isinstance(source, FakeSource)
                source.progress()

    def evaluate(self, sql: str, parameters: Collection[int] = ()) -> RowSource:
        assert self.answer is not None
        self.evaluated.append(sql)
        return self.answer(sql)


async def drain(source: RowSource) -> tuple[tuple[Column, ...], list[list[Row]]]:
    """Everything a source gives, by batches."""
    described = await source.describe()
    batches = []
    while (batch := await source.next_batch()) is not None:
        batches.append(rows_in(batch))
    return described, batches


def open_steps(
    steps: Step | Sequence[Step],
    inputs: Sequence[RowSource],
    *,
    literals: tuple[str, ...] = (),
    environment: FakeEnvironment | None = None,
) -> RowSource:
    pipeline = Pipeline(tuple(steps) if isinstance(steps, Sequence) else (steps,))
    return pipeline.open(inputs, Arguments(literals), environment or FakeEnvironment())


def run(
    steps: Step | Sequence[Step],
    inputs: Sequence[RowSource],
    *,
    literals: tuple[str, ...] = (),
    environment: FakeEnvironment | None = None,
) -> list[Row]:
    """The rows that steps make of inputs."""
    top = open_steps(steps, inputs, literals=literals, environment=environment)
    return [row for batch in asyncio.run(drain(top))[1] for row in batch]


def described(
    steps: Step | Sequence[Step], inputs: Sequence[RowSource], *, environment: FakeEnvironment | None = None
) -> tuple[Column, ...]:
    return asyncio.run(open_steps(steps, inputs, environment=environment).describe())


def query(connection: psycopg.Connection, sql: str) -> tuple[tuple[Column, ...], list[Row]]:
    """What a server answers in text format, as an operator's input would have it."""
    result = connection.execute(sql.encode()).pgresult
    assert result is not None
    described = tuple(
        Column((result.fname(i) or b"").decode(), type_oid=result.ftype(i), type_size=result.fsize(i))
        for i in range(result.nfields)
    )
    values = [[result.get_value(r, c) for c in range(result.nfields)] for r in range(result.ntuples)]
    return described, [tuple(None if v is None else v.decode() for v in row) for row in values]


def source_of(connection: psycopg.Connection, sql: str, batch_rows: int = 2) -> FakeSource:
    return FakeSource(*query(connection, sql), batch_rows=batch_rows)
