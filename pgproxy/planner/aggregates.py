"""Which function calls are aggregates, and how each splits into the shards' partial results and their combination."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.operators.group_merge import Combine
from pgproxy.operators.types import FLOAT4
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.ordering import InvalidStatementError
from pgproxy.planner.plan import SqlTemplate
from pgproxy.planner.scope import Scope, name_span
from pgproxy.planner.text import Edit, Span, composed
from pgproxy.planner.tree import children_of, items_of, names_of

# Their partial result on each shard is the aggregate itself, and one operator kind combines it.
_SELF_COMBINING = frozenset(
    {"count", "sum", "min", "max", "bool_and", "bool_or", "every", "bit_and", "bit_or", "bit_xor"}
)
_SUPPORTED = _SELF_COMBINING | {"avg"}
# DISTINCT changes nothing about them.
_INDIFFERENT_TO_DISTINCT = frozenset({"min", "max", "bool_and", "bool_or", "every", "bit_and", "bit_or"})
_OTHER_NAMES = """
    any_value array_agg string_agg json_agg json_object_agg jsonb_agg jsonb_object_agg xmlagg range_agg
    range_intersect_agg corr covar_pop covar_samp regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope
    regr_sxx regr_sxy regr_syy stddev stddev_pop stddev_samp variance var_pop var_samp mode percentile_cont
    percentile_disc rank dense_rank percent_rank cume_dist grouping
