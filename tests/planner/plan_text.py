"""Plans as compact text, for golden files that a reviewer reads as a diff."""

from __future__ import annotations

from collections.abc import Iterator

from pglast import ast

from pgproxy.errors import ProxyError, Refused
from pgproxy.operators.arguments import Arguments, LiteralRef
from pgproxy.operators.limit import Bound, Limit
from pgproxy.operators.merge_sort import MergeSort
from pgproxy.operators.project import Project
from pgproxy.operators.sort import Sort
from pgproxy.operators.source import Step
from pgproxy.operators.unique import Unique
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.plan import ClockTime, Effect, Part, RowBound, Scatter, Sharded, ShardName, SqlTemplate
from pgproxy.planner.select import plan_select
from pgproxy.planner.text import SourceText


def select_text(sql: str, context: PlanningContext) -> str:
    """The plan of a SELECT, or why there is none."""
    source = SourceText(sql)
    (raw,) = source.tree
    assert isinstance(raw.stmt, ast.SelectStmt)
    try:
        plan = plan_select(raw.stmt, source, context)
    except Refused as refused:
        return f"refused {refused.message}"
    except ProxyError as error:
        return f"error   {error.sqlstate} {error.message}"
    if plan is None:
        return "no sharded table"
    return "\n".join(_lines(plan, source, context))


def _lines(plan: Sharded, source: SourceText, context: PlanningContext) -> Iterator[str]:
    shards = plan.choice.shards(Arguments(literals=source.literal_texts))
    yield f"choice  {plan.choice.explain}: {', '.join(map(str, shards)) or 'none'}"
    if context.pinned:
        yield f"pinned  {', '.join(f'${literal + 1}' for literal in sorted(context.pinned))}"
    if plan.effect is not Effect.READ:
        yield f"effect  {plan.effect.name}"
    yield f"route   {template_text(plan.route)}"
    if isinstance(plan.scatter, Scatter):
        yield f"scatter {template_text(plan.scatter.text)}"
        yield from (f"        {_step_text(step)}" for step in plan.scatter.pipeline.steps)
    else:
        yield f"scatter refused: {plan.scatter.message}"


def template_text(template: SqlTemplate) -> str:
    return "".join(map(_part_text, template.parts))


def _part_text(part: Part) -> str:
    match part:
        case str():
            return part
        case LiteralRef(index):
            return f"${index + 1}"
        case ShardName(table, aliased, qualified):
            name = f"{table.schema}.{table.name}" if qualified else table.name
            return f"{{{name} AS}}" if aliased else f"{{{name}}}"
        case RowBound(limit, offset):
            return _bound_text(limit) if offset is None else f"{_bound_text(limit)}+{_bound_text(offset)}"
        case ClockTime(type_name):
            return f"{{now {type_name}}}"


def _step_text(step: Step) -> str:
    match step:
        case Limit(limit, offset):
            return f"Limit {_bound_text(limit)}" + ("" if offset is None else f" Offset {_bound_text(offset)}")
        case MergeSort(_, visible) | Unique(_, visible):
            return step.explain() + _visible_text(visible)
        case Sort(_, limit, offset, visible):
            bounds = "" if limit is None else f"  Limit {_bound_text(limit)}"
            bounds += "" if offset is None else f"  Offset {_bound_text(offset)}"
            return step.explain() + bounds + _visible_text(visible)
        case Project(_, names):
            return f"{step.explain()}  Names: {', '.join(name or '-' for name in names)}"
    return step.explain()


def _visible_text(visible: int | None) -> str:
    return "" if visible is None else f"  Visible: {visible}"


def _bound_text(bound: Bound) -> str:
    return f"${bound.index + 1}" if isinstance(bound, LiteralRef) else str(bound)
