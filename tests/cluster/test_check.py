"""`pgproxy check` against real nodes: silent on a good cluster, and every kind of trouble named by its key path."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgproxy.cluster.check import Findings, check_nodes, run_check
from pgproxy.demo.nodes import SUPERUSER
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule
from pgproxy.shardmap.model import Engine, HttpSettings, Method, Node, Shard, ShardMap, Table
from pgproxy.shardmap.write import to_toml
from tests.fix_nodes import LibraryCluster

NODES = ("downtown-library", "west-library", "north-library")

# One statement list per node, of a schema of this test's own. Shard i of `t` is t_i on NODES[i].
GOOD = "CREATE TABLE {shard} (k bigint PRIMARY KEY, v text, n numeric(8,2)); CREATE TABLE t (LIKE {shard})"

# The embedded build has no ICU and the machine no locale but C, so two collations are made to look like what they
# cannot be; nothing here compares by them.
COLLATIONS = """
    CREATE COLLATION soft (provider = libc, locale = 'C');
    CREATE COLLATION german (provider = libc, locale = 'C');
    SET allow_system_table_mods = on;
    UPDATE pg_collation SET collisdeterministic = false WHERE oid = 'soft'::regcollation;
    UPDATE pg_collation SET collcollate = 'de_DE.utf8' WHERE oid = 'german'::regcollation;
