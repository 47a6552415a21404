"""SELECT over one logical table: routed as written to one shard, or scattered over several and merged.

What the names mean is `scope`'s, GROUP BY and aggregates are `grouping`'s. What cannot be proven to give a single
PostgreSQL's answer is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.operators.concat import Concat
from pgproxy.operators.merge_sort import MergeSort, SortKey
from pgproxy.operators.source import Pipeline, Step
from pgproxy.operators.unique import Unique
from pgproxy.planner.aggregates import aggregates_in
from pgproxy.planner.choice import KeyReference, key_choice
from pgproxy.planner.clauses import select_clauses
from pgproxy.planner.clock_words import clock_words
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.date_casts import check_date_casts
from pgproxy.planner.functions import calls_of, check_scatter_functions, clock_edits
from pgproxy.planner.grouping import plan_groups
from pgproxy.planner.limits import RowLimits, row_limits
from pgproxy.planner.ordering import InvalidStatementError, SortItem, nulls_come_first, sort_items
from pgproxy.planner.outputs import OutputList, outputs_of
from pgproxy.planner.plan import Effect, Scatter, Sharded, SqlTemplate
from pgproxy.planner.relations import Kind, relations_of
from pgproxy.planner.scope import Scope, find_scope
from pgproxy.planner.text import Edit, SourceText, join
from pgproxy.planner.tree import walk

_ROUTE_HINT = "Pin the shard key to one value, so that one shard answers."


def plan_select(select: ast.SelectStmt, source: SourceText, context: PlanningContext) -> Sharded | None:
    """The plan of a SELECT, None when it names no logical table.

    Raises Refused when not even one shard alone could answer it. On one shard everything inside the statement
    means what it means on a single server, as long as that shard holds all rows that the statement could read:
    the table stands once, in the outermost FROM, and every row of the answer comes from one row of it.
    """
    if not any(relation.kind is Kind.LOGICAL for relation in relations_of(select, context)):
        return None
    _refuse_whole(select)
    scope = find_scope(source, select, select_clauses(source, select), context)
    key = context.table_facts(scope.table).columns[scope.table.key]
    choice = key_choice(
        select.whereClause, KeyReference(key, scope.qualifiers), context.placements[scope.table.name], source
    )
    scatter: Scatter | Refused
    try:
        scatter = _plan_scatter(scope)
        choice = clock_words(scope.select, scope.source, scope.any_column).guard(choice)
    except Refused as refused:
        scatter = refused
    effect = Effect.WRITE if select.lockingClause else Effect.READ
    return Sharded(scope.table, choice, source.edit(scope.edits), scatter, effect)


def _refuse_whole(select: ast.SelectStmt) -> None:
    """Shapes in which a row of the answer may depend on rows of other shards even if the key is pinned somewhere."""
    shapes = (
        (select.withClause is not None, "WITH", "Write the statement without WITH."),
        (
            select.op != enums.SetOperation.SETOP_NONE,
            "UNION, INTERSECT or EXCEPT",
            "Send the SELECTs one by one and combine their rows in the client.",
        ),
        (select.valuesLists is not None, "VALUES", "Select from the table."),
        (select.intoClause is not None, "SELECT INTO", "Create the table first and INSERT into it."),
    )
    for applies, what, hint in shapes:
        if applies:
            raise Refused(f"{what} over a sharded table is not supported", hint)


def _plan_scatter(scope: Scope) -> Scatter:
    """The plan for several shards. Raises Refused."""
    _refuse_scatter(scope)
    check_scatter_functions(scope.select, scope.context)
    check_date_casts(scope.select, scope.any_column)
    scope = replace(scope, edits=(*scope.edits, *clock_edits(scope.select, scope.source)))
    limits = row_limits(scope)
    try:
        return _plan_merge(scope, limits)
    except InvalidStatementError:
        # With stars written out it is as wrong on every shard as the planner took it to be.
        return Scatter(_shard_text(scope, limits, outputs_of(scope).expansions), Pipeline((Concat(),)))


def _plan_merge(scope: Scope, limits: RowLimits) -> Scatter:
    select = scope.select
    grouped = select.groupClause is not None or select.havingClause is not None
    if grouped or any(aggregates_in((select.targetList or (), select.sortClause or ()), scope.context)):
        if select.distinctClause:
            raise Refused("DISTINCT together with aggregates is not supported across shards", _ROUTE_HINT)
        return plan_groups(scope, outputs_of(scope).outputs, limits)
    if select.distinctClause:
        return _plan_distinct(scope, limits)
    return _plan_sorted(scope, limits) if select.sortClause else _plan_unsorted(scope, limits)


def _refuse_scatter(scope: Scope) -> None:
    select, context = scope.select, scope.context
    if any(node is not None for node in _distinct_items(select)):
        raise Refused("DISTINCT ON is not supported across shards", _ROUTE_HINT)
    if select.lockingClause:
        raise Refused("FOR UPDATE and its kin over several shards are not supported", _ROUTE_HINT)
    for node in walk(select):
        if isinstance(node, ast.WindowDef) or (isinstance(node, ast.FuncCall) and node.over is not None):
            raise Refused("window functions over several shards are not supported", _ROUTE_HINT)
        if isinstance(node, ast.SubLink):
            _refuse_inner(node.subselect, context)


def _refuse_inner(query: object, context: PlanningContext) -> None:
    if any(aggregates_in(query, context)):
        # Such an aggregate may belong to the outer query, however deep it stands.
        raise Refused("an aggregate in a subquery is not supported across shards", _ROUTE_HINT)
    assert isinstance(query, ast.Node)
    for call in calls_of(query, context):
        if call.volatility == "v":  # one server computes it once for all rows
            raise Refused(f"{call.name}() in a subquery is not supported across shards", _ROUTE_HINT)


def _distinct_items(select: ast.SelectStmt) -> Sequence[object]:
    """DISTINCT ON's expressions; a plain DISTINCT is one None."""
    return select.distinctClause or ()


