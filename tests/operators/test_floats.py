"""Shortest texts and sums of floats against a real server."""

from __future__ import annotations

import math
import random
import struct

import psycopg
import pytest

from pgproxy.errors import ProxyError
from pgproxy.operators import floats

EDGES = [
    0.0, -0.0, 1.0, -1.0, 0.1, 0.5, 100.0, 1e14, 1e15, 1e16, 123456789012345.0, 999999999999999.0, 1234567890123456.0,
    0.0001, 0.00001, 0.00012345, 1e22, 1e23, 9e22, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 2.0**53,
    2.0**54, 2.0**60, 2.0**63, 2.0**64, 2.0**70, 9007199254740993.0, 4.35, 1e-5, math.inf, -math.inf, math.nan,
    999999.0, 1000000.0, 1e5, 1234567.0, 12345678.0, 16777216.0,
]  # fmt: skip


def _doubles(chance: random.Random, count: int) -> list[float]:
    bits = [struct.unpack("!d", struct.pack("!Q", chance.getrandbits(64)))[0] for _ in range(count)]
    large = [float(chance.getrandbits(chance.randrange(40, 90))) for _ in range(count)]
    powers = [math.ldexp(1, chance.randrange(-1000, 1000)) for _ in range(count // 4)]
    decimals = [round(chance.uniform(-1e6, 1e6), chance.randrange(6)) for _ in range(count)]
    scientific = [float(f"{chance.randrange(1, 1000)}e{chance.randrange(-40, 40)}") for _ in range(count)]
    ties = [10.0**15 + chance.randrange(10**5) / 8 for _ in range(count)]
    return EDGES + bits + large + powers + decimals + scientific + ties


def _shown(connection: psycopg.Connection, values: list[float], type_name: str) -> list[str]:
    sql = f"SELECT v::{type_name}::text FROM unnest(%s::float8[]) WITH ORDINALITY AS u(v, n) ORDER BY n"
    return [row[0] for row in connection.execute(sql.encode(), [values]).fetchall()]


@pytest.mark.parametrize("seed", range(3))
def test_doubles_are_shown_as_the_server_does(connection: psycopg.Connection, seed: int) -> None:
    values = _doubles(random.Random(seed), 1000)
    assert [floats.show_double(value).decode() for value in values] == _shown(connection, values, "float8")


@pytest.mark.parametrize("seed", range(3))
def test_singles_are_shown_as_the_server_does(connection: psycopg.Connection, seed: int) -> None:
    chance = random.Random(seed)
    ties = [2.0**20 + chance.randrange(2**20) / 8 for _ in range(1000)]
    bits = [struct.unpack("!f", struct.pack("!I", chance.getrandbits(32)))[0] for _ in range(2000)]
    values = bits + [floats.to_single(value) for value in ties + _doubles(chance, 500)]
    values = [value for value in values if math.isfinite(value)]
    assert [floats.show_single(value).decode() for value in values] == _shown(connection, values, "float4")


@pytest.mark.parametrize(
    ("add", "values", "total"),
    [
        (floats.add_doubles, [0.1, 0.2], 0.1 + 0.2),
        (floats.add_doubles, [math.inf, 1.0], math.inf),
        (floats.add_doubles, [1e308, -1e308, 1e308], 1e308),
        (floats.add_singles, [16777216.0, 1.0], 16777216.0),
        (floats.add_singles, [-math.inf, 1.0], -math.inf),
    ],
)
def test_sums(add, values: list[float], total: float) -> None:  # type: ignore[no-untyped-def]
    assert add(values) == total


@pytest.mark.parametrize("add", [floats.add_doubles, floats.add_singles])
def test_infinities_of_both_signs_have_no_sum(add) -> None:  # type: ignore[no-untyped-def]
    assert math.isnan(add([math.inf, -math.inf]))


@pytest.mark.parametrize(
    ("add", "values"), [(floats.add_doubles, [1.7e308, 1.7e308]), (floats.add_singles, [-3.4e38, -3.4e38])]
)
def test_overflow(add, values: list[float]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ProxyError, match="value out of range: overflow") as raised:
        add(values)
    assert raised.value.sqlstate == "22003"
