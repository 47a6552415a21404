"""Conditions that no row can fulfil. That others are not taken for such matters more."""

from __future__ import annotations

import pytest
from pglast import ast

from pgproxy.planner.never import never_of
from pgproxy.planner.text import SourceText


def never(condition: str, *parameters: str) -> bool:
    source = SourceText(f"SELECT 1 FROM t WHERE {condition}")
    select = source.tree[0].stmt
    assert isinstance(select, ast.SelectStmt)
    found = never_of(select.whereClause, source)
    return found is not None and found((*source.literal_texts, *parameters))


@pytest.mark.parametrize(
    "condition",
    [
        "false",
        "FALSE",
        "NULL",
        "'f'",
        "1 = 0",
        "1 != 1",
        "1 <> 1",
        "0 = 1",
        "10 = 1",
        "1 OPERATOR(pg_catalog.=) 2",
        "x IN (SELECT 1 WHERE false)",
        "x IN (SELECT CAST(NULL AS integer) WHERE 1 != 1)",
        "x IN (SELECT 1 FROM (SELECT 1) AS e WHERE 1 != 1)",
        "x > ANY (SELECT y FROM r WHERE false)",
        "EXISTS (SELECT FROM r WHERE false)",
        "EXISTS (SELECT r.* FROM r WHERE EXISTS (SELECT 1 WHERE 1 = 0) LIMIT 3)",
    ],
)
def test_never(condition: str) -> None:
    assert never(condition)


@pytest.mark.parametrize(
    "condition",
    [
        "true",
        "'t'",
        "'off'",
        "1 = 1",
        "1 <> 0",
        "1 < 0",
        "1 = 2.0",
        "2 <> 2.0",
        "1 = '2'",
        "01 = 1",
        "0x1 = 1",
        "1 OPERATOR(mine.=) 2",
        "x = 1",
        "x <> x",
        "NOT true",
        "NULL IS NOT NULL",
        "x NOT IN (SELECT 1 WHERE false)",
        "x <> ALL (SELECT 1 WHERE false)",
        "NOT EXISTS (SELECT 1 WHERE false)",
        "EXISTS (SELECT 1 WHERE true)",
        "EXISTS (SELECT 1)",
        "EXISTS (SELECT count(*) FROM r WHERE false)",
        "EXISTS (SELECT 1 + count(*) FROM r WHERE false)",
        "EXISTS (SELECT 1 FROM r WHERE false HAVING true)",
        "EXISTS (SELECT 1 FROM r WHERE false GROUP BY ())",
        "EXISTS (SELECT 1 WHERE false UNION ALL SELECT 1)",
        "EXISTS (VALUES (1))",
        "ARRAY(SELECT 1 WHERE false) = '{}'",
        "(SELECT 1 WHERE false) IS NULL",
        "(SELECT true WHERE false)",
    ],
)
def test_maybe(condition: str) -> None:
    assert not never(condition)


@pytest.mark.parametrize(("value", "expected"), [("false", True), ("NULL", True), ("true", False), ("?", False)])
def test_parameters(value: str, expected: bool) -> None:
    assert never("$1", value) is expected
    assert not never("$1 = $2", value, "1")
