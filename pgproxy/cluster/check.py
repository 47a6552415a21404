"""What `pgproxy check` finds: the shard map held against the nodes, everything that is wrong at once.

Only catalogs are read, and whether a logical table is empty; that each row is on its own shard is not checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql

from pgproxy.cluster import node_settings
from pgproxy.cluster.catalog import read_facts
from pgproxy.cluster.check_across import Across, across_problems, ask_across
from pgproxy.cluster.check_auth import check_authentication
from pgproxy.cluster.check_members import check_members
from pgproxy.cluster.connect import connection, run
from pgproxy.errors import ProxyError
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.shardmap.http_role import warnings as http_warnings
from pgproxy.shardmap.load import ShardMapErrors, load
from pgproxy.shardmap.model import Engine, Node, ShardMap, Table
from pgproxy.shardmap.placement import placement_problems
from pgproxy.tls.certificates import load_certificates
from pgproxy.tls.serving import TlsFileError

_READ_TIMEOUT_S = 10.0

Relation = tuple[str, str]  # schema, name
Columns = Mapping[str, str]  # name → type and collation, in the table's order


@dataclass(frozen=True, slots=True)
class Findings:
    """`errors` keep the proxy from working rightly; `warnings` name what works otherwise than one might think.

    Each is a line `key.path: what is wrong`.
    """

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Survey:
    """What one node says."""

    encoding: str
    collation: str
    columns: Mapping[Relation, Columns]
    unique_keys: Mapping[Relation, frozenset[tuple[str, ...]]]
    with_rows: frozenset[Relation]
    settings: Mapping[str, str]
    superuser: bool
    across: Across | None


@dataclass(frozen=True, slots=True)
class _Report:
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def error(self, path: str, message: str) -> None:
        self.errors.append(f"{path}: {message}")

    def warn(self, path: str, message: str) -> None:
        self.warnings.append(f"{path}: {message}")


def run_check(path: Path, offline: bool) -> tuple[list[str], list[str]]:
    """Errors and warnings of the shard map in a file, and unless `offline` of the nodes that it names."""
    try:
        shard_map = load(path)
    except ShardMapErrors as wrong:
        return list(wrong.problems), []
    errors, warnings = check_authentication(shard_map)
    if offline:
        return errors, warnings
    try:
        load_certificates(shard_map)
    except TlsFileError as wrong:
        return [*errors, str(wrong)], warnings
    findings = asyncio.run(check_nodes(shard_map))
    return [*errors, *findings.errors], [*warnings, *findings.warnings]


async def check_nodes(shard_map: ShardMap) -> Findings:
    """Hold the shard map against its nodes, which are asked side by side. Raises nothing for what it finds."""
    report = _Report()
    names = list(shard_map.nodes)
    answers = await asyncio.gather(*(_ask(shard_map, node) for node in shard_map.nodes.values()))
    surveys: dict[str, _Survey] = {}
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, _Survey):
            surveys[name] = answer
        else:
            report.error(f"nodes.{name}", answer)
    for path, problem in await check_members(shard_map):
        report.error(path, problem)
    for table in shard_map.tables.values():
        _check_shards(table, surveys, report)
        _check_uniqueness(table, surveys, report)
        _check_logical_table(table, shard_map, surveys, report)
    _check_reference_tables(shard_map, surveys, report)
    _check_databases(surveys, report)
    for node, problem in node_settings.problems({name: survey.settings for name, survey in surveys.items()}):
        report.error(f"nodes.{node}", problem)
    across = {name: survey.across for name, survey in surveys.items()}
    for node, problem in across_problems(across, shard_map.proxy.pool.size):
        report.warn(f"nodes.{node}", problem)
    superuser = any(survey.superuser for survey in surveys.values())
    report.warnings.extend(http_warnings(shard_map, superuser=superuser))
    if surveys:
        await _check_keys(shard_map, report)
    return Findings(tuple(report.errors), tuple(report.warnings))


# What the answers mean


def _check_shards(table: Table, surveys: Mapping[str, _Survey], report: _Report) -> None:
    """Every shard is on its node and has the first one's columns."""
    model: tuple[str, Columns] | None = None
    for shard in table.shards:
        survey = surveys.get(shard.node)
        if survey is None:
            continue
        path = f"tables.{table.name}.shards[{shard.index}].table"
        columns = survey.columns.get((table.schema, shard.table))
        if columns is None:
            report.error(path, f"node {shard.node} has no table {table.schema}.{shard.table}")
        elif model is None:
            model = (shard.table, columns)
        else:
            for difference in _differences(columns, model):
                report.error(path, f"{shard.table}: {difference}")


def _differences(columns: Columns, model: tuple[str, Columns]) -> Iterator[str]:
    """What tells these columns from the model's, one line each. `model` is a table's name and its columns."""
    known_as, expected = model
    for name, description in expected.items():
        if name not in columns:
            yield f"has no column {name}, which {known_as} has"
        elif columns[name] != description:
            yield f"column {name} is {columns[name]}, but {description} in {known_as}"
    for name in columns:
        if name not in expected:
            yield f"has a column {name}, which {known_as} has not"
    if set(columns) == set(expected) and list(columns) != list(expected):
        yield f"its columns are in another order than those of {known_as}"


