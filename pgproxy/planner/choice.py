"""Which shards a WHERE clause can concern: what it says about the shard key, as a function of the constants.

A condition that is not understood constrains nothing, so a shard is only ever left out when no row of it can
match. Where values live is `shardmap.placement`'s; how constants are read is `hashing`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pglast import ast, enums

from pgproxy.hashing import NULL, TEXT_OIDS
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.never import never_of
from pgproxy.planner.plan import ByValue, Choice
from pgproxy.planner.text import SourceText
from pgproxy.planner.tree import column_name, items_of, names_of
from pgproxy.shardmap.facts import ColumnFacts
from pgproxy.shardmap.placement import Placement

Shards = tuple[int, ...]
_Literals = tuple[str, ...]
_Choose = Callable[[_Literals], Shards]

INT8_OID = 20
_FLIPPED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
# Casts that give the key's own type: (type of the key, names it may be cast to). Type modifiers could change
# the value, and other types compare by their own rules.
_INTEGERS = frozenset({"int2", "int4", "int8"})
_TEXTS = frozenset({"text", "varchar"})
_CAST_NAMES = {
    16: frozenset({"bool"}),
    INT8_OID: _INTEGERS,
    21: _INTEGERS,
    23: _INTEGERS,
    25: _TEXTS,
    1043: _TEXTS,
    1082: frozenset({"date"}),
    1114: frozenset({"timestamp"}),
    1184: frozenset({"timestamptz"}),
    1700: frozenset({"numeric"}),
    2950: frozenset({"uuid"}),
}
_PLAIN_ARRAY = re.compile(r"'\{([\w.+-]+(?:,[\w.+-]+)*)\}'", re.ASCII)
_EMPTY_ARRAYS = frozenset({"'{}'", "NULL", "null"})
_REMEMBERED_LITERALS = 4096
_SHORT_INTEGER = re.compile(r"(')?(0|[1-9][0-9]{0,8})(?(1)')", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class KeyReference:
    """How a statement may name the shard key: bare, or qualified by one of `qualifiers` (`b`, `public.books`)."""

    column: ColumnFacts
    qualifiers: frozenset[tuple[str, ...]]

    def matches(self, node: object) -> bool:
        name = column_name(node)
        if not name or name[-1] != self.column.name:
            return False
        return len(name) == 1 or name[:-1] in self.qualifiers


@dataclass(frozen=True, slots=True)
class _Constraint:
    """Shards that can hold matching rows, given the literals; `explain` says it in words, `$1` the first literal."""

    choose: _Choose
    explain: str
    by_value: ByValue | None = None


def key_choice(where: ast.Node | None, key: KeyReference, placement: Placement, source: SourceText) -> Choice:
    """The shards that rows fulfilling `where` can be on; all of them where it says nothing about the key."""
    everything = placement.all_shards
    found = _Reader(key, placement, source).read(where)
    if found is None or not key.column.deterministic:
        return Choice(lambda _: everything)
    choose = found.choose

    def shards(arguments: Arguments) -> Shards:
        return choose(arguments.literals)

    return Choice(shards, found.explain, found.by_value)


class _Reader:
    """Reads conditions into constraints; None stands for a condition that constrains nothing."""

    def __init__(self, key: KeyReference, placement: Placement, source: SourceText) -> None:
        self._key = key
        self._placement = placement
        self._source = source
        self._seen: dict[str, Shards] = {}
        self._ordered = key.column.bytewise or placement.key_type.oid not in TEXT_OIDS

    def read(self, node: object) -> _Constraint | None:
        reader = _READERS.get(type(node))
        found = None if reader is None else reader(self, node)
        return self._read_never(node) if found is None else found

    def _read_never(self, node: object) -> _Constraint | None:
        """No shard has a row that fulfils what no row can. Why one shard's answer is exact then: it finds no row, as a
        single server would, so it gives the same empty or aggregated answer, and whatever runs once for each statement
        (triggers FOR EACH STATEMENT) runs once."""
        never = never_of(node, self._source)
        if never is None:
            return None
        everything = self._placement.all_shards
        return _Constraint(lambda literals: () if never(literals) else everything, "a constant condition")

    def _read_bool(self, node: ast.BoolExpr) -> _Constraint | None:
        parts = [self.read(argument) for argument in items_of(node.args)]
        known = [part for part in parts if part is not None]
        if node.boolop == enums.BoolExprType.AND_EXPR:
            return _all_of(known)
        if node.boolop == enums.BoolExprType.OR_EXPR and len(known) == len(parts):
            return _any_of(known)
        return None

    def _read_null_test(self, node: ast.NullTest) -> _Constraint | None:
        if node.nulltesttype != enums.NullTestType.IS_NULL or not self._key.matches(node.arg):
            return None
        home = self._placement.shard_of(NULL)
        shards = () if home is None else (home,)
        return _Constraint(lambda _: shards, f"{self._key.column.name} IS NULL")

    def _read_expression(self, node: ast.A_Expr) -> _Constraint | None:
        reader = None if node.kind is None else _EXPRESSION_READERS.get(node.kind)
        operator = _builtin_operator(node)
        return None if reader is None or operator is None else reader(self, node, operator)

    def _read_operator(self, node: ast.A_Expr, operator: str) -> _Constraint | None:
        if isinstance(node.lexpr, ast.RowExpr):
            return self._equal_rows(node.lexpr, node.rexpr) if operator == "=" else None
        return self._read_comparison(node.lexpr, operator, node.rexpr)

    def _equal_rows(self, left: ast.RowExpr, right: object) -> _Constraint | None:
        """(a, b) = (x, y) is a = x AND b = y."""
        if not isinstance(right, ast.RowExpr):
            return None
        pairs = zip(items_of(left.args), items_of(right.args), strict=False)
        parts = [self._read_comparison(one, "=", other) for one, other in pairs]
        return _all_of([part for part in parts if part is not None])

    def _read_comparison(self, left: object, operator: str, right: object) -> _Constraint | None:
        if self._key.matches(right):
            left, right, operator = right, left, _FLIPPED.get(operator, "")
        literal = self._literal(right)
        if not self._key.matches(left) or literal is None:
            return None
        if operator == "=":
            return self._equal(literal)
        return self._compare(literal, operator) if operator in _FLIPPED else None

    def _read_in(self, node: ast.A_Expr, operator: str) -> _Constraint | None:
        if operator == "=" and isinstance(node.lexpr, ast.RowExpr):
            rows = [self._equal_rows(node.lexpr, row) for row in items_of(node.rexpr)]
            known = [row for row in rows if row is not None]
            return _any_of(known) if len(known) == len(rows) else None
        return self._one_of(node.rexpr) if operator == "=" and self._key.matches(node.lexpr) else None

    def _read_any(self, node: ast.A_Expr, operator: str) -> _Constraint | None:
        if operator != "=" or not self._key.matches(node.lexpr):
            return None
        array: object = node.rexpr
        if isinstance(array, ast.TypeCast) and self._is_own_cast(array.typeName, dimensions=1):
            array = array.arg
        if isinstance(array, ast.A_ArrayExpr):
            return self._one_of(array.elements)
        literal = self._source.value_of(array)
        return None if literal is None else self._in_array(literal)

    def _read_between(self, node: ast.A_Expr, _operator: str) -> _Constraint | None:
        if not self._key.matches(node.lexpr) or not self._ordered:
            return None
        low, high = (self._literal(bound) for bound in items_of(node.rexpr))
        bounds = [
            self._compare(literal, operator) for literal, operator in ((low, ">="), (high, "<=")) if literal is not None
        ]
        return _all_of([bound for bound in bounds if bound is not None])

    def _read_not_distinct(self, node: ast.A_Expr, _operator: str) -> _Constraint | None:
        left, right = node.lexpr, node.rexpr
        literal = self._literal(left if self._key.matches(right) else right)
        if literal is None or not (self._key.matches(left) or self._key.matches(right)):
            return None
        parse, placement = self._placement.key_type.parse_literal, self._placement

        def choose(literals: _Literals) -> Shards:
            value = parse(literals[literal])
            if value is not NULL:
                return placement.shards_of_equal(value)
            home = placement.shard_of(NULL)
            return () if home is None else (home,)

        return _Constraint(choose, f"{self._key.column.name} IS NOT DISTINCT FROM {self._source.shown(literal)}")

    def _literal(self, node: object) -> int | None:
        """The literal that a node is, perhaps cast to the key's own type."""
        if isinstance(node, ast.TypeCast) and self._is_own_cast(node.typeName, dimensions=0):
            node = node.arg
        return self._source.value_of(node)

    def _is_own_cast(self, name: ast.TypeName | None, dimensions: int) -> bool:
        return is_own_cast(name, self._placement.key_type.oid, dimensions)

    def _equal(self, literal: int) -> _Constraint:
        explain = f"{self._key.column.name} = {self._source.shown(literal)}"
        return _Constraint(self._equal_to(literal), explain, self._by_value(literal))

    def _by_value(self, literal: int) -> ByValue:
        choose = self._equal_to(0)

        def shard_of(text: str) -> int | None:
            shards = choose((text,))
            return shards[0] if len(shards) == 1 else None

        return ByValue(literal, shard_of, self._placement.shard_of if self._placement.is_cheap else None)

    def _equal_to(self, literal: int) -> _Choose:
        """The hot path. Where hashing or reading costs more than a look-up, constants seen before are remembered."""
        parse, shards_of_equal = self._placement.key_type.parse_literal, self._placement.shards_of_equal
        seen = self._seen
        if self._placement.is_cheap:
            return self._equal_to_integer(literal)

        def choose(literals: _Literals) -> Shards:
            text = literals[literal]
            shards = seen.get(text)
            if shards is None:
                shards = shards_of_equal(parse(text))
                if len(seen) < _REMEMBERED_LITERALS and len(text) < 64:
                    seen[text] = shards
            return shards

        return choose

    def _equal_to_integer(self, literal: int) -> _Choose:
        """Integers of few digits, bare or in quotes, are what `parse_literal` reads them to be; it gets all others."""
        parse, shards_of_equal = self._placement.key_type.parse_literal, self._placement.shards_of_equal

        def choose(literals: _Literals) -> Shards:
            text = literals[literal]
            found = _SHORT_INTEGER(text)
            return shards_of_equal(parse(text) if found is None else int(found[2]))

        return choose

    def _one_of(self, nodes: object) -> _Constraint | None:
        literals = [self._literal(node) for node in items_of(nodes)]
        if not literals or None in literals:
            return None
        places = ", ".join(self._source.shown(literal) for literal in literals if literal is not None)
        choices = [self._equal_to(literal) for literal in literals if literal is not None]
        return _Constraint(_union(choices), f"{self._key.column.name} IN ({places})")

    def _in_array(self, literal: int) -> _Constraint:
        parse, placement = self._placement.key_type.parse_text, self._placement

        def choose(literals: _Literals) -> Shards:
            plain = _PLAIN_ARRAY.fullmatch(literals[literal])
            if plain is None:
                return () if literals[literal] in _EMPTY_ARRAYS else placement.all_shards
            # An unquoted NULL among the elements is SQL's, which equals nothing; asking one shard more is harmless.
            values = plain[1].split(",")
            return tuple(sorted({shard for text in values for shard in placement.shards_of_equal(parse(text))}))

        return _Constraint(choose, f"{self._key.column.name} = ANY ({self._source.shown(literal)})")

    def _compare(self, literal: int, operator: str) -> _Constraint | None:
        if not self._ordered:
            return None
        parse, placement = self._placement.key_type.parse_literal, self._placement
        inclusive = operator.endswith("=")

        def above(literals: _Literals) -> Shards:
            return placement.shards_of_range(parse(literals[literal]), inclusive, None, False)

        def below(literals: _Literals) -> Shards:
            return placement.shards_of_range(None, False, parse(literals[literal]), inclusive)

        choose = above if operator[0] == ">" else below
        return _Constraint(choose, f"{self._key.column.name} {operator} {self._source.shown(literal)}")


