"""Reads the nodes' catalogs into `CatalogFacts`, so that the planner never has to ask a node.

Every node that answers is read, each on one short-lived connection; nodes that are down are left out. What the
facts mean for a statement is the planner's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, LiteralString

import psycopg
from psycopg import AsyncConnection

from pgproxy.cluster import node_settings
from pgproxy.cluster.connect import connection, one_line, run
from pgproxy.errors import ProxyError
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.facts import CatalogFacts, ColumnFacts, TableFacts
from pgproxy.shardmap.model import Engine, Node, ShardMap, Table

_READ_TIMEOUT_S = 10.0
_VOLATILITIES = "isv"  # in ascending order
_BYTEWISE_LIBC = frozenset({"C", "POSIX", "C.UTF-8", "C.utf8"})
# Settings that a server reports with ParameterStatus and that are not a session's own (application_name is).
_REPORTED = (
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "scram_iterations",
    "search_path",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
    "crdb_version",
)

Relation = tuple[str, str]  # schema, name


@dataclass(frozen=True, slots=True)
class _Domain:
    """What a domain adds to its base type."""

    base_oid: int
    typmod: int
    not_null: bool
    has_default: bool


@dataclass(frozen=True, slots=True)
class _Function:
    volatility: str
    builtin: bool
    aggregate: bool


@dataclass(frozen=True, slots=True)
class _NodeCatalog:
    """What one node says."""

    server_version_num: int
    max_prepared_transactions: int
    commit_log: bool
    parameter_status: Mapping[str, str]
    bytewise_default: bool
    columns: Mapping[Relation, Mapping[str, ColumnFacts]]
    functions: Mapping[str, _Function]
    unsafe_relations: frozenset[str]
    shadowed: frozenset[str]
    settings: Mapping[str, str] = field(default_factory=dict)


async def read_facts(shard_map: ShardMap, *, skip: Collection[str] = ()) -> CatalogFacts:
    """The facts of the cluster, from the nodes that are up; `skip` names nodes known to be down.

    Raises ProxyError: 08006 when no node answers, or none that knows a table's columns; 42P01 when a
    table is nowhere although every node answered; F0000 when a node is not of the shard map's engine, or is
    configured so that answers would not be a single server's.
    """
    names = [name for name in shard_map.nodes if name not in skip]
    answers = await asyncio.gather(
        *(_read_node(shard_map, shard_map.nodes[name]) for name in names), return_exceptions=True
    )
    catalogs: dict[str, _NodeCatalog] = {}
    failures: dict[str, BaseException] = {name: OSError("the node is down") for name in skip}
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, _NodeCatalog):
            catalogs[name] = answer
        elif isinstance(answer, psycopg.Error | OSError):  # TimeoutError is an OSError
            failures[name] = answer
        else:
            raise answer
    if not catalogs:
        raise ProxyError("08006", "no node answers", detail=_explain(failures))
    return _merge(shard_map, catalogs, failures)


def _merge(
    shard_map: ShardMap, catalogs: Mapping[str, _NodeCatalog], failures: Mapping[str, BaseException]
) -> CatalogFacts:
    _check_settings({name: catalog.settings for name, catalog in catalogs.items()})
    first = next(iter(catalogs.values()))
    functions = _merge_functions(catalog.functions for catalog in catalogs.values())
    return CatalogFacts(
        engine=shard_map.cluster.engine,
        server_version_num=min(catalog.server_version_num for catalog in catalogs.values()),
        tables={name: _table_facts(table, catalogs, failures) for name, table in shard_map.tables.items()},
        functions={name: function.volatility for name, function in functions.items()},
        builtin_functions=frozenset(name for name, function in functions.items() if function.builtin),
        aggregates=frozenset(name for name, function in functions.items() if function.aggregate),
        unsafe_relations=frozenset().union(*(catalog.unsafe_relations for catalog in catalogs.values())),
        shadowed=frozenset().union(*(catalog.shadowed for catalog in catalogs.values())),
        reference_tables=_reference_facts(shard_map, catalogs),
        bytewise_default=all(catalog.bytewise_default for catalog in catalogs.values()),
        max_prepared_transactions=min(catalog.max_prepared_transactions for catalog in catalogs.values()),
        commit_log=all(catalog.commit_log for catalog in catalogs.values()),
        parameter_status=first.parameter_status,
    )


def _check_settings(settings: Mapping[str, Mapping[str, str]]) -> None:
    wrong = [f"node {node}: {problem}" for node, problem in node_settings.problems(settings)]
    if wrong:
        raise ProxyError(
            "F0000",
            "the nodes' settings would change answers",
            detail="; ".join(wrong),
            hint="Settings come from postgresql.conf, ALTER SYSTEM, ALTER DATABASE … SET and ALTER ROLE … SET.",
        )


def _table_facts(
    table: Table, catalogs: Mapping[str, _NodeCatalog], failures: Mapping[str, BaseException]
) -> TableFacts:
    """From the first shard that is up; failing that from the empty logical table that every node carries."""
    shards = [(shard.node, shard.table) for shard in table.shards]
    for node, name in [*shards, *((node, table.name) for node in catalogs)]:
        if node in catalogs and (columns := catalogs[node].columns.get((table.schema, name))):
            return TableFacts(table.name, columns)
    if failures:
        message = f'the columns of table "{table.name}" cannot be read: no node that has them answers'
        raise ProxyError("08006", message, detail=_explain(failures))
    homes = ", ".join(f'"{name}" on node {node}' for node, name in shards)
    raise ProxyError(
        "42P01",
        f'no shard of table "{table.name}" exists on its node',
        detail=f"The shard map says: {homes}.",
        hint="`pgproxy init` creates the tables of a shard map.",
    )


def _reference_facts(shard_map: ShardMap, catalogs: Mapping[str, _NodeCatalog]) -> dict[str, TableFacts]:
    found = {}
    for name in shard_map.reference_tables:
        relation = _relation(name)
        columns = next((known for catalog in catalogs.values() if (known := catalog.columns.get(relation))), None)
        if columns:
            found[name] = TableFacts(relation[1], columns)
    return found


def _merge_functions(catalogs: Iterable[Mapping[str, _Function]]) -> dict[str, _Function]:
    """The worst of what the nodes say of each name."""
    merged: dict[str, _Function] = {}
    for catalog in catalogs:
        for name, function in catalog.items():
            known = merged.get(name)
            if known is None or known == function:
                merged[name] = function
                continue
            merged[name] = _Function(
                max(known.volatility, function.volatility, key=_VOLATILITIES.index),
                known.builtin and function.builtin,
                known.aggregate or function.aggregate,
            )
    return merged


# One node


async def _read_node(shard_map: ShardMap, node: Node) -> _NodeCatalog:
    cluster = shard_map.cluster
    connect_timeout_s = shard_map.proxy.pool.connect_timeout_s
    async with (
        asyncio.timeout(connect_timeout_s + _READ_TIMEOUT_S),
        connection(node, cluster, application_name="pgproxy catalog", timeout_s=connect_timeout_s) as conn,
    ):
        return await run(conn, _read(conn, shard_map, node))


async def _read(conn: AsyncConnection, shard_map: ShardMap, node: Node) -> _NodeCatalog:
    engine = shard_map.cluster.engine
    status = {name: value for name in _REPORTED if (value := conn.info.parameter_status(name)) is not None}
    runs = Engine.COCKROACHDB if "crdb_version" in status else Engine.POSTGRESQL
    if runs is not engine:
        raise ProxyError("F0000", f"node {node.name} runs {runs.value}, but the shard map says {engine.value}")
    read = _read_cockroachdb if engine is Engine.COCKROACHDB else _read_postgresql
    catalog = await read(conn, shard_map)
    return replace(catalog, server_version_num=conn.info.server_version, parameter_status=status)


async def _read_postgresql(conn: AsyncConnection, shard_map: ShardMap) -> _NodeCatalog:
    bytewise_default = await _bytewise_default(conn)
    domains = {
        oid: _Domain(base, typmod, not_null, has_default)
        for oid, base, typmod, not_null, has_default in await _rows(conn, _DOMAINS)
    }
    columns: dict[Relation, dict[str, ColumnFacts]] = {}
    for schema, table, *column in await _rows(conn, _PG_COLUMNS, *_arrays(_all_tables(shard_map))):
        facts = _pg_column(column, domains, bytewise_default)
        columns.setdefault((schema, table), {})[facts.name] = facts
    ((prepared,),) = await _rows(conn, "SHOW max_prepared_transactions")
    return _NodeCatalog(
        server_version_num=0,
        max_prepared_transactions=int(prepared),
        commit_log=(True,) in await _rows(conn, _COMMIT_LOG, commit_log.TABLE),
        parameter_status={},
        bytewise_default=bytewise_default,
        columns=columns,
        functions=_functions(await _rows(conn, _FUNCTIONS)),
        unsafe_relations=frozenset(name for (name,) in await _rows(conn, _PG_UNSAFE, *_arrays(_mapped(shard_map)))),
        shadowed=await _shadowed(conn, shard_map),
        settings=dict(await _rows(conn, node_settings.QUERY, node_settings.NAMES)),
    )


async def _read_cockroachdb(conn: AsyncConnection, shard_map: ShardMap) -> _NodeCatalog:
    wanted = _arrays(_all_tables(shard_map))
    columns: dict[Relation, dict[str, ColumnFacts]] = {}
    for schema, table, name, oid, typmod, not_null, has_default, collation in await _rows(conn, _CRDB_COLUMNS, *wanted):
        # A collated string compares by its locale; all others by their bytes.
        facts = ColumnFacts(
            name, oid, typmod, collation is None, True, not_null, has_default, own_collation=collation is not None
        )
        columns.setdefault((schema, table), {})[name] = facts
    # A view of a shard means the same everywhere; one of a logical table would read the empty one.
    views = {name: definition or "" for name, definition in await _rows(conn, _CRDB_VIEWS)}
    return _NodeCatalog(
        server_version_num=0,
        max_prepared_transactions=0,
        commit_log=False,
        parameter_status={},
        bytewise_default=True,
        columns=columns,
        functions=_functions(await _rows(conn, _FUNCTIONS)),
        unsafe_relations=_views_naming(frozenset(shard_map.tables), views),
        shadowed=await _shadowed(conn, shard_map),
    )


async def _shadowed(conn: AsyncConnection, shard_map: ShardMap) -> frozenset[str]:
    """Names of mapped tables that other schemas have too: a search path may put those first."""
    mapped = _all_tables(shard_map)
    found = await _rows(conn, _NAMESAKES, [name for _, name in mapped])
    return frozenset(name for schema, name in found if (schema, name) not in mapped)


async def _rows(conn: AsyncConnection, statement: LiteralString, *arguments: object) -> list[tuple[Any, ...]]:
    cursor = await conn.execute(statement, arguments or None)
    return await cursor.fetchall()


def _mapped(shard_map: ShardMap) -> list[Relation]:
    """Every shard and logical table, on whichever node."""
    shards = [(table.schema, shard.table) for table in shard_map.tables.values() for shard in table.shards]
    return shards + [(table.schema, table.name) for table in shard_map.tables.values()]


def _all_tables(shard_map: ShardMap) -> list[Relation]:
    return _mapped(shard_map) + [_relation(name) for name in sorted(shard_map.reference_tables)]


def _arrays(relations: Iterable[Relation]) -> tuple[list[str], list[str]]:
    """The schemas and the names, as two array parameters. (A node that lacks a relation just gives no row.)"""
    pairs = list(relations)
    return [schema for schema, _ in pairs], [name for _, name in pairs]


def _relation(name: str) -> Relation:
    schema, dot, table = name.rpartition(".")
    return (schema, table) if dot else ("public", name)


async def _bytewise_default(conn: AsyncConnection) -> bool:
    # datlocprovider came with PostgreSQL 15; before, libc was all there was.
    ((provider, collate),) = await _rows(
        conn,
        "SELECT coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'), d.datcollate"
        " FROM pg_catalog.pg_database d WHERE d.datname = current_database()",
    )
    return _bytewise(provider, collate, default=False)


def _bytewise(provider: str | None, collate: str | None, *, default: bool) -> bool:
    """Whether a collation compares by bytes: pg_collation's collprovider and collcollate.

    The builtin provider's locales all sort by code point, which in UTF-8 is by bytes.
    """
    if provider in (None, "b"):
        return True
    if provider == "d":
        return default
    return provider == "c" and collate in _BYTEWISE_LIBC


def _pg_column(row: list[Any], domains: Mapping[int, _Domain], bytewise_default: bool) -> ColumnFacts:
    name, oid, typmod, not_null, has_default, provider, collate, deterministic = row
    # The wire shows a domain's base type (getBaseTypeAndTypmod).
    while (domain := domains.get(oid)) is not None:
        oid, typmod = domain.base_oid, domain.typmod
        not_null = not_null or domain.not_null
        has_default = has_default or domain.has_default
    bytewise = _bytewise(provider, collate, default=bytewise_default)
    own_collation = provider not in (None, "d")
    return ColumnFacts(name, oid, typmod, bytewise, deterministic, not_null, has_default, own_collation)


def _functions(rows: Iterable[tuple[Any, ...]]) -> dict[str, _Function]:
    return {name: _Function(_VOLATILITIES[worst], builtin, aggregate) for name, worst, builtin, aggregate in rows}


def _views_naming(tables: frozenset[str], views: Mapping[str, str]) -> frozenset[str]:
    """The views whose definition holds one of these names, or the name of such a view."""
    unsafe: frozenset[str] = frozenset()
    while True:
        words = "|".join(re.escape(name) for name in tables | unsafe)
        naming = re.compile(rf"(?<!\w)(?:{words})(?!\w)") if words else re.compile(r"(?!)")
        found = frozenset(name for name, definition in views.items() if naming.search(definition))
        if found <= unsafe:
            return unsafe
        unsafe |= found


_DOMAINS: LiteralString = """
    SELECT oid, typbasetype, typtypmod, typnotnull, typdefault IS NOT NULL
    FROM pg_catalog.pg_type WHERE typtype = 'd'
