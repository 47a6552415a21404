"""Nodes of the stand: one that is not there, one that answers as PostgreSQL might, one that answers anything."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat

from pgproxy.wire import extended, messages
from pgproxy.wire.frames import FrameReader
from pgproxy.wire.rows import Column, data_row, row_description
from tests.hostile.draw import Draw
from tests.hostile.stand import StreamEnd, VirtualLoop

Node = Callable[[VirtualLoop, asyncio.Protocol], StreamEnd]

COLUMNS = (Column("isbn", type_oid=20), Column("branch", type_oid=25), Column("price", type_oid=1700))
ROWS = data_row([b"1", b"west", b"9.50"]) + data_row([b"2", None, b"NaN"]) + data_row([b"3", b"", None])
LOGGED_IN = (
    messages.authentication_ok()
    + messages.parameter_status("server_version", "18.0")
    + messages.backend_key_data(7, b"key!")
    + messages.ready_for_query(b"I")
)
ANSWER = row_description(COLUMNS) + ROWS + messages.command_complete("SELECT 3") + messages.ready_for_query(b"I")


def absent(loop: VirtualLoop, protocol: asyncio.Protocol) -> StreamEnd:
    raise ConnectionRefusedError(111, "Connection refused")


class Plausible:
    """Answers every statement with the same three rows; transactions begin and end."""

    def __init__(self, loop: VirtualLoop, protocol: asyncio.Protocol) -> None:
        self.stream = StreamEnd(loop, protocol)
        self.stream.on_write = self._hear
        self._reader = FrameReader(1 << 30)
        self._started = False
        self._status = b"I"

    def say(self, data: bytes) -> None:
        self.stream.deliver(data)

    def _hear(self, data: bytes) -> None:
        if not self._started:
            self._started = True
            if struct.unpack_from("!I", data, 4)[0] != 3 << 16:  # a cancel request
                self.stream.hang_up()
            else:
                self.say(LOGGED_IN)
            return
        self._reader.feed(data)
        while (frame := self._reader.take()) is not None:
            answer = self._answer(*frame)
            if answer:
                self.say(answer)

    def _answer(self, kind: int, payload: bytes) -> bytes:
        if kind == messages.QUERY:
            word = payload.split(None, 1)[0].strip(b"\0;").upper() if payload.strip(b"\0 ") else b""
            self._status = {b"BEGIN": b"T", b"COMMIT": b"I", b"ROLLBACK": b"I"}.get(word, self._status)
            rows = row_description(COLUMNS) + ROWS if word in (b"SELECT", b"TABLE") else b""
            return rows + messages.command_complete("SELECT 3") + messages.ready_for_query(self._status)
        if kind == messages.DESCRIBE:
            types = extended.parameter_description([]) if payload[:1] == b"S" else b""
            return types + row_description(COLUMNS)
        return {
            messages.PARSE: extended.parse_complete(),
            messages.BIND: extended.bind_complete(),
            messages.CLOSE: extended.close_complete(),
            messages.EXECUTE: ROWS + messages.command_complete("SELECT 3"),
            messages.SYNC: messages.ready_for_query(self._status),
        }.get(kind, b"")


@dataclass(frozen=True, slots=True)
class Whim:
    """What becomes of one answer: left out or not, cut at a place, followed by something else or by the end."""

    left_out: bool = False
    cut: int = 0
    behind: bytes = b""
    hangs_up: bool = False


def whims(draw: Draw) -> Iterator[Whim]:
    """Drawn before the nodes run; when they are used up, nodes answer as they should."""
    drawn = [
        Whim(draw.number(0, 5) == 0, draw.pick((0, 0, 0, 1, 5, 9)), _behind(draw), draw.number(0, 15) == 0)
        for _ in range(draw.number(0, 12))
    ]
    return chain(drawn, repeat(Whim()))


def _behind(draw: Draw) -> bytes:
    return hostile_answer(draw) if draw.number(0, 2) == 0 else b""


class Hostile(Plausible):
    """Answers as its whims are."""

    def __init__(self, whims: Iterator[Whim], loop: VirtualLoop, protocol: asyncio.Protocol) -> None:
        super().__init__(loop, protocol)
        self._whims = whims

    def say(self, data: bytes) -> None:
        whim = next(self._whims)
        said = (b"" if whim.left_out else data) + whim.behind
        self.stream.deliver(said[: whim.cut])
        self.stream.deliver(said[whim.cut :])
        if whim.hangs_up:
            self.stream.hang_up()


def hostile_answer(draw: Draw) -> bytes:
    """A message that a node might send, whole or not, with contents that may fit or not."""
    kind = draw.pick([*sorted(messages.BACKEND_NAMES), 0, 255])
    payload = draw.pick(_PAYLOADS) if draw.number(0, 1) else draw.blob(24)
    length = len(payload) + 4
    if draw.number(0, 7) == 0:
        length = draw.pick([0, 1, 3, 4, length - 1, length + 1, 100_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
    return bytes([kind]) + struct.pack("!I", length & 0xFFFFFFFF) + payload


_PAYLOADS = (
    b"",
    b"I",
    b"E",
    b"\0\0\0\0",
    b"\0\0\0\x0aSCRAM-SHA-256\0\0",
    b"\0\0\0\x0br=x,s=eA==,i=4096",
    b"SERROR\0VERROR\0C42P01\0Mno\0P\xc2\xb2\0\0",
    b"SERROR\0C0A000\0RRevalidateCachedQuery\0\0",
    b"SELECT 3\0",
    b"name\0value\0",
    row_description(COLUMNS)[5:],
    row_description(COLUMNS[:1])[5:],
    b"\0\x03",
    data_row([b"1", b"west", b"x"])[5:],
    data_row([b"1"])[5:],
    b"\0\x03\0\0\0\x01a\xff\xff\xff\xfe\0\0\x7f\xff",
    b"\0\x02\0\0\0\x17\0\0\0\x19",
)
