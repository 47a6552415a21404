"""What nodes have prepared, and have said of statements, is shared between clients: no client may see by it what
another has set, when another came, or what a table was like before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pgproxy.shardmap.model import ShardMap
from tests.extended_client import SYNC, Shown, Step, bind, converse, describe, execute, once, parse, simple
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient

DATES = "SELECT '2020-01-01 00:00'::timestamptz AT TIME ZONE 'UTC', '01/02/2020'::date - date '2020-01-01'"
OF_A_SHARD = "SELECT isbn, date '01/02/2020' FROM books WHERE branch = 'west' ORDER BY isbn LIMIT 1"
TABLE = "SELECT * FROM shared_table"


@pytest.fixture(scope="module")
def narrow_proxy(library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """Two connections for each node, which all clients share."""

    def narrowed(shard_map: ShardMap) -> ShardMap:
        pool = replace(shard_map.proxy.pool, size=2)
        return replace(shard_map, proxy=replace(shard_map.proxy, pool=pool))

    directory: Path = tmp_path_factory.mktemp("narrow")
    with running_proxy(library_cluster, directory, narrowed) as running:
        yield running


def talk(conninfo: str, *said: tuple[str, list[Step]]) -> list[tuple[str, list[list[Shown]]]]:
    """Clients of these names say these things in turn."""
    with ExitStack() as stack:
        clients: dict[str, RawClient] = {}
        answers = []
        for who, steps in said:
            if who not in clients:
                clients[who] = stack.enter_context(RawClient.logged_in(conninfo))
            answers.append((who, converse(clients[who], steps)))
        return answers


def named(sql: str, name: str = "s") -> list[Step]:
    return [parse(sql, name), bind(name=name), describe(), execute(), SYNC]


CASES: dict[str, list[tuple[str, list[Step]]]] = {
    "time zones": [
        ("x", [simple("SET TimeZone = 'UTC'"), *named(DATES)]),
        ("y", [simple("SET TimeZone = 'Asia/Tokyo'"), *named(DATES), *once(DATES), *once(DATES)]),
        ("x", once(DATES)),
    ],
    "date styles": [
        ("x", [*named(OF_A_SHARD), *once(OF_A_SHARD)]),
        ("y", [simple("SET DateStyle = 'ISO, DMY'"), *named(OF_A_SHARD), *once(OF_A_SHARD)]),
        (
            "y",
            [
                simple("BEGIN"),
                simple(OF_A_SHARD),
                simple("SET LOCAL DateStyle = 'ISO, MDY'"),
                *once(OF_A_SHARD),
                simple("ROLLBACK"),
            ],
        ),
        ("y", once(OF_A_SHARD)),
    ],
    "a column more": [
        ("x", [simple("DROP TABLE IF EXISTS shared_table"), simple("CREATE TABLE shared_table (a int)")]),
        ("x", [parse(TABLE, "s"), describe("S", "s"), SYNC, *once(TABLE), *once(TABLE)]),
        ("y", [simple("ALTER TABLE shared_table ADD b text")]),
        ("x", [simple("BEGIN"), *once(TABLE), simple("COMMIT")]),
        ("y", [parse(TABLE, "t"), describe("S", "t"), SYNC, *once(TABLE)]),
        ("x", [simple("DROP TABLE shared_table")]),
        ("y", [parse(TABLE, "u"), describe("S", "u"), SYNC]),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_clients_do_not_see_each_other(name: str, narrow_proxy: RunningProxy, reference_pg: ReferencePostgres) -> None:
    assert talk(narrow_proxy.conninfo, *CASES[name]) == talk(reference_pg.conninfo, *CASES[name])


@pytest.mark.parametrize("sql", ["SELECT 'now'::timestamptz", r"SELECT E'n\157w'::timestamptz"])
def test_the_present_moment_is_not_that_of_an_earlier_client(sql: str, narrow_proxy: RunningProxy) -> None:
    moments = [answer[-1][-3] for _ in range(4) for _, answer in talk(narrow_proxy.conninfo, ("x", named(sql)))]
    assert len(set(moments)) == 4
