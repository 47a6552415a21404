"""A client that speaks the wire protocol by hand: it sends any bytes and shows every message that comes back.

`conversation` gives answers as lists of comparable tuples, so that one server can be held against another.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import psycopg.conninfo

from pgproxy.wire.frames import scan_rows

SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSSENC_REQUEST = struct.pack("!II", 8, 80877104)
PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = 3 << 16 | 2
TIMEOUT_S = 60.0

# Where in its own source a server raised an error; no part of an answer that clients look at.
_SOURCE_FIELDS = "FLR"


@dataclass(frozen=True)
class Message:
    """One message from the server: its type letter and payload."""

    kind: str
    payload: bytes

    @property
    def fields(self) -> dict[str, str]:
        """Of an ErrorResponse or NoticeResponse, by code letter, without where in the source it was raised."""
        texts = [part.decode() for part in self.payload.split(b"\0") if part]
        return {text[0]: text[1:] for text in texts if text[0] not in _SOURCE_FIELDS}

    @property
    def values(self) -> tuple[bytes | None, ...]:
        """Of a DataRow."""
        (count,) = struct.unpack_from("!H", self.payload)
        values: list[bytes | None] = []
        at = 2
        for _ in range(count):
            (size,) = struct.unpack_from("!i", self.payload, at)
            at += 4
            values.append(None if size < 0 else self.payload[at : at + size])
            at += max(size, 0)
        return tuple(values)

    @property
    def columns(self) -> tuple[tuple[str, int], ...]:
        """Of a RowDescription: names and type oids."""
        columns, at = [], 2
        for _ in range(struct.unpack_from("!H", self.payload)[0]):
            end = self.payload.index(b"\0", at)
            columns.append((self.payload[at:end].decode(), struct.unpack_from("!I", self.payload, end + 7)[0]))
            at = end + 19
        return tuple(columns)

    @property
    def text(self) -> str:
        """Of a CommandComplete, a ReadyForQuery."""
        return self.payload.rstrip(b"\0").decode()

    def shown(self) -> tuple[Any, ...]:
        """What a client can see of the message, for comparison."""
        if self.kind in "EN":
            return (self.kind, self.fields)
        if self.kind == "T":
            return (self.kind, self.columns)
        if self.kind == "D":
            return (self.kind, self.values)
        if self.kind == "S":
            return (self.kind, *self.payload.decode().split("\0")[:2])
        return (self.kind, self.text)


class RawClient:
    """A connection at the level of messages. Every wait ends after TIMEOUT_S with an error."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), TIMEOUT_S)
        self.parameters: dict[str, str] = {}
        self.key = (0, b"")
        self._buffer = b""

    @classmethod
    def logged_in(cls, conninfo: str, **parameters: str) -> Self:
        """Connected and past start-up. `conninfo` gives host, port, user and database."""
        options = psycopg.conninfo.conninfo_to_dict(conninfo)
        client = cls(str(options["host"]), int(str(options["port"])))
        client.send(startup({"user": str(options["user"]), "database": str(options["dbname"])} | parameters))
        client.start_up()
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def vanish(self) -> None:
        """Close, and have the system forget the connection after a second instead of a minute."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
        self.socket.close()

    def hold_little(self) -> None:
        """Have the system take in only so much: the server must notice that nobody reads."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)

    def hold_much(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def start_up(self) -> list[Message]:
        """The answer to a StartupMessage, up to ReadyForQuery or the close."""
        answer = self.until_ready()
        for message in answer:
            if message.kind == "S":
                name, value, _ = message.payload.decode().split("\0")
                self.parameters[name] = value
            elif message.kind == "K":
                self.key = (int.from_bytes(message.payload[:4], "big"), message.payload[4:])
        return answer

    def byte(self) -> bytes:
        """One byte outside of any message (the answer to an encryption request); b"" at the close."""
        return self._take(1)

    def message(self) -> Message | None:
        """The next message, None when the server has closed the connection."""
        header = self._take(5)
        if len(header) < 5:
            return None
        return Message(chr(header[0]), self._take(int.from_bytes(header[1:], "big") - 4))

    def messages(self) -> Iterator[Message]:
        """Up to the close."""
        while (message := self.message()) is not None:
            yield message

    def until_ready(self) -> list[Message]:
        """The messages up to ReadyForQuery, that included, or up to the close."""
        answer = []
        for message in self.messages():
            answer.append(message)
            if message.kind == "Z":
                break
        return answer

    def count_rows(self) -> tuple[int, list[Message]]:
        """How many DataRows come up to ReadyForQuery, and the other messages: for results of millions of rows."""
        count, others = 0, []
        while True:
            at, found = scan_rows(self._buffer, 0)
            self._buffer, count = self._buffer[at:], count + found
            if self._buffer[:1] in (b"", b"D"):
                data = self.socket.recv(1 << 20)
                assert data, "closed in the middle of a result"
                self._buffer += data
                continue
            message = self.message()
            assert message is not None, "closed in the middle of a result"
            others.append(message)
            if message.kind == "Z":
                return count, others

    def query(self, sql: str | bytes) -> list[Message]:
        self.send(query(sql))
        return self.until_ready()

    def closed(self) -> bool:
        """Whether the server's next move is to close."""
        return self._take(1) == b""

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            try:
                data = self.socket.recv(max(65_536, size - len(self._buffer)))
            except ConnectionResetError:
                data = b""
            if not data:
                break
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def logged_in_at_last(log_in: Callable[[], RawClient]) -> RawClient:
    """Past start-up, however often a proxy that does not wait long lets go of it because the machine is slow."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        with suppress(BrokenPipeError, ConnectionResetError):
            client = log_in()
            if client.key[1]:
                return client
            client.socket.close()
        assert time.monotonic() < deadline, "nobody gets in"


def frame(kind: str, payload: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!I", len(payload) + 4) + payload


def query(sql: str | bytes) -> bytes:
    return frame("Q", (sql if isinstance(sql, bytes) else sql.encode()) + b"\0")


def startup(parameters: Mapping[str, str], protocol: int = PROTOCOL_3_0) -> bytes:
    pairs = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in parameters.items())
    body = struct.pack("!I", protocol) + pairs + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def cancel_request(pid: int, key: bytes) -> bytes:
    return struct.pack("!III", 12 + len(key), 80877102, pid) + key


def conversation(client: RawClient, statements: list[str | bytes]) -> list[list[tuple[Any, ...]]]:
    """What a client sees when it sends these Queries one after the other."""
    return [[message.shown() for message in client.query(sql)] for sql in statements]
