"""What one planning may ask: the shard map, the placements, the catalog facts. Owns no behaviour but `pin`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgproxy.shardmap.facts import CatalogFacts, TableFacts
from pgproxy.shardmap.model import Engine, ShardMap, Table
from pgproxy.shardmap.placement import Placement


@dataclass(frozen=True, slots=True)
class PlanningContext:
    """`pinned` collects the constants whose very text the plan depends on: it is reused only for the same ones.

    One context serves one planning of one statement.
    """

    shard_map: ShardMap
    facts: CatalogFacts
    placements: Mapping[str, Placement]  # by logical table
    pinned: set[int] = field(default_factory=set)

    @property
    def engine(self) -> Engine:
        return self.shard_map.cluster.engine

    def pin(self, literal: int | None) -> None:
        """The plan holds only for the text that constant `literal` has now."""
        if literal is not None:
            self.pinned.add(literal)

    def table_facts(self, table: Table) -> TableFacts:
        return self.facts.tables[table.name]
