"""Hostile clients in numbers, each attack bounded in connections and time; everything on 127.0.0.1.

An attack holds its connections until its time is over and closes them. What others see meanwhile is `hostile`'s.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from loadtest.wire_client import startup_packet
from pgproxy.demo.nodes import HOST

_BATCH = 200  # connections begun at once: more would only fill the kernel's queue
_GIANT = struct.pack("!I", 1 << 30)
_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@dataclass(frozen=True, slots=True)
class Target:
    port: int
    database: str
    rows_sql: str = "SELECT 1"  # an answer of many megabytes


@dataclass(slots=True)
class Outcome:
    """How many connections could be opened, and how many the proxy closed before the attack did."""

    opened: int = 0
    closed_by_proxy: int = 0


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Play = Callable[[Connection, Target, float], Awaitable[None]]


async def attack(play: Play, target: Target, connections: int, seconds: float) -> Outcome:
    """`connections` of them at the same time, for `seconds` each."""
    outcome = Outcome()
    begin = asyncio.Semaphore(_BATCH)

    async def one() -> None:
        try:
            async with begin:
                connection = await asyncio.wait_for(asyncio.open_connection(HOST, target.port, limit=1 << 16), seconds)
        except (OSError, TimeoutError):
            return
        outcome.opened += 1
        reader, writer = connection
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(seconds):
                await play(connection, target, seconds)
                while await reader.read(1 << 16):
                    pass
                outcome.closed_by_proxy += 1
        if reader.at_eof() or reader.exception():
            outcome.closed_by_proxy += not writer.is_closing() and reader.exception() is not None
        writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(connections)))
    return outcome


async def _log_in(connection: Connection, target: Target) -> None:
    reader, writer = connection
    writer.write(startup_packet(target.database))
    await reader.readuntil(b"Z\0\0\0\5I")


async def _trickle(writer: asyncio.StreamWriter, data: bytes, pause_s: float) -> None:
    for at in range(len(data)):
        writer.write(data[at : at + 1])
        await asyncio.sleep(pause_s)


async def silent(connection: Connection, target: Target, seconds: float) -> None:
    """Connects and says nothing."""


async def slow_start(connection: Connection, target: Target, seconds: float) -> None:
    """One byte of the start-up packet a second."""
    await _trickle(connection[1], startup_packet(target.database), 1.0)


async def giant_start(connection: Connection, target: Target, seconds: float) -> None:
    """A start-up packet of 1 GB, it says."""
    connection[1].write(_GIANT + struct.pack("!I", 3 << 16))


async def garbage(connection: Connection, target: Target, seconds: float) -> None:
    """TLS without asking, HTTP, or noise."""
    connection[1].write(random.choice((_HELLO, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", random.randbytes(200))))


async def giant_message(connection: Connection, target: Target, seconds: float) -> None:
    """Logs in and begins a Query of 1 GB."""
    await _log_in(connection, target)
    connection[1].write(b"Q" + _GIANT)


async def slow_message(connection: Connection, target: Target, seconds: float) -> None:
    """Logs in and sends a Query of 60 MB in single bytes."""
    await _log_in(connection, target)
    connection[1].write(b"Q" + struct.pack("!I", 60 << 20))
    await _trickle(connection[1], bytes(60 << 20), 0.001)


async def large_parses(connection: Connection, target: Target, seconds: float) -> None:
    """Ten Parse messages of 32 MB, each a new statement of one name."""
    reader, writer = connection
    await _log_in(connection, target)
    for number in range(10):
        sql = f"SELECT length('{number}{'x' * (32 << 20)}')\0\0\0".encode()
        writer.write(b"P" + struct.pack("!I", len(sql) + 5) + b"\0" + sql + b"S\0\0\0\4")
        await writer.drain()
        await reader.readuntil(b"Z\0\0\0\5I")


async def endless_pipeline(connection: Connection, target: Target, seconds: float) -> None:
    """Empty statements without a pause, answers read."""
    reader, writer = connection
    await _log_in(connection, target)

    async def read() -> None:
        while await reader.read(1 << 16):
            pass

    reading = asyncio.ensure_future(read())
    try:
        while not reading.done():
            writer.write(b"Q\0\0\0\5\0" * 10_000)
            await writer.drain()
    finally:
        reading.cancel()


async def deaf(connection: Connection, target: Target, seconds: float) -> None:
    """Asks for a large result and does not read it."""
    await _log_in(connection, target)
    sql = target.rows_sql.encode() + b"\0"
    connection[0]._transport.pause_reading()  # type: ignore[attr-defined]  # a stream reads ahead by itself
    connection[1].write(b"Q" + struct.pack("!I", len(sql) + 4) + sql)
    await asyncio.sleep(seconds)


ATTACKS: Mapping[str, tuple[Play, int]] = {
    "silent connections": (silent, 5_000),
    "a byte a second": (slow_start, 2_000),
    "start-up packets of 1 GB": (giant_start, 2_000),
    "TLS, HTTP and noise": (garbage, 2_000),
    "messages of 1 GB": (giant_message, 500),
    "a message in single bytes": (slow_message, 200),
    "Parse of 32 MB, ten each": (large_parses, 2),
    "statements without a pause": (endless_pipeline, 4),
    "large answers never read": (deaf, 10),
}
