"""Gateways that break, stall, drain and come back: reads go on through others, writes happen once or are reported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from loadtest.tcp_relay import READY, TcpRelay, error_message
from pgproxy.shardmap.model import HeartbeatSettings
from tests.fix_gateways import GatewayCluster
from tests.fix_proxy import RunningProxy, running_proxy

WEST = "west-library"
QUICK = HeartbeatSettings(interval_s=0.2, timeout_s=0.5)
BLIND = HeartbeatSettings(interval_s=600, timeout_s=5)  # what statements find out for themselves
ROUTED = "SELECT count(*) FROM books WHERE branch = 'west'"
READS = {
    "routed": ROUTED,
    "scattered": "SELECT count(*) FROM books",
    "merged": "SELECT count(*) FROM (SELECT 1) AS one",
}


@pytest.fixture
def proxy(gateways: GatewayCluster, tmp_path: Path) -> Iterator[RunningProxy]:
    with running_proxy(gateways, tmp_path, heartbeat=QUICK, failover_stable_s=0.5) as running:
        yield running


@pytest.fixture
def blind(gateways: GatewayCluster, tmp_path: Path) -> Iterator[RunningProxy]:
    """A proxy whose heartbeat finds nothing in time."""
    with running_proxy(gateways, tmp_path, heartbeat=BLIND, failover_stable_s=0.5) as running:
        yield running


def count(client: psycopg.Connection, sql: str = ROUTED) -> int:
    row = client.execute(sql.encode()).fetchone()
    assert row is not None
    return int(row[0])


def stat(proxy: RunningProxy, name: str) -> int:
    with psycopg.connect(
        proxy.conninfo, dbname="pgproxy", autocommit=True, cursor_factory=psycopg.ClientCursor
    ) as admin:
        return int(dict(admin.execute("SHOW STATS").fetchall())[name])


def states(proxy: RunningProxy) -> dict[str, str]:
    with psycopg.connect(
        proxy.conninfo, dbname="pgproxy", autocommit=True, cursor_factory=psycopg.ClientCursor
    ) as admin:
        cursor = admin.execute("SHOW NODES")
        names = [column.name for column in cursor.description or ()]
        return {row[names.index("node")]: row[names.index("state")] for row in cursor}


def west(gateways: GatewayCluster) -> TcpRelay:
    return gateways.relays[WEST]


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("how", ["kill", "cut", "greet", "say", "reply"])
def test_a_read_goes_on(how: str, extended: bool, gateways: GatewayCluster, blind: RunningProxy) -> None:
    cursor = psycopg.Cursor if extended else psycopg.ClientCursor
    with blind.connect(cursor_factory=cursor) as client:
        counts = {name: count(client, sql) for name, sql in READS.items()}
        misbehave(west(gateways), how)
        for _ in range(3):
            assert {name: count(client, sql) for name, sql in READS.items()} == counts


def misbehave(relay: TcpRelay, how: str) -> None:
    match how:
        case "kill":
            relay.kill()
        case "cut":
            relay.cut()
        case "greet":
            relay.greet()
            relay.cut()
        case "say":
            relay.say()
        case "reply":
            relay.reply(error_message("XXUUU", "failed to connect to n2", "ERROR") + READY)
