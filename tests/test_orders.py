"""PAUSE, RESUME and RECONNECT: a node is let go of and comes back, and its clients see nothing but delay."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgproxy.shardmap.model import HeartbeatSettings, PoolSettings, ShardMap
from tests.activity import await_nothing_open, connections, until
from tests.fix_gateways import GatewayCluster
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.fix_replicas import ReplicatedCluster, follow
from tests.test_reload import reload
from tests.test_takeover import Users

WEST, NORTH = "west-library", "north-library"
COUNT_WEST = "SELECT count(*) FROM books WHERE branch = 'west'"
COUNT_NORTH = "SELECT count(*) FROM books WHERE branch = 'north'"
COUNT = "SELECT count(*) FROM books"
TRANSACTION_OVER_BOTH = (COUNT_WEST, COUNT_NORTH)


def order(proxy: RunningProxy, sql: str) -> list[str]:
    """The warnings of an order."""
    warnings: list[str] = []
    with proxy.connect(dbname="pgproxy") as admin:
        admin.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
        assert admin.execute(sql).statusmessage == sql.split()[0].strip(";").upper()
    return warnings


def shown(proxy: RunningProxy, sql: str, column: str) -> dict[str, Any]:
    with proxy.connect(dbname="pgproxy") as admin:
        cursor = admin.execute(sql)
        assert cursor.description is not None
        at = [each.name for each in cursor.description].index(column)
        return {row[0]: row[at] for row in cursor.fetchall()}


def in_thread(run: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(run()))
    thread.start()
    return thread, answers


def with_short_pauses(found: ShardMap) -> ShardMap:
    pool = replace(found.proxy.pool, pause_timeout_s=0.5)
    return replace(found, proxy=replace(found.proxy, pool=pool))


def test_statements_wait_until_resume(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    with proxy.connect() as routed, proxy.connect() as scattered, proxy.connect() as elsewhere:
        for client in (routed, scattered):
            client.execute(COUNT_WEST)
        assert order(proxy, f"PAUSE {WEST};") == []
        assert shown(proxy, "SHOW POOLS", "paused") == {WEST: True, NORTH: False, "downtown-library": False}
        assert shown(proxy, "SHOW POOLS", "size")[WEST] == 0
        assert shown(proxy, "STATUS", "state") == {WEST: "paused", NORTH: "up", "downtown-library": "up"}
        waiting = [in_thread(lambda c=c, sql=sql: c.execute(sql).fetchone())  # type: ignore[misc]
                   for c, sql in ((routed, COUNT_WEST), (scattered, COUNT))]  # fmt: skip
        until(lambda: shown(proxy, "SHOW POOLS", "waiting")[WEST] == 2, "both wait")
        assert elsewhere.execute(COUNT_NORTH).fetchone() == (24,)
        assert order(proxy, f"PAUSE {WEST}") == [], "a second time"
        assert order(proxy, f'RESUME "{WEST}"') == []
        for thread, _ in waiting:
            thread.join()
        assert [answers for _, answers in waiting] == [[(24,)], [(72,)]]
        assert shown(proxy, "SHOW POOLS", "paused") == {WEST: False, NORTH: False, "downtown-library": False}
        assert order(proxy, "RESUME") == [], "nothing is paused"


def test_a_node_is_restarted_under_load(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    """Noticed by its heartbeat, but by no client."""
    heartbeat = HeartbeatSettings(interval_s=0.1, timeout_s=20.0, down_after=1)
    with running_proxy(own_cluster, tmp_path, heartbeat=heartbeat) as proxy, Users(proxy, 40) as users:
        users.await_more()
        order(proxy, f"PAUSE {WEST}")
        own_cluster.nodes[WEST].stop()
        until(lambda: f"ALERT: node {WEST} is DOWN" in proxy.log_text(), "the heartbeat has noticed")
        proxy.connect().close()
        time.sleep(0.5)
        assert users.failures == []
        own_cluster.restart(WEST)
        assert order(proxy, f"RESUME {WEST}") == []
        users.await_more()
        order(proxy, "PAUSE")
        for name in own_cluster.nodes:
            own_cluster.nodes[name].stop()
        for name in own_cluster.nodes:
            own_cluster.restart(name)
        assert order(proxy, "RESUME") == []
        users.await_more()
        assert users.failures == []
    await_nothing_open(own_cluster)


def test_a_paused_node_moves(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    """What waits goes to where it is at RESUME; the reload itself lets nobody go on."""
    with proxy.connect() as client:
        order(proxy, f"PAUSE {WEST}")
        thread, answers = in_thread(lambda: client.execute(COUNT_WEST).fetchone())
        until(lambda: shown(proxy, "SHOW POOLS", "waiting")[WEST] == 1, "it waits")
        reload(
            proxy,
            lambda found: replace(found, nodes={**found.nodes, WEST: replace(found.nodes[WEST], host="localhost")}),
        )
        assert shown(proxy, "SHOW POOLS", "paused")[WEST] is True
        assert shown(proxy, "SHOW POOLS", "size")[WEST] == 0
        assert order(proxy, f"RESUME {WEST}") == []
        thread.join()
        assert answers == [(24,)]
        assert shown(proxy, "SHOW NODES", "host")[WEST] == "localhost"


def test_reconnect_under_load(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(own_cluster, tmp_path) as proxy, Users(proxy, 40) as users:
        users.await_more()
        for _ in range(5):
            order(proxy, "RECONNECT")
            users.await_more(1)
        assert users.failures == []


def test_reconnect_replaces_connections_when_they_are_given_back(
    library_cluster: LibraryCluster, proxy: RunningProxy
) -> None:
    pid = "SELECT pg_backend_pid() FROM books WHERE branch = 'west' LIMIT 1"
    with proxy.connect() as inside, proxy.connect() as other:
        inside.execute("BEGIN")
        (held,) = inside.execute(pid).fetchone() or (0,)
        (idle,) = other.execute(pid).fetchone() or (0,)
        assert held != idle
        assert order(proxy, f"RECONNECT {WEST}") == []
        until(lambda: idle not in connections(library_cluster, WEST), "the idle one is closed at once")
        assert inside.execute(pid).fetchone() == (held,)
        assert other.execute(pid).fetchone() not in ((held,), (idle,))
        inside.execute("COMMIT")
        until(lambda: held not in connections(library_cluster, WEST), "the other one when it is given back")


def test_pause_waits_for_transactions(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    """One that is under way may go on to other paused nodes: the pause waits for it."""
    with proxy.connect() as inside, proxy.connect() as other:
        inside.execute("BEGIN")
        inside.execute(COUNT_WEST)
        pausing, done = in_thread(lambda: order(proxy, "PAUSE"))
        until(lambda: all(shown(proxy, "SHOW POOLS", "paused").values()), "new statements wait")
        waiting, answers = in_thread(lambda: other.execute(COUNT_NORTH).fetchone())
        assert inside.execute(COUNT_WEST).fetchone() == (24,)
        assert inside.execute(COUNT_NORTH).fetchone() == (24,)
        assert (done, answers) == ([], [])
        inside.execute("COMMIT")
        pausing.join()
        assert (done, answers) == ([[]], [])
        order(proxy, "RESUME")
        waiting.join()
        assert answers == [(24,)]


def test_a_pause_that_takes_too_long_is_undone(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with (
        running_proxy(library_cluster, tmp_path, with_short_pauses) as proxy,
        proxy.connect() as inside,
        proxy.connect() as other,
    ):
        inside.execute("BEGIN")
        inside.execute(COUNT_WEST)
        with pytest.raises(psycopg.errors.ObjectInUse, match=f"node {WEST} is still in use after 0.5 s"):
            order(proxy, "PAUSE")
        assert not any(shown(proxy, "SHOW POOLS", "paused").values())
        assert other.execute(COUNT).fetchone() == (72,)


def test_a_pause_that_is_cancelled_is_undone(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    with proxy.connect() as inside, proxy.connect(dbname="pgproxy") as admin, ThreadPoolExecutor(1) as pool:
        inside.execute("BEGIN")
        inside.execute(COUNT_WEST)
        pausing = pool.submit(admin.execute, "PAUSE")
        until(lambda: all(shown(proxy, "SHOW POOLS", "paused").values()), "it waits")
        admin.cancel()
        assert isinstance(pausing.exception(), psycopg.errors.QueryCanceled)
        until(lambda: not any(shown(proxy, "SHOW POOLS", "paused").values()), "it is undone")
        assert admin.execute("PAUSE north-library").statusmessage == "PAUSE"
        assert admin.execute("RESUME north-library").statusmessage == "RESUME"


def test_who_logs_in_waits_too(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    """With settings that no client has had yet, which a node must judge."""
    with running_proxy(library_cluster, tmp_path, startup_timeout_s=2.0) as proxy:
        order(proxy, "PAUSE")
        with ThreadPoolExecutor(1) as pool:
            connecting = pool.submit(proxy.connect, options="-c geqo=off")
            time.sleep(2.5)
            assert not connecting.done()
            order(proxy, "RESUME")
            with connecting.result() as client:
                assert client.execute("SHOW geqo").fetchone() == ("off",)


def test_nobody_waits_for_ever(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path, with_short_pauses) as proxy, proxy.connect() as client:
        order(proxy, f"PAUSE {WEST}")
        for sql in (COUNT_WEST, COUNT):
            with pytest.raises(psycopg.errors.TooManyConnections, match="was not resumed within"):
                client.execute(sql)
        order(proxy, "RESUME")
        assert client.execute(COUNT).fetchone() == (72,)


def test_who_waits_can_cancel(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    order(proxy, "PAUSE")
    with proxy.connect() as client, ThreadPoolExecutor(1) as pool:
        for sql in (COUNT_WEST, COUNT):
            waiting = pool.submit(client.execute, sql)
            until(lambda: any(shown(proxy, "SHOW POOLS", "waiting").values()), "it waits")
            client.cancel()
            assert isinstance(waiting.exception(), psycopg.errors.QueryCanceled)
            until(lambda: not any(shown(proxy, "SHOW POOLS", "waiting").values()), "it has left the queue")
        order(proxy, "RESUME")
        assert client.execute(COUNT).fetchone() == (72,)


def test_the_queue_of_a_paused_node_is_limited(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with (
        running_proxy(library_cluster, tmp_path, pool=PoolSettings(queue_limit=1)) as proxy,
        proxy.connect() as one,
        proxy.connect() as two,
    ):
        order(proxy, "PAUSE")
        thread, answers = in_thread(lambda: one.execute(COUNT_WEST).fetchone())
        until(lambda: shown(proxy, "SHOW POOLS", "waiting")[WEST] == 1, "it waits")
        with pytest.raises(psycopg.errors.TooManyConnections, match="too many statements wait"):
            two.execute(COUNT_WEST)
        order(proxy, "RESUME")
        thread.join()
        assert answers == [(24,)]


def test_resume_tells_of_a_node_that_does_not_answer(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    heartbeat = HeartbeatSettings(interval_s=0.1, timeout_s=20.0, down_after=1)
    with running_proxy(own_cluster, tmp_path, heartbeat=heartbeat) as proxy, proxy.connect() as client:
        order(proxy, f"PAUSE {WEST}")
        own_cluster.kill(WEST)
        until(lambda: f"ALERT: node {WEST} is DOWN" in proxy.log_text(), "the heartbeat has noticed")
        assert order(proxy, "RESUME") == [f"node {WEST} does not answer"]
        with pytest.raises(psycopg.errors.ConnectionFailure, match="is down"):
            client.execute(COUNT_WEST)


# Where any node reaches every table


QUICK = HeartbeatSettings(interval_s=0.1, timeout_s=20.0, down_after=1)


def test_a_paused_gateway_goes_away_and_comes_back(gateways: GatewayCluster, tmp_path: Path) -> None:
    """Its own statements wait for it, whatever becomes of it; those of others do not notice."""
    relay = gateways.relays[WEST]
    with running_proxy(gateways, tmp_path, heartbeat=QUICK) as proxy:
        clients = [proxy.connect() for _ in range(3)]
        assert [client.execute(COUNT_WEST).fetchone() for client in clients] == [(24,)] * 3
        order(proxy, f"PAUSE {WEST}")
        before, early = in_thread(lambda: clients[0].execute(COUNT_WEST).fetchone())
        until(lambda: shown(proxy, "SHOW POOLS", "waiting")[WEST] == 1, "it waits")
        relay.kill()
        until(lambda: f"ALERT: node {WEST} is DOWN" in proxy.log_text(), "the heartbeat has noticed")
        after, late = in_thread(lambda: clients[1].execute(COUNT_WEST).fetchone())
        scattered, whole = in_thread(lambda: clients[2].execute(COUNT).fetchone())
        until(lambda: shown(proxy, "SHOW POOLS", "waiting")[WEST] == 3, "all wait")
        with proxy.connect() as other:
            assert other.execute(COUNT_NORTH).fetchone() == (24,)
        relay.heal()
        assert order(proxy, f"RESUME {WEST}") == []
        for thread in (before, after, scattered):
            thread.join()
        assert (early, late, whole) == ([(24,)], [(24,)], [(72,)])
        for client in clients:
            client.close()


def test_a_paused_gateway_stands_in_for_nobody(gateways: GatewayCluster, tmp_path: Path) -> None:
    with running_proxy(gateways, tmp_path, heartbeat=QUICK) as proxy, proxy.connect() as client:
        order(proxy, f"PAUSE {NORTH}")
        gateways.relays[WEST].kill()
        until(lambda: f"ALERT: node {WEST} is DOWN" in proxy.log_text(), "the heartbeat has noticed")
        for _ in range(6):
            assert client.execute(COUNT_WEST).fetchone() == (24,)
        assert shown(proxy, "SHOW POOLS", "size")[NORTH] == 0
        order(proxy, "RESUME")
        assert client.execute(COUNT).fetchone() == (72,)


# Where a node has replicas

ROUTED = "SELECT inet_server_port() FROM books WHERE branch = 'west' LIMIT 1"
WRITE = "UPDATE books SET price = price WHERE branch = 'west' RETURNING inet_server_port()"
TRANSACTION = "BEGIN …"


@contextmanager
def paused_with_replicas(replicated: ReplicatedCluster, directory: Path, read_from: str) -> Iterator[Waiters]:
    """The node with replicas is paused, and all kinds of statements wait."""
    change = replicated.shard_map(read_from, 60.0)
    with running_proxy(replicated.cluster, directory, change, heartbeat=QUICK) as proxy, Waiters(proxy) as waiters:
        ports = {member.port for member in replicated.members[: 1 if read_from == "primary" else None]}
        with proxy.connect() as client:
            until(lambda: {port_of(client) for _ in range(4)} == ports, "every member is read that may be")
        order(proxy, f"PAUSE {WEST}")
        pools = [f"{WEST}/127.0.0.1:{member.port}" for member in replicated.members]
        assert [shown(proxy, "SHOW POOLS", "size")[pool] for pool in pools] == [0, 0]
        waiters.add(ROUTED, WRITE, COUNT, TRANSACTION)
        until(lambda: sum(shown(proxy, "SHOW POOLS", "waiting").values()) == 4, "all wait")
        yield waiters


class Waiters:
    """Clients that wait for the answer to one statement each."""

    def __init__(self, proxy: RunningProxy) -> None:
        self.proxy = proxy
        self._threads = ThreadPoolExecutor(20)
        self._asked: list[tuple[str, psycopg.Connection, Future[list[Any]]]] = []

    def add(self, *sqls: str) -> None:
        for sql in sqls:
            client = self.proxy.connect()
            self._asked.append((sql, client, self._threads.submit(self._ask, client, sql)))

    def answers(self) -> dict[str, list[Any]]:
        return {sql: answer.result() for sql, _, answer in self._asked}

    @staticmethod
    def _ask(client: psycopg.Connection, sql: str) -> list[Any]:
        if sql != TRANSACTION:
            return client.execute(sql.encode()).fetchall()
        client.execute("BEGIN")
        answer = client.execute(WRITE).fetchall()
        client.execute("COMMIT")
        return answer

    def __enter__(self) -> Waiters:
        return self

    def __exit__(self, *_: object) -> None:
        for _, client, _ in self._asked:
            client.close()
        self._threads.shutdown()


@pytest.mark.parametrize("read_from", ["primary", "any"])
def test_a_node_with_replicas_is_restarted(replicated: ReplicatedCluster, tmp_path: Path, read_from: str) -> None:
    primary, standby = replicated.members
    with paused_with_replicas(replicated, tmp_path, read_from) as waiters:
        proxy = waiters.proxy
        for member in replicated.members:
            member.stop()
        until(lambda: f"ALERT: node {WEST} is DOWN" in proxy.log_text(), "the heartbeat has noticed")
        waiters.add(f"{ROUTED} -- late", f"{WRITE} -- late", f"{COUNT} -- late")
        with proxy.connect() as other:
            assert other.execute(COUNT_NORTH).fetchone() == (24,)
        for member in replicated.members:
            member.start()
        assert order(proxy, f"RESUME {WEST}") == []
        answers = waiters.answers()
        for sql, answer in answers.items():
            if sql.startswith(COUNT):
                assert answer == [(72,)]
            else:
                assert set(answer) <= (
                    {(primary.port,), (standby.port,)} if sql.startswith(ROUTED) else {(primary.port,)}
                )
        assert "Traceback" not in proxy.log_text()


def test_a_node_with_replicas_is_switched_over_while_it_is_paused(
    replicated: ReplicatedCluster, tmp_path: Path
) -> None:
    """What waited for the former primary runs on the new one."""
    old, new = replicated.members
    with paused_with_replicas(replicated, tmp_path, "primary") as waiters:
        proxy = waiters.proxy
        old.stop()
        replicated.promote(new)
        follow(old, new)
        old.start()
        until(lambda: f"{new.port} is its primary now" in proxy.log_text(), "the heartbeat has noticed")
        waiters.add(f"{ROUTED} -- late", f"{WRITE} -- late", f"{TRANSACTION}")
        assert order(proxy, f"RESUME {WEST}") == []
        answers = waiters.answers()
        assert answers.pop(COUNT) == [(72,)]
        assert {port for answer in answers.values() for port in answer} == {(new.port,)}


def port_of(client: psycopg.Connection, sql: str = ROUTED) -> int:
    row = client.execute(sql.encode()).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(
    ("sql", "sqlstate"),
    [
        ("PAUSE nowhere", "42704"),
        ("RESUME a b", "42601"),
        ("RELOAD now", "42601"),
        ("RECONNECT WEST-LIBRARY", "42704"),
    ],
)
def test_what_cannot_be_ordered(shared_proxy: RunningProxy, sql: str, sqlstate: str) -> None:
    with pytest.raises(psycopg.Error) as error:
        order(shared_proxy, sql)
    assert error.value.sqlstate == sqlstate


def test_only_in_the_admin_database(shared_proxy: RunningProxy) -> None:
    with shared_proxy.connect() as client, pytest.raises(psycopg.errors.SyntaxError):
        client.execute("PAUSE")
