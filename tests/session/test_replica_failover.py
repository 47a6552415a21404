"""Failovers of a node with real streaming standbys: what a proxy in front of it does meanwhile and afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loadtest.tcp_relay import TcpRelay
from pgproxy.demo.nodes import EmbeddedNode, free_port
from pgproxy.shardmap.model import HeartbeatSettings, ShardMap
from tests.fix_proxy import RunningProxy, running_proxy
from tests.fix_replicas import NODE, QUICK, ReplicatedCluster, follow, node_rows, replicated_cluster, until

# Asks when there is a reason to, but is slow to believe that a node is down.
RARE = HeartbeatSettings(interval_s=3600.0, timeout_s=20.0, down_after=1000)
ROUTED = "SELECT inet_server_port() FROM books WHERE branch = 'west' LIMIT 1"
WRITE = "UPDATE books SET price = coalesce(price, 0) + 1 WHERE branch = 'west' RETURNING inet_server_port()"
ELSEWHERE = "SELECT count(*) FROM books WHERE branch = 'north'"


def started(
    replicated: ReplicatedCluster, directory: Path, read_from: str = "primary", heartbeat: HeartbeatSettings = QUICK
) -> AbstractContextManager[RunningProxy]:
    change = replicated.shard_map(read_from, 60.0)
    return running_proxy(replicated.cluster, directory, change, heartbeat=heartbeat)


def port_of(client: psycopg.Connection[Any], sql: str = ROUTED) -> int:
    row = client.execute(sql.encode()).fetchone()
    assert row is not None
    return int(row[0])


def state(proxy: RunningProxy, name: str = NODE) -> str:
    return next(row["state"] for row in node_rows(proxy) if row["node"] == name)


def refused(client: psycopg.Connection[Any], sql: str = WRITE) -> psycopg.OperationalError:
    with pytest.raises(psycopg.OperationalError) as failed:
        client.execute(sql.encode())
    assert failed.value.sqlstate == "08006"
    return failed.value


def switch_over(replicated: ReplicatedCluster, old: EmbeddedNode, new: EmbeddedNode) -> None:
    """The primary becomes the standby of what was its standby, on its old port; nothing is lost."""
    old.stop()  # in order: the standby has all of it
    replicated.promote(new)
    follow(old, new)
    old.start()


def test_a_promoted_standby_is_found(replicated: ReplicatedCluster, tmp_path: Path) -> None:
    primary, standby = replicated.members
    with started(replicated, tmp_path) as proxy, proxy.connect() as client:
        assert port_of(client) == port_of(client, WRITE) == primary.port
        replicated.caught_up()
        primary.kill()
        until(lambda: state(proxy) == "down")
        failure = refused(client)
        assert f"node {NODE} is down" in str(failure)
        assert f"127.0.0.1:{standby.port} is a standby" in str(failure.diag.message_detail)
        refused(client, ROUTED)
        assert port_of(client, ELSEWHERE)
        replicated.promote(standby)
        until(lambda: state(proxy) == "up")
        assert port_of(client) == port_of(client, WRITE) == standby.port
        with client.transaction():
            assert port_of(client, WRITE) == standby.port
    log = proxy.log_text()
    assert f"ALERT: node {NODE} is DOWN" in log
    assert f"node {NODE}: 127.0.0.1:{standby.port} is its primary now" in log
    assert f"RECOVERED: node {NODE} is UP" in log


def test_reads_go_on_while_there_is_no_primary(replicated: ReplicatedCluster, tmp_path: Path) -> None:
    primary, standby = replicated.members
    with started(replicated, tmp_path, "any") as proxy, proxy.connect() as client:
        until(lambda: {port_of(client) for _ in range(4)} == {primary.port, standby.port})
        primary.kill()
        for _ in range(100):  # from the first moment on
            assert port_of(client) == standby.port
        until(lambda: state(proxy) == "down")
        refused(client)
        assert port_of(client) == standby.port
        with proxy.connect(cursor_factory=psycopg.Cursor) as extended:
            assert port_of(extended) == standby.port
        client.execute("BEGIN READ ONLY")
        assert port_of(client) == standby.port
        client.execute("COMMIT")
        client.execute("BEGIN")
        refused(client, ROUTED)
        client.execute("ROLLBACK")


def test_an_old_primary_that_comes_back_is_left_alone(replicated: ReplicatedCluster, tmp_path: Path) -> None:
    primary, standby = replicated.members
    with started(replicated, tmp_path, "any") as proxy, proxy.connect() as client:
        primary.kill()
        replicated.promote(standby)
        until(lambda: state(proxy) == "up")
        primary.start()
        member = f"{NODE}/127.0.0.1:{primary.port}"
        until(lambda: state(proxy, member) == "up")
        assert {port_of(client) for _ in range(6)} == {standby.port}
        assert port_of(client, WRITE) == standby.port
        assert f"127.0.0.1:{primary.port} claims to be the primary, but is on an old timeline" in proxy.log_text()
        standby.kill()
        until(lambda: state(proxy) == "down")
        assert "only an old primary answers" in str(refused(client).diag.message_detail)


def test_two_primaries_are_refused(tmp_path: Path) -> None:
    with replicated_cluster(2) as replicated:
        primary, first, second = replicated.members
        with started(replicated, tmp_path) as proxy, proxy.connect() as client:
            assert port_of(client) == primary.port
            primary.kill()
            replicated.promote(first)
            replicated.promote(second)
            until(lambda: "both claim" in str(node_rows(proxy)))
            detail = str(refused(client).diag.message_detail)
            assert f"127.0.0.1:{first.port} and 127.0.0.1:{second.port} both claim to be its primary" in detail
            second.kill()
            until(lambda: state(proxy) == "up")
            assert port_of(client, WRITE) == first.port


def test_a_promotion_beside_a_living_primary_ends_what_runs_there(
    replicated: ReplicatedCluster, tmp_path: Path
) -> None:
    """Whatever the old one still took would be lost: its transactions must not be committed."""
    primary, standby = replicated.members
    with started(replicated, tmp_path) as proxy, proxy.connect() as client:
        client.execute("BEGIN")
        assert port_of(client, WRITE) == primary.port
        replicated.promote(standby)
        until(lambda: node_rows(proxy) and f"{standby.port} is its primary now" in proxy.log_text())
        assert "has another primary now" in str(refused(client))
        client.execute("ROLLBACK")
        assert port_of(client, WRITE) == standby.port


def test_an_old_primary_that_insists_is_cut_off(tmp_path: Path) -> None:
    """The new one cannot be reached, but a standby follows it: what the old one still took would be lost."""
    with replicated_cluster(2) as replicated:
        old, new, third = replicated.members
        with TcpRelay(new.port, free_port()) as relay:
            change = replicated.shard_map("primary", 60.0)

            def by_relay(found: ShardMap) -> ShardMap:
                found = change(found)
                node = replace(found.nodes[NODE], replicas=(f"127.0.0.1:{relay.port}", f"127.0.0.1:{third.port}"))
                return replace(found, nodes={**found.nodes, NODE: node})

            with (
                running_proxy(replicated.cluster, tmp_path, by_relay, heartbeat=QUICK) as proxy,
                proxy.connect() as client,
            ):
                client.execute("BEGIN")
                assert port_of(client, WRITE) == old.port
                relay.kill()
                third.stop()
                replicated.promote(new)
                follow(third, new)
                third.start()
                until(lambda: "only an old primary answers" in proxy.log_text())
                with pytest.raises(psycopg.OperationalError):
                    client.execute("COMMIT")
                refused(client)
                left = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'"
                until(lambda: replicated.ask(old, left) == 0)
                relay.heal()
                until(lambda: state(proxy) == "up")
                assert port_of(client, WRITE) == new.port


SIMPLE, EXTENDED = psycopg.ClientCursor, psycopg.Cursor


def by_update(client: psycopg.Connection[Any]) -> bool:
    return client.execute("UPDATE books SET price = 1 WHERE branch = 'west'").rowcount > 0


def by_returning(client: psycopg.Connection[Any]) -> bool:
    return len(client.execute(WRITE).fetchall()) > 0


def by_parameters(client: psycopg.Connection[Any]) -> bool:
    sql = "UPDATE books SET price = %s WHERE branch = %s RETURNING price, isbn"
    return len(client.execute(sql, (7, "west")).fetchall()) > 0


def by_prepared(client: psycopg.Connection[Any]) -> bool:
    sql = "UPDATE books SET price = %s WHERE branch = %s"
    return client.execute(sql, (7, "west"), prepare=True).rowcount > 0


@pytest.mark.parametrize("cursor_factory", [SIMPLE, EXTENDED])
def test_a_write_that_a_former_primary_refuses_runs_on_the_new_one(
    replicated: ReplicatedCluster, tmp_path: Path, cursor_factory: Any
) -> None:
    """The heartbeat knows nothing of the switch: the refused write (25006) makes the proxy look, and goes through."""
    old, new = replicated.members
    writes: list[Callable[[psycopg.Connection[Any]], bool]] = [by_update, by_returning, by_parameters]
    if cursor_factory is EXTENDED:
        writes.append(by_prepared)
    with started(replicated, tmp_path, heartbeat=RARE) as proxy:
        with proxy.connect(cursor_factory=cursor_factory) as client:
            for write in writes:
                assert write(client)
                switch_over(replicated, old, new)
                assert write(client), write
                old, new = new, old
                assert port_of(client) == old.port
        moves = proxy.log_text().count("is its primary now")
        assert moves == len(writes)
        assert "DOWN" not in proxy.log_text()


def test_in_a_transaction_the_client_hears_of_it(replicated: ReplicatedCluster, tmp_path: Path) -> None:
    old, new = replicated.members
    with started(replicated, tmp_path, heartbeat=RARE) as proxy, proxy.connect() as client:
        assert port_of(client, WRITE) == old.port
        switch_over(replicated, old, new)
        client.execute("BEGIN")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            client.execute(WRITE)
        client.execute("ROLLBACK")
        assert port_of(client, WRITE) == new.port


def test_no_write_is_lost_or_doubled_over_failovers(replicated: ReplicatedCluster, tmp_path: Path) -> None:
    """Clients count in rows of their own, by autocommit; a failed write may have happened or not, the others have."""
    old, new = replicated.members
    ended = threading.Event()
    outcomes: dict[int, tuple[int, int]] = {}
    states: set[str | None] = set()

    def count(number: int) -> None:
        done = unknown = 0
        with proxy.connect() as client:
            while not ended.is_set():
                try:
                    client.execute(f"UPDATE books SET published_year = published_year + 1 WHERE {row(number)}".encode())
                    done += 1
                except psycopg.OperationalError as failed:
                    states.add(failed.sqlstate)
                    unknown += 1
                    ended.wait(0.01)
                outcomes[number] = done, unknown

    with started(replicated, tmp_path) as proxy:
        with proxy.connect() as client:
            for number in range(4):
                client.execute(
                    "INSERT INTO books (isbn, branch, book_name, author, published_year)"
                    " VALUES (%s, 'west', 'x', 'y', 0)",
                    (number,),
                )
        threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                before = dict(outcomes)
                until(lambda: len(outcomes) == 4 and all(outcomes[n][0] > before.get(n, (0, 0))[0] for n in outcomes))  # noqa: B023
                switch_over(replicated, old, new)
                old, new = new, old
            before = dict(outcomes)
            until(lambda: all(outcomes[n][0] > before[n][0] for n in outcomes))
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert states <= {"08006", "57P01", "57P03"}
        with proxy.connect() as client:
            for number, (done, unknown) in outcomes.items():
                counted = port_of(client, f"SELECT published_year FROM books WHERE {row(number)}")
                assert done <= counted <= done + unknown


def row(number: int) -> str:
    return f"branch = 'west' AND isbn = {number}"
