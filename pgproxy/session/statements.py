"""Running plans: a route is spliced through, a scatter goes through its operators, the rest is settled here."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from struct import error as StructError  # noqa: N812
from typing import Any, TypeVar, cast

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode, ServerError
from pgproxy.errors import ProtocolViolation, ProxyError, Refused
from pgproxy.metrics import LONGEST_TAG_BYTES, Figures, rows_of_tag
from pgproxy.operators.concat import Concat
from pgproxy.operators.default_limit import DefaultLimit
from pgproxy.operators.evaluate import Evaluate
from pgproxy.operators.limit import Limit
from pgproxy.operators.source import Pipeline, RowSource
from pgproxy.planner.explain import explain_tree
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
    SqlTemplate,
    Status,
    ToNode,
    TransactionControl,
    sql_for,
)
from pgproxy.planner.settings import check_setting
from pgproxy.session.backends import Backends
from pgproxy.session.call import SIMPLE, Call
from pgproxy.session.client import Client
from pgproxy.session.copy_in import CopyIntoShards, copy_on_node
from pgproxy.session.copy_out import CopyOutOfShards, QueryAsCopy, query_as_copy
from pgproxy.session.cursor_statements import CursorStatements
from pgproxy.session.environment import SessionEnvironment
from pgproxy.session.in_turn import SpooledSource, spooled
from pgproxy.session.node_portals import MOST_ROWS, OpenRows, Portals, now, passes_rows_on, recoded
from pgproxy.session.positions import with_client_position
from pgproxy.session.relay import Relay, finish
from pgproxy.session.services import Services
from pgproxy.session.setting_statements import SettingStatements
from pgproxy.session.sources import ExchangeSource
from pgproxy.session.transactions import Transactions
from pgproxy.shardmap.model import Shard, Table
from pgproxy.wire import messages
from pgproxy.wire.extended import portal_suspended
from pgproxy.wire.frames import first_message_end
from pgproxy.wire.rows import Column, data_row, fields_of, row_description, split_rows

log = logging.getLogger("pgproxy.session")
T = TypeVar("T")

HELD_BACK_BYTES = 8192  # as PostgreSQL does (pqcomm.c); and what has not left can be taken back
QUERY_PLAN = (Column("QUERY PLAN"),)


@dataclass(slots=True)
class _Leg:
    """One shard's part of a scatter."""

    shard: Shard
    connection: BackendConnection
    exchange: Exchange | None = None


class _Extra:
    """The connection that evaluations run on, leased when it is first asked for."""

    def __init__(self, backends: Backends, services: Services) -> None:
        self._backends = backends
        self._services = services
        self._leased: BackendConnection | None = None

    async def connection(self) -> BackendConnection:
        if self._leased is None:
            self._leased = await self._backends.lease(self._services.any_node())
        return self._leased

    def give_back(self) -> None:
        if self._leased is not None:
            self._backends.give_back(self._leased)


