"""Bound parameters as the planner reads them: the SQL constant that a value is, or `?` where it must not route.

The nodes are sent the parameters as the client bound them; these texts only choose shards and count rows.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from uuid import UUID

from pgproxy.hashing import KEY_TYPES, UNKNOWN
from pgproxy.operators.arguments import UNKNOWN_PARAMETER
from pgproxy.planner.clock_words import has_clock_word
from pgproxy.planner.text import PARAMETER, scan_tokens

TEXT_FORMAT, BINARY_FORMAT = 0, 1

_BOOL, _INT8, _NAME, _INT2, _INT4, _TEXT, _UNKNOWN, _VARCHAR = 16, 20, 19, 21, 23, 25, 705, 1043
_DATE, _TIMESTAMP, _TIMESTAMPTZ, _NUMERIC, _UUID = 1082, 1114, 1184, 1700, 2950
_UNTYPED = frozenset({0, _UNKNOWN})
_STRINGS = frozenset({_TEXT, _VARCHAR, _NAME})
_IN_DIGITS = frozenset({*_UNTYPED, _INT4, _INT8})
_NUMBERS = frozenset({_INT2, _INT4, _INT8, _NUMERIC})
_DATES = frozenset({_DATE, _TIMESTAMP, _TIMESTAMPTZ})
_LONGEST_NAME = 63
# No key is read from it, but it says that shards would read the value by their own clocks (see `clock_words`).
_CLOCK_WORD = "E'now'"

_ELEMENT_OF = {1005: _INT2, 1007: _INT4, 1016: _INT8, 1009: _TEXT, 1015: _VARCHAR, 2951: _UUID}


def routing_text(value: bytes | None, format_code: int, type_oid: int, key_oid: int | None = None) -> str:
    """A bound value as an SQL constant that `KeyType.parse_literal` reads as PostgreSQL reads the value, else `?`
    (or a constant that it does not read, where the value is a time such as 'today').

    `type_oid` is the parameter's type as declared or as a node inferred it; 0 says that it is the type of what it is
    compared with, which must be so wherever it is used (see `repeated_parameters`). `key_oid` is the type of the
    shard key. Whatever the two types are, the text is UNKNOWN to a key that could not equal or store the value so.
    """
    return "NULL" if value is None else routing_reader(format_code, type_oid, key_oid)(value)


def is_integer_in_digits(format_code: int, type_oid: int) -> bool:
    """Whether a value of up to nine digits, and nothing else, is that number to an integer key."""
    return format_code == TEXT_FORMAT and type_oid in _IN_DIGITS


@lru_cache(maxsize=2_000)
def routing_reader(format_code: int, type_oid: int, key_oid: int | None) -> Callable[[bytes], str]:
    """What `routing_text` does with the values of one format and type."""
    reader = _reader(format_code, type_oid, key_oid)
    may_be_clock_word = format_code == TEXT_FORMAT or type_oid in _STRINGS

    def read(value: bytes) -> str:
        try:
            text = UNKNOWN_PARAMETER if reader is None else reader(value)
        except (ValueError, OverflowError, struct.error):  # malformed, or out of Python's range: the nodes will say
            text = UNKNOWN_PARAMETER
        if text == UNKNOWN_PARAMETER and may_be_clock_word and has_clock_word(value):
            return _CLOCK_WORD
        return text

    return read


def _reader(format_code: int, type_oid: int, key_oid: int | None) -> Callable[[bytes], str] | None:
    if type_oid in _DATES and key_oid in _STRINGS:
        return None  # an INSERT writes it into a text column by DateStyle and TimeZone
    element = _ELEMENT_OF.get(type_oid)
    if element is not None:
        return lambda value: _array(value, format_code, element)
    return _READERS.get(format_code, {}).get(type_oid)


def repeated_parameters(sql: str) -> frozenset[int]:
    """The numbers of the parameters that a statement uses more than once. Without a declared type such a parameter
    gets that of its first use, so that the others may mean another value: a node should be asked for the type."""
    return _remembered_repeated(sql) if len(sql) <= _LONGEST_REMEMBERED else _repeated(sql)


def _repeated(sql: str) -> frozenset[int]:
    uses = Counter(token.text for token in scan_tokens(sql) if token.name == PARAMETER)
    return frozenset(int(text[1:]) for text, count in uses.items() if count > 1)


_remembered_repeated = lru_cache(maxsize=2_000)(_repeated)
_LONGEST_REMEMBERED = 16_384


def _scalar(value: bytes, format_code: int, type_oid: int) -> str:
    readers = _READERS.get(format_code, {})
    reader = readers.get(type_oid)
    try:
        return UNKNOWN_PARAMETER if reader is None else reader(value)
    except (ValueError, OverflowError, struct.error):  # malformed, or out of Python's range: the nodes will say
        return UNKNOWN_PARAMETER


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# --- text format ----------------------------------------------------------------------------------------------


def _text(value: bytes) -> str:
    return _quoted(value.decode()) if b"\0" not in value else UNKNOWN_PARAMETER


def _name(value: bytes) -> str:
    """Longer ones are cut by PostgreSQL."""
    return _text(value) if len(value) <= _LONGEST_NAME else UNKNOWN_PARAMETER


def _plain(type_oid: int, *, quote: bool) -> Callable[[bytes], str]:
    """Reads a text only in the plain form that means the same whatever the settings are: as the type itself."""
    parse = KEY_TYPES[type_oid].parse_text

    def read(value: bytes) -> str:
        text = value.decode()
        if parse(text) is UNKNOWN:
            return UNKNOWN_PARAMETER
        return _quoted(text) if quote else text

    return read


def _text_boolean(value: bytes) -> str:
    return {b"t": "true", b"true": "true", b"f": "false", b"false": "false"}.get(value, UNKNOWN_PARAMETER)


def _text_uuid(value: bytes) -> str:
    """With hyphens, or as some drivers send it, without."""
    text = value.decode()
    return _quoted(str(UUID(text))) if _UUID_TEXT(text) else UNKNOWN_PARAMETER


_UUID_TEXT = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch

# --- binary format --------------------------------------------------------------------------------------------

_INT16, _INT32, _INT64 = Struct("!h"), Struct("!i"), Struct("!q")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_NUMERIC_HEAD = Struct("!hhHH")
_SIGNS = {0x0000: "", 0x4000: "-"}  # others are NaN and the infinities
_MOST_GROUPS = 75  # of four digits: `parse_literal` reads no longer numbers


def _binary_integer(form: Struct) -> Callable[[bytes], str]:
    return lambda value: str(form.unpack(value)[0])


def _binary_boolean(value: bytes) -> str:
    if len(value) != 1:
        return UNKNOWN_PARAMETER
    return "true" if value != b"\0" else "false"


def _binary_uuid(value: bytes) -> str:
    return _quoted(str(UUID(bytes=value)))


def _binary_date(value: bytes) -> str:
    (days,) = _INT32.unpack(value)
    return _quoted((_EPOCH + timedelta(days=days)).date().isoformat())


def _binary_timestamp(zone: str) -> Callable[[bytes], str]:
    def read(value: bytes) -> str:
        (microseconds,) = _INT64.unpack(value)
        return _quoted((_EPOCH + timedelta(microseconds=microseconds)).replace(tzinfo=None).isoformat(" ") + zone)

    return read


def _binary_numeric(value: bytes) -> str:
    """Groups of four digits, of which the first counts 10000 ** weight."""
    count, weight, sign, scale = _NUMERIC_HEAD.unpack_from(value)
    groups = [group for (group,) in Struct("!h").iter_unpack(value[_NUMERIC_HEAD.size :])]
    if len(groups) != count or sign not in _SIGNS or any(not 0 <= group < 10_000 for group in groups):
        return UNKNOWN_PARAMETER
    if not -_MOST_GROUPS < weight < _MOST_GROUPS or count > _MOST_GROUPS:
        return UNKNOWN_PARAMETER
    before = "".join(f"{group:04}" for group in groups[: max(weight + 1, 0)]).ljust(4 * (weight + 1), "0")
    behind = "0000" * -(weight + 1) + "".join(f"{group:04}" for group in groups[max(weight + 1, 0) :])
    if behind[scale:].strip("0"):  # PostgreSQL cuts digits that the scale does not show
        return UNKNOWN_PARAMETER
    fraction = behind[:scale].rstrip("0")
    return _SIGNS[sign] + (before.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


_READERS: dict[int, dict[int, Callable[[bytes], str]]] = {
    TEXT_FORMAT: {
        **dict.fromkeys((*_UNTYPED, _TEXT, _VARCHAR), _text),
        _NAME: _name,
        **{oid: _plain(oid, quote=False) for oid in _NUMBERS},
        _BOOL: _text_boolean,
        _UUID: _text_uuid,
        **{oid: _plain(oid, quote=True) for oid in _DATES},
    },
    BINARY_FORMAT: {
        **dict.fromkeys((_TEXT, _VARCHAR), _text),
        _NAME: _name,
        _INT2: _binary_integer(_INT16),
        _INT4: _binary_integer(_INT32),
        _INT8: _binary_integer(_INT64),
        _NUMERIC: _binary_numeric,
        _BOOL: _binary_boolean,
        _UUID: _binary_uuid,
        _DATE: _binary_date,
        _TIMESTAMP: _binary_timestamp(""),
        _TIMESTAMPTZ: _binary_timestamp("+00"),
    },
}

# --- arrays ---------------------------------------------------------------------------------------------------

# Elements in the form in which PostgreSQL itself would write them, without quotes.
_INTEGER = re.compile(r"0|-?[1-9][0-9]*", re.ASCII).fullmatch
_WORD = re.compile(r"(?!(?i:null)\Z)[\w.+-]+", re.ASCII).fullmatch
_EMPTY_TEXT, _EMPTY_HEAD = b"{}", Struct("!iii").pack
_ARRAY_HEAD = Struct("!iiiii")  # dimensions, whether there are NULLs, the elements' type, their number, the first index


def _array(value: bytes, format_code: int, element: int) -> str:
    """A list of plain values as `'{…}'`."""
    if value == (_EMPTY_TEXT if format_code == TEXT_FORMAT else _EMPTY_HEAD(0, 0, element)):
        return "'{}'"
    try:
        elements = _text_elements(value) if format_code == TEXT_FORMAT else _binary_elements(value, element)
    except (ValueError, struct.error):
        return UNKNOWN_PARAMETER
    texts = [_scalar(content, format_code, element) for content in elements]
    texts = [text[1:-1] if text.startswith("'") else text for text in texts]
    plain = _INTEGER if element in _NUMBERS else _WORD
    return "'{" + ",".join(texts) + "}'" if texts and all(map(plain, texts)) else UNKNOWN_PARAMETER


def _text_elements(value: bytes) -> Sequence[bytes]:
    if value[:1] != b"{" or value[-1:] != b"}":
        raise ValueError("not a plain list")
    return value[1:-1].split(b",")


def _binary_elements(value: bytes, element: int) -> Sequence[bytes]:
    dimensions, _, type_oid, count, _ = _ARRAY_HEAD.unpack_from(value)
    if dimensions != 1 or type_oid != element:
        raise ValueError("not a list of the declared type")
    elements, at = [], _ARRAY_HEAD.size
    for _ in range(count):
        (length,) = _INT32.unpack_from(value, at)
        at += _INT32.size
        content = value[at : at + length]
        if length < 0 or len(content) != length:
            raise ValueError("NULL among the elements, or malformed")
        at += length
        elements.append(content)
    if at != len(value):
        raise ValueError("more bytes than elements")
    return elements
