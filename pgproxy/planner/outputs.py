"""The output columns of a SELECT: what each computes, its name, and where its expression stands; stars written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pglast import ast

from pgproxy.errors import Refused
from pgproxy.planner.names import names_surely, output_name
from pgproxy.planner.plan import quote
from pgproxy.planner.scope import Scope
from pgproxy.planner.text import Edit, Span, composed
from pgproxy.planner.tree import items_of, names_of


@dataclass(frozen=True, slots=True)
class Output:
    """`span` is the expression without its alias; None for a column that a star stands for."""

    node: ast.Node
    name: str
    span: Span | None
    surely_named: bool = True


@dataclass(frozen=True, slots=True)
class OutputList:
    """`expansions` replace each star by the columns it stands for, so that positions are sure on every shard."""

    outputs: tuple[Output, ...]
    expansions: tuple[Edit, ...]


def outputs_of(scope: Scope) -> OutputList:
    """Raises Refused for a star whose columns are not known."""
    outputs: list[Output] = []
    expansions: list[Edit] = []
    for target, span in zip(_targets(scope), scope.clauses.items, strict=True):
        if _is_star(target.val):
            columns = tuple(_star_columns(scope, target.val))
            outputs += columns
            expansions.append(Edit(*span, composed(", ".join(map(_column_sql, columns)))))
        else:
            assert isinstance(target.val, ast.Node)
            expression = _without_alias(scope, target, span)
            outputs.append(Output(target.val, output_name(target), expression, names_surely(target)))
    return OutputList(tuple(outputs), tuple(expansions))


def _targets(scope: Scope) -> Iterator[ast.ResTarget]:
    for target in items_of(scope.select.targetList):
        assert isinstance(target, ast.ResTarget)
        yield target


def _is_star(node: object) -> bool:
    return isinstance(node, ast.ColumnRef) and isinstance(items_of(node.fields)[-1], ast.A_Star)


def _star_columns(scope: Scope, star: object) -> Iterator[Output]:
    assert isinstance(star, ast.ColumnRef)
    qualifier = names_of(star.fields)
    if qualifier not in scope.qualifiers and not (_alone_in_from(scope) and not qualifier):
        raise Refused(
            "* over a join together with ORDER BY or DISTINCT is not supported across shards",
            "Name the columns, or pin the shard key to one value.",
        )
    for name in scope.context.table_facts(scope.table).columns:
        fields = (ast.String(sval=scope.relation), ast.String(sval=name))
        yield Output(ast.ColumnRef(fields=fields), name, None)


def _alone_in_from(scope: Scope) -> bool:
    """Whether a bare * stands for the logical table's columns: other tables are named in sub-queries at most."""
    from_items = items_of(scope.select.fromClause)
    return len(from_items) == 1 and isinstance(from_items[0], ast.RangeVar)


def _column_sql(output: Output) -> str:
    assert isinstance(output.node, ast.ColumnRef)
    return ".".join(map(quote, names_of(output.node.fields)))


def _without_alias(scope: Scope, target: ast.ResTarget, span: Span) -> Span:
    if target.name is None:
        return span
    tokens = list(scope.source.tokens_within(span))
    label = tokens.pop()
    if _label_name(label.text) != target.name:
        raise Refused("this form of an output column's name is not supported", "Write the name as a plain identifier.")
    if tokens[-1].name == "AS":
        tokens.pop()
    return span[0], tokens[-1].end


def _label_name(text: str) -> str:
    """The identifier that a token stands for. Non-ASCII letters keep their case, as in libpg_query."""
    if text[0] == '"':
        return text[1:-1].replace('""', '"')
    return "".join(character.lower() if character.isascii() else character for character in text)
