"""The relay passes a server's words on, and misbehaves as told; seen with a real PostgreSQL behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from loadtest.tcp_relay import HOST, READY, TcpRelay, error_message
from pgproxy.demo.library import DATABASE
from pgproxy.demo.nodes import SUPERUSER, free_port
from tests.fix_nodes import LibraryCluster

NODE = "west-library"


@pytest.fixture
def relay(library_cluster: LibraryCluster) -> Iterator[TcpRelay]:
    with TcpRelay(library_cluster.nodes[NODE].port, free_port()) as running:
        yield running


def connect(relay: TcpRelay, timeout_s: int = 60) -> psycopg.Connection:
    return psycopg.connect(
        host=HOST,
        port=relay.port,
        user=SUPERUSER,
        dbname=DATABASE,
        sslmode="disable",
        gssencmode="disable",
        autocommit=True,
        connect_timeout=timeout_s,
    )


def works(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT 42").fetchone() == (42,)


def test_it_passes_on(relay: TcpRelay) -> None:
    with connect(relay) as connection:
        assert connection.execute("SELECT sum(g) FROM generate_series(1, 200000) g").fetchone() == (20000100000,)
        assert len(connection.execute("SELECT g FROM generate_series(1, 200000) g").fetchall()) == 200_000
        assert relay.connections == 1


def test_kill_and_heal(relay: TcpRelay) -> None:
    with connect(relay) as connection:
        relay.kill()
        with pytest.raises(psycopg.OperationalError):
            works(connection)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(relay)
    relay.heal()
    with connect(relay) as again:
        assert works(again)


def test_cut(relay: TcpRelay) -> None:
    with connect(relay) as connection:
        relay.cut()
        with pytest.raises(psycopg.OperationalError):
            works(connection)
    with connect(relay) as again:
        assert works(again)


def test_a_stalled_one_accepts_and_says_nothing(relay: TcpRelay) -> None:
    with connect(relay) as connection:
        relay.stall()
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            connect(relay, timeout_s=2)
        healer = threading.Timer(0.3, relay.heal)
        healer.start()
        assert works(connection)  # the statement waited
        healer.join()


def test_a_cut_inside_a_row(relay: TcpRelay) -> None:
    with connect(relay) as connection:
        relay.cut_after(300_000)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT repeat('x', 1000000)")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(relay)


def test_a_delay(relay: TcpRelay) -> None:
    with connect(relay) as connection:
        relay.delay(0.2)
        started = time.monotonic()
        assert works(connection)
        assert time.monotonic() - started >= 0.2


def test_draining_at_connect(relay: TcpRelay) -> None:
    relay.greet()
    with pytest.raises(psycopg.OperationalError, match="shutting down"):
        connect(relay)


def test_draining_while_idle(relay: TcpRelay) -> None:
    with connect(relay) as connection:
        relay.say()
        with pytest.raises(psycopg.errors.AdminShutdown):
            works(connection)


def test_an_error_instead_of_an_answer(relay: TcpRelay) -> None:
    with connect(relay) as connection:
        relay.reply(error_message("XXUUU", "failed to connect", "ERROR") + READY)
        with pytest.raises(psycopg.Error, match="failed to connect"):
            works(connection)
        relay.heal()
        assert works(connection)
