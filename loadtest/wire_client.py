"""The cheapest client there is: raw sockets that log in, send a Query and throw the answer away.

A driver that decodes rows would be slower than what is measured.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from pgproxy.demo.nodes import HOST, SUPERUSER
from pgproxy.wire import messages

_READY = b"Z\x00\x00\x00\x05I"
_TIMEOUT_S = 120.0
_TAIL_BYTES = 64


@dataclass(frozen=True, slots=True)
class Drained:
    """How an answer came: seconds until its first and last byte, its size and its CommandComplete text."""

    first_byte_s: float
    seconds: float
    size_bytes: int
    tag: str


def startup_packet(database: str) -> bytes:
    return messages.startup_message({"user": SUPERUSER, "database": database, "application_name": "bench"})


def log_in(port: int, database: str) -> socket.socket:
    """A connection that stands ready for queries (trust authentication only)."""
    connection = socket.create_connection((HOST, port), timeout=_TIMEOUT_S)
    connection.sendall(startup_packet(database))
    answer = b""
    while not answer.endswith(_READY):
        received = connection.recv(65536)
        answer += received
        if not received or answer[:1] == b"E":
            connection.close()
            raise ConnectionError(f"log-in refused: {answer!r}")
    return connection


def drain(connection: socket.socket, sql: str) -> Drained:
    """Run one statement and discard its rows."""
    query = sql.encode() + b"\0"
    buffer = bytearray(1 << 18)
    view = memoryview(buffer)
    started = time.perf_counter()
    connection.sendall(b"Q" + (4 + len(query)).to_bytes(4, "big") + query)
    first_byte_s, size, tail = 0.0, 0, b""
    while not tail.endswith(_READY):
        received = connection.recv_into(view)
        if not received:
            raise ConnectionError(f"connection lost after {size} bytes")
        if not size:
            first_byte_s = time.perf_counter() - started
            if buffer[0] == ord("E"):
                raise RuntimeError(bytes(view[:received]).decode(errors="replace"))
        size += received
        tail = (tail + bytes(view[max(0, received - _TAIL_BYTES) : received]))[-_TAIL_BYTES:]
    return Drained(first_byte_s, time.perf_counter() - started, size, command_tag(tail))


def command_tag(tail: bytes) -> str:
    """The text of the CommandComplete that stands before ReadyForQuery."""
    text = tail[: -len(_READY) - 1]
    return text[text.rfind(b"SELECT") :].decode(errors="replace")
