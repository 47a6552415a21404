"""EXPLAIN of a sharded statement: the lines above the nodes' own plans, and each shard's SQL.

Running `EXPLAIN <options> sql` on the nodes and printing their plans below is the session's part.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgproxy.errors import Refused
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.plan import Sharded, Split, SqlTemplate, bind_shard, render
from pgproxy.planner.split import part_of, parts_of
from pgproxy.shardmap.model import Shard

_INDENT = "  "


@dataclass(frozen=True, slots=True)
class ExplainTree:
    """`lines`: the operators from the top down, then the way the statement takes. `shards`: each shard's SQL."""

    lines: tuple[str, ...]
    shards: tuple[tuple[Shard, str], ...]


def explain_tree(plan: Sharded, arguments: Arguments) -> ExplainTree:
    """What the statement would do. Raises the plan's Refused where running it would."""
    chosen = plan.choice.shards(arguments)
    if len(chosen) > 1:
        return _scattered(plan, chosen, arguments)
    shard = plan.table.shards[chosen[0] if chosen else 0]
    if chosen:
        line = f"Route to {shard.table} on {shard.node}  ({plan.choice.explain})"
    else:
        line = f"Route to {shard.table} on {shard.node}  (no shard: {plan.choice.explain})"
    return ExplainTree((line,), (_shard_sql(plan.route, shard, arguments),))


def _scattered(plan: Sharded, chosen: tuple[int, ...], arguments: Arguments) -> ExplainTree:
    scatter = plan.scatter
    if isinstance(scatter, Refused):
        raise scatter
    if isinstance(scatter, Split):
        return _split(plan, scatter, chosen, arguments)
    steps = [step.explain() for step in reversed(scatter.pipeline.steps)]
    way = f"Scatter to {len(chosen)} of {len(plan.table.shards)} shards of {plan.table.name}  ({plan.choice.explain})"
    lines = tuple(_INDENT * depth + line for depth, line in enumerate([*steps, way]))
    shards = tuple(_shard_sql(scatter.text, plan.table.shards[index], arguments) for index in chosen)
    return ExplainTree(lines, shards)


def _split(plan: Sharded, split: Split, chosen: tuple[int, ...], arguments: Arguments) -> ExplainTree:
    count = f"{len(chosen)} of {len(plan.table.shards)} shards"
    line = f"Write on {count} of {plan.table.name}, all or nothing  ({plan.choice.explain})"
    shards = tuple(
        _shard_sql(part_of(split, places), plan.table.shards[index], arguments)
        for index, places in parts_of(split, chosen, arguments)
    )
    return ExplainTree((line,), shards)


def _shard_sql(text: SqlTemplate, shard: Shard, arguments: Arguments) -> tuple[Shard, str]:
    return shard, render(bind_shard(text, shard), arguments)
