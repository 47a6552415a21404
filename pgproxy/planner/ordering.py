"""ORDER BY: which output column each item sorts by, by SQL's rules, and how the proxy must compare it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.operators.values import SortKey
from pgproxy.planner.outputs import Output
from pgproxy.planner.scope import Scope
from pgproxy.planner.text import Span
from pgproxy.planner.tree import column_name, items_of
from pgproxy.shardmap.model import Engine


class InvalidStatementError(Exception):
    """Any server refuses this statement, whatever its tables hold: the nodes shall say so, in their own words."""


@dataclass(frozen=True, slots=True)
class SortItem:
    """One ORDER BY item. `output` is the output column it names; None: it sorts by an expression of its own."""

    node: ast.Node
    span: Span
    output: int | None
    descending: bool
    nulls_first: bool

    def key(self, column: int, *, bytewise: bool) -> SortKey:
        return SortKey(column, self.descending, self.nulls_first, bytewise)


def sort_items(scope: Scope, outputs: Sequence[Output], *, must_match: bool = False) -> tuple[SortItem, ...]:
    """The ORDER BY items. `must_match`: expressions with constants are matched too, and hold those constants fast."""
    items = []
    for sort, span in zip(items_of(scope.select.sortClause), scope.clauses.order_expressions, strict=True):
        assert isinstance(sort, ast.SortBy)
        assert isinstance(sort.node, ast.Node)
        if sort.sortby_dir == enums.SortByDir.SORTBY_USING:
            raise Refused("ORDER BY … USING is not supported across shards", "Write ASC or DESC.")
        descending = sort.sortby_dir == enums.SortByDir.SORTBY_DESC
        output = output_sorted_by(scope, sort.node, outputs, must_match=must_match)
        items.append(SortItem(sort.node, span, output, descending, _nulls_first(scope, sort, descending)))
    return tuple(items)


def nulls_come_first(engine: Engine, *, descending: bool) -> bool:
    """Where NULLs go when the statement does not say: last in ascending order for PostgreSQL, first for CockroachDB."""
    return descending if engine is Engine.POSTGRESQL else not descending


def _nulls_first(scope: Scope, sort: ast.SortBy, descending: bool) -> bool:
    if sort.sortby_nulls == enums.SortByNulls.SORTBY_NULLS_DEFAULT:
        return nulls_come_first(scope.context.engine, descending=descending)
    return sort.sortby_nulls == enums.SortByNulls.SORTBY_NULLS_FIRST


def output_sorted_by(scope: Scope, node: ast.Node, outputs: Sequence[Output], *, must_match: bool) -> int | None:
    """The output column that an ORDER BY item names: a position, an output name (SQL-92), an equal expression."""
    if isinstance(node, ast.A_Const):
        return position_of(node, len(outputs), "ORDER BY")
    name = column_name(node)
    if name and len(name) == 1:
        named = [index for index, output in enumerate(outputs) if output.name == name[0]]
        if len({repr(scope.fingerprint(outputs[index].node)) for index in named}) > 1:
            # PostgreSQL would look whether they are equal after all, as `price` and `price::numeric` are.
            raise Refused(f'ORDER BY "{name[0]}" is ambiguous', "Give the output columns different names.")
        if not all(output.surely_named for output in outputs):
            raise Refused(
                f'ORDER BY "{name[0]}" may mean an output column whose name is not known',
                "Give the output columns names with AS.",
            )
        if named:
            return named[0]
    return equal_output(scope, node, outputs, must_match=must_match)


def position_of(constant: ast.A_Const, count: int, clause: str) -> int:
    """The 0-based output column that a bare integer in ORDER BY or GROUP BY means."""
    if not isinstance(constant.val, ast.Integer):
        raise InvalidStatementError(f"non-integer constant in {clause}")
    position = constant.val.ival or 0
    if not 1 <= position <= count:
        raise InvalidStatementError(f"{clause} position {position} is not in select list")
    return position - 1


def equal_output(scope: Scope, node: ast.Node, outputs: Sequence[Output], *, must_match: bool) -> int | None:
    """The output column that computes the very same expression."""
    if scope.literals_in(node) and not must_match:
        return None
    wanted = scope.fingerprint(node)
    for index, output in enumerate(outputs):
        if scope.fingerprint(output.node) == wanted:
            scope.pin_literals(node, output.node)
            return index
    return None
