"""COPY's messages and options, as both sides of the proxy speak of them. Sans-I/O; rows are `wire.copy_rows`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from struct import Struct

_LENGTH = Struct("!i").pack
_HEADER_BYTES = 5

BINARY_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
BINARY_HEADER = BINARY_SIGNATURE + bytes(8)
BINARY_TRAILER = b"\xff\xff"


class CopyKind(Enum):
    TEXT = auto()
    CSV = auto()
    BINARY = auto()


@dataclass(frozen=True, slots=True)
class CopyFormat:
    """How the rows are written. One-character options are one byte each; `default` None: no such marker.

    `header_lines` is how many lines come before the rows. `dot_ends_csv`: the server is older than PostgreSQL 18,
    to which a CSV line `\\.` is the end of the data.
    """

    kind: CopyKind = CopyKind.TEXT
    delimiter: bytes = b"\t"
    null: bytes = b"\\N"
    default: bytes | None = None
    quote: bytes = b'"'
    escape: bytes = b'"'
    header_lines: int = 0
    dot_ends_csv: bool = False


def copy_data(data: bytes) -> bytes:
    """CopyData."""
    return b"d" + _LENGTH(len(data) + 4) + data


def copy_done() -> bytes:
    """CopyDone."""
    return b"c\0\0\0\4"


def copy_fail(reason: str) -> bytes:
    """CopyFail."""
    text = reason.encode() + b"\0"
    return b"f" + _LENGTH(len(text) + 4) + text


def copy_response(kind: bytes, payload: bytes) -> bytes:
    """CopyInResponse (`G`) or CopyOutResponse (`H`)."""
    return kind + _LENGTH(len(payload) + 4) + payload


def response_payload(format_code: int, columns: int) -> bytes:
    """What a CopyInResponse or CopyOutResponse says of so many columns, all of one format."""
    return bytes((format_code,)) + columns.to_bytes(2, "big") + format_code.to_bytes(2, "big") * columns


def response_columns(payload: bytes) -> int:
    """How many columns such a payload speaks of."""
    return int.from_bytes(payload[1:3], "big")


def messages_of(chunk: bytes) -> Sequence[bytes]:
    """Each message of a run of whole CopyData messages."""
    messages, at = [], 0
    while at < len(chunk):
        following = at + 1 + int.from_bytes(chunk[at + 1 : at + 5], "big")
        messages.append(chunk[at:following])
        at = following
    return messages


def payload_of(message: bytes) -> bytes:
    return message[_HEADER_BYTES:]
