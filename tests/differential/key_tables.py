"""Small tables with keys of every kind, and one whose names must all be quoted; a reference table beside them.

As in `data`, the reference server's own partitions say which row belongs to which shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from pgproxy.demo.nodes import NODE_NAMES
from pgproxy.shardmap.model import Method, Shard, Table
from tests.differential.data import SHARDS

Connection = psycopg.Connection[object]


@dataclass(frozen=True, slots=True)
class KeyTable:
    """`values` (list) and `ranges` (range) say per shard what it holds; hash tables have three shards."""

    name: str
    key: str
    columns: str
    rows: str
    values: tuple[tuple[str, ...], ...] = ()
    ranges: tuple[tuple[str | None, str | None], ...] = ()

    @property
    def method(self) -> Method:
        return Method.LIST if self.values else Method.RANGE if self.ranges else Method.HASH

    def bounds(self) -> Iterator[tuple[str, str]]:
        """The name of each shard's table, and what PostgreSQL says for it behind FOR VALUES."""
        for index, shard in enumerate(SHARDS[: len(self.values or self.ranges or SHARDS)]):
            if self.values:
                bound = f"IN ({', '.join(map(_quoted, self.values[index]))})"
            elif self.ranges:
                lower, upper = self.ranges[index]
                bound = (
                    f"FROM ({_quoted(lower) if lower else 'MINVALUE'}) TO ({_quoted(upper) if upper else 'MAXVALUE'})"
                )
            else:
                bound = f"WITH (MODULUS {len(SHARDS)}, REMAINDER {index})"
            yield f"{self.name}_{shard}", bound

    def mapped(self) -> Table:
        shards = tuple(
            Shard(
                index,
                name,
                NODE_NAMES[index],
                values=self.values[index] if self.values else (),
                lower=self.ranges[index][0] if self.ranges else None,
                upper=self.ranges[index][1] if self.ranges else None,
            )
            for index, (name, _) in enumerate(self.bounds())
        )
        return Table(self.name, "public", self.key, self.method, shards)


def _quoted(text: str) -> str:
    return f"'{text}'"


_INSTANTS = (
    (None, "2020-01-01 00:00:00+00"),
    ("2020-01-01 00:00:00+00", "2024-05-05 00:00:00+00"),
    ("2024-05-05 00:00:00+00", None),
)
KEY_TABLES = (
    KeyTable(
        "Odd Books",
        "Key",
        '"Key" text NOT NULL, "select" int, "Odd Books" text, key int, "a""b" text, PRIMARY KEY ("Key", "select")',
        "('W', 1, 'a', 1, 'q'), ('W', 2, 'b', 2, 'q'), ('w', 1, 'c', 3, 'r'), ('x y', 9, 'd', 4, NULL), "
        "('Ü', 5, 'e', 5, 's')",
        values=(("W",), ("w", "x y"), ("Ü",)),
    ),
    KeyTable(
        "knum",
        "k",
        "k numeric PRIMARY KEY, v text",
        "(1, 'v0'), (2, 'v1'), (2.5, 'v2'), (-3, 'v3'), (10, 'v4'), (100, 'v5'), (0, 'v6'), (1e3, 'v7'), (5.00, 'v8'), "
        "(7.10, 'v9'), ('NaN', 'v10'), (123456789012345678901234567890, 'v11'), (0.0001, 'v12')",
    ),
    KeyTable(
        "kvc",
        "k",
        "k varchar(5) PRIMARY KEY, v int",
        "('', 0), ('a', 1), ('ab', 2), ('a ', 3), ('abc', 4), ('5', 5), ('05', 6), ('west', 7), ('é', 8)",
    ),
    KeyTable(
        "kdate",
        "k",
        "k date NOT NULL, v int",
        "('2019-12-31', 0), ('2020-01-01', 1), ('2023-02-03', 2), ('2024-05-05', 3), ('2025-01-01', 4), "
        "('infinity', 5), ('-infinity', 6)",
        ranges=((None, "2020-01-01"), ("2020-01-01", "2024-05-05"), ("2024-05-05", None)),
    ),
    KeyTable(
        "ktz",
        "k",
        "k timestamptz NOT NULL, v int",
        "('2019-12-31 23:59:59.999999+00', 0), ('2020-01-01 00:00:00+00', 1), ('2023-03-26 01:30:00+00', 2), "
        "('2023-10-29 00:30:00+00', 3), ('2023-10-29 01:30:00+00', 4), ('2024-05-05 00:00:00+00', 5), "
        "('infinity', 6), ('-infinity', 7)",
        ranges=_INSTANTS,
    ),
    KeyTable(
        "kbool", "k", "k bool NOT NULL, v int", "(true, 1), (true, 2), (false, 3)", values=(("true",), ("false",))
    ),
    # The key may be NULL; floats that differ in their last digits only.
    KeyTable(
        "nulls",
        "k",
        "k int, v int, f float8, g float4, n numeric(6,2)",
        "(NULL, 1, 0.1, 0.1, 1.5), (1, 2, '-0', '-0', 2), (2, 3, 0, 0, 2.00), (3, NULL, 'NaN', 'NaN', 'NaN'), "
        "(4, 5, 0.30000000000000004, 0.3, NULL), (5, 5, 0.3, 0.30000001, 5), (6, 2, 1e300, 1e30, 7), "
        "(7, 2, 123456789.123456789, 16777216, 7), (8, 2, 123456789.12345678, 16777217, 7)",
    ),
)
REFERENCE_TABLE = "branches"


def load_key_tables(reference: Connection, nodes: dict[str, Connection]) -> None:
    """The tables whole in the reference, and a shard of each on each node (`nodes` by shard letter)."""
    for server in (reference, *nodes.values()):
        server.execute(f"CREATE TABLE {REFERENCE_TABLE} (branch text PRIMARY KEY, city text, n int)")
        rows = "('west', 'W', 1), ('north', 'N', 2), ('downtown', 'D', NULL), ('W', 'x', 4)"
        server.execute(f"INSERT INTO {REFERENCE_TABLE} VALUES {rows}")
    for table in KEY_TABLES:
        reference.execute(_sql(f'CREATE TABLE "{table.name}" ({table.columns})'))
        reference.execute(_sql(f'INSERT INTO "{table.name}" VALUES {table.rows}'))
        reference.execute(
            _sql(f'CREATE TABLE layout ({table.columns}) PARTITION BY {table.method.value} ("{table.key}")')
        )
        for name, bound in table.bounds():
            reference.execute(_sql(f'CREATE TABLE "layout {name}" PARTITION OF layout FOR VALUES {bound}'))
        reference.execute(_sql(f'INSERT INTO layout SELECT * FROM "{table.name}"'))
        for node in nodes.values():
            node.execute(_sql(f'CREATE TABLE "{table.name}" ({table.columns})'))
        for letter, (name, _) in zip(SHARDS, table.bounds(), strict=False):
            _load_shard(nodes[letter], name, table, reference)
        reference.execute("DROP TABLE layout")


def _load_shard(node: Connection, name: str, table: KeyTable, reference: Connection) -> None:
    node.execute(_sql(f'CREATE TABLE "{name}" ({table.columns})'))
    with (
        reference.cursor().copy(_sql(f'COPY (SELECT * FROM "layout {name}") TO STDOUT')) as out,
        node.cursor().copy(_sql(f'COPY "{name}" FROM STDIN')) as into,
    ):
        for block in out:
            into.write(block)


def _sql(text: str) -> bytes:
    return text.encode()
