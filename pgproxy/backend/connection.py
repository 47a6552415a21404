"""One connection to a node: log-in, Queries in order, backpressure, cancel.

What comes of the node is cut into exchanges by `backend.scanner`. Who may use the connection and when it is clean again
is the pool's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, cast

from pgproxy.backend.cancel import request_cancel
from pgproxy.backend.exchange import HIGH_WATER_BYTES, Exchange, Mode
from pgproxy.backend.prepared import BoundStatement
from pgproxy.backend.scanner import SHUTS_DOWN, Scanner, is_plain_answer
from pgproxy.errors import ConnectionLost, NodeFailure, ProtocolViolation, ProxyError
from pgproxy.keepalive import keep_alive
from pgproxy.shardmap.model import ClusterSettings, Node
from pgproxy.tls.node import NodeTls, NodeUpgrade, end_point
from pgproxy.wire import messages as wire
from pgproxy.wire.auth import Credential, Login
from pgproxy.wire.extended import (
    close_portal,
    describe_portal,
    describe_statement,
    execute_message,
    parse_message,
)

CANCEL_TIMEOUT_S = 2.0


class AnswerReceiver(Protocol):
    """Whoever has sent a statement by `relay`."""

    def answered(self, connection: BackendConnection, answer: bytes) -> None:
        """The whole answer, up to and with a ReadyForQuery that says idle. The connection is free."""
        ...

    def handed_over(self, exchange: Exchange) -> None:
        """There is more to the answer than that: this exchange gets it."""
        ...

    def wake(self) -> None:
        """The exchange's wake."""
        ...


_REPORTED_STYLE = ("TimeZone", "DateStyle", "IntervalStyle")
_OTHER_STYLE = ("array_nulls", "lc_monetary", "timezone_abbreviations", "xmloption")