def _check_uniqueness(table: Table, surveys: Mapping[str, _Survey], report: _Report) -> None:
    """A node can only see to it that values are unique within its own shard."""
    found = {
        columns
        for shard in table.shards
        if shard.node in surveys
        for columns in surveys[shard.node].unique_keys.get((table.schema, shard.table), ())
    }
    for columns in sorted(found):
        if table.key not in columns:
            report.warn(
                f"tables.{table.name}.key",
                f"unique ({', '.join(columns)}) does not include the shard key {table.key}: "
                "it holds within each shard, not over all of them",
            )


def _check_logical_table(table: Table, shard_map: ShardMap, surveys: Mapping[str, _Survey], report: _Report) -> None:
    """Each PostgreSQL node carries the logical table itself, empty: catalog queries are answered from it."""
    relation = (table.schema, table.name)
    path = f"tables.{table.name}"
    expected = _columns_of_shards(table, surveys)
    for node, survey in surveys.items():
        columns = survey.columns.get(relation)
        if columns is None:
            if shard_map.cluster.engine is Engine.POSTGRESQL:
                report.error(path, f'node {node} has no (empty) table {".".join(relation)}; "pgproxy init" makes it')
            continue
        for difference in _differences(columns, ("its shards", expected)) if expected else ():
            report.error(path, f"{table.name} on node {node}: {difference}")
        if relation in survey.with_rows:
            report.error(path, f"{table.name} on node {node} holds rows; only its shards should")


def _columns_of_shards(table: Table, surveys: Mapping[str, _Survey]) -> Columns | None:
    known = (
        surveys[shard.node].columns.get((table.schema, shard.table)) for shard in table.shards if shard.node in surveys
    )
    return next((columns for columns in known if columns is not None), None)


def _check_reference_tables(shard_map: ShardMap, surveys: Mapping[str, _Survey], report: _Report) -> None:
    for name in sorted(shard_map.reference_tables):
        model: tuple[str, Columns] | None = None
        for node, survey in surveys.items():
            columns = survey.columns.get(_reference(name))
            if columns is None:
                report.error("reference_tables", f"node {node} has no table {'.'.join(_reference(name))}")
            elif model is None:
                model = (f"{name} on node {node}", columns)
            else:
                for difference in _differences(columns, model):
                    report.error("reference_tables", f"{name} on node {node}: {difference}")


def _check_databases(surveys: Mapping[str, _Survey], report: _Report) -> None:
    """Text must be the same bytes (hash keys) in the same order (merging) on every node."""
    model: tuple[str, _Survey] | None = None
    for node, survey in surveys.items():
        model = model or (node, survey)
        if survey.encoding != "UTF8":
            report.error(f"nodes.{node}", f"the database's encoding is {survey.encoding}, but must be UTF8")
        if survey.collation != model[1].collation:
            message = f"the database's collation is {survey.collation}, but {model[1].collation} on node {model[0]}"
            report.error(f"nodes.{node}", message)


async def _check_keys(shard_map: ShardMap, report: _Report) -> None:
    """The key is a column of a type that can be one, and the map's values and bounds are of that type."""
    try:
        facts = await read_facts(shard_map)
    except ProxyError as failure:
        if not report.errors:  # otherwise they say already why the catalogs could not be read
            report.error("cluster", failure.message)
        return
    for table in shard_map.tables.values():
        _check_key(table, facts, report)


def _check_key(table: Table, facts: CatalogFacts, report: _Report) -> None:
    key = facts.tables[table.name].columns.get(table.key)
    path = f"tables.{table.name}.key"
    if key is None:
        report.error(path, f"{table.shards[0].table} has no column {table.key}")
        return
    if not key.deterministic:
        report.error(path, f"the collation of {table.key} is nondeterministic: equal keys could be on several shards")
    for problem in placement_problems(table, key.type_oid, bytewise=key.bytewise):
        report.error(problem.key_path, problem.reason)


# Asking one node


async def _ask(shard_map: ShardMap, node: Node) -> _Survey | str:
    """What the node says, or what is wrong with it."""
    timeout_s = shard_map.proxy.pool.connect_timeout_s
    try:
        async with (
            asyncio.timeout(timeout_s + _READ_TIMEOUT_S),
            connection(node, shard_map.cluster, application_name="pgproxy check", timeout_s=timeout_s) as conn,
        ):
            return await run(conn, _read(conn, shard_map))
    except TimeoutError:
        return f"no answer from {node.host}:{node.port} in time"
    except (psycopg.Error, OSError) as failure:
        return f"{node.host}:{node.port}: {' '.join(str(failure).split())}"


