"""The admin database's answers over a view made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from pgproxy.admin.answers import SHOWS, AdminResult, answer, status
from pgproxy.admin.encode import encode
from pgproxy.admin.view import ClientView, NodeView, PlanView, PoolView, View
from pgproxy.errors import ProxyError
from pgproxy.metrics import Metrics, count
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule, AuthUsers
from pgproxy.shardmap.model import ClusterSettings, Engine, Method, Node, ProxySettings, Shard, ShardMap, Table
from pgproxy.wire.frames import FrameReader
from pgproxy.wire.messages import parse_command_complete
from pgproxy.wire.rows import fields_of, parse_row_description

NODES = {
    "west": Node("west", "10.0.0.1", 5432, "region=west"),
    "north": Node("north", "10.0.0.2", 5433),
}
TABLES = {
    "books": Table(
        "books",
        "public",
        "branch",
        Method.LIST,
        (Shard(0, "books_w", "west", ("west", "south")), Shard(1, "books_n", "north", ("north",))),
    ),
    "patrons": Table("patrons", "public", "id", Method.HASH, (Shard(0, "p0", "west"), Shard(1, "p1", "north"))),
    "loans": Table(
        "loans",
        "public",
        "day",
        Method.RANGE,
        (Shard(0, "l0", "west", upper="2020-01-01"), Shard(1, "l1", "north", lower="2020-01-01")),
    ),
}


@dataclass
class MadeView:
    version: str = "1.2.3"
    engine_version: str | None = "18.0"
    uptime_s: float = 12.7
    shard_map: ShardMap = field(
        default_factory=lambda: ShardMap(
            ProxySettings(),
            ClusterSettings("library", Engine.POSTGRESQL, "library_system", "pgproxy", "hunter2"),
            NODES,
            TABLES,
            auth=(AuthRule(AuthMethod.SCRAM, (ip_network("10.0.0.0/8"), ip_network("::1/128"))),),
            auth_users=AuthUsers("users.txt", salt_secret="hunter3"),
        )
    )
    metrics: Metrics = field(default_factory=lambda: Metrics(NODES))
    nodes: Sequence[NodeView] = (
        NodeView("west", True, 0.0, 1.5, 0.4321),
        NodeView("north", False, 60.0, 59.0, None, 3, "no answer within 1 s"),
    )
    pools: Sequence[PoolView] = (
        PoolView("west", 3, 1, 2, 4, 20, 0.25, "librarian", 1),
        PoolView("north", 0, 0, 0, 0, 20, None, "librarian"),
    )
    clients: Sequence[ClientView] = (
        ClientView(
            7, "alice", "library_system", "psql", "127.0.0.1:5", "active", 0.0, 9, ("west", "north"), ("LISTEN",)
        ),
    )
    plans: Sequence[PlanView] = (PlanView("SELECT * FROM books WHERE branch = $1", "route", "books", 42),)


VIEW: View = MadeView()


@pytest.mark.parametrize("name", SHOWS)
@pytest.mark.parametrize("spelling", ["SHOW {}", "show {};", "  Show\n{} ;; ", "/* a */ SHOW -- b\n {}"])
def test_every_show_in_every_spelling(name: str, spelling: str) -> None:
    written = spelling.format(name.lower() if spelling.islower() else name.title())
    result = answer(written, VIEW)
    assert result.tag == "SHOW"
    assert result.columns == SHOWS[name].columns
    assert result.rows
    assert {len(row) for row in result.rows} == {len(result.columns)}


def test_nodes() -> None:
    assert answer("SHOW NODES", VIEW).rows == [
        ("west", "10.0.0.1", "5432", "region=west", "up", "1970-01-01 00:00:00.000+00", "1970-01-01 00:00:01.500+00",
         "0.43", "0", None, None, None),
        ("north", "10.0.0.2", "5433", None, "down", "1970-01-01 00:01:00.000+00", "1970-01-01 00:00:59.000+00",
         None, "3", "no answer within 1 s", None, None),
    ]  # fmt: skip


def test_shards() -> None:
    assert [(row[0], row[4], row[5], row[6], row[7]) for row in answer("SHOW SHARDS", VIEW).rows] == [
        ("books", "books_w", "west", "west, south", "up"),
        ("books", "books_n", "north", "north", "down"),
        ("patrons", "p0", "west", "modulus 2, remainder 0", "up"),
        ("patrons", "p1", "north", "modulus 2, remainder 1", "down"),
        ("loans", "l0", "west", "from MINVALUE to 2020-01-01", "up"),
        ("loans", "l1", "north", "from 2020-01-01 to MAXVALUE", "down"),
    ]


def test_pools_clients_plans_version() -> None:
    assert answer("SHOW POOLS", VIEW).rows == [
        ("west", "3", "1", "2", "4", "20", "0.250", "librarian", "1", "f"),
        ("north", "0", "0", "0", "0", "20", None, "librarian", "0", "f"),
    ]
    assert answer("SHOW CLIENTS", VIEW).rows == [
        ("7", "alice", "library_system", "psql", "127.0.0.1:5", "active", "1970-01-01 00:00:00.000+00", "9",
         "west, north", "LISTEN")
    ]  # fmt: skip
    assert answer("SHOW PLANS", VIEW).rows == [("SELECT * FROM books WHERE branch = $1", "route", "books", "42")]
    assert answer("SHOW VERSION", VIEW).rows == [("1.2.3", "library", "postgresql", "18.0")]


def test_stats() -> None:
    view = MadeView()
    view.metrics.route += 5
    view.metrics.nodes["west"].leases += 4
    view.metrics.count_error("42601")
    count(view.metrics.scattered, None, 1500, 3)
    figures = {(name, node): value for name, node, value in answer("SHOW STATS", view).rows}
    assert figures["route", None] == "5"
    assert figures["leases", "west"] == "4"
    assert figures["leases", "north"] == "0"
    assert figures["errors_42601", None] == "1"
    assert figures["uptime_s", None] == "13"
    assert figures["latency_p50_ms", None] == "1.408"
    assert figures["latency_p50_ms", "west"] is None
    assert figures["plan_cache_hit_rate", None] is None


def test_config_names_every_setting_and_no_password() -> None:
    rows = dict(answer("SHOW CONFIG", VIEW).rows)
    assert rows["proxy.port"] == "6432"
    assert rows["proxy.pool.size"] == "20"
    assert rows["proxy.default_limit"] is None
    assert rows["proxy.allow_trust_from_anywhere"] == "false"
    assert (rows["auth[0].method"], rows["auth[0].address"]) == ("scram-sha-256", "10.0.0.0/8, ::1/128")
    assert (rows["auth_users.file"], rows["auth_users.salt_secret"]) == ("users.txt", "********")
    assert rows["cluster.engine"] == "postgresql"
    assert rows["cluster.password"] == "********"
    assert rows["nodes.west.host"] == "10.0.0.1"
    assert not any("hunter2" in (value or "") for value in rows.values())


def test_status() -> None:
    expected = [
        ("west", "up", "1970-01-01 00:00:00.000+00", "0.43", "books_w, p0, l0", None),
        ("north", "down", "1970-01-01 00:01:00.000+00", None, "books_n, p1, l1",
         "no answer within 1 s (last answer 1970-01-01 00:00:59.000+00)"),
    ]  # fmt: skip
    assert status(VIEW).rows == expected
    assert answer("status;", VIEW).rows == expected


def test_a_node_not_probed_yet() -> None:
    view = MadeView(nodes=(NodeView("west", None, 0.0, error="connection refused"),))
    assert status(view).rows[0][1] == "unknown"
    assert status(view).rows[0][5] == "connection refused (never answered)"


def test_a_node_with_transactions_in_doubt_says_so() -> None:
    view = MadeView(nodes=(NodeView("west", True, 0.0, in_doubt=3), NodeView("north", True, 0.0)))
    assert [row[9] for row in answer("SHOW NODES", view).rows] == ["transactions in doubt: 3", None]
    assert [row[5] for row in status(view).rows] == ["transactions in doubt: 3", None]


def test_a_node_that_statements_go_around_says_so() -> None:
    view = MadeView(
        nodes=(
            NodeView("west", True, 0.0, 1.5, error="it shuts down", avoided=True),
            NodeView("north", True, 0.0, avoided=True),
        )
    )
    going_around = "statements go through other nodes: it drains, has refused a connection, or was down a moment ago"
    assert [row[9] for row in answer("SHOW NODES", view).rows] == [f"{going_around}; it shuts down", going_around]
    assert [row[1] for row in status(view).rows] == ["up", "up"]
    assert [row[5] for row in status(view).rows] == [
        f"{going_around}; it shuts down (last answer 1970-01-01 00:00:01.500+00)",
        going_around,
    ]


@pytest.mark.parametrize(
    ("sql", "tag", "rows"),
    [
        ("", "", []),
        (" ; -- nothing\n", "", []),
        ("/* ping */", "", []),
        ("SET application_name = 'x'", "SET", []),
        ("set extra_float_digits = 3;", "SET", []),
        ("RESET ALL", "RESET", []),
        ("BEGIN", "BEGIN", []),
        ("START TRANSACTION READ ONLY", "START TRANSACTION", []),
        ("COMMIT", "COMMIT", []),
        ("ROLLBACK", "ROLLBACK", []),
        ("DISCARD ALL", "DISCARD ALL", []),
        ("select 1;", "SELECT 1", [("1",)]),
        ("SELECT version()", "SELECT 1", [("pgproxy 1.2.3",)]),
        ("SELECT current_database()", "SELECT 1", [("pgproxy",)]),
    ],
)
def test_what_drivers_send(sql: str, tag: str, rows: list[tuple[str, ...]]) -> None:
    result = answer(sql, VIEW)
    assert (result.tag, result.rows) == (tag, rows)


@pytest.mark.parametrize("sql", ["SHOW", "SHOW NODE", "SHOW NODES x", "SELECT * FROM books", "DROP TABLE books", "x"])
def test_the_unknown_is_refused_with_a_hint(sql: str) -> None:
    with pytest.raises(ProxyError) as caught:
        answer(sql, VIEW)
    assert caught.value.sqlstate == "42601"
    assert "SHOW HELP" in (caught.value.hint or "")


def decode(data: bytes) -> list[tuple[int, bytes]]:
    reader = FrameReader(10_000)
    reader.feed(data)
    return list(iter(reader.take, None))


def test_encode() -> None:
    first, *rows, last = decode(encode(answer("SHOW POOLS", VIEW)))
    assert [(c.name, c.type_oid, c.type_size) for c in parse_row_description(first[1])][:2] == [
        ("node", 25, -1),
        ("size", 20, 8),
    ]
    assert first[0] == ord("T")
    found = [fields_of(b"D" + bytes(4) + payload)[-4:] for _, payload in rows]
    assert found == [[b"0.250", b"librarian", b"1", b"f"], [None, b"librarian", b"0", b"f"]]
    assert (last[0], parse_command_complete(last[1])) == (ord("C"), "SHOW")


def test_encode_without_columns() -> None:
    assert decode(encode(answer("SET a = 1", VIEW))) == [(ord("C"), b"SET\0")]
    assert decode(encode(AdminResult((), [], ""))) == [(ord("I"), b"")]
