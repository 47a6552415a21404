"""SIGTERM: what runs may finish, who is idle is told, and nothing is left behind on the nodes."""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg
import pytest

from tests.activity import await_nothing_open, await_running, connect, connections, locked, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, query

PATIENCE_S = 90.0
COUNT_WEST = "SELECT count(*) FROM books WHERE branch = 'west'"


def _end(proxy: RunningProxy) -> None:
    proxy.process.send_signal(signal.SIGTERM)


def _told_to_go(client: RawClient) -> bool:
    error, *rest = client.messages()
    return error.fields["S"] == "FATAL" and error.fields["C"] == "57P01" and not rest


def test_idle_clients_are_told_and_running_statements_finish(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    with running_proxy(library_cluster, tmp_path) as proxy:
        clients = [RawClient.logged_in(proxy.conninfo) for _ in range(4)]
        idle, busy, scattering, in_transaction = clients
        in_transaction.query("BEGIN; UPDATE patrons SET name = name WHERE patron_id = 1001")
        with locked(library_cluster, "west-library", "books_b"):
            busy.send(query(COUNT_WEST))
            scattering.send(query("SELECT count(*) FROM books"))
            await_running(library_cluster, "books_b", 2)
            _end(proxy)
            assert _told_to_go(idle)
            with pytest.raises(psycopg.OperationalError):
                proxy.connect()
        for client in (busy, scattering):
            *_, tag, ready = client.until_ready()
            assert (tag.text, ready.text) == ("SELECT 1", "I")
            assert _told_to_go(client)
        assert in_transaction.query(COUNT_WEST)[-1].text == "T"
        assert in_transaction.query("COMMIT")[-1].text == "I"
        assert _told_to_go(in_transaction)
        assert proxy.process.wait(PATIENCE_S) == 0
        for client in clients:
            client.socket.close()
    await_nothing_open(library_cluster)


@pytest.mark.parametrize("again", [False, True], ids=["the grace time", "a second signal"])
def test_what_runs_too_long_is_cut_off(again: bool, library_cluster: LibraryCluster, tmp_path: Path) -> None:
    grace_s = 3_600.0 if again else 0.3
    before = connections(library_cluster, "west-library")
    with (
        running_proxy(library_cluster, tmp_path, shutdown_grace_s=grace_s) as proxy,
        RawClient.logged_in(proxy.conninfo) as busy,
        RawClient.logged_in(proxy.conninfo) as open_,
        locked(library_cluster, "west-library", "books_b"),
    ):
        open_.query("BEGIN; UPDATE patrons SET name = name WHERE patron_id = 1001")
        busy.send(query(COUNT_WEST))
        await_running(library_cluster, "books_b")
        _end(proxy)
        if again:
            # Two equal signals at once are one.
            until(lambda: "shutting down" in proxy.log_text(), "the first one has arrived")
            _end(proxy)
        assert _told_to_go(busy)
        assert _told_to_go(open_)
        assert proxy.process.wait(PATIENCE_S) == 0
        await_nothing_open(library_cluster)
    with connect(library_cluster, "west-library") as node:
        assert node.execute("SELECT 1").fetchone()
    until(lambda: connections(library_cluster, "west-library") <= before, "no connection is left")
