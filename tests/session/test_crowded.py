"""Pools with few connections: a session never waits for what only itself, or one that waits for it, can give back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pgproxy.shardmap.model import ShardMap
from tests.extended_client import converse, once
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient

COMPUTED = "SELECT genre, count(*) + 1 FROM books GROUP BY genre HAVING count(*) > 3 ORDER BY 1"


@pytest.fixture(scope="module", params=[1, 2])
def narrow_proxy(
    request: pytest.FixtureRequest, library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    def narrowed(shard_map: ShardMap) -> ShardMap:
        pool = replace(shard_map.proxy.pool, size=request.param)
        return replace(shard_map, proxy=replace(shard_map.proxy, pool=pool))

    with running_proxy(library_cluster, tmp_path_factory.mktemp("narrow"), narrowed) as running:
        yield running


def test_what_a_node_computes_over_groups(narrow_proxy: RunningProxy, reference_pg: ReferencePostgres) -> None:
    steps = [*once(COMPUTED), *once(COMPUTED, results=[1]), *once(COMPUTED, rows=2), *once("SELECT 1")]
    answers = []
    for conninfo in (narrow_proxy.conninfo, reference_pg.conninfo):
        with RawClient.logged_in(conninfo) as client:
            told = [[message.shown() for message in client.query(sql)] for sql in (COMPUTED, "BEGIN", COMPUTED, "END")]
            answers.append((told, converse(client, steps)))
    assert answers[0] == answers[1]


def test_many_at_once(narrow_proxy: RunningProxy) -> None:
    def ask(_: int) -> list[str]:
        with RawClient.logged_in(narrow_proxy.conninfo) as client:
            return [message.kind for _ in range(10) for message in client.query(COMPUTED) if message.kind in "CE"]

    with ThreadPoolExecutor(6) as clients:
        assert [kinds for kinds in clients.map(ask, range(6)) if kinds != ["C"] * 10] == []
