"""Lay a shard map out on its nodes: the database, each node's shards, the logical tables, sample rows.

Reads plain SQL files and sends each statement where its table lives. Checking what is there is `cluster.check`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

import psycopg
from psycopg import sql

from pgproxy.cluster.connect import addresses, tls_options
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.model import Engine, Node, Shard, ShardMap

_CONNECT_TIMEOUT_S = 5
_MAINTENANCE_DATABASE = {Engine.POSTGRESQL: "postgres", Engine.COCKROACHDB: "defaultdb"}

# Everything in which a semicolon does not end a statement, and the semicolon that does.
_TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | [eE]'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*"
        | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | ;""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"\s+|--[^\n]*(?:\n|$)|/\*.*?\*/", re.DOTALL)
_DATABASE_STATEMENT = re.compile(r"(?:CREATE\s+DATABASE|USE|SET\s+DATABASE)\b", re.IGNORECASE)
_NAME = r'(?:"(?:""|[^"])+"|[\w$]+)'
_SUBJECT = re.compile(
    rf"""(?: (?P<create>CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?)
           | (?P<rows>INSERT\s+INTO\s+ | UPDATE\s+(?:ONLY\s+)? | DELETE\s+FROM\s+(?:ONLY\s+)?)
           | (?:ALTER|DROP)\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?
           | (?:TRUNCATE|ANALYZE)\s+(?:TABLE\s+)?
           | CREATE\s+(?:UNIQUE\s+)?INDEX\s+.*?\bON\s+(?:ONLY\s+)?
           | COMMENT\s+ON\s+TABLE\s+
         )
         (?:{_NAME}\s*\.\s*)?(?P<name>{_NAME})""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


class SchemaError(Exception):
    """The shard map cannot be laid out; the text is one line for the user."""


def split_statements(script: str) -> Iterator[str]:
    """The statements of a SQL file, without the comments before them and without their semicolons."""
    start = 0
    for token in _TOKEN.finditer(script):
        if token.group() == ";":
            yield from _bare(script[start : token.start()])
            start = token.end()
    yield from _bare(script[start:])


def statements_for_nodes(shard_map: ShardMap, scripts: Iterable[str]) -> dict[str, list[str]]:
    """Which statements each node gets, in the files' order.

    A statement about a shard goes to its home, one about a logical or reference table (its definition, not
    its rows) to every node, one about any other table where unmapped tables live, and all else (types,
    functions, schemas) to every node. A CockroachDB cluster needs telling once.
    """
    once = shard_map.cluster.engine is Engine.COCKROACHDB
    first = next(iter(shard_map.nodes))
    homes = {shard.table: shard.node for shard in _shards(shard_map)}
    parts: dict[str, list[str]] = {name: [] for name in shard_map.nodes}
    for script in scripts:
        for statement in split_statements(script):
            if not _DATABASE_STATEMENT.match(statement):
                for node in [first] if once else _homes_of(statement, shard_map, homes):
                    parts[node].append(statement)
    return {name: statements for name, statements in parts.items() if name == first or not once}


def lay_out(shard_map: ShardMap, scripts: Sequence[str], report: Callable[[str], None] = lambda _line: None) -> None:
    """Make the database, the shards and the empty logical tables on all nodes, and run the scripts' other statements.

    Safe to run twice when the scripts are (`IF NOT EXISTS`, `ON CONFLICT DO NOTHING`). Raises SchemaError.
    """
    for name, statements in statements_for_nodes(shard_map, scripts).items():
        node = shard_map.nodes[name]
        try:
            _make_database(shard_map, node)
            with ExitStack() as stack:
                connection = stack.enter_context(connect(shard_map, node, shard_map.cluster.database))
                for statement in (*_own_statements(shard_map), *statements):
                    connection.execute(statement.encode())
                _complete_tables(connection, shard_map, name)
        except psycopg.Error as failure:
            first_line = str(failure).strip().splitlines() or [type(failure).__name__]
            raise SchemaError(f"node {name}: {first_line[0]}") from failure
        report(f"{name}: {', '.join(_tables_on(shard_map, name)) or 'no shards'}")


def connect(shard_map: ShardMap, node: Node, database: str) -> psycopg.Connection:
    """A plain autocommit connection to one node, as the shard map says to log in."""
    cluster = shard_map.cluster
    return psycopg.connect(
        **addresses(node),
        user=cluster.user,
        password=cluster.password,
        dbname=database,
        **tls_options(cluster),
        connect_timeout=_CONNECT_TIMEOUT_S,
        application_name="pgproxy init",
        options="-c client_min_messages=warning",
        autocommit=True,
    )


def _bare(statement: str) -> Iterator[str]:
    at = 0
    while match := _COMMENT.match(statement, at):
        at = match.end()
    if statement := statement[at:].rstrip():
        yield statement


def _homes_of(statement: str, shard_map: ShardMap, homes: Mapping[str, str]) -> Iterable[str]:
    subject = _SUBJECT.match(statement)
    if subject is None:
        return shard_map.nodes
    name = _unquoted(subject["name"])
    if name in homes:
        return [homes[name]]
    if name in shard_map.tables and subject["rows"]:
        raise SchemaError(f"rows of the logical table {name}: name a shard, or load them through the proxy")
    if name in shard_map.tables or name in shard_map.reference_tables:
        return shard_map.nodes
    return [shard_map.home_of_unmapped]


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def _make_database(shard_map: ShardMap, node: Node) -> None:
    """CREATE DATABASE where it is missing; PostgreSQL has no IF NOT EXISTS for it."""
    database = shard_map.cluster.database
    with connect(shard_map, node, _MAINTENANCE_DATABASE[shard_map.cluster.engine]) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))


def _complete_tables(connection: psycopg.Connection, shard_map: ShardMap, node: str) -> None:
    """Create what the scripts left out: shards like their logical table, or that like a shard."""
    everywhere = shard_map.cluster.engine is Engine.COCKROACHDB
    for table in shard_map.tables.values():
        local = [shard.table for shard in table.shards if everywhere or shard.node == node]
        model = next((name for name in [table.name, *local] if _exists(connection, table.schema, name)), None)
        if model is None:
            raise SchemaError(
                f"node {node}: no file creates {' or '.join([table.name, *local])}; name one with --schema FILE"
            )
        for name in [table.name, *local]:
            connection.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} (LIKE {} INCLUDING ALL)").format(
                    sql.Identifier(table.schema, name), sql.Identifier(table.schema, model)
                )
            )


def _own_statements(shard_map: ShardMap) -> Sequence[str]:
    """What the proxy itself needs on each node."""
    return commit_log.SETUP if shard_map.cluster.engine is Engine.POSTGRESQL else ()


def _exists(connection: psycopg.Connection, schema: str, table: str) -> bool:
    query = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
    return connection.execute(query, [schema, table]).fetchone() is not None


def _shards(shard_map: ShardMap) -> Iterator[Shard]:
    for table in shard_map.tables.values():
        yield from table.shards


def _tables_on(shard_map: ShardMap, node: str) -> list[str]:
    everywhere = shard_map.cluster.engine is Engine.COCKROACHDB
    return [shard.table for shard in _shards(shard_map) if everywhere or shard.node == node]
