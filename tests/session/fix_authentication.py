"""A proxy and a PostgreSQL with the same users behind the same rules, to hold one against the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import psycopg
import pytest

from pgproxy.demo.nodes import HOST, SUPERUSER, EmbeddedNode
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule, AuthUsers
from pgproxy.shardmap.model import ShardMap
from tests.activity import load_settings_again
from tests.fix_nodes import LibraryCluster, running_node
from tests.fix_proxy import RunningProxy, running_proxy

PASSWORD = "Pass wörd '\\ €"
# user → the rule's method and how the password is stored
USERS = {
    "by_password": ("password", "scram-sha-256"),
    "by_password_md5": ("password", "md5"),
    "by_md5": ("md5", "md5"),
    "by_scram": ("scram-sha-256", "scram-sha-256"),
    "by_scram_as_md5": ("md5", "scram-sha-256"),
    "scram_wanted": ("scram-sha-256", "md5"),
    "by_trust": ("trust", "scram-sha-256"),
    "rejected": ("reject", "scram-sha-256"),
}
ADMITTED = [user for user in USERS if user not in ("rejected", "scram_wanted")]
NOBODY = "nobody_knows_me"  # a user with a rule, but without a password
GUARDED = {**{user: method for user, (method, _) in USERS.items()}, NOBODY: "scram-sha-256", f"{NOBODY}_2": "password"}


@pytest.fixture(scope="session")
def guarded_pg() -> Iterator[EmbeddedNode]:
    """A PostgreSQL whose pg_hba.conf has one rule for each user."""
    with running_node("guarded", {"md5_password_warnings": "off"}) as node:
        with psycopg.connect(node.conninfo(), autocommit=True) as connection:
            for user, (_, stored) in USERS.items():
                connection.execute(f"SET password_encryption = '{stored}'".encode())
                secret = psycopg.sql.Literal(PASSWORD).as_string(connection)
                connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD {secret}".encode())
            connection.execute("CREATE DATABASE library_system")
            rules = [f"host all {user} 127.0.0.1/32 {method}" for user, method in GUARDED.items()]
            (node.data / "pg_hba.conf").write_text("\n".join([*rules, "host all postgres 127.0.0.1/32 trust", ""]))
            load_settings_again(connection)
        yield node


def stored_passwords(node: EmbeddedNode) -> dict[str, str]:
    """What PostgreSQL itself has made of the passwords."""
    with psycopg.connect(node.conninfo()) as connection:
        return dict(connection.execute("SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL"))


def write_users(path: Path, stored: dict[str, str]) -> None:
    path.write_text("".join(f'"{user}" "{text}"\n' for user, text in stored.items()), encoding="utf-8")
    path.chmod(0o600)


def with_rules(*rules: AuthRule, file: Path | None = None, query: str | None = None) -> Callable[[ShardMap], ShardMap]:
    """These rules, behind one that lets the tests' superuser in."""
    ours = AuthRule(AuthMethod.TRUST, (ip_network("127.0.0.1/32"),), (SUPERUSER,))
    users = AuthUsers(None if file is None else str(file), query)

    def change(shard_map: ShardMap) -> ShardMap:
        return replace(shard_map, auth=(ours, *rules), auth_users=users)

    return change


@pytest.fixture(scope="session")
def guarded_proxy(
    library_cluster: LibraryCluster, guarded_pg: EmbeddedNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("guarded")
    write_users(directory / "users.txt", stored_passwords(guarded_pg))
    rules = [AuthRule(AuthMethod(method), (ip_network("127.0.0.0/8"),), (user,)) for user, method in GUARDED.items()]
    change = with_rules(*rules, file=directory / "users.txt")
    with running_proxy(library_cluster, directory, change, admin_users=("by_scram",)) as proxy:
        yield proxy


def conninfo(port: int, user: str, password: str | None = PASSWORD, database: str = "library_system") -> str:
    return psycopg.conninfo.make_conninfo(
        host=HOST, port=port, user=user, password=password, dbname=database, sslmode="disable", gssencmode="disable"
    )