async def _read(conn: AsyncConnection, shard_map: ShardMap) -> _Survey | str:
    engine = shard_map.cluster.engine
    ((version, encoding),) = await _rows(conn, "SELECT version(), current_setting('server_encoding')")
    cockroachdb = conn.info.parameter_status("crdb_version") is not None  # the catalog goes by it too
    runs = Engine.COCKROACHDB if cockroachdb else Engine.POSTGRESQL
    if runs is not engine:
        return f'runs {runs.value}, but cluster.engine says "{engine.value}": {version}'
    ((collation,),) = await _rows(conn, _COLLATION[engine])
    schemas, tables = _relations(shard_map)
    columns: dict[Relation, dict[str, str]] = {}
    for schema, table, name, description in await _rows(conn, _COLUMNS, schemas, tables):
        columns.setdefault((schema, table), {})[name] = description
    unique_keys: dict[Relation, set[tuple[str, ...]]] = {}
    for schema, table, names in await _rows(conn, _UNIQUE_KEYS[engine], schemas, tables):
        unique_keys.setdefault((schema, table), set()).add(tuple(names))
    logical = [(table.schema, table.name) for table in shard_map.tables.values()]
    return _Survey(
        encoding=encoding.upper().replace("-", ""),
        collation=collation,
        columns=columns,
        unique_keys={relation: frozenset(keys) for relation, keys in unique_keys.items()},
        with_rows=frozenset([each for each in logical if each in columns and await _has_rows(conn, each)]),
        settings=await _settings(conn, engine),
        superuser=conn.info.parameter_status("is_superuser") == "on",
        across=await ask_across(conn, engine),
    )


async def _settings(conn: AsyncConnection, engine: Engine) -> Mapping[str, str]:
    if engine is Engine.COCKROACHDB:  # its settings are the cluster's, not a node's
        return {}
    return {row[0]: row[1] for row in await _rows(conn, node_settings.QUERY, node_settings.NAMES)}


async def _has_rows(conn: AsyncConnection, relation: Relation) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT 1 FROM {})").format(sql.Identifier(*relation))
    ((found,),) = await (await conn.execute(query)).fetchall()
    return bool(found)


async def _rows(conn: AsyncConnection, query: LiteralString, *arguments: object) -> list[tuple[str, ...]]:
    return await (await conn.execute(query, arguments)).fetchall()


def _relations(shard_map: ShardMap) -> tuple[list[str], list[str]]:
    """Schemas and names of everything that the shard map names."""
    tables = shard_map.tables.values()
    named = {
        *((table.schema, shard.table) for table in tables for shard in table.shards),
        *((table.schema, table.name) for table in tables),
        *(_reference(name) for name in shard_map.reference_tables),
    }
    return [schema for schema, _ in named], [name for _, name in named]


def _reference(name: str) -> Relation:
    schema, _, table = name.rpartition(".")
    return schema or "public", table


# The provider's columns came with PostgreSQL 15, and were renamed in 17.
_COLLATION: dict[Engine, LiteralString] = {
    Engine.POSTGRESQL: """
        SELECT coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', d.datcollate)
               || CASE to_jsonb(d) ->> 'datlocprovider' WHEN 'i' THEN ' (icu)' WHEN 'b' THEN ' (builtin)' ELSE '' END
        FROM pg_catalog.pg_database d WHERE d.datname = current_database()
    """,
    Engine.COCKROACHDB: "SELECT 'bytewise'",
}

# Both engines answer this one. Its ANY twice finds a few relations too many, which nobody asks for.
_COLUMNS: LiteralString = """
    SELECT n.nspname, c.relname, a.attname,
           pg_catalog.format_type(a.atttypid, a.atttypmod)
           || coalesce(' collate ' || nullif(l.collname, 'default'), '')
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    WHERE n.nspname = ANY (%s::text[]) AND c.relname = ANY (%s::text[])
      AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
    ORDER BY c.oid, a.attnum
"""

# Unique indexes, whether a constraint made them or not; an expression shows as "(expression)".
_PG_UNIQUE_KEYS: LiteralString = """
    SELECT n.nspname, c.relname, array_agg(coalesce(a.attname::text, '(expression)') ORDER BY k.place)
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum AND k.attnum > 0
    WHERE i.indisunique AND k.place <= i.indnkeyatts
      AND n.nspname = ANY (%s::text[]) AND c.relname = ANY (%s::text[])
    GROUP BY i.indexrelid, n.nspname, c.relname
"""

# A table without a primary key has a hidden unique rowid there, of which nobody expects anything.
_CRDB_UNIQUE_KEYS: LiteralString = """
    SELECT t.table_schema, t.table_name, array_agg(k.column_name::text ORDER BY k.ordinal_position)
    FROM information_schema.table_constraints t
    JOIN information_schema.key_column_usage k
      ON k.constraint_schema = t.constraint_schema AND k.constraint_name = t.constraint_name
     AND k.table_schema = t.table_schema AND k.table_name = t.table_name
    WHERE t.constraint_type IN ('PRIMARY KEY', 'UNIQUE') AND k.column_name <> 'rowid'
      AND t.table_schema = ANY (%s::text[]) AND t.table_name = ANY (%s::text[])
    GROUP BY t.table_schema, t.table_name, t.constraint_name
"""

_UNIQUE_KEYS: dict[Engine, LiteralString] = {
    Engine.POSTGRESQL: _PG_UNIQUE_KEYS,
    Engine.COCKROACHDB: _CRDB_UNIQUE_KEYS,
}
