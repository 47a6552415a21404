from __future__ import annotations

import pytest

from pgproxy.errors import ProxyError
from pgproxy.operators.arguments import NO_ARGUMENTS
from pgproxy.planner.plan import Empty, Planned, Several, Sharded, Status, ToNode, bind_shard, render
from pgproxy.planner.planner import Planner
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.shardmap.model import ShardMap


def text_of(planned: Planned) -> str:
    """The text that one node is sent: the first shard chosen, or the statement's only node."""
    plan = planned.plan
    if isinstance(plan, Sharded):
        first = (*plan.choice.shards(planned.arguments), 0)[0]
        return render(bind_shard(plan.route, plan.table.shards[first]), planned.arguments)
    assert isinstance(plan, ToNode)
    return "".join(
        part if isinstance(part, str) else planned.arguments.literals[part.index]  # type: ignore[union-attr]
        for part in plan.text.parts
    )


@pytest.mark.parametrize("sql", ["", " ", ";", " ;; \n", "-- only this", "/* a; */ ; -- b"])
def test_nothing_to_do(planner: Planner, sql: str) -> None:
    assert planner.plan(sql) == Planned(Empty(), NO_ARGUMENTS)


@pytest.mark.parametrize("sql", ["status", "STATUS;", " -- well?\n /* so */ Status ; ;"])
def test_status(planner: Planner, sql: str) -> None:
    assert planner.plan(sql) == Planned(Status(), NO_ARGUMENTS)


@pytest.mark.parametrize(
    ("sql", "statements"),
    [
        ("select 1; select 2", (("select 1", 0), ("select 2", 10))),
        (";select 1;;\nselect 2;", (("select 1", 1), ("select 2", 12))),
        ("select 'é;'; select 'ü' ; -- c", (("select 'é;'", 0), ("select 'ü'", 13))),
        ("begin; create rule r as on insert to t do also (select 1; select 2)", None),
    ],
)
def test_several_statements(planner: Planner, sql: str, statements: tuple[tuple[str, int], ...] | None) -> None:
    plan = planner.plan(sql).plan
    assert isinstance(plan, Several)
    assert all(sql[offset : offset + len(text)] == text for text, offset in plan.statements)
    assert len(plan.statements) == 2
    if statements is not None:
        assert plan.statements == statements


@pytest.mark.parametrize(
    ("sql", "sqlstate", "message", "position"),
    [
        ("selec 1", "42601", 'syntax error at or near "selec"', 1),
        ("select 'é' frm x y", "42601", 'syntax error at or near "x"', 16),
        ("select (1", "42601", "syntax error at end of input", 10),
        ("select 'a", "42601", 'unterminated quoted string at or near "\'a"', 8),
        ("select 1; selec 2", "42601", 'syntax error at or near "selec"', 11),
        ("select 5a", "42601", 'trailing junk after numeric literal at or near "5a"', 8),
        ("select E'\\xff'", "22021", 'invalid byte sequence for encoding "UTF8": 0xff', None),
        ("select \0 1", "22021", 'invalid byte sequence for encoding "UTF8": 0x00', None),
        ("select '\ud800'", "22021", 'invalid byte sequence for encoding "UTF8"', None),
        ("(" * 100_000, "42601", 'memory exhausted at or near "("', 9_999),
        ("select 1" + "+1" * 100_000, "54001", "stack depth limit exceeded", None),
        ("select 1" + " union select 1" * 50_000, "54001", "stack depth limit exceeded", None),
        ("create view v as select 1" + " union select 1" * 50_000, "54001", "stack depth limit exceeded", None),
        ("create view v as select 1" + "+1" * 100_000, "54001", "stack depth limit exceeded", None),
        ("select " + "+" * 100_000 + "1", "54001", "statement too complex", None),
        ("select 1 " + "/*" * 50_000 + "*/" * 50_000, "54001", "statement too complex", None),
        ("select a" + ",a" * 500_000, "54001", "statement too complex: 1000008 characters besides quoted texts", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_server_would_parse(
    planner: Planner, sql: str, sqlstate: str, message: str, position: int | None
) -> None:
    with pytest.raises(ProxyError) as caught:
        planner.plan(sql)
    assert (caught.value.sqlstate, caught.value.message, caught.value.position) == (sqlstate, message, position)


@pytest.mark.parametrize(
    "sql",
    [
        "select '" + "=" * 2_000_000 + "'",
        "select $a$" + "/*" * 2_000 + "$a$ -- " + "-" * 2_000,
        "select * from books where isbn in (" + ",".join(f"${number}" for number in range(1, 30_000)) + ")",
    ],
    ids=lambda sql: sql[:20],
)
def test_long_texts_are_planned(planner: Planner, sql: str) -> None:
    assert isinstance(planner.plan(sql).plan, ToNode | Sharded)


@pytest.mark.parametrize(
    ("sql", "sent", "source"),
    [
        ("select 1", "select 1", 0),
        ("  ;select 1 ; -- c", "select 1", 3),
        ("\n\tselect 1 -- c\n;", "select 1", 2),
        ("/*+ SeqScan(t) */ select 1;", "/*+ SeqScan(t) */ select 1", 0),
        ("select * from books where branch = 'west' ;", "select * from books_b AS books where branch = 'west'", 0),
    ],
)
def test_the_text_is_cleaned_and_remembers_its_place(planner: Planner, sql: str, sent: str, source: int) -> None:
    for _ in range(3):  # not cached, cached, extracted by the compiled expression
        planned = planner.plan(sql)
        assert text_of(planned) == sent
        plan = planned.plan
        assert isinstance(plan, ToNode | Sharded)
        sources = (plan.text if isinstance(plan, ToNode) else plan.route).sources
        assert sources[0] is not None
        assert sources[0][0] == source


@pytest.fixture
def limiting_planner(shard_map: ShardMap, facts: CatalogFacts) -> Planner:
    return Planner(shard_map, facts, cache_size=100, default_limit=1000)


@pytest.mark.parametrize(
    ("sql", "sent"),
    [
        ("select isbn from books", "select isbn from books_a AS books LIMIT 1001"),
        ("select isbn from books where isbn > 5;", "select isbn from books_a AS books where isbn > 5 LIMIT 1001"),
        ("select a from t order by 1 -- c", "select a from t order by 1 LIMIT 1001"),
        ("select a from t union select b from u", "select a from t union select b from u LIMIT 1001"),
        ("select max(a) from t group by b", "select max(a) from t group by b LIMIT 1001"),
        ("select - - 5 from t", "select - - 5 from t LIMIT 1001"),
    ],
)
def test_a_default_limit_is_added(limiting_planner: Planner, sql: str, sent: str) -> None:
    for _ in range(3):
        planned = limiting_planner.plan(sql)
        assert planned.default_limit == 1000
        assert text_of(planned) == sent


@pytest.mark.parametrize(
    "sql",
    [
        "select isbn from books limit 5",
        "select a from t limit all",
        "select a from t fetch first row only",
        "select a from t for update",
        "select count(*), max(a) + 1 from t",
        "select 1",
        "select relname from pg_class",
        "select table_name from information_schema.tables",
        "insert into t values (1) returning a",
        "select a into u from t",
    ],
)
def test_no_default_limit_is_added(limiting_planner: Planner, sql: str) -> None:
    for _ in range(2):
        planned = limiting_planner.plan(sql)
        assert planned.default_limit is None
        assert "1001" not in text_of(planned)
