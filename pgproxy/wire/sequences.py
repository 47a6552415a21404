"""The usual sequence of the extended query protocol, found in bytes without decoding them: Parse (unnamed, or none),
Bind and Execute of the unnamed portal for all its rows, with Describe between them or without.

Sans-I/O. Everything else is None here: whoever asks goes on message by message.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from pgproxy.wire.extended import describe_portal, execute_message
from pgproxy.wire.frames import HEADER_BYTES
from pgproxy.wire.messages import BIND, PARSE, sync

SEQUENCE_STARTS = frozenset({PARSE, BIND})

_LENGTH = Struct("!I").unpack_from
_EXECUTE = execute_message("", 0)
_DESCRIBE_AND_EXECUTE = describe_portal("") + _EXECUTE
_EXECUTE_BYTES, _DESCRIBE_AND_EXECUTE_BYTES = len(_EXECUTE), len(_DESCRIBE_AND_EXECUTE)
_SYNC = sync()
_SHORTEST_PARSE = HEADER_BYTES + 4  # two empty texts and no types


@dataclass(slots=True)
class BoundSequence:
    """Offsets into the data it was found in. `parse` is the Parse's payload, None without one; `name` the
    statement's that Bind names, `values_at` where Bind's parameter formats begin."""

    parse: bytes | None
    name: bytes
    values_at: int
    bind_end: int
    describes: bool
    end: int


def read_sequence(data: bytes, at: int) -> BoundSequence | None:
    """The sequence that begins at `at`, if all of it is there. What stands inside of its messages is not checked."""
    size = len(data)
    parse = None
    if data[at] == PARSE:
        if size - at < _SHORTEST_PARSE or data[at + HEADER_BYTES]:
            return None
        end = at + 1 + _LENGTH(data, at + 1)[0]
        if end < at + _SHORTEST_PARSE:
            return None
        parse = data[at + HEADER_BYTES : end]
        at = end
    if size - at <= HEADER_BYTES or data[at] != BIND or data[at + HEADER_BYTES]:
        return None
    bind_end = at + 1 + _LENGTH(data, at + 1)[0]
    name_at = at + HEADER_BYTES + 1
    name_end = data.find(b"\0", name_at, bind_end)
    if name_end < 0:
        return None
    name = data[name_at:name_end]
    if data.startswith(_DESCRIBE_AND_EXECUTE, bind_end):
        end, describes = bind_end + _DESCRIBE_AND_EXECUTE_BYTES, True
    elif data.startswith(_EXECUTE, bind_end):
        end, describes = bind_end + _EXECUTE_BYTES, False
    else:
        return None
    return BoundSequence(parse, name, name_end + 1, bind_end, describes, end)


def ends_with_sync(data: bytes, at: int) -> bool:
    """Nothing stands behind `at` but a Sync."""
    return data[at:] == _SYNC


def bind_head(portal_and_statement: bytes, rest_bytes: int) -> bytes:
    """The beginning of a Bind, up to where `rest_bytes` bytes of formats and values follow."""
    return b"B" + (4 + len(portal_and_statement) + rest_bytes).to_bytes(4, "big") + portal_and_statement
