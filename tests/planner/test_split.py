from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgproxy.errors import Refused
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.plan import Planned, Sharded, Split, bind_shard, render, with_parameters
from pgproxy.planner.planner import Planner
from pgproxy.planner.split import part_of, parts_of, used_parameters
from tests.planner.conftest import make_facts, make_shard_map
from tests.planner.golden_file import Block, read_blocks, update
from tests.planner.plan_text import template_text

GOLDEN = "writes.txt"


def written(sql: str) -> str:
    """What each shard runs, or why none does."""
    planned = Planner(make_shard_map(), make_facts(), cache_size=10).plan(sql)
    assert isinstance(planned.plan, Sharded)
    return "\n".join(_lines(planned, planned.plan))


def _lines(planned: Planned, plan: Sharded) -> Iterator[str]:
    split, arguments = plan.scatter, Arguments(planned.arguments.literals, "2024-05-01 00:00:00.000000+00")
    if isinstance(split, Refused):
        yield f"refused: {split.message}"
        return
    assert isinstance(split, Split)
    yield f"tag     {plan.tag}{', rows' if split.returns else ''}"
    try:
        chosen = plan.choice.shards(arguments)
    except Refused as refused:
        yield f"refused: {refused.message}"
        return
    for shard, places in parts_of(split, chosen, arguments):
        used = used_parameters(split, places)
        numbers = "" if not used else f"  ({', '.join(f'${number}' for number in sorted(used))})"
        text = render(bind_shard(part_of(split, places), plan.table.shards[shard]), arguments)
        yield f"shard {shard} {text}{numbers}"


@pytest.fixture(scope="module", autouse=True)
def _updated(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden", default=False):
        update(GOLDEN, written)


@pytest.mark.parametrize("block", read_blocks(GOLDEN), ids=lambda block: block.statement)
def test_golden_plans(block: Block) -> None:
    assert written(block.statement) == block.expected


def test_rows_of_one_shard_are_its_route(planner: Planner) -> None:
    planned = planner.plan("insert into books (isbn, branch) values (1, 'west'), (2, 'west')")
    assert isinstance(planned.plan, Sharded)
    assert planned.plan.choice.shards(planned.arguments) == (1,)


def test_bound_keys_choose_the_rows(planner: Planner) -> None:
    planned = planner.plan("insert into books (isbn, branch) values ($1, $2), ($3, $4), ($5, $6) returning $1::int")
    planned = with_parameters(planned, ["1", "'north'", "2", "'west'", "3", "'north'"])
    plan = planned.plan
    assert isinstance(plan, Sharded)
    assert isinstance(plan.scatter, Split)
    assert plan.choice.shards(planned.arguments) == (1, 2)
    parts = parts_of(plan.scatter, (1, 2), planned.arguments)
    assert parts == [(2, [0, 2]), (1, [1])]
    assert [used_parameters(plan.scatter, places) for _, places in parts] == [{1, 2, 5, 6}, {1, 3, 4}]
    assert template_text(part_of(plan.scatter, [1])).endswith("values ($3, $4) returning $1::int")


def test_it_stands_behind_explain(planner: Planner) -> None:
    sql = " explain  insert into books (isbn, branch) values (1, 'west'), (2, 'north')"
    plan = planner.plan(sql).plan.plan  # type: ignore[union-attr]
    assert isinstance(plan, Sharded)
    assert isinstance(plan.scatter, Split)
    assert plan.scatter.rows is not None
    shown = [sql[slice(*source)] for text in plan.scatter.rows.texts for source in text.sources if source]
    assert "".join(shown) == "(1, 'west')(2, 'north')"
