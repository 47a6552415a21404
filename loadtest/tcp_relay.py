"""A TCP relay in front of a server, which can be made to misbehave as a node of a real cluster was seen to do.

It is used where one server stands for several gateways: each relay is one "node" that can be cut, stalled or slowed
without harm to the others. It runs in a thread of its own; every method may be called from any other thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

HOST = "127.0.0.1"
_PIECE_BYTES = 64 * 1024
_LINGER_NOT = struct.pack("ii", 1, 0)  # close sends RST
_CALL_TIMEOUT_S = 60.0


def error_message(sqlstate: str, message: str, severity: str = "FATAL") -> bytes:
    """An ErrorResponse as CockroachDB and PostgreSQL send it."""
    fields = b"".join(
        code + text.encode() + b"\0" for code, text in ((b"S", severity), (b"C", sqlstate), (b"M", message))
    )
    return b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0"


def parameter_status(name: str, value: str) -> bytes:
    payload = name.encode() + b"\0" + value.encode() + b"\0"
    return b"S" + struct.pack("!I", len(payload) + 4) + payload


READY = b"Z\0\0\0\x05I"
_AUTHENTICATION_OK = b"R\0\0\0\x08\0\0\0\0"
DRAINING = error_message("57P01", "server is shutting down")


@dataclass(slots=True, eq=False)
class _Link:
    """One client's connection and the server's behind it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    held: bytes = b""  # of the client, not passed on yet


class TcpRelay:
    """`port` is the relay's own and stays the same for its whole life. Use as a `with`.

    `announces` is told to every client that has logged in, as if the server had said it.
    """

    def __init__(self, target_port: int, port: int, *, announces: bytes = b"") -> None:
        self.port = port
        self._announces = announces
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"relay {port}", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._running: asyncio.Event
        self._delay_s = 0.0
        self._bytes_left: int | None = None  # of answers, until the cut
        self._greeting: bytes | None = None
        self._reply: bytes | None = None
        self._served = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_TIMEOUT_S)
        self._loop.close()

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._links)

    @property
    def served(self) -> int:
        """Pieces of clients' bytes that were passed on so far."""
        return self._served

    def holds(self, part: bytes) -> bool:
        """Whether such bytes of a client have come and were not passed on yet, because it stalls or delays them."""
        return self._call(self._holds(part))

    # How it can misbehave; `heal` ends all of it

    def kill(self) -> None:
        """As kill -9: every connection ends at once, and new ones are refused."""
        self._call(self._kill())

    def cut(self) -> None:
        """Every connection ends at once; new ones are welcome."""
        self._call(self._cut())

    def stall(self) -> None:
        """As SIGSTOP: connections are accepted, and nothing is read or answered any more."""
        self._do(lambda: self._running.clear())

    def cut_after(self, size_bytes: int) -> None:
        """When the server has sent so many bytes more, be it in the middle of a DataRow: as `kill`."""
        self._do(lambda: self._set("_bytes_left", size_bytes))

    def delay(self, seconds: float) -> None:
        """Hold back what clients send from now on for so long, then let it pass."""
        self._do(lambda: self._set("_delay_s", seconds))

    def greet(self, message: bytes = DRAINING) -> None:
        """Answer whoever connects from now on with this, and close."""
        self._do(lambda: self._set("_greeting", message))

    def say(self, message: bytes = DRAINING) -> None:
        """Send this to every client, unasked, and close."""
        self._call(self._say(message))

    def reply(self, message: bytes) -> None:
        """Answer each statement with this instead of passing it on. Log-ins pass."""
        self._do(lambda: self._set("_reply", message))

    def heal(self) -> None:
        """Behave again."""
        self._call(self._heal())

    # In the thread

    async def _begin(self) -> None:
        self._running = asyncio.Event()
        self._running.set()
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def _end(self) -> None:
        await self._kill()
        self._running.set()
        await asyncio.gather(
            *(task for task in asyncio.all_tasks() if task is not asyncio.current_task()), return_exceptions=True
        )

    async def _heal(self) -> None:
        self._delay_s, self._bytes_left, self._greeting, self._reply = 0.0, None, None, None
        self._running.set()
        if self._server is None:
            await self._listen()

    async def _kill(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        for link in list(self._links):
            for writer in (link.client, link.server):
                if writer is not None:
                    _reset(writer)
            for task in link.tasks:
                task.cancel()

    async def _say(self, message: bytes) -> None:
        for link in list(self._links):
            link.client.write(message)
            link.client.close()

    async def _holds(self, part: bytes) -> bool:
        return any(part in link.held for link in self._links)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            await self._running.wait()
            if self._greeting is not None:
                await reader.read(_PIECE_BYTES)
                writer.write(self._greeting)
                return
            from_server, link.server = await asyncio.open_connection(HOST, self._target_port)
            link.tasks = [
                asyncio.create_task(self._pass_on(reader, link, to_server=True)),
                asyncio.create_task(self._pass_on(from_server, link, to_server=False)),
            ]
            await asyncio.wait(link.tasks, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass
        finally:
            for task in link.tasks:
                task.cancel()
            for end in (writer, link.server):
                if end is not None:
                    end.close()
            self._links.discard(link)

    async def _pass_on(self, reader: asyncio.StreamReader, link: _Link, *, to_server: bool) -> None:
        first = True
        with contextlib.suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                link.held = piece if to_server else link.held
                await self._running.wait()
                if to_server:
                    await self._to_server(piece, link, first=first)
                else:
                    if first and piece.startswith(_AUTHENTICATION_OK):
                        piece = _AUTHENTICATION_OK + self._announces + piece[len(_AUTHENTICATION_OK) :]
                    await self._to_client(piece, link)
                first = False

    async def _to_server(self, piece: bytes, link: _Link, *, first: bool) -> None:
        assert link.server is not None
        if self._reply is not None and not first:
            link.client.write(self._reply)
            return
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        link.held = b""
        self._served += 1
        link.server.write(piece)
        await link.server.drain()

    async def _to_client(self, piece: bytes, link: _Link) -> None:
        if self._bytes_left is not None:
            piece = piece[: self._bytes_left]
            self._bytes_left -= len(piece)
        link.client.write(piece)
        await link.client.drain()
        if self._bytes_left == 0:
            self._bytes_left = None
            link.client.close()  # what was written still leaves
            self._links.discard(link)
            await self._kill()

    # From other threads

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_TIMEOUT_S)

    def _do(self, step: Callable[[], None]) -> None:
        async def once() -> None:
            step()

        self._call(once())

    def _set(self, name: str, value: object) -> None:
        setattr(self, name, value)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()
