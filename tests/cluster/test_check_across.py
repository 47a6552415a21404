"""What `pgproxy check` says of nodes that lack what transactions over nodes need."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pgproxy.cluster.check import check_nodes
from pgproxy.shardmap.model import ClusterSettings, PoolSettings, ShardMap
from tests.fix_nodes import LibraryCluster

WEST = "west-library"
ONE_NODE = "transactions can write on one node only"
USER = "writer_of_logs"


def warnings(shard_map: ShardMap) -> list[str]:
    findings = asyncio.run(check_nodes(shard_map))
    assert not findings.errors
    return list(findings.warnings)


@pytest.fixture
def user(library_cluster: LibraryCluster) -> Iterator[str]:
    """No superuser, who may read the library."""
    for name in library_cluster.nodes:
        with library_cluster.connect(name) as node:
            node.execute(f"CREATE ROLE {USER} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {USER}")
    yield USER
    for name in library_cluster.nodes:
        with library_cluster.connect(name) as node:
            node.execute(f"DROP OWNED BY {USER}; DROP ROLE {USER}")
            node.execute("GRANT SELECT, INSERT ON pgproxy.commit_log TO PUBLIC")


def with_cluster(shard_map: ShardMap, **changes: str) -> ShardMap:
    cluster: ClusterSettings = replace(shard_map.cluster, **changes)  # type: ignore[arg-type]
    return replace(shard_map, cluster=cluster)


def test_the_commit_log_is_missing(library_cluster: LibraryCluster) -> None:
    with library_cluster.connect(WEST) as node:
        node.execute("ALTER TABLE pgproxy.commit_log RENAME TO gone")
        try:
            (warning,) = warnings(library_cluster.shard_map())
        finally:
            node.execute("ALTER TABLE pgproxy.gone RENAME TO commit_log")
    expected = f'nodes.{WEST}: there is no table pgproxy.commit_log: {ONE_NODE}; "pgproxy init" makes it'
    assert warning == expected


def test_the_commit_log_cannot_be_written(library_cluster: LibraryCluster, user: str) -> None:
    with library_cluster.connect(WEST) as node:
        node.execute("REVOKE INSERT ON pgproxy.commit_log FROM PUBLIC")
    found = warnings(with_cluster(library_cluster.shard_map(), user=user))
    assert f"nodes.{WEST}: pgproxy.commit_log cannot be read and written by cluster.user: {ONE_NODE}" in found
    assert len(found) == len(library_cluster.nodes)


def test_old_rows_would_stay(library_cluster: LibraryCluster, user: str) -> None:
    found = warnings(with_cluster(library_cluster.shard_map(), user=user))
    assert found == [
        f"nodes.{name}: cluster.user may not DELETE from pgproxy.commit_log: old rows stay there"
        for name in library_cluster.nodes
    ]


def test_fewer_prepared_transactions_than_connections(library_cluster: LibraryCluster) -> None:
    shard_map = library_cluster.shard_map()
    large = replace(shard_map, proxy=replace(shard_map.proxy, pool=PoolSettings(size=65)))
    found = warnings(large)
    assert [warning.split(":")[0] for warning in found] == [f"nodes.{name}" for name in library_cluster.nodes]
    assert all("max_prepared_transactions is 64, less than proxy.pool.size (65)" in warning for warning in found)


def test_no_prepared_transactions(own_cluster: LibraryCluster) -> None:
    node = own_cluster.nodes[WEST]
    node.stop()
    node.settings["max_prepared_transactions"] = "0"
    node.start()
    assert warnings(own_cluster.shard_map()) == [f"nodes.{WEST}: max_prepared_transactions is 0: {ONE_NODE}"]
