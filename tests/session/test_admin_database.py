"""The admin database and STATUS while the proxy is at work, as psql and the command line show them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pgproxy.demo.nodes import free_port
from tests.activity import await_running, locked, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient, query

ROOT = Path(__file__).parent.parent.parent


def _status(port: int, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pgproxy", "status", "--port", str(port), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_show_clients_tells_what_each_does(shared_proxy: RunningProxy, library_cluster: LibraryCluster) -> None:
    conninfo = shared_proxy.conninfo
    with (
        RawClient.logged_in(conninfo, application_name="active one") as active,
        RawClient.logged_in(conninfo, application_name="open one") as open_,
        RawClient.logged_in(conninfo, application_name="failed one") as failed,
        RawClient.logged_in(conninfo, application_name="idle one"),
        shared_proxy.connect(dbname="pgproxy") as admin,
    ):
        open_.query("BEGIN; SELECT count(*) FROM books")
        failed.query("BEGIN")
        failed.query("SELECT 1/0")

        def states() -> dict[str, str]:
            cursor = admin.execute("SHOW CLIENTS")
            names = [column.name for column in cursor.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            return {
                row["application_name"]: row["state"] for row in rows if str(row["application_name"]).endswith("one")
            }

        with locked(library_cluster, "north-library", "patrons_c"):
            active.send(query("SELECT count(*) FROM patrons"))
            await_running(library_cluster, "patrons_c")
            told = {
                "active one": "active",
                "open one": "idle in transaction",
                "failed one": "idle in transaction (aborted)",
                "idle one": "idle",
            }
            until(lambda: states() == told, "it waits for no connection to another node any more")
        active.until_ready()


@pytest.mark.parametrize("sql", ["SHOW NODES", "SHOW POOLS", "SHOW STATS", "SHOW CLIENTS", "SHOW PLANS", "SHOW HELP"])
def test_show_commands_while_a_transaction_is_open(sql: str, shared_proxy: RunningProxy) -> None:
    with shared_proxy.connect() as client, shared_proxy.connect(dbname="pgproxy") as admin:
        client.execute("BEGIN; SELECT count(*) FROM books")
        assert admin.execute(sql.encode()).fetchall()


def test_status_in_the_middle_of_a_transaction(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        client.query("BEGIN")
        answer = client.query("STATUS;")
        assert [message.kind for message in answer if message.kind not in "DN"] == ["T", "C", "Z"]
        assert answer[-1].text == "T"


def test_the_exit_codes_of_status(shared_proxy: RunningProxy) -> None:
    up = _status(shared_proxy.port, "--json")
    assert up.returncode == 0
    assert json.loads(up.stdout)
    assert _status(free_port(), "--json").returncode == 2
