"""Bob Jenkins' lookup3 as PostgreSQL's `hash_bytes_extended` has it, seeded as hash partitioning seeds it.

The arithmetic follows PostgreSQL's src/common/hashfn.c and src/include/common/hashfn.h on a little-endian
machine. Which bytes a type's value gives is left to `hashing.keys`.
"""

from __future__ import annotations

from struct import Struct

HASH_PARTITION_SEED = 0x7A5B22367996DCFD
MASK64 = 0xFFFFFFFFFFFFFFFF
_MASK = 0xFFFFFFFF
_COMBINE = 0x49A0F4DD15E5A8E3

_BLOCK = Struct("<3I")
_BLOCK_BYTES = _BLOCK.size


def row_hash(value_hash: int) -> int:
    """`hash_combine64(0, value_hash)`: the hash of a row whose partition key is this one value."""
    return (value_hash + _COMBINE) & MASK64


def hash_bytes(data: bytes) -> int:
    """`hash_bytes_extended(data, len, HASH_PARTITION_SEED)`, 64 bits, unsigned."""
    size = len(data)
    a, b, c = _STARTS[size] if size < _STARTS_KEPT else _start(size)
    tail_at = size - size % _BLOCK_BYTES
    for x, y, z in _BLOCK.iter_unpack(data[:tail_at]):
        a, b, c = _mix((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
    x, y, z = _BLOCK.unpack(data[tail_at:].ljust(_BLOCK_BYTES, b"\0"))
    # The lowest byte of c belongs to the length, so the last word of a tail is shifted past it.
    return _final((a + x) & _MASK, (b + y) & _MASK, (c + (z << 8)) & _MASK)


def hash_uint32(value: int) -> int:
    """`hash_bytes_uint32_extended(value, HASH_PARTITION_SEED)`; `value` is below 2**32.

    The same as `_final` on a fresh start, with the two steps that do not see the value done beforehand.
    """
    a = (((WORD_A + value & _MASK) ^ WORD_C) - WORD_C_ROTATED) & _MASK
    b = ((WORD_B ^ a) - (a << 25 | a >> 7)) & _MASK
    c = ((WORD_C ^ b) - (b << 16 | b >> 16)) & _MASK
    a = ((a ^ c) - (c << 4 | c >> 28)) & _MASK
    b = ((b ^ a) - (a << 14 | a >> 18)) & _MASK
    return b << 32 | (((c ^ b) - (b << 24 | b >> 8)) & _MASK)


# In both functions bits above 32 that a shift leaves behind are cut by the mask that ends the expression.


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = ((a - c) ^ (c << 4 | c >> 28)) & _MASK
    c = (c + b) & _MASK
    b = ((b - a) ^ (a << 6 | a >> 26)) & _MASK
    a = (a + c) & _MASK
    c = ((c - b) ^ (b << 8 | b >> 24)) & _MASK
    b = (b + a) & _MASK
    a = ((a - c) ^ (c << 16 | c >> 16)) & _MASK
    c = (c + b) & _MASK
    b = ((b - a) ^ (a << 19 | a >> 13)) & _MASK
    a = (a + c) & _MASK
    c = ((c - b) ^ (b << 4 | b >> 28)) & _MASK
    b = (b + a) & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - (b << 14 | b >> 18)) & _MASK
    a = ((a ^ c) - (c << 11 | c >> 21)) & _MASK
    b = ((b ^ a) - (a << 25 | a >> 7)) & _MASK
    c = ((c ^ b) - (b << 16 | b >> 16)) & _MASK
    a = ((a ^ c) - (c << 4 | c >> 28)) & _MASK
    b = ((b ^ a) - (a << 14 | a >> 18)) & _MASK
    return b << 32 | (((c ^ b) - (b << 24 | b >> 8)) & _MASK)


def _start(size: int) -> tuple[int, int, int]:
    start = (0x9E3779B9 + size + 3923095) & _MASK
    high, low = HASH_PARTITION_SEED >> 32, HASH_PARTITION_SEED & _MASK
    return _mix((start + high) & _MASK, (start + low) & _MASK, start)


_STARTS_KEPT = 64
_STARTS = tuple(_start(size) for size in range(_STARTS_KEPT))

WORD_A, WORD_B, _c = _start(4)
WORD_C = ((_c ^ WORD_B) - (WORD_B << 14 | WORD_B >> 18)) & _MASK
WORD_C_ROTATED = (WORD_C << 11 | WORD_C >> 21) & _MASK
