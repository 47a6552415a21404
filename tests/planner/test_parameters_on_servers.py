"""Bound values against a real PostgreSQL: the partition that it stores a row in is the shard that the proxy chooses."""

from __future__ import annotations

import psycopg
import pytest

from pgproxy.hashing import KEY_TYPES, UNKNOWN
from pgproxy.planner.parameters import routing_text
from pgproxy.shardmap.model import Method, Shard, Table
from pgproxy.shardmap.placement import Placement
from tests.fix_nodes import ReferencePostgres

# What each parameter type is sent as: text values, which a server also gives back in binary.
_SENT = {
    16: ["t", "false"],
    19: ["west", "n" * 70],
    20: ["0", "-5", "9223372036854775807", "+7"],
    21: ["12", "-32768"],
    23: ["2147483647", " 8"],
    25: ["west", "it's", "é", "2024-05-01", ""],
    1042: ["west  "],
    1043: ["west", "42"],
    1082: ["2024-05-01", "1999-12-31", "0044-03-15 BC", "infinity"],
    1114: ["2024-05-01 10:00:00.5", "2024-05-01", "1999-12-31 23:59:59", "-infinity"],
    1184: ["2024-05-01 10:00:00+02", "2024-05-01 10:00", "1066-10-14 09:00+00"],
    1700: ["1.50", "-120034", "0.00000001", "7e8", "NaN", "123456789012345678901234567890.5", "0"],
    2950: ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc999c0b4ef8bb6d6bb9bd380a11"],
    701: ["1.5", "2"],
}
_PARTITIONS = 5


@pytest.mark.parametrize("key_oid", sorted(KEY_TYPES))
def test_rows_are_where_parameters_lead(reference_pg: ReferencePostgres, key_oid: int) -> None:
    """Each value of each type is given to the key by INSERT, which casts it as far as it may, in a time zone and
    a DateStyle that are no default ones; then it is compared with the key."""
    table = Table("t", "public", "k", Method.HASH, tuple(Shard(n, f"t{n}", "n") for n in range(_PARTITIONS)))
    placement = Placement(table, key_oid)
    routed = 0
    with psycopg.connect(reference_pg.conninfo) as connection:
        connection.execute("SET datestyle TO 'SQL, DMY'; SET timezone TO 'America/New_York'")
        connection.execute(f"CREATE TEMP TABLE t (k {placement.key_type.name}) PARTITION BY HASH (k)")
        for n in range(_PARTITIONS):
            connection.execute(
                f"CREATE TEMP TABLE t{n} PARTITION OF t FOR VALUES WITH (MODULUS {_PARTITIONS}, REMAINDER {n})"
            )
        for type_oid, texts in _SENT.items():
            for text in texts:
                for format_code in (0, 1):
                    value = _as_sent(connection.pgconn, text, type_oid, format_code)
                    key = placement.key_type.parse_literal(routing_text(value, format_code, type_oid, key_oid))
                    if key is UNKNOWN:
                        continue
                    chosen = placement.shards_of_equal(key)
                    for sql in ("INSERT INTO t VALUES ($1) RETURNING tableoid::regclass::text", _EQUAL):
                        places = _places(connection.pgconn, sql, value, type_oid, format_code)
                        assert places <= {table.shards[shard].table for shard in chosen}, (text, type_oid, sql)
                        routed += bool(places)
    assert routed >= 4


_EQUAL = "SELECT tableoid::regclass::text FROM t WHERE k = $1"


def _as_sent(pgconn: object, text: str, type_oid: int, format_code: int) -> bytes:
    if format_code == 0:
        return text.encode()
    result = pgconn.exec_params(b"SELECT $1", [text.encode()], [type_oid], [0], 1)  # type: ignore[attr-defined]
    value = result.get_value(0, 0)
    assert isinstance(value, bytes), result.error_message
    return value


def _places(pgconn: object, sql: str, value: bytes, type_oid: int, format_code: int) -> set[str]:
    """The partitions of the rows concerned; none where the server refuses the statement."""
    pgconn.exec_(b"SAVEPOINT s")  # type: ignore[attr-defined]
    result = pgconn.exec_params(sql.encode(), [value], [type_oid], [format_code], 0)  # type: ignore[attr-defined]
    if result.error_message:
        pgconn.exec_(b"ROLLBACK TO s")  # type: ignore[attr-defined]
    return {result.get_value(row, 0).decode() for row in range(result.ntuples)}
