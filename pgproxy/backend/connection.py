"""One connection to a node: log-in, Queries in order, their answers cut into exchanges, cancel.

Who may use it and when it is clean again is the pool's business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from struct import Struct
from typing import Any, Protocol, cast

from pgproxy.backend.cancel import request_cancel
from pgproxy.backend.exchange import BOUND, ENDED, HIGH_WATER_BYTES, PARSED, Exchange, Mode, ServerError
from pgproxy.backend.prepared import BoundStatement, PreparedStatements
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
    parse_parameter_description,
)
from pgproxy.wire.frames import HEADER_BYTES, Reassembler, scan_rows
from pgproxy.wire.rows import DATA_ROW, Batch, parse_row_description

_LENGTH = Struct("!I").unpack_from
IDLE = 0x49  # ReadyForQuery's "I"
PASSED_IN_PIECES_BYTES = 256 * 1024  # a larger DataRow is spliced as it comes, not collected first
CANCEL_TIMEOUT_S = 2.0
_SHUTS_DOWN = "57P01"


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


class BackendConnection(asyncio.Protocol):
    """The proxy's side of one connection to a node.

    `status` is the transaction status byte of the last ReadyForQuery, `applied` the settings that are in
    force beyond the node's defaults, `parameters` the last ParameterStatus of each name.
    """

    # More attributes than Python keeps in an object without a dictionary: slots halve what a statement touches here.
    __slots__ = (
        "_cluster",
        "_credential",
        "_exchanges",
        "_key",
        "_last_error",
        "_logged_in",
        "_login",
        "_loop",
        "_passing_bytes",
        "_reading_paused",
        "_receiver",
        "_replies",
        "_tls",
        "_transport",
        "_waiting",
        "applied",
        "cancels_running",
        "closed",
        "distrusted",
        "expired",
        "expires_at",
        "idle_since",
        "node",
        "on_closed",
        "on_lost",
        "on_notification",
        "on_quiet",
        "parameters",
        "prepared",
        "status",
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
        self.node = node
        self._tls = tls
        self.parameters: dict[str, str] = {}
        self.applied: Mapping[str, str] = {}
        self.status = IDLE
        self.closed = False
        self.cancels_running = 0
        self.idle_since = loop.time()
        self.expires_at = float("inf")
        self.expired = False
        self.on_quiet: Callable[[BackendConnection], None] | None = None
        self.on_lost: Callable[[BackendConnection], None] | None = None
        self.on_closed: Callable[[], None] | None = None  # wakes whoever holds it
        self.on_notification: Callable[[bytes], None] | None = None  # gets payloads, for who listens here
        self.distrusted = False
        self._cluster = cluster
        self._loop = loop
        self._exchanges: deque[Exchange] = deque()
        self._receiver: AnswerReceiver | None = None
        self._replies = b""
        self.prepared = PreparedStatements(self._reading_style)
        self._waiting = Reassembler()
        self._passing_bytes = 0  # of a huge row that is being spliced in pieces
        self._reading_paused = False
        self.writing_paused = False
        self._credential = credential or Credential(cluster.user, cluster.password)
        self._login: Login | None = Login(self._credential)
        self._logged_in: asyncio.Future[None] = loop.create_future()
        self._key: tuple[int, bytes] | None = None
        self._last_error: ProxyError | None = None
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
        return self._last_error is not None and self._last_error.sqlstate == _SHUTS_DOWN

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
        """Close at once; what runs here fails with `reason`."""
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
            if not self._waiting.pieces and _is_plain_answer(data, self._replies):
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

    # Scanning

    def _scan(self, data: bytes) -> None:
        """Go through whole messages; hold what is left over."""
        at = 0
        while at < len(data):
            exchange = self._exchanges[0] if self._exchanges else None
            if exchange is None:
                following = self._scan_unasked(data, at)
            elif exchange.mode is Mode.SPLICE:
                following = self._splice(data, at, exchange)
            else:
                following = self._take_apart(data, at, exchange)
            if following == at:
                self._hold(data, at, exchange)
                return
            at = following

    def _hold(self, data: bytes, at: int, exchange: Exchange | None) -> None:
        """An unfinished message: keep it until it is whole, or pass a huge spliced row on as it comes."""
        available = len(data) - at
        if available < HEADER_BYTES:
            self._waiting.keep(data[at:], HEADER_BYTES - available)
            return
        size = 1 + _length(data, at)
        spliced = exchange is not None and exchange.mode is Mode.SPLICE and data[at] in _ROWS
        if exchange is not None and spliced and size > PASSED_IN_PIECES_BYTES:
            exchange.put(data[at:], available)
            self._passing_bytes = size - available
            return
        self._waiting.keep(data[at:], size - available)

    def _pass_on(self, data: bytes) -> bytes:
        """Give the exchange its share of a huge row; what follows is left to scan."""
        piece = data[: self._passing_bytes]
        self._passing_bytes -= len(piece)
        self._exchanges[0].put(piece, len(piece))
        if len(piece) == len(data):
            self._pause_reading_if_full(self._exchanges[0])
            self._exchanges[0].wake()
        return data[len(piece) :]

    def _splice(self, data: bytes, at: int, exchange: Exchange) -> int:
        """Let whole messages pass as one piece, up to an error, ReadyForQuery or the end of the data."""
        start = at
        last = len(data) - HEADER_BYTES
        while at <= last:
            kind = data[at]
            if kind in _ROWS:
                following, _ = scan_rows(data, at, kind)
                if following == at:
                    break
                at = following
                continue
            following = at + 1 + _length(data, at)
            if following > len(data):
                break
            if kind in _NOT_SPLICED:
                if at > start:
                    exchange.put(data[start:at], at - start)
                _HANDLERS[kind](self, data[at + HEADER_BYTES : following], exchange)
                return following
            if kind not in _SPLICED:
                raise ProtocolViolation(f"unexpected message type 0x{kind:02X}")
            at = following
            if exchange.several and kind in _ENDS:
                exchange.put(data[start:at], at - start)
                exchange.mark(ENDED)
                start = at
        if at > start:
            exchange.put(data[start:at], at - start)
        return at

    def _take_apart(self, data: bytes, at: int, exchange: Exchange) -> int:
        """Handle whole messages and runs of DataRows, up to ReadyForQuery or the end of the data."""
        end = len(data)
        while end - at >= HEADER_BYTES:
            kind = data[at]
            if kind in _ROWS:
                following, count = scan_rows(data, at, kind)
                if not count:
                    break
                if exchange.mode is Mode.COPY:
                    exchange.put(data[at:following], following - at)
                elif exchange.mode is Mode.ROWS:
                    rows = data if at == 0 and following == end else data[at:following]
                    exchange.put(Batch(rows, count), following - at)
            else:
                following = self._handle(data, at, exchange)
                if following == at:
                    break
            at = following
            if kind == wire.READY_FOR_QUERY:
                break
        return at

    def _handle(self, data: bytes, at: int, exchange: Exchange | None) -> int:
        if len(data) - at < HEADER_BYTES:
            return at
        following = at + 1 + _length(data, at)
        if following > len(data):
            return at
        handler = _HANDLERS.get(data[at])
        if handler is None:
            raise ProtocolViolation(f"unexpected message type 0x{data[at]:02X}")
        handler(self, data[at + HEADER_BYTES : following], exchange)
        return following

    def _scan_unasked(self, data: bytes, at: int) -> int:
        """Log-in, and what a node says between statements (ParameterStatus, notices, its good-bye)."""
        return self._handle(data, at, None)

    # Messages, by type; `exchange` is None between statements

    def _on_authentication(self, payload: bytes, exchange: Exchange | None) -> None:
        if self._login is None:
            raise ProtocolViolation("unexpected Authentication")
        try:
            answer = self._login.respond(payload)
        except ProxyError as refused:
            self.abort(refused)
            return
        if answer is not None:
            cast(asyncio.Transport, self._transport).write(answer)

    def _on_key(self, payload: bytes, exchange: Exchange | None) -> None:
        pid, key = wire.parse_backend_key_data(payload)
        # CockroachDB before 22.1 sends zeros and cannot cancel.
        self._key = (pid, key) if pid or any(key) else None

    def _note_parameter(self, payload: bytes, exchange: Exchange | None = None) -> None:
        name, value = wire.parse_parameter_status(payload)
        self.parameters[name] = value
        if len(self.parameters) > _MOST_PARAMETERS:
            raise ProtocolViolation("too many parameters")
        if exchange is not None:
            exchange.put_aside(wire.parameter_status(name, value))

    def _on_error(self, payload: bytes, exchange: Exchange | None) -> None:
        error = ServerError(wire.parse_error_fields(payload), self.node.name)
        if exchange is None:
            self.abort(error)  # its good-bye: nothing that is sent from now on would be answered
        elif exchange.error is None:
            exchange.error = error
            if error.sqlstate == _SHUTS_DOWN:
                self._last_error = error
            if exchange.prepared_as is not None and (not exchange.parsed or error.is_stale_plan):
                self.prepared.forget(exchange.prepared_as)

    def _on_notice(self, payload: bytes, exchange: Exchange | None) -> None:
        if exchange is not None and not exchange.discarding:
            exchange.put_aside(wire.notice_response(wire.parse_error_fields(payload)))

    def _on_description(self, payload: bytes, exchange: Exchange | None) -> None:
        if exchange is None:
            raise ProtocolViolation("unexpected RowDescription")
        exchange.description = parse_row_description(payload)

    def _on_parsed(self, payload: bytes, exchange: Exchange | None) -> None:
        if exchange is not None:
            exchange.parsed = True
            exchange.mark(PARSED)

    def _on_bound(self, payload: bytes, exchange: Exchange | None) -> None:
        if exchange is not None:
            exchange.bound = True
            exchange.mark(BOUND)

    def _on_suspended(self, payload: bytes, exchange: Exchange | None) -> None:
        if exchange is not None:
            exchange.suspended = True

    def _on_parameter_description(self, payload: bytes, exchange: Exchange | None) -> None:
        if exchange is not None:
            exchange.parameter_types = parse_parameter_description(payload)

    def _on_complete(self, payload: bytes, exchange: Exchange | None) -> None:
        if exchange is None:
            raise ProtocolViolation("unexpected CommandComplete")
        exchange.tag = wire.parse_command_complete(payload)

    def _on_copy(self, payload: bytes, exchange: Exchange | None) -> None:
        if exchange is None or exchange.mode is not Mode.COPY:
            # Nobody would give the node the data that it waits for. A function cannot start a COPY.
            raise ProtocolViolation("unexpected COPY")
        exchange.copy_response = payload
        exchange.wake()

    def _on_ready(self, payload: bytes, exchange: Exchange | None) -> None:
        if payload not in _STATUSES:
            raise ProtocolViolation("malformed ReadyForQuery")
        self.status = payload[0]
        if exchange is None:
            self._end_login()
            return
        self._exchanges.popleft()
        exchange.finished = True
        exchange.on_drained = None
        self._resume_reading()
        exchange.wake()
        self._tell_if_quiet()

    def _on_notified(self, payload: bytes, exchange: Exchange | None) -> None:
        if self.on_notification is not None:
            self.on_notification(payload)

    def _end_login(self) -> None:
        """ReadyForQuery, although no statement runs: a second one would be taken for the next statement's."""
        if self._login is None or not self._login.done:
            raise ProtocolViolation("unexpected ReadyForQuery")
        self._login = None
        if not self._logged_in.done():
            self._logged_in.set_result(None)

    def _ignore(self, payload: bytes, exchange: Exchange | None) -> None:
        pass

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


