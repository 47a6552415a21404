"""Pools with few connections: a session never waits for what only itself, or one that waits for it, can give back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest

from pgproxy.shardmap.model import PoolSettings, ShardMap
from tests.extended_client import converse, once
from tests.fix_letters import letters_cluster
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, frame, query

COMPUTED = "SELECT genre, count(*) + 1 FROM books GROUP BY genre HAVING count(*) > 3 ORDER BY 1"
TAKES_TWO = "the statement needs 2 connections to node"


@pytest.fixture(scope="module", params=[1, 2])
def narrow_proxy(
    request: pytest.FixtureRequest, library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    def narrowed(shard_map: ShardMap) -> ShardMap:
        pool = replace(shard_map.proxy.pool, size=request.param)
        return replace(shard_map, proxy=replace(shard_map.proxy, pool=pool))

    with running_proxy(library_cluster, tmp_path_factory.mktemp("narrow"), narrowed) as running:
        yield running


def test_what_a_node_computes_over_groups(narrow_proxy: RunningProxy, reference_pg: ReferencePostgres) -> None:
    steps = [*once(COMPUTED), *once(COMPUTED, results=[1]), *once(COMPUTED, rows=2), *once("SELECT 1")]
    answers = []
    for conninfo in (narrow_proxy.conninfo, reference_pg.conninfo):
        with RawClient.logged_in(conninfo) as client:
            told = [[message.shown() for message in client.query(sql)] for sql in (COMPUTED, "BEGIN", COMPUTED, "END")]
            answers.append((told, converse(client, steps)))
    assert answers[0] == answers[1]


def test_many_at_once(narrow_proxy: RunningProxy) -> None:
    """Some without the node that computes: it must not be asked last by one and first by another."""
    elsewhere = COMPUTED.replace("GROUP BY", "WHERE branch IN ('north', 'west') GROUP BY", 1)

    def ask(number: int) -> list[str]:
        sql = (COMPUTED, elsewhere)[number % 2]
        with RawClient.logged_in(narrow_proxy.conninfo) as client:
            return [message.kind for _ in range(10) for message in client.query(sql) if message.kind in "CE"]

    with ThreadPoolExecutor(6) as clients:
        assert [kinds for kinds in clients.map(ask, range(6)) if kinds != ["C"] * 10] == []


def test_what_is_computed_is_copied(narrow_proxy: RunningProxy, reference_pg: ReferencePostgres) -> None:
    """At once, or not at all: it would wait for the connection that it has."""
    answers = []
    for conninfo in (narrow_proxy.conninfo, reference_pg.conninfo):
        with RawClient.logged_in(conninfo) as client:
            answers.append([message.shown() for message in client.query(f"COPY ({COMPUTED}) TO STDOUT")])
    got, want = answers
    if "size = 1\n" in narrow_proxy.config.read_text(encoding="utf-8"):
        assert TAKES_TWO in got[0][1]["M"]
    else:
        assert got == want


# Two shards on each node.


@pytest.fixture(scope="module")
def narrow_letters(
    library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[int, RunningProxy]]:
    """Proxies, by the size of their pools."""
    with letters_cluster(library_cluster, rows=600) as cluster, ExitStack() as running:
        yield {
            size: running.enter_context(
                running_proxy(cluster, tmp_path_factory.mktemp(f"letters{size}"), pool=PoolSettings(size=size))
            )
            for size in (1, 2)
        }


def copied(client: RawClient, letter: bytes) -> list[str]:
    """The tags and errors of a COPY into all shards, which is undone by its last row, and of one out of them."""
    rows = b"".join(b"%c\t%d\n" % (code, code) for code in b"abcdef") + letter + b"\tx\n"
    client.send(query("COPY letters FROM STDIN") + frame("d", rows) + frame("c"))
    answer = [*client.until_ready(), *client.query("COPY letters TO STDOUT")]
    return [message.fields["C"] if message.kind == "E" else message.text for message in answer if message.kind in "CE"]


def test_copies_at_once_do_not_wait_for_each_other(narrow_letters: dict[int, RunningProxy]) -> None:
    def copy(number: int) -> list[list[str]]:
        with RawClient.logged_in(narrow_letters[2].conninfo) as client:
            return [copied(client, b"abcdef"[number : number + 1]) for _ in range(10)]

    with ThreadPoolExecutor(6) as clients:
        assert list(clients.map(copy, range(6))) == [[["22P02", "COPY 600"]] * 10] * 6


def forget(client: RawClient, which: str) -> list[str]:
    """Delete such rows, shard by shard."""
    answers = [client.query(f"DELETE FROM letters WHERE letter = '{letter}' AND {which}") for letter in "abcdef"]
    return [answer[0].text for answer in answers]


def test_copies_in_transactions_do_not_wait_for_each_other(narrow_letters: dict[int, RunningProxy]) -> None:
    """All join the nodes in the same order, and take one connection of each."""
    rows = b"".join(b"%c\t-1\n" % code for code in b"fbdeca")

    def copy(number: int) -> list[str]:
        tags = []
        with RawClient.logged_in(narrow_letters[1].conninfo) as client:
            for _ in range(10):
                client.query("BEGIN")
                client.send(query("COPY letters FROM STDIN") + frame("d", rows) + frame("c"))
                tags += [message.text for message in client.until_ready() if message.kind in "CE"]
                client.query("ROLLBACK" if number else "COMMIT")
            forget(client, "n < 0")
        return tags

    with ThreadPoolExecutor(6) as clients:
        assert list(clients.map(copy, range(6))) == [["COPY 6"] * 10] * 6


def test_a_copy_that_needs_more_connections_than_there_are(narrow_letters: dict[int, RunningProxy]) -> None:
    """Into the shards it goes one after the other; out of them it does not."""
    with RawClient.logged_in(narrow_letters[1].conninfo) as client:
        rows = b"".join(b"%c\t-1\n" % code for code in b"fbdeca")
        for data, tag in ((rows + b"a\tx\n", "22P02"), (rows, "COPY 6")):
            client.send(query("COPY letters FROM STDIN") + frame("d", data) + frame("c"))
            answer = client.until_ready()
            assert [m.fields["C"] if m.kind == "E" else m.text for m in answer if m.kind in "CEZ"] == [tag, "I"]
        assert forget(client, "n = -1") == ["DELETE 1"] * 6
        error, ready = client.query("COPY letters TO STDOUT")
        assert (error.fields["C"], ready.text) == ("53300", "I")
        assert TAKES_TWO in error.fields["M"]
        assert "proxy.pool.size" in error.fields["H"]
