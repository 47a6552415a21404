"""`login_as = "client"` and a node with a real standby: each user has pools to every member, and they fail over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.demo.nodes import SUPERUSER
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule
from pgproxy.shardmap.model import ShardMap
from pgproxy.wire.scram import make_verifier
from tests.activity import load_settings_again
from tests.fix_proxy import RunningProxy, running_proxy
from tests.fix_replicas import NODE, QUICK, ReplicatedCluster, until
from tests.session.fix_authentication import PASSWORD, conninfo, with_rules, write_users

VERIFIER = str(make_verifier(PASSWORD))
USER = "librarian"
HBA = f"""host all {USER} 127.0.0.1/32 scram-sha-256
host all {SUPERUSER} 127.0.0.1/32 trust
host replication {SUPERUSER} 127.0.0.1/32 trust
"""
ROUTED = "SELECT current_user::text, inet_server_port() FROM books WHERE branch = 'west' LIMIT 1"
WRITE = "UPDATE books SET price = price WHERE branch = 'west' RETURNING current_user::text, inet_server_port()"


@pytest.fixture
def guarded(replicated: ReplicatedCluster) -> ReplicatedCluster:
    """Every member asks the user for a password; all store the same verifier."""
    for name in replicated.cluster.nodes:
        with replicated.cluster.connect(name) as node:
            node.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{VERIFIER}'".encode())
            for (table,) in node.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'books%'").fetchall():
                node.execute(f"GRANT SELECT, UPDATE ON {table} TO {USER}".encode())
    replicated.caught_up()
    for member in (*replicated.standbys, *replicated.cluster.nodes.values()):
        (member.data / "pg_hba.conf").write_text(HBA)
        with replicated.connect(member) as node:
            load_settings_again(node)
    return replicated


@pytest.fixture
def proxy(guarded: ReplicatedCluster, tmp_path: Path) -> Iterator[RunningProxy]:
    users = tmp_path / "users.txt"
    write_users(users, {USER: VERIFIER})
    rules = with_rules(AuthRule(AuthMethod.TRUST, (), (SUPERUSER,)), AuthRule(AuthMethod.SCRAM), file=users)

    def change(found: ShardMap) -> ShardMap:
        found = rules(guarded.shard_map("any", 60.0)(found))
        return replace(found, cluster=replace(found.cluster, login_as="client"))

    with running_proxy(guarded.cluster, tmp_path, change, heartbeat=QUICK, admin_users=(SUPERUSER,)) as running:
        yield running


def connect(proxy: RunningProxy) -> psycopg.Connection:
    return psycopg.connect(conninfo(proxy.port, USER, PASSWORD), autocommit=True, cursor_factory=psycopg.ClientCursor)


def asked(client: psycopg.Connection, sql: str = ROUTED) -> tuple[str, int]:
    row = client.execute(sql.encode()).fetchone()
    assert row is not None
    return row[0], int(row[1])


def test_reads_go_to_all_members_as_the_user(guarded: ReplicatedCluster, proxy: RunningProxy) -> None:
    ports = {member.port for member in guarded.members}
    with connect(proxy) as client:
        until(lambda: {asked(client) for _ in range(4)} == {(USER, port) for port in ports})
        assert asked(client, WRITE) == (USER, guarded.primary.port)
        assert client.execute("SELECT DISTINCT current_user::text FROM books").fetchall() == [(USER,)]
        for _ in range(4):  # whichever member it is asked
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute("DELETE FROM books WHERE branch = 'west'")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute("SELECT count(*) FROM patrons")
        with proxy.connect(dbname="pgproxy") as admin:
            pools = {row[0] for row in admin.execute("SHOW POOLS").fetchall() if row[7] == USER}
        assert {f"{NODE}/127.0.0.1:{port}" for port in ports} <= pools


def test_a_failover_reaches_the_pools_of_users(guarded: ReplicatedCluster, proxy: RunningProxy) -> None:
    primary, standby = guarded.members
    with connect(proxy) as client, connect(proxy) as inside:
        assert asked(client, WRITE) == (USER, primary.port)
        inside.execute("BEGIN")
        assert asked(inside, WRITE) == (USER, primary.port)
        guarded.promote(standby)  # beside the living primary: what still runs there would be lost
        until(lambda: f"{standby.port} is its primary now" in proxy.log_text())
        with pytest.raises(psycopg.OperationalError, match="has another primary now"):
            asked(inside, WRITE)
        inside.execute("ROLLBACK")
        assert asked(inside, WRITE) == asked(client, WRITE) == (USER, standby.port)
        primary.kill()
        standby.kill()
        until(lambda: f"ALERT: node {NODE} is DOWN" in proxy.log_text())
        with pytest.raises(psycopg.OperationalError) as failed:
            asked(client, WRITE)
        assert failed.value.sqlstate == "08006"
        standby.start()
        until(lambda: answers(client))
        assert asked(client, WRITE) == (USER, standby.port)


def answers(client: psycopg.Connection) -> bool:
    try:
        return asked(client, WRITE)[0] == USER
    except psycopg.OperationalError:
        return False
