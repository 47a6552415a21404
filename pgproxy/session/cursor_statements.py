"""DECLARE, FETCH, MOVE and CLOSE: to the node that keeps the cursor, or answered from the portals of several."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import ServerError
from pgproxy.errors import ProxyError, Refused
from pgproxy.operators.concat import Concat
from pgproxy.operators.recode import RecodeOperator
from pgproxy.operators.sort import SortedRows
from pgproxy.operators.source import Batch, Pipeline
from pgproxy.planner.plan import (
    FETCH_ALL,
    CloseCursor,
    Declare,
    Direction,
    Effect,
    Fetch,
    Planned,
    Scatter,
    Sharded,
    Split,
    SqlTemplate,
    ToNode,
)
from pgproxy.session.backends import Backends
from pgproxy.session.call import SIMPLE, Call
from pgproxy.session.client import Client
from pgproxy.session.cursors import Cursors, NodeCursor, ProxyCursor
from pgproxy.session.for_one import ForOne
from pgproxy.session.node_portals import OpenRows, Portals, Target, passes_rows_on, recoded
from pgproxy.session.services import Services
from pgproxy.session.styles import check_style
from pgproxy.session.transactions import Transactions
from pgproxy.wire import messages
from pgproxy.wire.extended import BINARY, TEXT, format_at, no_data, portal_suspended
from pgproxy.wire.rows import Column, row_description

SPOOL_MEMORY_BYTES = 1024 * 1024


class CursorStatements:
    """What `Statements` leaves to it. Each method sends an answer up to its CommandComplete, or raises."""

    def __init__(
        self,
        client: Client,
        services: Services,
        backends: Backends,
        transactions: Transactions,
        portals: Portals,
        on_one: Callable[[ForOne, Call], Awaitable[None]],
        run_on: Callable[[BackendConnection, str, int], Awaitable[object]],
    ) -> None:
        self.cursors = Cursors()
        # Over a portal of the protocol, where there is one of this name.
        self.portal_cursor: Callable[[str], Awaitable[ProxyCursor | None]] = _no_cursor
        self.close_portal: Callable[[str], bool] = lambda name: False
        self.close_portals: Callable[[], None] = lambda: None
        self._client = client
        self._services = services
        self._backends = backends
        self._transactions = transactions
        self._portals = portals
        self._on_one = on_one
        self._run_on = run_on

    # DECLARE

    async def declare(self, planned: Planned, plan: Declare, call: Call) -> None:
        transactions = self._transactions
        if not plan.name:
            raise ProxyError("34000", "invalid cursor name: must not be empty")
        alone = transactions.current is None
        if alone and not plan.hold:
            raise ProxyError("25P01", "DECLARE CURSOR can only be used in transaction blocks")
        self.cursors.check_free(plan.name)
        self.cursors.check_room()
        transactions.begin_implicit()
        transactions.portals += 1
        number = transactions.portals
        targets = self._targets(planned, plan.plan)
        if len(targets) == 1 and not plan.hold:
            self._services.metrics.route += 1
            ((node, shard),) = targets
            await self._on_one(ForOne(node, plan.text, shard, planned, plan.plan.effect), call)
            table = plan.plan.table.name if isinstance(plan.plan, Sharded) else None
            self.cursors.add(plan.name, NodeCursor(node, number, table, shard, locks=plan.plan.effect is Effect.WRITE))
            return
        self.cursors.add(plan.name, await self._open(planned, plan, targets, number, call))
        if call.describe and call is not SIMPLE:
            self._client.send(no_data())
        if alone:
            await transactions.end_implicit()
        self._client.send(messages.command_complete("DECLARE CURSOR"))

    def _targets(self, planned: Planned, plan: Sharded | ToNode) -> list[Target]:
        if isinstance(plan, ToNode):
            return [(plan.node or self._transactions.preferred_node() or self._services.any_node(), None)]
        indexes = plan.choice.shards(planned.arguments)
        if len(indexes) > 1 and isinstance(plan.scatter, Refused):
            raise Refused(plan.scatter.message, plan.scatter.hint or "")
        if len(indexes) > 1 and isinstance(plan.scatter, Split):
            raise Refused("FETCH from a write on several shards is not supported", "Execute the portal.")
        shards = [plan.table.shards[index] for index in indexes or (0,)]
        return [(shard.node, shard) for shard in shards]

    async def _open(
        self, planned: Planned, plan: Declare, targets: Sequence[Target], number: int, call: Call
    ) -> ProxyCursor:
        """The rows come as text: which format they are to have, each FETCH says."""
        query = plan.plan
        text, pipeline = self._text_for(query, targets)
        rows = await self._portals.open(planned, text, pipeline, targets, query.effect, call, as_text=True)
        columns = await rows.describe()
        memory_bytes = min(SPOOL_MEMORY_BYTES, self._services.shard_map.proxy.sort_memory_bytes)
        return ProxyCursor(
            columns, rows, number, memory_bytes, rows.style, scroll=plan.scroll, hold=plan.hold, binary=plan.binary
        )

    async def open(self, planned: Planned, call: Call) -> OpenRows:
        """The rows of a statement for nodes, in the formats that its Bind asks for."""
        query = planned.plan
        assert isinstance(query, (Sharded, ToNode))
        targets = self._targets(planned, query)
        text, pipeline = self._text_for(query, targets)
        as_text = not passes_rows_on(pipeline)
        pipeline = recoded(pipeline, call)
        return await self._portals.open(planned, text, pipeline, targets, query.effect, call, as_text=as_text)

    def _text_for(self, query: Sharded | ToNode, targets: Sequence[Target]) -> tuple[SqlTemplate, Pipeline]:
        if len(targets) > 1:
            self._services.metrics.scatter += 1
            assert isinstance(query, Sharded)
            assert isinstance(query.scatter, Scatter), "_targets has asked"
            return query.scatter.text, query.scatter.pipeline
        self._services.metrics.route += 1
        return query.route if isinstance(query, Sharded) else query.text, Pipeline((Concat(),))

    async def write_current(self, planned: Planned, plan: Sharded, call: Call) -> None:
        """WHERE CURRENT OF: the row that the cursor is at is where the cursor is, and only its node knows it."""
        assert plan.cursor is not None
        plan.choice.shards(planned.arguments)  # refuses what would move the row to another shard
        cursor = self.cursors.get(plan.cursor)
        if cursor is None:
            raise _unknown(plan.cursor)
        if isinstance(cursor, ProxyCursor):
            raise Refused(
                "WHERE CURRENT OF a cursor over several shards, or WITH HOLD, is not supported",
                "Name the row by its primary key.",
            )
        shard = cursor.shard
        if shard is None or cursor.table != plan.table.name:
            raise _not_updatable(plan.cursor, plan.table.name, locks=cursor.locks)
        self._services.metrics.route += 1
        try:
            await self._on_one(ForOne(shard.node, plan.route, shard, planned, plan.effect), call)
        except ServerError as error:
            if error.sqlstate != "24000" or f'"{shard.table}"' not in error.message:
                raise
            raise ProxyError("24000", error.message.replace(f'"{shard.table}"', f'"{plan.table.name}"')) from None

    # FETCH, MOVE

    def node_of(self, plan: object) -> str | None:
        """The node that keeps the cursor of a FETCH or MOVE."""
        cursor = self.cursors.get(plan.name) if isinstance(plan, Fetch) else None
        return cursor.node if isinstance(cursor, NodeCursor) else None

    async def described(self, plan: Fetch) -> tuple[Column, ...] | None:
        """The columns that a FETCH gives; None where it gives none, or there is no such cursor."""
        return None if plan.move or plan.name not in self.cursors else await self.columns(plan.name)

    async def columns(self, name: str) -> tuple[Column, ...] | None:
        """The columns of a cursor."""
        cursor = self.cursors.get(name)
        if cursor is None:
            raise _unknown(name)
        if isinstance(cursor, ProxyCursor):
            return cursor.columns
        self._transactions.check_alive()
        connection = await self._transactions.enter(cursor.node, Effect.READ)
        try:
            exchange = connection.describe_portal(name, self._client.wake)
            await self._backends.finish(exchange)
        finally:
            self._transactions.leave(connection)
        return exchange.description

    async def fetch(self, planned: Planned, plan: Fetch, call: Call) -> None:
        cursor = self.cursors.get(plan.name) or await self.portal_cursor(plan.name)
        if cursor is None:
            raise _unknown(plan.name)
        if isinstance(cursor, NodeCursor):
            self._services.metrics.route += 1
            await self._on_one(ForOne(cursor.node, plan.text, None, planned, Effect.READ), call)
            return
        self._services.metrics.local += 1
        _check_usable(cursor, plan.name)
        if plan.move:
            count = await cursor.fetch(plan.direction, plan.count, None)
            self._client.send(messages.command_complete(f"MOVE {count}"))
            return
        if 0 < call.max_rows <= _most_rows(plan):
            raise Refused(
                "a FETCH cannot itself be fetched in parts", "Say the number of rows in FETCH, and leave the limit out."
            )
        check_style(cursor.style, self._transactions.output_style(), cursor.columns)
        formats = (BINARY,) if cursor.binary and call.describe else call.result_formats
        shown = Shown(self._client, self._backends, cursor.columns, formats, describe=call.describe)
        count = await cursor.fetch(plan.direction, plan.count, shown.send)
        await shown.send_description()
        self._services.metrics.rows += count
        self._client.send(messages.command_complete(f"FETCH {count}"))

    async def run(self, name: str, max_rows: int) -> None:
        """Execute of a cursor by its name: as that of a portal, in text."""
        cursor = self.cursors.get(name)
        self._transactions.check_alive()
        if isinstance(cursor, NodeCursor):
            connection = await self._transactions.enter(cursor.node, Effect.READ)
            await self._run_on(connection, name, max_rows)
        elif cursor is not None:
            await self.run_cursor(cursor, name, max_rows)

    async def run_cursor(self, cursor: ProxyCursor, name: str, max_rows: int) -> None:
        _check_usable(cursor, name)
        check_style(cursor.style, self._transactions.output_style(), cursor.columns)
        shown = Shown(
            self._client, self._backends, cursor.columns, tuple(c.format for c in cursor.columns), describe=False
        )
        count = await cursor.fetch(Direction.FORWARD, max_rows or FETCH_ALL, shown.send)
        self._services.metrics.rows += count
        suspended = bool(max_rows) and count >= max_rows
        self._client.send(portal_suspended() if suspended else messages.command_complete(f"SELECT {count}"))

    # CLOSE

    async def close(self, planned: Planned, plan: CloseCursor, call: Call) -> None:
        if plan.name is None:
            await self.close_all()
            self._client.send(messages.command_complete("CLOSE CURSOR ALL"))
            return
        cursor = self.cursors.get(plan.name)
        if isinstance(cursor, NodeCursor):
            self._services.metrics.route += 1
            await self._on_one(ForOne(cursor.node, plan.text, None, planned, Effect.READ), call)
            self.cursors.remove(plan.name)
            return
        if cursor is not None:
            self.cursors.remove(plan.name)
        elif not self.close_portal(plan.name):
            raise _unknown(plan.name)
        self._services.metrics.local += 1
        self._client.send(messages.command_complete("CLOSE CURSOR"))

    async def close_named(self, name: str) -> None:
        """Close of a portal by this name, also in a failed transaction; that there is none is no error."""
        cursor = self.cursors.get(name)
        if cursor is not None:
            self.cursors.remove(name)
        connection = self._transactions.connection_for(cursor.node) if isinstance(cursor, NodeCursor) else None
        if connection is not None:
            # At once: a DECLARE of the same name may follow.
            await self._backends.finish(connection.close_portal(name, self._client.wake))

    async def close_all(self) -> None:
        """CLOSE ALL, as DISCARD ALL does it too."""
        held = {self._transactions.connection_for(node) for node in self.cursors.nodes()}
        await self._backends.execute_on_all([connection for connection in held if connection is not None], "CLOSE ALL")
        self.cursors.clear()
        self.close_portals()


class Shown:
    """Sends a cursor's rows in the formats wanted, the description of a simple Query before the first."""

    def __init__(
        self,
        client: Client,
        backends: Backends,
        columns: tuple[Column, ...],
        formats: tuple[int, ...],
        *,
        describe: bool,
    ) -> None:
        self._client = client
        self._backends = backends
        self._columns = columns
        self._describe = describe
        right = len(formats) < 2 or len(formats) == len(columns)
        same = right and all(column.format == format_at(formats, at) for at, column in enumerate(columns))
        self._recode = None if same else RecodeOperator((SortedRows(columns, iter(())),), formats or (TEXT,))
        self._ready = False

    async def send_description(self) -> None:
        """Unless it was sent."""
        if self._ready:
            return
        self._ready = True
        columns = self._columns if self._recode is None else await self._recode.describe()
        if self._describe:
            self._client.send(row_description(columns))

    async def send(self, batch: Batch) -> None:
        await self.send_description()
        self._backends.check_cancelled()
        self._client.send(batch.data if self._recode is None else self._recode.recoded(batch).data)
        await self._client.drain()


def _most_rows(plan: Fetch) -> int:
    """How many rows a FETCH can give."""
    by_count = plan.direction in (Direction.FORWARD, Direction.BACKWARD)
    return max(abs(plan.count), 1) if by_count else 1


async def _no_cursor(_name: str) -> ProxyCursor | None:
    """Until a session says which portals it has."""
    return None


def _check_usable(cursor: ProxyCursor, name: str) -> None:
    if cursor.failed:
        raise ProxyError("55000", f'portal "{name}" cannot be run')


def _not_updatable(name: str, table: str, *, locks: bool) -> ProxyError:
    """The cursor is over another table (execCurrentOf)."""
    what = "does not have a FOR UPDATE/SHARE reference to" if locks else "is not a simply updatable scan of"
    return ProxyError("24000", f'cursor "{name}" {what} table "{table}"')


def _unknown(name: str) -> ProxyError:
    return ProxyError("34000", f'cursor "{name}" does not exist')
