"""One PostgreSQL behind three relays, which stand for the nodes of a CockroachDB cluster and can be cut or stalled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from loadtest.gateways import gateway_map, load_gateway_server, open_relays
from loadtest.tcp_relay import TcpRelay
from pgproxy.demo.library import DATABASE
from pgproxy.demo.nodes import EmbeddedNode
from pgproxy.shardmap.model import ShardMap
from tests.fix_nodes import running_node


@dataclass(frozen=True)
class GatewayCluster:
    """A test that makes a relay misbehave heals it."""

    server: EmbeddedNode
    relays: dict[str, TcpRelay]

    def shard_map(self, port: int) -> ShardMap:
        return gateway_map(self.server, self.relays, port)

    def connect(self) -> psycopg.Connection:
        """Past the relays."""
        return psycopg.connect(self.server.conninfo(DATABASE), autocommit=True)

    def heal(self) -> None:
        for relay in self.relays.values():
            relay.heal()


@pytest.fixture(scope="session")
def gateway_server() -> Iterator[EmbeddedNode]:
    with running_node("server") as server:
        load_gateway_server(server)
        yield server


@pytest.fixture
def gateways(gateway_server: EmbeddedNode) -> Iterator[GatewayCluster]:
    with open_relays(gateway_server) as relays:
        yield GatewayCluster(gateway_server, relays)
