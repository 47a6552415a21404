"""PREPARE and EXECUTE taken apart."""

from __future__ import annotations

import pytest

from pgproxy.planner.plan import Execute, Prepare
from pgproxy.planner.planner import Planner


@pytest.mark.parametrize(
    ("sql", "types", "text"),
    [
        ("prepare p as select 1", (), "select 1"),
        ("prepare p as select $1 from books as b", (), "select $1 from books as b"),
        ("prepare p (int) as select $1", ("int",), "select $1"),
        ("  ;prepare p(int,numeric(8, 2) , text[]) as\nselect $1", ("int", "numeric(8, 2)", "text[]"), "select $1"),
        ('prepare "as" (public."my, type") as values (1)', ('public."my, type"',), "values (1)"),
        ("/* as */ prepare p as (select 1) ;", (), "(select 1)"),
    ],
)
def test_prepare(planner: Planner, sql: str, types: tuple[str, ...], text: str) -> None:
    planned = planner.plan(sql)
    plan = planned.plan
    assert isinstance(plan, Prepare)
    assert tuple(name for name, _ in plan.types) == types
    assert all(sql[offset:].startswith(name) for name, offset in plan.types)
    assert plan.text == text
    assert sql[plan.offset :].startswith(text)
    assert planned.parameters == 0


@pytest.mark.parametrize(
    ("sql", "values", "arguments"),
    [
        ("execute p", [], ""),
        (
            "execute p (1, -2, 'it''s', E'\\t', true, null, 0)",
            ["1", "-2", "it's", "\t", "true", None, "0"],
            "1, -2, 'it''s', E'\\t', true, null, 0",
        ),
        ("execute p(99999999999, 1.5, 1 + 1, b'1', 'x'::text)", [...] * 5, "99999999999, 1.5, 1 + 1, b'1', 'x'::text"),
        ("execute p ((1), f(2, 3) -- )\n)", ["1", ...], "(1), f(2, 3) -- )\n"),
    ],
)
def test_execute(planner: Planner, sql: str, values: list[object], arguments: str) -> None:
    plan = planner.plan(sql).plan
    assert isinstance(plan, Execute)
    assert [... if value is None else value.text for value in plan.values] == values
    assert plan.arguments == arguments
    assert sql[plan.offset :].startswith(arguments)


def test_where_arguments_are_computed(planner: Planner) -> None:
    for sql, node in (("execute p (now())", None), ("execute p (nextval('s'))", "downtown-library")):
        plan = planner.plan(sql).plan
        assert isinstance(plan, Execute)
        assert plan.node == node


def test_executes_do_not_fill_the_plan_cache(planner: Planner) -> None:
    for number in range(50):
        planner.plan(f"execute p ({number})")
    assert not planner.cache.entries()
