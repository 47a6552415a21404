"""Nodes that die, stall and come back: their shards fail with a clear error, all others do not notice."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.shardmap.model import HeartbeatSettings
from tests.activity import until
from tests.fix_nodes import LibraryCluster, running_cluster
from tests.fix_proxy import RunningProxy, running_proxy

WEST = "west-library"
QUICK = HeartbeatSettings(interval_s=0.2, timeout_s=20.0)
NOTICES_STALLS = replace(QUICK, timeout_s=2.0)
BRANCHES = ("downtown", "west", "north")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LibraryCluster]:
    """Of this module alone, which breaks it and repairs it."""
    with running_cluster() as cluster:
        yield cluster


class Load(threading.Thread):
    """Clients of one branch who ask and write without end, reconnecting when they are thrown out."""

    def __init__(self, proxy: RunningProxy, branch: str, stop: threading.Event) -> None:
        super().__init__()
        self.branch = branch
        self.answers = 0
        self.errors: list[psycopg.Error] = []
        self._proxy = proxy
        self._stop_asked = stop
        self.start()

    def run(self) -> None:
        connection = self._proxy.connect()
        while not self._stop_asked.wait(0.002):
            try:
                connection.execute(f"SELECT count(*) FROM books WHERE branch = '{self.branch}'".encode())
                connection.execute(f"UPDATE books SET genre = genre WHERE branch = '{self.branch}'".encode())
                self.answers += 1
            except psycopg.Error as error:
                self.errors.append(error)
        if connection.closed:
            self.errors.append(psycopg.OperationalError("the client lost its connection to the proxy"))
        connection.close()


@contextmanager
def load(proxy: RunningProxy) -> Iterator[dict[str, Load]]:
    stop = threading.Event()
    clients = {branch: Load(proxy, branch, stop) for branch in BRANCHES}
    try:
        yield clients
    finally:
        stop.set()
        for client in clients.values():
            client.join()


def _goes_on(client: Load, count: int = 5) -> None:
    wanted = client.answers + count
    until(lambda: client.answers >= wanted, f"answers for {client.branch}")


@pytest.mark.parametrize("how", ["kill -9", "SIGSTOP"])
def test_a_node_that_dies_under_load_and_comes_back(how: str, cluster: LibraryCluster, tmp_path: Path) -> None:
    node = cluster.nodes[WEST]
    heartbeat = NOTICES_STALLS if how == "SIGSTOP" else QUICK
    with running_proxy(cluster, tmp_path, heartbeat=heartbeat) as proxy, load(proxy) as clients:
        for client in clients.values():
            _goes_on(client)
        if how == "SIGSTOP":
            node.signal(signal.SIGSTOP)
        else:
            cluster.kill(WEST)
        try:
            until(lambda: f"ALERT: node {WEST} is DOWN" in proxy.log_text(), "the alert")
            with proxy.connect() as asking:
                for sql in ("SELECT count(*) FROM books WHERE branch = 'west'", "SELECT count(*) FROM books"):
                    with pytest.raises(psycopg.OperationalError) as failed:
                        asking.execute(sql)
                    assert failed.value.sqlstate == "08006"
                    for name in (WEST, "books_b", "patrons_b"):
                        assert name in str(failed.value)
                assert asking.execute("STATUS").fetchall()
            for branch in ("downtown", "north"):
                _goes_on(clients[branch])
        finally:
            if how == "SIGSTOP":
                node.signal(signal.SIGCONT)
            else:
                cluster.restart(WEST)
        until(lambda: "RECOVERED" in proxy.log_text(), "the recovery")
        _goes_on(clients["west"])
    assert clients["downtown"].errors == []
    assert clients["north"].errors == []
    assert {error.sqlstate for error in clients["west"].errors} <= {"08006", "57P01", "57P02", "57P03"}
    assert clients["west"].errors


def test_a_node_that_dies_in_a_transaction(cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(cluster, tmp_path, heartbeat=QUICK) as proxy, proxy.connect() as client:
        client.execute("BEGIN")
        client.execute("SELECT count(*) FROM books WHERE branch = 'north'")
        client.execute("UPDATE books SET genre = 'lost' WHERE branch = 'west'")
        cluster.kill(WEST)
        try:
            with pytest.raises(psycopg.OperationalError):
                client.execute("SELECT count(*) FROM books WHERE branch = 'west'")
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                client.execute("SELECT count(*) FROM books WHERE branch = 'north'")
            assert client.execute("COMMIT").statusmessage == "ROLLBACK"
            assert client.execute("SELECT count(*) FROM books WHERE branch = 'north'").fetchone() == (24,)
        finally:
            cluster.restart(WEST)
        until(lambda: _answers(client, "SELECT count(*) FROM books"), "the node serves again")
        assert client.execute("SELECT count(*) FROM books WHERE genre = 'lost'").fetchone() == (0,)


def test_a_commit_whose_node_has_died_is_an_error(cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(cluster, tmp_path, heartbeat=QUICK) as proxy, proxy.connect() as client:
        client.execute("BEGIN")
        client.execute("UPDATE books SET genre = 'lost' WHERE branch = 'west'")
        cluster.kill(WEST)
        try:
            with pytest.raises(psycopg.OperationalError):
                client.execute("COMMIT")
            assert client.execute("SELECT count(*) FROM books WHERE branch = 'north'").fetchone() == (24,)
        finally:
            cluster.restart(WEST)


def _answers(client: psycopg.Connection, sql: str) -> bool:
    try:
        client.execute(sql.encode())
    except psycopg.OperationalError as failed:
        if failed.sqlstate not in {"08006", "57P03"}:
            raise
        return False
    return True


@pytest.mark.parametrize("down", [[WEST], ["downtown-library"]])
def test_a_proxy_that_starts_without_a_node(down: list[str], cluster: LibraryCluster, tmp_path: Path) -> None:
    for name in down:
        cluster.kill(name)
    try:
        with running_proxy(cluster, tmp_path, heartbeat=QUICK) as proxy, proxy.connect() as client:
            assert client.execute("SELECT count(*) FROM books WHERE branch = 'north'").fetchone() == (24,)
            with pytest.raises(psycopg.OperationalError, match=down[0]) as failed:
                client.execute("SELECT count(*) FROM books")
            assert failed.value.sqlstate == "08006"
            for name in down:
                cluster.restart(name)
            until(lambda: _answers(client, "SELECT count(*) FROM books"), "the node serves")
    finally:
        for name in down:
            cluster.restart(name)
