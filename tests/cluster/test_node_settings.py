"""Settings of nodes that would change answers: found by check, and no statement is planned while they stand."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psycopg
import pytest

from pgproxy.cluster.catalog import read_facts
from pgproxy.cluster.check import check_nodes
from pgproxy.cluster.node_settings import problems
from pgproxy.demo.library import DATABASE
from pgproxy.errors import ProxyError
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import running_proxy

GOOD = {
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "default_transaction_isolation": "read committed",
    "extra_float_digits": "1",
}


@pytest.mark.parametrize(
    ("west", "found"),
    [
        ({}, []),
        ({"TimeZone": "Asia/Tokyo"}, ["TimeZone is Asia/Tokyo, but UTC on node downtown"]),
        ({"DateStyle": "SQL, DMY"}, ["DateStyle is SQL, DMY, but ISO, MDY on node downtown"]),
        (
            {"extra_float_digits": "0"},
            ["extra_float_digits is 0, but must be 1 or more", "extra_float_digits is 0, but 1 on node downtown"],
        ),
        ({"extra_float_digits": "3"}, ["extra_float_digits is 3, but 1 on node downtown"]),
        ({"transform_null_equals": "on"}, ["transform_null_equals is on, but must be off"]),
        ({"standard_conforming_strings": "off"}, ["standard_conforming_strings is off, but must be on"]),
        (
            {"default_transaction_isolation": "repeatable read"},
            ["default_transaction_isolation is repeatable read, but must be read committed"],
        ),
    ],
)
def test_problems(west: dict[str, str], found: list[str]) -> None:
    assert list(problems({"downtown": GOOD, "west": GOOD | west})) == [("west", problem) for problem in found]


def test_no_statement_is_planned_while_nodes_disagree(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    shard_map = own_cluster.shard_map()
    assert not asyncio.run(check_nodes(shard_map)).errors
    with own_cluster.connect("west-library") as west:
        west.execute(f"ALTER DATABASE {DATABASE} SET IntervalStyle = 'iso_8601'")
        wrong = "IntervalStyle is iso_8601, but postgres on node downtown-library"
        assert asyncio.run(check_nodes(shard_map)).errors == (f"nodes.west-library: {wrong}",)
        with pytest.raises(ProxyError, match="settings would change answers") as refused:
            asyncio.run(read_facts(shard_map))
        assert (refused.value.sqlstate, refused.value.detail) == ("F0000", f"node west-library: {wrong}")
        with running_proxy(own_cluster, tmp_path) as proxy, proxy.connect() as client:
            with pytest.raises(psycopg.errors.CannotConnectNow) as unplanned:
                client.execute("SELECT count(*) FROM books")
            assert wrong in (unplanned.value.diag.message_detail or "")
            west.execute(f"ALTER DATABASE {DATABASE} RESET IntervalStyle")
            _await_plan(client)


def _await_plan(client: psycopg.Connection) -> None:
    for _ in range(300):
        try:
            client.execute("SELECT count(*) FROM books")
            return
        except psycopg.errors.CannotConnectNow:
            time.sleep(0.1)
    pytest.fail("the proxy did not notice that the nodes agree again")
