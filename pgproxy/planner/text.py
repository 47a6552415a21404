"""The text of one statement: its tokens, where its constants stand, and cutting pieces out of it or new text into it.

All offsets are 0-based characters. What the clauses of a statement are is left to `clauses`.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pglast import ast, parser

from pgproxy.operators.arguments import LiteralRef
from pgproxy.planner.plan import Part, SqlTemplate

Span = tuple[int, int]
"""[start, end) in a text."""

_COMMENTS = frozenset({"C_COMMENT", "SQL_COMMENT"})
_CONSTANTS = frozenset({"ICONST", "FCONST", "SCONST", "USCONST", "BCONST", "XCONST"})
BRACKETS = {"ASCII_40": 1, "ASCII_91": 1, "ASCII_41": -1, "ASCII_93": -1}
PARAMETER = "PARAM"
MOST_PARAMETERS = 65_535
"""As many values as a Bind message can have."""
_LONG_NUMBER = 20
_PLACEHOLDER = re.compile(r"\$[0-9]+")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of libpg_query's scanner. `name` is its grammar name (`FROM`, `IDENT`, `ASCII_40` for `(`)."""

    start: int
    end: int
    name: str
    text: str


def scan_tokens(sql: str) -> tuple[Token, ...]:
    """The tokens of a statement without its comments."""
    return tuple(
        Token(found.start, found.end + 1, found.name, sql[found.start : found.end + 1])
        for found in parser.scan(sql)
        if found.name not in _COMMENTS
    )


def highest_parameter(tokens: Iterable[Token]) -> int:
    """The highest `$n` that a client can bind, 0 where there is none."""
    numbers = (int(token.text[1:]) for token in tokens if token.name == PARAMETER and len(token.text) < _LONG_NUMBER)
    return max((number for number in numbers if number <= MOST_PARAMETERS), default=0)


def literal_spans(sql: str, template: str, tokens: Sequence[Token] | None = None) -> tuple[Span, ...] | None:
    """Where the constants stand that libpg_query's normalizer replaced, in the order of the text.

    `template` is what `pglast.parser.normalize` made of `sql`. None when the two do not line up: the
    normalizer garbles some texts (`-(5)`, `- - 5`), and such a statement must not be taken for another.
    """
    spans: list[Span] = []
    tokens = scan_tokens(sql) if tokens is None else tokens
    text_at = template_at = 0  # everything before these agrees
    at = 0
    while at < len(tokens):
        token = tokens[at]
        gap = sql[text_at : token.start]
        if not template.startswith(gap, template_at):
            return None
        template_at += len(gap)
        if template.startswith(token.text, template_at):
            template_at += len(token.text)
        else:
            placeholder = _PLACEHOLDER.match(template, template_at)
            while at + 1 < len(tokens) and tokens[at].name == "ASCII_45":  # the sign belongs to the constant
                at += 1
            if placeholder is None or not _may_be_constant(tokens[at]):
                return None
            template_at = placeholder.end()
            spans.append((token.start, tokens[at].end))
        text_at = tokens[at].end
        at += 1
    return tuple(spans) if sql[text_at:] == template[template_at:] else None


def _may_be_constant(token: Token) -> bool:
    """Words can be constants too: TRUE, NULL, LIMIT ALL, and the field of `extract(year FROM …)`."""
    return token.name in _CONSTANTS or token.text[0].isalpha() or token.text[0] in '"_'