"""

_PG_COLUMNS: LiteralString = """
    SELECT n.nspname, c.relname, a.attname, a.atttypid, a.atttypmod, a.attnotnull,
           a.atthasdef OR a.attidentity <> '', l.collprovider, l.collcollate, coalesce(l.collisdeterministic, true)
    FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
    JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    ORDER BY n.nspname, c.relname, a.attnum
"""

_FUNCTIONS: LiteralString = """
    SELECT p.proname, max(CASE p.provolatile WHEN 'i' THEN 0 WHEN 's' THEN 1 ELSE 2 END)::int,
           bool_and(n.nspname = 'pg_catalog'), bool_or(coalesce(p.prokind = 'a', false))
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    GROUP BY p.proname
"""

_COMMIT_LOG: LiteralString = """
SELECT pg_catalog.has_schema_privilege(relnamespace, 'USAGE') AND pg_catalog.has_table_privilege(oid, 'INSERT')
FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass(%s)"""
_NAMESAKES: LiteralString = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = ANY (%s::text[])
      AND n.nspname NOT LIKE 'pg\\_toast%%' AND n.nspname NOT LIKE 'pg\\_temp%%'
"""

# Whatever reads a shard or a logical table here: views and materialized views (their rules depend on what they
# read) and parents of a shard, then what reads those.
_PG_UNSAFE: LiteralString = """
    WITH RECURSIVE mapped AS (
        SELECT c.oid
        FROM unnest(%s::text[], %s::text[]) AS wanted (schema, name)
        JOIN pg_catalog.pg_namespace n ON n.nspname = wanted.schema
        JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
    ), reading (oid) AS (
        SELECT oid FROM mapped
        UNION
        SELECT above.oid
        FROM reading r
        CROSS JOIN LATERAL (
            SELECT rule.ev_class
            FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite rule ON rule.oid = d.objid
            WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
              AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = r.oid
            UNION ALL
            SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = r.oid
        ) AS above (oid)
    )
    SELECT DISTINCT c.relname FROM reading JOIN pg_catalog.pg_class c USING (oid)
    WHERE oid NOT IN (SELECT oid FROM mapped) AND c.relkind IN ('r', 'p', 'v', 'm')
"""

_CRDB_COLUMNS: LiteralString = """
    SELECT n.nspname, c.relname, a.attname, a.atttypid, a.atttypmod, a.attnotnull,
           i.column_default IS NOT NULL OR i.is_generated <> 'NEVER' OR i.is_identity = 'YES', i.collation_name
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN information_schema.columns i
      ON i.table_schema = n.nspname AND i.table_name = c.relname AND i.column_name = a.attname
    WHERE n.nspname = ANY (%s::text[]) AND c.relname = ANY (%s::text[]) AND i.is_hidden = 'NO'
    ORDER BY n.nspname, c.relname, a.attnum
"""

_CRDB_VIEWS: LiteralString = """
    SELECT viewname, definition FROM pg_catalog.pg_views
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'crdb_internal', 'pg_extension')
"""


def _explain(failures: Mapping[str, BaseException]) -> str:
    return "; ".join(f"{node}: {one_line(error)}" for node, error in failures.items())
