"""One client's conversation from its first byte to its last: which message does what, and what errors lead to."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from struct import Struct
from time import monotonic
from typing import TypeVar

from pgproxy.backend.exchange import ServerError
from pgproxy.errors import ProtocolViolation, ProxyError, Refused
from pgproxy.metrics import ONE_ROW, count, rows_of_answer
from pgproxy.planner.plan import Effect, Execute, Planned, Prepare, Several, Sharded, sql_for
from pgproxy.planner.sure_route import Constants, SureRoute
from pgproxy.session.administration import administer
from pgproxy.session.backends import Backends
from pgproxy.session.client import Client, ClientGone
from pgproxy.session.extended import Extended
from pgproxy.session.failover import Failover
from pgproxy.session.outcomes import Outcomes
from pgproxy.session.relay import Relay
from pgproxy.session.routed import Routed
from pgproxy.session.services import Services
from pgproxy.session.sql_prepared import SqlPrepared
from pgproxy.session.start_up import Identity, check_encryption, first_message, identify, log_in, take_settings
from pgproxy.session.statements import Statements
from pgproxy.session.transactions import ENDS_SESSION, Transactions
from pgproxy.session.turns import let_others_run
from pgproxy.wire import messages
from pgproxy.wire.sequences import SEQUENCE_STARTS, ends_with_sync, read_sequence

log = logging.getLogger("pgproxy.session")

T = TypeVar("T")

_LENGTH = Struct("!I").unpack_from
MESSAGES_IN_A_ROW = 50
_SHORTEST_QUERY = 6  # an empty text
_UNNAMED = Identity("", "", "", admin=False)


class Session:
    """`pid` and `key` are what the client's CancelRequest must name. The server creates one per connection."""

    __slots__ = (
        "_entered_as",
        "_extended",
        "_idle_too_long",
        "_in_a_row",
        "_outcomes",
        "_planned",
        "_relay",
        "_resting_since",
        "_runner",
        "_services",
        "_shortcut",
        "_skip_to_sync",
        "_sql",
        "_started_at",
        "_why_cancelled",
        "active",
        "admitted",
        "backends",
        "client",
        "connected_at",
        "identity",
        "key",
        "pid",
        "ready",
        "statements",
        "transactions",
    )

    def __init__(self, client: Client, services: Services, pid: int, key: bytes) -> None:
        self.client = client
        self.pid = pid
        self.key = key
        self.identity = _UNNAMED
        self.admitted = False  # counts as one of max_clients
        self.ready = False  # start-up is through
        self.active = False  # a statement runs
        self.statements = 0
        self.connected_at = services.loop.time()
        self.backends = Backends(client, services)
        self.transactions = Transactions(client, services, self.backends, Failover(client, services, self.backends))
        self._services = services
        self._entered_as: str | None = None
        self._skip_to_sync = False
        self._planned: Planned | None = None  # of the next Query, which the shortcut could not take
        self._sql = ""  # of the statement that runs, where it goes the long way
        self._started_at = 0.0  # of the statement, by time.monotonic: the loop's clock ticks in milliseconds
        self._why_cancelled: tuple[float, ProxyError] | None = None  # by the proxy, the statement that began then
        self._resting_since: float | None = None  # inside a transaction
        self._idle_too_long = False
        self.backends.pins.pid = pid
        self._in_a_row = 0  # messages since the client was last waited for
        self._shortcut = self._take_shortcut
        self._relay = Relay(client, self.backends)
        self._relay.on_answered = self._relay_answered
        self._runner = Statements(client, services, self.backends, self.transactions)
        self._outcomes = Outcomes(client, services, self._runner)
        self._extended = extended = Extended(
            client, services, self.backends, self.transactions, self._runner, self._plan, self._ran_ahead
        )
        self._runner.on_deallocate = extended.deallocate
        prepared = SqlPrepared(client, services, self.transactions, self.backends, extended, self._plan, pid)
        self._runner.add_runners({Prepare: prepared.prepare, Execute: prepared.execute})

    async def converse(self) -> None:
        """The whole conversation. Never raises but for our own bugs."""
        try:
            if await self._start_up():
                await self._serve()
        except ClientGone:
            pass
        except ProxyError as fatal:
            fatal.severity = "FATAL"
            self._outcomes.send_error(fatal, self._sql)
        except Exception as bug:
            log.exception("a session ended by a bug; client %s", self.client.address)
            internal = ProxyError("XX000", f"internal error: {type(bug).__name__}", severity="FATAL")
            self._outcomes.send_error(internal, self._sql)
        finally:
            self._relay.abandon()
            self.client.close()
            self._runner.cursor_statements.cursors.clear()
            self.backends.give_back_all()
            if self._entered_as is not None:
                self._services.leave_pools(self._entered_as)

    def cancel(self) -> None:
        """A CancelRequest with the right key came."""
        if self.active:
            self._services.metrics.cancels += 1
            self._cancel_statement()

    def _cancel_statement(self) -> None:
        self._relay.cancel()
        self.backends.cancel()

    def limit(self, statement_s: float, idle_in_transaction_s: float) -> None:
        """As `time_limits.Limited`. A statement is known by when it began, so that none pays for being told apart."""
        now = monotonic()
        if self.active:
            if statement_s and now - self._started_at > statement_s and not self.identity.admin:
                self._cancel_because(ProxyError("57014", "canceling statement due to statement timeout"))
        elif idle_in_transaction_s and now - (self._resting_since or now) > idle_in_transaction_s:
            self._idle_too_long = True
            self.client.wake()

    def give_way(self, statement: float, detail: str) -> bool:
        """The statement that began then is the victim of a deadlock: cancel it. Whether this is the first time."""
        if not self.active or self._started_at != statement:
            return False
        first = self._why_cancelled is None or self._why_cancelled[0] != statement
        self._services.metrics.deadlocks += first
        self._cancel_because(ProxyError("40P01", "deadlock detected", detail=detail))
        return first

    def _cancel_because(self, error: ProxyError) -> None:
        """Cancel it, again at each call: a node that has not begun the statement ignores the first."""
        self._why_cancelled = self._started_at, error
        self._cancel_statement()

    @property
    def started_at(self) -> float:
        """When the statement began, by time.monotonic."""
        return self._started_at

    @property
    def state(self) -> str:
        """As SHOW CLIENTS tells it, in pg_stat_activity's words."""
        if self.backends.waiting or self._relay.queued:
            return "waiting"
        if self.active:
            return "active"
        status = self.transactions.status
        return {b"I": "idle", b"T": "idle in transaction", b"E": "idle in transaction (aborted)"}[status]

    @property
    def under_way(self) -> bool:
        """In a statement, a transaction or a pipeline: what has begun under one shard map is finished under it."""
        return self.active or self.transactions.current is not None or not self._extended.rests

    def move_on(self) -> None:
        """The shard map has changed. At rest, the session goes by the new one from here on."""
        if not self.under_way:
            self._planned = None
            self.backends.move_on()
            if self._services.logs_statements:
                self.client.shortcut = None

    # Start-up

    async def _start_up(self) -> bool:
        client, services = self.client, self._services
        message = await first_message(client, services)
        if message is None:
            return False
        if not client.in_process:
            check_encryption(client, services)
        self.key = self.key[: message.cancel_key_bytes]
        credential = await log_in(client, message, services)
        identity = identify(message, services)
        services.admit(client, admin=identity.admin)
        self.admitted = True
        if not identity.admin and services.shard_map.cluster.as_client and not client.in_process:
            services.enter_pools(credential)
            self.backends.node_user = self._entered_as = credential.user
            self.backends.move_on()
        client.reader.max_message_bytes = services.shard_map.proxy.max_message_bytes
        parameters = await self._runner.failover.run(
            lambda: take_settings(message, identity, self.backends, services), Effect.READ
        )
        self.identity = identity
        self.backends.reported.values = parameters
        self.backends.reported.tell()
        client.send(messages.backend_key_data(self.pid, self.key))
        self._send_ready()
        self.ready = True
        return True

    # Messages

    async def _serve(self) -> None:
        client = self.client
        while True:
            if self._relay.active:
                if self._relay.stopped:
                    await self._finish_relay()
                else:
                    await client.wait()
                continue
            if client.slow:
                await client.drain()  # what it has asked for already comes before what it asks next
            if self._extended.may_go_ahead and not self._skip_to_sync and await self._went_ahead():
                continue
            frame = client.poll()
            if frame is None:
                if client.ended:
                    return
                await self._rest()
                continue
            self._in_a_row += 1
            if self._in_a_row > MESSAGES_IN_A_ROW:
                self._in_a_row = 0  # a client that sends without pause is answered without pause only so long
                await let_others_run(client, self._services.loop)
            kind, payload = frame
            if kind == messages.QUERY:
                if not self._skip_to_sync:
                    await self._query(payload)
            elif kind == messages.TERMINATE:
                return
            else:
                await self._other_message(kind, payload)

    async def _other_message(self, kind: int, payload: bytes) -> None:
        if kind in _EXTENDED:
            await self._extended_message(kind, payload)
        elif kind in _OTHERS:
            await _OTHERS[kind](self, payload)
        else:
            raise ProtocolViolation(f"invalid frontend message type {kind}")

    async def _rest(self) -> None:
        """Nothing to do until the client says more. A Query that comes now may take the short way."""
        self._look_at_nodes()
        if self._idle_too_long:
            raise ProxyError("25P03", "terminating connection due to idle-in-transaction timeout")
        self._in_a_row = 0
        self._resting_since = monotonic() if self.transactions.current is not None else None
        if self._services.draining and self.transactions.current is None:
            raise ProxyError("57P01", "terminating connection due to administrator command")
        if self._may_take_shortcut():
            self.client.shortcut = self._shortcut
        try:
            await self.client.wait()
        finally:
            self.client.shortcut = None

    def _look_at_nodes(self) -> None:
        """What has come from the nodes unasked: the end of the session, notifications."""
        transactions, pins = self.transactions, self.backends.pins
        lost = (pins.failure if pins else None) or transactions.timed_out
        if lost is not None:
            raise lost
        if pins.notifications and transactions.current is None:
            pins.deliver()
            self.client.flush()

    # The short way

    def _may_take_shortcut(self) -> bool:
        return (
            self.transactions.current is None
            and not self.backends.pins
            and self.client.reader.empty
            and not self.client.slow
            and not self._services.draining
            and not self._services.logs_statements
            and not self.identity.admin
            and not self._skip_to_sync
            and self._extended.rests
        )

    def _take_shortcut(self, data: bytes) -> bool:
        """Start the statement if `data` is one whole Query, or one usual sequence of the extended protocol up to Sync,
        that one shard answers; False: the conversation's turn."""
        if self.backends.in_force is not self._services.in_force:
            self.move_on()
            if self.client.shortcut is None:
                return False
        end = len(data)
        kind = data[0]
        if kind != messages.QUERY:
            return kind in SEQUENCE_STARTS and self._take_sequence(data)
        if end < _SHORTEST_QUERY or _LENGTH(data, 1)[0] != end - 1 or data[-1]:
            return False  # not one whole message
        services, backends = self._services, self.backends
        started_at = monotonic()
        try:
            planner = backends.in_force.planner
            if planner is None:
                return False
            if not services.any_replicas and (found := planner.sure_routes.find(data)) is not None:
                return self._take_sure(*found, started_at)
            if data.find(0, 5) != end - 1:
                return False  # not one text
            planned = planner.plan(data[5:-1].decode())
            plan = planned.plan
            if type(plan) is not Sharded or planned.default_limit is not None:
                self._planned = planned
                return False
            indexes = plan.choice.shards(planned.arguments)
        except (ProxyError, UnicodeDecodeError):
            return False  # the conversation finds the same, and tells the client
        if len(indexes) != 1:
            self._planned = planned
            return False
        shard = plan.table.shards[indexes[0]]
        if services.any_replicas:
            pool = self.backends.pool_if_up(shard.node, plan.effect)
        else:  # as in `_take_sequence`: to share these lines would be one more call for each statement
            node = services.gateways.node_for(shard.node)
            pool = None if node is None else self.backends.pools.get(node)
        if pool is None:
            return False
        self._extended.drop_unnamed()
        self._begin_relay(started_at)
        self._relay.start(planned, plan, planned.arguments, shard, pool)
        return True

    def _take_sure(self, route: SureRoute, constants: Constants, index: int, started_at: float) -> bool:
        shard = route.plan.table.shards[index]
        node = self._services.gateways.node_for(shard.node)
        pool = None if node is None else self.backends.pools.get(node)
        if pool is None:
            return False
        self._extended.drop_unnamed()
        self._begin_relay(started_at)
        self._relay.start_sure(route, constants, shard, pool)
        return True

    def _take_sequence(self, data: bytes) -> bool:
        services = self._services
        started_at = monotonic()
        sequence = read_sequence(data, 0)
        if (
            sequence is None
            or not ends_with_sync(data, sequence.end)
            or len(data) > self.client.reader.max_message_bytes
        ):
            return False
        routed = self._extended.routed(data, sequence)
        if routed is None:
            return False
        shard = routed.shard
        if services.any_replicas:
            pool = self.backends.pool_if_up(shard.node, routed.plan.effect)
        else:
            node = services.gateways.node_for(shard.node)
            pool = None if node is None else self.backends.pools.get(node)
        if pool is None:
            return False
        self._begin_relay(started_at)
        self._relay.start_bound(routed, pool)
        return True

    def _begin_relay(self, started_at: float) -> None:
        client = self.client
        client.shortcut = None
        client.disturbed = False
        self.backends.cancelled = False  # `begin_statement`
        self.statements += 1
        self.active = True
        self._started_at = started_at

    def _relay_answered(self, answer: bytes) -> None:
        services, client, relay = self._services, self.client, self._relay
        self.active = False
        services.metrics.route += 1
        took_us = int((monotonic() - self._started_at) * 1e6)
        rows = 1 if answer.endswith(ONE_ROW) else rows_of_answer(answer)
        count(relay.pool.routed, relay.figures, took_us, rows)
        if took_us > services.slow_us:
            services.slow(relay.pool.routed, relay.figures, took_us, client.address)
        # The rest of what allows the short way cannot have changed while the conversation was at rest.
        if client.disturbed or services.draining:
            client.wake()
        else:
            client.shortcut = self._shortcut

    async def _finish_relay(self) -> None:
        relay = self._relay
        relay.recall()
        self._services.metrics.route += 1
        self._sql = sql_for(relay.plan.route, relay.shard, relay.arguments)
        try:
            if relay.routed is not None:
                await self._attempt(self._extended.finish_relay(relay, relay.routed))
            else:
                await self._runner.finish_relay(relay)
        except ProxyError as error:
            await self._failed(error)
        finally:
            bound = relay.routed is not None
            relay.reset()
        if bound:
            await self._end_sync()
        self._end_statement()

    # The long way

    async def _query(self, payload: bytes) -> None:
        services = self._services
        if self.backends.in_force is not services.in_force:
            self.move_on()
        self._started_at = monotonic()
        self.statements += 1
        self.active = True
        self.backends.begin_statement()
        self._runner.ran = None
        planned, self._planned = self._planned, None
        await self._attempt(self._extended.before_query())
        if self._skip_to_sync:
            self.active = False
            return
        try:
            sql = self._sql = messages.parse_query(payload)
            if services.logs_statements:
                services.log_statement(sql, self.client.address)
            if self.identity.admin:
                services.metrics.local += 1
                self._runner.ran, self._runner.planned = services.metrics.here, None
                self.client.send(await administer(sql, self.client, services, self.backends))
            else:
                await self._run(planned or self._plan(sql))
        except ProtocolViolation:
            raise
        except ProxyError as error:
            await self._failed(error)
        self._end_statement()

    def _end_statement(self) -> None:
        self.active = False
        self._sql = ""
        self._send_ready()
        self._outcomes.ended(self._started_at)

    async def _run(self, planned: Planned) -> None:
        if isinstance(planned.plan, Several):
            await self._run_several(planned.plan)
        else:
            await self._runner.run(planned)

    async def _run_several(self, plan: Several) -> None:
        """Each statement is planned when its turn comes; together they are one implicit transaction, except for
        what they say of transactions themselves."""
        for text, offset in plan.statements:
            self.transactions.begin_implicit()
            try:
                await self._runner.run(self._plan(text))
            except ProxyError as error:
                if error.position is not None:
                    error.position += offset
                raise
            self._outcomes.ended(self._started_at)
            self._started_at = monotonic()
            await self.client.drain()
        await self.transactions.end_implicit()

    def _plan(self, sql: str) -> Planned:
        try:
            return self.backends.in_force.planning().plan(sql)
        except ProxyError as error:
            if error.sqlstate != "42601":  # PostgreSQL, too, parses before it looks at the transaction
                self.transactions.check_alive()
            raise

    async def _extended_message(self, kind: int, payload: bytes) -> None:
        """A message of the extended protocol. After an error everything up to Sync is skipped."""
        if self._skip_to_sync:
            return
        if self.backends.in_force is not self._services.in_force:
            self.move_on()
        self._started_at = monotonic()
        self.active = True
        self.backends.begin_statement()
        self._runner.ran = None
        if self.identity.admin:
            await self._attempt(_refuse_admin())
        else:
            await self._attempt(_EXTENDED[kind](self._extended, payload))
        self.active = False
        self._sql = ""
        if kind == messages.EXECUTE:
            self._end_execute()

    async def _went_ahead(self) -> bool:
        """Statements that the client has sent without waiting ran together, or failed."""
        if self.backends.in_force is not self._services.in_force:
            self.move_on()
        self._started_at = monotonic()
        self.active = True
        self.backends.begin_statement()
        count = await self._attempt(self._extended.go_ahead())
        self.active = False
        return count is None or count > 0

    def _ran_ahead(self, routed: Routed, rows: int) -> None:
        services = self._services
        services.metrics.route += 1
        if services.logs_statements:
            services.log_statement(routed.statement.sql, self.client.address)
        self._runner.note_routed(routed, rows)
        self._end_execute()

    async def _attempt(self, step: Awaitable[T]) -> T | None:
        """Part of an extended query; None after an error."""
        try:
            return await step
        except ProtocolViolation:
            raise
        except ProxyError as error:
            self._skip_to_sync = True
            self._sql = self._extended.sql
            await self._failed(await self._extended.abandon(error))
            return None

    def _end_execute(self) -> None:
        self.statements += 1
        self._outcomes.ended(self._started_at)

    async def _sync(self, _payload: bytes) -> None:
        await self._end_sync()
        self._send_ready()

    async def _end_sync(self) -> None:
        if not self._skip_to_sync:
            await self._attempt(self._extended.sync())
        self._skip_to_sync = False

    async def _flush(self, _payload: bytes) -> None:
        if not self._skip_to_sync:
            await self._attempt(self._extended.flush())
        self.client.flush()

    async def _function_call(self, _payload: bytes) -> None:
        if self._skip_to_sync:
            return
        await self._failed(Refused("the function call protocol is not supported", "Use SELECT function(…)."))
        self._send_ready()

    async def _stray_copy_data(self, _payload: bytes) -> None:
        """PostgreSQL ignores what is left of a COPY that has failed."""

    # Answers

    async def _failed(self, error: ProxyError) -> None:
        if isinstance(error, Refused):
            self._services.metrics.refused += 1
        why = self._why_cancelled
        if error.sqlstate == "57014" and why is not None and why[0] == self._started_at:
            error = why[1]
        self._outcomes.failed(error)
        if error.sqlstate in ENDS_SESSION and isinstance(error, ServerError):
            raise error  # the node has ended the session, as one PostgreSQL would
        if self.backends.pins and (lost := self.backends.pins.failure) is not None:
            raise lost  # and with it what the session kept there
        self._outcomes.send_error(error, self._sql)
        await self.transactions.fail(in_deadlock=error.sqlstate == "40P01")

    def _send_ready(self) -> None:
        self.backends.reported.tell()
        if self.backends.pins.notifications and self.transactions.current is None:
            self.backends.pins.deliver()
        self.client.send(messages.ready_for_query(self.transactions.status))
        self.client.flush()


async def _refuse_admin() -> None:
    raise Refused(
        "the admin database does not speak the extended query protocol",
        "Use the simple query protocol (psql; psycopg: ClientCursor).",
    )


_OTHERS: Mapping[int, Callable[[Session, bytes], Awaitable[None]]] = {
    messages.SYNC: Session._sync,
    messages.FLUSH: Session._flush,
    messages.FUNCTION_CALL: Session._function_call,
    **dict.fromkeys((messages.COPY_DATA, messages.COPY_DONE, messages.COPY_FAIL), Session._stray_copy_data),
}

_EXTENDED: Mapping[int, Callable[[Extended, bytes], Awaitable[None]]] = {
    messages.PARSE: Extended.parse,
    messages.BIND: Extended.bind,
    messages.DESCRIBE: Extended.describe,
    messages.EXECUTE: Extended.execute,
    messages.CLOSE: Extended.close,
}
