"""The catalog facts of real servers, with views, domains, collations and functions made for the purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from pgproxy.cluster.catalog import _bytewise, _views_naming, read_facts
from pgproxy.demo.nodes import HOST, EmbeddedNode, free_port
from pgproxy.errors import ProxyError
from pgproxy.shardmap.facts import CatalogFacts, ColumnFacts
from pgproxy.shardmap.model import (
    ClusterSettings,
    Engine,
    Method,
    Node,
    PoolSettings,
    ProxySettings,
    Shard,
    ShardMap,
    Table,
)
from tests.fix_nodes import LibraryCluster, running_cluster, running_node
from tests.fix_system_nodes import running_system_node

DOWNTOWN, WEST, NORTH = "downtown-library", "west-library", "north-library"

pytestmark = pytest.mark.asyncio

ZOO = """
CREATE DOMAIN isbn13 AS bigint DEFAULT 0 NOT NULL;
CREATE DOMAIN short AS varchar(10);
CREATE DOMAIN shorter AS short;
-- The servers at hand may be built without ICU; rows of the catalog are all that is needed here.
SET allow_system_table_mods = on;
INSERT INTO pg_collation (oid, collname, collnamespace, collowner, collprovider, collisdeterministic, collencoding,
                          colllocale)
VALUES (90001, 'german', 'public'::regnamespace, 10, 'i', true, -1, 'de'),
       (90002, 'any_case', 'public'::regnamespace, 10, 'i', false, -1, 'und-u-ks-level2');
CREATE TABLE zoo (
    plain text, c text COLLATE "C", posix text COLLATE "POSIX", utf8 text COLLATE pg_c_utf8,
    basic text COLLATE ucs_basic, unicode text COLLATE unicode, german text COLLATE german,
    any_case text COLLATE any_case,
    number int NOT NULL, price numeric(8, 2) DEFAULT 1, gone int, made int GENERATED ALWAYS AS IDENTITY,
    twice int GENERATED ALWAYS AS (number * 2) STORED, isbn isbn13, word shorter, words text[]
);
ALTER TABLE zoo DROP COLUMN gone;
CREATE TABLE unmapped (a int);
CREATE VIEW of_unmapped AS SELECT a FROM unmapped;
CREATE VIEW of_shard AS SELECT isbn FROM books_b;
CREATE VIEW of_logical AS SELECT patron_id FROM patrons;
CREATE MATERIALIZED VIEW of_view AS SELECT o.isbn FROM of_shard o, unmapped;
CREATE VIEW of_other_nodes_shard_name AS SELECT 'books_a' AS label;
CREATE TABLE parent (number int NOT NULL);
ALTER TABLE zoo INHERIT parent;
CREATE SCHEMA apart;
CREATE TABLE apart.books (a int);
CREATE VIEW apart.of_apart AS SELECT a FROM apart.books;
CREATE TABLE currencies (code text PRIMARY KEY, name text);
CREATE FUNCTION lower(a int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION own_stable() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
CREATE AGGREGATE own_product (int) (sfunc = int4mul, stype = int);
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LibraryCluster]:
    with running_cluster() as running:
        with running.connect(WEST) as connection:
            connection.execute(ZOO.encode())
        with running.connect(NORTH) as connection:
            connection.execute("CREATE FUNCTION own_stable(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'")
        yield running


def zoo_map(cluster: LibraryCluster) -> ShardMap:
    shard_map = cluster.shard_map()
    zoo = Table("zoo", "public", "plain", Method.LIST, (Shard(0, "zoo", WEST, ("x",)),))
    return replace(
        shard_map,
        tables={**shard_map.tables, "zoo": zoo},
        reference_tables=frozenset({"currencies", "absent"}),
        proxy=replace(shard_map.proxy, pool=PoolSettings(connect_timeout_s=60.0)),
    )


def without(shard_map: ShardMap, *names: str) -> ShardMap:
    """The same map with these nodes where nobody listens."""
    dead = {name: Node(name, HOST, free_port()) for name in names}
    return replace(shard_map, nodes={**shard_map.nodes, **dead})


