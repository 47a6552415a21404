"""Evaluate: expressions over finished rows, computed by a node, so that they are PostgreSQL's own.

Rows travel to the node as a VALUES list, a few hundred at a time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from pgproxy.errors import Refused
from pgproxy.operators.arguments import Arguments, LiteralRef
from pgproxy.operators.batches import Field
from pgproxy.operators.inputs import Operator
from pgproxy.operators.source import Batch, Environment, RowSource
from pgproxy.operators.types import TIMESTAMPTZ, cast_name, type_name
from pgproxy.operators.values import unreadable_value
from pgproxy.wire.rows import Column, fields_of, split_rows

_CHUNK_ROWS = 500
# A zone's short name, as other DateStyles than ISO write it: IST is read as Israel's before PostgreSQL 18.
_ZONE_NAME = re.compile(rb"\b(?!infinity)[A-Za-z]{3}").search

SqlParts = Sequence[str | LiteralRef]


@dataclass(frozen=True, slots=True)
class Evaluate:
    """The plan of a select list, and a filter, over the input's columns, which are named `v.c1`, `v.c2`, ….

    The columns have the types of the input, without type modifiers and with the types' default collation: an
    expression that depends on a column's own collation must say COLLATE. The result has the names and types
    that the node gives it, and the input's order. `unchanged` has, for each column of the result that is one of
    the input's as it stands, which (from 0), else None: those keep their type modifiers. `parameters` are the numbers
    of the client's parameters that stand in the texts as `$n`. EXPLAIN shows constants as `$n` behind `shown_behind`.
    """

    select_sql: SqlParts
    where_sql: SqlParts | None = None
    unchanged: tuple[int | None, ...] = ()
    parameters: frozenset[int] = frozenset()
    shown_behind: int = 0

    def open(self, inputs: Sequence[RowSource], arguments: Arguments, environment: Environment) -> RowSource:
        select = render(self.select_sql, arguments)
        where = None if self.where_sql is None else render(self.where_sql, arguments)
        return EvaluateOperator(inputs, select, where, environment, self.unchanged, self.parameters)

    def explain(self) -> str:
        filtered = "" if self.where_sql is None else f"  Filter: {self._shown(self.where_sql)}"
        return f"Evaluate  {self._shown(self.select_sql)}{filtered}"

    def _shown(self, parts: SqlParts) -> str:
        return "".join(part if isinstance(part, str) else f"${self.shown_behind + part.index + 1}" for part in parts)


def render(parts: SqlParts, arguments: Arguments) -> str:
    """The text with this execution's literals."""
    return "".join(part if isinstance(part, str) else arguments.literals[part.index] for part in parts)


class EvaluateOperator(Operator):
    """Over one input. One statement runs at a time; the first tells what the result's columns are."""

    def __init__(
        self,
        inputs: Sequence[RowSource],
        select_sql: str,
        where_sql: str | None,
        environment: Environment,
        unchanged: Sequence[int | None] = (),
        parameters: Collection[int] = (),
    ) -> None:
        super().__init__(inputs)
        (self._input,) = inputs
        self._select_sql = select_sql
        self._where_sql = where_sql
        self._environment = environment
        self._unchanged = unchanged
        self._parameters = parameters
        self._types: tuple[str, ...] = ()
        self._instants: tuple[tuple[int, Column], ...] = ()  # the columns whose values name a time zone
        self._waiting: list[bytes] = []  # rows read and not yet evaluated
        self._input_ended = False
        self._running: RowSource | None = None
        self._described: tuple[Column, ...] | None = None

    @property
    def ready(self) -> bool:
        return self._running is not None and self._running.ready

    def close(self) -> None:
        super().close()
        if self._running is not None:
            self._running.close()

    async def describe(self) -> tuple[Column, ...]:
        if self._described is None:
            columns = await super().describe()
            try:
                self._types = tuple(map(_cast, columns))
                self._instants = tuple(at for at in enumerate(columns) if at[1].type_oid == TIMESTAMPTZ)
                self._described = self._with_modifiers(await self._describe_result(), columns)
            except BaseException:
                self.close()
                raise
        return self._described

    def _with_modifiers(self, result: tuple[Column, ...], columns: tuple[Column, ...]) -> tuple[Column, ...]:
        """The result's columns, those that are the input's own with its type modifiers."""
        if not self._unchanged:
            return result
        return tuple(
            column if index is None else replace(column, type_modifier=columns[index].type_modifier)
            for column, index in zip(result, self._unchanged, strict=True)
        )

    async def _describe_result(self) -> tuple[Column, ...]:
        running = await self._start_chunk()
        if running is None:
            # No rows at all: a statement that finds none still says what its columns are.
            running = self._running = self._evaluate([[None] * len(self._types)], "false")
        return await running.describe()

    async def _next(self) -> Batch | None:
        while self._running is not None:
            batch = await self._running.next_batch()
            if batch is not None:
                return batch
            self._running.close()
            self._running = None
            await self._start_chunk()
        return None

    async def _start_chunk(self) -> RowSource | None:
        """Run the statement for the next rows, if there are any, and leave it running."""
        if not self._waiting and not self._input_ended:
            batch = await self._input.next_batch()
            self._input_ended = batch is None
            self._waiting = [] if batch is None else split_rows(batch.data)
        if not self._waiting:
            return None
        chunk, self._waiting = self._waiting[:_CHUNK_ROWS], self._waiting[_CHUNK_ROWS:]
        running = self._running = self._evaluate(list(map(fields_of, chunk)), self._where_sql)
        await running.describe()
        return running

    def _evaluate(self, rows: list[list[Field]], where_sql: str | None) -> RowSource:
        return self._environment.evaluate(self._sql(rows, where_sql), self._parameters)

    def _sql(self, rows: list[list[Field]], where_sql: str | None) -> str:
        """`v.n` numbers the rows, because VALUES promises no order. The first row's casts give all their types."""
        for index, column in self._instants:
            if any(_ZONE_NAME(value) for row in rows if (value := row[index]) is not None):
                raise unreadable_value(column)
        first, *others = rows
        casts = [f"CAST({quoted(field)} AS {name})" for field, name in zip(first, self._types, strict=True)]
        tuples = [", ".join([*casts, "1"])]
        tuples += [", ".join([*map(quoted, row), str(n)]) for n, row in enumerate(others, 2)]
        names = ", ".join([*(f"c{n}" for n in range(1, len(self._types) + 1)), "n"])
        where = "" if where_sql is None else f" WHERE {where_sql}"
        values = "), (".join(tuples)
        return f"SELECT {self._select_sql} FROM (VALUES ({values})) AS v({names}){where} ORDER BY v.n"


def _cast(column: Column) -> str:
    name = cast_name(column.type_oid)
    if name is None or column.format:
        raise Refused(
            f'cannot compute with a value of type {type_name(column.type_oid)} (column "{column.name}") '
            "from several shards",
            "Cast the value to another type inside the aggregate or the GROUP BY expression.",
        )
    return name


def quoted(field: Field) -> str:
    """A text-format value as an SQL constant that reads the same whatever standard_conforming_strings is."""
    if field is None:
        return "NULL"
    text = field.decode().replace("'", "''")
    if "\\" in text:
        escaped = text.replace("\\", "\\\\")
        return f"E'{escaped}'"
    return f"'{text}'"
