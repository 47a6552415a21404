"""One PostgreSQL that stands for a CockroachDB cluster: all six tables in it, and a relay for each node in front.

It is told to look like CockroachDB as far as the proxy asks: the relays announce `crdb_version`, and its
information_schema says of columns that they are not hidden. Its SQL stays PostgreSQL's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import psycopg

from loadtest.tcp_relay import TcpRelay, parameter_status
from pgproxy.cluster.schema import split_statements
from pgproxy.demo.library import DATABASE, library_map, library_scripts
from pgproxy.demo.nodes import NODE_NAMES, EmbeddedNode, free_port
from pgproxy.shardmap.model import Engine, ShardMap

CRDB_VERSION = parameter_status("crdb_version", "CockroachDB CCL v25.4.1 (PostgreSQL behind relays)")
_LIKE_COCKROACHDB = (
    "SET search_path = information_schema",
    "ALTER VIEW information_schema.columns RENAME TO columns_of_postgresql",
    "CREATE VIEW information_schema.columns AS SELECT *, 'NO' AS is_hidden FROM columns_of_postgresql",
)


def load_all_tables(server: EmbeddedNode) -> None:
    """The library's six tables and their rows in one server."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
    with psycopg.connect(server.conninfo(DATABASE), autocommit=True) as connection:
        for statement in (statement for script in library_scripts() for statement in split_statements(script)):
            if not statement.startswith(("CREATE DATABASE", "USE")):
                connection.execute(statement.encode())


def load_gateway_server(server: EmbeddedNode) -> None:
    load_all_tables(server)
    with psycopg.connect(server.conninfo(DATABASE), autocommit=True) as connection:
        for statement in _LIKE_COCKROACHDB:
            connection.execute(statement.encode())


@contextmanager
def open_relays(server: EmbeddedNode) -> Iterator[dict[str, TcpRelay]]:
    """One for each node, by its name."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(TcpRelay(server.port, free_port(), announces=CRDB_VERSION)) for name in NODE_NAMES
        }


def gateway_map(server: EmbeddedNode, relays: Mapping[str, TcpRelay], port: int) -> ShardMap:
    """The library's shard map with the relays as its nodes."""
    nodes = [replace(server, name=name, port=relay.port) for name, relay in relays.items()]
    shard_map = library_map(nodes, port)
    return replace(shard_map, cluster=replace(shard_map.cluster, engine=Engine.COCKROACHDB))
