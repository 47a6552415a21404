"""Rows of text-format values as JSON objects by column name.

A number stays the digits that the node sent, so that no numeric passes through a float; what JSON has no word for
(NaN, dates, arrays …) is a string as PostgreSQL writes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from pgproxy.wire.rows import Column, fields_of

_BOOL = 16
_NUMBERS = (20, 21, 23, 26, 700, 701, 1700)  # int8, int2, int4, oid, float4, float8, numeric
_JSON = (114, 3802)
_NOT_NUMBERS = frozenset({"NaN", "Infinity", "-Infinity"})


class RowWriter:
    """Writes DataRow messages of these columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        names = distinct([column.name for column in columns])
        self._cells = [
            (f"{_text(name)}:", _WRITERS.get(column.type_oid, _text))
            for name, column in zip(names, columns, strict=True)
        ]

    def write(self, row: bytes) -> str:
        """`row` is a whole DataRow message."""
        cells = zip(self._cells, fields_of(row), strict=True)
        return (
            "{"
            + ",".join(name + ("null" if value is None else write(value.decode())) for (name, write), value in cells)
            + "}"
        )


def distinct(names: Sequence[str]) -> list[str]:
    """Names of which no two are equal, as keys of an object must be: the second `x` becomes `x_2`."""
    taken = set(names)
    seen: set[str] = set()
    given = []
    for name in names:
        number, free = 2, name
        while free in seen or (free != name and free in taken):
            free = f"{name}_{number}"
            number += 1
        seen.add(free)
        given.append(free)
    return given


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _number(text: str) -> str:
    return _text(text) if text in _NOT_NUMBERS else text


def _boolean(text: str) -> str:
    return "true" if text == "t" else "false"


_WRITERS: dict[int, Callable[[str], str]] = {
    _BOOL: _boolean,
    **dict.fromkeys(_NUMBERS, _number),
    **dict.fromkeys(_JSON, str),
}
