"""The short way of a routed statement: sent when it came, answered when the node has, no coroutine stepped.

It serves only what is simple all the way: one shard, no transaction, one whole answer without an error. For
anything else that happens on the way the conversation takes over and ends the statement.
"""

from __future__ import annotations

from collections.abc import Callable

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import BOUND, Exchange, Mode
from pgproxy.backend.lease_queue import Lease
from pgproxy.backend.pool import NodePool
from pgproxy.backend.prepared import Opening
from pgproxy.errors import ConnectionLost, ProxyError
from pgproxy.metrics import Figures
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.plan import Planned, Sharded, sql_for
from pgproxy.planner.sure_route import Constants, SureRoute
from pgproxy.session.backends import Backends, never_sent
from pgproxy.session.call import Call
from pgproxy.session.client import Client
from pgproxy.session.routed import Routed
from pgproxy.shardmap.model import Shard
from pgproxy.wire.messages import query


class Relay:
    """At most one statement. `active` while it is under way; `stopped` when the conversation must end it.

    `on_answered` is given the answer once the client has it.
    """

    __slots__ = (
        "_backends",
        "_client",
        "_lease",
        "_message",
        "_opening",
        "_replies",
        "_sure",
        "active",
        "arguments",
        "connection",
        "error",
        "exchange",
        "figures",
        "on_answered",
        "plan",
        "planned",
        "pool",
        "routed",
        "shard",
        "stopped",
    )

    plan: Sharded
    planned: Planned
    arguments: Arguments
    shard: Shard
    pool: NodePool
    _opening: Opening

    def __init__(self, client: Client, backends: Backends) -> None:
        self.active = False
        self.stopped = False
        self.connection: BackendConnection | None = None
        self.exchange: Exchange | None = None
        self.error: ProxyError | None = None
        self.routed: Routed | None = None  # a simple Query
        self.figures: Figures | None = None  # the template's
        self._message = b""  # that Query, for the node
        self._sure: tuple[SureRoute, Constants] | None = None
        self._replies = b""
        self.on_answered: Callable[[bytes], None] = _nobody
        self._client = client
        self._backends = backends
        self._lease: Lease | None = None

    def start(
        self,
        planned: Planned,
        plan: Sharded,
        arguments: Arguments,
        shard: Shard,
        pool: NodePool,
    ) -> None:
        """Send a Query now, or when a connection becomes free."""
        self.active = True
        self.planned = planned
        self.figures = planned.figures
        self.plan = plan
        self.arguments = arguments
        self.shard = shard
        self.pool = pool
        self._message = query(sql_for(plan.route, shard, arguments))
        self._lease_and_send(pool)

    def start_sure(self, route: SureRoute, constants: Constants, shard: Shard, pool: NodePool) -> None:
        """`start` for a Query whose plan is not made unless it is needed: `recall` makes it."""
        self.active = True
        self._sure = route, constants
        self.figures = route.figures
        self.shard = shard
        self.pool = pool
        self._message = route.message(shard.index, constants)
        self._lease_and_send(pool)

    def start_bound(self, routed: Routed, pool: NodePool) -> None:
        """The same for a sequence of the extended protocol."""
        self.active = True
        self.routed = routed
        self.figures = routed.statement.planned.figures
        self.pool = pool
        self._lease_and_send(pool)

    def recall(self) -> None:
        """The conversation ends the statement, and wants to know what it is."""
        if self.routed is not None:
            routed = self.routed
            self.planned, self.plan, self.shard = routed.statement.planned, routed.plan, routed.shard
            self.arguments = routed.arguments
        elif self._sure is not None:
            route, constants = self._sure
            self.planned, self.plan = route.planned(constants), route.plan
            self.arguments = self.planned.arguments

    def _lease_and_send(self, pool: NodePool) -> None:
        connection = pool.try_lease()
        if connection is not None:
            self._send(connection)
            return
        self._lease = pool.request(self._granted)
        if self._lease.done:
            self._granted()

    def cancel(self) -> None:
        """The client wants no answer. What runs on the node is cancelled there; what waits, here."""
        if self._lease is not None:
            self._leave_queue()
            self._stop(ProxyError("57014", "canceling statement due to user request"))

    def abandon(self) -> None:
        """The client is gone."""
        self._leave_queue()
        if self.connection is not None and self.exchange is None and not self.stopped:
            self.connection.hand_over()
        if self.exchange is not None:
            self.exchange.discard()

    def reset(self) -> None:
        """The conversation has ended the statement."""
        self.active = self.stopped = False
        self.connection = self.exchange = self.error = self.routed = self._sure = None
        self._message = b""

    @property
    def queued(self) -> bool:
        """Waiting for a connection."""
        return self._lease is not None

    # Called by the pool

    def _granted(self) -> None:
        lease, self._lease = self._lease, None
        assert lease is not None
        if lease.connection is None:
            self._stop(lease.error)
        else:
            self._send(lease.connection)

    # Called by the connection

    def answered(self, connection: BackendConnection, answer: bytes) -> None:
        """The whole answer has come, ReadyForQuery included."""
        routed = self.routed
        if routed is not None:
            routed.statement.accepted = True
            replies = routed.replies
            if replies != self._replies:  # what the node had to prepare or to close is not the client's business
                answer = replies + answer[len(self._replies) :]
            self.routed = None  # its data may be large
        self._client.write_through(answer)
        self.active = False
        self.connection = self._sure = None
        del self._backends.held[connection]
        self.pool.take_back(connection)
        self.on_answered(answer)

    def handed_over(self, exchange: Exchange) -> None:
        """The answer is not that simple: from here on it is an exchange like any other."""
        if self.routed is not None:
            exchange.parsed = not self._opening.parses
            exchange.prepared_as = self._opening.key
        self.exchange = exchange
        self.stopped = True

    def wake(self) -> None:
        self._client.wake()

    # Inside

    def _send(self, connection: BackendConnection) -> None:
        self.connection = connection
        self._backends.held[connection] = self.pool
        settings = self._backends.settings
        if connection.applied is settings or connection.applied == settings:
            connection.applied = settings  # the same object: the next comparison is cheap
            if self.routed is None:
                message, self._message = self._message, b""  # it may be large
                connection.relay(message, self)
            else:
                self._send_bound(connection, self.routed)
        else:
            self._stop(None)

    def _send_bound(self, connection: BackendConnection, routed: Routed) -> None:
        self._opening = opening = routed.open(connection)
        self._replies = replies = opening.replies + BOUND
        connection.relay(routed.messages(opening, len(routed.data)), self, replies)

    def _stop(self, error: ProxyError | None) -> None:
        self.error = error
        self.stopped = True
        self._client.wake()

    def _leave_queue(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self.pool.withdraw(lease)


def _nobody(_answer: bytes) -> None:
    """Until the session says who wants to know."""


async def finish(relay: Relay, client: Client, backends: Backends, call: Call) -> Exchange:
    """End what the relay could not: the exchange to splice. Raises what went wrong before it was sent.

    The connection is the session's (`Backends.held`) until `relay.connection` is given back.
    """
    if relay.error is not None:
        raise backends.refused(relay.error, relay.pool)
    assert relay.connection is not None, "a relay that stopped without an error has a connection"
    if relay.exchange is not None:
        call.sent(relay.connection, relay.exchange)
        return relay.exchange
    try:
        await backends.apply_settings(relay.connection, backends.settings)
    except ConnectionLost as lost:
        raise never_sent(lost) from None
    backends.check_cancelled()
    sql = sql_for(relay.plan.route, relay.shard, relay.arguments)
    return call.send(relay.connection, sql, Mode.SPLICE, client.wake)
