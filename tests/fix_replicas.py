"""A library node with real streaming standbys, and what one does to such a node: kill, promote, follow."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from pgproxy.demo.library import DATABASE
from pgproxy.demo.nodes import SUPERUSER, SYSTEM_USER, EmbeddedNode, programs_folder
from pgproxy.shardmap.model import HeartbeatSettings, ShardMap
from tests.fix_nodes import LibraryCluster, running_cluster
from tests.fix_proxy import RunningProxy

NODE = "west-library"  # the one with standbys
PATIENCE_S = 60.0
QUICK = HeartbeatSettings(interval_s=0.2, timeout_s=20.0)


@dataclass(frozen=True)
class ReplicatedCluster:
    """The library's nodes; `members[0]` of NODE is the primary at first, the others are its standbys."""

    cluster: LibraryCluster
    members: tuple[EmbeddedNode, ...]

    @property
    def primary(self) -> EmbeddedNode:
        return self.members[0]

    @property
    def standbys(self) -> tuple[EmbeddedNode, ...]:
        return self.members[1:]

    def connect(self, member: EmbeddedNode) -> psycopg.Connection:
        return psycopg.connect(member.conninfo(DATABASE), autocommit=True)

    def ask(self, member: EmbeddedNode, sql: str) -> Any:
        with self.connect(member) as connection:
            row = connection.execute(sql.encode()).fetchone()
        return row and row[0]

    def promote(self, member: EmbeddedNode) -> None:
        assert self.ask(member, "SELECT pg_promote(true, 60)") is True

    def caught_up(self) -> None:
        """Wait until the running standbys of the running primary have replayed all that it has written."""
        wal = self.ask(self.primary, "SELECT pg_current_wal_lsn()::text")
        for standby in self.standbys:
            if standby.running:
                until(lambda: self.ask(standby, f"SELECT pg_last_wal_replay_lsn() >= '{wal}'"))  # noqa: B023

    def shard_map(self, read_from: str = "primary", max_lag_s: float = 10.0) -> Callable[[ShardMap], ShardMap]:
        """The change to the library's shard map that makes NODE a node with replicas."""
        replicas = tuple(f"{standby.host}:{standby.port}" for standby in self.standbys)

        def change(shard_map: ShardMap) -> ShardMap:
            node = replace(shard_map.nodes[NODE], replicas=replicas)
            cluster = replace(shard_map.cluster, read_from=read_from, max_lag_s=max_lag_s)
            return replace(shard_map, nodes={**shard_map.nodes, NODE: node}, cluster=cluster)

        return change


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def copy_of(primary: EmbeddedNode, name: str) -> EmbeddedNode:
    """A new streaming standby, running."""
    standby = EmbeddedNode(name, primary.directory.parent / name)
    account = pwd.getpwnam(SYSTEM_USER) if os.geteuid() == 0 else None
    standby.directory.mkdir()
    if account is not None:
        os.chown(standby.directory, account.pw_uid, account.pw_gid)
    subprocess.run(
        [
            programs_folder(primary.directory.parent) / "pg_basebackup",
            *("-h", primary.host, "-p", str(primary.port), "-U", SUPERUSER),
            *("-D", str(standby.data), "-X", "stream", "-R", "-c", "fast", "--no-sync"),
        ],
        check=True,
        cwd=standby.directory,
        user=account and account.pw_uid,
        group=account and account.pw_gid,
        extra_groups=account and (),
    )
    (standby.directory / "made").touch()
    standby.start()
    return standby


def follow(member: EmbeddedNode, primary: EmbeddedNode) -> None:
    """A stopped member becomes a standby of this primary when it is started (it must not be ahead of it)."""
    settings = member.data / "postgresql.auto.conf"
    line = f"primary_conninfo = 'host={primary.host} port={primary.port} user={SUPERUSER}'\n"
    settings.write_text(settings.read_text() + line)
    signal = member.data / "standby.signal"
    signal.touch()
    owner = member.data.stat()
    os.chown(signal, owner.st_uid, owner.st_gid)


@contextmanager
def replicated_cluster(standbys: int = 1) -> Iterator[ReplicatedCluster]:
    with running_cluster() as cluster:
        copies: list[EmbeddedNode] = []
        try:
            for number in range(standbys):
                copies.append(copy_of(cluster.nodes[NODE], f"standby-{number}"))  # noqa: PERF401 - one may fail
            yield ReplicatedCluster(cluster, (cluster.nodes[NODE], *copies))
        finally:
            for node in copies:
                node.kill()


@pytest.fixture
def replicated() -> Iterator[ReplicatedCluster]:
    """With one standby, for a test that breaks it."""
    with replicated_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def shared_replicated() -> Iterator[ReplicatedCluster]:
    """With two standbys, for tests that leave everything as it was."""
    with replicated_cluster(2) as running:
        yield running


def node_rows(proxy: RunningProxy) -> list[dict[str, str]]:
    """SHOW NODES, each value as text."""
    with psycopg.connect(
        proxy.conninfo, dbname="pgproxy", autocommit=True, cursor_factory=psycopg.ClientCursor
    ) as admin:
        cursor = admin.execute("SHOW NODES")
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, map(str, row), strict=True)) for row in cursor]