class SourceText:
    """One statement as the client wrote it.

    `literals` are the spans of its constants: `LiteralRef(k)` is the k-th. They are empty, and `faithful` is
    False, when the normalizer's template does not line up with the text; then a plan holds the constants as
    plain text and must not be reused for any other text.

    `parameters` is the highest `$n`, those that no client can bind left out. At run time the parameters' values
    stand behind the constants; `constants` says behind how many, if not this text's own.
    """

    __slots__ = (
        "_constants",
        "_first_parameter",
        "_starts",
        "faithful",
        "literals",
        "parameters",
        "sql",
        "tokens",
        "tree",
    )

    def __init__(
        self,
        sql: str,
        tree: Sequence[ast.RawStmt] | None = None,
        template: str | None = None,
        constants: int | None = None,
    ) -> None:
        self.sql = sql
        self.tree = tuple(parser.parse_sql(sql) if tree is None else tree)
        self.tokens = scan_tokens(sql)
        spans = literal_spans(sql, parser.normalize(sql) if template is None else template, self.tokens)
        self.faithful = spans is not None
        self.literals: tuple[Span, ...] = spans or ()
        self.parameters = highest_parameter(self.tokens)
        self._first_parameter = len(self.literals) if constants is None else constants
        self._starts = [start for start, _ in self.literals]
        self._constants: dict[int, int] | None = None

    @property
    def literal_texts(self) -> tuple[str, ...]:
        """The constants as written: what `Arguments.literals` is for this text."""
        return tuple(self.sql[start:end] for start, end in self.literals)

    def value_of(self, node: object) -> int | None:
        """The index among `Arguments.literals` of the value that a node is: a constant's, or a parameter's."""
        if isinstance(node, ast.A_Const):
            return self.literal_of(node)
        if isinstance(node, ast.ParamRef) and 1 <= (node.number or 0) <= self.parameters:
            return self._first_parameter + (node.number or 0) - 1
        return None

    def shown(self, index: int) -> str:
        """A value as the statement's template shows it: `$1` to `$n` are parameters, what follows are constants."""
        parameter = index - self._first_parameter
        return f"${parameter + 1}" if parameter >= 0 else f"${self.parameters + index + 1}"

    def literal_at(self, start: int) -> int | None:
        """The index of the literal that begins at this offset."""
        at = bisect_left(self._starts, start)
        return at if at < len(self._starts) and self._starts[at] == start else None

    def literals_within(self, span: Span) -> range:
        """The indexes of the literals that stand in a span."""
        return range(bisect_left(self._starts, span[0]), bisect_left(self._starts, span[1]))

    def literal_of(self, constant: ast.A_Const) -> int | None:
        """The index of the literal that this node of the statement's own tree was parsed from.

        None for constants that the normalizer leaves alone: type modifiers, ORDER BY positions, implied ones.
        """
        if self._constants is None:
            self._constants = self._find_constants()
        return self._constants.get(id(constant))

    def _find_constants(self) -> dict[int, int]:
        """pglast's nodes do not say where a constant stood, the parser's JSON does: walk both trees in step."""
        document = json.loads(parser.parse_sql_json(self.sql))
        byte_offsets = None if self.sql.isascii() else _byte_offsets(self.sql)
        found: dict[int, int] = {}
        for raw, document_raw in zip(self.tree, document["stmts"], strict=True):
            for constant, location in _constants_in_step(raw.stmt, document_raw["stmt"]):
                start = location if byte_offsets is None else bisect_left(byte_offsets, location)
                literal = self.literal_at(start)
                if literal is not None:
                    found[id(constant)] = literal
        return found

    def token_index(self, start: int) -> int:
        """The index of the first token at or behind an offset."""
        return bisect_left(self.tokens, start, key=lambda token: token.start)

    def tokens_within(self, span: Span) -> tuple[Token, ...]:
        return self.tokens[self.token_index(span[0]) : self.token_index(span[1])]

    def occurrences(self, wanted: Span, within: Span) -> list[Span]:
        """Where the tokens of one piece of the text stand in another piece, one behind the other."""
        pattern = [token.text for token in self.tokens_within(wanted)]
        tokens = self.tokens_within(within)
        found: list[Span] = []
        for at in range(len(tokens) - len(pattern) + 1):
            start, end = tokens[at].start, tokens[at + len(pattern) - 1].end
            repeats = [token.text for token in tokens[at : at + len(pattern)]] == pattern
            if repeats and (not found or found[-1][1] <= start):
                found.append((start, end))
        return found

    def closing(self, index: int) -> int:
        """The index of the token that closes the bracket which token `index` opens."""
        depth = 0
        for at in range(index, len(self.tokens)):
            depth += BRACKETS.get(self.tokens[at].name, 0)
            if depth == 0:
                return at
        raise AssertionError("a parsed statement has balanced brackets")

    def slice(self, span: Span) -> SqlTemplate:
        """A piece of the text with its literals left open."""
        parts: list[Part] = []
        sources: list[Span | None] = []
        at, end = span
        for index in self.literals_within(span):
            literal_start, literal_end = self.literals[index]
            assert literal_end <= end, "a piece never ends inside a constant"
            if at < literal_start:
                parts.append(self.sql[at:literal_start])
                sources.append((at, literal_start))
            parts.append(LiteralRef(index))
            sources.append((literal_start, literal_end))
            at = literal_end
        if at < end:
            parts.append(self.sql[at:end])
            sources.append((at, end))
        return SqlTemplate(tuple(parts), tuple(sources))

    def edit(self, edits: Iterable[Edit], span: Span | None = None) -> SqlTemplate:
        """The text (or the piece `span` of it) with some spans of it replaced; the edits must not overlap."""
        at, end = (0, len(self.sql)) if span is None else span
        pieces: list[SqlTemplate] = []
        for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
            assert at <= edit.start <= edit.end <= end, "edits do not overlap"
            pieces += [self.slice((at, edit.start)), edit.replacement]
            at = edit.end
        pieces.append(self.slice((at, end)))
        return join(*pieces)


@dataclass(frozen=True, slots=True)
class Edit:
    """Cut [start, end) of the source text out and put `replacement` there."""

    start: int
    end: int
    replacement: SqlTemplate


def composed(*parts: Part) -> SqlTemplate:
    """Text that the planner made itself: it has no place in the source."""
    return SqlTemplate(parts, (None,) * len(parts))


def join(*templates: SqlTemplate | str) -> SqlTemplate:
    """Templates one behind the other; plain strings are the planner's own text."""
    parts: list[Part] = []
    sources: list[Span | None] = []
    for template in templates:
        if isinstance(template, str):
            template = composed(template)
        parts += template.parts
        sources += template.sources
    return SqlTemplate(tuple(parts), tuple(sources))


def join_with(separator: str, templates: Sequence[SqlTemplate]) -> SqlTemplate:
    """`separator.join` for templates."""
    pieces: list[SqlTemplate | str] = []
    for template in templates:
        pieces += [separator, template]
    return join(*pieces[1:])


def _byte_offsets(sql: str) -> list[int]:
    """The UTF-8 offset of each character."""
    offsets, at = [], 0
    for character in sql:
        offsets.append(at)
        at += len(character.encode())
    return offsets


def _constants_in_step(node: object, document: Any) -> Iterator[tuple[ast.A_Const, int]]:
    """Every A_Const of a tree with the byte offset that the same tree's JSON gives it."""
    if isinstance(node, tuple):
        documents = document["List"]["items"] if isinstance(document, dict) and "List" in document else document
        for child, child_document in zip(node, documents, strict=True):
            yield from _constants_in_step(child, child_document)
    elif isinstance(node, ast.Node):
        name = type(node).__name__
        fields = document.get(name, document)  # a field of one fixed type has no wrapper
        if isinstance(node, ast.A_Const):
            if "location" in fields or not node.isnull:
                yield node, fields.get("location", 0)
            return
        for field in node:
            child = getattr(node, field)
            if isinstance(child, ast.Node | tuple) and field in fields:
                yield from _constants_in_step(child, fields[field])