@pytest.fixture(scope="module")
def facts(cluster: LibraryCluster) -> CatalogFacts:
    return asyncio.run(read_facts(zoo_map(cluster)))


async def test_columns_of_the_library(facts: CatalogFacts) -> None:
    books = facts.tables["books"]
    assert [(c.name, c.type_oid, c.not_null, c.has_default) for c in books.columns.values()] == [
        ("isbn", 20, True, False),
        ("branch", 25, True, False),
        ("book_name", 25, True, False),
        ("author", 25, True, False),
        ("genre", 25, False, False),
        ("published_year", 23, False, False),
        ("price", 1700, False, False),
        ("checked_out", 16, True, True),
        ("patron_id", 20, False, False),
        ("updated_at", 1184, True, True),
    ]
    assert books.columns["price"].typmod == (8 << 16 | 2) + 4
    assert all(column.bytewise and column.deterministic for column in books.columns.values())
    assert list(facts.tables["patrons"].columns) == ["patron_id", "name", "email", "branch", "joined"]


@pytest.mark.parametrize(
    "column",
    [
        ColumnFacts("plain", 25),
        ColumnFacts("c", 25, own_collation=True),
        ColumnFacts("posix", 25, own_collation=True),
        ColumnFacts("utf8", 25, own_collation=True),
        ColumnFacts("basic", 25, own_collation=True),
        ColumnFacts("unicode", 25, bytewise=False, own_collation=True),
        ColumnFacts("german", 25, bytewise=False, own_collation=True),
        ColumnFacts("any_case", 25, bytewise=False, deterministic=False, own_collation=True),
        ColumnFacts("number", 23, not_null=True),
        ColumnFacts("price", 1700, (8 << 16 | 2) + 4, has_default=True),
        ColumnFacts("made", 23, not_null=True, has_default=True),
        ColumnFacts("twice", 23, has_default=True),
        ColumnFacts("isbn", 20, not_null=True, has_default=True),
        ColumnFacts("word", 1043, 14),
        ColumnFacts("words", 1009),
    ],
    ids=lambda column: column.name,
)
async def test_columns_of_every_kind(facts: CatalogFacts, column: ColumnFacts) -> None:
    assert facts.tables["zoo"].columns[column.name] == column


async def test_types_are_those_that_the_wire_shows(facts: CatalogFacts, cluster: LibraryCluster) -> None:
    with cluster.connect(WEST) as connection:
        described = connection.execute("SELECT * FROM zoo").description
    assert described is not None
    columns = facts.tables["zoo"].columns.values()
    assert [(c.name, c.type_oid) for c in columns] == [(d.name, d.type_code) for d in described]


@pytest.mark.parametrize(
    ("name", "volatility", "builtin"),
    [
        ("now", "s", True),
        ("random", "v", True),
        ("upper", "i", True),
        ("lower", "v", False),  # immutable in pg_catalog; a user's overload on one node is not
        ("own_stable", "v", False),  # stable on one node, volatile on another
        ("own_product", "i", False),
        ("count", "i", True),
    ],
)
async def test_functions(facts: CatalogFacts, name: str, volatility: str, builtin: bool) -> None:
    assert facts.functions[name] == volatility
    assert (name in facts.builtin_functions) is builtin


async def test_aggregates(facts: CatalogFacts) -> None:
    assert {"count", "sum", "avg", "string_agg", "own_product"} <= facts.aggregates
    assert not {"lower", "now", "row_number"} & facts.aggregates


async def test_relations_that_read_a_mapped_table(facts: CatalogFacts) -> None:
    assert facts.unsafe_relations == {"of_shard", "of_logical", "of_view", "parent"}


async def test_names_that_another_schema_has_too(facts: CatalogFacts) -> None:
    assert facts.shadowed == {"books"}


async def test_reference_tables(facts: CatalogFacts) -> None:
    assert list(facts.reference_tables) == ["currencies"]
    assert list(facts.reference_tables["currencies"].columns) == ["code", "name"]


