"""CockroachDB's syntax that libpg_query cannot parse: which tables such a statement touches and whether it writes.

A sqlglot dialect derived from its Postgres one reads it. The text itself is never regenerated: it goes to a node
as it stands, or is refused when it touches a logical table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pglast.parser import ParseError
from sqlglot import exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError
from sqlglot.parsers.postgres import PostgresParser
from sqlglot.tokenizer_core import Token, TokenType

from pgproxy.errors import Refused
from pgproxy.planner.context import PlanningContext
from pgproxy.planner.plan import Effect, SqlTemplate, ToNode
from pgproxy.planner.relations import Kind, classify_name
from pgproxy.planner.text import scan_tokens

_SEMICOLON = "ASCII_59"
_SYSTEM_TIME = ("AS", "OF", "SYSTEM", "TIME")
_BEHIND_SYSTEM_TIME = frozenset(
    {
        TokenType.WHERE,
        TokenType.GROUP_BY,
        TokenType.HAVING,
        TokenType.ORDER_BY,
        TokenType.LIMIT,
        TokenType.OFFSET,
        TokenType.UNION,
        TokenType.EXCEPT,
        TokenType.INTERSECT,
        TokenType.FOR,
        TokenType.COMMA,
        TokenType.SEMICOLON,
        TokenType.R_PAREN,
    }
)
_OPENING = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET})
_CLOSING = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET})
# SHOW … of one table that the (empty) logical table on the node answers as well as the shards would.
_SHOW_OF_DEFINITION = frozenset({"CREATE", "COLUMNS", "INDEX", "INDEXES", "KEYS", "CONSTRAINTS", "GRANTS"})


class CockroachDB(Postgres):
    """Postgres with UPSERT; index hints and AS OF SYSTEM TIME are dropped before parsing, as they name no table."""

    class Tokenizer(Postgres.Tokenizer):
        KEYWORDS: ClassVar = {**Postgres.Tokenizer.KEYWORDS, "UPSERT": TokenType.INSERT}

    class Parser(PostgresParser):
        def parse(self, raw_tokens: list[Token], sql: str) -> list[exp.Expr | None]:
            return super().parse(list(_without_decorations(raw_tokens)), sql)


def plan_cockroach(sql: str, context: PlanningContext) -> ToNode | None:
    """The plan of a statement that libpg_query cannot parse; None when it is no CockroachDB statement either."""
    try:
        words = [token.text for token in scan_tokens(sql) if token.name != _SEMICOLON]
        if words[:1] and words[0].upper() == "SHOW":
            return _plan_show(sql, words[1:], context)
        statements = [statement for statement in CockroachDB().parse(sql) if statement is not None]
    except (SqlglotError, ParseError, RecursionError):
        return None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query | exp.DML):
        return None
    (statement,) = statements
    tables = [(table.db or None, table.name) for table in statement.find_all(exp.Table)]
    return _on_node(sql, tables, _effect(statement), context)


def _plan_show(sql: str, words: Sequence[str], context: PlanningContext) -> ToNode:
    """SHOW reads the catalog; only where it could be about a table's rows or ranges do the names in it matter."""
    named: list[tuple[str | None, str]] = []
    if words and words[0].upper() not in _SHOW_OF_DEFINITION:
        named = [(None, word.strip('"')) for word in words]
    known = [name for name in named if classify_name(*name, context).kind is not Kind.UNMAPPED]
    return _on_node(sql, known, Effect.READ, context)


def _on_node(sql: str, tables: Sequence[tuple[str | None, str]], effect: Effect, context: PlanningContext) -> ToNode:
    node = None
    for table in tables:
        relation = classify_name(*table, context)
        if relation.kind in (Kind.LOGICAL, Kind.UNSAFE):
            raise Refused(
                f'this CockroachDB syntax on sharded table "{relation.name}" is not supported yet',
                "Write it in PostgreSQL's syntax, such as INSERT … ON CONFLICT for UPSERT.",
            )
        node = node or relation.node
    return ToNode(SqlTemplate((sql,), ((0, len(sql)),)), effect, node)


def _effect(statement: Any) -> Effect:
    """Functions that sqlglot does not know may do anything."""
    writes = isinstance(statement, exp.DML) or any(statement.find_all(exp.DML, exp.Lock, exp.Anonymous, exp.Into))
    return Effect.WRITE if writes else Effect.READ


def _without_decorations(tokens: Sequence[Token]) -> Iterator[Token]:
    at = 0
    while at < len(tokens):
        behind = _behind_index_hint(tokens, at) or _behind_system_time(tokens, at)
        if behind:
            at = behind
        else:
            yield tokens[at]
            at += 1


def _behind_index_hint(tokens: Sequence[Token], at: int) -> int:
    """The index behind `@idx` or `@{…}`, 0 when there is none here."""
    if tokens[at].token_type is not TokenType.PARAMETER or at + 1 >= len(tokens):
        return 0
    if tokens[at + 1].token_type is not TokenType.L_BRACE:
        return at + 2
    for index in range(at + 2, len(tokens)):
        if tokens[index].token_type is TokenType.R_BRACE:
            return index + 1
    return 0


def _behind_system_time(tokens: Sequence[Token], at: int) -> int:
    """The index behind `AS OF SYSTEM TIME expression`, 0 when there is none here."""
    if tuple(token.text.upper() for token in tokens[at : at + 4]) != _SYSTEM_TIME:
        return 0
    depth = 0
    for index in range(at + 4, len(tokens)):
        kind = tokens[index].token_type
        if depth == 0 and kind in _BEHIND_SYSTEM_TIME:
            return index
        depth += (kind in _OPENING) - (kind in _CLOSING)
    return len(tokens)
