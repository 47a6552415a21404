"""The shard map read again: in force at once for what begins, refused whole when anything is wrong with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import psycopg
import pytest

from loadtest.gateways import CRDB_VERSION
from loadtest.tcp_relay import TcpRelay
from pgproxy.demo.nodes import HOST, free_port
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule
from pgproxy.shardmap.load import load
from pgproxy.shardmap.model import Engine, HeartbeatSettings, Method, Node, Shard, ShardMap, Table
from pgproxy.shardmap.write import to_toml
from pgproxy.wire.scram import make_verifier
from tests.activity import await_nothing_open, await_running, connect, connections, locked, until
from tests.fix_gateways import GatewayCluster
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.fix_replicas import ReplicatedCluster
from tests.session.fix_authentication import with_rules, write_users

ROOT = Path(__file__).parent.parent
WEST, NORTH = "west-library", "north-library"
COUNT_WEST = "SELECT count(*) FROM books WHERE branch = 'west'"
COUNT = "SELECT count(*) FROM books"

Changes = Callable[[ShardMap], ShardMap]


def write(proxy: RunningProxy, change: Changes) -> None:
    proxy.config.write_text(to_toml(change(load(proxy.config))), encoding="utf-8")


def reload(proxy: RunningProxy, change: Changes | None = None) -> list[str]:
    """RELOAD in the admin database; its warnings. Raises what it raises."""
    if change is not None:
        write(proxy, change)
    warnings: list[str] = []
    with proxy.connect(dbname="pgproxy") as admin:
        admin.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
        assert admin.execute("RELOAD;").statusmessage == "RELOAD"
    return warnings


def refused(proxy: RunningProxy, change: Changes | None = None) -> str:
    """Every problem for which RELOAD refuses; the proxy goes on as before."""
    before = settings(proxy)
    with pytest.raises(psycopg.errors.ConfigFileError, match="is not reloaded, everything stays") as error:
        reload(proxy, change)
    assert settings(proxy) == before
    with proxy.connect() as client:
        assert client.execute(COUNT).fetchone() == (72,)
    return error.value.diag.message_detail or ""


def settings(proxy: RunningProxy) -> dict[str, str]:
    with proxy.connect(dbname="pgproxy") as admin:
        return dict(admin.execute("SHOW CONFIG").fetchall())


def with_pool(**values: object) -> Changes:
    return lambda found: replace(
        found,
        proxy=replace(found.proxy, pool=replace(found.proxy.pool, **values)),  # type: ignore[arg-type]
    )


@contextmanager
def renamed_shard(cluster: LibraryCluster) -> Iterator[None]:
    """The west shard of books once more on the north node, with one row less."""
    with connect(cluster, NORTH) as node:
        node.execute("DROP TABLE IF EXISTS books_moved")
        node.execute("CREATE TABLE books_moved (LIKE books_c INCLUDING ALL)")
        try:
            yield
        finally:
            node.execute("DROP TABLE books_moved")


def moved(found: ShardMap) -> ShardMap:
    """The west shard of books is books_moved on the north node."""
    books = found.tables["books"]
    shards = tuple(
        replace(shard, node=NORTH, table="books_moved") if "west" in shard.values else shard for shard in books.shards
    )
    return replace(found, tables={**found.tables, "books": replace(books, shards=shards)})


# What is put in force


def test_a_table_is_added(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    notes = Table(
        "notes",
        "public",
        "branch",
        Method.LIST,
        (Shard(0, "notes_w", WEST, ("west",)), Shard(1, "notes_n", NORTH, ("north",))),
    )
    made = {WEST: ("notes", "notes_w"), NORTH: ("notes", "notes_n")}
    try:
        for name in library_cluster.nodes:
            with connect(library_cluster, name) as node:
                for table in made.get(name, ("notes",)):
                    node.execute(f"CREATE TABLE {table} (branch text NOT NULL, words text)".encode())
        with proxy.connect() as client:
            assert reload(proxy, lambda found: replace(found, tables={**found.tables, "notes": notes})) == []
            client.execute("INSERT INTO notes VALUES ('west', 'one')")
            client.execute("INSERT INTO notes VALUES ('north', 'two')")
            assert client.execute("SELECT words FROM notes ORDER BY words").fetchall() == [("one",), ("two",)]
        with connect(library_cluster, WEST) as node:
            assert node.execute("SELECT words FROM notes_w").fetchall() == [("one",)]
    finally:
        for name in library_cluster.nodes:
            with connect(library_cluster, name) as node:
                for table in made.get(name, ("notes",)):
                    node.execute(f"DROP TABLE IF EXISTS {table}".encode())


def test_a_node_is_added_and_leaves(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    def with_fourth(found: ShardMap) -> ShardMap:
        west = found.nodes[WEST]
        return replace(found, nodes={**found.nodes, "fourth": Node("fourth", west.host, west.port)})

    def names() -> list[str]:
        with proxy.connect(dbname="pgproxy") as admin:
            return [name for name, *_ in admin.execute("SHOW NODES").fetchall()]

    three = names()
    reload(proxy, with_fourth)
    assert names() == [*three, "fourth"]
    reload(proxy, lambda found: moved_to(with_fourth(found), WEST, "fourth"))
    with proxy.connect() as client:
        assert client.execute(COUNT_WEST).fetchone() == (24,)
        assert "books_b on fourth" in str(client.execute(f"EXPLAIN {COUNT_WEST}").fetchall())
        reload(proxy, lambda found: moved_to(replace(found, nodes=without(found.nodes, "fourth")), "fourth", WEST))
        assert client.execute(COUNT_WEST).fetchone() == (24,)
    assert names() == three


def without(nodes: object, name: str) -> dict[str, Node]:
    assert isinstance(nodes, dict)
    return {key: node for key, node in nodes.items() if key != name}


def moved_to(found: ShardMap, old: str, new: str) -> ShardMap:
    """Every shard of the old node on the new one."""
    tables = {
        name: replace(
            table,
            shards=tuple(replace(shard, node=new) if shard.node == old else shard for shard in table.shards),
        )
        for name, table in found.tables.items()
    }
    return replace(found, tables=tables, unmapped_node=None)


def test_the_pool_s_size(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    before = connections(library_cluster, WEST)
    with running_proxy(library_cluster, tmp_path, with_pool(size=1)) as proxy:
        with proxy.connect() as one, proxy.connect() as two:
            one.execute("BEGIN")
            one.execute(COUNT_WEST)
            answers: list[object] = []
            waiting = threading.Thread(target=lambda: answers.append(two.execute(COUNT_WEST).fetchone()))
            waiting.start()
            with proxy.connect(dbname="pgproxy") as admin:
                until(lambda: "waiting" in str(admin.execute("SHOW CLIENTS").fetchall()), "one waits")
            reload(proxy, with_pool(size=2))
            waiting.join()
            assert answers == [(24,)]
            one.execute("COMMIT")
        reload(proxy, with_pool(size=1, idle_timeout_s=0.2))
        until(lambda: len(connections(library_cluster, WEST) - before) <= 1 + 1, "the pool's and the heartbeat's")


def test_settings_of_statements(proxy: RunningProxy) -> None:
    with proxy.connect() as client:
        assert len(client.execute("SELECT isbn FROM books").fetchall()) == 72
        reload(proxy, lambda found: replace(found, proxy=replace(found.proxy, default_limit=5)))
        assert len(client.execute("SELECT isbn FROM books").fetchall()) == 5


def test_open_sessions_are_logged(proxy: RunningProxy) -> None:
    """Also the statements that they say the short way."""
    sql = "SELECT count(*) FROM books WHERE branch = 'west' AND isbn > 7"
    with proxy.connect() as connection:
        for _ in range(3):
            connection.execute(sql.encode())
        reload(proxy, lambda found: replace(found, proxy=replace(found.proxy, log_statements="all")))
        for _ in range(3):
            connection.execute(sql.encode())
    assert proxy.log_text().count(sql) == 3


def test_the_heartbeat(proxy: RunningProxy) -> None:
    change = HeartbeatSettings(interval_s=0.05, timeout_s=20.0)
    reload(proxy, lambda found: replace(found, proxy=replace(found.proxy, heartbeat=change)))
    with proxy.connect(dbname="pgproxy") as admin:
        sql = "SHOW NODES"
        first = [row[6] for row in admin.execute(sql).fetchall()]
        until(lambda: all(row[6] != at for row, at in zip(admin.execute(sql).fetchall(), first, strict=True)), "asked")
        assert {row[4] for row in admin.execute(sql).fetchall()} == {"up"}


def test_a_node_at_another_address(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    before = connections(library_cluster, WEST)
    with proxy.connect() as client, proxy.connect() as inside:
        inside.execute("BEGIN")
        assert inside.execute(COUNT_WEST).fetchone() == (24,)
        pid = inside.execute("SELECT pg_backend_pid() FROM books WHERE branch = 'west' LIMIT 1").fetchone()
        reload(
            proxy,
            lambda found: replace(found, nodes={**found.nodes, WEST: replace(found.nodes[WEST], host="localhost")}),
        )
        again = inside.execute("SELECT pg_backend_pid() FROM books WHERE branch = 'west' LIMIT 1").fetchone()
        assert pid == again, "the transaction goes on where it is"
        inside.execute("COMMIT")
        assert client.execute(COUNT_WEST).fetchone() == (24,)
        with proxy.connect(dbname="pgproxy") as admin:
            assert "localhost" in str(admin.execute("SHOW NODES").fetchall())
        assert pid is not None
        until(lambda: pid[0] not in connections(library_cluster, WEST), "the old connection is closed")
    assert before


def test_rules_of_authentication(proxy: RunningProxy) -> None:
    users = proxy.config.with_name("users.txt")
    write_users(users, {"alice": str(make_verifier("sesame"))})
    with proxy.connect() as before:
        reload(proxy, with_rules(AuthRule(AuthMethod.SCRAM), file=users))
        assert before.execute(COUNT).fetchone() == (72,), "who is in stays in"
        with pytest.raises(psycopg.OperationalError, match="password"):
            proxy.connect(user="alice", password="wrong")
        with proxy.connect(user="alice", password="sesame") as alice:
            assert alice.execute(COUNT).fetchone() == (72,)


def test_listening_to_everyone_is_not_forgotten(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    """The file alone would be fine: but the address that it names is not the one that is listened to."""
    users = tmp_path / "users.txt"
    write_users(users, {"postgres": str(make_verifier("sesame"))})
    rules = [AuthRule(AuthMethod.TRUST, (ip_network("127.0.0.1/32"),)), AuthRule(AuthMethod.SCRAM)]

    def change(found: ShardMap) -> ShardMap:
        found = with_rules(*rules, file=users)(found)
        return replace(found, proxy=replace(found.proxy, listen="0.0.0.0", admin_users=("postgres",)))

    with running_proxy(library_cluster, tmp_path, change) as proxy:
        problems = refused(proxy, lambda found: replace(found, auth=(), proxy=replace(found.proxy, listen="127.0.0.1")))
        assert "proxy.listen" in problems
        assert "trust" in problems


def test_sighup(proxy: RunningProxy) -> None:
    write(proxy, with_pool(size=7))
    proxy.process.send_signal(signal.SIGHUP)
    until(lambda: "the shard map is reloaded: 3 nodes, 2 tables" in proxy.log_text(), "it is logged")
    assert settings(proxy)["proxy.pool.size"] == "7"


def test_the_command(proxy: RunningProxy) -> None:
    command = [sys.executable, "-m", "pgproxy", "reload", "--port", str(proxy.port)]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    write(proxy, lambda found: replace(found, proxy=replace(found.proxy, port=1)))
    done = run()
    assert (done.returncode, done.stdout) == (0, "the shard map is reloaded\n")
    assert f'warning: proxy.port stays "{proxy.port}" until the next start' in done.stderr
    proxy.config.write_text("nonsense")
    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert "not valid TOML" in done.stderr
    command[-1] = str(free_port())
    assert run().returncode == 2


# What needs a restart


def test_what_needs_a_restart_is_told_and_the_rest_applied(proxy: RunningProxy) -> None:
    warnings = reload(
        proxy,
        lambda found: replace(
            found,
            proxy=replace(found.proxy, port=1, max_clients=77),
            cluster=replace(found.cluster, name="other"),
        ),
    )
    assert warnings == [
        f'proxy.port stays "{proxy.port}" until the next start; the file says "1"',
        'cluster.name stays "library" until the next start; the file says "other"',
    ]
    found = settings(proxy)
    assert (found["proxy.port"], found["proxy.max_clients"]) == (str(proxy.port), "77")


# What is refused


def test_a_file_that_cannot_be_read(proxy: RunningProxy) -> None:
    text = proxy.config.read_text(encoding="utf-8")
    proxy.config.write_text("[proxy\n")
    assert "not valid TOML" in refused(proxy)
    proxy.process.send_signal(signal.SIGHUP)
    until(lambda: proxy.log_text().count("the old ones stay in force: not valid TOML") == 2, "it is logged")
    proxy.config.unlink()
    assert "No such file" in refused(proxy)
    proxy.config.write_text(text, encoding="utf-8")
    assert reload(proxy) == []


def test_every_problem_is_told(proxy: RunningProxy) -> None:
    text = proxy.config.read_text(encoding="utf-8")
    proxy.config.write_text(text.replace("[proxy]", "[proxy]\nmax_clients = 0\nnonsense = 1", 1), encoding="utf-8")
    problems = refused(proxy)
    assert "proxy.max_clients" in problems
    assert "proxy.nonsense" in problems


def test_what_the_nodes_do_not_have(proxy: RunningProxy) -> None:
    assert f"node {NORTH} has no table public.books_moved" in refused(proxy, moved)


def test_a_new_node_that_does_not_answer(proxy: RunningProxy) -> None:
    port = free_port()

    def change(found: ShardMap) -> ShardMap:
        return replace(found, nodes={**found.nodes, "fourth": Node("fourth", "127.0.0.1", port)})

    assert "nodes.fourth: " in refused(proxy, change)


def test_a_node_that_is_down_keeps_nothing_from_being_reloaded(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    heartbeat = HeartbeatSettings(interval_s=0.2, timeout_s=20.0)
    with running_proxy(own_cluster, tmp_path, heartbeat=heartbeat) as proxy, proxy.connect() as client:
        own_cluster.kill(WEST)
        until(lambda: f"ALERT: node {WEST} is DOWN" in proxy.log_text(), "it is down")
        warnings = reload(proxy, with_pool(size=9))
        assert len(warnings) == 1
        assert warnings[0].startswith(f"nodes.{WEST}: ")
        assert settings(proxy)["proxy.pool.size"] == "9"
        assert client.execute("SELECT count(*) FROM books WHERE branch = 'north'").fetchone() == (24,)
        with pytest.raises(psycopg.errors.ConnectionFailure):
            client.execute(COUNT_WEST)
        own_cluster.restart(WEST)
        until(lambda: f"RECOVERED: node {WEST}" in proxy.log_text(), "it is up")
        assert client.execute(COUNT_WEST).fetchone() == (24,)


def test_a_wrong_engine_needs_a_restart_and_is_not_asked_for(proxy: RunningProxy) -> None:
    change: Changes = lambda found: replace(found, cluster=replace(found.cluster, engine=Engine.COCKROACHDB))  # noqa: E731
    assert reload(proxy, change) == [
        'cluster.engine stays "postgresql" until the next start; the file says "cockroachdb"'
    ]


# Where nodes have replicas


def heartbeat_users(replicated: ReplicatedCluster) -> set[str]:
    """As whom the heartbeats are logged in to the members that run."""
    sql = "SELECT string_agg(usename, ' ') FROM pg_stat_activity WHERE application_name = 'pgproxy heartbeat'"
    return {replicated.ask(member, sql) for member in replicated.members if member.running}


def test_nodes_with_replicas(replicated: ReplicatedCluster, tmp_path: Path) -> None:
    """The nodes themselves stay as they are until a restart; all else is put in force, for every member."""
    quick = HeartbeatSettings(interval_s=0.2, timeout_s=20.0)
    change = replicated.shard_map("replica", 60.0)
    with running_proxy(replicated.cluster, tmp_path, change, heartbeat=quick) as proxy, proxy.connect() as client:
        west = load(proxy.config).nodes[WEST]
        told = "where some have replicas, a change of the nodes needs a restart"
        assert told in refused(proxy, lambda found: with_node(found, replace(west, replicas=())))
        assert told in refused(proxy, lambda found: with_node(found, replace(west, name="fourth", replicas=())))
        write(proxy, lambda found: replace(found, nodes={**without(found.nodes, "fourth"), WEST: west}))
        assert client.execute(COUNT).fetchone() == (72,)
        for name in replicated.cluster.nodes:
            with replicated.cluster.connect(name) as node:
                node.execute("CREATE ROLE other LOGIN SUPERUSER")
        replicated.caught_up()
        assert reload(proxy, as_user("other")) == []
        until(lambda: heartbeat_users(replicated) == {"other"}, "the heartbeats of all members are new")
        assert client.execute("SELECT DISTINCT current_user FROM books").fetchall() == [("other",)]
        assert "ALERT" not in proxy.log_text()
        replicated.standbys[0].kill()
        until(lambda: f"ALERT: member 127.0.0.1:{replicated.standbys[0].port}" in proxy.log_text(), "it is down")
        warnings = reload(proxy, with_pool(size=9))
        assert [warning.partition(":")[0] for warning in warnings] == [f"nodes.{WEST}.replicas[0]"]
        replicated.primary.kill()
        until(lambda: f"ALERT: node {WEST} is DOWN" in proxy.log_text(), "now the node is")
        assert len(reload(proxy, with_pool(size=8))) == 3
        assert client.execute("SELECT count(*) FROM books WHERE branch = 'north'").fetchone() == (24,)


def with_node(found: ShardMap, node: Node) -> ShardMap:
    return replace(found, nodes={**found.nodes, node.name: node})


def as_user(user: str) -> Changes:
    return lambda found: replace(found, cluster=replace(found.cluster, user=user))


# Where any node reaches every table


def test_gateways_come_and_go(gateways: GatewayCluster, tmp_path: Path) -> None:
    quick = HeartbeatSettings(interval_s=0.1, timeout_s=20.0, down_after=1)
    with (
        TcpRelay(gateways.server.port, free_port(), announces=CRDB_VERSION) as fourth,
        running_proxy(gateways, tmp_path, heartbeat=quick) as proxy,
        proxy.connect() as client,
        proxy.connect() as inside,
    ):
        inside.execute("BEGIN")
        inside.execute("UPDATE books SET genre = genre WHERE branch = 'west'")
        reload(proxy, lambda found: replace(found, nodes={**found.nodes, "fourth": Node("fourth", HOST, fourth.port)}))
        inside.execute("UPDATE books SET genre = genre WHERE branch = 'north'")
        inside.execute("COMMIT")
        for relay in gateways.relays.values():
            relay.kill()
        until(lambda: proxy.log_text().count("is DOWN") == 3, "the heartbeats have noticed")
        served = fourth.served
        assert client.execute(COUNT_WEST).fetchone() == (24,)
        assert client.execute(COUNT).fetchone() == (72,)
        assert fourth.served > served
        gateways.heal()
        until(lambda: proxy.log_text().count("is UP") == 3, "they are back")
        reload(proxy, lambda found: moved_to(replace(found, nodes=without(found.nodes, WEST)), WEST, "fourth"))
        assert client.execute(COUNT_WEST).fetchone() == (24,)
        until(lambda: gateways.relays[WEST].connections == 0, "nothing is left open to a node that has left")
        assert "nodes.fifth: " in refused(proxy, with_a_dead_gateway)
        assert "Traceback" not in proxy.log_text()


def with_a_dead_gateway(found: ShardMap) -> ShardMap:
    return replace(found, nodes={**found.nodes, "fifth": Node("fifth", HOST, free_port())})


# What has begun is finished under the old map


def test_a_transaction_keeps_its_map(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    with renamed_shard(library_cluster), proxy.connect() as inside, proxy.connect() as other:
        inside.execute("BEGIN")
        inside.execute("UPDATE books SET book_name = 'changed' WHERE branch = 'west'")
        reload(proxy, moved)
        assert other.execute(COUNT_WEST).fetchone() == (0,)
        assert inside.execute("SELECT DISTINCT book_name FROM books WHERE branch = 'west'").fetchall() == [("changed",)]
        assert inside.execute(COUNT_WEST).fetchone() == (24,)
        inside.execute("ROLLBACK")
        assert inside.execute(COUNT_WEST).fetchone() == (0,), "from here on the new one"


def test_a_prepared_statement_is_planned_anew(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    sql = "SELECT count(*) FROM books WHERE branch = %s"
    with renamed_shard(library_cluster), proxy.connect(cursor_factory=psycopg.Cursor) as client:
        for _ in range(3):
            assert client.execute(sql, ("west",), prepare=True).fetchone() == (24,)
        reload(proxy, moved)
        assert client.execute(sql, ("west",), prepare=True).fetchone() == (0,)
        with client.pipeline():
            cursors = [client.execute(sql, (branch,)) for branch in ("west", "north")]
        assert [cursor.fetchone() for cursor in cursors] == [(0,), (24,)]


def test_a_long_scatter_whose_node_leaves(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    """It holds two connections and waits for the third when the node of that one leaves the map."""

    def elsewhere(found: ShardMap) -> ShardMap:
        return with_pool(size=2)(replace(moved_to(found, WEST, NORTH), nodes=without(found.nodes, WEST)))

    with own_cluster.connect(WEST) as west, own_cluster.connect(NORTH) as north:
        copies = {"books": "books_b", "patrons": "patrons_b"}
        for name, table in copies.items():
            north.execute(f"CREATE TABLE {table} (LIKE {name} INCLUDING ALL)".encode())
            with (
                west.cursor().copy(f"COPY {table} TO STDOUT".encode()) as source,
                north.cursor().copy(f"COPY {table} FROM STDIN".encode()) as sink,
            ):
                for data in source:
                    sink.write(data)
        west.execute("DELETE FROM books_b WHERE isbn = (SELECT min(isbn) FROM books_b)")
    answers: list[object] = []
    with (
        running_proxy(own_cluster, tmp_path, with_pool(size=1)) as proxy,
        proxy.connect() as client,
        proxy.connect() as holder,
        proxy.connect() as other,
    ):
        holder.execute("BEGIN")
        holder.execute(COUNT_WEST)  # the one connection to the node that is to leave
        scatter = threading.Thread(target=lambda: answers.append(client.execute(COUNT).fetchone()))
        scatter.start()
        with proxy.connect(dbname="pgproxy") as admin:
            until(lambda: "waiting" in str(admin.execute("SHOW CLIENTS").fetchall()), "it waits for the node")
        reload(proxy, elsewhere)
        assert holder.execute(COUNT_WEST).fetchone() == (23,)
        holder.execute("COMMIT")
        scatter.join()
        assert answers == [(71,)], "the old map's west shard"
        assert other.execute(COUNT).fetchone() == (72,), "the new map's"
        until(lambda: not connections(own_cluster, WEST), "nothing is left open to a node that has left")


def test_a_running_statement_is_not_disturbed(library_cluster: LibraryCluster, proxy: RunningProxy) -> None:
    answers: list[object] = []
    with renamed_shard(library_cluster), proxy.connect() as client:
        with locked(library_cluster, WEST, "books_b"):
            thread = threading.Thread(target=lambda: answers.append(client.execute(COUNT).fetchone()))
            thread.start()
            await_running(library_cluster, "books_b")
            reload(proxy, moved)
            with proxy.connect() as other:
                assert other.execute(COUNT).fetchone() == (48,), "the new map's shard has no rows"
            assert answers == []
        thread.join()
        assert answers == [(72,)]
    await_nothing_open(library_cluster)