async def test_the_servers_own_facts(facts: CatalogFacts) -> None:
    assert facts.engine is Engine.POSTGRESQL
    assert facts.server_version_num // 10_000 == 18
    assert facts.max_prepared_transactions == 64
    assert facts.bytewise_default is True


async def test_parameter_status(facts: CatalogFacts, cluster: LibraryCluster) -> None:
    with cluster.connect(WEST) as connection:
        assert facts.parameter_status["server_version"] == connection.info.parameter_status("server_version")
    assert facts.parameter_status["client_encoding"] == "UTF8"
    assert facts.parameter_status["TimeZone"] == "UTC"
    assert facts.parameter_status["DateStyle"] == "ISO, MDY"
    assert facts.parameter_status["integer_datetimes"] == "on"
    assert {"IntervalStyle", "standard_conforming_strings", "server_encoding"} <= set(facts.parameter_status)
    assert "application_name" not in facts.parameter_status
    assert "crdb_version" not in facts.parameter_status


async def test_a_down_node_is_left_out(cluster: LibraryCluster, facts: CatalogFacts) -> None:
    some = await read_facts(without(zoo_map(cluster), DOWNTOWN))
    assert some.tables == facts.tables  # books_a is on the dead node; books_b will do
    assert some.shadowed == {"books"}  # in a schema of west alone
    assert some.parameter_status == facts.parameter_status


async def test_a_node_to_skip_is_not_asked(cluster: LibraryCluster) -> None:
    some = await read_facts(cluster.shard_map(), skip={WEST})
    assert not some.shadowed
    with pytest.raises(ProxyError, match='table "zoo" cannot be read') as caught:
        await read_facts(zoo_map(cluster), skip={WEST})
    assert caught.value.detail == f"{WEST}: the node is down"


async def test_a_table_whose_only_home_is_down_is_read_from_a_logical_one(cluster: LibraryCluster) -> None:
    shard_map = cluster.shard_map()
    books = shard_map.tables["books"]
    lone = replace(shard_map, tables={"books": replace(books, shards=books.shards[:1])})
    assert list((await read_facts(without(lone, DOWNTOWN))).tables["books"].columns)[:2] == ["isbn", "branch"]


async def test_a_table_that_no_node_can_show(cluster: LibraryCluster) -> None:
    with pytest.raises(ProxyError, match='table "zoo" cannot be read') as caught:
        await read_facts(without(zoo_map(cluster), WEST))
    assert caught.value.sqlstate == "08006"
    assert WEST in (caught.value.detail or "")


async def test_a_table_that_is_nowhere(cluster: LibraryCluster) -> None:
    shard_map = cluster.shard_map()
    ghost = Table("ghost", "public", "k", Method.HASH, (Shard(0, "ghost_a", WEST),))
    with pytest.raises(ProxyError, match='no shard of table "ghost"') as caught:
        await read_facts(replace(shard_map, tables={"ghost": ghost}))
    assert caught.value.sqlstate == "42P01"
    assert "pgproxy init" in (caught.value.hint or "")


async def test_no_node_at_all(cluster: LibraryCluster) -> None:
    with pytest.raises(ProxyError, match="no node answers") as caught:
        await read_facts(without(cluster.shard_map(), DOWNTOWN, WEST, NORTH))
    assert caught.value.sqlstate == "08006"
    assert all(name in (caught.value.detail or "") for name in (DOWNTOWN, WEST, NORTH))


async def test_the_wrong_engine_is_said(cluster: LibraryCluster) -> None:
    shard_map = cluster.shard_map()
    wrong = replace(shard_map, cluster=replace(shard_map.cluster, engine=Engine.COCKROACHDB))
    with pytest.raises(ProxyError, match="runs postgresql, but the shard map says cockroachdb") as caught:
        await read_facts(wrong)
    assert caught.value.sqlstate == "F0000"


