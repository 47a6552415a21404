"""Single values from text to binary format, as PostgreSQL's send functions write them: one encoder for each type.

Text is read in DateStyle ISO, IntervalStyle postgres and bytea_output hex; an encoder raises one of UNREADABLE
for any other. Floats are exact where `extra_float_digits` is above 0, as it is unless a session lowers it.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from struct import Struct, error, pack

from pgproxy.operators import dates, types

# Gives the whole field: the length word and the value.
Encoder = Callable[[bytes], bytes]

UNREADABLE = (ValueError, LookupError, ArithmeticError, error)
NULL_FIELD = b"\xff\xff\xff\xff"

_LENGTH = Struct("!i").pack


def with_length(value: bytes) -> bytes:
    return _LENGTH(len(value)) + value


# Truth values, numbers

_BOOLS = {b"t": b"\0\0\0\1\1", b"f": b"\0\0\0\1\0"}
_INT2 = Struct("!ih").pack
_INT4 = Struct("!ii").pack
_INT8 = Struct("!iq").pack
_OID = Struct("!iI").pack
_FLOAT4 = Struct("!if").pack
_FLOAT8 = Struct("!id").pack


def _int2(value: bytes) -> bytes:
    return _INT2(2, int(value))


def _int4(value: bytes) -> bytes:
    return _INT4(4, int(value))


def _int8(value: bytes) -> bytes:
    return _INT8(8, int(value))


def _oid(value: bytes) -> bytes:
    return _OID(4, int(value))


def _float4(value: bytes) -> bytes:
    return _FLOAT4(4, float(value))


def _float8(value: bytes) -> bytes:
    return _FLOAT8(8, float(value))


# numeric_send: number of base-10000 digits, weight of the first, sign, display scale, digits.
_NUMERIC = re.compile(rb"(-)?(\d+)(?:\.(\d+))?")
_NEGATIVE = 0x4000
_NUMERIC_HEADER = Struct("!ihhHh").pack
# Numbers that are not finite have no digits; the 32 is what their header's bits read as.
_NUMERIC_SPECIAL = {
    b"NaN": _NUMERIC_HEADER(8, 0, 0, 0xC000, 0),
    b"Infinity": _NUMERIC_HEADER(8, 0, 0, 0xD000, 32),
    b"-Infinity": _NUMERIC_HEADER(8, 0, 0, 0xF000, 32),
}


def _numeric(value: bytes) -> bytes:
    match = _NUMERIC.fullmatch(value)
    if match is None:
        return _NUMERIC_SPECIAL[value]
    minus, whole, fraction = match.groups(b"")
    text = whole.rjust(-(-len(whole) // 4) * 4, b"0") + fraction.ljust(-(-len(fraction) // 4) * 4, b"0")
    digits = [int(text[at : at + 4]) for at in range(0, len(text), 4)]
    weight = -(-len(whole) // 4) - 1
    first, last = 0, len(digits)
    while first < last and not digits[first]:
        first += 1
    while last > first and not digits[last - 1]:
        last -= 1
    if first == last:
        return _NUMERIC_HEADER(8, 0, 0, 0, len(fraction))
    count = last - first
    sign = _NEGATIVE if minus else 0
    header = _NUMERIC_HEADER(8 + 2 * count, count, weight - first, sign, len(fraction))
    return header + pack(f"!{count}h", *digits[first:last])


# Text and bytes


def _char(value: bytes) -> bytes:
    r"""The type "char" is one byte; those above 127 are shown as `\ooo`, zero as nothing."""
    if len(value) == 4:
        return b"\0\0\0\1" + int(value[1:], 8).to_bytes(1, "big")
    if len(value) > 1:
        raise ValueError("not a single byte")
    return b"\0\0\0\1" + (value or b"\0")


def _bytea(value: bytes) -> bytes:
    if value[:2] != b"\\x":  # bytea_output escape doubles its backslashes
        raise ValueError("not in hex format")
    return with_length(unhexlify(value[2:]))


def _bits(value: bytes) -> bytes:
    """The number of bits, and the bits from the left, filled up with zeros."""
    octets = -(-len(value) // 8)
    number = int(value.ljust(octets * 8, b"0"), 2) if value else 0
    return _INT4(4 + octets, len(value)) + number.to_bytes(octets, "big")


def _uuid(value: bytes) -> bytes:
    octets = unhexlify(value.replace(b"-", b""))
    if len(octets) != 16:
        raise ValueError("not a UUID")
    return b"\0\0\0\x10" + octets


def _jsonb(value: bytes) -> bytes:
    return _LENGTH(len(value) + 1) + b"\1" + value


# Network addresses


def _macaddr(value: bytes) -> bytes:
    return with_length(unhexlify(value.replace(b":", b"")))


_FAMILIES = {4: 2, 6: 3}  # IP version → PGSQL_AF_INET, PGSQL_AF_INET6


def _network(value: bytes, is_cidr: int) -> bytes:
    """Family, prefix length, whether it is a cidr, length of the address, address. A whole inet has no prefix."""
    shown, _, prefix = value.partition(b"/")
    address = ip_address(shown.decode())
    bits = int(prefix or address.max_prefixlen)
    return with_length(bytes((_FAMILIES[address.version], bits, is_cidr, len(address.packed))) + address.packed)


def _inet(value: bytes) -> bytes:
    return _network(value, 0)


def _cidr(value: bytes) -> bytes:
    return _network(value, 1)


# Dates and times count from 2000-01-01. The infinities are the greatest and the least number.

_DAYS_TO_2000 = dates.date_key(b"2000-01-01")
_US_TO_2000 = dates.timestamp_key(b"2000-01-01 00:00:00")
_DATE_INFINITY = {b"infinity": _INT4(4, 2**31 - 1), b"-infinity": _INT4(4, -(2**31))}
_TIMESTAMP_INFINITY = {b"infinity": _INT8(8, 2**63 - 1), b"-infinity": _INT8(8, -(2**63))}
_TIMETZ = Struct("!iqi").pack
_INTERVAL = Struct("!iqii").pack
_INTERVAL_INFINITY = {
    b"infinity": _INTERVAL(16, 2**63 - 1, 2**31 - 1, 2**31 - 1),
    b"-infinity": _INTERVAL(16, -(2**63), -(2**31), -(2**31)),
}


def _date(value: bytes) -> bytes:
    return _DATE_INFINITY.get(value) or _INT4(4, dates.date_key(value) - _DAYS_TO_2000)


def _time(value: bytes) -> bytes:
    return _INT8(8, dates.time_us(value))


def _timetz(value: bytes) -> bytes:
    """The clock as shown, and the zone in seconds west of Greenwich."""
    instant_us, west_us = dates.timetz_key(value)
    return _TIMETZ(12, instant_us - west_us, west_us // 1_000_000)


def _timestamp(value: bytes) -> bytes:
    return _TIMESTAMP_INFINITY.get(value) or _INT8(8, dates.timestamp_key(value) - _US_TO_2000)


def _timestamptz(value: bytes) -> bytes:
    return _TIMESTAMP_INFINITY.get(value) or _INT8(8, dates.timestamptz_key(value) - _US_TO_2000)


def _interval(value: bytes) -> bytes:
    if value in _INTERVAL_INFINITY:
        return _INTERVAL_INFINITY[value]
    months, days, us = dates.interval_parts(value)
    return _INTERVAL(16, us, days, months)


# Types whose binary form is their text.
SAME_BYTES = frozenset(
    (types.TEXT, types.VARCHAR, types.BPCHAR, types.NAME, types.JSON, types.UNKNOWN, types.CSTRING, types.VOID)
)

SCALARS: Mapping[int, Encoder] = {
    **dict.fromkeys(SAME_BYTES, with_length),
    types.BOOL: _BOOLS.__getitem__,
    types.INT2: _int2,
    types.INT4: _int4,
    types.INT8: _int8,
    types.OID: _oid,
    types.FLOAT4: _float4,
    types.FLOAT8: _float8,
    types.NUMERIC: _numeric,
    types.CHAR: _char,
    types.BYTEA: _bytea,
    types.UUID: _uuid,
    types.JSONB: _jsonb,
    types.DATE: _date,
    types.TIME: _time,
    types.TIMETZ: _timetz,
    types.TIMESTAMP: _timestamp,
    types.TIMESTAMPTZ: _timestamptz,
    types.INTERVAL: _interval,
    types.BIT: _bits,
    types.VARBIT: _bits,
    types.MACADDR: _macaddr,
    types.MACADDR8: _macaddr,
    types.INET: _inet,
    types.CIDR: _cidr,
}
