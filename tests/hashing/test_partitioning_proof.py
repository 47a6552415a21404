"""The proof of the hash arithmetic: a real server's satisfies_hash_partition() on thousands of values per type."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

import psycopg
import pytest

from pgproxy.hashing import KEY_TYPES, NULL, KeyType, NoValue
from pgproxy.shardmap.model import Method, Shard, Table
from pgproxy.shardmap.placement import Placement

RANDOM_VALUES = 3000
MODULI = (2, 3, 16, 1009, 2**31 - 1)  # the last one shows 31 bits of the hash


class ReferenceServer(Protocol):
    conninfo: str


def _integer(bits: int) -> Callable[[random.Random], str]:
    def draw(rng: random.Random) -> str:
        magnitude = rng.getrandbits(rng.randint(1, bits - 1))
        return str(rng.choice((magnitude, -magnitude - 1)))

    return draw


def _text(rng: random.Random) -> str:
    alphabet = rng.choice(("ab", "abcdefghijklmnopqrstuvwxyz _'\\", "äß€漢𝄞é\n\t"))
    return "".join(rng.choices(alphabet, k=rng.choice((rng.randint(0, 13), rng.randint(0, 200)))))


def _uuid(rng: random.Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _date(rng: random.Random) -> str:
    return f"{rng.randint(1, 9999):04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _timestamp(rng: random.Random) -> str:
    time = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    return f"{_date(rng)} {time}" + rng.choice(("", f".{rng.randint(0, 999999):06}", f".{rng.randint(0, 99)}"))


def _timestamptz(rng: random.Random) -> str:
    return _timestamp(rng) + rng.choice(("Z", "+00", "-05", "+05:30", "-09:45", "+14:00"))


def _numeric(rng: random.Random) -> str:
    whole = str(rng.getrandbits(rng.randint(1, 200)) or 1) + "0" * rng.choice((0, 0, 1, 4, 9))
    fraction = rng.choice(("", "", ".", f".{rng.getrandbits(rng.randint(1, 90))}", f".{'0' * rng.randint(1, 12)}70"))
    exponent = rng.choice(("", "", "", f"e{rng.randint(-30, 30)}"))
    return rng.choice(("", "-")) + whole + fraction + exponent


# Type name, edge values, how to draw a random one.
TYPES: dict[int, tuple[str, tuple[str, ...], Callable[[random.Random], str]]] = {
    16: ("boolean", ("t", "f", "true", "false"), lambda rng: rng.choice("tf")),
    21: ("int2", ("0", "-0", "1", "-1", "32767", "-32768"), _integer(16)),
    23: ("int4", ("0", "1", "-1", "2147483647", "-2147483648"), _integer(32)),
    20: (
        "int8",
        ("0", "1", "-1", "4294967295", "4294967296", "-4294967296", str(2**63 - 1), str(-(2**63))),
        _integer(64),
    ),
    25: ("text", ("", " ", "downtown", "west", "north", "a" * 11, "a" * 12, "a" * 63, "a" * 64, "é" * 5000), _text),
    1043: ("varchar(300)", ("", "downtown", "trailing  "), _text),
    2950: ("uuid", ("00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"), _uuid),
    1082: ("date", ("0001-01-01", "1999-12-31", "2000-01-01", "2024-02-29", "9999-12-31"), _date),
    1114: ("timestamp", ("0001-01-01", "2000-01-01T00:00", "1999-12-31 23:59:59.999999"), _timestamp),
    1184: ("timestamptz", ("0001-01-01 00:00:00+14", "2000-01-01 00:00Z", "9999-12-31 23:59:59.9-14:59"), _timestamptz),
    1700: (
        "numeric",
        ("0", "-0", "0.000", "0e5", "1", "1.0", "1.000", "100", "10000", "100000000", "0.0001", "-5.", "1e-300"),
        _numeric,
    ),
}


@pytest.mark.parametrize("oid", sorted(TYPES))
def test_remainders_are_those_of_the_server(reference_pg: ReferenceServer, oid: int) -> None:
    declaration, edges, draw = TYPES[oid]
    rng = random.Random(oid)
    texts = [*edges, *(draw(rng) for _ in range(RANDOM_VALUES if oid != 16 else 4))]
    values = [KEY_TYPES[oid].parse_text(text) for text in texts]
    assert not [text for text, value in zip(texts, values, strict=True) if isinstance(value, NoValue)]
    with psycopg.connect(reference_pg.conninfo) as server:
        _set_up(server, declaration)
        for modulus in MODULI:
            remainders = [KEY_TYPES[oid].hash64(value) % modulus for value in values]
            wrong = server.execute(
                f"SELECT v, r FROM unnest(%s::text[], %s::int[]) AS given (v, r) WHERE NOT "
                f"satisfies_hash_partition('hash_proof'::regclass, %s, r, v::{declaration})",
                (texts, remainders, modulus),
            ).fetchall()
            assert wrong == [], f"modulus {modulus}: {len(wrong)} of {len(texts)}"
        server.rollback()


@pytest.mark.parametrize("oid", sorted(TYPES))
def test_whatever_is_read_the_server_reads_alike(reference_pg: ReferenceServer, oid: int) -> None:
    """Values with characters changed at random: most are UNKNOWN; those that are not must be what the server makes
    of them, under settings that dates could lean on."""
    declaration, edges, draw = TYPES[oid]
    rng = random.Random(oid)
    texts = [_damaged(rng, rng.choice((rng.choice(edges), draw(rng)))) for _ in range(RANDOM_VALUES)]
    values = [(text, KEY_TYPES[oid].parse_text(text)) for text in texts]
    read = [(text, value) for text, value in values if not isinstance(value, NoValue)]
    assert read
    with psycopg.connect(reference_pg.conninfo) as server:
        _set_up(server, declaration)
        server.execute(
            "SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Kathmandu'; SET intervalstyle = 'sql_standard'"
        )
        modulus = MODULI[-1]
        wrong = server.execute(
            f"SELECT v, r FROM unnest(%s::text[], %s::int[]) AS given (v, r) WHERE CASE "
            f"WHEN pg_input_is_valid(v, '{declaration}') THEN NOT "
            f"satisfies_hash_partition('hash_proof'::regclass, %s, r, v::{declaration}) ELSE true END",
            ([text for text, _ in read], [KEY_TYPES[oid].hash64(value) % modulus for _, value in read], modulus),
        ).fetchall()
        server.rollback()
    assert wrong == []


def _damaged(rng: random.Random, text: str) -> str:
    characters = list(text)
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(characters))
        characters[at : at + rng.randint(0, 2)] = rng.choices("0123456789-+:. TZeE_xabft", k=rng.randint(0, 2))
    return "".join(characters)


@pytest.mark.parametrize("oid", sorted(TYPES))
def test_order_and_equality_are_those_of_the_server(reference_pg: ReferenceServer, oid: int) -> None:
    """Range bounds and list values are compared in the proxy: as the server compares them (text: by bytes)."""
    declaration, edges, draw = TYPES[oid]
    rng = random.Random(oid)
    texts = [*edges, *(draw(rng) for _ in range(300))]
    with psycopg.connect(reference_pg.conninfo) as server:
        collate = ' COLLATE "C"' if oid in (25, 1043) else ""
        ordered = server.execute(
            f"SELECT array_agg(v), array_agg(rank) FROM ("
            f"SELECT v, dense_rank() OVER (ORDER BY v::{declaration}{collate}) AS rank "
            f"FROM unnest(%s::text[]) AS given (v)) AS ranked",
            (texts,),
        ).fetchone()
    assert ordered is not None
    values = [KEY_TYPES[oid].parse_text(text) for text in ordered[0]]
    ranks = {value: place for place, value in enumerate(sorted(set(values)), 1)}  # type: ignore[type-var]
    assert [ranks[value] for value in values] == ordered[1]


def test_null_goes_where_the_server_puts_it(reference_pg: ReferenceServer) -> None:
    shards = tuple(Shard(index, f"t_{index}", "node") for index in range(3))
    placement = Placement(Table("t", "public", "k", Method.HASH, shards), 20)
    with psycopg.connect(reference_pg.conninfo) as server:
        _set_up(server, "int8")
        found = server.execute(
            "SELECT r FROM generate_series(0, 2) AS r "
            "WHERE satisfies_hash_partition('hash_proof'::regclass, 3, r, NULL::int8)"
        ).fetchall()
        server.rollback()
    assert found == [(placement.shard_of(NULL),)]


def test_equal_integers_of_every_width_hash_alike() -> None:
    narrow, middle, wide = (KEY_TYPES[oid] for oid in (21, 23, 20))
    for number in (0, 1, -1, 77, -32768, 32767):
        assert _row_hashes(number, narrow, middle, wide) == {wide.hash64(number)}


def _row_hashes(number: int, *types: KeyType) -> set[int]:
    return {key_type.hash64(key_type.parse_literal(str(number))) for key_type in types}


def _set_up(server: psycopg.Connection, declaration: str) -> None:
    server.execute(f"CREATE TABLE hash_proof (k {declaration}) PARTITION BY HASH (k)")
