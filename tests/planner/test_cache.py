from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgproxy.errors import ProxyError, Refused
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.cache import CachedPlan, PlanCache
from pgproxy.planner.plan import Empty, Explain, Planned, Scatter, Sharded, Split, SqlTemplate, bind_shard, render
from pgproxy.planner.planner import Planner
from pgproxy.planner.split import part_of, parts_of
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.shardmap.model import ShardMap
from tests.planner.conftest import make_facts, make_shard_map


def put(cache: PlanCache, *templates: str) -> None:
    for template in templates:
        cache.put(template, CachedPlan(template, (template,), Empty()))


def call(cache: PlanCache, template: str) -> None:
    found = cache.get(template)
    assert found is not None
    found.calls += 1


def test_never_more_than_its_capacity() -> None:
    cache = PlanCache(3)
    put(cache, *(f"select {number}" for number in range(100)))
    assert len(cache) == 3
    assert cache.evictions == 97


def test_a_plan_called_since_the_last_sweep_stays() -> None:
    cache = PlanCache(2)
    put(cache, "a", "b")
    call(cache, "a")
    put(cache, "c")
    assert cache.get("b") is None
    put(cache, "d")  # `a` was not called again
    assert {cached.template for cached in cache.entries()} <= {"a", "c", "d"}
    assert len(cache) == 2


def test_hits_survive_the_eviction_of_their_plan() -> None:
    cache = PlanCache(1)
    put(cache, "a")
    call(cache, "a")
    call(cache, "a")
    put(cache, "b")
    call(cache, "b")
    assert cache.hits == 3


def test_entries_come_most_called_first() -> None:
    cache = PlanCache(5)
    put(cache, "a", "b", "c")
    call(cache, "b")
    assert next(iter(cache.entries())).template == "b"


@pytest.fixture
def small_planner(shard_map: ShardMap, facts: CatalogFacts) -> Planner:
    return Planner(shard_map, facts, cache_size=10)


def test_constants_do_not_count(small_planner: Planner) -> None:
    for branch in ("west", "north", "it''s"):
        planned = small_planner.plan(f"select * from books where branch = '{branch}'")
        assert planned.arguments.literals == (f"'{branch}'",)
    assert (small_planner.cache.misses, small_planner.cache.hits) == (1, 2)
    (entry,) = small_planner.entries()
    assert (entry.template, entry.calls, entry.way) == ("select * from books where branch = $1", 3, "sharded")


def test_settings_keep_their_values_apart(small_planner: Planner) -> None:
    texts = [f"set work_mem = '{size}MB'" for size in (1, 2, 1, 2, 3)]
    assert [getattr(small_planner.plan(text).plan, "text", None) for text in texts] == texts
    assert (small_planner.cache.misses, small_planner.cache.hits) == (3, 2)


def test_a_garbled_template_is_cached_by_its_text(small_planner: Planner) -> None:
    for value in (5, 6, 5):
        plan = small_planner.plan(f"select -({value})").plan
        assert f"select -({value})" in str(plan)
    assert (small_planner.cache.misses, small_planner.cache.hits) == (2, 1)


def test_many_templates_stay_bounded(small_planner: Planner) -> None:
    for number in range(50):
        small_planner.plan(f"select a{number} from t")
        small_planner.plan(f"set x = {number}")
    assert len(small_planner.cache) == 10


def test_a_very_long_template_is_not_kept(small_planner: Planner) -> None:
    small_planner.plan("insert into books (isbn, branch) values " + ", ".join(["(1, 'west')"] * 2_000))
    assert len(small_planner.cache) == 0


def test_constants_in_every_form_reach_the_plan(small_planner: Planner) -> None:
    for literal in ("1", "-1", "- 1", "null", "'x'", "E'x'", "$$x$$", "0x1f", "'x'\n'y'"):
        planned = small_planner.plan(f"select {literal}")
        assert planned.arguments.literals == (literal,)
    assert small_planner.cache.misses == 1


def outcome(planner: Planner, sql: str) -> object:
    """Everything that the session would do for a text."""
    try:
        planned = planner.plan(sql)
        plan = planned.plan
        if isinstance(plan, Explain):
            return plan.options, plan.analyze, _effect_of(planned, plan.plan)
        return _effect_of(planned, plan) if isinstance(plan, Sharded) else planned
    except ProxyError as error:
        return error.fields()


def _effect_of(planned: Planned, plan: Sharded) -> object:
    arguments = Arguments(planned.arguments.literals, "2024-05-01 00:00:00.000000+00")

    def texts(template: SqlTemplate) -> list[str]:
        return [render(bind_shard(template, shard), arguments) for shard in plan.table.shards]

    scatter: object = plan.scatter.message if isinstance(plan.scatter, Refused) else None
    if isinstance(plan.scatter, Split):
        split, shards = plan.scatter, plan.choice.shards(arguments)
        parts = [(shard, part_of(split, places)) for shard, places in parts_of(split, shards, arguments)]
        scatter = plan.tag, split.returns, [(shard, texts(text)) for shard, text in parts]
    elif isinstance(plan.scatter, Scatter):
        scatter = texts(plan.scatter.text), [step.explain() for step in plan.scatter.pipeline.steps]
    return plan.choice.shards(arguments), texts(plan.route), scatter


_values = st.sampled_from(
    ["1", "2", "-1", "- 2", "0", "$1", "$2", "'west'", "'north'", "E'west'", "$$west$$", "null", "'1'", "1.5"]
)
_shapes = st.sampled_from(
    [
        "select isbn, price * {} from books where branch = {} order by {}",
        "select price * {}, count(*) from books group by price * {} order by price * {}",
        "select isbn from books where branch in ({}, {}) limit {}",
        "select distinct genre, {} from books order by genre, {} limit 5 offset {}",
        "select coalesce(sum(price), {}) + {} from books where isbn > {}",
        "select genre || {}, count(*) filter (where price > {}) from books group by genre || {}",
        "select count(*) from books group by {}, genre having count(*) > {} order by count(*) + {}",
        "insert into books (isbn, branch, price) values ({}, {}, {})",
        "update books set branch = {}, price = {} where branch = {}",
        "delete from patrons where patron_id = {} or patron_id between {} and {}",
        "select name from patrons where patron_id = {} and (name = {} or email = {})",
        "set work_mem = {}; select {}, {}",
        "select case when price > {} then {} else {} end from books order by 1",
        "explain select {} from books where isbn = {} limit {}",
    ]
)


@given(_shapes, st.lists(st.tuples(_values, _values, _values), min_size=2, max_size=4))
def test_a_cached_plan_is_the_one_made_anew(shape: str, rows: list[tuple[str, str, str]]) -> None:
    warm = Planner(make_shard_map(), make_facts(), cache_size=10)
    for row in rows:
        sql = shape.format(*row)
        fresh = Planner(make_shard_map(), make_facts(), cache_size=10)
        assert outcome(warm, sql) == outcome(fresh, sql)
