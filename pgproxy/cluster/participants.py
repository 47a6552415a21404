"""All nodes as they take part in commits across nodes: who decides a transaction, and its parts ended as he says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pgproxy.cluster.participant import Participant, Prepared
from pgproxy.errors import NodeFailure
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.model import ShardMap


@dataclass(slots=True)
class Counts:
    """Of one node: how many transactions are in doubt, and how many have been ended since the start."""

    in_doubt: int = 0
    committed: int = 0
    rolled_back: int = 0


class UnknownDecider(Exception):
    """The transaction was to be decided by a node that has left the shard map."""


class Participants:
    """`shard_map` gives the one in force, with the primaries' addresses; `is_up` says whether to ask a node."""

    def __init__(self, shard_map: Callable[[], ShardMap], is_up: Callable[[str], bool]) -> None:
        self.counts: dict[str, Counts] = {}
        self._shard_map = shard_map
        self._is_up = is_up
        self._by_node: dict[str, Participant] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def cluster(self) -> str:
        return self._shard_map().cluster.name

    def current(self) -> Collection[str]:
        """The nodes of the shard map, up or not."""
        shard_map = self._shard_map()
        for name, participant in list(self._by_node.items()):
            if (shard_map.nodes.get(name), shard_map.cluster) != (participant.node, participant.cluster):
                del self._by_node[name]
                self._let_go(participant)
        for name, node in shard_map.nodes.items():
            if name not in self._by_node:
                self._by_node[name] = Participant(node, shard_map.cluster)
                self.counts.setdefault(name, Counts())
        return tuple(shard_map.nodes)

    async def prepared(self, node: str, prefix: str) -> list[Prepared]:
        return await self._at(node).prepared(prefix)

    def decider_of(self, gid: str) -> str:
        """Raises UnknownDecider."""
        for name in self.current():
            if gid.startswith(commit_log.prefix(self.cluster, name)):
                return name
        raise UnknownDecider

    async def committed(self, gid: str) -> bool:
        """Its decider's word, which is final. Raises UnknownDecider, StillOpen, NodeFailure."""
        return await self._at(self.decider_of(gid)).committed(gid)

    async def end(self, node: str, part: Prepared, *, commit: bool) -> None:
        """As was decided; others may have done so already. Raises NotAllowed, NodeFailure."""
        if await self._at(node).end(part, commit=commit):
            counts = self.counts[node]
            counts.committed += commit
            counts.rolled_back += not commit

    async def forget(self, node: str, keep: Collection[str]) -> int:
        """Old decisions of this cluster, other than these: how many there were."""
        return await self._at(node).forget(commit_log.prefix(self.cluster), keep)

    async def close(self) -> None:
        await asyncio.gather(*(participant.close() for participant in self._by_node.values()), *self._leaving)

    def _at(self, node: str) -> Participant:
        self.current()
        if node not in self._by_node:
            raise NodeFailure(node, f"node {node} has left the shard map")
        if not self._is_up(node):
            raise NodeFailure(node, f"node {node} is down")
        return self._by_node[node]

    def _let_go(self, participant: Participant) -> None:
        task = asyncio.get_running_loop().create_task(participant.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
