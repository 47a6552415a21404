"""The row hashes of many integers at once: `hash_int` with one value in each 64-bit lane of a single large number.

Python's arithmetic on a large number costs a few nanoseconds for each lane, on a small one a hundred times as much.
Every lane holds 32 bits between the steps, so that nothing is carried from one lane into the next.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from functools import lru_cache

from pgproxy.hashing import lookup3

_MASK = 0xFFFFFFFF
_LANE_BITS = 64


def hash_ints(values: Sequence[int]) -> array[int]:
    """`hash_int` of each (64-bit signed) value, less its last step: see `shards_of_ints`."""
    if min(values) < 0 or max(values) > _MASK:
        values = [(value ^ (high if value >= 0 else ~high)) & _MASK for value in values for high in (value >> 32,)]
    ones = _ones(len(values))
    mask, bias = ones * _MASK, ones << 32

    def rotated(lanes: int, by: int) -> int:
        return (lanes << by | lanes >> (32 - by)) & mask

    def less(lanes: int, others: int) -> int:
        return (lanes + bias - others) & mask

    lanes = _lanes(values)
    # lookup3.hash_uint32, step by step.
    c = ones * lookup3.WORD_C
    b = ones * lookup3.WORD_B
    a = less(((ones * lookup3.WORD_A + lanes) & mask) ^ c, ones * lookup3.WORD_C_ROTATED)
    b = less(b ^ a, rotated(a, 25))
    c = less(c ^ b, rotated(b, 16))
    a = less(a ^ c, rotated(c, 4))
    b = less(b ^ a, rotated(a, 14))
    c = less(c ^ b, rotated(b, 24))
    return _values(b << 32 | c, len(values))


def shards_of_ints(values: Sequence[int], modulus: int) -> list[int]:
    """The remainder of each value's row hash."""
    row_hash = lookup3.row_hash
    if not modulus & (modulus - 1):
        last = row_hash(0)
        return [value + last & modulus - 1 for value in hash_ints(values)]
    last, mask = row_hash(0), lookup3.MASK64
    return [(value + last & mask) % modulus for value in hash_ints(values)]


@lru_cache(maxsize=64)
def _ones(count: int) -> int:
    """A one in each lane."""
    return int.from_bytes(b"\1\0\0\0\0\0\0\0" * count, "little")


def _lanes(values: Sequence[int]) -> int:
    packed = array("Q", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return int.from_bytes(packed.tobytes(), "little")


def _values(lanes: int, count: int) -> array[int]:
    unpacked = array("Q", lanes.to_bytes(count * _LANE_BITS // 8, "little"))
    if sys.byteorder == "big":
        unpacked.byteswap()
    return unpacked