async def test_a_map_without_tables(cluster: LibraryCluster) -> None:
    assert (await read_facts(replace(cluster.shard_map(), tables={}))).tables == {}


@pytest.mark.parametrize(
    ("options", "bytewise"),
    [
        ("LOCALE_PROVIDER libc LOCALE 'C'", True),
        ("LOCALE_PROVIDER libc LOCALE 'POSIX'", True),
        ("LOCALE_PROVIDER libc LOCALE 'C.UTF-8'", True),
        ("LOCALE_PROVIDER libc LOCALE 'C.utf8'", True),
        ("LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'", True),
        ("LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST' LOCALE 'C'", True),
    ],
)
async def test_default_collations(lone_node: EmbeddedNode, options: str, bytewise: bool) -> None:
    await assert_default_collation(lone_node, options, bytewise=bytewise)


@pytest.mark.system_postgres
@pytest.mark.parametrize("options", ["ICU_LOCALE 'und' LOCALE 'C'", "ICU_LOCALE 'de' LOCALE 'C.UTF-8'"])
async def test_default_collations_of_icu(options: str) -> None:
    """PostgreSQL from PyPI has no ICU."""
    with running_system_node("lone") as node:
        await assert_default_collation(node, f"LOCALE_PROVIDER icu {options}", bytewise=False)


async def assert_default_collation(node: EmbeddedNode, options: str, *, bytewise: bool) -> None:
    with psycopg.connect(node.conninfo(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS tried WITH (FORCE)")
        connection.execute(f"CREATE DATABASE tried TEMPLATE template0 ENCODING 'UTF8' {options}".encode())
    with psycopg.connect(node.conninfo("tried"), autocommit=True) as connection:
        connection.execute('CREATE TABLE t (a text, b text COLLATE "C", c int)')
    facts = await read_facts(single_map(node))
    assert facts.bytewise_default is bytewise
    columns = facts.tables["t"].columns
    assert [columns[name].bytewise for name in "abc"] == [bytewise, True, True]
    assert [columns[name].own_collation for name in "abc"] == [False, True, False]


@pytest.mark.parametrize(
    ("provider", "collate", "default", "bytewise"),
    [
        (None, None, False, True),  # a type without collation
        ("b", None, False, True),
        ("c", "C", False, True),
        ("c", "POSIX", False, True),
        ("c", "C.UTF-8", False, True),
        ("c", "C.utf8", False, True),
        ("c", "en_US.UTF-8", True, False),
        ("i", None, True, False),
        ("i", "C", True, False),
        ("d", None, True, True),
        ("d", None, False, False),
    ],
)
async def test_bytewise_collations(provider: str | None, collate: str | None, default: bool, bytewise: bool) -> None:
    assert _bytewise(provider, collate, default=default) is bytewise


@pytest.fixture(scope="module")
def lone_node() -> Iterator[EmbeddedNode]:
    with running_node("lone") as node:
        yield node


def single_map(node: EmbeddedNode) -> ShardMap:
    return ShardMap(
        ProxySettings(),
        ClusterSettings("lone", Engine.POSTGRESQL, "tried", "postgres"),
        {"lone": Node("lone", node.host, node.port)},
        {"t": Table("t", "public", "a", Method.LIST, (Shard(0, "t", "lone", ("x",)),))},
    )


@pytest.mark.parametrize(
    ("views", "unsafe"),
    [
        ({}, set()),
        ({"v": "SELECT a FROM d.public.books"}, {"v"}),
        ({"v": "SELECT a FROM d.public.books_a"}, set()),
        ({"v": "SELECT a FROM d.public.x", "w": "SELECT a FROM v"}, set()),
        ({"w": "SELECT a FROM v", "v": 'SELECT a FROM "books" AS b', "x": "SELECT 1 FROM w, t"}, {"v", "w", "x"}),
    ],
)
async def test_views_naming_a_table(views: dict[str, str], unsafe: set[str]) -> None:
    assert _views_naming(frozenset({"books", "patrons"}), views) == unsafe
