"""LIMIT, OFFSET and FETCH of a SELECT as values known at run time. What they do to rows is left to operators."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.operators.arguments import LiteralRef
from pgproxy.operators.limit import Bound, Limit
from pgproxy.planner.choice import INT8_OID, is_own_cast
from pgproxy.planner.plan import RowBound, SqlTemplate
from pgproxy.planner.scope import Scope
from pgproxy.planner.text import Edit, composed, join
from pgproxy.planner.tree import names_of


@dataclass(frozen=True, slots=True)
class RowLimits:
    """`removals` take the clauses out of the text."""

    limit: Bound
    offset: Bound
    removals: tuple[Edit, ...]

    @property
    def given(self) -> bool:
        return self.limit is not None or self.offset is not None

    def steps(self) -> tuple[Limit, ...]:
        """What the proxy does once, over all shards' rows."""
        return (Limit(self.limit, self.offset),) if self.given else ()

    def for_shard(self) -> SqlTemplate:
        """Each shard gives at most limit + offset rows: all the others' rows may come before or behind its own."""
        if self.limit is None:
            return composed()
        return join(" LIMIT ", composed(RowBound(self.limit, self.offset)))


def row_limits(scope: Scope) -> RowLimits:
    """Raises Refused for what is not one constant, and for WITH TIES."""
    select = scope.select
    if select.limitOption == enums.LimitOption.LIMIT_OPTION_WITH_TIES:
        raise Refused(
            "FETCH … WITH TIES is not supported across shards", "Use LIMIT, or pin the shard key to one value."
        )
    removals = tuple(Edit(*clause.whole, composed()) for clause in scope.clauses.limits)
    return RowLimits(_bound(scope, select.limitCount), _bound(scope, select.limitOffset), removals)


def _is_number_cast(cast: ast.TypeCast, scope: Scope) -> bool:
    """To an integer; of a parameter, or of a constant so short that the cast cannot fail. The plan holds for that
    constant only: another might not fit the type."""
    if not is_own_cast(cast.typeName, INT8_OID):
        return False
    if isinstance(cast.arg, ast.ParamRef):
        return True
    if not isinstance(cast.arg, ast.A_Const):
        return False
    constant = cast.arg.val
    text = constant.sval if isinstance(constant, ast.String) else str(getattr(constant, "ival", ""))
    (*_, name) = names_of(cast.typeName.names) if cast.typeName is not None else ("",)
    if text is None or not _DIGITS.fullmatch(text) or len(text) > _FITTING_DIGITS[name]:
        return False
    scope.context.pin(scope.source.literal_of(cast.arg))
    return True


_DIGITS = re.compile("[0-9]+", re.ASCII)
_FITTING_DIGITS = {"int2": 4, "int4": 9, "int8": 18}


def _bound(scope: Scope, node: object) -> Bound:
    if node is None:
        return None
    # Drivers write LIMIT $1::integer, and the value in its place when they bind on their side: LIMIT ('5'::int4).
    if isinstance(node, ast.TypeCast) and _is_number_cast(node, scope):
        node = node.arg
    value = scope.source.value_of(node)
    if value is not None:
        return LiteralRef(value)
    if isinstance(node, ast.A_Const) and scope.source.faithful and isinstance(node.val, ast.Integer):
        return node.val.ival or 0  # FETCH FIRST ROW ONLY: a number that nobody wrote
    raise Refused(
        "an expression in LIMIT or OFFSET is not supported across shards",
        "Write the number itself, or pin the shard key to one value.",
    )
