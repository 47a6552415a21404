"""Thousands of random values against a real server's numeric arithmetic."""

from __future__ import annotations

import random
from decimal import Decimal

import psycopg
import pytest

from pgproxy.errors import ProxyError
from pgproxy.operators import numeric

EDGES = [
    "0", "0.00", "0.0000", "1", "-1", "9999", "10000", "-10000", "99999999", "0.0001", "0.00001", "-0.00009999", "1.5",
    "0.5", "-0.5", "123456789.123456789", "1e50", "-1e50", "1e-50", "NaN", "Infinity", "-Infinity",
]  # fmt: skip


def _random_numeric(chance: random.Random) -> str:
    digits = str(chance.randrange(10 ** chance.randrange(1, chance.choice([5, 12, 45]))))
    scale = chance.randrange(0, chance.choice([1, 4, 12, 45]))
    padded = digits.rjust(scale + 1, "0")
    text = f"{padded[: len(padded) - scale]}.{padded[len(padded) - scale :]}" if scale else digits
    return chance.choice(["", "-"]) + text


def _server(connection: psycopg.Connection, sql: str, *values: list[str]) -> list[str]:
    return [row[0] for row in connection.execute(sql.encode(), values).fetchall()]


@pytest.mark.parametrize("seed", range(4))
def test_average_has_the_servers_scale_and_rounding(connection: psycopg.Connection, seed: int) -> None:
    chance = random.Random(seed)
    totals = EDGES + [_random_numeric(chance) for _ in range(1500)]
    counts = [str(chance.choice([1, 2, 3, 7, 9999, 10000, 10001, chance.randrange(1, 10**9)])) for _ in totals]
    expected = _server(
        connection,
        "SELECT (t / c)::text FROM unnest(%s::numeric[], %s::numeric[]) WITH ORDINALITY AS u(t, c, n) ORDER BY n",
        totals,
        counts,
    )
    ours = [
        numeric.show(numeric.average(Decimal(total), int(count))).decode()
        for total, count in zip(_plain(connection, totals), counts, strict=True)
    ]
    assert ours == expected


@pytest.mark.parametrize("seed", range(4))
def test_sum_is_the_servers(connection: psycopg.Connection, seed: int) -> None:
    chance = random.Random(seed)
    triples = [[chance.choice([chance.choice(EDGES), _random_numeric(chance)]) for _ in range(3)] for _ in range(1500)]
    columns = [list(column) for column in zip(*triples, strict=True)]
    expected = _server(
        connection,
        "SELECT (a + b + c)::text FROM unnest(%s::numeric[], %s::numeric[], %s::numeric[]) WITH ORDINALITY "
        "AS u(a, b, c, n) ORDER BY n",
        *columns,
    )
    plain = [_plain(connection, column) for column in columns]
    ours = [numeric.show(numeric.add(map(Decimal, triple))).decode() for triple in zip(*plain, strict=True)]
    assert ours == expected


def _plain(connection: psycopg.Connection, values: list[str]) -> list[str]:
    """The values as the server prints them: without exponents."""
    return _server(
        connection, "SELECT v::text FROM unnest(%s::numeric[]) WITH ORDINALITY AS u(v, n) ORDER BY n", values
    )


def test_longest_numbers() -> None:
    whole = "9" * 131072
    fraction = "0." + "0" * 16382 + "1"
    assert numeric.show(numeric.add([Decimal(whole), Decimal(fraction)])).decode() == f"{whole}{fraction[1:]}"
    with pytest.raises(ProxyError) as raised:
        numeric.add([Decimal(whole), Decimal(1)])
    assert raised.value.sqlstate == "22003"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.00", "0.00"),
        ("-0.00", "0.00"),
        ("1E+3", "1000"),
        ("1E-8", "0.00000001"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
    ],
)
def test_show(value: str, text: str) -> None:
    assert numeric.show(Decimal(value)).decode() == text


@pytest.mark.parametrize(("value", "scale"), [("1", 0), ("1.50", 2), ("1E+3", 0), ("NaN", 0), ("0.000", 3)])
def test_display_scale(value: str, scale: int) -> None:
    assert numeric.display_scale(Decimal(value)) == scale
