"""`login_as = "client"`: statements run on the nodes as the client's own user, in pools of that user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.demo.nodes import SUPERUSER
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule
from pgproxy.shardmap.load import load
from pgproxy.shardmap.model import ShardMap
from pgproxy.shardmap.write import to_toml
from pgproxy.wire.auth import md5_secret
from pgproxy.wire.scram import make_verifier
from tests.activity import load_settings_again, until
from tests.fix_nodes import LibraryCluster, running_cluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient
from tests.session.fix_authentication import PASSWORD, conninfo, with_rules, write_users

VERIFIER = str(make_verifier(PASSWORD))
# user → the client's rule, what is stored (everywhere), and how the nodes ask
USERS = {
    "scrammed": ("scram-sha-256", VERIFIER, "scram-sha-256"),
    "told": ("password", VERIFIER, "scram-sha-256"),
    "hashed": ("md5", md5_secret("hashed", PASSWORD.encode()), "md5"),
    "trusted": ("trust", VERIFIER, "trust"),
}


def _as_client(change: Callable[[ShardMap], ShardMap]) -> Callable[[ShardMap], ShardMap]:
    def changed(shard_map: ShardMap) -> ShardMap:
        return change(replace(shard_map, cluster=replace(shard_map.cluster, login_as="client")))

    return changed


@pytest.fixture(scope="module")
def guarded_cluster() -> Iterator[LibraryCluster]:
    """Nodes that ask for passwords; all store the same verifiers."""
    with running_cluster() as cluster:
        shard_map = cluster.shard_map()
        for name, node in cluster.nodes.items():
            rules = [f"host all {user} 127.0.0.1/32 {method}" for user, (_, _, method) in USERS.items()]
            rules += ["host all other 127.0.0.1/32 scram-sha-256", "host all postgres 127.0.0.1/32 trust", ""]
            with cluster.connect(name) as connection:
                for user, (_, stored, _) in USERS.items():
                    connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{stored}'".encode())
                    connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}".encode())
                connection.execute(f"CREATE ROLE other LOGIN PASSWORD '{make_verifier(PASSWORD)}'".encode())
                for table in ("patrons", *(s.table for s in shard_map.tables["patrons"].shards if s.node == name)):
                    connection.execute(f"REVOKE SELECT ON {table} FROM told".encode())
                (node.data / "pg_hba.conf").write_text("\n".join(rules))
                load_settings_again(connection)
        yield cluster


@pytest.fixture(scope="module")
def guarded(guarded_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("as-client")
    path = directory / "users.txt"
    write_users(path, {user: stored for user, (_, stored, _) in USERS.items()} | {"other": VERIFIER})
    rules = [AuthRule(AuthMethod(method), (), (user,)) for user, (method, _, _) in USERS.items()]
    change = _as_client(with_rules(*rules, AuthRule(AuthMethod.SCRAM), file=path))
    with running_proxy(guarded_cluster, directory, change, admin_users=(SUPERUSER,)) as proxy:
        yield proxy


def _connect(proxy: RunningProxy, user: str, password: str | None = PASSWORD) -> psycopg.Connection:
    return psycopg.connect(conninfo(proxy.port, user, password), autocommit=True, cursor_factory=psycopg.ClientCursor)


@pytest.mark.parametrize("user", USERS)
def test_statements_run_as_the_client(user: str, guarded: RunningProxy) -> None:
    with _connect(guarded, user) as connection:
        assert connection.execute("SELECT current_user, session_user").fetchone() == (user, user)
        assert connection.info.parameter_status("session_authorization") == user
        ((count,),) = connection.execute("SELECT count(*) FROM books").fetchall()
        assert count > 0
        for _ in range(3):  # by the short way
            assert connection.execute("SELECT branch FROM books WHERE branch = 'west' LIMIT 1").fetchone() == ("west",)
        rows = connection.execute("SELECT DISTINCT current_user FROM books").fetchall()
        assert rows == [(user,)]


def test_a_reload_and_a_pause_reach_the_pools_of_users(guarded: RunningProxy) -> None:
    original = guarded.config.read_text(encoding="utf-8")
    found = load(guarded.config)
    west = found.nodes["west-library"]
    count = "SELECT count(*) FROM books WHERE branch = 'west'"
    more = {**found.nodes, "west-library": replace(west, host="localhost"), "fourth": replace(west, name="fourth")}
    with (
        _connect(guarded, "scrammed") as one,
        _connect(guarded, "told") as two,
        guarded.connect(dbname="pgproxy") as admin,
    ):
        one.execute("BEGIN")
        assert one.execute(count).fetchone() == (24,)
        guarded.config.write_text(to_toml(replace(found, nodes=more)), encoding="utf-8")
        admin.execute("RELOAD")
        assert one.execute(count).fetchone() == (24,)
        one.execute("COMMIT")
        assert one.execute(count).fetchone() == (24,)
        assert {row[0] for row in admin.execute("SHOW POOLS").fetchall() if row[7] == "scrammed"} == set(more)
        admin.execute("PAUSE")
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(client.execute, count) for client in (one, two)]
            until(lambda: sum(row[4] for row in admin.execute("SHOW POOLS").fetchall()) == 2, "both wait, in two pools")
            admin.execute("RESUME")
            assert [each.result().fetchone() for each in waiting] == [(24,), (24,)]
        guarded.config.write_text(original, encoding="utf-8")
        admin.execute("RELOAD")
        assert one.execute(count).fetchone() == (24,)
        assert {row[0] for row in admin.execute("SHOW POOLS").fetchall() if row[7] == "scrammed"} == set(found.nodes)


def test_prepared_statements_and_settings_stay_with_their_user(guarded: RunningProxy) -> None:
    with _connect(guarded, "scrammed") as one, _connect(guarded, "told") as other:
        one.execute("SET work_mem = '7MB'")
        for connection, expected in ((one, "7MB"), (other, "4MB")):
            for _ in range(8):
                cursor = psycopg.Cursor(connection)
                cursor.execute("SELECT current_user || %s", ("!",), prepare=True)
                assert cursor.fetchone() == (f"{connection.info.user}!",)
            assert connection.execute("SHOW work_mem").fetchone() == (expected,)


def test_privileges_are_the_users_own(guarded: RunningProxy) -> None:
    with _connect(guarded, "told") as connection:
        for sql in ("SELECT count(*) FROM patrons", "DELETE FROM books WHERE branch = 'west' AND isbn = 1"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.encode())
    with _connect(guarded, "scrammed") as connection:
        assert connection.execute("SELECT count(*) FROM patrons").fetchone()


def test_a_transaction_and_a_cancel(guarded: RunningProxy) -> None:
    with _connect(guarded, "scrammed") as connection:
        with connection.transaction():
            connection.execute("SET LOCAL work_mem = '9MB'")
            assert connection.execute("SHOW work_mem").fetchone() == ("9MB",)
        connection.execute("SET statement_timeout = '50ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(30)")


def test_another_verifier_on_the_nodes_is_said(guarded: RunningProxy) -> None:
    """The same password, but another salt: the client's proof does not help there."""
    with pytest.raises(psycopg.OperationalError, match="stores another verifier for user"):
        _connect(guarded, "other")
    assert PASSWORD not in guarded.log_text()


