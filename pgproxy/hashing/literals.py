"""From text to key values: exactly PostgreSQL's reading, or UNKNOWN.

Only forms that every PostgreSQL version and CockroachDB read alike, whatever the session's settings, become
values. `'042'` (octal for CockroachDB), `'0x1F'`, `'4_2'`, `'today'` and dates that lean on DateStyle or the
time zone are UNKNOWN: the nodes then read them, and every shard is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal

from pgproxy.hashing.values import UNKNOWN, NoValue

# A backslash would depend on standard_conforming_strings; a second quoted part ('a' newline 'b') does not match.
_QUOTED = re.compile(r"'(?:[^'\\]|'')*'").fullmatch
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII).fullmatch
_MINUS = re.compile(r"-[ \t\r\n]*").match
# Bounded in digits and exponent: a few bytes of text must not become a number of a million digits.
_DECIMAL = re.compile(
    r"-?(?:(?:0|[1-9][0-9]{0,299})(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII
).fullmatch
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII).fullmatch
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII).fullmatch
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[ T]([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:\.([0-9]{1,6}))?)?)?"
    r"(Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?",
    re.ASCII,
).fullmatch

_DAY_ZERO = date(2000, 1, 1).toordinal()
_MICROSECONDS_PER_SECOND = 1_000_000
_BOOLEANS = {"t": 1, "true": 1, "f": 0, "false": 0}


def unquote(source: str) -> str | None:
    """The string that a plain quoted constant `'it''s'` means; None for every other form."""
    inner = source[1:-1]
    if "'" not in inner and "\\" not in inner and len(source) > 1 and source[-1] == "'" == source[0]:
        return inner
    return inner.replace("''", "'") if _QUOTED(source) else None


def integer_reader(bits: int) -> Callable[[str], int | NoValue]:
    """Reads quoted content such as `42` or `-5` that fits a signed integer of so many bits."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1

    def read(text: str) -> int | NoValue:
        if not _INTEGER(text):
            return UNKNOWN
        value = int(text)
        return value if low <= value <= high else UNKNOWN

    return read


def bare_integer_reader(bits: int) -> Callable[[str], int | NoValue]:
    """Reads a number written without quotes. A whole number with a fraction part (`5.0`) equals the integer;
    any other fraction is UNKNOWN: it equals no integer, but an INSERT would round it."""
    read_integer = integer_reader(bits)

    def read(source: str) -> int | NoValue:
        value = read_integer(source)
        if value is not UNKNOWN:
            return value
        number = read_bare_numeric(source)
        if isinstance(number, NoValue) or number.adjusted() > 18 or number != number.to_integral_value():
            return UNKNOWN
        return read_integer(str(int(number)))

    return read


def read_numeric(text: str) -> Decimal | NoValue:
    return Decimal(text) if _DECIMAL(text) else UNKNOWN


def read_bare_numeric(source: str) -> Decimal | NoValue:
    # The normalizer takes a minus and the number behind it as one constant, with the white space between.
    minus = _MINUS(source)
    return read_numeric("-" + source[minus.end() :] if minus else source)


def read_bare_boolean(source: str) -> int | NoValue:
    word = source.lower()
    return _BOOLEANS[word] if word in ("true", "false") else UNKNOWN


def read_boolean(text: str) -> int | NoValue:
    return _BOOLEANS.get(text, UNKNOWN)


def read_text(text: str) -> str | NoValue:
    return text


def read_uuid(text: str) -> bytes | NoValue:
    return bytes.fromhex(text.replace("-", "")) if _UUID(text) else UNKNOWN


def read_date(text: str) -> int | NoValue:
    """Days since 2000-01-01 of a strict ISO date."""
    found = _DATE(text)
    return _days(*found.groups()) if found else UNKNOWN


def read_timestamp(text: str) -> int | NoValue:
    """Microseconds since 2000-01-01 of an ISO timestamp without a zone (PostgreSQL would ignore one)."""
    found = _TIMESTAMP(text)
    return UNKNOWN if found is None or found[8] else _microseconds(found)


def read_timestamptz(text: str) -> int | NoValue:
    """Microseconds since 2000-01-01 00:00 UTC; without an offset the session's time zone would decide."""
    found = _TIMESTAMP(text)
    # An offset behind a bare date is read differently from version to version.
    if found is None or not found[8] or not found[4]:
        return UNKNOWN
    local = _microseconds(found)
    return local if isinstance(local, NoValue) else local - _offset_seconds(found[8]) * _MICROSECONDS_PER_SECOND


def read_nothing(_source: str) -> NoValue:
    """For types that have no constant without quotes."""
    return UNKNOWN


def _days(year: str, month: str, day: str) -> int | NoValue:
    try:
        return date(int(year), int(month), int(day)).toordinal() - _DAY_ZERO
    except ValueError:  # a day that the calendar does not have: the nodes will say so
        return UNKNOWN


def _microseconds(found: re.Match[str]) -> int | NoValue:
    year, month, day, hour, minute, second, fraction, _ = found.groups()
    days = _days(year, month, day)
    if isinstance(days, NoValue):
        return UNKNOWN
    seconds = days * 86_400 + int(hour or 0) * 3_600 + int(minute or 0) * 60 + int(second or 0)
    return seconds * _MICROSECONDS_PER_SECOND + int((fraction or "").ljust(6, "0"))


def _offset_seconds(offset: str) -> int:
    if offset == "Z":
        return 0
    digits = offset[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3_600 + int(digits[2:]) * 60
    return -seconds if offset[0] == "-" else seconds
