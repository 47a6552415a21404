"""Where the clauses of one top-level SELECT stand in its text, by its tokens, cross-checked against its tree.

Only simple SELECTs are taken apart: no WITH, no set operation, no VALUES. What the clauses mean is left to `select`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pglast import ast, enums

from pgproxy.errors import Refused
from pgproxy.planner.text import BRACKETS, SourceText, Span, Token

_STARTS = {
    "INTO": "into",
    "FROM": "from",
    "WHERE": "where",
    "GROUP_P": "group",
    "HAVING": "having",
    "WINDOW": "window",
    "ORDER": "order",
    "LIMIT": "limit",
    "OFFSET": "offset",
    "FETCH": "fetch",
    "FOR": "locking",
}
_LENGTH_OF_START = {"group": 2, "order": 2}  # GROUP BY, ORDER BY; the others are one token


@dataclass(frozen=True, slots=True)
class Clause:
    """`whole` begins with the keyword, `body` behind it; `items` are the body split at its commas."""

    whole: Span
    body: Span
    items: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class SelectClauses:
    """The clauses of a SELECT. `items` is the select list without ALL, DISTINCT and DISTINCT ON (…).

    `select_list` spans the items; `distinct` spans `DISTINCT` or `DISTINCT ON (…)`. `end` is the offset behind
    the last token of the statement, semicolons not counted.
    """

    select_list: Span
    items: tuple[Span, ...]
    end: int
    distinct: Span | None = None
    from_: Clause | None = None
    where: Clause | None = None
    group: Clause | None = None
    having: Clause | None = None
    window: Clause | None = None
    order: Clause | None = None
    order_expressions: tuple[Span, ...] = ()  # each ORDER BY item without ASC, DESC, NULLS …
    limits: tuple[Clause, ...] = field(default=())  # LIMIT, OFFSET, FETCH as they stand
    locking: tuple[Clause, ...] = field(default=())  # FOR UPDATE and its kin


def select_clauses(source: SourceText, select: ast.SelectStmt) -> SelectClauses:
    """Take a SELECT apart. Raises Refused where tokens and tree do not tell the same story."""
    tokens = _statement_tokens(source)
    if not tokens or tokens[0].name != "SELECT" or select.withClause or select.op != enums.SetOperation.SETOP_NONE:
        raise _not_understood()
    starts = list(_clause_starts(tokens))
    ends = [index for _, index in starts[1:]] + [len(tokens)]
    found: dict[str, list[Clause]] = {}
    for (name, index), end in zip(starts, ends, strict=True):
        if name != "select":
            found.setdefault(name, []).append(_clause(tokens, index, end, _LENGTH_OF_START.get(name, 1)))
    first_item = _skip_quantifier(tokens, ends[0])
    items = tuple(_split(tokens, first_item, ends[0]))
    single = {name: _only(clauses) for name, clauses in found.items() if name not in ("limit", "locking")}
    order = single.get("order")
    clauses = SelectClauses(
        select_list=(items[0][0], items[-1][1]) if items else (tokens[0].end, tokens[0].end),
        items=items,
        end=tokens[-1].end,
        distinct=(tokens[1].start, tokens[first_item - 1].end) if tokens[1:] and tokens[1].name == "DISTINCT" else None,
        from_=single.get("from"),
        where=single.get("where"),
        group=single.get("group"),
        having=single.get("having"),
        window=single.get("window"),
        order=order,
        order_expressions=_order_expressions(source, order, select),
        limits=tuple(clause for name in ("limit", "offset", "fetch") for clause in found.get(name, ())),
        locking=tuple(found.get("locking", ())),
    )
    _cross_check(clauses, select)
    return clauses


def _statement_tokens(source: SourceText) -> Sequence[Token]:
    tokens = source.tokens
    end = len(tokens)
    while end and tokens[end - 1].name == "ASCII_59":
        end -= 1
    start = 0
    while start < end and tokens[start].name == "ASCII_59":
        start += 1
    return tokens[start:end]


def _clause_starts(tokens: Sequence[Token]) -> Iterator[tuple[str, int]]:
    """(clause, index of its first token) of each clause outside all brackets, the select list first."""
    depth = 0
    yield "select", 0
    for index, token in enumerate(tokens):
        depth += BRACKETS.get(token.name, 0)
        name = _STARTS.get(token.name)
        if name and depth == 0 and not _is_no_clause(tokens, index):
            yield name, index


def _is_no_clause(tokens: Sequence[Token], index: int) -> bool:
    """`AS from`, `t.from`, `IS DISTINCT FROM`, `WITHIN GROUP`: the keyword begins no clause there."""
    before = tokens[index - 1].name if index else ""
    before_that = tokens[index - 2].name if index > 1 else ""
    return (
        before in ("AS", "ASCII_46")
        or (tokens[index].name == "FROM" and before == "DISTINCT" and before_that in ("IS", "NOT"))
        or (tokens[index].name == "GROUP_P" and before == "WITHIN")
    )


def _clause(tokens: Sequence[Token], index: int, end: int, keywords: int) -> Clause:
    first = index + keywords
    if first > end:
        raise _not_understood()
    behind = tokens[end - 1].end
    body = (tokens[first].start, behind) if first < end else (behind, behind)
    return Clause((tokens[index].start, behind), body, tuple(_split(tokens, first, end)))


def _split(tokens: Sequence[Token], first: int, end: int) -> Iterator[Span]:
    depth, start = 0, first
    for index in range(first, end):
        depth += BRACKETS.get(tokens[index].name, 0)
        if depth == 0 and tokens[index].name == "ASCII_44":
            if index == start:
                raise _not_understood()
            yield tokens[start].start, tokens[index - 1].end
            start = index + 1
    if start < end:
        yield tokens[start].start, tokens[end - 1].end


def _skip_quantifier(tokens: Sequence[Token], end: int) -> int:
    """The index of the first token of the select list, behind ALL, DISTINCT or DISTINCT ON (…)."""
    if end < 2 or tokens[1].name not in ("ALL", "DISTINCT"):
        return 1
    if tokens[1].name == "ALL" or end < 3 or tokens[2].name != "ON":
        return 2
    depth = 0
    for index in range(3, end):
        depth += BRACKETS.get(tokens[index].name, 0)
        if depth == 0:
            return index + 1
    raise _not_understood()


def _order_expressions(source: SourceText, order: Clause | None, select: ast.SelectStmt) -> tuple[Span, ...]:
    """Each ORDER BY item without the direction and null order that its tree says it has."""
    sorts = select.sortClause or ()
    if order is None or len(order.items) != len(sorts):
        return ()
    spans = []
    for item, sort in zip(order.items, sorts, strict=True):
        tokens = list(source.tokens_within(item))
        if sort.sortby_nulls != enums.SortByNulls.SORTBY_NULLS_DEFAULT:
            del tokens[-2:]
        if sort.sortby_dir in (enums.SortByDir.SORTBY_ASC, enums.SortByDir.SORTBY_DESC):
            del tokens[-1:]
        if not tokens:
            raise _not_understood()
        spans.append((item[0], tokens[-1].end))
    return tuple(spans)


def _only(clauses: list[Clause]) -> Clause:
    if len(clauses) != 1:
        raise _not_understood()
    return clauses[0]


def _cross_check(clauses: SelectClauses, select: ast.SelectStmt) -> None:
    """Tokens and tree must agree about every clause; a wrong cut would be a wrong answer."""
    distinct_on = [node for node in select.distinctClause or () if node is not None]
    limits = {clause.whole[0] for clause in clauses.limits}
    agreements = (
        len(clauses.items) == len(select.targetList or ()),
        all(target.location == item[0] for target, item in zip(select.targetList or (), clauses.items, strict=False)),
        (clauses.distinct is None) == (not select.distinctClause),
        clauses.distinct is None or (clauses.distinct[1] - clauses.distinct[0] > len("DISTINCT")) == bool(distinct_on),
        _count(clauses.from_) == len(select.fromClause or ()),
        (clauses.where is None) == (select.whereClause is None),
        bool(select.groupDistinct) or _count(clauses.group) == len(select.groupClause or ()),
        (clauses.having is None) == (select.havingClause is None),
        _count(clauses.window) == len(select.windowClause or ()),
        _count(clauses.order) == len(select.sortClause or ()) == len(clauses.order_expressions),
        len(limits) == (select.limitCount is not None) + (select.limitOffset is not None),
        len(clauses.locking) == len(select.lockingClause or ()),
    )
    if not all(agreements):
        raise _not_understood()


def _count(clause: Clause | None) -> int:
    return 0 if clause is None else len(clause.items)


def _not_understood() -> Refused:
    return Refused(
        "the clauses of this statement could not be told apart",
        "Write it as one plain SELECT without WITH, VALUES, parentheses around it, or keywords as names.",
    )
