"""The client's end of one conversation: bytes in, frames out; bytes out, held back when the client is slow.

The conversation is a coroutine that is stepped inline by whoever has news for it (`wake`), without a hop
through the event loop: a hop costs more than planning a cached statement does.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

from pgproxy.keepalive import keep_alive
from pgproxy.session.client_tls import ClientTls
from pgproxy.session.half_closed import watch
from pgproxy.tls.engine import TlsEngine
from pgproxy.tls.stream import TlsStream
from pgproxy.wire.frames import FrameReader

LOG_IN_MESSAGE_BYTES = 65_535  # PostgreSQL's PG_MAX_AUTH_TOKEN_LENGTH: until the client has logged in
WRITE_HIGH_WATER_BYTES = 256 * 1024
MOST_UNFLUSHED = 1_000  # answers that wait for the client's Sync; more go out before it
READ_AHEAD_BYTES = 1024 * 1024  # unread input of a client whose statement still runs

log = logging.getLogger("pgproxy.session")


class ClientGone(Exception):
    """The client closed its connection, or we closed it."""


@types.coroutine
def _suspend() -> Generator[None, None, None]:
    yield


class Client(asyncio.Protocol):
    """One accepted connection.

    Everything that a conversation waits for is a condition: `while not condition: await client.wait()`.
    Waking it once too often is harmless, so whoever may have changed a condition just calls `wake`.
    """

    __slots__ = (
        "_conversation",
        "_converse",
        "_flushes",
        "_out",
        "_paused",
        "_reading_paused",
        "_stepping",
        "_transport",
        "address",
        "disturbed",
        "ended",
        "gone",
        "in_process",
        "reader",
        "shortcut",
        "started",
        "tls",
        "untyped",
    )

    def __init__(self, converse: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        self.address = ""
        self.started = False  # the start-up packet is through: bytes are typed messages
        self.reader = FrameReader(LOG_IN_MESSAGE_BYTES)
        self.untyped = bytearray()  # the start-up packets, before `started`
        self.gone = False
        self.ended = False  # it sends no more, but may still read what it has asked for
        self.in_process = False  # no connection from outside: the proxy's own HTTP side, which has asked for its token
        self.tls: ClientTls | None = None  # not encrypted
        self.shortcut: Callable[[bytes], bool] | None = None  # takes what came if it can, while nothing else waits
        self.disturbed = False  # since its statement began: more input, its end, or answers that do not go out
        self._converse = converse
        self._conversation: Coroutine[Any, Any, None] | None = None
        self._stepping = False
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._flushes = 0
        self._paused = False
        self._reading_paused = False

    # Waiting

    def wake(self) -> None:
        """Let the conversation look at its conditions again, now. A call from inside it does nothing: it
        checks its condition before it waits."""
        if self._stepping or self._conversation is None:
            return
        self._stepping = True
        try:
            self._conversation.send(None)
        except StopIteration:
            self._conversation = None
        except Exception:
            self._conversation = None
            log.exception("a conversation ended by a bug; client %s", self.address)
            self.abort()
        finally:
            self._stepping = False

    def keep_alive(self, idle_s: float) -> None:
        if not self.in_process:
            keep_alive(self._transport, idle_s)

    def encrypt(self, context: ssl.SSLContext, first: bytes) -> TlsStream:
        """TLS from here on, `first` being what has come of it. Wakes when the handshake is through or has failed."""
        transport = cast(asyncio.Transport, self._transport)
        engine = TlsEngine(context, server_side=True)
        self._transport = stream = TlsStream(transport, self, engine, self.wake)
        if first:
            stream.data_received(first)
        return stream

    async def wait(self) -> None:
        """Suspend until woken. Raises ClientGone when there is nobody left to talk to."""
        await _suspend()
        if self.gone:
            raise ClientGone

    # Reading

    def start(self, rest: bytes) -> None:
        """The start-up packet is through; `rest` came behind it."""
        self.started = True
        self.untyped.clear()
        if rest:
            self.reader.feed(rest)

    def poll(self) -> tuple[int, bytes] | None:
        """The next message if it is there already."""
        frame = self.reader.take()
        if frame is None and self._reading_paused:
            self._reading_paused = False
            cast(asyncio.Transport, self._transport).resume_reading()
        return frame

    async def message(self) -> tuple[int, bytes]:
        """The next message as (type byte, payload). Raises ClientGone when there will be none."""
        while (frame := self.poll()) is None:
            await self.more()
        return frame

    async def more(self) -> None:
        """Wait for input. Raises ClientGone when the client has said its last."""
        if self.ended:
            raise ClientGone
        await self.wait()

    # Writing

    def send(self, data: bytes) -> None:
        """Add to what goes out with the next flush."""
        self._out.append(data)

    def flush(self) -> None:
        out = self._out
        if out and not self.gone:
            transport = cast(asyncio.Transport, self._transport)
            transport.write(out[0] if len(out) == 1 else b"".join(out))
            self._flushes += 1
        out.clear()

    def mark(self) -> tuple[int, int]:
        """Where the output stands, for `take_back`."""
        return self._flushes, len(self._out)

    def take_back(self, mark: tuple[int, int]) -> bool:
        """Forget what was sent since the mark; False when some of it has left."""
        flushes, length = mark
        if flushes != self._flushes:
            return False
        del self._out[length:]
        return True

    def write_through(self, data: bytes) -> None:
        """Write a whole answer at once; nothing waits to be flushed before it."""
        if not self.gone:
            self._transport.write(data)  # type: ignore[union-attr]  # a cast would be a call on every statement's way

    @property
    def slow(self) -> bool:
        """The client reads more slowly than we write, or asks for much before Sync: `drain` before there is more."""
        return self._paused or len(self._out) > MOST_UNFLUSHED

    async def drain(self) -> None:
        """Flush, and wait as long as the client reads more slowly than we write."""
        self.flush()
        while self._paused:
            await self.wait()

    def close(self) -> None:
        """Send what waits and close."""
        self.flush()
        if self._transport is not None:
            self._transport.close()
        self.gone = True

    def abort(self) -> None:
        """Close without another word: for a stream that was cut inside a message."""
        self._out.clear()
        if self._transport is not None:
            self._transport.abort()
        self.gone = True

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        peer = transport.get_extra_info("peername")
        self.address = f"{peer[0]}:{peer[1]}" if peer else "local"
        self._conversation = self._converse(self)
        self.wake()

    def data_received(self, data: bytes) -> None:
        shortcut = self.shortcut
        if shortcut is not None and shortcut(data):
            return
        self.disturbed = True
        if self.started:
            self.reader.feed(data)
            self.wake()
            if self.reader.ahead_bytes > READ_AHEAD_BYTES and not self._reading_paused:
                self._pause_reading()
        else:
            self.untyped += data
            self.wake()

    def _pause_reading(self) -> None:
        """A statement runs and the client goes on sending: it may wait. (One large message is another matter.)"""
        if self.reader.has_whole_message and not self.gone:
            self._reading_paused = True
            cast(asyncio.Transport, self._transport).pause_reading()

    def eof_received(self) -> bool:
        if not self.ended:
            self.ended = self.disturbed = True
            self.wake()
            watch(cast(asyncio.Transport, self._transport), lambda: self.gone, self._vanished)
        return True  # like PostgreSQL, which sees the end when it reads the next message: the answer is still sent

    def _vanished(self) -> None:
        self.abort()
        self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._paused = False
        self.wake()

    def pause_writing(self) -> None:
        self._paused = self.disturbed = True

    def resume_writing(self) -> None:
        self._paused = False
        self.wake()