class BackendConnection(Scanner, asyncio.Protocol):
    """The proxy's side of one connection to a node. `applied` are the settings in force beyond the node's defaults."""

    # More attributes than Python keeps in an object without a dictionary: slots halve what a statement touches here.
    __slots__ = (
        "_cluster",
        "_credential",
        "_logged_in",
        "_login",
        "_loop",
        "_reading_paused",
        "_receiver",
        "_replies",
        "_tls",
        "_transport",
        "applied",
        "cancels_running",
        "closed",
        "distrusted",
        "expired",
        "expires_at",
        "idle_since",
        "on_closed",
        "on_lost",
        "on_quiet",
        "writing_paused",
    )

    def __init__(
        self,
        node: Node,
        cluster: ClusterSettings,
        loop: asyncio.AbstractEventLoop,
        tls: NodeTls | None = None,
        credential: Credential | None = None,
    ) -> None:
        super().__init__(node, self._reading_style)
        self._tls = tls
        self.applied: Mapping[str, str] = {}
        self.closed = False
        self.cancels_running = 0
        self.idle_since = loop.time()
        self.expires_at = float("inf")
        self.expired = False
        self.on_quiet: Callable[[BackendConnection], None] | None = None
        self.on_lost: Callable[[BackendConnection], None] | None = None
        self.on_closed: Callable[[], None] | None = None  # wakes whoever holds it
        self.distrusted = False
        self._cluster = cluster
        self._loop = loop
        self._receiver: AnswerReceiver | None = None
        self._replies = b""
        self._reading_paused = False
        self.writing_paused = False
        self._credential = credential or Credential(cluster.user, cluster.password)
        self._login: Login | None = Login(self._credential)
        self._logged_in: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(
        cls,
        node: Node,
        cluster: ClusterSettings,
        loop: asyncio.AbstractEventLoop,
        timeout_s: float,
        tls: NodeTls | None = None,
        credential: Credential | None = None,
    ) -> BackendConnection:
        """Connect and log in, as the cluster's user unless a credential is given. Raises NodeFailure or the node's
        own ServerError."""
        connection = cls(node, cluster, loop, tls, credential)
        try:
            async with asyncio.timeout(timeout_s):
                transport, _ = await loop.create_connection(connection._first_protocol, node.host, node.port)
                try:
                    await connection._logged_in
                except BaseException:
                    transport.abort()  # the connection has not seen it when it ends before it is encrypted
                    raise
        except TimeoutError:
            connection.abort()
            raise NodeFailure(node.name, f"node {node.name} did not answer within {timeout_s:g} s") from None
        except OSError as failed:
            connection.abort()
            reason = failed.strerror or str(failed)
            raise NodeFailure(node.name, f"could not connect to node {node.name}: {reason}") from None
        except BaseException:
            connection.abort()
            raise
        return connection

    def _first_protocol(self) -> asyncio.Protocol:
        if self._tls is None:
            return self
        return NodeUpgrade(self._tls, self.node.host, self, self._no_tls)

    def _no_tls(self, reason: str) -> None:
        self._last_error = self._last_error or no_tls(self.node, reason)

    @property
    def said_good_bye(self) -> bool:
        """The node has ended it because it shuts down."""
        return self._last_error is not None and self._last_error.sqlstate == SHUTS_DOWN

    @property
    def busy(self) -> bool:
        return bool(self._exchanges) or self._receiver is not None

    @property
    def pid(self) -> int | None:
        """The node's process, if it is known."""
        return None if self._key is None else self._key[0]

    def _reading_style(self) -> tuple[str | None, ...]:
        """The settings by which the node reads constants: the first ones it reports, also when SET LOCAL sets them."""
        reported = [self.parameters.get(name) for name in _REPORTED_STYLE]
        return (*reported, *(self.applied.get(name) for name in _OTHER_STYLE))

    @property
    def failure(self) -> ProxyError:
        """Why it was closed."""
        return self._last_error or self._lost()

    def query(self, sql: str, mode: Mode, wake: Callable[[], None]) -> Exchange:
        """Send a Query. Its answer comes behind those of the Queries before it. Never raises: a connection
        that is gone gives an exchange that has failed already."""
        return self._start(wire.query(sql), Exchange(mode, wake))

    def run_bound(self, bound: BoundStatement, mode: Mode, wake: Callable[[], None]) -> Exchange:
        """Parse (unless the statement is prepared here), Bind, Describe, Execute and Sync, in one piece."""
        exchange = Exchange(mode, wake)
        batch = self.prepared.messages_for(bound)
        exchange.parsed = not batch.parses
        exchange.prepared_as = batch.key
        return self._start(batch.data, exchange)

    def run_on(self, portal: str, max_rows: int, wake: Callable[[], None]) -> Exchange:
        """Execute a suspended portal of this connection's transaction further."""
        data = execute_message(portal, max_rows) + wire.sync()
        return self._start(data, Exchange(Mode.SPLICE, wake))

    def fetch(self, portal: str, max_rows: int, wake: Callable[[], None]) -> Exchange:
        """The next rows of a portal of this connection's transaction, to be looked into."""
        exchange = Exchange(Mode.ROWS, wake)
        exchange.unlimited = True
        return self._start(execute_message(portal, max_rows) + wire.sync(), exchange)

    def describe_portal(self, portal: str, wake: Callable[[], None]) -> Exchange:
        """What the rows of a portal or cursor of this connection's transaction look like."""
        return self._start(describe_portal(portal) + wire.sync(), Exchange(Mode.ROWS, wake))

    def close_portal(self, portal: str, wake: Callable[[], None]) -> Exchange:
        """Close a portal or cursor of this connection's transaction."""
        return self._start(close_portal(portal) + wire.sync(), Exchange(Mode.SILENT, wake))

    def describe(self, sql: str, types: tuple[int, ...], wake: Callable[[], None]) -> Exchange:
        """Parse and describe a statement without running it, as the unnamed one."""
        data = parse_message("", sql, types) + describe_statement("") + wire.sync()
        return self._start(data, Exchange(Mode.ROWS, wake))

    def run_several(self, data: bytes, wake: Callable[[], None]) -> Exchange:
        """Run statements whose messages are `data`, up to one Sync."""
        return self._start(data + wire.sync(), Exchange(Mode.SPLICE, wake, several=True))

    def prepare(self, name: str, sql: str, types: tuple[int, ...], wake: Callable[[], None]) -> Exchange:
        """Parse a statement under a name, for EXECUTE."""
        return self._start(parse_message(name, sql, types) + wire.sync(), Exchange(Mode.SILENT, wake))

    def copy_in(self, data: bytes) -> None:
        """Messages of a COPY FROM STDIN that the node has agreed to: CopyData, CopyDone, CopyFail. While
        `writing_paused` no more of them should be given; the end of it wakes the exchange."""
        if not self.closed and self._transport is not None:
            self._transport.write(data)

    def _start(self, data: bytes, exchange: Exchange) -> Exchange:
        assert self._receiver is None, "an answer is still on its way to someone else"
        self._exchanges.append(exchange)
        if self.closed or self._transport is None:
            self._fail(exchange)
            return exchange
        exchange.on_drained = self._resume_reading
        self._transport.write(data)
        return exchange

    def relay(self, data: bytes, receiver: AnswerReceiver, replies: bytes = b"") -> None:
        """Send one statement on a connection that is not busy. An answer that comes whole, in one read and without
        an error goes to the receiver as it is; any other becomes an exchange that the receiver is given. It must
        begin with `replies`."""
        self._receiver = receiver
        self._replies = replies
        if self.closed or self._transport is None:
            self._fail(self.hand_over())
        else:
            self._transport.write(data)

    def hand_over(self) -> Exchange:
        """Make an exchange of the statement that was sent by `relay`."""
        receiver, self._receiver = self._receiver, None
        assert receiver is not None
        exchange = Exchange(Mode.SPLICE, receiver.wake)
        exchange.on_drained = self._resume_reading
        self._exchanges.append(exchange)
        receiver.handed_over(exchange)
        return exchange

    def cancel(self) -> Coroutine[Any, Any, None]:
        """Ask the node to cancel what runs here. From this call until the request is through, the connection is
        not clean: the request must not meet another statement."""
        self.cancels_running += 1
        return self._request_cancel()

    async def _request_cancel(self) -> None:
        try:
            if self._key is None:
                return
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await request_cancel(self.node, self._tls, wire.cancel_request(*self._key))
        except (OSError, TimeoutError):
            # The signal may still be on its way: this connection must not meet it in another statement.
            self.abort()
        finally:
            self.cancels_running -= 1
            self._tell_if_quiet()

    def discard(self) -> None:
        """Nobody wants what is still to come. It must be read all the same: a node that cannot send does not hear
        a cancel either."""
        for exchange in self._exchanges:
            exchange.discard()

    def forsake(self) -> None:
        """As `discard`, where nobody waits for its end either: whoever sent it is not woken any more."""
        for exchange in self._exchanges:
            exchange.discard()
            exchange.wake = _nobody

    def pause_reading(self) -> None:
        """Nothing runs here, and what the node says on its own account may wait."""
        if not self._reading_paused and self._transport is not None and not self.closed:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._resume_reading()

    def keep_alive(self, idle_s: float) -> None:
        keep_alive(self._transport, idle_s)

    def distrust(self) -> None:
        """What is in force here is not known any more: when it is given back, it is closed."""
        self.expires_at = float("-inf")
        self.expired = self.distrusted = True

    def close(self) -> None:
        """Say Terminate and close. That is no loss of the connection: `on_lost` hears nothing."""
        self.on_lost = None
        if not self.closed and self._transport is not None:
            self._transport.write(wire.terminate())
            self._transport.close()
        self.closed = True

    def abort(self, reason: ProxyError | None = None) -> None:
        self._last_error = self._last_error or reason
        if self._transport is not None:
            self._transport.abort()
        self.closed = True

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.closed:
            self._transport.abort()
            return
        if self._login is not None:
            self._login.end_point = end_point(transport)
        self._transport.write(
            wire.startup_message(
                {
                    "user": self._credential.user,
                    "database": self._cluster.database,
                    "client_encoding": "UTF8",
                }
            )
        )

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self._exchanges:
            self._exchanges[0].wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.writing_paused = False
        failure = self._last_error or self._lost()
        if not self._logged_in.done():
            self._logged_in.set_exception(failure)
            self._logged_in.exception()  # whoever gave up waiting will not ask
        if self._receiver is not None:
            self.hand_over()
        unfinished, self._exchanges = self._exchanges, deque()
        while_running = ConnectionLost.because(failure) if isinstance(failure, NodeFailure) else failure
        for exchange in unfinished:
            exchange.error = exchange.error or while_running
            exchange.broken = self._passing_bytes > 0
            exchange.finished = True
            exchange.wake()
        if self.on_lost is not None:
            self.on_lost(self)
        if self.on_closed is not None:
            self.on_closed()

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is not None:
            if not self._waiting.pieces and is_plain_answer(data, self._replies):
                self._receiver = None
                receiver.answered(self, data)
                return
            self.hand_over()
        if self._passing_bytes:
            data = self._pass_on(data)
        whole = self._waiting.feed(data)
        if whole is None:
            return
        exchange = self._exchanges[0] if self._exchanges else None
        try:
            self._scan(whole)
        except ProtocolViolation as broken:
            self.abort(NodeFailure(self.node.name, f"node {self.node.name} broke the protocol: {broken.message}"))
            return
        if exchange is not None:
            self._pause_reading_if_full(exchange)
            if exchange.ready and not exchange.finished:  # ReadyForQuery has woken it already
                exchange.wake()

    # Log-in

    def _authenticate(self, payload: bytes) -> None:
        if self._login is None:
            raise ProtocolViolation("unexpected Authentication")
        try:
            answer = self._login.respond(payload)
        except ProxyError as refused:
            self.abort(refused)
            return
        if answer is not None:
            cast(asyncio.Transport, self._transport).write(answer)

    def _end_login(self) -> None:
        """ReadyForQuery, although no statement runs: a second one would be taken for the next statement's."""
        if self._login is None or not self._login.done:
            raise ProtocolViolation("unexpected ReadyForQuery")
        self._login = None
        if not self._logged_in.done():
            self._logged_in.set_result(None)

    # Small things

    def _fail(self, exchange: Exchange) -> None:
        """The connection is gone; nothing was sent."""
        self._exchanges.remove(exchange)
        exchange.error = self._last_error or self._lost()
        exchange.finished = True
        exchange.wake()

    def _pause_reading_if_full(self, exchange: Exchange) -> None:
        if exchange.unlimited:
            return
        if exchange.buffered_bytes > HIGH_WATER_BYTES and not self._reading_paused and not exchange.finished:
            self._reading_paused = True
            cast(asyncio.Transport, self._transport).pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None and not self.closed:
            self._reading_paused = False
            self._transport.resume_reading()

    def _tell_if_quiet(self) -> None:
        if self.on_quiet is not None and not self._exchanges and not self.cancels_running:
            self.on_quiet(self)

    def _lost(self) -> NodeFailure:
        return NodeFailure(self.node.name, f"node {self.node.name} closed the connection unexpectedly")


def _nobody() -> None:
    """Wakes."""


def no_tls(node: Node, reason: str) -> NodeFailure:
    return NodeFailure(
        node.name,
        f"no TLS connection to node {node.name}: {reason}",
        hint="The shard map's cluster.tls says what is expected of the nodes' certificates.",
    )
