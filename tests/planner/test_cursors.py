"""DECLARE, FETCH, MOVE and CLOSE as plans."""

from __future__ import annotations

import pytest

from pgproxy.errors import ProxyError
from pgproxy.planner.plan import FETCH_ALL, CloseCursor, Declare, Direction, Fetch, Sharded, ToNode, sql_for
from pgproxy.planner.planner import Planner


@pytest.mark.parametrize("space", ["", "  "])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("CURSOR", (None, False, False)),
        ("CURSOR WITHOUT HOLD", (None, False, False)),
        ("SCROLL CURSOR WITH HOLD", (True, True, False)),
        ("BINARY INSENSITIVE NO SCROLL CURSOR", (False, False, True)),
        ("ASENSITIVE BINARY CURSOR WITH HOLD", (None, True, True)),
    ],
)
def test_declare(planner: Planner, options: str, expected: tuple[bool | None, bool, bool], space: str) -> None:
    query = "SELECT isbn FROM books WHERE branch = 'west' AND price > 5"
    for price in (5, 7):
        sql = f"{space}DECLARE c {options} FOR {query[:-1]}{price}"
        planned = planner.plan(sql)
        plan = planned.plan
        assert isinstance(plan, Declare)
        assert isinstance(plan.plan, Sharded)
        assert (plan.name, plan.scroll, plan.hold, plan.binary) == ("c", *expected)
        (index,) = plan.plan.choice.shards(planned.arguments)
        shard = plan.plan.table.shards[index]
        named = f"{query[:-1]}{price}".replace("books", f"{shard.table} AS books")
        assert sql_for(plan.plan.route, shard, planned.arguments) in (named, named.replace(" AS books", ""))
        text = sql_for(plan.text, shard, planned.arguments)
        assert text.startswith(f"DECLARE c {options} FOR SELECT")
        assert text.endswith(f"price > {price}")
        assert plan.plan.route.sources[0] is not None
        assert plan.plan.route.sources[0][0] == sql.index("SELECT")


def test_a_parameter_decides_the_shard(planner: Planner) -> None:
    planned = planner.plan("DECLARE c CURSOR FOR SELECT isbn FROM books WHERE branch = $1")
    bound = planner.bound(planned, [b"west"], [0], [25])
    assert isinstance(bound.plan, Declare)
    assert isinstance(bound.plan.plan, Sharded)
    assert len(bound.plan.plan.choice.shards(planned.arguments)) == 3
    assert len(bound.plan.plan.choice.shards(bound.arguments)) == 1


def test_over_a_query_for_one_node(planner: Planner) -> None:
    plan = planner.plan("DECLARE c CURSOR FOR SELECT * FROM t").plan
    assert isinstance(plan, Declare)
    assert isinstance(plan.plan, ToNode)
    assert plan.plan.node == "downtown-library"


@pytest.mark.parametrize(
    ("sql", "direction", "count", "move"),
    [
        ("FETCH c", Direction.FORWARD, 1, False),
        ("FETCH ALL IN c", Direction.FORWARD, FETCH_ALL, False),
        ("MOVE BACKWARD 3 FROM c", Direction.BACKWARD, 3, True),
        ("FETCH -3 FROM c", Direction.FORWARD, -3, False),
        ("FETCH LAST FROM c", Direction.ABSOLUTE, -1, False),
        ("MOVE RELATIVE -2 FROM c", Direction.RELATIVE, -2, True),
        ("FETCH 0 FROM c", Direction.FORWARD, 0, False),
    ],
)
def test_fetch(planner: Planner, sql: str, direction: Direction, count: int, move: bool) -> None:
    for _ in range(2):
        plan = planner.plan(sql).plan
        assert isinstance(plan, Fetch)
        assert (plan.name, plan.direction, plan.count, plan.move) == ("c", direction, count, move)


def test_close(planner: Planner) -> None:
    for sql, name in (("CLOSE c", "c"), ('CLOSE "C d"', "C d"), ("CLOSE ALL", None)):
        plan = planner.plan(sql).plan
        assert isinstance(plan, CloseCursor)
        assert plan.name == name


@pytest.mark.parametrize(
    ("options", "query", "sqlstate"),
    [
        ("SCROLL NO SCROLL CURSOR", "SELECT 1", "42P11"),
        ("INSENSITIVE ASENSITIVE CURSOR", "SELECT 1", "42P11"),
        ("CURSOR WITH HOLD", "SELECT * FROM t FOR UPDATE", "0A000"),
        ("SCROLL CURSOR", "SELECT * FROM t FOR SHARE", "0A000"),
        ("INSENSITIVE CURSOR", "SELECT * FROM t FOR UPDATE", "0A000"),
        ("CURSOR", "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "0A000"),
    ],
)
def test_what_no_cursor_can_be(planner: Planner, options: str, query: str, sqlstate: str) -> None:
    with pytest.raises(ProxyError) as caught:
        planner.plan(f"DECLARE c {options} FOR {query}")
    assert caught.value.sqlstate == sqlstate
