"""What a node sends, cut into messages: each goes to the exchange that it answers, or is about the connection itself.

Sans-I/O. When to read, sending, log-in and cancel are `backend.connection`'s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from struct import Struct

from pgproxy.backend.exchange import BOUND, ENDED, PARSED, Exchange, Mode, ServerError
from pgproxy.backend.prepared import PreparedStatements, Style
from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.shardmap.model import Node
from pgproxy.wire import messages as wire
from pgproxy.wire.extended import parse_parameter_description
from pgproxy.wire.frames import HEADER_BYTES, Reassembler, scan_rows
from pgproxy.wire.rows import DATA_ROW, Batch, parse_row_description

_LENGTH = Struct("!I").unpack_from
_HEADER = Struct("!BI").unpack_from
IDLE = 0x49  # ReadyForQuery's "I"
SHUTS_DOWN = "57P01"
PASSED_IN_PIECES_BYTES = 256 * 1024  # a larger DataRow is spliced as it comes, not collected first


class Scanner(ABC):
    """The receiving half of a connection to a node, in one object with the other half: a call between the two would be
    on every statement's way.

    `status` is the transaction status byte of the last ReadyForQuery, `parameters` the last ParameterStatus of each
    name.
    """

    __slots__ = (
        "_exchanges",
        "_key",
        "_last_error",
        "_passing_bytes",
        "_waiting",
        "node",
        "on_notification",
        "parameters",
        "prepared",
        "status",
    )

    def __init__(self, node: Node, style: Callable[[], Style]) -> None:
        self.node = node
        self.parameters: dict[str, str] = {}
        self.status = IDLE
        self.prepared = PreparedStatements(style)
        self.on_notification: Callable[[bytes], None] | None = None  # gets payloads, for who listens here
        self._exchanges: deque[Exchange] = deque()
        self._waiting = Reassembler()
        self._passing_bytes = 0  # of a huge row that is being spliced in pieces
        self._key: tuple[int, bytes] | None = None
        self._last_error: ProxyError | None = None

    @abstractmethod
    def abort(self, reason: ProxyError | None = None) -> None:
        """Close at once; what runs here fails with `reason`."""

    @abstractmethod
    def _authenticate(self, payload: bytes) -> None:
        """An Authentication message came."""

    @abstractmethod
    def _end_login(self) -> None:
        """ReadyForQuery came, although no statement runs."""

    @abstractmethod
    def _pause_reading_if_full(self, exchange: Exchange) -> None: ...

    @abstractmethod
    def _resume_reading(self) -> None: ...

    @abstractmethod
    def _tell_if_quiet(self) -> None:
        """A statement has ended."""

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
        self._authenticate(payload)

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
            if error.sqlstate == SHUTS_DOWN:
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


def _ignore(scanner: Scanner, payload: bytes, exchange: Exchange | None) -> None:
    pass


def _length(data: bytes, at: int) -> int:
    """What the header at `at` says. As libpq does, a length that no node means is told from its type, so that a lost
    place in the stream is noticed before the memory is full."""
    length = int(_LENGTH(data, at + 1)[0])
    if not 4 <= length <= (_LONGEST if data[at] in _LONG else _LONGEST_OF_OTHERS):
        raise ProtocolViolation(f"message type 0x{data[at]:02X} of {length} bytes")
    return length


def is_plain_answer(data: bytes, replies: bytes) -> bool:
    """These replies, whole messages that may pass as they are, and a ReadyForQuery (idle) as the last of them."""
    if data.endswith(_ONE_SELECTED):  # the usual end, CommandComplete before it: one message less to look at
        end = len(data) - _ONE_SELECTED_BYTES
    elif data.endswith(_READY_IDLE):
        end = len(data) - _READY_BYTES
    else:
        return False
    if not data.startswith(replies):
        return False
    at = len(replies)
    while at < end:
        kind, length = _HEADER(data, at)
        if kind not in _PLAIN:
            return False
        at += 1 + length
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
_ONE_SELECTED = wire.command_complete("SELECT 1") + _READY_IDLE
_ONE_SELECTED_BYTES = len(_ONE_SELECTED)
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

_Handler = Callable[[Scanner, bytes, Exchange | None], None]

_HANDLERS: Mapping[int, _Handler] = {
    wire.AUTHENTICATION: Scanner._on_authentication,
    wire.BACKEND_KEY_DATA: Scanner._on_key,
    wire.PARAMETER_STATUS: Scanner._note_parameter,
    wire.ERROR_RESPONSE: Scanner._on_error,
    wire.NOTICE_RESPONSE: Scanner._on_notice,
    wire.NOTIFICATION_RESPONSE: Scanner._on_notified,
    wire.NEGOTIATE_PROTOCOL_VERSION: _ignore,
    wire.ROW_DESCRIPTION: Scanner._on_description,
    wire.COMMAND_COMPLETE: Scanner._on_complete,
    wire.EMPTY_QUERY_RESPONSE: _ignore,
    wire.PARSE_COMPLETE: Scanner._on_parsed,
    wire.BIND_COMPLETE: Scanner._on_bound,
    wire.CLOSE_COMPLETE: _ignore,
    wire.PORTAL_SUSPENDED: Scanner._on_suspended,
    wire.NO_DATA: _ignore,
    wire.PARAMETER_DESCRIPTION: Scanner._on_parameter_description,
    wire.COPY_IN_RESPONSE: Scanner._on_copy,
    wire.COPY_OUT_RESPONSE: Scanner._on_copy,
    wire.COPY_BOTH_RESPONSE: Scanner._on_copy,
    wire.COPY_DONE: _ignore,
    wire.READY_FOR_QUERY: Scanner._on_ready,
}
