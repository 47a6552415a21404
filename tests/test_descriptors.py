"""How many file descriptors a proxy wants: as many as its limits let it open."""

from __future__ import annotations

from dataclasses import replace

from pgproxy.descriptors import OTHERS, wanted
from pgproxy.shardmap.model import PoolSettings, ShardMap
from tests.planner.conftest import make_shard_map


def limited() -> ShardMap:
    found = make_shard_map()
    proxy = replace(found.proxy, max_clients=100, max_unauthenticated=30, pool=PoolSettings(size=5, max_users=7))
    return replace(found, proxy=proxy)


def test_clients_those_who_log_in_and_the_pools() -> None:
    found = limited()
    assert wanted(found) == 100 + 30 + 2 * 5 * len(found.nodes) + OTHERS


def test_each_member_of_a_node_has_a_pool() -> None:
    found = limited()
    name, node = next(iter(found.nodes.items()))
    more = replace(found, nodes={**found.nodes, name: replace(node, replicas=("10.9.0.1:5432", "10.9.0.2:5432"))})
    assert wanted(more) == wanted(found) + 2 * 5 * 2


def test_so_has_each_user_where_the_nodes_know_them() -> None:
    found = limited()
    as_client = replace(found, cluster=replace(found.cluster, login_as="client"))
    assert wanted(as_client) == 100 + 30 + 2 * 5 * len(found.nodes) * 7 + OTHERS
