from __future__ import annotations

import pytest

from pgproxy.errors import Refused
from pgproxy.planner.plan import Effect, Sharded, bind_shard, render
from pgproxy.planner.planner import Planner
from pgproxy.shardmap.placement import Placement
from tests.planner.conftest import INT8, PATRONS


def plan_write(planner: Planner, sql: str) -> tuple[Sharded, tuple[int, ...], str]:
    """The plan, the shards chosen, and the text for the first of them."""
    planned = planner.plan(sql)
    plan = planned.plan
    assert isinstance(plan, Sharded)
    assert plan.effect is Effect.WRITE
    shards = plan.choice.shards(planned.arguments)
    shard = plan.table.shards[(*shards, 0)[0]]
    return plan, shards, render(bind_shard(plan.route, shard), planned.arguments)


@pytest.mark.parametrize(
    ("sql", "shards"),
    [
        ("insert into books (isbn, branch) values (1, 'west')", (1,)),
        ("insert into books (branch, isbn) values ('north', 1)", (2,)),
        ("insert into books values (1, 'downtown')", (0,)),
        ("insert into books values (1, 'west', default), (2, 'west', null)", (1,)),
        ("insert into books values (1, 'west'), (2, 'north'), (3, 'west')", (1, 2)),
        ("insert into books values (1, 'west'::text)", (1,)),
        ("insert into books values (1, cast('west' as text))", (1,)),
        ("insert into books (isbn, branch) values (1, 'west') returning books.isbn, branch", (1,)),
        ("insert into books as b (isbn, branch) values (1, 'west') returning b.isbn", (1,)),
        ("insert into books (isbn, branch) values (1, 'west') on conflict do nothing", (1,)),
        (
            (
                "insert into books (isbn, branch) values (1, 'west') on conflict (branch, isbn) "
                "do update set price = excluded.price + books.price where books.checked_out"
            ),
            (1,),
        ),
        ("insert into books (isbn, branch, genre) values (1, 'west', (select max(name) from genres))", (1,)),
        ("insert into books (isbn, branch, updated_at) values (1, 'west', now())", (1,)),
        ("with g as (select 1 as a) insert into books (isbn, branch) values ((select a from g), 'west')", (1,)),
        ("insert into books (isbn, branch) values (1, 'mars')", ()),
        ("insert into books (isbn, branch) values (1, 'west'), (2, 'mars')", ()),
        # the node says what is wrong with these
        ("insert into books (isbn, branch) values (1, null)", (0,)),
        ("insert into books (isbn) values (1)", (0,)),
        ("insert into books (isbn, branch) values (1, default)", (0,)),
        ("insert into books default values", (0,)),
        ("insert into books (isbn, branch) values (1)", (0,)),
        ("insert into books (isbn, branch) values (1, 'west'), (2, 'north', 3)", (0,)),
        ("insert into books (isbn, branch) values (1, 'west'), (2)", (0,)),
        ("insert into books (isbn, no_such_column) values (1, 2)", (0,)),
    ],
)
def test_insert_goes_to_the_shards_of_its_keys(planner: Planner, sql: str, shards: tuple[int, ...]) -> None:
    for _ in range(3):
        plan, chosen, _text = plan_write(planner, sql)
        assert chosen == shards
        assert plan.no_shard == 'no partition of relation "books" found for row'


@pytest.mark.parametrize("key", [1, 2, 3, 4, 5, -7, 10**15])
def test_insert_into_a_hash_sharded_table(planner: Planner, key: int) -> None:
    _plan, chosen, text = plan_write(planner, f"insert into patrons (patron_id, name) values ({key}, 'x')")
    home = Placement(PATRONS, INT8).shard_of(key)
    assert chosen == (home,)
    assert text == f"insert into patrons_{'abc'[chosen[0]]} AS patrons (patron_id, name) values ({key}, 'x')"


