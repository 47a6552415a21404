"""Tokens, constants and edits of a statement's text: all must agree with libpg_query's own reading of it."""

from __future__ import annotations

import pytest
from pglast import ast, parser

from pgproxy.operators.arguments import LiteralRef
from pgproxy.planner.plan import SqlTemplate
from pgproxy.planner.text import Edit, SourceText, composed, join, join_with, literal_spans
from pgproxy.planner.tree import walk


@pytest.mark.parametrize(
    ("sql", "literals"),
    [
        ("SELECT 1", ["1"]),
        ("SELECT -5, - 5, a - 5, a -5, a*-5, +5", ["-5", "- 5", "5", "5", "-5", "5"]),
        ("SELECT 1_000, 0x1F, 1.5, .5, 1e5", ["1_000", "0x1F", "1.5", ".5", "1e5"]),
        ("SELECT 'it''s', $$it's$$, $q$ $$ $q$", ["'it''s'", "$$it's$$", "$q$ $$ $q$"]),
        (r"SELECT E'a\'b', b'01', x'1F', n'abc'", [r"E'a\'b'", "b'01'", "x'1F'", "'abc'"]),
        ("SELECT 'a'\n 'b', 'c'", ["'a'\n 'b'", "'c'"]),
        ("SELECT U&'d!0061' UESCAPE '!', 2", ["U&'d!0061'", "2"]),
        ("SELECT true, FALSE, null WHERE a IS NULL AND b IS TRUE", ["true", "FALSE", "null"]),
        ("SELECT 1 -- it's\n, /* 'q' */ 2", ["1", "2"]),
        ("SELECT CAST('x' AS varchar(20)), y::numeric(8,2)", ["'x'"]),
        ("SELECT interval '1' day, interval(3) '1'", ["'1'", "'1'"]),
        ("SELECT extract(year FROM d), extract('year' FROM d)", ["year", "'year'"]),
        ("SELECT a[1], a[1:2], substring(a FROM 2 FOR 3)", ["1", "1", "2", "2", "3"]),
        ("SELECT 'x' FROM t GROUP BY 1, a + 2 ORDER BY 1, b + 3", ["'x'", "2", "3"]),
        ("SELECT 'é𝒳', 5 FROM bücher WHERE ü = 'x'", ["'é𝒳'", "5", "'x'"]),
        ("SELECT a FROM t LIMIT ALL OFFSET 3", ["ALL", "3"]),
        ("SELECT a FROM t FETCH FIRST ROW ONLY", []),
        ("INSERT INTO t VALUES (1, NULL), (DEFAULT, 'x')", ["1", "NULL", "'x'"]),
        ("SELECT'x'", ["'x'"]),
        ("SELECT $1, 2", ["2"]),
    ],
)
def test_literals(sql: str, literals: list[str]) -> None:
    source = SourceText(sql)
    assert source.faithful
    assert list(source.literal_texts) == literals


@pytest.mark.parametrize("sql", ["SELECT -(5)", "SELECT - - 5", "SELECT a, -(-(3)), 4"])
def test_what_the_normalizer_garbles_has_no_literals(sql: str) -> None:
    source = SourceText(sql)
    assert not source.faithful
    assert source.literals == ()
    assert source.slice((0, len(sql))).parts == (sql,)


@pytest.mark.parametrize(
    ("sql", "template"), [("SELECT 1, 2", "SELECT $1, a"), ("SELECT 1 ", "SELECT $1"), ("SELECT a", "SELECT $1, $2")]
)
def test_a_template_of_another_text_does_not_line_up(sql: str, template: str) -> None:
    assert literal_spans(sql, template) is None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1, -5, 'é', NULL, TRUE, x::varchar(20), CAST(7 AS int), interval '1' day FROM t WHERE a IN (1, -3)",
        "SELECT 'x' FROM t WHERE (a, b) IN ((1, 2), (3, 4)) AND EXISTS (SELECT 7 WHERE 1 = 2) ORDER BY 2 LIMIT 5",
        "SELECT CASE WHEN a = 1 THEN 'x' ELSE 'y' END, ARRAY[1, 2], '{1}'::int[] FROM t WHERE a BETWEEN -1 AND 2",
        "WITH x AS (SELECT 1) UPDATE t SET a = 5 FROM x WHERE b = 6 RETURNING 7",
        "SELECT count(*) FILTER (WHERE a > 1) OVER (PARTITION BY 2 ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) FROM t",
    ],
)
def test_each_constant_of_the_tree_has_its_literal(sql: str) -> None:
    source = SourceText(sql)
    found = {}
    for node in walk(source.tree):
        if isinstance(node, ast.A_Const) and (literal := source.literal_of(node)) is not None:
            found[literal] = node
    assert sorted(found) == list(range(len(source.literals)))
    for literal, node in found.items():
        (target,) = parser.parse_sql(f"SELECT {source.literal_texts[literal]}")[0].stmt.targetList
        assert (target.val.val, target.val.isnull) == (node.val, node.isnull)


def text_of(template: SqlTemplate) -> str:
    return "".join(f"${part.index + 1}" if isinstance(part, LiteralRef) else str(part) for part in template.parts)


def test_slices_say_where_they_come_from() -> None:
    source = SourceText("SELECT a, 'é', 5 FROM t")
    piece = source.slice((7, 16))
    assert piece.parts == ("a, ", LiteralRef(0), ", ", LiteralRef(1))
    assert piece.sources == ((7, 10), (10, 13), (13, 15), (15, 16))


def test_edits_replace_and_leave_the_rest_open() -> None:
    source = SourceText("SELECT a, 5 FROM t WHERE b = 'x'")
    edits = [Edit(17, 18, composed("t_1 AS t")), Edit(7, 8, composed()), Edit(11, 11, composed(", c"))]
    edited = source.edit(edits)
    assert text_of(edited) == "SELECT , $1, c FROM t_1 AS t WHERE b = $2"
    assert len(edited.parts) == len(edited.sources)


def test_overlapping_edits_are_a_bug() -> None:
    with pytest.raises(AssertionError):
        SourceText("SELECT abc").edit([Edit(7, 9, composed("x")), Edit(8, 10, composed("y"))])


def test_join() -> None:
    assert text_of(join("a ", composed("b"), " c")) == "a b c"
    assert text_of(join_with(", ", [composed("a"), composed("b")])) == "a, b"
    assert text_of(join_with(", ", [])) == ""
