"""Keys of every type against the order of a real server."""

from __future__ import annotations

import itertools
import random

import psycopg
import pytest
from psycopg import sql

from pgproxy.errors import Refused
from pgproxy.operators.values import (
    ORDERS,
    SortKey,
    check_collation,
    collated,
    comparable,
    equality_reader,
    explain_keys,
    ordering_reader,
)
from pgproxy.wire.rows import Column, split_rows
from tests.operators.fake_source import batch_of, query

RANDOM = random.Random(20)


def _integers(bits: int) -> list[str]:
    edges = [0, 1, -1, (1 << bits - 1) - 1, -(1 << bits - 1)]
    return [str(n) for n in edges + [RANDOM.randrange(-1 << bits - 1, 1 << bits - 1) for _ in range(20)]]


def _numerics() -> list[str]:
    edges = [
        "0",
        "0.00",
        "-0",
        "1",
        "1.0",
        "1.000",
        "-1.0",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e130",
        "-1e130",
        "1e-1000",
    ]
    long = ["1" * 40 + ".1", "1" * 40 + ".2", "-" + "1" * 40 + ".1", "-" + "1" * 40 + ".2"]
    return edges + long + [f"{RANDOM.randrange(-999, 999)}.{RANDOM.randrange(100)}" for _ in range(20)]


TEXTS = ["", "a", "A", "ab", "a b", "b", "Z", "ä", "é", "e\u0301", "z", "日本", "😀", "\uffff", "a\x01", "10", "9", "_"]
TIMESTAMPS = [
    "2024-01-31 12:34:56", "2024-01-31 12:34:56.5", "2024-01-31 12:34:56.45", "2024-01-31 12:34:56.000001",
    "2024-02-29", "1999-12-31 23:59:59.999999", "2000-01-01", "0001-01-01", "0001-12-31 BC", "0044-03-15 12:00 BC",
    "4713-01-01 BC", "9999-12-31 23:59:59", "10000-01-01", "12345-06-07 08:09:10.11", "294276-12-31", "infinity",
    "-infinity", "1969-12-31", "0005-02-28 BC", "0005-02-29 BC", "0005-03-01 BC",
]  # fmt: skip
INTERVALS = [
    "0", "1 day", "24:00:00", "23:59:59.999999", "1 mon", "30 days", "29 days 24:00:01", "1 year", "12 mons", "-1 day",
    "-1 mon +1 day", "1 mon -30 days", "-00:00:01", "-00:00:00.5", "00:00:00.5", "1 year 2 mons 3 days 04:05:06.789",
    "-1 year -2 mons +3 days -04:05:06", "400 days", "infinity", "-infinity", "178000000 years", "2562047788:00:54",
]  # fmt: skip

VALUES: dict[str, list[str]] = {
    "int2": _integers(16),
    "int4": _integers(32),
    "int8": _integers(64),
    "oid": ["0", "1", "4294967295", "2147483648", "42"],
    "numeric": _numerics(),
    "float4": [
        "0",
        "-0",
        "1.5",
        "1e30",
        "-1e30",
        "1e-40",
        "NaN",
        "Infinity",
        "-Infinity",
        "16777217",
        "16777216",
        "0.1",
    ],
    "float8": [
        "0",
        "-0",
        "1.5",
        "1e300",
        "-1e300",
        "5e-324",
        "NaN",
        "Infinity",
        "-Infinity",
        "0.1",
        "0.10000000000000002",
    ],
    "text": TEXTS,
    "varchar": TEXTS,
    "name": TEXTS,
    "bpchar": [*TEXTS, "a ", "a  ", "ab  ", "a \x01", " "],
    "char(3)": ["a", "ab", "abc", "", "b"],
    '"char"': ["a", "A", "", "\\200", "\\377", "\\001", "~", "\\"],
    "bool": ["t", "f"],
    "date": [value.removesuffix(" 12:00 BC") + " BC" if "12:00 BC" in value else value for value in TIMESTAMPS],
    "time": ["00:00", "24:00", "12:34:56", "12:34:56.5", "12:34:56.45", "12:34:56.000001", "23:59:59.999999"],
    "timetz": [
        "12:00+00",
        "13:00+01",
        "14:00+02",
        "11:00-01",
        "12:00+01",
        "12:00:00.5+00",
        "12:00+05:30",
        "12:00-15:59:59",
    ],
    "timestamp": TIMESTAMPS,
    "timestamptz": [*TIMESTAMPS, "2024-07-01 12:00+02", "2024-07-01 10:00+00", "1890-01-01", "1891-03-15 00:00"],
    "interval": INTERVALS,
    "uuid": [f"{RANDOM.getrandbits(128):032x}" for _ in range(20)],
    "bytea": ["\\x", "\\x00", "\\x0000", "\\xff", "\\x61", "\\x6100", "\\x5c"],
    "macaddr": ["08:00:2b:01:02:03", "08:00:2b:01:02:04", "ff:00:2b:01:02:03", "00:00:00:00:00:00"],
    "macaddr8": ["08:00:2b:01:02:03:04:05", "ff:00:2b:01:02:03:04:05"],
    "varbit": ["", "0", "1", "00", "01", "10", "11", "1000000000", "100000001", "111111110"],
    "bit(9)": ["000000000", "100000000", "100000001", "011111111"],
}
DIRECTIONS = [(False, False), (False, True), (True, False), (True, True)]
ZONES = ["UTC", "Europe/Amsterdam", "America/St_Johns"]
CASES = [(type_name, zone) for type_name in VALUES for zone in (ZONES if type_name == "timestamptz" else ["UTC"])]