"""
_OTHERS = frozenset(_OTHER_NAMES.split())
# SQL's own forms that look like calls: `extract(year FROM d)`.
_CALL_FORMS = frozenset({"EXTRACT", "POSITION", "SUBSTRING", "TRIM", "OVERLAY", "NORMALIZE"})
_ROUTE_HINT = "Pin the shard key to one value, so that one shard computes it."


def is_aggregate(node: object, context: PlanningContext) -> bool:
    """Whether a node calls an aggregate function (a window function's call is none)."""
    if isinstance(node, ast.JsonArrayAgg | ast.JsonObjectAgg | ast.GroupingFunc):
        return True
    if not isinstance(node, ast.FuncCall) or node.over is not None:
        return False
    name = names_of(node.funcname)[-1]
    return (
        name in _SUPPORTED
        or name in _OTHERS
        or name in context.facts.aggregates
        or bool(node.agg_star or node.agg_distinct or node.agg_order or node.agg_filter or node.agg_within_group)
    )


def is_surely_aggregate(node: object, context: PlanningContext) -> bool:
    """Whether a node calls one of PostgreSQL's own aggregates, so that its errors about their use are certain."""
    if not isinstance(node, ast.FuncCall) or node.over is not None:
        return False
    *schema, name = names_of(node.funcname)
    builtin = schema == ["pg_catalog"] or (not schema and name in context.facts.builtin_functions)
    return builtin and name in _SUPPORTED | _OTHERS


def aggregates_in(node: object, context: PlanningContext) -> Iterator[ast.Node]:
    """The outermost aggregate calls of an expression; those of its subqueries are not looked for."""
    if isinstance(node, ast.Node) and is_aggregate(node, context):
        yield node
    elif not isinstance(node, ast.SubLink):
        for child in children_of(node):
            yield from aggregates_in(child, context)


@dataclass(frozen=True, slots=True)
class Partial:
    """One aggregate: the select-list items that each shard computes, and how they combine.

    `combine(first)` gets the position of the first of its items among the shard's columns.
    """

    kind: str
    items: tuple[SqlTemplate, ...]
    bytewise: bool

    def combine(self, first: int) -> Combine:
        return Combine(self.kind, tuple(range(first, first + len(self.items))), bytewise=self.bytewise)


def partial_of(scope: Scope, call: ast.Node) -> Partial:
    """Why this is exact: count, sum, min, max and the boolean and bit aggregates ignore NULL, are associative and
    commutative, so that those of the shards' disjoint rows combine to that of all rows; avg is sum / count of
    non-NULL values, for which PostgreSQL keeps just these two. (Floats: PostgreSQL itself leaves the order of
    addition open.) FILTER only narrows the rows. Everything else is refused."""
    if not isinstance(call, ast.FuncCall):
        raise Refused("this aggregate is not supported across shards", _ROUTE_HINT)
    *schema, name = names_of(call.funcname)
    _check_call(scope, call, schema, name)
    span = call_span(scope, call)
    if name == "avg":
        return Partial("avg", (_renamed(scope, call, span, "sum"), _renamed(scope, call, span, "count")), bytewise=True)
    bytewise = name in ("min", "max") and scope.bytewise(items_of(call.args)[0])
    return Partial(name, (scope.cut(span),), bytewise)


def _check_call(scope: Scope, call: ast.FuncCall, schema: list[str], name: str) -> None:
    inner = aggregates_in(items_of(call.args), scope.context)
    if is_surely_aggregate(call, scope.context) and any(is_surely_aggregate(one, scope.context) for one in inner):
        raise InvalidStatementError("aggregate function calls cannot be nested")
    builtin = schema == ["pg_catalog"] or (not schema and name in scope.context.facts.builtin_functions)
    arguments = 0 if call.agg_star and name == "count" else 1
    refusals = (
        (name not in _SUPPORTED or not builtin, f"the aggregate {name}()"),
        (bool(call.agg_within_group), f"{name}() WITHIN GROUP"),
        (bool(call.agg_distinct) and name not in _INDIFFERENT_TO_DISTINCT, f"{name}(DISTINCT …)"),
        (bool(call.agg_order), f"{name}(… ORDER BY …)"),
        (bool(call.func_variadic), f"{name}(VARIADIC …)"),
        (len(items_of(call.args)) != arguments, f"{name}() with this number of arguments"),
        (any(aggregates_in(items_of(call.args), scope.context)), "an aggregate inside an aggregate"),
    )
    for applies, what in refusals:
        if applies:
            raise Refused(f"{what} is not supported across shards", _ROUTE_HINT, position=(call.location or 0) + 1)


def call_span(scope: Scope, call: ast.FuncCall) -> Span:
    """A function call from its name to its closing bracket, or to that of its FILTER."""
    source = scope.source
    start, name_end = name_span(source, call.location or 0)
    closing = source.closing(_opening(scope, call, name_end))
    if call.agg_filter is not None:
        if source.tokens[closing + 1].name != "FILTER":
            raise Refused("this form of an aggregate call is not supported across shards", _ROUTE_HINT)
        closing = source.closing(closing + 2)
    return start, source.tokens[closing].end


def _opening(scope: Scope, call: ast.FuncCall, name_end: int) -> int:
    """The call's opening bracket; some of SQL's own forms (`a AT TIME ZONE b`, `(a, b) OVERLAPS (c, d)`) have none."""
    tokens = scope.source.tokens
    index = scope.source.token_index(name_end)
    own_syntax = call.funcformat == enums.CoercionForm.COERCE_SQL_SYNTAX
    looks_like_call = index < len(tokens) and tokens[index].name == "ASCII_40"
    if not looks_like_call or (own_syntax and tokens[index - 1].name not in _CALL_FORMS):
        name = names_of(call.funcname)[-1]
        raise Refused(f"{name}() in this form is not supported across shards", _ROUTE_HINT)
    return index


def _renamed(scope: Scope, call: ast.FuncCall, span: Span, name: str) -> SqlTemplate:
    """The call with another aggregate's name in front, everything else as written."""
    edits = [Edit(*name_span(scope.source, span[0]), composed(name))]
    (argument,) = items_of(call.args)
    column = scope.column(argument)
    if name == "sum" and column is not None and column.type_oid == FLOAT4:
        # PostgreSQL's avg(real) adds in double precision, its sum(real) does not.
        assert isinstance(argument, ast.ColumnRef)
        end = name_span(scope.source, argument.location or 0)[1]
        edits.append(Edit(end, end, composed("::float8")))
    return scope.source.edit([*edits, *scope.edits_within(span, beside=edits)], span)
