"""Transactions over nodes: begun lazily on each node touched, committed on all that were written to or on none.

Which connection a statement runs on is decided here. Several nodes may be used in one READ COMMITTED
transaction, since each statement has a snapshot of its own there anyway; an isolation level with one snapshot
for the whole transaction keeps it on one node. Where every node reaches every
table, one connection to one gateway carries the whole transaction: none of this is refused, and COMMIT is atomic.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import TypeVar

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Mode, ServerError
from pgproxy.errors import ConnectionLost, ProxyError, Refused
from pgproxy.planner.plan import Effect, Plan, TransactionAction, TransactionControl
from pgproxy.session.across import CommitAcross, before_prepare, why_not_across, why_not_together
from pgproxy.session.backends import Backends
from pgproxy.session.call import SIMPLE, Call
from pgproxy.session.client import Client
from pgproxy.session.clock import now, now_on
from pgproxy.session.failover import Failover, outcome_unknown
from pgproxy.session.logical_names import with_logical_names
from pgproxy.session.services import Services
from pgproxy.session.settings import is_strict_isolation
from pgproxy.session.styles import Style, output_style
from pgproxy.session.transaction import Transaction
from pgproxy.shardmap.model import Table
from pgproxy.wire.messages import notice_response

T = TypeVar("T")

ENDS_SESSION = frozenset({"25P03", "25P04"})  # idle_in_transaction_session_timeout, transaction_timeout
_FAILED = ord("E")
_OPEN = ord("T")
_IDLE = ord("I")
_ALLOWED_WHEN_FAILED = frozenset({TransactionAction.COMMIT, TransactionAction.ROLLBACK, TransactionAction.ROLLBACK_TO})


class Transactions:
    """The transaction state of one session. `current` is None between transactions."""

    def __init__(self, client: Client, services: Services, backends: Backends, failover: Failover) -> None:
        self.failover = failover
        self.current: Transaction | None = None
        self.portals = 0  # how many have been bound in this session
        self.before_commit: Callable[[], Awaitable[None]] = _nothing_yet
        self.on_ended: Callable[[], None] = _nothing
        self.on_rolled_back: Callable[[int], None] = _nothing  # to a savepoint that came after so many portals
        self._client = client
        self._services = services
        self._backends = backends
        self._actions = {
            TransactionAction.BEGIN: self._begin,
            TransactionAction.COMMIT: self._commit,
            TransactionAction.ROLLBACK: self._roll_back,
            TransactionAction.SAVEPOINT: self._savepoint,
            TransactionAction.ROLLBACK_TO: self._roll_back_to,
            TransactionAction.RELEASE: self._release,
        }

    @property
    def status(self) -> bytes:
        """ReadyForQuery's status byte."""
        if self.current is None:
            return b"I"
        return b"E" if self.current.failed else b"T"

    def check_alive(self) -> None:
        """Raise 25P02 in a failed transaction."""
        if self.current is not None and self.current.failed:
            raise ProxyError("25P02", "current transaction is aborted, commands ignored until end of transaction block")

    def check_allows(self, plan: Plan) -> None:
        """Raise 25P02 unless the statement may be said in the transaction as it stands."""
        if not isinstance(plan, TransactionControl) or plan.action not in _ALLOWED_WHEN_FAILED:
            self.check_alive()

    # Connections

    async def enter(self, node: str, effect: Effect, *, replica: bool = False) -> BackendConnection:
        """The connection for a statement on this node: the transaction's, or one for this statement alone.
        Give it to `leave` afterwards. `replica`: if it only reads, it may run on a replica of the node."""
        transaction = self.current
        if transaction is None:
            return await self._backends.lease(node, reads=replica and effect is Effect.READ)
        connection = self.connection_for(node)
        if connection is None:
            self._check_may_join(transaction, node)
        if effect is Effect.WRITE:
            self._check_may_write(transaction, node if connection is None else connection.node.name)
        if connection is None:
            connection = await self._join(transaction, node, reads=replica and transaction.read_only)
            self._backends.check_cancelled()
        if effect is Effect.WRITE:
            transaction.note_written(connection.node.name)
        return connection

    def may_write_on(self, nodes: Collection[str]) -> bool:
        """Whether one transaction may write on all of these: the current one, or one that began now."""
        if self.on_one_gateway:
            return True
        transaction = self.current or self._new("BEGIN", implicit=True)
        if transaction.strict:
            return len({*transaction.joined, *nodes}) == 1
        return len({*transaction.writers, *nodes}) == 1 or not why_not_together(self._backends.in_force.facts)

    @property
    def on_one_gateway(self) -> bool:
        """All statements of a transaction run on one connection, whatever their shards."""
        return self._backends.interchangeable

    def connection_for(self, node: str) -> BackendConnection | None:
        """The connection of the current transaction for statements on this node, if it has one already."""
        joined = {} if self.current is None else self.current.joined
        return next(iter(joined.values()), None) if self.on_one_gateway else joined.get(node)

    def joined(self, node: str, effect: Effect) -> BackendConnection | None:
        """The connection that `enter` would give at once, with nothing left to check."""
        connection = self.connection_for(node)
        writes = effect is Effect.WRITE
        if connection is None or (writes and self.current and connection.node.name not in self.current.writers):
            return None
        return connection

    async def enter_several(
        self, node: str, effect: Effect, count: int, *, replica: bool = False
    ) -> list[BackendConnection]:
        """As `enter`, for so many statements at once. Inside a transaction a node has but one connection."""
        if self.current is None:
            return await self._backends.lease_several(node, count, reads=replica and effect is Effect.READ)
        assert count == 1, "several statements at once on the connection of a transaction"
        return [await self.enter(node, effect, replica=replica)]

    def note_copied(self, table: Table) -> None:
        """The current transaction has rows for it from a COPY."""
        if self.current is not None and table not in self.current.copied:
            self.current.copied += (table,)

    def note_beside_shards(self, connection: BackendConnection, effect: Effect) -> None:
        """A statement that is not of a shard runs there; one that reads can be about what the session keeps there."""
        if self.current is not None and (effect is Effect.WRITE or connection in self._backends.pins):
            self.current.peculiar.add(connection.node.name)

    def leave(self, connection: BackendConnection) -> None:
        if self.current is None or self.current.joined.get(connection.node.name) is not connection:
            self._backends.give_back(connection)
        elif connection.closed or connection.status == _FAILED:
            self.current.failed = True

    def preferred_node(self) -> str | None:
        """For statements that any node can answer: the node where the session keeps a connection, since they may
        be about what it has there; else one that the transaction has touched already."""
        if self._backends.pins:
            return next(iter(self._backends.pins.by_node))
        return next(iter(self.current.joined), None) if self.current is not None else None

    def output_style(self) -> Style:
        """How values look as text now."""
        log = self.current.log if self.current is not None else ()
        return output_style(self._backends.settings, [entry.text for entry in log])

    # Statements

    async def now(self, node: str) -> str:
        """now() for a statement over several shards, `node` being one that it needs. In a transaction it stands still:
        as the node written to has it, or the one that joined first."""
        current = self.current
        if current is None:
            return now()
        if current.now is None:
            first = next(iter((*current.writers, *current.joined)), node)
            connection = await self.enter(first, Effect.READ, replica=True)
            try:
                current.now = await now_on(connection, self._client)
            finally:
                self.leave(connection)
        return current.now

    async def run(self, attempt: Callable[[], Awaitable[T]], effect: Effect, call: Call = SIMPLE) -> T:
        """Attempt a statement, again where that may help: part of a transaction cannot be repeated by itself."""
        if self.current is not None:
            return await attempt()
        return await self.failover.run(attempt, effect, call)

    async def control(self, plan: TransactionControl) -> str:
        """Run BEGIN, COMMIT, …; the tag."""
        self.check_allows(plan)
        return await self._actions[plan.action](plan)

    def begin_implicit(self) -> None:
        """The statements of one Query are one transaction (see "Multiple Statements in a Simple Query")."""
        if self.current is None:
            self.current = self._new("BEGIN", implicit=True)

    async def end_implicit(self) -> None:
        """The Query is through: commit what it did outside of an explicit transaction."""
        if self.current is not None and self.current.implicit:
            await self._finish_commit(self.current)

    async def fail(self, *, in_deadlock: bool = False) -> None:
        """A statement failed: an explicit transaction waits for ROLLBACK, an implicit one is undone."""
        if self.current is None:
            return
        self.current.failed = True
        if self.current.implicit:
            await self._undo(self.current)
        elif in_deadlock:
            await self._let_go(self.current)

    # Actions

    async def _begin(self, plan: TransactionControl) -> str:
        current = self.current
        if current is None:
            self.current = self._new(plan.text, implicit=False, isolation=plan.isolation)
            self.current.read_only = plan.read_only and plan.isolation != "serializable"
        elif current.implicit:
            await self._make_explicit(current, plan)
        else:
            self._warn("25001", "there is already a transaction in progress")
            await self._set_modes(current, plan)  # its modes hold all the same
        return plan.begins_with

    async def _make_explicit(self, current: Transaction, plan: TransactionControl) -> None:
        """BEGIN among the statements of one Query: what these have done so far is part of the transaction."""
        if not current.joined:
            current.begin = plan.text
            current.strict = current.strict or is_strict_isolation(plan.isolation)
        else:
            await self._set_modes(current, plan)
        current.implicit = False

    async def _set_modes(self, current: Transaction, plan: TransactionControl) -> None:
        """What BEGIN says of isolation and the like, in a transaction that has begun."""
        if plan.modes:
            await self._backends.execute_on_all(list(current.joined.values()), f"SET TRANSACTION {plan.modes}")
            current.note_mode(f"SET TRANSACTION {plan.modes}")

    async def _commit(self, plan: TransactionControl) -> str:
        current = self.current
        if current is None or current.implicit:
            self._no_transaction(plan)
        if current is None:
            return "COMMIT"
        if current.failed:
            return await self._roll_back(plan)
        tag = await self._finish_commit(current)
        self._chain(plan, current)
        return tag

    async def _roll_back(self, plan: TransactionControl) -> str:
        current = self.current
        if current is None or current.implicit:
            self._no_transaction(plan)
        if current is not None:
            await self._undo(current)
            self._chain(plan, current)
        return "ROLLBACK"

    async def _savepoint(self, plan: TransactionControl) -> str:
        current = self._in_block("SAVEPOINT")
        await self._backends.execute_on_all(list(current.joined.values()), plan.text)
        backends = self._backends
        current.set_savepoint(plan.name or "", plan.text, backends.settings, backends.reported.values, self.portals)
        return "SAVEPOINT"

    async def _release(self, plan: TransactionControl) -> str:
        current = self._in_block("RELEASE SAVEPOINT")
        current.release(plan.name or "")
        await self._backends.execute_on_all(list(current.joined.values()), plan.text)
        return "RELEASE"

    async def _roll_back_to(self, plan: TransactionControl) -> str:
        current = self._in_block("ROLLBACK TO SAVEPOINT")
        savepoint = current.roll_back_to(plan.name or "")
        for node in current.joined_since(savepoint):
            await self._undo_on(current, node)
        await self._backends.execute_on_all(list(current.joined.values()), plan.text)
        self.on_rolled_back(savepoint.portals)
        current.writers = savepoint.writers
        current.failed = any(connection.closed for connection in current.joined.values())
        self._backends.settings = savepoint.settings
        self._backends.reported.values = savepoint.reported
        for connection in current.joined.values():
            connection.applied = savepoint.settings
        return "ROLLBACK"

    # Inside

    def _new(self, begin: str, *, implicit: bool, isolation: str | None = None) -> Transaction:
        settings = self._backends.settings
        strict = is_strict_isolation(isolation) or (
            isolation is None and any(is_strict_isolation(settings.get(name)) for name in _ISOLATION_SETTINGS)
        )
        return Transaction(begin, settings, self._backends.reported.values, implicit=implicit, strict=strict)

    async def _join(self, transaction: Transaction, node: str, *, reads: bool) -> BackendConnection:
        connection = await self.failover.run(lambda: self._begun(transaction, node, reads=reads), Effect.READ)
        name = connection.node.name
        transaction.joined[name] = connection
        transaction.applied_before[name] = transaction.settings_before
        return connection

    async def _begun(self, transaction: Transaction, node: str, *, reads: bool) -> BackendConnection:
        """What was set since is set again in there, in its order: SET may come behind SET LOCAL, or concern only
        transactions to come."""
        connection = await self._backends.lease(node, reads=reads, settings=transaction.settings_before)
        try:
            # Awaited before the statement itself: were BEGIN to fail, it would run outside of any transaction.
            await self._backends.execute_on_all([connection], transaction.opening())
        except BaseException:
            self._backends.give_back(connection)
            raise
        connection.applied = self._backends.settings
        return connection

    def _check_may_join(self, transaction: Transaction, node: str) -> None:
        if transaction.strict and transaction.joined:
            raise Refused(
                f"a transaction with one snapshot cannot span node {next(iter(transaction.joined))} and node {node}",
                "Use READ COMMITTED, or keep the statements of the transaction to one shard.",
            )

    def _check_may_write(self, transaction: Transaction, node: str) -> None:
        writers = transaction.writers
        if writers and node not in writers:
            refused = why_not_across(self._backends.in_force.facts, writers[0], node)
            if refused is not None:
                raise refused

    async def _finish_commit(self, transaction: Transaction) -> str:
        """COMMIT wherever the transaction is open."""
        try:
            await self.before_commit()
            tag = await self._commit_everywhere(transaction)
        except ServerError as error:
            await self._undo(transaction)
            raise with_logical_names(error, transaction.copied) from None
        except BaseException:
            await self._undo(transaction)
            raise
        if tag == "ROLLBACK":
            await self._undo(transaction)
            return tag
        self._end(transaction)
        if self._backends.pins:
            self._backends.note_committed()
        return tag

    async def _commit_everywhere(self, transaction: Transaction) -> str:
        """The nodes written to come last, so that nothing is committed if another fails."""
        read = [connection for node, connection in transaction.joined.items() if node not in transaction.writers]
        written = [transaction.joined[node] for node in transaction.writers]
        if await self._commit_on(read) == "ROLLBACK":
            return "ROLLBACK"
        try:
            return await (self._commit_across(transaction, written) if len(written) > 1 else self._commit_on(written))
        except ConnectionLost as lost:
            if self.on_one_gateway:
                raise outcome_unknown(lost) from None
            raise

    async def _commit_across(self, transaction: Transaction, written: Sequence[BackendConnection]) -> str:
        return await CommitAcross(self._client, self._services, self._backends).run(
            written,
            last_chance=self._backends.check_cancelled,
            peculiar=transaction.peculiar,
            before=before_prepare((entry.text for entry in transaction.log), self._backends.settings),
        )

    async def _commit_on(self, connections: Sequence[BackendConnection]) -> str:
        """On all at once."""
        exchanges = await self._backends.ended_on_all(connections, "COMMIT")
        for exchange in exchanges:
            if exchange.error is not None:
                raise exchange.error
        return "ROLLBACK" if any(exchange.tag == "ROLLBACK" for exchange in exchanges) else "COMMIT"

    async def _undo(self, transaction: Transaction) -> None:
        """ROLLBACK wherever the transaction is still open, and the settings from before it."""
        self._backends.pins.rolled_back()
        for node in list(transaction.joined):
            await self._undo_on(transaction, node)
        self._backends.settings = transaction.settings_before
        self._backends.reported.values = transaction.reported_before
        self._end(transaction)

    async def _let_go(self, transaction: Transaction) -> None:
        """Free on the other nodes, too, what others wait for: one server does so when it aborts the transaction, and
        does not wait for ROLLBACK."""
        open_ones = [connection for connection in transaction.joined.values() if connection.status == _OPEN]
        with suppress(ProxyError):  # ROLLBACK will meet it as well
            await self._backends.execute_on_all(open_ones, transaction.undoing())

    async def _undo_on(self, transaction: Transaction, node: str) -> None:
        connection = transaction.joined.pop(node)
        applied_before = transaction.applied_before.pop(node)
        if connection.status == _IDLE and connection.applied != applied_before:
            connection.distrust()  # its part has ended there, and what was set in it may have stayed
        if not connection.closed and connection.status != _IDLE:
            exchange = connection.query("ROLLBACK", Mode.SILENT, self._client.wake)
            try:
                while not exchange.finished:
                    await self._client.wait()
            except BaseException:
                connection.distrust()
                raise
            self._backends.reported.relay(exchange.asides)
        connection.applied = applied_before
        self._backends.give_back(connection)

    @property
    def timed_out(self) -> ProxyError | None:
        """A node has ended the session there, by a timeout for sessions in a transaction."""
        if self.current is None:
            return None
        failures = (connection.failure for connection in self.current.joined.values() if connection.closed)
        return next((failure for failure in failures if failure.sqlstate in ENDS_SESSION), None)

    def _end(self, transaction: Transaction) -> None:
        for connection in transaction.joined.values():
            self._backends.give_back(connection)
        transaction.joined.clear()
        self.current = None
        self.on_ended()

    def _in_block(self, what: str) -> Transaction:
        if self.current is None or self.current.implicit:
            raise ProxyError("25P01", f"{what} can only be used in transaction blocks")
        return self.current

    def _chain(self, plan: TransactionControl, ended: Transaction) -> None:
        if plan.chain:
            self.current = self._new(ended.begin, implicit=False)
            self.current.strict, self.current.read_only = ended.strict, ended.read_only

    def _no_transaction(self, plan: TransactionControl) -> None:
        if plan.chain:
            verb = "COMMIT" if plan.action is TransactionAction.COMMIT else "ROLLBACK"
            raise ProxyError("25P01", f"{verb} AND CHAIN can only be used in transaction blocks")
        self._warn("25P01", "there is no transaction in progress")

    def _warn(self, sqlstate: str, message: str) -> None:
        self._client.send(notice_response({"S": "WARNING", "V": "WARNING", "C": sqlstate, "M": message}))


async def _nothing_yet() -> None:
    """The same."""


def _nothing(*_: object) -> None:
    """Until a session says who wants to know."""


_ISOLATION_SETTINGS = ("default_transaction_isolation", "session characteristics")
