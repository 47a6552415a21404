"""Running plans: what one node answers is spliced through here, the rest is handed to whoever knows how."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode, ServerError
from pgproxy.errors import ProxyError, Refused
from pgproxy.metrics import LONGEST_TAG_BYTES, Figures, rows_of_tag
from pgproxy.operators.concat import Concat
from pgproxy.operators.source import Pipeline
from pgproxy.planner.plan import (
    CloseCursor,
    ConfigCall,
    CopyIn,
    CopyOnNode,
    CopyOut,
    Deallocate,
    Declare,
    DiscardAll,
    Effect,
    Empty,
    Explain,
    Fetch,
    Pin,
    Planned,
    Scatter,
    SetSetting,
    Sharded,
    Split,
    Status,
    ToNode,
    TransactionControl,
    sql_for,
)
from pgproxy.planner.settings import check_setting
from pgproxy.session.backends import Backends
from pgproxy.session.call import SIMPLE, Call
from pgproxy.session.client import Client
from pgproxy.session.copy_in import CopyIntoShards
from pgproxy.session.copy_on_node import copy_on_node
from pgproxy.session.copy_out import CopyOutOfShards, query_as_copy
from pgproxy.session.cursor_statements import CursorStatements
from pgproxy.session.explaining import Explaining
from pgproxy.session.for_one import ForOne
from pgproxy.session.node_portals import OpenRows, Portals, no_connection
from pgproxy.session.on_several import OnSeveral, share_nodes
from pgproxy.session.positions import with_client_position
from pgproxy.session.relay import Relay, finish
from pgproxy.session.routed import Routed
from pgproxy.session.rows_out import RowsOut, in_parts, is_suspended
from pgproxy.session.services import Services
from pgproxy.session.setting_statements import SettingStatements
from pgproxy.session.sources import ExchangeSource
from pgproxy.session.split_write import SplitWrite
from pgproxy.session.transactions import Transactions
from pgproxy.shardmap.model import Shard, Table
from pgproxy.wire import messages
from pgproxy.wire.extended import portal_suspended
from pgproxy.wire.frames import first_message_end


class Statements:
    """The statements of one session. Each `run` sends an answer up to its CommandComplete, or raises."""

    def __init__(self, client: Client, services: Services, backends: Backends, transactions: Transactions) -> None:
        self._client = client
        self._services = services
        self._backends = backends
        self._transactions = transactions
        self.failover = transactions.failover
        self.on_deallocate: Callable[[str | None], None] = lambda name: None
        self.ran: Figures | None = None  # of the way that the last statement took
        self.planned: Planned | None = None
        self.rows = 0  # that it has sent or affected
        self._portals = Portals(client, services, transactions)
        self._rows_out = RowsOut(client, services, backends)
        self._on_several = OnSeveral(client, services, backends, transactions, self._portals, self._rows_out)
        self._split_write = SplitWrite(client, services, backends, transactions, self._rows_out)
        self.cursor_statements = CursorStatements(
            client, services, backends, transactions, self._portals, self._on_one, self.run_on
        )
        self._settings = settings = SettingStatements(client, services, backends, transactions)
        self._runners: Mapping[type[object], Callable[[Planned, Any, Call], Awaitable[None]]] = {
            Sharded: self._sharded,
            ToNode: self._to_node,
            TransactionControl: self._transaction_control,
            SetSetting: lambda planned, plan, _call: settings.set(planned, plan),
            DiscardAll: self._discard_all,
            Deallocate: self._deallocate,
            Explain: Explaining(client, services, transactions).explain,
            Declare: self.cursor_statements.declare,
            Fetch: self.cursor_statements.fetch,
            CloseCursor: self.cursor_statements.close,
            CopyIn: self._copy_in,
            CopyOut: self._copy_out,
            CopyOnNode: lambda planned, plan, _call: copy_on_node(
                planned, plan, client, services, backends, transactions
            ),
            Status: self._status,
            Empty: self._empty,
        }

    def add_runners(self, runners: Mapping[type[object], Callable[[Planned, Any, Call], Awaitable[None]]]) -> None:
        """Others run plans of these types."""
        self._runners = {**self._runners, **runners}

    async def finish_relay(self, relay: Relay, call: Call = SIMPLE) -> None:
        """A routed statement whose answer turned out not to be simple, or did not come."""
        self.planned, self.ran, self.rows = relay.planned, relay.pool.routed, 0
        plan, shard = relay.plan, relay.shard
        planned = replace(relay.planned, arguments=relay.arguments)
        one = ForOne(shard.node, plan.route, shard, planned, plan.effect)
        begun = [relay]

        async def attempt() -> None:
            if begun:
                await self._finish_begun(begun.pop(), call)
            else:
                await self._once_on_one(one, call)

        await self.failover.run(attempt, plan.effect, call)

    async def _finish_begun(self, relay: Relay, call: Call) -> None:
        try:
            await self._finish_relay(relay, call)
        except ProxyError as error:
            planned = replace(relay.planned, plan=relay.plan, arguments=relay.arguments)
            await self._repeat_or_raise(error, planned, call)

    async def _finish_relay(self, relay: Relay, call: Call) -> None:
        try:
            await self._splice(await finish(relay, self._client, self._backends, call), call)
        except ServerError as error:
            raise with_client_position(error, relay.plan.route, relay.shard, relay.arguments) from None
        finally:
            if relay.connection is not None:
                self._backends.give_back(relay.connection)

    def note_routed(self, routed: Routed, rows: int) -> None:
        """Others have run a statement on its shard."""
        self.ran, self.planned = self._services.metrics.nodes[routed.shard.node].routed, routed.statement.planned
        self.rows = rows

    async def run(self, planned: Planned, call: Call = SIMPLE) -> None:
        plan = planned.plan
        self.planned, self.rows = planned, 0
        self.ran = None if isinstance(plan, (Sharded, ToNode)) else self._services.metrics.here
        if self._transactions.current is not None and not isinstance(plan, (TransactionControl, Empty)):
            self._transactions.check_alive()
        self._backends.elsewhere.begin()
        try:
            await self._runners[type(plan)](planned, plan, call)
        except ProxyError as error:
            await self._repeat_or_raise(error, planned, call)

    async def _repeat_or_raise(self, error: ProxyError, planned: Planned, call: Call) -> None:
        """A statement has failed. Run it once more where another member of its node may do better."""
        elsewhere, plan = self._backends.elsewhere, planned.plan
        alone = self._transactions.current is None and isinstance(plan, (Sharded, ToNode))
        if not alone or not await elsewhere.may_repeat(error):
            raise error
        elsewhere.repeat()
        try:
            await self._runners[type(plan)](planned, plan, call)
        finally:
            elsewhere.end()

    # One logical table

    async def _sharded(self, planned: Planned, plan: Sharded, call: Call) -> None:
        if plan.cursor is not None:
            await self.cursor_statements.write_current(planned, plan, call)
            return
        indexes = plan.choice.shards(planned.arguments)
        if len(indexes) > 1:
            if isinstance(plan.scatter, Refused):
                raise Refused(plan.scatter.message, plan.scatter.hint or "")
            shards = [plan.table.shards[index] for index in indexes]
            if isinstance(plan.scatter, Split):
                await self._write_split(planned, plan, plan.scatter, shards, call)
            else:
                await self._scatter(planned, plan, plan.scatter, shards, call)
            return
        if not indexes and plan.no_shard is not None:
            raise ProxyError("23514", plan.no_shard)
        self._services.metrics.route += 1
        shard = plan.table.shards[indexes[0]] if indexes else self._shard_for_nothing(plan.table)
        self.ran = self._services.metrics.nodes[shard.node].routed
        await self._on_one(ForOne(shard.node, plan.route, shard, planned, plan.effect), call)

    def _shard_for_nothing(self, table: Table) -> Shard:
        """Any shard can say that no row is concerned: one where the transaction writes or has been, or that is up."""
        current = self._transactions.current
        for node in () if current is None else (*current.writers, *current.joined):
            for shard in table.shards:
                if shard.node == node:
                    return shard
        return next((shard for shard in table.shards if self._services.why_down(shard.node) is None), table.shards[0])

    async def _to_node(self, planned: Planned, plan: ToNode, call: Call) -> None:
        self._services.metrics.to_node += 1
        value = None if plan.sets is None else _config_value(plan.sets, call)
        node = plan.node or self._transactions.preferred_node() or self._services.any_node()
        self.ran = self._services.metrics.nodes[node].to_node
        one = ForOne(node, plan.text, None, planned, plan.effect, plan.unsettles, plan.pins)
        await self._on_one(one, call)
        if plan.unpins is not None:
            self._given_up(plan.unpins)
        if plan.sets is not None and value is not None:
            await self._settings.keep(plan.sets.name, value)

    async def _on_one(self, one: ForOne, call: Call) -> None:
        """Run on one node, or through another gateway, and let its messages through as they come."""

        async def attempt() -> None:
            await self._once_on_one(one, call)

        await self._transactions.run(attempt, one.effect, call)

    async def _once_on_one(self, one: ForOne, call: Call) -> None:
        if one.planned.default_limit is not None:
            await self._limited(one, call)
            return
        connection = await self._transactions.enter(one.node, one.effect, replica=one.shard is not None)
        if one.unsettles:
            connection.distrust()
        pins, arguments = one.pins, one.planned.arguments
        newly_pinned = False
        try:
            newly_pinned = pins is not None and self._backends.pin(connection, pins)
            if one.shard is None:
                self._transactions.note_beside_shards(connection, one.effect)
            sql = sql_for(one.text, one.shard, arguments)
            await self._splice(call.send(connection, sql, Mode.SPLICE, self._client.wake), call)
        except ServerError as error:
            if newly_pinned and pins is not None:
                self._not_pinned(pins)
            raise with_client_position(error, one.text, one.shard, arguments) from None
        finally:
            self._transactions.leave(connection)
            if pins is not None and self._transactions.current is None:
                self._backends.note_committed()

    def _not_pinned(self, pin: Pin) -> None:
        """The statement has failed. Locks that it got before stay all the same, and DO may have committed."""
        if self._transactions.current is None and pin not in (Pin.ADVISORY_LOCK, Pin.BLOCK):
            self._backends.pins.forget(pin)

    def _given_up(self, pin: Pin) -> None:
        """In an explicit transaction a ROLLBACK TO could bring it back: such a one goes on keeping its connection."""
        current = self._transactions.current
        if current is None or current.implicit:
            self._backends.pins.give_up(pin)
        if current is None:
            self._backends.note_committed()

    async def _splice(self, exchange: Exchange, call: Call) -> None:
        """Hand the node's messages on. The last piece leaves together with what the session says behind it."""
        client = self._client
        last = b""
        while True:
            if exchange.chunks or exchange.finished:
                call.accepted(exchange)
            while exchange.chunks:
                last = self._backends.elsewhere.pass_on(cast(bytes, exchange.take()))
                client.send(last)
                if not exchange.finished or exchange.chunks:
                    await client.drain()
            if exchange.finished:
                break
            await client.wait()
        if exchange.broken:
            client.abort()  # a row was cut in the middle: no error could be told from its data
        self._backends.reported.relay(exchange.asides)
        if exchange.error is not None:
            raise exchange.error
        self.rows += call.max_rows if exchange.suspended else rows_of_tag(last[-LONGEST_TAG_BYTES:-1])
        if exchange.suspended:
            client.send(portal_suspended())

    async def run_on(self, connection: BackendConnection, portal: str, max_rows: int) -> Exchange:
        """More of a portal that is suspended on a node of the transaction."""
        self._transactions.check_alive()
        exchange = connection.run_on(portal, max_rows, self._client.wake)
        try:
            await self._splice(exchange, SIMPLE)
        finally:
            self._transactions.leave(connection)
        return exchange

    async def _limited(self, one: ForOne, call: Call) -> None:
        """A statement to which the proxy added LIMIT `default_limit` + 1, cut at `default_limit`."""
        planned, pipeline = one.planned, Pipeline((Concat(),))
        if in_parts(call):
            targets = [(one.node, one.shard)]
            rows = await self._portals.open(
                planned, one.text, pipeline, targets, Effect.READ, call, as_text=False, rows=call.max_rows
            )
            self.rows += await self._rows_out.give_first(rows, "SELECT {}", call)
            return
        connection = await self._transactions.enter(one.node, Effect.READ, replica=one.shard is not None)
        try:
            if one.pins is not None:
                self._backends.pin(connection, one.pins)
            sql = sql_for(one.text, one.shard, planned.arguments)
            source = ExchangeSource(call.send(connection, sql, Mode.ROWS, self._client.wake), self._client)
            self.rows += await self._rows_out.stream(pipeline, [source], planned, "SELECT {}", no_connection, call)
        except ServerError as error:
            raise with_client_position(error, one.text, one.shard, planned.arguments) from None
        finally:
            self._transactions.leave(connection)

    # Several shards

    async def _scatter(
        self, planned: Planned, plan: Sharded, scatter: Scatter, shards: list[Shard], call: Call
    ) -> None:
        self._services.metrics.scatter += 1
        self.ran = self._services.metrics.scattered
        self.rows += await self._on_several.run(planned, plan, scatter, shards, call)

    async def _write_split(
        self, planned: Planned, plan: Sharded, split: Split, shards: list[Shard], call: Call
    ) -> None:
        self._services.metrics.scatter += 1
        self.ran = self._services.metrics.scattered
        self.rows += await self._split_write.run(planned, plan, split, shards, call)

    async def give(self, rows: OpenRows, max_rows: int, tag: str) -> bool:
        """More of a portal over several shards. Whether there may be yet more."""
        count = await self._rows_out.give(rows, max_rows, tag)
        self.rows += count
        return is_suspended(max_rows, count)

    # COPY

    async def _copy_in(self, planned: Planned, plan: CopyIn, call: Call) -> None:
        self._services.metrics.scatter += 1
        copy = CopyIntoShards(plan, self._client, self._services, self._backends, self._transactions)
        await copy.run(planned.arguments, call)

    async def _copy_out(self, planned: Planned, plan: CopyOut, _call: Call) -> None:
        indexes = plan.choice.shards(planned.arguments)
        if not indexes and plan.query is not None and plan.query.no_shard is not None:
            raise ProxyError("23514", plan.query.no_shard)
        shards = [plan.table.shards[index] for index in indexes or (0,)]
        if len(shards) == 1:
            self._services.metrics.route += 1
            await self._on_one(ForOne(shards[0].node, plan.route, shards[0], planned, plan.effect), SIMPLE)
            return
        if isinstance(plan.text, Refused):
            raise Refused(plan.text.message, plan.text.hint or "")
        one_gateway = self._transactions.on_one_gateway
        if self._transactions.current is not None and (one_gateway or share_nodes(shards)):
            raise Refused(
                "COPY from several shards of one node is not supported inside a transaction",
                "Run it outside of the transaction, or pin the shard key.",
            )
        if plan.text is not None:
            self._services.metrics.scatter += 1
            copy = CopyOutOfShards(self._client, self._services, self._backends, self._transactions)
            await self._transactions.run(lambda: copy.run(planned, plan, shards), plan.effect, SIMPLE)
            return
        assert plan.query is not None
        assert isinstance(plan.query.scatter, Scatter)
        as_copy = await self._transactions.run(
            lambda: query_as_copy(planned, plan, shards[0], self._transactions, self._backends, self._client),
            Effect.READ,
            SIMPLE,
        )
        await self._scatter(planned, plan.query, plan.query.scatter, shards, as_copy)

    async def adopt(self, connection: BackendConnection, portal: str) -> OpenRows:
        """The rest of a portal that is suspended on a node, to be moved in."""
        return await self._portals.adopt(connection, portal)

    # The rest

    async def _transaction_control(self, _planned: Planned, plan: TransactionControl, _call: Call) -> None:
        self._services.metrics.local += 1
        tag = await self._transactions.control(plan)
        self._client.send(messages.command_complete(tag))

    async def _deallocate(self, _planned: Planned, plan: Deallocate, _call: Call) -> None:
        self._services.metrics.local += 1
        self.on_deallocate(plan.name)
        self._client.send(messages.command_complete("DEALLOCATE" if plan.name is not None else "DEALLOCATE ALL"))

    async def _discard_all(self, planned: Planned, plan: DiscardAll, _call: Call) -> None:
        await self._settings.discard_all(planned, plan)
        await self.cursor_statements.close_all()
        self.on_deallocate(None)

    async def _status(self, _planned: Planned, _plan: Status, call: Call) -> None:
        self._services.metrics.local += 1
        answer = self._services.status()
        self._client.send(answer if call.describe else answer[first_message_end(answer) :])

    async def _empty(self, _planned: Planned, _plan: Empty, _call: Call) -> None:
        self._client.send(messages.empty_query_response())


def _config_value(sets: ConfigCall, call: Call) -> str:
    """The value that set_config() is given."""
    value = sets.value if isinstance(sets.value, str) else call.text(sets.value)
    if value is None:
        raise Refused("set_config() without a value is not supported", "Use RESET to go back to the default.")
    check_setting(sets.name, value.lower())
    return value
