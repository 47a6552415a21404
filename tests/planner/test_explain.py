from __future__ import annotations

import pytest

from pgproxy.errors import Refused
from pgproxy.planner.explain import ExplainTree, explain_tree
from pgproxy.planner.plan import Sharded
from pgproxy.planner.planner import Planner


def explain(planner: Planner, sql: str) -> ExplainTree:
    planned = planner.plan(sql)
    assert isinstance(planned.plan, Sharded)
    return explain_tree(planned.plan, planned.arguments)


def test_a_route_names_its_shard(planner: Planner) -> None:
    tree = explain(planner, "select isbn from books where branch = 'west'")
    assert tree.lines == ("Route to books_b on west-library  (branch = $1)",)
    assert [(shard.table, sql) for shard, sql in tree.shards] == [
        ("books_b", "select isbn from books_b AS books where branch = 'west'")
    ]


def test_no_shard_at_all_still_asks_one(planner: Planner) -> None:
    tree = explain(planner, "select isbn from books where branch = 'mars'")
    assert tree.lines == ("Route to books_a on downtown-library  (no shard: branch = $1)",)


def test_a_scatter_shows_its_operators_from_the_top_down(planner: Planner) -> None:
    tree = explain(planner, "select isbn from books where branch in ('west', 'north') order by isbn limit 3")
    *operators, way = tree.lines
    assert operators
    assert all(line.startswith("  " * depth) for depth, line in enumerate(operators))
    assert way.strip() == "Scatter to 2 of 3 shards of books  (branch IN ($1, $2))"
    assert [shard.table for shard, _ in tree.shards] == ["books_b", "books_c"]
    assert all(f"from {shard.table} AS books" in sql for shard, sql in tree.shards)


def test_what_would_be_refused_is(planner: Planner) -> None:
    with pytest.raises(Refused):
        explain(planner, "update books set price = pg_backend_pid()")


def test_a_write_on_several_shards_shows_what_each_of_them_runs(planner: Planner) -> None:
    tree = explain(planner, "insert into books (isbn, branch) values (1, 'north'), (2, 'west'), (3, 'north')")
    assert tree.lines == ("Write on 2 of 3 shards of books, all or nothing  (branch of 3 new rows)",)
    assert [(shard.table, sql) for shard, sql in tree.shards] == [
        ("books_c", "insert into books_c AS books (isbn, branch) values (1, 'north'), (3, 'north')"),
        ("books_b", "insert into books_b AS books (isbn, branch) values (2, 'west')"),
    ]
