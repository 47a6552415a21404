"""Plans as compact text, for golden files that a reviewer reads as a diff."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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
from pgproxy.planner.plan import ClockTime, Effect, Part, RowBound, Scatter, Sharded, ShardName, Split, SqlTemplate
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
    shards = plan.choice.shards(Arguments(source.literal_texts + ("?",) * source.parameters))
    yield f"choice  {plan.choice.explain}: {', '.join(map(str, shards)) or 'none'}"
    if context.pinned:
        yield f"pinned  {', '.join(source.shown(literal) for literal in sorted(context.pinned))}"
    if plan.effect is not Effect.READ:
        yield f"effect  {plan.effect.name}"
    yield f"route   {template_text(plan.route, source.shown)}"
    if isinstance(plan.scatter, Scatter):
        yield f"scatter {template_text(plan.scatter.text, source.shown)}"
        yield from (f"        {_step_text(step, source.shown)}" for step in plan.scatter.pipeline.steps)
    elif isinstance(plan.scatter, Split):
        raise AssertionError("a SELECT writes nothing")
    else:
        yield f"scatter refused: {plan.scatter.message}"


Shown = Callable[[int], str]


def _numbered(index: int) -> str:
    return f"${index + 1}"


def template_text(template: SqlTemplate, shown: Shown = _numbered) -> str:
    return "".join(_part_text(part, shown) for part in template.parts)


def _part_text(part: Part, shown: Shown) -> str:
    match part:
        case str():
            return part
        case LiteralRef(index):
            return shown(index)
        case ShardName(table, aliased, qualified):
            name = f"{table.schema}.{table.name}" if qualified else table.name
            return f"{{{name} AS}}" if aliased else f"{{{name}}}"
        case RowBound(limit, offset):
            return (
                _bound_text(limit, shown)
                if offset is None
                else f"{_bound_text(limit, shown)}+{_bound_text(offset, shown)}"
            )
        case ClockTime(type_name):
            return f"{{now {type_name}}}"


def _step_text(step: Step, shown: Shown) -> str:
    match step:
        case Limit(limit, offset):
            return f"Limit {_bound_text(limit, shown)}" + (
                "" if offset is None else f" Offset {_bound_text(offset, shown)}"
            )
        case MergeSort(_, visible) | Unique(_, visible):
            return step.explain() + _visible_text(visible)
        case Sort(_, limit, offset, visible):
            bounds = "" if limit is None else f"  Limit {_bound_text(limit, shown)}"
            bounds += "" if offset is None else f"  Offset {_bound_text(offset, shown)}"
            return step.explain() + bounds + _visible_text(visible)
        case Project(_, names):
            return f"{step.explain()}  Names: {', '.join(name or '-' for name in names)}"
    return step.explain()


def _visible_text(visible: int | None) -> str:
    return "" if visible is None else f"  Visible: {visible}"


def _bound_text(bound: Bound, shown: Shown) -> str:
    return shown(bound.index) if isinstance(bound, LiteralRef) else str(bound)
