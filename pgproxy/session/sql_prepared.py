"""PREPARE and EXECUTE: prepared statements of the SQL kind, in the same namespace as the protocol's.

A node judges the statement at PREPARE. At EXECUTE the arguments become bound values, which route as those of a Bind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode, ServerError
from pgproxy.errors import ProxyError, Refused
from pgproxy.planner.plan import Effect, Execute, PlainValue, Planned, Prepare, Sharded, ToNode, ValueKind
from pgproxy.session.backends import Backends
from pgproxy.session.call import Call
from pgproxy.session.client import Client
from pgproxy.session.extended import Extended
from pgproxy.session.portals import Prepared
from pgproxy.session.services import Services
from pgproxy.session.small_answers import Row, all_rows
from pgproxy.session.transactions import Transactions
from pgproxy.wire.messages import command_complete

_BOOL, _INT8, _INT4, _TEXT, _FLOAT8, _BPCHAR, _VARCHAR, _NUMERIC = 16, 20, 23, 25, 701, 1042, 1043, 1700
_SHORT_INTEGER = re.compile(r"-?[0-9]{1,9}", re.ASCII)

# Constants that are a bound value of the type as they stand, without an error that only a node could tell.
_TAKEN_AS_WRITTEN: Mapping[ValueKind, frozenset[int]] = {
    ValueKind.STRING: frozenset({_TEXT, _VARCHAR, _BPCHAR}),
    ValueKind.INTEGER: frozenset({_INT4, _INT8, _NUMERIC, _FLOAT8}),
    ValueKind.BOOLEAN: frozenset({_BOOL}),
}


class SqlPrepared:
    """`plan` is the session's; `pid` its number, for names that no other session uses on a node."""

    def __init__(
        self,
        client: Client,
        services: Services,
        transactions: Transactions,
        backends: Backends,
        extended: Extended,
        plan: Callable[[str], Planned],
        pid: int,
    ) -> None:
        self._client = client
        self._services = services
        self._transactions = transactions
        self._backends = backends
        self._extended = extended
        self._plan = plan
        self._pid = pid
        self._count = 0

    async def prepare(self, _planned: Planned, plan: Prepare, _call: Call) -> None:
        self._services.metrics.local += 1
        types = await self._types(plan.types) if plan.types else ()
        try:
            planned, planner = self._plan(plan.text), self._backends.in_force.planning()
            await self._extended.keep(Prepared(plan.name, plan.text, types, planned, planner, accepted=True))
        except ProxyError as error:
            if error.position is not None:
                error.position += plan.offset
            raise
        self._client.send(command_complete("PREPARE"))

    async def execute(self, _planned: Planned, plan: Execute, call: Call) -> None:
        statement, description = await self._extended.known(plan.name)
        types = description.parameter_types
        if types and len(plan.values) != len(types):  # of a statement without parameters PostgreSQL ignores them
            raise ProxyError(
                "42601",
                f'wrong number of parameters for prepared statement "{plan.name}"',
                detail=f"Expected {len(types)} parameters but got {len(plan.values)}.",
            )
        if not isinstance(statement.planned.plan, (Sharded, ToNode)):
            raise Refused("EXECUTE of this kind of statement is not supported", "Say the statement itself.")
        values = _as_written(plan.values, types) if types else ()
        if values is None:
            values = await self._computed(plan, types)
        # The types that a node has inferred, so that none is left open.
        await self._extended.run_prepared(replace(statement, types=types), values, call)

    # What nodes must say

    async def _types(self, types: Sequence[tuple[str, int]]) -> tuple[int, ...]:
        """The oids of types as written."""
        sql, starts = "SELECT ", []
        for name, _ in types:
            starts.append(len(sql))
            sql += _literal(name) + "::pg_catalog.regtype::pg_catalog.oid, "
        sql = sql.removesuffix(", ")
        node = self._transactions.preferred_node() or self._services.any_node()
        try:
            return tuple(int(oid or b"0") for oid in await self._ask(node, sql))
        except ServerError as error:
            wrong = [offset for (_, offset), start in zip(types, starts, strict=True) if start < (error.position or 0)]
            error.position = wrong[-1] + 1 if wrong else None
            raise

    async def _ask(self, node: str, sql: str) -> list[bytes | None]:
        connection = await self._transactions.enter(node, Effect.READ)
        try:
            return await _row(connection.query(sql, Mode.ROWS, self._client.wake), self._client)
        finally:
            self._transactions.leave(connection)

    async def _computed(self, plan: Execute, types: tuple[int, ...]) -> tuple[bytes | None, ...]:
        """A node makes values of the arguments by an EXECUTE of its own, so that they are coerced, and fail, as in
        PostgreSQL."""
        self._count += 1
        name = f"pgproxy_arguments_{self._pid}_{self._count}"
        node = plan.node or self._transactions.preferred_node() or self._services.any_node()
        connection = await self._transactions.enter(node, Effect.READ)
        try:
            return tuple(await self._execute_there(connection, name, plan, types))
        except BaseException:
            connection.prepared.close_later(name)  # a failed transaction takes no DEALLOCATE
            raise
        finally:
            self._transactions.leave(connection)

    async def _execute_there(
        self, connection: BackendConnection, name: str, plan: Execute, types: tuple[int, ...]
    ) -> list[bytes | None]:
        wake = self._client.wake
        columns = ", ".join(f"${number}" for number in range(1, len(types) + 1))
        head = f"EXECUTE {name} ("
        prepared = connection.prepare(name, f"SELECT {columns}", types, wake)
        executed = connection.query(f"{head}{plan.arguments}); DEALLOCATE {name}", Mode.ROWS, wake)
        try:
            await self._backends.finish(prepared)
            return await _row(executed, self._client)
        except ServerError as error:
            if error.position is not None:
                error.position += plan.offset - len(head)
            raise
        finally:
            if not executed.finished:
                executed.discard()


async def _row(exchange: Exchange, client: Client) -> Row:
    """The only row of an answer."""
    (row,) = await all_rows(exchange, client)
    return row


def _as_written(values: Sequence[PlainValue | None], types: Sequence[int]) -> tuple[bytes | None, ...] | None:
    """The arguments in text format, if all of them are constants that need no node."""
    taken = []
    for value, type_oid in zip(values, types, strict=True):
        if value is None or not _is_taken(value, type_oid):
            return None
        taken.append(None if value.text is None else value.text.encode())
    return tuple(taken)


def _is_taken(value: PlainValue, type_oid: int) -> bool:
    if value.kind is ValueKind.NULL:
        return True
    if value.kind is ValueKind.STRING and type_oid in (_INT4, _INT8):
        return _SHORT_INTEGER.fullmatch(value.text or "") is not None
    return type_oid in _TAKEN_AS_WRITTEN[value.kind]


def _literal(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
