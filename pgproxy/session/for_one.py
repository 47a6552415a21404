"""A statement that one node answers by itself, and what its connection must go through for it."""

from __future__ import annotations

from dataclasses import dataclass

from pgproxy.planner.plan import Effect, Pin, Planned, SqlTemplate
from pgproxy.shardmap.model import Shard


@dataclass(slots=True)
class ForOne:
    """`shard` None: the text is not of one shard. `unsettles`: what is set on the connection is not known afterwards.
    `pins`: why the session keeps the connection from then on."""

    node: str
    text: SqlTemplate
    shard: Shard | None
    planned: Planned
    effect: Effect
    unsettles: bool = False
    pins: Pin | None = None
