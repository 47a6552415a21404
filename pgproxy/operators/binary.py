"""Values from text to binary format, of any type known here: arrays, ranges and multiranges of the single values
that `binary_scalars` encodes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from struct import Struct, pack

from pgproxy.operators import types
from pgproxy.operators.binary_scalars import NULL_FIELD, SAME_BYTES, SCALARS, UNREADABLE, Encoder, with_length

__all__ = ["NULL_FIELD", "SAME_BYTES", "UNREADABLE", "Encoder", "encoder"]

# Ranges: range_send writes flags, then each bound that there is as a field. The bounds of built-in ranges hold
# no quotes and no backslashes.

_RANGE = re.compile(rb'([\[(])("[^"]*"|[^",]*),("[^"]*"|[^",]*)([\])])')
_EMPTY, _LOWER_INCLUSIVE, _UPPER_INCLUSIVE, _LOWER_INFINITE, _UPPER_INFINITE = 1, 2, 4, 8, 16


def _range_encoder(bound_oid: int) -> Encoder:
    encode = SCALARS[bound_oid]

    def one_range(value: bytes) -> bytes:
        if value == b"empty":
            return with_length(bytes((_EMPTY,)))
        match = _RANGE.fullmatch(value)
        if match is None:
            raise ValueError("not a range")
        opening, lower, upper, closing = match.groups()
        flags = (
            _LOWER_INCLUSIVE * (opening == b"[")
            | _UPPER_INCLUSIVE * (closing == b"]")
            | _LOWER_INFINITE * (not lower)
            | _UPPER_INFINITE * (not upper)
        )
        return with_length(bytes((flags,)) + b"".join(encode(bound.strip(b'"')) for bound in (lower, upper) if bound))

    return one_range


def _multirange_encoder(range_oid: int) -> Encoder:
    """multirange_send: how many ranges, and each as a field."""
    encode = _RANGES[range_oid]

    def multirange(value: bytes) -> bytes:
        if value[:1] != b"{" or value[-1:] != b"}":
            raise ValueError("not a multirange")
        fields = [encode(match[0]) for match in _RANGE.finditer(value)]
        return with_length(pack("!i", len(fields)) + b"".join(fields))

    return multirange


_RANGES: Mapping[int, Encoder] = {oid: _range_encoder(bound) for oid, bound in types.RANGES.items()}

_SINGLE: Mapping[int, Encoder] = {
    **SCALARS,
    **_RANGES,
    **{oid: _multirange_encoder(member) for oid, member in types.MULTIRANGES.items()},
}

# Arrays: array_send writes dimensions, whether there are NULLs, the element type, each dimension's length and
# lower bound, then the elements.

_ARRAY_HEADER = Struct("!iII").pack
_BOUNDS = re.compile(rb"((?:\[-?\d+:-?\d+\])+)=")
_LOWER_BOUND = re.compile(rb"\[(-?\d+):")
_TOKEN = re.compile(rb'("(?:[^"\\]|\\.)*")|([^{},"]+)|[{},]', re.DOTALL)
_QUOTED, _BARE = 1, 2
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def _array_encoder(element_oid: int) -> Encoder:
    encode = _SINGLE[element_oid]

    def array(value: bytes) -> bytes:
        bounds, value = _split_bounds(value)
        lengths, fields = _elements(value, encode)
        lower_bounds = bounds or (1,) * len(lengths)
        shape = [number for pair in zip(lengths, lower_bounds, strict=True) for number in pair]
        header = _ARRAY_HEADER(len(lengths), NULL_FIELD in fields, element_oid)
        return with_length(b"".join((header, pack(f"!{len(shape)}i", *shape), *fields)))

    return array


def _split_bounds(value: bytes) -> tuple[tuple[int, ...], bytes]:
    """Lower bounds are shown only where one of them is not 1: `[0:1][1:2]={{1,2},{3,4}}`."""
    match = _BOUNDS.match(value)
    if match is None:
        return (), value
    return tuple(map(int, _LOWER_BOUND.findall(match[1]))), value[match.end() :]


def _elements(value: bytes, encode: Encoder) -> tuple[list[int], list[bytes]]:
    """The length of each dimension, and the encoded elements."""
    inner = value[1:-1]
    if value[:1] != b"{" or value[-1:] != b"}":
        raise ValueError("not an array")
    if not inner:
        return [], []
    if b"{" not in inner and b'"' not in inner:
        texts = inner.split(b",")
        return [len(texts)], [NULL_FIELD if text == b"NULL" else encode(text) for text in texts]
    return _nested_elements(value, encode)


def _nested_elements(value: bytes, encode: Encoder) -> tuple[list[int], list[bytes]]:
    """The same for arrays with quotes or several dimensions. Those are never ragged: how often each depth is
    opened gives the lengths."""
    fields: list[bytes] = []
    opened: list[int] = []
    depth = 0
    for token in _TOKEN.finditer(value):
        kind, text = token.lastindex, token[0]
        if kind == _QUOTED:
            fields.append(encode(_ESCAPED.sub(rb"\1", text[1:-1])))
        elif kind == _BARE:
            fields.append(NULL_FIELD if text == b"NULL" else encode(text))
        elif text == b"{":
            opened += [0] * (depth == len(opened))
            opened[depth] += 1
            depth += 1
        elif text == b"}":
            depth -= 1
    counts = [*opened, len(fields)]
    return [inner // outer for outer, inner in pairwise(counts)], fields


_ENCODERS: Mapping[int, Encoder] = {
    **_SINGLE,
    **{array: _array_encoder(element) for array, element in types.ELEMENTS.items()},
}


def encoder(type_oid: int) -> Encoder | None:
    """What makes a whole binary field of a text value of this type; None for a type not known here."""
    return _ENCODERS.get(type_oid)
