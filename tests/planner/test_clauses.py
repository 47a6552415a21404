"""Where the clauses of a SELECT stand, also where keywords are names or belong to an expression."""

from __future__ import annotations

import pytest
from pglast import ast

from pgproxy.errors import Refused
from pgproxy.planner.clauses import Clause, SelectClauses, select_clauses
from pgproxy.planner.text import SourceText


def clauses_of(sql: str) -> SelectClauses:
    source = SourceText(sql)
    statement = source.tree[0].stmt
    assert isinstance(statement, ast.SelectStmt)
    return select_clauses(source, statement)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT a, b AS c FROM t", {"items": ["a", "b AS c"], "from_": ["t"]}),
        ("SELECT b AS from, t.from, t . where FROM t", {"items": ["b AS from", "t.from", "t . where"], "from_": ["t"]}),
        ("SELECT a IS DISTINCT FROM b FROM t", {"items": ["a IS DISTINCT FROM b"], "from_": ["t"]}),
        ("SELECT a IS NOT DISTINCT FROM b", {"items": ["a IS NOT DISTINCT FROM b"]}),
        (
            "SELECT mode() WITHIN GROUP (ORDER BY a) FROM t GROUP BY b",
            {"items": ["mode() WITHIN GROUP (ORDER BY a)"], "from_": ["t"], "group": ["b"]},
        ),
        (
            'SELECT "from", substring(a FROM 2 FOR 3) FROM t, u JOIN v ON true WHERE a IN (1, 2) AND b = 3',
            {
                "items": ['"from"', "substring(a FROM 2 FOR 3)"],
                "from_": ["t", "u JOIN v ON true"],
                "where": ["a IN (1, 2) AND b = 3"],
            },
        ),
        (
            "SELECT a FROM t GROUP BY a, (b, c), lower(d) HAVING count(*) > 1 WINDOW w AS (), x AS (w ORDER BY b)",
            {
                "items": ["a"],
                "from_": ["t"],
                "group": ["a", "(b, c)", "lower(d)"],
                "having": ["count(*) > 1"],
                "window": ["w AS ()", "x AS (w ORDER BY b)"],
            },
        ),
        (
            "SELECT ALL a FROM t ORDER BY a DESC NULLS LAST, 2 ASC, f(x, y) LIMIT 5 OFFSET 3 FOR UPDATE OF t NOWAIT;;",
            {
                "items": ["a"],
                "from_": ["t"],
                "order": ["a DESC NULLS LAST", "2 ASC", "f(x, y)"],
                "order_expressions": ["a", "2", "f(x, y)"],
                "limits": ["5", "3"],
                "locking": ["UPDATE OF t NOWAIT"],
            },
        ),
        (
            "SELECT DISTINCT ON (a, b) c FROM t OFFSET 2 ROWS FETCH NEXT 3 ROWS ONLY -- LIMIT 5",
            {
                "distinct": "DISTINCT ON (a, b)",
                "items": ["c"],
                "from_": ["t"],
                "limits": ["2 ROWS", "NEXT 3 ROWS ONLY"],
            },
        ),
        ("SELECT DISTINCT a FROM t", {"distinct": "DISTINCT", "items": ["a"], "from_": ["t"]}),
        ("SELECT FROM t", {"from_": ["t"]}),
        ("SELECT é, 'ü, FROM', b FROM t ORDER BY b", {
            "items": ["é", "'ü, FROM'", "b"], "from_": ["t"], "order": ["b"], "order_expressions": ["b"],
        }),
        ("SELECT a[1:2], (b).c FROM t", {"items": ["a[1:2]", "(b).c"], "from_": ["t"]}),
    ],
)  # fmt: skip
def test_clauses(sql: str, expected: dict[str, object]) -> None:
    clauses = clauses_of(sql)

    def cut(value: object) -> object:
        match value:
            case Clause():
                return cut(value.items)
            case (int(), int()):
                return sql[value[0] : value[1]]
            case tuple():
                return [sql[item.body[0] : item.body[1]] if isinstance(item, Clause) else cut(item) for item in value]
        return value

    names = ("distinct", "items", "from_", "where", "group", "having", "window", "order")
    found = {name: cut(getattr(clauses, name)) for name in (*names, "order_expressions", "limits", "locking")}
    assert {name: value for name, value in found.items() if value} == expected


@pytest.mark.parametrize("sql", ["SELECT a FROM t", "SELECT a FROM t ;", "SELECT a FROM t /* x */ ; -- y"])
def test_the_end_is_behind_the_last_token(sql: str) -> None:
    assert sql[: clauses_of(sql).end] == "SELECT a FROM t"


@pytest.mark.parametrize(
    "sql",
    ["(SELECT a FROM t)", "TABLE t", "VALUES (1)", "WITH x AS (SELECT 1) SELECT * FROM x", "SELECT 1 UNION SELECT 2"],
)
def test_other_shapes_are_refused(sql: str) -> None:
    with pytest.raises(Refused):
        clauses_of(sql)