"""


@pytest.fixture
def bare_schema(library_cluster: LibraryCluster) -> Iterator[LibraryCluster]:
    """A schema `checked` on every node, dropped afterwards."""
    _on_every_node(library_cluster, "CREATE SCHEMA checked")
    yield library_cluster
    _on_every_node(library_cluster, "DROP SCHEMA checked CASCADE")


def _on_every_node(cluster: LibraryCluster, statement: str) -> None:
    for name in NODES:
        with cluster.connect(name) as node:
            node.execute(statement.encode())


def _lay_out(cluster: LibraryCluster, *scripts: str) -> None:
    """Run script i on node i, the last one on all that are left."""
    for index, name in enumerate(NODES):
        with cluster.connect(name) as node:
            node.execute("SET search_path = checked")
            node.execute(scripts[min(index, len(scripts) - 1)].format(shard=f"t_{index}").encode())


def _map(cluster: LibraryCluster, method: Method = Method.HASH, key: str = "k", **said: tuple[object, ...]) -> ShardMap:
    """The cluster's shard map with the table `checked.t` alone; `said` gives each shard's values or bounds."""
    shards = tuple(
        Shard(index, f"t_{index}", name, **{each: facts[index] for each, facts in said.items()})  # type: ignore[arg-type]
        for index, name in enumerate(NODES)
    )
    return replace(cluster.shard_map(), tables={"t": Table("t", "checked", key, method, shards)})


def _check(shard_map: ShardMap) -> Findings:
    return asyncio.run(check_nodes(shard_map))


def _paths(lines: tuple[str, ...]) -> list[str]:
    return [line.split(": ")[0] for line in lines]


def test_the_library_is_as_its_map_says(library_cluster: LibraryCluster) -> None:
    assert _check(library_cluster.shard_map()) == Findings()


@pytest.mark.parametrize(
    ("scripts", "path", "message"),
    [
        ((GOOD, "CREATE TABLE t (k bigint)"), "tables.t.shards[1].table", "no table checked.t_1"),
        (
            (GOOD, GOOD, "CREATE TABLE {shard} (k bigint, v text); CREATE TABLE t (LIKE {shard})"),
            "tables.t.shards[2].table",
            "has no column n, which t_0 has",
        ),
        (
            (GOOD, GOOD.replace("n numeric", "extra int, n numeric")),
            "tables.t.shards[1].table",
            "has a column extra, which t_0 has not",
        ),
        (
            (GOOD, GOOD.replace("k bigint", "k int")),
            "tables.t.shards[1].table",
            "column k is integer, but bigint in t_0",
        ),
        (
            (GOOD, GOOD.replace("(8,2)", "(9,2)")),
            "tables.t.shards[1].table",
            "column n is numeric(9,2), but numeric(8,2) in t_0",
        ),
        (
            (GOOD, GOOD.replace("v text", 'v text COLLATE "C"')),
            "tables.t.shards[1].table",
            "column v is text collate C, but text in t_0",
        ),
        (
            (GOOD, "CREATE TABLE {shard} (v text, k bigint, n numeric(8,2)); CREATE TABLE t (LIKE {shard})"),
            "tables.t.shards[1].table",
            "in another order",
        ),
        (
            (GOOD, GOOD, "CREATE TABLE {shard} (k bigint, v text, n numeric(8,2))"),
            "tables.t",
            'node north-library has no (empty) table checked.t; "pgproxy init" makes it',
        ),
        (
            (GOOD + "; INSERT INTO t VALUES (1)", GOOD),
            "tables.t",
            "t on node downtown-library holds rows",
        ),
        (
            (GOOD + "; ALTER TABLE t ALTER v TYPE varchar(9)", GOOD),
            "tables.t",
            "t on node downtown-library: column v is character varying(9), but text in its shards",
        ),
    ],
)
def test_tables_that_differ(bare_schema: LibraryCluster, scripts: tuple[str, ...], path: str, message: str) -> None:
    _lay_out(bare_schema, *scripts)
    errors = _check(_map(bare_schema)).errors
    assert any(line.startswith(f"{path}: ") and message in line for line in errors), errors


@pytest.mark.parametrize(
    ("columns", "method", "key", "said", "path", "message"),
    [
        ("k bigint", Method.HASH, "other", {}, "tables.t.key", "t_0 has no column other"),
        ("k point", Method.HASH, "k", {}, "tables.t.key", "cannot be a shard key"),
        ("k char(3)", Method.HASH, "k", {}, "tables.t.key", "cannot be a shard key"),
        ("k text COLLATE checked.soft", Method.HASH, "k", {}, "tables.t.key", "nondeterministic"),
        (
            "k text COLLATE checked.german",
            Method.RANGE,
            "k",
            {"lower": (None, "g", "p"), "upper": ("g", "p", None)},
            "tables.t.key",
            "compares by bytes",
        ),
        (
            "k int2",
            Method.LIST,
            "k",
            {"values": (("1",), ("2", "70000"), ("three",))},
            "tables.t.shards[1].values[1]",
            "'70000' is not a value of type smallint",
        ),
        (
            "k timestamptz",
            Method.LIST,
            "k",
            {"values": (("2024-01-01 00:00Z",), ("2024-01-01 02:00+02",), ("2024-01-01 00:00",))},
            "tables.t.shards[1].values[0]",
            "is a value of shards[0] already",
        ),
        (
            "k text",
            Method.RANGE,
            "k",
            {"lower": (None, "9", "10"), "upper": ("9", "10", None)},
            "tables.t.shards[1]",
            "not below its upper bound",
        ),
    ],
)
def test_keys_that_do_not_suit(
    bare_schema: LibraryCluster,
    columns: str,
    method: Method,
    key: str,
    said: dict[str, tuple[object, ...]],
    path: str,
    message: str,
) -> None:
    _lay_out(bare_schema, f"{COLLATIONS} CREATE TABLE {{shard}} ({columns}); CREATE TABLE t (LIKE {{shard}})")
    errors = _check(_map(bare_schema, method, key, **said)).errors
    assert any(line.startswith(f"{path}: ") and message in line for line in errors), errors


@pytest.mark.parametrize(
    ("constraint", "warned"),
    [
        ("UNIQUE (v)", ["tables.t.key"]),
        ("PRIMARY KEY (v, k)", []),
        ("UNIQUE (v) INCLUDE (k)", ["tables.t.key"]),
        ("UNIQUE (v), UNIQUE (k)", ["tables.t.key"]),
    ],
)
def test_uniqueness_that_no_node_can_see_to(bare_schema: LibraryCluster, constraint: str, warned: list[str]) -> None:
    _lay_out(bare_schema, f"CREATE TABLE {{shard}} (k bigint, v text, {constraint}); CREATE TABLE t (LIKE {{shard}})")
    findings = _check(_map(bare_schema))
    assert findings.errors == ()
    assert _paths(findings.warnings) == warned


SCRAM = {"auth": (AuthRule(AuthMethod.SCRAM),)}
TRUST = {"auth": (AuthRule(AuthMethod.TRUST, (ip_network("127.0.0.0/8"),)), AuthRule(AuthMethod.SCRAM))}
WITH_TOKEN = {"http": HttpSettings(listen="0.0.0.0", token="x" * 16)}


@pytest.mark.parametrize(
    ("user", "change", "warned"),
    [
        (SUPERUSER, SCRAM, ["http.token", "http"]),
        ("plain", SCRAM, ["http.token"]),
        (SUPERUSER, WITH_TOKEN, ["http"]),
        (SUPERUSER, SCRAM | WITH_TOKEN, ["http"]),
        ("plain", SCRAM | WITH_TOKEN, []),
        (SUPERUSER, SCRAM | {"http": HttpSettings(enabled=False)}, []),
        (SUPERUSER, TRUST, []),
        (SUPERUSER, {}, []),  # whoever is on this machine may do anything already
    ],
)
def test_what_http_opens(library_cluster: LibraryCluster, user: str, change: dict[str, Any], warned: list[str]) -> None:
    _on_every_node(library_cluster, "CREATE ROLE plain LOGIN")
    _on_every_node(library_cluster, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain")
    try:
        shard_map = replace(library_cluster.shard_map(), **change)
        findings = _check(replace(shard_map, cluster=replace(shard_map.cluster, user=user)))
    finally:
        _on_every_node(library_cluster, "DROP OWNED BY plain; DROP ROLE plain")
    assert findings.errors == ()
    assert [path for path in _paths(findings.warnings) if path.startswith("http")] == warned


def test_reference_tables_are_everywhere_and_equal(bare_schema: LibraryCluster) -> None:
    _lay_out(bare_schema, "CREATE TABLE genres (g text)", "CREATE TABLE genres (g int)", "SELECT 1")
    shard_map = replace(bare_schema.shard_map(), reference_tables=frozenset({"checked.genres"}))
    difference = "column g is integer, but text in checked.genres on node downtown-library"
    assert _check(shard_map).errors == (
        f"reference_tables: checked.genres on node west-library: {difference}",
        "reference_tables: node north-library has no table checked.genres",
    )


def test_all_problems_at_once_and_other_nodes_still_checked(bare_schema: LibraryCluster) -> None:
    _lay_out(bare_schema, GOOD, "SELECT 1", "SELECT 1")
    shard_map = _map(bare_schema)
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        nodes = {**shard_map.nodes, NODES[1]: Node(NODES[1], "127.0.0.1", taken.getsockname()[1])}
        errors = _check(replace(shard_map, nodes=nodes)).errors
    assert _paths(errors) == ["nodes.west-library", "tables.t.shards[2].table", "tables.t"]


def test_a_silent_node_does_not_hold_the_check_up(library_cluster: LibraryCluster) -> None:
    shard_map = library_cluster.shard_map()
    pool = replace(shard_map.proxy.pool, connect_timeout_s=3.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nodes = {**shard_map.nodes, NODES[0]: Node(NODES[0], "127.0.0.1", silent.getsockname()[1])}
        errors = _check(replace(shard_map, nodes=nodes, proxy=replace(shard_map.proxy, pool=pool))).errors
    assert [line for line in errors if "in time" in line] != []
    assert _paths(errors) == ["nodes.downtown-library"]


def test_another_engine_than_said(library_cluster: LibraryCluster) -> None:
    shard_map = library_cluster.shard_map()
    cluster = replace(shard_map.cluster, engine=Engine.COCKROACHDB)
    errors = _check(replace(shard_map, cluster=cluster)).errors
    assert _paths(errors) == [f"nodes.{name}" for name in NODES]
    assert all('runs postgresql, but cluster.engine says "cockroachdb"' in line for line in errors)


def test_databases_of_other_encodings_and_collations(library_cluster: LibraryCluster) -> None:
    shard_map = replace(library_cluster.shard_map(), tables={})
    statements = {
        NODES[0]: "CREATE DATABASE checked TEMPLATE template0 ENCODING UTF8 LOCALE 'C.UTF-8'",
        NODES[1]: "CREATE DATABASE checked TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'",
        NODES[2]: "CREATE DATABASE checked TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'",
    }
    try:
        for name, statement in statements.items():
            _admin(library_cluster, name, statement)
        cluster = replace(shard_map.cluster, database="checked")
        errors = _check(replace(shard_map, cluster=cluster)).errors
    finally:
        for name in NODES:
            _admin(library_cluster, name, "DROP DATABASE IF EXISTS checked")
    assert errors == (
        "nodes.west-library: the database's encoding is LATIN1, but must be UTF8",
        "nodes.west-library: the database's collation is C (builtin), but C.UTF-8 (builtin) on node downtown-library",
        "nodes.north-library: the database's collation is C, but C.UTF-8 (builtin) on node downtown-library",
    )


def _admin(cluster: LibraryCluster, name: str, statement: str) -> None:
    with psycopg.connect(cluster.nodes[name].conninfo(), autocommit=True) as node:
        node.execute(statement.encode())


def test_run_check_reads_the_file_and_asks_the_nodes_unless_offline(
    library_cluster: LibraryCluster, tmp_path: Path
) -> None:
    path = tmp_path / "shardmap.toml"
    path.write_text(to_toml(library_cluster.shard_map()))
    assert run_check(path, offline=False) == ([], [])
    path.write_text(path.read_text().replace("books_b", "books_missing"))
    assert run_check(path, offline=True) == ([], [])
    assert [line.split(": ")[0] for line in run_check(path, offline=False)[0]] == ["tables.books.shards[1].table"]
    path.write_text("[cluster]\n")
    assert run_check(path, offline=True)[0] != []