def _plan_unsorted(scope: Scope, limits: RowLimits) -> Scatter:
    """Why this is exact: each row of the answer comes from one row of the table, which is on one shard, so the
    answer is the shards' answers put together, in no promised order. Any limit rows behind any offset rows will
    do, and a shard cannot contribute more than limit + offset of them."""
    text = join(_shard_text(scope, limits), limits.for_shard())
    return Scatter(text, Pipeline((Concat(), *limits.steps())))


def _plan_sorted(scope: Scope, limits: RowLimits) -> Scatter:
    """Why this is exact: as without ORDER BY, and merging sorted answers gives the sorted whole, as the proxy
    compares the sort columns as the shards do (else the operator refuses their type or collation). The first
    limit + offset rows of the whole are among the first limit + offset of each shard. Ties may come in any order."""
    listed = outputs_of(scope)
    items = sort_items(scope, listed.outputs)
    hidden = [item for item in items if item.output is None]
    text = join(_shard_text(scope, limits, [*listed.expansions, *_hidden_columns(scope, hidden)]), limits.for_shard())
    columns = iter(range(len(listed.outputs), len(listed.outputs) + len(hidden)))
    keys = tuple(
        item.key(
            next(columns) if item.output is None else item.output, bytewise=scope.bytewise(_sorted_node(item, listed))
        )
        for item in items
    )
    visible = len(listed.outputs) if hidden else None
    return Scatter(text, Pipeline((MergeSort(keys, visible), *limits.steps())))


def _sorted_node(item: SortItem, listed: OutputList) -> ast.Node:
    return item.node if item.output is None else listed.outputs[item.output].node


def _hidden_columns(scope: Scope, hidden: Sequence[SortItem]) -> list[Edit]:
    """Sort expressions that are no output column are added behind the select list."""
    if not hidden:
        return []
    end = scope.clauses.select_list[1]
    texts = [
        join(", " if number > 1 or scope.clauses.items else " ", scope.cut(item.span), f" AS pgproxy_sort_{number}")
        for number, item in enumerate(hidden, 1)
    ]
    return [Edit(end, end, join(*texts))]


def _plan_distinct(scope: Scope, limits: RowLimits) -> Scatter:
    """Why this is exact: equal rows may be on several shards. Each shard sorts by ORDER BY and then by all other
    output columns, so in the merged stream equal rows are neighbours and Unique keeps one of each. SELECT DISTINCT
    sorts only by output columns, so rows that are equal are equal in the sort too. The first limit + offset
    distinct rows are among the first limit + offset distinct rows of each shard."""
    listed = outputs_of(scope)
    if scope.literals_in(scope.select.sortClause):
        scope.pin_literals(scope.select.targetList, scope.select.sortClause)
    items = sort_items(scope, listed.outputs, must_match=True)
    if not listed.outputs or any(item.output is None for item in items):
        raise Refused(
            "for SELECT DISTINCT, ORDER BY expressions must appear in the select list", "Add them to the select list."
        )
    keys = [
        item.key(item.output, bytewise=scope.bytewise(listed.outputs[item.output].node))
        for item in items
        if item.output is not None
    ]
    others = [index for index in range(len(listed.outputs)) if index not in {key.column for key in keys}]
    nulls_first = nulls_come_first(scope.context.engine, descending=False)
    keys += [SortKey(index, False, nulls_first, scope.bytewise(listed.outputs[index].node)) for index in others]
    order = ", ".join(str(index + 1) for index in others)
    sorting = ("" if not order else f", {order}") if items else f" ORDER BY {order}"
    text = join(_shard_text(scope, limits, listed.expansions), sorting, limits.for_shard())
    steps: tuple[Step, ...] = (MergeSort(tuple(keys)), Unique(tuple(keys)), *limits.steps())
    return Scatter(text, Pipeline(steps))


def _shard_text(scope: Scope, limits: RowLimits, edits: Sequence[Edit] = ()) -> SqlTemplate:
    """The statement for each shard without its LIMIT and OFFSET, and without what stands behind it."""
    whole = (0, scope.clauses.end)
    replaced = [*edits, *limits.removals]
    return scope.source.edit([*scope.edits_within(whole, beside=replaced), *replaced], whole)
