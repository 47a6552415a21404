"""A client that does not read stops its nodes, not the proxy: memory stays bounded, others go on, no row is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.activity import TIMEOUT_S, await_nothing_open, connect, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient, query

ROWS = 144_000  # of 1,200 bytes: each node has more to say than all buffers on its way hold, be they 32 MB
TEXT = "repeat('x', 1200)"
GROWTH_BYTES = 12_000_000  # one exchange's buffer, the client's and what the allocator keeps, for three nodes
VALUE_BYTES = 50_000_000

RESULTS = [
    pytest.param(f"SELECT n, {TEXT} FROM generate_series(1, {ROWS}) AS n", 1, id="one node"),
    pytest.param(f"SELECT isbn, {TEXT}, generate_series(1, {ROWS // 72}) FROM books", 3, id="scatter"),
    pytest.param(f"SELECT isbn, {TEXT}, generate_series(1, {ROWS // 72}) FROM books ORDER BY isbn", 3, id="merge"),
]


def _resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def _blocked(cluster: LibraryCluster) -> int:
    """How many statements wait for the proxy to read their results."""
    count = 0
    for name in cluster.nodes:
        with connect(cluster, name) as node:
            sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"
            count += node.execute(sql).fetchone()[0]
    return count


@pytest.mark.parametrize(("sql", "nodes"), RESULTS)
def test_a_client_that_pauses_gets_every_row(
    sql: str, nodes: int, shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    await_nothing_open(library_cluster)
    with RawClient.logged_in(shared_proxy.conninfo) as client, shared_proxy.connect() as other:
        other.execute("SELECT count(*) FROM books")
        before = _resident_bytes(shared_proxy.process.pid)
        client.hold_little()
        client.send(query(sql))
        until(lambda: _blocked(library_cluster) == nodes, "the nodes wait for us")
        for _ in range(20):
            assert other.execute("SELECT count(*) FROM books").fetchone() == (72,)
        assert _resident_bytes(shared_proxy.process.pid) - before < GROWTH_BYTES
        client.hold_much()
        count, others = client.count_rows()
        assert [message.kind for message in others] == ["T", "C", "Z"]
        assert count == ROWS
        assert _resident_bytes(shared_proxy.process.pid) - before < GROWTH_BYTES
        assert client.query("SELECT 1")[-1].text == "I"


@pytest.mark.parametrize(("sql", "nodes"), RESULTS)
def test_a_client_that_pauses_and_dies_frees_its_nodes(
    sql: str, nodes: int, shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    await_nothing_open(library_cluster)
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        client.hold_little()
        client.send(query(sql))
        until(lambda: _blocked(library_cluster) == nodes, "the nodes wait for us")
    await_nothing_open(library_cluster)


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(f"SELECT repeat('x', {VALUE_BYTES})", id="table-less"),
        pytest.param(f"SELECT repeat('x', {VALUE_BYTES}) FROM books WHERE branch = 'west' LIMIT 1", id="routed"),
        pytest.param(f"SELECT repeat('x', {VALUE_BYTES}) FROM books LIMIT 1", id="scattered"),
    ],
)
def test_a_huge_value_passes(sql: str, shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        client.socket.settimeout(TIMEOUT_S * 2)
        _description, row, tag, ready = client.query(sql)
        assert row.values[0] == b"x" * VALUE_BYTES
        assert (tag.text, ready.text) == ("SELECT 1", "I")


def test_a_client_that_dies_in_a_huge_value_spoils_nothing(
    shared_proxy: RunningProxy, library_cluster: LibraryCluster
) -> None:
    sql = f"SELECT repeat('x', {VALUE_BYTES}), isbn FROM books WHERE branch = 'west'"
    for _ in range(3):
        with RawClient.logged_in(shared_proxy.conninfo) as client:
            client.send(query(sql))
            assert client.message().kind == "T"
            assert client.byte() == b"D"
    await_nothing_open(library_cluster)
    with shared_proxy.connect() as other:
        for _ in range(10):
            assert other.execute("SELECT count(*) FROM books WHERE branch = 'west'").fetchone() == (24,)
