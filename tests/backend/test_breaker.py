"""The circuit breaker by itself, and in front of a node that accepts connections and never answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from pgproxy.backend.breaker import Breaker
from pgproxy.errors import NodeFailure
from pgproxy.shardmap.model import HeartbeatSettings, PoolSettings
from tests.activity import until
from tests.fix_nodes import LibraryCluster, running_cluster
from tests.fix_proxy import running_proxy
from tests.test_orders import order, shown
from tests.test_reload import reload, with_pool

FAILURE = NodeFailure("west", "refused")


def test_it_opens_after_some_failures_and_closes_with_a_success() -> None:
    breaker = Breaker(trips_after=3, open_s=1.0)
    for _ in range(2):
        breaker.failed(FAILURE, 10.0)
        assert not breaker.tripped
        assert breaker.why_open(10.0) is None
    breaker.failed(FAILURE, 10.0)
    assert breaker.tripped
    assert breaker.why_open(10.4) is FAILURE
    assert breaker.why_open(11.1) is None  # one may try
    breaker.failed(FAILURE, 12.0)
    assert breaker.why_open(12.4) is FAILURE
    assert breaker.trips == 1
    breaker.succeeded()
    assert not breaker.tripped
    assert breaker.why_open(12.4) is None
    assert breaker.pause_s(12.4) == 0


def test_attempts_are_spaced_out_before_it_opens() -> None:
    breaker = Breaker(trips_after=10, open_s=1.0)
    pauses = []
    for _ in range(9):
        breaker.failed(FAILURE, 0.0)
        pauses.append(breaker.pause_s(0.0))
    assert pauses[0] <= 0.05
    assert max(pauses) <= 1.0
    assert pauses[-1] >= 0.5


def test_other_settings_hold_at_once() -> None:
    breaker = Breaker(trips_after=2, open_s=600.0)
    for _ in range(2):
        breaker.failed(FAILURE, 10.0)
    assert breaker.why_open(12.0) is FAILURE
    breaker.change(2, 1.0, 12.0)
    assert breaker.why_open(12.5) is FAILURE
    assert breaker.why_open(13.1) is None
    assert breaker.pause_s(12.0) <= 1.0
    breaker.change(5, 600.0, 13.0)
    assert not breaker.tripped
    for _ in range(3):
        breaker.failed(FAILURE, 14.0)
    assert breaker.why_open(15.0) is FAILURE


@pytest.fixture
def cluster() -> Iterator[LibraryCluster]:
    with running_cluster() as cluster:
        yield cluster


COUNT_WEST = "SELECT count(*) FROM books WHERE branch = 'west'"
ASLEEP = HeartbeatSettings(interval_s=600, timeout_s=60, down_after=1000)


def fails(client: psycopg.Connection) -> None:
    """Several times: the first one may only lose its connection, or hear the server's last word."""
    for _ in range(3):
        with pytest.raises(psycopg.OperationalError):
            client.execute(COUNT_WEST)


def test_a_reload_and_a_resume_close_it(cluster: LibraryCluster, tmp_path: Path) -> None:
    pool = PoolSettings(breaker_failures=1, breaker_open_s=600.0)
    with running_proxy(cluster, tmp_path, pool=pool, heartbeat=ASLEEP) as proxy, proxy.connect() as client:
        cluster.kill("west-library")
        fails(client)  # from here on it is open, for longer than any test
        with ThreadPoolExecutor(1) as thread:
            order(proxy, "PAUSE west-library")
            waiting = thread.submit(client.execute, COUNT_WEST)  # although it is open
            until(lambda: shown(proxy, "SHOW POOLS", "waiting")["west-library"] == 1, "it waits")
            cluster.restart("west-library")
            order(proxy, "RESUME west-library")
            assert waiting.result().fetchone() == (24,)
        cluster.kill("west-library")
        fails(client)
        cluster.restart("west-library")
        fails(client)
        reload(proxy, with_pool(breaker_open_s=0.1))
        until(lambda: answers(client), "another attempt is made soon")


def answers(client: psycopg.Connection) -> bool:
    try:
        return client.execute(COUNT_WEST).fetchone() == (24,)
    except psycopg.OperationalError:
        return False


def test_who_comes_when_it_is_open_does_not_wait(cluster: LibraryCluster, tmp_path: Path) -> None:
    """The heartbeat is asleep: only the breaker knows."""
    pool = PoolSettings(breaker_failures=2, breaker_open_s=600.0)
    asleep = HeartbeatSettings(interval_s=600, timeout_s=60, down_after=1000)
    sql = "SELECT count(*) FROM books WHERE branch = 'west'"
    with running_proxy(cluster, tmp_path, pool=pool, heartbeat=asleep) as proxy, proxy.connect() as client:
        cluster.kill("west-library")
        try:
            for _ in range(3):
                with pytest.raises(psycopg.OperationalError):
                    client.execute(sql)
            started = time.monotonic()
            for _ in range(50):
                with pytest.raises(psycopg.OperationalError, match="west-library") as failed:
                    client.execute(sql)
                assert failed.value.sqlstate == "08006"
            assert time.monotonic() - started < 60  # each would have waited for minutes
            assert client.execute("SELECT count(*) FROM books WHERE branch = 'north'").fetchone() == (24,)
        finally:
            cluster.restart("west-library")
