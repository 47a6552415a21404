from __future__ import annotations

import pytest

from pgproxy.errors import ProxyError, Refused
from pgproxy.planner.plan import Effect, ToNode
from pgproxy.planner.planner import Planner

HOME = "downtown-library"
READ, WRITE = Effect.READ, Effect.WRITE


@pytest.mark.parametrize(
    ("sql", "node", "effect"),
    [
        ("UPSERT INTO t VALUES (1, 2)", HOME, WRITE),
        ("upsert into t select * from u@i returning *", HOME, WRITE),
        ("select * from t@idx where a = 1", HOME, READ),
        ("select * from t@{FORCE_INDEX=i,ASC} x join u@j on true", HOME, READ),
        ("select * from t as of system time '-10s' where a = 'as of system time'", HOME, READ),
        ("select * from (select * from t as of system time follower_read_timestamp()) x", HOME, READ),
        ("select * from t@i for update", HOME, WRITE),
        ("delete from t where a = 1 order by b limit 5", HOME, WRITE),
        ("update t set a = 1 where b = 2 order by c limit 1 returning a", HOME, WRITE),
        ("select 1 from genres@i", None, READ),
        ("select 1 from books_b@i", "west-library", READ),
        ("SHOW TABLES FROM public", None, READ),
        ("show columns from books", None, READ),
        ("show create table books", None, READ),
    ],
)
def test_what_libpg_query_cannot_parse_goes_to_a_node(
    cockroach_planner: Planner, sql: str, node: str | None, effect: Effect
) -> None:
    plan = cockroach_planner.plan(sql).plan
    assert isinstance(plan, ToNode)
    assert (plan.node, plan.effect, plan.text.parts) == (node, effect, (sql,))


@pytest.mark.parametrize(
    "sql",
    [
        "upsert into books values (1, 'west')",
        "select * from books@i",
        "select * from t@i where a in (select isbn from books)",
        "select * from books as of system time '-10s'",
        "delete from books order by isbn limit 5",
        "show ranges from table books",
        "select * from cheap_books@i",
    ],
)
def test_logical_tables_are_refused(cockroach_planner: Planner, sql: str) -> None:
    with pytest.raises(Refused):
        cockroach_planner.plan(sql)


@pytest.mark.parametrize("sql", ["selec 1", "backup table t into 'x'", "select (1", "upsert", "use d", "a b c"])
def test_everything_else_is_a_syntax_error(cockroach_planner: Planner, sql: str) -> None:
    with pytest.raises(ProxyError) as caught:
        cockroach_planner.plan(sql)
    assert caught.value.sqlstate == "42601"


def test_postgresql_nodes_know_none_of_it(planner: Planner) -> None:
    with pytest.raises(ProxyError) as caught:
        planner.plan("upsert into t values (1)")
    assert (caught.value.sqlstate, caught.value.position) == ("42601", 1)