def no_tls(node: Node, reason: str) -> NodeFailure:
    return NodeFailure(
        node.name,
        f"no TLS connection to node {node.name}: {reason}",
        hint="The shard map's cluster.tls says what is expected of the nodes' certificates.",
    )


def _length(data: bytes, at: int) -> int:
    """What the header at `at` says. As libpq does, a length that no node means is told from its type, so that a lost
    place in the stream is noticed before the memory is full."""
    length = int(_LENGTH(data, at + 1)[0])
    if not 4 <= length <= (_LONGEST if data[at] in _LONG else _LONGEST_OF_OTHERS):
        raise ProtocolViolation(f"message type 0x{data[at]:02X} of {length} bytes")
    return length


def _is_plain_answer(data: bytes, replies: bytes) -> bool:
    """These replies, whole messages that may pass as they are, and a ReadyForQuery (idle) as the last of them."""
    end = len(data) - _READY_BYTES
    if data[end:] != _READY_IDLE or not data.startswith(replies):
        return False
    at = len(replies)
    while at < end:
        if data[at] not in _PLAIN:
            return False
        at += 1 + _LENGTH(data, at + 1)[0]
    return at == end


_ROWS = (DATA_ROW, wire.COPY_DATA)
# The longest field that PostgreSQL can send has 1 GB, in a row of some; other messages are short.
_LONGEST = 0x7FFFFFFF
_LONGEST_OF_OTHERS = 1024 * 1024
_MOST_PARAMETERS = 1_000
_LONG = frozenset(
    {
        DATA_ROW,
        wire.COPY_DATA,
        wire.ROW_DESCRIPTION,
        wire.ERROR_RESPONSE,
        wire.NOTICE_RESPONSE,
        wire.NOTIFICATION_RESPONSE,
    }
)
_STATUSES = frozenset({b"I", b"T", b"E"})
_READY_IDLE = wire.ready_for_query(b"I")
_READY_BYTES = len(_READY_IDLE)
_ENDS = frozenset({wire.COMMAND_COMPLETE, wire.EMPTY_QUERY_RESPONSE})
_PLAIN = _ENDS | {wire.ROW_DESCRIPTION, DATA_ROW, wire.NO_DATA}
_SPLICED = _PLAIN | {
    wire.NOTICE_RESPONSE,
    wire.NOTIFICATION_RESPONSE,
    wire.PARAMETER_DESCRIPTION,
    wire.COPY_OUT_RESPONSE,
    wire.COPY_DATA,
    wire.COPY_DONE,
}
_NOT_SPLICED = frozenset(
    {
        wire.ERROR_RESPONSE,
        wire.READY_FOR_QUERY,
        wire.PARAMETER_STATUS,
        wire.NOTIFICATION_RESPONSE,
        wire.PARSE_COMPLETE,
        wire.BIND_COMPLETE,
        wire.CLOSE_COMPLETE,
        wire.PORTAL_SUSPENDED,
        wire.COPY_IN_RESPONSE,
        wire.COPY_BOTH_RESPONSE,
    }
)

