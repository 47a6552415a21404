"""A client of the proxy inside its own process: the frontend's side of the wire protocol, over memory.

What the session writes is kept until it is read, and the session is told to pause when that is much, as a socket
would do. What to ask is `query`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.wire import messages
from pgproxy.wire.frames import HEADER_BYTES, FrameReader

_HIGH_WATER_BYTES = 256 * 1024
_HEADER = bytes(HEADER_BYTES)


class _Transport(asyncio.Transport):
    """What the session takes for its socket. `take` is given what it writes."""

    def __init__(self, peer: tuple[str, int], take: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        super().__init__({"peername": peer})
        self._take = take
        self._ended = ended

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._take(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass  # what is sent here is small, and sent when the answer before it has come

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        self._ended()

    def abort(self) -> None:
        self._ended()


class Conversation:
    """One client, from start-up to `close`. Not for two callers at once.

    `max_message_bytes` bounds one row. Every wait is bounded by the caller.
    """

    def __init__(self, protocol: asyncio.Protocol, peer: tuple[str, int], max_message_bytes: int) -> None:
        self.pid = 0
        self.key = b""
        self._protocol = protocol
        self._reader = FrameReader(max_message_bytes)
        self._news = asyncio.Event()
        self._ended = False
        self._closed = False
        self._paused = False
        self._transport = _Transport(peer, self._take, self._end)

    async def start(self, user: str, database: str) -> None:
        """Log in. Raises the session's error."""
        self._protocol.connection_made(self._transport)
        parameters = {"user": user, "database": database, "application_name": "pgproxy http"}
        self._protocol.data_received(messages.startup_message(parameters))
        async for kind, payload in self.answer():
            if kind == messages.BACKEND_KEY_DATA:
                self.pid, self.key = messages.parse_backend_key_data(payload)

    def send(self, data: bytes) -> None:
        if not self._ended:
            self._protocol.data_received(data)

    async def answer(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """The messages up to ReadyForQuery as (type, payload), but DataRows whole, as `rows.fields_of` reads them.

        An error is raised once all have come, or at once if it is fatal.
        """
        error: ProxyError | None = None
        while True:
            kind, payload = await self._message()
            if kind == messages.READY_FOR_QUERY:
                break
            if kind == messages.ERROR_RESPONSE:
                error = _error(payload)
                if error.severity == "FATAL":
                    break
            else:
                yield kind, _HEADER + payload if kind == messages.DATA_ROW else payload
        if error is not None:
            raise error

    @property
    def ended(self) -> bool:
        return self._ended

    def end(self) -> None:
        """Ask nothing more: the rest of the answer is not wanted."""
        self._ended = True

    async def run(self, sql: str) -> None:
        """A statement of our own, whose answer is not looked at."""
        self.send(messages.query(sql))
        async for _ in self.answer():
            pass

    def close(self) -> None:
        """End the session, whatever it does; an open transaction is rolled back."""
        if not self._closed:
            self._closed = self._ended = True
            self._protocol.connection_lost(None)

    async def _message(self) -> tuple[int, bytes]:
        while (frame := self._take_frame()) is None:
            if self._ended:
                raise ProxyError("08006", "the session has ended", severity="FATAL")
            self._resume()
            self._news.clear()
            await self._news.wait()
        if self._paused and self._reader.ahead_bytes < _HIGH_WATER_BYTES // 4:
            self._resume()
        return frame

    def _take_frame(self) -> tuple[int, bytes] | None:
        try:
            return self._reader.take()
        except ProtocolViolation:
            self._ended = True
            hint = "http.max_response_bytes limits it."
            raise ProxyError("54000", "a row is larger than a response may be", hint=hint, severity="FATAL") from None

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._protocol.resume_writing()

    def _take(self, data: bytes) -> None:
        self._reader.feed(data)
        if not self._paused and self._reader.waiting_bytes > _HIGH_WATER_BYTES:
            self._paused = True
            self._protocol.pause_writing()
        self._news.set()

    def _end(self) -> None:
        self._ended = True
        self._news.set()


def _error(payload: bytes) -> ProxyError:
    fields = messages.parse_error_fields(payload)
    position = fields.get("P", "")
    return ProxyError(
        fields.get("C", "XX000"),
        fields.get("M", ""),
        hint=fields.get("H"),
        detail=fields.get("D"),
        position=int(position) if position.isdigit() else None,
        severity=fields.get("V") or fields.get("S", "ERROR"),
    )
