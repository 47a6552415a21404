"""Laying a shard map out: how files are cut, where statements go, and what is on real nodes afterwards."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from pgproxy.cluster.schema import SchemaError, lay_out, split_statements, statements_for_nodes
from pgproxy.shardmap.model import ClusterSettings, Engine, Method, Node, ProxySettings, Shard, ShardMap, Table
from tests.fix_nodes import LibraryCluster

ORDERS = Table(
    "orders", "public", "id", Method.HASH, (Shard(0, "orders_0", "one"), Shard(1, "Orders 1", "two"))
)  # nothing of it lives on three
NODES = {name: Node(name, "127.0.0.1", 1) for name in ("one", "two", "three")}
MAP = ShardMap(
    ProxySettings(),
    ClusterSettings("shop", Engine.POSTGRESQL, "shop", "postgres"),
    NODES,
    {"orders": ORDERS},
    frozenset({"countries"}),
    "three",
)


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ;; \n", []),
        ("a; b", ["a", "b"]),
        ("a;\n-- said; this\nb;\n", ["a", "b"]),
        ("/* x; */ a -- y;\n + b;c", ["a -- y;\n + b", "c"]),
        ("INSERT INTO t VALUES ('a;b', 'it''s;');x", ["INSERT INTO t VALUES ('a;b', 'it''s;')", "x"]),
        (r"SELECT E'\';';x", [r"SELECT E'\';'", "x"]),
        (r"SELECT '\';x", [r"SELECT '\'", "x"]),
        ('SELECT ";""";x', ['SELECT ";"""', "x"]),
        ("DO $$ a; b $$;x", ["DO $$ a; b $$", "x"]),
        ("DO $f$ a; $$ b; $f$;x", ["DO $f$ a; $$ b; $f$", "x"]),
        ("-- only this", []),
    ],
)
def test_split(script: str, statements: list[str]) -> None:
    assert list(split_statements(script)) == statements


ALL = ["one", "two", "three"]


@pytest.mark.parametrize(
    ("statement", "nodes"),
    [
        ("CREATE TABLE IF NOT EXISTS orders (id int)", ALL),
        ("create table orders_0 (id int)", ["one"]),
        ("CREATE TABLE public.orders_0 (id int)", ["one"]),
        ('CREATE TABLE "Orders 1" (id int)', ["two"]),
        ("CREATE UNLOGGED TABLE ORDERS_0 (id int)", ["one"]),
        ("ALTER TABLE IF EXISTS ONLY orders_0 ADD x int", ["one"]),
        ("CREATE UNIQUE INDEX IF NOT EXISTS i ON orders_0 (id)", ["one"]),
        ("CREATE INDEX ON orders (id)", ALL),
        ("COMMENT ON TABLE orders_0 IS 'x'", ["one"]),
        ("INSERT INTO orders_0 VALUES (1)", ["one"]),
        ('INSERT INTO "Orders 1" VALUES (1)', ["two"]),
        ("DELETE FROM orders_0", ["one"]),
        ("TRUNCATE orders_0", ["one"]),
        ("CREATE TABLE countries (code text)", ALL),
        ("INSERT INTO countries VALUES ('fr')", ALL),
        ("CREATE TABLE audit (at timestamptz)", ["three"]),
        ("CREATE TYPE mood AS ENUM ('sad')", ALL),
        ("SET search_path TO public", ALL),
        ("CREATE DATABASE IF NOT EXISTS shop", []),
        ("USE shop", []),
        ("SET database = shop", []),
    ],
)
def test_where_statements_go(statement: str, nodes: list[str]) -> None:
    expected = {name: [statement] if name in nodes else [] for name in NODES}
    assert statements_for_nodes(MAP, [statement]) == expected


def test_a_cockroachdb_cluster_is_told_once() -> None:
    cluster = replace(MAP, cluster=replace(MAP.cluster, engine=Engine.COCKROACHDB))
    script = "USE shop; CREATE TABLE orders (id int); CREATE TABLE orders_0 (id int); CREATE TABLE audit (x int)"
    assert statements_for_nodes(cluster, [script]) == {"one": list(split_statements(script))[1:]}


def test_rows_of_a_logical_table_are_refused() -> None:
    with pytest.raises(SchemaError, match="rows of the logical table orders: name a shard, or load them through"):
        statements_for_nodes(MAP, ["INSERT INTO orders VALUES (1)"])


@pytest.fixture
def shop(library_cluster: LibraryCluster) -> ShardMap:
    """The map above on real nodes, without its database."""
    nodes = {
        name: Node(name, node.host, node.port) for name, node in zip(NODES, library_cluster.nodes.values(), strict=True)
    }
    for node in library_cluster.nodes.values():
        with psycopg.connect(node.conninfo(), autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS shop")
    return replace(MAP, nodes=nodes)


def tables(shop: ShardMap) -> dict[str, dict[str, tuple[str, ...]]]:
    """By node: each table's columns."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, node in shop.nodes.items():
        with psycopg.connect(host=node.host, port=node.port, user="postgres", dbname="shop") as connection:
            rows = connection.execute(
                "SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position)"
                " FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1"
            )
            found[name] = {table: tuple(columns) for table, columns in rows}
    return found


@pytest.mark.parametrize("times", [1, 2])
def test_the_logical_table_alone_is_enough(shop: ShardMap, times: int) -> None:
    columns = ("id", "total")
    for _ in range(times):
        lay_out(shop, ["CREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY, total numeric DEFAULT 0)"])
    assert tables(shop) == {
        "one": {"orders": columns, "orders_0": columns},
        "two": {"orders": columns, "Orders 1": columns},
        "three": {"orders": columns},
    }


def test_shards_alone_are_enough_where_every_node_has_one(shop: ShardMap) -> None:
    two_nodes = replace(shop, nodes={name: shop.nodes[name] for name in ("one", "two")}, unmapped_node=None)
    lay_out(
        two_nodes, ['CREATE TABLE orders_0 (id bigint PRIMARY KEY); CREATE TABLE "Orders 1" (id bigint PRIMARY KEY)']
    )
    assert tables(two_nodes) == {
        "one": {"orders": ("id",), "orders_0": ("id",)},
        "two": {"orders": ("id",), "Orders 1": ("id",)},
    }


def test_a_table_that_no_file_creates_is_named(shop: ShardMap) -> None:
    with pytest.raises(SchemaError, match=r"node one: no file creates orders or orders_0; name one with --schema FILE"):
        lay_out(shop, ["SELECT 1"])


def test_a_wrong_statement_names_its_node(shop: ShardMap) -> None:
    with pytest.raises(SchemaError, match='node two: type "nothing" does not exist'):
        lay_out(shop, ["CREATE TABLE orders_0 (id int)", 'CREATE TABLE "Orders 1" (id nothing)'])