def is_own_cast(name: ast.TypeName | None, type_oid: int, dimensions: int = 0) -> bool:
    """Whether a cast to the named type leaves the values of a type (or of arrays of it) as they are."""
    if name is None:
        return False
    *schema, bare = names_of(name.names)
    return (
        schema in ([], ["pg_catalog"])
        and bare in _CAST_NAMES.get(type_oid, ())
        and not name.typmods
        and not name.setof
        and not name.pct_type
        and len(name.arrayBounds or ()) == dimensions
    )


def _builtin_operator(node: ast.A_Expr) -> str | None:
    """The operator's name when it can only be pg_catalog's."""
    *schema, name = names_of(node.name)
    return name if schema in ([], ["pg_catalog"]) else None


def _all_of(constraints: Sequence[_Constraint]) -> _Constraint | None:
    if len(constraints) < 2:
        return constraints[0] if constraints else None
    chooses = [constraint.choose for constraint in constraints]

    def choose(literals: _Literals) -> Shards:
        shards: Collection[int] = chooses[0](literals)
        for other in chooses[1:]:
            held = set(other(literals))
            shards = [shard for shard in shards if shard in held]
        return tuple(shards)

    return _Constraint(choose, " AND ".join(constraint.explain for constraint in constraints))


def _any_of(constraints: Sequence[_Constraint]) -> _Constraint:
    explain = " OR ".join(constraint.explain for constraint in constraints)
    return _Constraint(_union([constraint.choose for constraint in constraints]), f"({explain})")


def _union(chooses: Sequence[_Choose]) -> _Choose:
    if len(chooses) == 1:
        return chooses[0]

    def choose(literals: _Literals) -> Shards:
        return tuple(sorted({shard for choose in chooses for shard in choose(literals)}))

    return choose


_READERS: dict[type, Callable[[_Reader, Any], _Constraint | None]] = {
    ast.BoolExpr: _Reader._read_bool,
    ast.NullTest: _Reader._read_null_test,
    ast.A_Expr: _Reader._read_expression,
}
_EXPRESSION_READERS: dict[int, Callable[[_Reader, ast.A_Expr, str], _Constraint | None]] = {
    enums.A_Expr_Kind.AEXPR_OP: _Reader._read_operator,
    enums.A_Expr_Kind.AEXPR_IN: _Reader._read_in,
    enums.A_Expr_Kind.AEXPR_OP_ANY: _Reader._read_any,
    enums.A_Expr_Kind.AEXPR_BETWEEN: _Reader._read_between,
    enums.A_Expr_Kind.AEXPR_NOT_DISTINCT: _Reader._read_not_distinct,
}
