"""Golden plans of SELECT: which shards, the text for one shard, the text for several and the operators above them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pgproxy.planner.context import PlanningContext
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.shardmap.model import Engine
from pgproxy.shardmap.placement import Placement
from tests.planner.conftest import make_facts, make_shard_map
from tests.planner.golden_file import Block, read_blocks, update
from tests.planner.plan_text import select_text


def context_for(facts: CatalogFacts, engine: Engine = Engine.POSTGRESQL) -> PlanningContext:
    shard_map = make_shard_map(engine)
    placements = {
        table.name: Placement(table, facts.tables[table.name].columns[table.key].type_oid)
        for table in shard_map.tables.values()
    }
    return PlanningContext(shard_map, facts, placements)


def without_bytewise_text(facts: CatalogFacts) -> CatalogFacts:
    """The same library in a database whose collation is a language's."""
    text = 25
    tables = {
        name: replace(
            table,
            columns={
                column.name: replace(column, bytewise=column.type_oid != text) for column in table.columns.values()
            },
        )
        for name, table in facts.tables.items()
    }
    return replace(facts, tables=tables, bytewise_default=False)


def with_own_collations(facts: CatalogFacts) -> CatalogFacts:
    """The same library where authors have a collation of their own, which compares by bytes too."""
    books = facts.tables["books"]
    author = replace(books.columns["author"], own_collation=True)
    changed = replace(books, columns={**books.columns, "author": author})
    return replace(facts, tables={**facts.tables, "books": changed})


WORLDS: dict[str, Callable[[], PlanningContext]] = {
    "select.txt": lambda: context_for(make_facts()),
    "grouping.txt": lambda: context_for(make_facts()),
    "parameters.txt": lambda: context_for(make_facts()),
    "refused.txt": lambda: context_for(make_facts()),
    "cockroachdb.txt": lambda: context_for(make_facts(Engine.COCKROACHDB), Engine.COCKROACHDB),
    "own_collation.txt": lambda: context_for(with_own_collations(make_facts())),
    "collation.txt": lambda: context_for(without_bytewise_text(make_facts())),
}


@pytest.fixture(scope="module", autouse=True)
def _updated(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden", default=False):
        for name, world in WORLDS.items():
            update(name, lambda sql, world=world: select_text(sql, world()))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        pytest.param(name, block.statement, id=f"{name}: {block.statement}")
        for name in WORLDS
        for block in read_blocks(name)
    ],
)
def test_plan(name: str, statement: str, request: pytest.FixtureRequest) -> None:
    block = _block(name, statement)
    assert select_text(statement, WORLDS[name]()) == block.expected


def _block(name: str, statement: str) -> Block:
    (found,) = [block for block in read_blocks(name) if block.statement == statement]
    return found


def test_a_statement_without_sharded_tables_is_left_to_others() -> None:
    assert select_text("SELECT name FROM genres", context_for(make_facts())) == "no sharded table"