@pytest.mark.parametrize(("type_name", "zone"), CASES)
@pytest.mark.parametrize(("descending", "nulls_first"), DIRECTIONS)
def test_order_is_the_servers(
    connection: psycopg.Connection, type_name: str, zone: str, descending: bool, nulls_first: bool
) -> None:
    """Equal dense ranks prove order and equality at once."""
    connection.execute(f"SET TimeZone = '{zone}'".encode())
    array = sql.Literal([*VALUES[type_name], None]).as_string(connection)
    oid = query(connection, f"SELECT NULL::{type_name}")[0][0].type_oid
    order = ('v COLLATE "C"' if collated(oid) else "v") + (" DESC" if descending else "")
    columns, rows = query(
        connection,
        f"SELECT v, dense_rank() OVER (ORDER BY {order} NULLS {'FIRST' if nulls_first else 'LAST'}) "
        f"FROM (SELECT t::{type_name} AS v FROM unnest({array}::text[]) AS u(t)) AS s",
    )
    RANDOM.shuffle(rows)
    reader = ordering_reader([SortKey(0, descending, nulls_first)], columns, bytewise_default=True)
    keys, _ = reader.read(batch_of(rows).data)
    distinct = [key for key, _ in itertools.groupby(sorted(keys))]
    assert [(row[0], 1 + distinct.index(key)) for row, key in zip(rows, keys, strict=True)] == [
        (row[0], int(row[1] or 0)) for row in rows
    ]


def test_every_order_is_compared_with_the_server(connection: psycopg.Connection) -> None:
    compared = {query(connection, f"SELECT NULL::{type_name}")[0][0].type_oid for type_name in VALUES}
    assert {oid for oid, _ in ORDERS} == compared


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (1082, "31.01.2024"),
        (1082, "01/31/2024"),
        (1082, "01-31-2024"),
        (1114, "Wed Jan 31 12:34:56 2024"),
        (1114, "31.01.2024 12:34:56"),
        (1184, "01/31/2024 12:34:56 CET"),
        (1184, "Wed Jan 31 12:34:56 2024 CET"),
        (1184, "31.01.2024 12:34:56 CET"),
        (1184, "2024-01-31 12:34:56"),
        (1186, "P1Y2M"),
        (1186, "@ 1 year"),
        (1186, "1-2"),
        (1186, ""),
        (1266, "12:00:00 CET"),
        (17, "a\\\\x"),
        (20, "twelve"),
        (1700, "twelve"),
        (701, "twelve"),
    ],
)
def test_value_in_another_style_is_refused(oid: int, value: str) -> None:
    reader = equality_reader([SortKey(0)], [Column("c", type_oid=oid)])
    with pytest.raises(Refused, match="cannot read a value of type"):
        reader.read(batch_of([(value,)]).data)


@pytest.mark.parametrize("oid", [114, 3802, 790, 600, 1007, 16400, 2205])
def test_type_without_a_known_order_is_refused(oid: int) -> None:
    assert not comparable(oid)
    with pytest.raises(Refused, match="cannot compare values of type"):
        equality_reader([SortKey(0)], [Column("c", type_oid=oid)])


def test_binary_format_is_refused() -> None:
    assert not comparable(20, 1)
    with pytest.raises(Refused, match="binary"):
        equality_reader([SortKey(0)], [Column("c", type_oid=20, format=1)])


@pytest.mark.parametrize(("key", "default"), [(SortKey(0, bytewise=True), False), (SortKey(0), True)])
def test_text_known_to_be_bytewise_is_ordered(key: SortKey, default: bool) -> None:
    reader = ordering_reader([key], [Column("c", type_oid=25)], bytewise_default=default)
    assert reader.read(batch_of([("b",)]).data)[0] == [b"b"]


@pytest.mark.parametrize("oid", [25, 1043, 1042, 19])
def test_text_of_another_collation_is_refused(oid: int) -> None:
    with pytest.raises(Refused, match="collation"):
        ordering_reader([SortKey(0)], [Column("c", type_oid=oid)], bytewise_default=False)


def test_numbers_have_no_collation() -> None:
    check_collation(Column("c", type_oid=20), bytewise=False)


ROWS = [("1", "x", None), ("2", None, "zz"), (None, "", "y" * 300)]
THREE = [Column("a", type_oid=23), Column("b", type_oid=25), Column("c", type_oid=25)]


@pytest.mark.parametrize("visible", [None, 1, 2, 3])
@pytest.mark.parametrize("keys", [(0,), (1,), (2,), (0, 2), (2, 1), (2, 1, 0), ()])
def test_reader_takes_any_columns_and_cuts_hidden_ones(keys: tuple[int, ...], visible: int | None) -> None:
    reader = equality_reader([SortKey(column) for column in keys], THREE, visible=visible)
    read, rows = reader.read(batch_of(ROWS).data)
    assert rows == split_rows(batch_of([row[:visible] for row in ROWS]).data)
    whole = [equality_reader([SortKey(column)], THREE).read(batch_of(ROWS).data)[0] for column in keys]
    assert read == (whole[0] if len(keys) == 1 else [tuple(keys[n] for keys in whole) for n in range(len(ROWS))])


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (SortKey(0), "1"),
        (SortKey(1, descending=True, nulls_first=True), "2 DESC"),
        (SortKey(1, descending=True), "2 DESC NULLS LAST"),
        (SortKey(0, nulls_first=True), "1 NULLS FIRST"),
    ],
)
def test_explain(key: SortKey, text: str) -> None:
    assert explain_keys([key, key]) == f"{text}, {text}"