class Statements:
    """The statements of one session. Each `run` sends an answer up to its CommandComplete, or raises."""

    def __init__(self, client: Client, services: Services, backends: Backends, transactions: Transactions) -> None:
        self._client = client
        self._services = services
        self._backends = backends
        self._transactions = transactions
        self.failover = failover = transactions.failover
        self.on_deallocate: Callable[[str | None], None] = lambda name: None
        self.ran: Figures | None = None  # of the way that the last statement took
        self.planned: Planned | None = None
        self.rows = 0  # that it has sent or affected
        self._portals = Portals(client, services, transactions)
        self.cursor_statements = CursorStatements(
            client, services, backends, transactions, self._portals, self._on_one, self.run_on
        )
        self._settings = settings = SettingStatements(client, services, backends, transactions, failover)
        self._runners: Mapping[type[object], Callable[[Planned, Any, Call], Awaitable[None]]] = {
            Sharded: self._sharded,
            ToNode: self._to_node,
            TransactionControl: self._transaction_control,
            SetSetting: lambda planned, plan, _call: settings.set(planned, plan),
            DiscardAll: self._discard_all,
            Deallocate: self._deallocate,
            Explain: self._explain,
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
        begun = [relay]

        async def attempt() -> None:
            if begun:
                await self._finish_begun(begun.pop(), call)
            else:
                await self._once_on_one(shard.node, plan.route, shard, planned, plan.effect, call)

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
            await self._scatter(planned, plan, plan.scatter, shards, call)
            return
        if not indexes and plan.no_shard is not None:
            raise ProxyError("23514", plan.no_shard)
        self._services.metrics.route += 1
        shard = plan.table.shards[indexes[0]] if indexes else self._shard_for_nothing(plan.table)
        self.ran = self._services.metrics.nodes[shard.node].routed
        await self._on_one(shard.node, plan.route, shard, planned, plan.effect, call)

    def _shard_for_nothing(self, table: Table) -> Shard:
        """Any shard can say that no row is concerned: one where the transaction writes or has been, or that is up."""
        current = self._transactions.current
        for node in () if current is None else (current.writer, *current.joined):
            for shard in table.shards:
                if shard.node == node:
                    return shard
        return next((shard for shard in table.shards if self._services.why_down(shard.node) is None), table.shards[0])

    async def _to_node(self, planned: Planned, plan: ToNode, call: Call) -> None:
        self._services.metrics.to_node += 1
        value = None if plan.sets is None else _config_value(plan.sets, call)
        node = plan.node or self._transactions.preferred_node() or self._services.any_node()
        self.ran = self._services.metrics.nodes[node].to_node
        await self._on_one(node, plan.text, None, planned, plan.effect, call, unsettles=plan.unsettles, pins=plan.pins)
        if plan.unpins is not None:
            self._given_up(plan.unpins)
        if plan.sets is not None and value is not None:
            await self._settings.keep(plan.sets.name, value)

    async def _on_one(
        self,
        node: str,
        template: SqlTemplate,
        shard: Shard | None,
        planned: Planned,
        effect: Effect,
        call: Call,
        *,
        unsettles: bool = False,
        pins: Pin | None = None,
    ) -> None:
        """Run on one node, or through another gateway, and let its messages through as they come."""

        async def attempt() -> None:
            await self._once_on_one(node, template, shard, planned, effect, call, unsettles=unsettles, pins=pins)

        await self._repeatable(attempt, effect, call)

    async def _repeatable(self, attempt: Callable[[], Awaitable[T]], effect: Effect, call: Call) -> T:
        """Part of a transaction cannot be repeated by itself."""
        if self._transactions.current is not None:
            return await attempt()
        return await self.failover.run(attempt, effect, call)

    async def _once_on_one(
        self,
        node: str,
        template: SqlTemplate,
        shard: Shard | None,
        planned: Planned,
        effect: Effect,
        call: Call,
        *,
        unsettles: bool = False,
        pins: Pin | None = None,
    ) -> None:
        if planned.default_limit is not None:
            await self._limited(node, template, shard, planned, call, pins)
            return
        connection = await self._transactions.enter(node, effect, replica=shard is not None)
        if unsettles:
            connection.distrust()
        newly_pinned = False
        try:
            newly_pinned = pins is not None and self._backends.pin(connection, pins)
            sql = sql_for(template, shard, planned.arguments)
            await self._splice(call.send(connection, sql, Mode.SPLICE, self._client.wake), call)
        except ServerError as error:
            if newly_pinned and pins is not None:
                self._not_pinned(pins)
            raise with_client_position(error, template, shard, planned.arguments) from None
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

    async def _limited(
        self,
        node: str,
        template: SqlTemplate,
        shard: Shard | None,
        planned: Planned,
        call: Call,
        pins: Pin | None,
    ) -> None:
        """A statement to which the proxy added LIMIT `default_limit` + 1, cut at `default_limit`."""
        if _in_parts(call):
            pipeline = Pipeline((Concat(),))
            rows = await self._portals.open(
                planned, template, pipeline, [(node, shard)], Effect.READ, call, as_text=False, rows=call.max_rows
            )
            await self._give_first(rows, "SELECT {}", call)
            return
        connection = await self._transactions.enter(node, Effect.READ, replica=shard is not None)
        try:
            if pins is not None:
                self._backends.pin(connection, pins)
            sql = sql_for(template, shard, planned.arguments)
            exchange = call.send(connection, sql, Mode.ROWS, self._client.wake)
            source = ExchangeSource(exchange, self._client)
            extra = _Extra(self._backends, self._services)
            await self._stream(Pipeline((Concat(),)), [source], planned, "SELECT {}", extra, call)
        except ServerError as error:
            raise with_client_position(error, template, shard, planned.arguments) from None
        finally:
            self._transactions.leave(connection)

    # Several shards

    async def _scatter(
        self, planned: Planned, plan: Sharded, scatter: Scatter, shards: list[Shard], call: Call
    ) -> None:
        self._services.metrics.scatter += 1
        self.ran = self._services.metrics.scattered
        evaluates = any(isinstance(step, Evaluate) for step in scatter.pipeline.steps)
        as_copy = isinstance(call, QueryAsCopy)
        if self._transactions.current is not None:
            if self._transactions.on_one_gateway and not _in_parts(call):
                await self._in_turn(planned, plan, scatter, shards, call)
                return
            if _in_parts(call) or _share_nodes(shards) or (evaluates and not as_copy):
                await self._by_portals(planned, plan, scatter, shards, call)
                return
        elif not as_copy and not self._backends.interchangeable and not self._has_room(shards, evaluates=evaluates):
            self._transactions.begin_implicit()
            await self._by_portals(planned, plan, scatter, shards, call)
            await self._transactions.end_implicit()
            return
        if scatter.text.asks_time:
            planned = replace(planned, arguments=replace(planned.arguments, now=now()))

        async def attempt() -> None:
            await self._once_on_several(planned, plan, scatter, shards, call)

        await self._repeatable(attempt, plan.effect, call)

    async def _once_on_several(
        self, planned: Planned, plan: Sharded, scatter: Scatter, shards: list[Shard], call: Call
    ) -> None:
        arguments = planned.arguments
        as_text = isinstance(call, QueryAsCopy) or not passes_rows_on(scatter.pipeline)
        legs: list[_Leg] = []
        extra = _Extra(self._backends, self._services)
        try:
            for node, here in self._by_gateway(shards):
                connections = await self._transactions.enter_several(node, plan.effect, len(here), replica=True)
                legs += [_Leg(shard, connection) for shard, connection in zip(here, connections, strict=True)]
            if any(isinstance(step, Evaluate) for step in scatter.pipeline.steps):
                await extra.connection()
            legs.sort(key=lambda leg: leg.shard.index)
            for leg in legs:
                sql = sql_for(scatter.text, leg.shard, arguments)
                leg.exchange = call.send(leg.connection, sql, Mode.ROWS, self._client.wake, as_text=as_text)
            sources = [ExchangeSource(leg.exchange, self._client) for leg in legs if leg.exchange is not None]
            pipeline = recoded(scatter.pipeline, call)
            await self._stream(pipeline, sources, planned, plan.tag, extra, call)
            if self._transactions.current is not None:
                await _all_finished(self._client, [leg.exchange for leg in legs if leg.exchange is not None])
        except ServerError as error:
            failed = [leg.shard for leg in legs if leg.exchange is not None and leg.exchange.error is error]
            if not failed:
                error.position = None  # of an evaluation, whose text is ours
                raise
            raise with_client_position(error, scatter.text, failed[0], arguments) from None
        finally:
            for leg in legs:
                self._end_leg(leg)
            extra.give_back()

    def _by_gateway(self, shards: list[Shard]) -> list[tuple[str, list[Shard]]]:
        """Which shards to ask where, in an order that all sessions share, so that they cannot wait for each other in a
        circle."""
        anywhere = self._backends.interchangeable
        found: dict[str, list[Shard]] = {}
        for shard in shards:
            node = self._services.gateway_for(shard.node, self._backends.failed) if anywhere else shard.node
            found.setdefault(node, []).append(shard)
        return sorted(found.items())

    async def _in_turn(
        self, planned: Planned, plan: Sharded, scatter: Scatter, shards: list[Shard], call: Call
    ) -> None:
        """All on the one connection of the transaction: each shard's rows are put aside before the next is asked. (Open
        portals side by side, as below, are PostgreSQL's alone.)"""
        if scatter.text.asks_time:
            planned = replace(planned, arguments=replace(planned.arguments, now=now()))
        as_text = isinstance(call, QueryAsCopy) or not passes_rows_on(scatter.pipeline)
        memory_bytes = self._services.shard_map.proxy.sort_memory_bytes // len(shards)
        connection = await self._transactions.enter(shards[0].node, plan.effect)
        extra = _Extra(self._backends, self._services)
        sources: list[SpooledSource] = []
        try:
            for shard in shards:
                sql = sql_for(scatter.text, shard, planned.arguments)
                exchange = call.send(connection, sql, Mode.ROWS, self._client.wake, as_text=as_text)
                try:
                    sources.append(await spooled(exchange, self._client, memory_bytes))
                except ServerError as error:
                    raise with_client_position(error, scatter.text, shard, planned.arguments) from None
            await self._stream(recoded(scatter.pipeline, call), sources, planned, plan.tag, extra, call)
        finally:
            for source in sources:
                source.close()
            self._transactions.leave(connection)
            extra.give_back()

    def _has_room(self, shards: list[Shard], *, evaluates: bool) -> bool:
        """Whether no session can wait for ever: not if there are connections for all that it takes of a node at once.
        Sessions that hold one and wait for another would wait for each other. In a transaction one will do."""
        nodes = [shard.node for shard in shards]
        if evaluates:
            nodes.append(self._services.any_node())
        wanted = ((node, nodes.count(node)) for node in set(nodes))
        pools = self._backends.pools
        return all(count == 1 or (node in pools and pools[node].room >= count) for node, count in wanted)

    async def _by_portals(
        self, planned: Planned, plan: Sharded, scatter: Scatter, shards: list[Shard], call: Call
    ) -> None:
        """In a transaction, where it stays open for more, or where all that is wanted of a node is one connection."""
        rows = await self._portals.open(
            planned,
            scatter.text,
            recoded(scatter.pipeline, call),
            [(shard.node, shard) for shard in sorted(shards, key=lambda shard: shard.index)],
            plan.effect,
            call,
            as_text=not passes_rows_on(scatter.pipeline),
            rows=call.max_rows or MOST_ROWS,
        )
        await self._give_first(rows, plan.tag, call)

    async def _give_first(self, rows: OpenRows, tag: str, call: Call) -> None:
        try:
            if call.describe:
                self._client.send(row_description(await rows.describe()))
            suspended = await self.give(rows, call.max_rows, tag)
        except BaseException:
            rows.close()
            raise
        if suspended and _in_parts(call):
            call.suspend(rows)
        else:
            rows.close()

    async def give(self, rows: OpenRows, max_rows: int, tag: str) -> bool:
        """Send the next rows, all if `max_rows` is 0. Whether there may be more."""
        client = self._client
        count = 0
        try:
            while not max_rows or count < max_rows:
                batch = await rows.take(max_rows - count if max_rows else MOST_ROWS)
                if batch is None:
                    break
                count += batch.count
                client.send(batch.data)
                await client.drain()
            await rows.settle()
        finally:
            rows.check()
        self._services.metrics.rows += count
        if rows.cut_at is not None:
            self._tell_cut(rows.cut_at)
        suspended = bool(max_rows) and count >= max_rows
        client.send(portal_suspended() if suspended else messages.command_complete(tag.format(count)))
        return suspended

    def _end_leg(self, leg: _Leg) -> None:
        """No row of it is wanted any more. The pool cancels it if it goes on; inside a transaction it may run to
        its end, since a cancel would end the node's part of the transaction."""
        if leg.exchange is not None and not leg.exchange.finished:
            leg.exchange.discard()
        self._transactions.leave(leg.connection)

    async def _stream(
        self,
        pipeline: Pipeline,
        sources: Sequence[ExchangeSource | SpooledSource],
        planned: Planned,
        tag: str,
        extra: _Extra,
        call: Call,
    ) -> None:
        """Open the operators over the sources and send what comes out of them."""
        environment = SessionEnvironment(self._client, self._services, extra.connection, call)
        top: RowSource = pipeline.open(sources, planned.arguments, environment)
        cut: Any = None
        if planned.default_limit is not None:
            top = cut = DefaultLimit(planned.default_limit).open((top,), planned.arguments, environment)
        client = self._client
        count = held_bytes = 0
        try:
            columns = await top.describe()
            for source in sources:
                call.accepted(source.exchange)
            self._backends.elsewhere.told = True
            as_copy = call if isinstance(call, QueryAsCopy) else None
            if as_copy is not None:
                client.send(as_copy.begin())
            elif call.describe:
                client.send(row_description(columns))
            if call.max_rows:
                top = Limit(call.max_rows, None).open((top,), planned.arguments, environment)
                await top.describe()
            while (batch := await top.next_batch()) is not None:
                count += batch.count
                data = batch.data if as_copy is None else as_copy.rows(batch)
                client.send(data)
                held_bytes += len(data)
                if held_bytes >= HELD_BACK_BYTES:
                    held_bytes = 0
                    await client.drain()
        except (StructError, ValueError, IndexError, ProtocolViolation) as unreadable:
            # Operators trust the nodes' rows: to check each of them would cost more than to merge them.
            log.warning("a node sent rows that cannot be read", exc_info=unreadable)
            raise ProxyError("08006", "a node sent rows that cannot be read") from unreadable
        finally:
            top.close()
        self._services.metrics.rows += count
        self.rows += count
        if cut is not None and cut.cut:
            self._tell_cut(planned.default_limit)
        if as_copy is not None:
            client.send(as_copy.end(count))
            return
        suspended = bool(call.max_rows) and count >= call.max_rows
        client.send(portal_suspended() if suspended else messages.command_complete(tag.format(count)))

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
            await self._on_one(shards[0].node, plan.route, shards[0], planned, plan.effect, SIMPLE)
            return
        if isinstance(plan.text, Refused):
            raise Refused(plan.text.message, plan.text.hint or "")
        one_gateway = self._transactions.on_one_gateway
        if self._transactions.current is not None and (one_gateway or _share_nodes(shards)):
            raise Refused(
                "COPY from several shards of one node is not supported inside a transaction",
                "Run it outside of the transaction, or pin the shard key.",
            )
        if plan.text is not None:
            self._services.metrics.scatter += 1
            copy = CopyOutOfShards(self._client, self._services, self._backends, self._transactions)
            await self._repeatable(lambda: copy.run(planned, plan, shards), plan.effect, SIMPLE)
            return
        assert plan.query is not None
        assert isinstance(plan.query.scatter, Scatter)
        as_copy = await self._repeatable(
            lambda: query_as_copy(planned, plan, shards[0], self._transactions, self._backends, self._client),
            Effect.READ,
            SIMPLE,
        )
        await self._scatter(planned, plan.query, plan.query.scatter, shards, as_copy)

    # EXPLAIN

    async def _explain(self, planned: Planned, plan: Explain, call: Call) -> None:
        self._services.metrics.local += 1
        tree = explain_tree(plan.plan, replace(planned.arguments, now=now()))
        lines = list(tree.lines)
        options = f"{plan.options} " if plan.options else ""
        indent = "  " * len(lines)
        for shard, sql in tree.shards:
            lines.append(f"{indent}{shard.table} on {shard.node}: {' '.join(sql.split())}")
            lines += [
                f"{indent}  {line}" for line in await self._node_plan(shard.node, f"EXPLAIN {options}{sql}", plan, call)
            ]
        client = self._client
        if call.describe:
            client.send(row_description(QUERY_PLAN))
        for line in lines:
            client.send(data_row((line.encode(),)))
        client.send(messages.command_complete("EXPLAIN"))

    async def _node_plan(self, node: str, sql: str, plan: Explain, call: Call) -> list[str]:
        effect = plan.plan.effect if plan.analyze else Effect.READ

        async def attempt() -> list[str]:
            return await self._once_explained(node, sql, effect, call)

        return await self._repeatable(attempt, effect, call)

    async def _once_explained(self, node: str, sql: str, effect: Effect, call: Call) -> list[str]:
        connection = await self._transactions.enter(node, effect)
        try:
            exchange = call.send(connection, sql, Mode.ROWS, self._client.wake, as_text=True)
            return await _lines(ExchangeSource(exchange, self._client))
        except ServerError as error:
            error.position = None
            raise
        finally:
            self._transactions.leave(connection)

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

    def _tell_cut(self, limit: int | None) -> None:
        self._notice(f"only the first {limit} rows are shown", "Add a LIMIT of your own for more.")

    def _notice(self, message: str, hint: str) -> None:
        self._client.send(
            messages.notice_response({"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": message, "H": hint})
        )


def _in_parts(call: Call) -> bool:
    return bool(call.max_rows) and call.goes_on


def _share_nodes(shards: list[Shard]) -> bool:
    return len({shard.node for shard in shards}) < len(shards)


async def _all_finished(client: Client, exchanges: list[Exchange]) -> None:
    """In a transaction every node must have ended well before the client hears so: what fails on a node fails
    the transaction there."""
    for exchange in exchanges:
        while not exchange.finished:
            await client.wait()
    for exchange in exchanges:
        if exchange.error is not None:
            raise exchange.error


async def _lines(source: ExchangeSource) -> list[str]:
    """The first column of a small text result."""
    await source.describe()
    lines: list[str] = []
    while (batch := await source.next_batch()) is not None:
        lines += [(fields_of(row)[0] or b"").decode() for row in split_rows(batch.data)]
    return lines


def _config_value(sets: ConfigCall, call: Call) -> str:
    """The value that set_config() is given."""
    value = sets.value if isinstance(sets.value, str) else call.text(sets.value)
    if value is None:
        raise Refused("set_config() without a value is not supported", "Use RESET to go back to the default.")
    check_setting(sets.name, value.lower())
    return value
