"""The messages of the extended query protocol: Parse, Bind, Describe, Execute, Close, and what answers them.
Sans-I/O; encoders give whole messages, decoders take payloads. What the messages mean is left to sessions.

Decoders read in PostgreSQL's order (`exec_parse_message` and its like in postgres.c), so a message with several
faults gets the same error; all of them are mere errors, since where the next message begins is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, error, pack, unpack_from
from typing import NoReturn

from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.wire.messages import decode_text

TEXT, BINARY = 0, 1  # format codes
STATEMENT, PORTAL = "S", "P"  # what Describe and Close are about

_FORMATS = frozenset((TEXT, BINARY))
_UINT16 = Struct("!H").unpack_from
_INT32 = Struct("!i").unpack_from
_COUNT = Struct("!H").pack
_LENGTH = Struct("!i").pack
_NULL = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Parse:
    """Prepare a statement; the unnamed one is `""`. A type OID of 0 leaves that parameter's type to the server."""

    name: str
    sql: str
    parameter_types: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bind:
    """Make a portal of a prepared statement. Values are undecoded, None for NULL.

    The format codes are as sent: none (all text), one for all, or one for each.
    """

    portal: str
    statement: str
    parameter_formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]

    def format_of(self, index: int) -> int:
        """The format of the parameter at `index` (from 0)."""
        return format_at(self.parameter_formats, index)

    def result_format(self, index: int) -> int:
        """The format of the result column at `index` (from 0)."""
        return format_at(self.result_formats, index)


