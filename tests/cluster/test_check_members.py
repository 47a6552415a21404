"""`pgproxy check` of a node with real standbys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgproxy.cluster.check import check_nodes
from pgproxy.cluster.check_members import check_members
from pgproxy.cluster.schema import connect
from pgproxy.demo.library import DATABASE
from pgproxy.demo.nodes import free_port
from tests.fix_replicas import NODE, ReplicatedCluster

pytestmark = pytest.mark.asyncio


async def test_a_healthy_node_has_no_problems(shared_replicated: ReplicatedCluster) -> None:
    shard_map = shared_replicated.shard_map()(shared_replicated.cluster.shard_map())
    assert (await check_nodes(shard_map)).errors == ()


async def test_the_file_may_name_the_members_in_any_order(shared_replicated: ReplicatedCluster) -> None:
    shard_map = shared_replicated.shard_map()(shared_replicated.cluster.shard_map())
    first, second, third = shared_replicated.members
    replicas = (f"127.0.0.1:{third.port}", f"127.0.0.1:{first.port}")
    node = replace(shard_map.nodes[NODE], port=second.port, replicas=replicas)
    assert (await check_nodes(replace(shard_map, nodes={**shard_map.nodes, NODE: node}))).errors == ()


async def test_who_does_not_answer_is_told(shared_replicated: ReplicatedCluster) -> None:
    shard_map = shared_replicated.shard_map()(shared_replicated.cluster.shard_map())
    node = shard_map.nodes[NODE]
    node = replace(node, replicas=(*node.replicas, f"127.0.0.1:{free_port()}"))
    ((path, problem),) = await check_members(replace(shard_map, nodes={NODE: node}))
    assert path == f"nodes.{NODE}.replicas[2]"
    assert "refused" in problem


async def test_a_member_of_another_system_is_told(shared_replicated: ReplicatedCluster) -> None:
    shard_map = shared_replicated.shard_map()(shared_replicated.cluster.shard_map())
    other = shared_replicated.cluster.nodes["north-library"]
    node = replace(shard_map.nodes[NODE], replicas=(f"127.0.0.1:{other.port}",))
    ((path, problem),) = await check_members(replace(shard_map, nodes={NODE: node}))
    assert path == f"nodes.{NODE}.replicas"
    assert "different database systems" in problem


async def test_init_goes_to_the_primary(shared_replicated: ReplicatedCluster) -> None:
    shard_map = shared_replicated.shard_map()(shared_replicated.cluster.shard_map())
    first, second, _ = shared_replicated.members
    node = replace(shard_map.nodes[NODE], port=second.port, replicas=(f"127.0.0.1:{first.port}",))
    with connect(shard_map, node, DATABASE) as connection:
        assert connection.info.port == first.port
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
