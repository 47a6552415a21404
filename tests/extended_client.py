"""The client's messages of the extended query protocol, and what one conversation of them shows.

A conversation is a list of messages; what the server says is read after each Sync and Query, and after each Flush as
many messages as the step says.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.raw_client import Message, RawClient, frame, query

# CONTEXT names portals; the others name shards.
_LEFT_OUT = "Wtn"
Shown = tuple[Any, ...]


@dataclass(frozen=True)
class Step:
    """Bytes to send, and how many messages to read then: -1 all up to ReadyForQuery."""

    data: bytes
    read: int = 0
    name: str = ""

    def __repr__(self) -> str:
        return self.name


def parse(sql: str | bytes, name: str = "", types: Sequence[int] = ()) -> Step:
    text = sql if isinstance(sql, bytes) else sql.encode()
    packed = struct.pack(f"!H{len(types)}I", len(types), *types)
    return Step(frame("P", name.encode() + b"\0" + text + b"\0" + packed), 0, f"parse({sql!r}, {name!r}, {types})")


def bind(
    *values: bytes | None,
    name: str = "",
    portal: str = "",
    formats: Sequence[int] = (),
    results: Sequence[int] = (),
) -> Step:
    parts = [portal.encode() + b"\0" + name.encode() + b"\0", struct.pack(f"!H{len(formats)}h", len(formats), *formats)]
    parts.append(struct.pack("!H", len(values)))
    parts += [b"\xff\xff\xff\xff" if value is None else struct.pack("!i", len(value)) + value for value in values]
    parts.append(struct.pack(f"!H{len(results)}h", len(results), *results))
    shown = f"bind(*{values}, {name=}, {portal=}, {formats=}, {results=})"
    return Step(frame("B", b"".join(parts)), 0, shown if len(values) < 20 else "bind(…)")


def describe(kind: str = "P", name: str = "") -> Step:
    return Step(frame("D", kind.encode() + name.encode() + b"\0"), 0, f"describe({kind!r}, {name!r})")


def execute(rows: int = 0, portal: str = "") -> Step:
    return Step(frame("E", portal.encode() + b"\0" + struct.pack("!i", rows)), 0, f"execute({rows}, {portal!r})")


def close(kind: str = "S", name: str = "") -> Step:
    return Step(frame("C", kind.encode() + name.encode() + b"\0"), 0, f"close({kind!r}, {name!r})")


def flush(read: int) -> Step:
    """`read`: the messages that must come now, without a Sync."""
    return Step(frame("H"), read, f"flush({read})")


def simple(sql: str) -> Step:
    return Step(query(sql), -1, f"simple({sql!r})")


def raw(kind: str, payload: bytes) -> Step:
    return Step(frame(kind, payload), 0, f"raw({kind!r}, {payload[:40]!r})")


SYNC = Step(frame("S"), -1, "SYNC")


def once(
    sql: str,
    *values: bytes | None,
    types: Sequence[int] = (),
    formats: Sequence[int] = (),
    results: Sequence[int] = (),
    rows: int = 0,
) -> list[Step]:
    """What drivers send for one statement."""
    return [parse(sql, types=types), bind(*values, formats=formats, results=results), describe(), execute(rows), SYNC]


def converse(client: RawClient, steps: Sequence[Step]) -> list[list[Shown]]:
    """The answers, one list for each read."""
    answers: list[list[Shown]] = []
    waiting = b""
    for step in steps:
        waiting += step.data
        if step.read == 0:
            continue
        client.send(waiting)
        waiting = b""
        answers.append([shown(message) for message in _read(client, step.read)])
    return answers


def converse_with(conninfo: str, steps: Sequence[Step]) -> list[list[Shown]]:
    """A whole conversation with this server."""
    with RawClient.logged_in(conninfo) as client:
        return converse(client, steps)


def _read(client: RawClient, count: int) -> list[Message]:
    if count < 0:
        return client.until_ready()
    messages = [client.message() for _ in range(count)]
    return [message for message in messages if message is not None]


def shown(message: Message) -> Shown:
    """All that a client can compare: of a RowDescription all but which table a column is of."""
    if message.kind == "T":
        return ("T", *columns(message.payload))
    if message.kind == "t":
        return ("t", *struct.unpack_from(f"!{len(message.payload) // 4}I", message.payload, 2))
    if message.kind in "EN":
        return (message.kind, {code: text for code, text in message.fields.items() if code not in _LEFT_OUT})
    return message.shown()


def columns(payload: bytes) -> list[tuple[Any, ...]]:
    """Of a RowDescription: name, type, size, modifier, format."""
    found, at = [], 2
    for _ in range(struct.unpack_from("!H", payload)[0]):
        end = payload.index(b"\0", at)
        found.append((payload[at:end].decode(), *struct.unpack_from("!IhiH", payload, end + 7)))
        at = end + 19
    return found