@dataclass(frozen=True, slots=True)
class Describe:
    """`kind` is STATEMENT or PORTAL."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Execute:
    """Run a portal up to `max_rows` rows; 0 means all."""

    portal: str
    max_rows: int


@dataclass(frozen=True, slots=True)
class Close:
    """`kind` is STATEMENT or PORTAL."""

    kind: str
    name: str


def format_at(formats: Sequence[int], index: int) -> int:
    """The format code that holds for the parameter or column at `index`."""
    if not formats:
        return TEXT
    return formats[index] if len(formats) > 1 else formats[0]


def check_result_formats(formats: Sequence[int], columns: int) -> None:
    """08P01 unless the result formats of a Bind fit its statement (`PortalSetResultFormat`)."""
    if len(formats) > 1 and len(formats) != columns:
        _refuse(f"bind message has {len(formats)} result formats but query has {columns} columns")


# From clients


def parse_parse(payload: bytes) -> Parse:
    """A Parse."""
    name, at = _string(payload, 0)
    sql, at = _string(payload, at)
    types, at = _integers(payload, at, "I", 4)
    _expect_end(payload, at)
    return Parse(name, sql, types)


def parse_bind(payload: bytes) -> Bind:
    """A Bind. Result format codes other than 0 and 1 pass, as they fail only when rows are sent."""
    portal, at = _string(payload, 0)
    statement, at = _string(payload, at)
    formats, at = _integers(payload, at, "h", 2)
    count, at = _count(payload, at)
    if len(formats) > 1 and len(formats) != count:
        _refuse(f"bind message has {len(formats)} parameter formats but {count} parameters")
    values, at = _values(payload, at, count, _first_unsupported(formats, count))
    result_formats, at = _integers(payload, at, "h", 2)
    _expect_end(payload, at)
    return Bind(portal, statement, formats, values, result_formats)


def bound_statement(payload: bytes) -> str:
    """The statement that a Bind names, whatever is wrong behind it."""
    _, at = _string(payload, 0)
    return _string(payload, at)[0]


def parse_describe(payload: bytes) -> Describe:
    """A Describe."""
    return Describe(*_kind_and_name(payload, "DESCRIBE"))


def parse_execute(payload: bytes) -> Execute:
    """An Execute. A negative row count means all rows, as 0 does."""
    portal, at = _string(payload, 0)
    if len(payload) < at + 4:
        _refuse_short()
    _expect_end(payload, at + 4)
    return Execute(portal, max(_INT32(payload, at)[0], 0))


def parse_close(payload: bytes) -> Close:
    """A Close."""
    return Close(*_kind_and_name(payload, "CLOSE"))


# To nodes


def parse_message(name: str, sql: str, types: Sequence[int]) -> bytes:
    """Parse."""
    return _message(b"P", b"%b\0%b\0%b" % (name.encode(), sql.encode(), _packed("I", types)))


def bind_message(
    portal: str,
    statement: str,
    parameter_formats: Sequence[int],
    values: Sequence[bytes | None],
    result_formats: Sequence[int],
) -> bytes:
    """Bind."""
    parts = [b"%b\0%b\0" % (portal.encode(), statement.encode()), _packed("h", parameter_formats), _COUNT(len(values))]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_LENGTH(len(value)), value)
    parts.append(_packed("h", result_formats))
    return _message(b"B", b"".join(parts))


def describe_statement(name: str) -> bytes:
    """Describe of a prepared statement."""
    return _message(b"D", b"S%b\0" % name.encode())


def describe_portal(name: str) -> bytes:
    """Describe of a portal."""
    return _message(b"D", b"P%b\0" % name.encode())


def execute_message(portal: str, max_rows: int) -> bytes:
    """Execute; `max_rows` 0 means all rows."""
    return _message(b"E", b"%b\0%b" % (portal.encode(), _LENGTH(max_rows)))


def close_statement(name: str) -> bytes:
    """Close of a prepared statement."""
    return _message(b"C", b"S%b\0" % name.encode())


def close_portal(name: str) -> bytes:
    """Close of a portal."""
    return _message(b"C", b"P%b\0" % name.encode())


def flush() -> bytes:
    """Flush."""
    return b"H\0\0\0\4"


# To clients


def parse_complete() -> bytes:
    """ParseComplete."""
    return b"1\0\0\0\4"


def bind_complete() -> bytes:
    """BindComplete."""
    return b"2\0\0\0\4"


def close_complete() -> bytes:
    """CloseComplete."""
    return b"3\0\0\0\4"


def no_data() -> bytes:
    """NoData."""
    return b"n\0\0\0\4"


def portal_suspended() -> bytes:
    """PortalSuspended."""
    return b"s\0\0\0\4"


def parameter_description(types: Sequence[int]) -> bytes:
    """ParameterDescription: the type OID of each parameter."""
    return _message(b"t", _packed("I", types))


# From nodes


def parse_parameter_description(payload: bytes) -> tuple[int, ...]:
    """The type OIDs of a ParameterDescription."""
    if len(payload) < 2 or len(payload) != 2 + 4 * _UINT16(payload)[0]:
        raise ProtocolViolation("malformed ParameterDescription")
    return unpack_from(f"!{_UINT16(payload)[0]}I", payload, 2)


# Their parts. Each reader takes the offset where its part begins, and gives the part and the offset behind it.


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + _LENGTH(len(body) + 4) + body


def _packed(code: str, numbers: Sequence[int]) -> bytes:
    return pack(f"!H{len(numbers)}{code}", len(numbers), *numbers)


def _string(payload: bytes, at: int) -> tuple[str, int]:
    end = payload.find(b"\0", at)
    if end < 0:
        _refuse("invalid string in message")
    return decode_text(payload[at:end]), end + 1


def _count(payload: bytes, at: int) -> tuple[int, int]:
    """Unsigned: a statement may have 65,535 parameters."""
    if len(payload) < at + 2:
        _refuse_short()
    return _UINT16(payload, at)[0], at + 2


def _integers(payload: bytes, at: int, code: str, size: int) -> tuple[tuple[int, ...], int]:
    count, at = _count(payload, at)
    if not count:
        return (), at
    end = at + count * size
    if len(payload) < end:
        _refuse_short()
    return unpack_from(f"!{count}{code}", payload, at), end


def _values(
    payload: bytes, at: int, count: int, unsupported: tuple[int, int] | None
) -> tuple[tuple[bytes | None, ...], int]:
    """The parameters of a Bind; `unsupported` is the index and code of the first format that is no format."""
    values: list[bytes | None] = []
    try:
        for index in range(count):
            (size,) = _INT32(payload, at)
            at += 4
            if size == -1:
                values.append(None)
            else:
                values.append(payload[at : at + size])
                at = _advanced(payload, at, size)
            if unsupported is not None and index == unsupported[0]:
                raise ProxyError("22023", f"unsupported format code: {unsupported[1]}")
    except error:
        _refuse_short()
    return tuple(values), at


def _advanced(payload: bytes, at: int, size: int) -> int:
    if size < 0 or size > len(payload) - at:
        _refuse_short()
    return at + size


def _first_unsupported(formats: Sequence[int], count: int) -> tuple[int, int] | None:
    """PostgreSQL looks at a format only beside its parameter, so a fault before it is told first."""
    if _FORMATS.issuperset(formats):
        return None
    return next(((index, code) for index, code in enumerate(formats[:count]) if code not in _FORMATS), None)


def _kind_and_name(payload: bytes, message: str) -> tuple[str, str]:
    if not payload:
        _refuse("no data left in message")
    name, at = _string(payload, 1)
    _expect_end(payload, at)
    if payload[0] not in b"SP":
        _refuse(f"invalid {message} message subtype {payload[0]}")
    return chr(payload[0]), name


def _expect_end(payload: bytes, at: int) -> None:
    if at != len(payload):
        _refuse("invalid message format")


def _refuse(message: str) -> NoReturn:
    raise ProxyError("08P01", message)


def _refuse_short() -> NoReturn:
    _refuse("insufficient data left in message")