_Handler = Callable[[BackendConnection, bytes, Exchange | None], None]

_HANDLERS: Mapping[int, _Handler] = {
    wire.AUTHENTICATION: BackendConnection._on_authentication,
    wire.BACKEND_KEY_DATA: BackendConnection._on_key,
    wire.PARAMETER_STATUS: BackendConnection._note_parameter,
    wire.ERROR_RESPONSE: BackendConnection._on_error,
    wire.NOTICE_RESPONSE: BackendConnection._on_notice,
    wire.NOTIFICATION_RESPONSE: BackendConnection._on_notified,
    wire.NEGOTIATE_PROTOCOL_VERSION: BackendConnection._ignore,
    wire.ROW_DESCRIPTION: BackendConnection._on_description,
    wire.COMMAND_COMPLETE: BackendConnection._on_complete,
    wire.EMPTY_QUERY_RESPONSE: BackendConnection._ignore,
    wire.PARSE_COMPLETE: BackendConnection._on_parsed,
    wire.BIND_COMPLETE: BackendConnection._on_bound,
    wire.CLOSE_COMPLETE: BackendConnection._ignore,
    wire.PORTAL_SUSPENDED: BackendConnection._on_suspended,
    wire.NO_DATA: BackendConnection._ignore,
    wire.PARAMETER_DESCRIPTION: BackendConnection._on_parameter_description,
    wire.COPY_IN_RESPONSE: BackendConnection._on_copy,
    wire.COPY_OUT_RESPONSE: BackendConnection._on_copy,
    wire.COPY_BOTH_RESPONSE: BackendConnection._on_copy,
    wire.COPY_DONE: BackendConnection._ignore,
    wire.READY_FOR_QUERY: BackendConnection._on_ready,
}