@pytest.mark.parametrize(
    ("sql", "shards", "text"),
    [
        (
            "update books set checked_out = not checked_out where branch = 'west' and isbn = 5 returning books.isbn",
            (1,),
            (
                "update books_b AS books set checked_out = not checked_out where branch = 'west' and isbn = 5 "
                "returning books.isbn"
            ),
        ),
        (
            "update public.books b set price = 1 where b.branch = 'north'",
            (2,),
            "update public.books_c b set price = 1 where b.branch = 'north'",
        ),
        ("update books set price = 1", (0, 1, 2), "update books_a AS books set price = 1"),
        (
            "update books set price = 1 where branch = 'mars'",
            (),
            "update books_a AS books set price = 1 where branch = 'mars'",
        ),
        (
            "update books set genre = g.name from genres g where branch = 'west' and g.id = isbn",
            (1,),
            "update books_b AS books set genre = g.name from genres g where branch = 'west' and g.id = isbn",
        ),
        (
            "update books set branch = 'west', price = 2 where branch = 'west'",
            (1,),
            "update books_b AS books set branch = 'west', price = 2 where branch = 'west'",
        ),
        (
            "update books b set branch = b.branch where branch = 'west'",
            (1,),
            "update books_b b set branch = b.branch where branch = 'west'",
        ),
        (
            "update books set branch = 'west' where branch = 'mars'",
            (),
            "update books_a AS books set branch = 'west' where branch = 'mars'",
        ),
        (
            "update books set price = 1 where branch = 'west' and isbn in (select isbn from genres)",
            (1,),
            "update books_b AS books set price = 1 where branch = 'west' and isbn in (select isbn from genres)",
        ),
        ("delete from books where branch = 'west'", (1,), "delete from books_b AS books where branch = 'west'"),
        (
            "delete from books using genres g where books.branch = 'west' and g.name = genre returning *",
            (1,),
            "delete from books_b AS books using genres g where books.branch = 'west' and g.name = genre returning *",
        ),
        (
            "delete from books where branch in ('west', 'north')",
            (1, 2),
            "delete from books_b AS books where branch in ('west', 'north')",
        ),
        ("DELETE FROM books", (0, 1, 2), "DELETE FROM books_a AS books"),
    ],
)
def test_update_and_delete(planner: Planner, sql: str, shards: tuple[int, ...], text: str) -> None:
    for _ in range(3):
        plan, chosen, sent = plan_write(planner, sql)
        assert (chosen, sent) == (shards, text)
        assert plan.no_shard is None


@pytest.mark.parametrize(
    "sql",
    [
        "insert into books select 1, 'west'",
        "insert into books table genres",
        "insert into books values (1, 'west') limit 1",
        "insert into books values (1, lower('WEST'))",
        "insert into books values (1, 'we' || 'st')",
        "insert into books values (1, 'west'::char(2))",
        "insert into books values (1, (select 'west'))",
        "insert into books (isbn, branch) values (1, 'west') on conflict on constraint books_pkey do nothing",
        "insert into books (isbn, branch) values (1, 'west') on conflict (isbn, branch) do update set branch = 'x'",
        "insert into books (isbn, branch, genre) values (1, 'west', (select max(genre) from books))",
        "insert into books (isbn, branch) values (nextval('s'), 'west')",
        "insert into patrons (name) select 'x'",
        "update books set branch = 'north' where isbn = 1 and branch = lower('x') || 'y' and branch = g.x",
        "update books set branch = lower('WEST') where branch = 'west'",
        "update books set (branch, price) = ('west', 1) where branch = 'west'",
        "update books set branch = default where branch = 'west'",
        "update books set branch = g.branch from genres g where books.branch = 'west'",
        "update books set price = 1 from patrons where books.branch = 'west'",
        "update books set price = (select max(price) from books) where branch = 'west'",
        "update books set price = 1 from t where branch = 'west'",
        "update only books set price = 1 where branch = 'west'",
        "update genres set name = 'x' from books where branch = 'west'",
        "delete from books using patrons where books.branch = 'west'",
        "delete from books where isbn in (select isbn from t)",
        "delete from books where branch = 'west' returning books",
        "update books b set price = 1 where branch = 'west' returning b",
        "update books b set price = 1 where branch = 'west' returning b.tableoid::regclass",
        "insert into books (isbn, branch) values (1, 'west') returning new",
        "insert into books (isbn, branch) values (1, 'west') on conflict (isbn, branch) do nothing returning excluded",
        "delete from books where branch = 'west' and price < loan_count(1)",
        "with d as (delete from t returning *) update books set price = 1 where branch = 'west'",
    ],
)
def test_refused(planner: Planner, sql: str) -> None:
    with pytest.raises(Refused):
        plan_write(planner, sql)


@pytest.mark.parametrize(
    ("seen", "sql"),
    [
        (
            "update books set branch = 'west' where branch = 'west'",
            "update books set branch = 'west' where branch = 'north'",
        ),
        ("insert into patrons (patron_id) values (1)", "insert into patrons (patron_id) values ('1e3')"),
    ],
)
def test_refused_by_the_values_of_one_execution(planner: Planner, seen: str, sql: str) -> None:
    plan_write(planner, seen)
    with pytest.raises(Refused):
        plan_write(planner, sql)
