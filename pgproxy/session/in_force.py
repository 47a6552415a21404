"""The shard map in force, with the pools and the planner that belong to it: one object, replaced whole by a reload.

A session moves on to a new one between transactions and pipelines, so that what runs is finished as it was planned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgproxy.backend.pool import NodePool
from pgproxy.errors import ProxyError
from pgproxy.planner.planner import Planner
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.shardmap.model import ShardMap


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """`planner` is None while the catalog could not be read yet. `pools` are those of the configured user."""

    shard_map: ShardMap
    pools: Mapping[str, NodePool]
    planner: Planner | None = None
    why_no_planner: str = "the catalog of the nodes has not been read yet"
    facts: CatalogFacts | None = None

    def planning(self) -> Planner:
        """Raises 57P03 while there is none."""
        if self.planner is None:
            raise ProxyError("57P03", "the proxy cannot plan statements yet", detail=self.why_no_planner)
        return self.planner
