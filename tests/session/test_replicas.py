"""A node with real streaming standbys behind a real proxy: where statements run, and what a failover does to them."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from tests.fix_proxy import RunningProxy, running_proxy
from tests.fix_replicas import NODE, QUICK, ReplicatedCluster, until

ROUTED = "SELECT inet_server_port() FROM books WHERE branch = 'west' LIMIT 1"
WRITE = "UPDATE books SET price = price WHERE branch = 'west'"


def port_of(client: psycopg.Connection, sql: str = ROUTED) -> int:
    row = client.execute(sql.encode()).fetchone()
    assert row is not None
    return int(row[0])


def node_state(proxy: RunningProxy, name: str = NODE) -> dict[str, str | None]:
    with psycopg.connect(
        proxy.conninfo, dbname="pgproxy", autocommit=True, cursor_factory=psycopg.ClientCursor
    ) as admin:
        cursor = admin.execute("SHOW NODES")
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, map(str, row), strict=True)) for row in cursor]
    return next(row for row in rows if row["node"] == name)


def test_a_promoted_standby_is_found(replicated: ReplicatedCluster, tmp_path: Path) -> None:
    standby = replicated.standbys[0]
    with (
        running_proxy(replicated.cluster, tmp_path, replicated.shard_map(), heartbeat=QUICK) as proxy,
        proxy.connect() as client,
    ):
        assert port_of(client) == replicated.primary.port
        client.execute(WRITE)
        replicated.caught_up()
        replicated.primary.kill()
        until(lambda: node_state(proxy)["state"] == "down")
        with pytest.raises(psycopg.OperationalError) as failed:
            client.execute(WRITE)
        assert failed.value.sqlstate == "08006"
        started = time.monotonic()
        replicated.promote(standby)
        until(lambda: node_state(proxy)["state"] == "up")
        print("found", time.monotonic() - started)
        assert port_of(client) == standby.port
        client.execute(WRITE)
        assert node_state(proxy)["port"] == str(standby.port)
    log = proxy.log_text()
    print(log)
    assert f"RECOVERED: node {NODE} is UP" in log