def test_pools_are_shown_by_user(guarded: RunningProxy) -> None:
    with _connect(guarded, "told"), _connect(guarded, SUPERUSER, None), guarded.connect(dbname="pgproxy") as admin:
        cursor = admin.execute("SHOW POOLS")
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
        assert {"told", SUPERUSER} <= {row["user"] for row in rows}
        assert len({row["node"] for row in rows if row["user"] == "told"}) == 3


def test_a_changed_password(guarded_cluster: LibraryCluster, tmp_path: Path) -> None:
    """The pool logs in with what its user has proved last."""
    path = tmp_path / "users.txt"

    def change(password: str) -> None:
        verifier = str(make_verifier(password))
        for name in guarded_cluster.nodes:
            with guarded_cluster.connect(name) as connection:
                connection.execute(f"ALTER ROLE other PASSWORD '{verifier}'".encode())
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'other'")
        write_users(path, {"other": verifier})

    change("first")
    rules = _as_client(with_rules(AuthRule(AuthMethod.SCRAM), file=path))
    with running_proxy(guarded_cluster, tmp_path, rules) as proxy:
        with _connect(proxy, "other", "first") as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("other",)
        change("second")

        def admitted() -> bool:
            try:
                with _connect(proxy, "other", "second") as connection:
                    return connection.execute("SELECT current_user").fetchone() == ("other",)
            except psycopg.OperationalError as refused:
                if "password authentication failed" not in str(refused):  # the file is looked at once a second
                    raise
                return False

        until(admitted, "the new password is in force")


def test_only_so_many_users(guarded_cluster: LibraryCluster, tmp_path: Path) -> None:
    def few(shard_map: ShardMap) -> ShardMap:
        pool = replace(shard_map.proxy.pool, max_users=2)
        return _as_client(lambda same: same)(replace(shard_map, proxy=replace(shard_map.proxy, pool=pool)))

    with running_proxy(guarded_cluster, tmp_path, few) as proxy:
        with _connect(proxy, "trusted", None), _connect(proxy, SUPERUSER, None):
            with pytest.raises(psycopg.OperationalError, match="too many different users"):
                _connect(proxy, "scrammed", None)
            with _connect(proxy, SUPERUSER, None) as again:
                assert again.execute("SELECT 7").fetchone() == (7,)

        def replaced() -> bool:  # those who left make room; this node user needs a password that trust has not got
            with pytest.raises(psycopg.OperationalError) as refused:
                _connect(proxy, "scrammed", None)
            return "none is configured" in str(refused.value)

        until(replaced, "the users who left made room")


def test_a_node_that_goes_down_fails_the_pools_of_all_users(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    sql = "SELECT count(*) FROM books WHERE branch = 'west'"
    with (
        running_proxy(own_cluster, tmp_path, _as_client(lambda same: same)) as proxy,
        RawClient.logged_in(proxy.conninfo) as client,
    ):
        assert client.query(sql)[0].kind == "T"
        own_cluster.kill("west-library")
        until(lambda: client.query(sql)[0].fields["C"] == "08006", "the node is down")
        own_cluster.restart("west-library")
        until(lambda: client.query(sql)[0].kind == "T", "the node is used again")
