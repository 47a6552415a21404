"""What `SureRoutes` finds in a Query's bytes is what the planner makes of its text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.planner.plan import Sharded, sql_for
from pgproxy.planner.planner import Planner
from pgproxy.planner.sure_route import MOST_PREFIXES, MOST_WITH_PREFIX
from pgproxy.wire.messages import query
from tests.planner.conftest import shelves_facts, shelves_shard_map

OFTEN = 25

SHAPES: dict[str, Sequence[str]] = {
    "select isbn, price from books where branch = {} and isbn = {}": ("'west'", "7"),
    "select name, email, patron_id % patron_id from patrons where patron_id = {};": ("5",),
    "  update patrons set name = {} where patron_id = {}": ("'x'", "5"),
    "delete from readings_of_a_shelf where shelf = {}": ("5",),
    "select note from readings_of_a_shelf as r where r.shelf = {}": ("5",),
    "select note from readings_of_a_shelf where shelf = {} -- é": ("5",),
    "select note from readings_of_a_shelf where note = {} and shelf = {}": ("'é'", "5"),
}
CONSTANTS = st.one_of(
    st.integers(0, 10**11).map(str),
    st.integers(0, 300).map(str),
    st.sampled_from(["'west'", "'north'", "'x'", "''", "'é'", "'a''b'", "NULL", "-1", "'17'", "'17 '", "1e2", "'\\'"]),
    st.text("ab'$1 -/*\n\"é(%s", max_size=12).map(lambda text: "'" + text.replace("'", "''") + "'"),
)


def planner_that_knows(*shapes: str) -> Planner:
    planner = Planner(shelves_shard_map(), shelves_facts(), cache_size=100)
    for shape in shapes:
        for _ in range(OFTEN):
            planner.plan(shape.format(*SHAPES[shape]))
    return planner


PLANNER = planner_that_knows(*SHAPES)


def agrees(planner: Planner, sql: str) -> bool:
    """Whether it is found; then it must be as planned."""
    found = planner.sure_routes.find(query(sql))
    if found is None:
        return False
    route, constants, index = found
    planned = Planner(shelves_shard_map(), shelves_facts(), cache_size=10).plan(sql)
    assert isinstance(planned.plan, Sharded)
    assert route.planned(constants).arguments == planned.arguments
    assert planned.plan.choice.shards(planned.arguments) == (index,)
    shard = planned.plan.table.shards[index]
    assert route.message(index, constants) == query(sql_for(planned.plan.route, shard, planned.arguments))
    assert route.figures is planner.plan(sql).figures
    return True


@given(st.sampled_from(list(SHAPES)), st.lists(CONSTANTS, min_size=2, max_size=2))
def test_what_is_found_is_what_is_planned(shape: str, constants: list[str]) -> None:
    agrees(PLANNER, shape.format(*constants))


FOUND = [
    "select isbn, price from books where branch = 'north' and isbn = 8",
    "select name, email, patron_id % patron_id from patrons where patron_id = 123456;",
    "  update patrons set name = '%s' where patron_id = 6",
    "select note from readings_of_a_shelf as r where r.shelf = 10",
    "select note from readings_of_a_shelf as r where r.shelf = 999999999",
    "select note from readings_of_a_shelf where note = 'a' and shelf = 199",
]


@pytest.mark.parametrize("sql", FOUND)
def test_found(sql: str) -> None:
    assert agrees(PLANNER, sql)


def test_leading_zeros_are_no_octal_number() -> None:
    """PostgreSQL reads 017 as 17. (The planner, in doubt, asks all shards.)"""
    found = PLANNER.sure_routes.find(query("select note from readings_of_a_shelf as r where r.shelf = 017"))
    assert found is not None
    assert found[2] == 1


NOT_FOUND = [
    "select isbn, price from books where branch = 'nowhere' and isbn = 8",  # no shard
    "select isbn, price from books where branch = 'norté' and isbn = 8",  # not ASCII
    "select note from readings_of_a_shelf as r where r.shelf = 9999999999",  # another kind of integer
    "select note from readings_of_a_shelf as r where r.shelf = '10'",
    "select note from readings_of_a_shelf as r where r.shelf = 1 or true",
    "select note from readings_of_a_shelf as r where r.shelf = 1 -- é",
]


@pytest.mark.parametrize("sql", NOT_FOUND)
def test_not_found(sql: str) -> None:
    assert not agrees(PLANNER, sql)


@pytest.mark.parametrize("text", [b"'\xff'", b"'\x00'", b"'\\'", b"'a'\x00"])
def test_what_is_no_constant_is_not_found(text: bytes) -> None:
    sql = b"select isbn, price from books where branch = %s and isbn = 7" % text
    assert PLANNER.sure_routes.find(b"Q" + (len(sql) + 5).to_bytes(4, "big") + sql + b"\0") is None


def test_statements_for_several_shards_are_not_learned() -> None:
    planner = Planner(shelves_shard_map(), shelves_facts(), cache_size=100)
    sql = "select note from readings_of_a_shelf where shelf > 5"
    for _ in range(OFTEN):
        planner.plan(sql)
    assert planner.sure_routes.find(query(sql)) is None


def test_a_default_limit_is_not_left_out() -> None:
    planner = Planner(shelves_shard_map(), shelves_facts(), cache_size=100, default_limit=5)
    sql = "select note from readings_of_a_shelf where shelf = 5"
    for _ in range(OFTEN):
        planner.plan(sql)
    assert planner.sure_routes.find(query(sql)) is None


def test_bounded() -> None:
    planner = Planner(shelves_shard_map(), shelves_facts(), cache_size=10_000)
    for number in range(MOST_WITH_PREFIX + 1):
        sql = f"select note as one, note as two, '' as a{number} from readings_of_a_shelf where shelf = 5"
        for _ in range(OFTEN):
            planner.plan(sql)
    assert [len(routes) for routes in planner.sure_routes._by_prefix.values()] == [MOST_WITH_PREFIX]
    assert MOST_PREFIXES * MOST_WITH_PREFIX <= 2_000
