"""The circuit breaker by itself, and in front of a node that accepts connections and never answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgproxy.backend.breaker import Breaker
from pgproxy.errors import NodeFailure
from pgproxy.shardmap.model import HeartbeatSettings, PoolSettings
from tests.fix_nodes import LibraryCluster, running_cluster
from tests.fix_proxy import running_proxy

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


@pytest.fixture
def cluster() -> Iterator[LibraryCluster]:
    with running_cluster() as cluster:
        yield cluster


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
