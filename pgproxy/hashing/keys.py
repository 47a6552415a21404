"""The types a shard key may have: how each is read from text, and its place in hash partitioning.

The hash functions are those of PostgreSQL's default hash operator classes; equal values of int2, int4 and int8
hash alike there, and so here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from struct import pack
from typing import Any

from pgproxy.hashing import literals
from pgproxy.hashing.lookup3 import HASH_PARTITION_SEED, MASK64, hash_bytes, hash_uint32, row_hash
from pgproxy.hashing.values import NULL, UNKNOWN, KeyValue, Parsed

_MASK32 = 0xFFFFFFFF
_TYPMOD_HEADER = 4


def hash_int(value: int) -> int:
    """Row hash of int2, int4, int8, date, timestamp and timestamptz (`hashint8extended`)."""
    high = value >> 32
    return row_hash(hash_uint32((value ^ (high if value >= 0 else ~high)) & _MASK32))


def hash_text(value: str) -> int:
    """Row hash of text under a deterministic collation (`hashtextextended`), server encoding UTF8."""
    return row_hash(hash_bytes(value.encode()))


def hash_uuid(value: bytes) -> int:
    return row_hash(hash_bytes(value))


def hash_numeric(value: Decimal) -> int:
    """Row hash of a finite numeric (`hash_numeric_extended`): base-10000 digits without outer zeros; no sign."""
    if not value:
        return row_hash(HASH_PARTITION_SEED - 1)
    digits, weight = _base_10000(value)
    digit_hash = hash_bytes(pack(f"<{len(digits)}h", *digits))
    return row_hash(digit_hash ^ (weight & MASK64))


def _base_10000(value: Decimal) -> tuple[list[int], int]:
    """PostgreSQL's digits of a non-zero number, most significant first, and the power of 10000 of the first."""
    _, decimal_digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # finite
    last_weight, missing = divmod(exponent, 4)
    rest = int("".join(map(str, decimal_digits))) * 10**missing
    digits = []
    while rest:
        rest, digit = divmod(rest, 10_000)
        digits.append(digit)
    weight = last_weight + len(digits) - 1
    while digits[0] == 0:
        del digits[0]
    return digits[::-1], weight


def _always_fits(_value: Any, _typmod: int) -> bool:
    return True


def _text_fits(value: str, typmod: int) -> bool:
    return typmod < 0 or len(value) <= typmod - _TYPMOD_HEADER


def _numeric_fits(value: Decimal, typmod: int) -> bool:
    if typmod < 0:
        return True
    scale = ((typmod - _TYPMOD_HEADER & 0x7FF) ^ 1024) - 1024
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    surplus = -scale - exponent
    return surplus <= 0 or not any(digits[-surplus:])


def _timestamp_fits(value: int, typmod: int) -> bool:
    return bool(typmod < 0 or value % 10 ** (6 - typmod) == 0)


@dataclass(frozen=True, slots=True)
class KeyType:
    """A type that a shard key may have.

    `parse_text(text)` reads the value's text form: the content of a quoted constant, a shard map's value, a
    parameter in text format. `parse_bare(source)` reads a constant without quotes. Both give UNKNOWN when in
    doubt. `hash64(value)` is the row hash of hash partitioning: its remainder names the shard.
    `fits(value, typmod)` is False when a column of that typmod would not store the value as it is (varchar
    cuts blanks, numeric and timestamp round), so that the value must not choose the shard of a new row.
    """

    oid: int
    name: str
    parse_text: Callable[[str], Parsed]
    parse_bare: Callable[[str], Parsed]
    hash64: Callable[[Any], int]
    fits: Callable[[Any, int], bool] = _always_fits

    def parse_literal(self, source: str) -> Parsed:
        """The value of a constant as it stands in a statement; NULL for NULL, UNKNOWN when in doubt."""
        first = source[:1]
        if first == "'":
            text = literals.unquote(source)
            return UNKNOWN if text is None else self.parse_text(text)
        if first in "nN" and source.upper() == "NULL":
            return NULL
        return self.parse_bare(source)

    def remainder(self, value: KeyValue, modulus: int) -> int:
        """The remainder under which `PARTITION BY HASH` stores the value."""
        return self.hash64(value) % modulus


def _integer(oid: int, name: str, bits: int) -> KeyType:
    return KeyType(oid, name, literals.integer_reader(bits), literals.bare_integer_reader(bits), hash_int)


_NONE = literals.read_nothing

_ALL = (
    KeyType(16, "boolean", literals.read_boolean, literals.read_bare_boolean, hash_int),
    _integer(20, "bigint", 64),
    _integer(21, "smallint", 16),
    _integer(23, "integer", 32),
    KeyType(25, "text", literals.read_text, _NONE, hash_text),
    KeyType(1043, "character varying", literals.read_text, _NONE, hash_text, _text_fits),
    KeyType(1082, "date", literals.read_date, _NONE, hash_int),
    KeyType(1114, "timestamp without time zone", literals.read_timestamp, _NONE, hash_int, _timestamp_fits),
    KeyType(1184, "timestamp with time zone", literals.read_timestamptz, _NONE, hash_int, _timestamp_fits),
    KeyType(1700, "numeric", literals.read_numeric, literals.read_bare_numeric, hash_numeric, _numeric_fits),
    KeyType(2950, "uuid", literals.read_uuid, _NONE, hash_uuid),
)

KEY_TYPES = {key_type.oid: key_type for key_type in _ALL}
TEXT_OIDS = frozenset({25, 1043})
WIDE_INTEGER_OIDS = frozenset({20, 23})  # those that hold any number of nine digits
