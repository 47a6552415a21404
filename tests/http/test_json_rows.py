"""Values become JSON without loss; names become keys that differ."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from pgproxy.http.json_rows import RowWriter, distinct
from pgproxy.wire.rows import Column, data_row


@pytest.mark.parametrize(
    ("type_oid", "text", "written"),
    [
        (20, "9223372036854775807", "9223372036854775807"),
        (23, "-1", "-1"),
        (1700, "9.990", "9.990"),
        (1700, "123456789012345678901234567890.5", "123456789012345678901234567890.5"),
        (1700, "NaN", '"NaN"'),
        (701, "1e+20", "1e+20"),
        (701, "-Infinity", '"-Infinity"'),
        (16, "t", "true"),
        (16, "f", "false"),
        (3802, '{"a": [1, null]}', '{"a": [1, null]}'),
        (25, 'a "quoted" \n text é', '"a \\"quoted\\" \\n text é"'),
        (1184, "2026-01-05 14:07:00+00", '"2026-01-05 14:07:00+00"'),
        (1007, "{1,2}", '"{1,2}"'),
        (25, None, "null"),
    ],
)
def test_values(type_oid: int, text: str | None, written: str) -> None:
    row = data_row([None if text is None else text.encode()])
    said = RowWriter([Column("x", type_oid=type_oid)]).write(row)
    assert said == f'{{"x":{written}}}'
    json.loads(said, parse_float=Decimal)


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a", "a"], ["a", "a_2", "a_3"]),
        (["a", "a", "a_2"], ["a", "a_3", "a_2"]),
        (["a_2", "a", "a"], ["a_2", "a", "a_3"]),
        (["?column?", "?column?"], ["?column?", "?column?_2"]),
    ],
)
def test_keys_differ(names: list[str], keys: list[str]) -> None:
    assert distinct(names) == keys


def test_no_columns() -> None:
    assert RowWriter([]).write(data_row([])) == "{}"
