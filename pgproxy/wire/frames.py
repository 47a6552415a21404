"""Where messages begin and end in a byte stream: type byte, four-byte length, payload.

Sans-I/O: bytes in, frames out. What a payload means is left to `wire.messages` and `wire.rows`.
"""

from __future__ import annotations

from struct import Struct

from pgproxy.errors import ProtocolViolation
from pgproxy.wire.rows import DATA_ROW

_LENGTH = Struct("!I").unpack_from
HEADER_BYTES = 5
_SMALL_BYTES = 4_096  # a piece that is no object of its own: one byte would take forty


class Reassembler:
    """Joins what one read cut apart, without copying a large message once per read.

    `feed` gives everything that waited plus the new data as soon as at least `missing` bytes have come
    since `keep`; until then it gives None and holds the `pieces`.
    """

    __slots__ = ("_missing", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._missing = 0

    @property
    def holds(self) -> bool:
        """The beginning of a message waits here."""
        return bool(self.pieces)

    @property
    def first_byte(self) -> int | None:
        return self.pieces[0][0] if self.pieces else None

    @property
    def held_bytes(self) -> int:
        return sum(map(len, self.pieces))

    def feed(self, data: bytes) -> bytes | None:
        if not self.pieces:
            return data
        if len(self.pieces[-1]) < _SMALL_BYTES:
            self.pieces[-1] += data
        else:
            self.pieces.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return None
        whole = b"".join(self.pieces)
        self.pieces.clear()
        return whole

    def keep(self, rest: bytes, missing: int) -> None:
        """Hold the beginning of a message; `missing` more bytes (at least 1) are needed to go on."""
        self.pieces.append(rest)
        self._missing = missing


class FrameReader:
    """Cuts the client's byte stream into typed messages, none larger than `max_message_bytes`.

    A length below 4 or above the limit raises ProtocolViolation as soon as the header is there, before
    any more of the payload is kept. The limit may be changed at any time.
    """

    __slots__ = ("_at", "_buffer", "_waiting", "max_message_bytes")

    def __init__(self, max_message_bytes: int) -> None:
        self._waiting = Reassembler()
        self._buffer = b""
        self._at = 0
        self.max_message_bytes = max_message_bytes

    def feed(self, data: bytes) -> None:
        if self._waiting.holds:
            whole = self._waiting.feed(data)
            if whole is None:
                return
            data = whole
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    @property
    def next_kind(self) -> int | None:
        """The type of the message that follows those taken, as far as it has begun to arrive."""
        if self._at < len(self._buffer):
            return self._buffer[self._at]
        return self._waiting.first_byte

    @property
    def empty(self) -> bool:
        """All that was fed has been taken."""
        return self._at >= len(self._buffer) and not self._waiting.holds

    @property
    def ahead_bytes(self) -> int:
        """Bytes that whole messages may be taken from; the beginning of a large message is not among them."""
        return len(self._buffer) - self._at

    @property
    def waiting_bytes(self) -> int:
        """Bytes fed but not yet taken as frames."""
        return len(self._buffer) - self._at + self._waiting.held_bytes

    @property
    def has_whole_message(self) -> bool:
        """`take` would give a message (what waits is not merely the beginning of a large one)."""
        available = len(self._buffer) - self._at
        return available >= HEADER_BYTES and int(_LENGTH(self._buffer, self._at + 1)[0]) < available

    @property
    def ahead(self) -> tuple[bytes, int]:
        """What has been fed, and the offset up to which it has been taken. `skip` takes more of it."""
        return self._buffer, self._at

    def skip(self, end: int) -> None:
        """Whole messages up to this offset have been taken."""
        self._at = end

    def take(self) -> tuple[int, bytes] | None:
        """The next whole message as (type byte, payload), or None until more is fed."""
        buffer, at = self._buffer, self._at
        available = len(buffer) - at
        if available < HEADER_BYTES:
            if available:
                self._keep(HEADER_BYTES - available)
            return None
        length: int = _LENGTH(buffer, at + 1)[0]
        if length < 4:
            raise ProtocolViolation("invalid message length")
        if length > self.max_message_bytes:
            raise ProtocolViolation(f"message of {length} bytes exceeds the limit of {self.max_message_bytes}")
        end = at + 1 + length
        if end > len(buffer):
            self._keep(end - len(buffer))
            return None
        self._at = end
        return buffer[at], buffer[at + HEADER_BYTES : end]

    def _keep(self, missing: int) -> None:
        self._waiting.keep(self._buffer[self._at :], missing)
        self._buffer, self._at = b"", 0


def first_message_end(data: bytes) -> int:
    """Where the message that `data` begins with ends."""
    return 1 + int(_LENGTH(data, 1)[0])


def scan_rows(data: bytes, at: int, kind: int = DATA_ROW) -> tuple[int, int]:
    """Step over whole DataRow (or CopyData) messages from offset `at`: (offset behind the last of them, how many).

    The hot loop of every large result: only headers are looked at.
    """
    count = 0
    end = len(data)
    last = end - HEADER_BYTES
    while at <= last and data[at] == kind:
        following = at + 1 + _LENGTH(data, at + 1)[0]
        if following > end:
            break
        at = following
        count += 1
    return at, count
