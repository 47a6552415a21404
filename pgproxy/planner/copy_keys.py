"""The shard of a row from its raw key field, as COPY's three formats write it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pgproxy.errors import ProxyError, Refused
from pgproxy.hashing import NULL, UNKNOWN, Parsed
from pgproxy.hashing.many import shards_of_ints
from pgproxy.operators.arguments import UNKNOWN_PARAMETER
from pgproxy.planner.parameters import routing_text
from pgproxy.shardmap.facts import ColumnFacts
from pgproxy.shardmap.model import Method
from pgproxy.shardmap.placement import Placement
from pgproxy.wire.copy import CopyFormat, CopyKind
from pgproxy.wire.copy_rows import NULL_FIELD

ANY_SHARD = 0  # where a row that cannot be stored at all gets its error
NO_SHARD = -1
_MOST_KEYS = 65_536
_BINARY = 1

_MANY = 16
_INTEGER_BITS = {20: 64, 21: 16, 23: 32}
_PLAIN_INTEGERS = re.compile(rb"(?:-?(?:0|[1-9][0-9]{0,17})\n)++").fullmatch

_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|([\s\S]))")
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class ShardOfKey(dict[bytes | None, int]):
    """Raw key field → shard index, NO_SHARD where `why_not` has the reason. None is a field that is not there.
    Remembers what it has found, up to a limit."""

    def __init__(
        self, placement: Placement, key: ColumnFacts, form: CopyFormat, *, force_null: bool, force_not_null: bool
    ) -> None:
        super().__init__()
        self._placement = placement
        self._key = key
        self._form = form
        self._force_null = force_null
        self._force_not_null = force_not_null
        self._read: Callable[[bytes], Parsed] = {
            CopyKind.TEXT: self._read_text,
            CopyKind.CSV: self._read_csv,
            CopyKind.BINARY: self._read_binary,
        }[form.kind]

        # Whole numbers that need no second look: their hash alone decides, and none of them stands for NULL.
        bits = _INTEGER_BITS.get(placement.key_type.oid, 0)
        markers = {form.null, form.default or b""}
        readable = form.kind is not CopyKind.BINARY and not any(marker[-1:].isdigit() for marker in markers)
        hashed = placement.table.method is Method.HASH and bits and readable
        self._modulus = len(placement.table.shards) if hashed else 0
        self._bounds = (-(1 << bits - 1), (1 << bits - 1) - 1) if bits else (0, 0)

    def __missing__(self, raw: bytes | None) -> int:
        found = self._find(raw)
        shard = found if isinstance(found, int) else NO_SHARD
        if len(self) >= _MOST_KEYS:
            self.clear()
        self[raw] = shard
        return shard

    def shards(self, keys: Sequence[bytes | None]) -> list[int]:
        """The shard of each. Many whole numbers are hashed together."""
        if self._modulus and len(keys) >= _MANY and None not in keys:
            text = b"\n".join(keys) + b"\n"  # type: ignore[arg-type]
            if _PLAIN_INTEGERS(text):
                values = list(map(int, keys))  # type: ignore[arg-type]
                low, high = self._bounds
                if low <= min(values) and max(values) <= high:
                    return shards_of_ints(values, self._modulus)
        return [self[key] for key in keys]

    def why_not(self, raw: bytes | None) -> ProxyError:
        found = self._find(raw)
        assert isinstance(found, ProxyError)
        return found

    def _find(self, raw: bytes | None) -> int | ProxyError:
        if raw is None:
            return ANY_SHARD
        key, table = self._key, self._placement.table
        try:
            value = self._default() if self._is_default(raw) else self._read(raw)
        except UnicodeDecodeError:
            return ANY_SHARD  # the node says what is wrong with it
        except Refused as refused:
            return refused
        if value is NULL:
            if key.not_null:
                return ANY_SHARD
            return Refused(f'the shard key "{key.name}" of a new row cannot be NULL', "Say the key's value.")
        found = self._placement.shard_of_new(value)
        if found is None:
            return ProxyError("23514", f'no partition of relation "{table.name}" found for row')
        if found is UNKNOWN:
            return Refused(
                f'a value of shard key "{key.name}" is in a form that the proxy does not read',
                "Write it in its plain form, such as west, 42 or 2024-05-01.",
            )
        assert isinstance(found, int)
        return found

    def _is_default(self, raw: bytes) -> bool:
        return self._form.default is not None and raw == self._form.default

    def _default(self) -> Parsed:
        if self._key.has_default:
            raise needs_key(self._placement.table.name, self._key)
        return NULL

    def _read_text(self, raw: bytes) -> Parsed:
        if raw == self._form.null:
            return NULL
        return self._placement.key_type.parse_text(unescaped(raw).decode())

    def _read_csv(self, raw: bytes) -> Parsed:
        value, quoted = unquoted(raw, self._form.quote, self._form.escape)
        is_null = raw == self._form.null and not quoted
        if is_null and not self._force_not_null:
            return NULL
        if not is_null and self._force_null and value == self._form.null:
            return NULL
        return self._placement.key_type.parse_text(value.decode())

    def _read_binary(self, raw: bytes) -> Parsed:
        if raw == NULL_FIELD:
            return NULL
        key_type = self._placement.key_type
        text = routing_text(raw[4:], _BINARY, key_type.oid, key_type.oid)
        return UNKNOWN if text == UNKNOWN_PARAMETER else key_type.parse_literal(text)


def needs_key(table: str, key: ColumnFacts) -> Refused:
    return Refused(f'a new row of "{table}" needs its shard key "{key.name}"', "Say the key's value.")


def unescaped(raw: bytes) -> bytes:
    """A text field without its backslashes (CopyReadAttributesText)."""
    return _ESCAPE.sub(_plain, raw) if b"\\" in raw else raw


def _plain(found: re.Match[bytes]) -> bytes:
    octal, hexadecimal, letter = found.groups()
    if octal is not None:
        return bytes((int(octal, 8) & 0xFF,))
    if hexadecimal is not None:
        return bytes((int(hexadecimal, 16),))
    return _LETTERS.get(letter, letter)


def unquoted(raw: bytes, quote: bytes, escape: bytes) -> tuple[bytes, bool]:
    """(A CSV field's value, whether any of it is quoted), as CopyReadAttributesCSV reads it."""
    if quote not in raw:
        return raw, False
    value, at, end, inside = bytearray(), 0, len(raw), False
    while at < end:
        byte = raw[at : at + 1]
        following = raw[at + 1 : at + 2]
        if not inside:
            inside = byte == quote
            value += b"" if inside else byte
        elif byte == escape and following in (escape, quote) and following:
            value += following
            at += 1
        elif byte == quote:
            inside = False
        else:
            value += byte
        at += 1
    return bytes(value), True
