"""What `pgproxy check` finds about nodes with replicas: whether each member answers, and whether one is the primary."""

from __future__ import annotations

import asyncio
import time

import psycopg

from pgproxy.cluster.connect import connection, one_line, run
from pgproxy.cluster.members import ask_role, find_primary
from pgproxy.cluster.node_state import NodeState
from pgproxy.shardmap.members import members_of
from pgproxy.shardmap.model import ClusterSettings, Node, ShardMap


async def check_members(shard_map: ShardMap) -> list[tuple[str, str]]:
    """Key path and message of each problem."""
    nodes = [node for node in shard_map.nodes.values() if node.replicas]
    found = await asyncio.gather(*(_check_node(shard_map, node) for node in nodes))
    return [problem for problems in found for problem in problems]


async def _check_node(shard_map: ShardMap, node: Node) -> list[tuple[str, str]]:
    timeout_s = shard_map.proxy.pool.connect_timeout_s
    members = members_of(node)
    asked = await asyncio.gather(*(_ask(key, member, shard_map.cluster, timeout_s) for key, member in members.items()))
    path = f"nodes.{node.name}.replicas"
    # The first one is nodes.NAME itself, which the other checks go by.
    problems = [
        (f"{path}[{index}]", f"no answer: {state.error}") for index, state in enumerate(asked[1:]) if not state.up
    ]
    verdict = find_primary({state.name: state for state in asked}, 0)
    if verdict.primary is None and verdict.reason is not None:
        problems.append((path, f"there is no primary: {verdict.reason}"))
    return problems


async def _ask(key: str, member: Node, cluster: ClusterSettings, timeout_s: float) -> NodeState:
    now = time.time()
    try:
        async with (
            asyncio.timeout(timeout_s * 2),
            connection(member, cluster, application_name="pgproxy check", timeout_s=timeout_s) as opened,
        ):
            return NodeState(key, up=True, since=now, role=await run(opened, ask_role(opened)))
    except (psycopg.Error, OSError) as failure:
        return NodeState(key, up=False, since=now, error=one_line(failure) or "no answer in time")
