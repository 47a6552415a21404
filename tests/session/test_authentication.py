"""Logging in to the proxy by every method, with real drivers, and held against a PostgreSQL with the same rules."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import asyncpg
import pg8000.native
import psycopg
import pytest

from pgproxy.demo.nodes import HOST, EmbeddedNode
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule
from pgproxy.shardmap.model import ShardMap
from pgproxy.wire import messages as m
from pgproxy.wire.scram import make_verifier
from tests.activity import until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.raw_client import RawClient, frame, startup
from tests.session.fix_authentication import (
    ADMITTED,
    GUARDED,
    NOBODY,
    PASSWORD,
    conninfo,
    stored_passwords,
    with_rules,
    write_users,
)

ASKED = [user for user, method in GUARDED.items() if method not in ("trust", "reject")]


# Drivers


@pytest.mark.parametrize("user", ADMITTED)
def test_psycopg(user: str, guarded_proxy: RunningProxy) -> None:
    with psycopg.connect(conninfo(guarded_proxy.port, user)) as connection:
        assert connection.execute("SELECT 7").fetchone() == (7,)


@pytest.mark.parametrize("user", ADMITTED)
def test_asyncpg(user: str, guarded_proxy: RunningProxy) -> None:
    async def ask() -> Any:
        connection = await asyncpg.connect(
            host=HOST, port=guarded_proxy.port, user=user, password=PASSWORD, database="library_system", ssl=False
        )
        try:
            return await connection.fetchval("SELECT 7")
        finally:
            await connection.close()

    assert asyncio.run(ask()) == 7


@pytest.mark.parametrize("user", ADMITTED)
def test_pg8000(user: str, guarded_proxy: RunningProxy) -> None:
    connection = pg8000.native.Connection(
        user, host=HOST, port=guarded_proxy.port, password=PASSWORD, database="library_system"
    )
    try:
        assert connection.run("SELECT 7") == [[7]]
    finally:
        connection.close()


@pytest.mark.parametrize("user", ADMITTED)
def test_psql(user: str, guarded_proxy: RunningProxy) -> None:
    command = ["psql", "-XAt", "-c", "SELECT 7", conninfo(guarded_proxy.port, user, None)]
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert (ended.stdout, ended.stderr) == ("7\n", "")


@pytest.mark.parametrize("password", ["wrong", PASSWORD + " ", ""])
@pytest.mark.parametrize("user", ASKED)
def test_a_wrong_password_gets_what_postgres_says(
    user: str, password: str, guarded_proxy: RunningProxy, guarded_pg: EmbeddedNode
) -> None:
    def told(port: int) -> str:
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(conninfo(port, user, password))
        return str(refused.value).replace(str(port), "PORT")

    assert told(guarded_proxy.port) == told(guarded_pg.port)


def test_the_log_knows_more_than_the_client(guarded_proxy: RunningProxy) -> None:
    for user, reason in ((NOBODY, "no such user"), ("by_scram", "wrong password"), ("scram_wanted", "md5 hash")):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(conninfo(guarded_proxy.port, user, "wrong"))
        lines = [line for line in guarded_proxy.log_text().splitlines() if f"user '{user}'" in line]
        assert "log-in refused: client 127.0.0.1:" in lines[-1]
        assert reason in lines[-1]
    assert "wrong'" not in guarded_proxy.log_text()


def test_refusals_are_counted(guarded_proxy: RunningProxy) -> None:
    def figures() -> dict[str, int]:
        info = conninfo(guarded_proxy.port, "by_scram", database="pgproxy")
        with psycopg.connect(info, autocommit=True, cursor_factory=psycopg.ClientCursor) as admin:
            return {name: int(value) for name, node, value in admin.execute("SHOW STATS") if not node and value}

    before = figures()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(conninfo(guarded_proxy.port, "by_scram", "wrong"))
    after = figures()
    assert after["logins_refused"] == before["logins_refused"] + 1
    assert after["errors_28P01"] == before.get("errors_28P01", 0) + 1


# Messages by hand, as PostgreSQL answers them

CLIENT_FIRST = b"n,,n=,r=abcdefgh"


def initial(mechanism: bytes, data: bytes, size: int | None = None) -> bytes:
    return frame("p", mechanism + b"\0" + struct.pack("!i", len(data) if size is None else size) + data)


def scram(data: bytes) -> bytes:
    return initial(b"SCRAM-SHA-256", data)


def answers(port: int, user: str, *pieces: bytes) -> list[tuple[Any, ...]]:
    """What a server says to these messages, up to its close, its own nonces and salts made equal."""
    with RawClient(HOST, port) as client:
        client.send(startup({"user": user, "database": "library_system"}))
        told: list[tuple[Any, ...]] = []
        for piece in pieces:
            message = client.message()
            assert message is not None
            told.append(_shown(message.kind, message.payload))
            client.send(piece)
        rest = [message for message in client.until_ready() if message.kind not in "SK"]
        return told + [_shown(each.kind, each.payload) if each.kind == "R" else each.shown() for each in rest]


def _shown(kind: str, payload: bytes) -> tuple[str, bytes]:
    if payload.startswith(b"\0\0\0\x0br="):
        nonce, salt, iterations = payload[4:].split(b",")
        return kind, b"%d %d %s" % (len(nonce), len(salt), iterations)
    return kind, payload[:4] if payload.startswith(b"\0\0\0\5") else payload


MALFORMED: dict[str, Sequence[bytes]] = {
    "a Query instead": [frame("Q", b"SELECT 1\0")],
    "no terminator": [frame("p", b"SCRAM-SHA-256")],
    "nothing": [frame("p")],
    "an unknown mechanism": [initial(b"SCRAM-SHA-1", CLIENT_FIRST)],
    "PLUS without TLS": [initial(b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abcdefgh")],
    "an empty mechanism": [initial(b"", CLIENT_FIRST)],
    "no data": [frame("p", b"SCRAM-SHA-256\0")],
    "half a length": [frame("p", b"SCRAM-SHA-256\0\0\0")],
    "a length that is too large": [initial(b"SCRAM-SHA-256", CLIENT_FIRST, 100)],
    "a length that is too small": [initial(b"SCRAM-SHA-256", CLIENT_FIRST, 5)],
    "a negative length": [initial(b"SCRAM-SHA-256", CLIENT_FIRST, -2)],
    "later data": [initial(b"SCRAM-SHA-256", b"", -1), frame("p", CLIENT_FIRST), frame("p", b"c=biws")],
    "an empty message": [scram(b"")],
    "a NUL inside": [scram(CLIENT_FIRST + b"\0")],
    "an unknown flag": [scram(b"x,,n=,r=abc")],
    "an unprintable flag": [scram(b"\x01,,n=,r=abc")],
    "no comma": [scram(b"n")],
    "the wrong comma": [scram(b"nx,n=,r=abc")],
    "binding in a message without": [scram(b"p=tls-server-end-point,,n=,r=abc")],
    "an authorization identity": [scram(b"n,a=other,n=,r=abc")],
    "an unexpected attribute": [scram(b"n,b=other,n=,r=abc")],
    "a mandatory extension": [scram(b"n,,m=x,n=,r=abc")],
    "no user": [scram(b"n,,r=abc")],
    "no nonce": [scram(b"n,,n=")],
    "a nonce with a blank": [scram(b"n,,n=,r=a b")],
    "a nonce with a letter beyond ASCII": [scram("n,,n=,r=ä".encode())],
    "an attribute without =": [scram(b"n,,nabc,r=abc")],
    "an extension that is none": [scram(b"n,,n=,r=abc,1=x")],
    "an extension without =": [scram(b"n,,n=,r=abc,x")],
    "an extension": [scram(b"n,,n=,r=abc,x=y"), frame("p", b"c=biws,r=abc,p=")],
    "an empty response": [scram(CLIENT_FIRST), frame("p")],
    "the wrong attribute": [scram(CLIENT_FIRST), frame("p", b"r=abc")],
    "the wrong flag again": [scram(CLIENT_FIRST), frame("p", b"c=eSws,r=abc,p=abc")],
    "y is allowed without TLS": [scram(b"y,,n=,r=abcdefgh"), frame("p", b"c=eSws,r=abc,p=abc")],
    "y that becomes n": [scram(b"y,,n=,r=abcdefgh"), frame("p", b"c=biws,r=abc,p=abc")],
    "no proof": [scram(CLIENT_FIRST), frame("p", b"c=biws,r=abc")],
    "a proof that is no base64": [scram(CLIENT_FIRST), frame("p", b"c=biws,r=abc,p=!!!!")],
    "a short proof": [scram(CLIENT_FIRST), frame("p", b"c=biws,r=abc,p=AAAA")],
    "garbage behind the proof": [scram(CLIENT_FIRST), frame("p", b"c=biws,r=abc,p=" + b"A" * 43 + b"=,x=y")],
    "another nonce": [scram(CLIENT_FIRST), frame("p", b"c=biws,r=abcdefgh,p=" + b"A" * 43 + b"=")],
    "a Query instead of a proof": [scram(CLIENT_FIRST), frame("Q", b"SELECT 1\0")],
    "1020 bytes": [scram(b"n,,n=,r=" + b"x" * (1020 - 26))],
    "1021 bytes": [scram(b"n,,n=,r=" + b"x" * (1021 - 26))],
    "a giant message": [scram(b"n,,n=,r=" + b"x" * 50_000)],
}


@pytest.mark.parametrize("user", ["by_scram", NOBODY])
@pytest.mark.parametrize("case", MALFORMED)
def test_sasl_messages(case: str, user: str, guarded_proxy: RunningProxy, guarded_pg: EmbeddedNode) -> None:
    pieces = MALFORMED[case]
    if case == "1020 bytes":
        pieces = [*pieces, frame("p", b"c=biws")]
    assert answers(guarded_proxy.port, user, *pieces) == answers(guarded_pg.port, user, *pieces)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\0", b"no terminator", b"two\0words\0", b"wrong\0", b"\xff\xfe\0", b"x" * 60_000 + b"\0"],
)
@pytest.mark.parametrize("user", ["by_password", "by_password_md5", "by_md5", f"{NOBODY}_2"])
def test_password_messages(payload: bytes, user: str, guarded_proxy: RunningProxy, guarded_pg: EmbeddedNode) -> None:
    message = frame("p", payload)
    assert answers(guarded_proxy.port, user, message) == answers(guarded_pg.port, user, message)


@pytest.mark.parametrize("user", ["by_password", "by_md5"])
def test_another_message_than_a_password(user: str, guarded_proxy: RunningProxy, guarded_pg: EmbeddedNode) -> None:
    message = frame("Q", b"SELECT 1\0")
    assert answers(guarded_proxy.port, user, message) == answers(guarded_pg.port, user, message)


def test_more_than_a_password_may_need_is_not_read(guarded_proxy: RunningProxy) -> None:
    for message in (b"p" + struct.pack("!I", 2**31 - 1), b"p" + struct.pack("!I", 70_000), b"p\0\0\0\3"):
        *_, last = answers(guarded_proxy.port, "by_password", message)
        assert last[1]["C"] == "08P01"


def test_a_query_behind_the_password_waits_for_its_turn(guarded_proxy: RunningProxy) -> None:
    told = answers(guarded_proxy.port, "by_password", frame("p", PASSWORD.encode() + b"\0") + frame("Q", b"SELECT 7\0"))
    assert told[-1] == ("Z", "I")
    told = answers(guarded_proxy.port, "by_password", frame("p", b"wrong\0") + frame("Q", b"SELECT 7\0"))
    assert [kind for kind, *_ in told] == ["R", "E"]


# Rules


def refusal(port: int, user: str, password: str | None = PASSWORD, database: str = "library_system") -> str:
    with RawClient(HOST, port) as client:
        client.send(startup({"user": user, "database": database}))
        message = client.message()
        assert message is not None
        assert message.kind == "E", message
        return f"{message.fields['C']}: {message.fields['M']}"


def test_reject_and_no_rule(guarded_proxy: RunningProxy) -> None:
    who = 'host "127.0.0.1", user "{}", database "library_system", no encryption'
    rejects = "28000: an authentication rule rejects connection for " + who.format("rejected")
    assert refusal(guarded_proxy.port, "rejected") == rejects
    no_rule = "28000: no authentication rule for " + who.format("stranger")
    assert refusal(guarded_proxy.port, "stranger") == no_rule


def test_the_database_is_looked_at_after_the_password(guarded_proxy: RunningProxy) -> None:
    for password, text in (("wrong", "password authentication failed"), (PASSWORD, 'database "none" does not exist')):
        with pytest.raises(psycopg.OperationalError, match=text):
            psycopg.connect(conninfo(guarded_proxy.port, "by_scram", password, "none"))


def test_the_admin_database_is_for_admin_users(guarded_proxy: RunningProxy) -> None:
    with psycopg.connect(
        conninfo(guarded_proxy.port, "by_scram", database="pgproxy"), cursor_factory=psycopg.ClientCursor
    ) as admin:
        assert admin.execute("SHOW POOLS").fetchall()
    with pytest.raises(psycopg.OperationalError, match='permission denied for database "pgproxy"'):
        psycopg.connect(conninfo(guarded_proxy.port, "by_password", database="pgproxy"))


def test_the_first_rule_that_matches_decides(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    elsewhere, here = (ip_network("10.0.0.0/8"), ip_network("::1/128")), (ip_network("127.0.0.1/32"),)
    rules = with_rules(
        AuthRule(AuthMethod.TRUST, elsewhere, ("alice",)),
        AuthRule(AuthMethod.TRUST, here, ("bob", "carol"), ("library_system",)),
        AuthRule(AuthMethod.REJECT, (), ("bob",)),
        AuthRule(AuthMethod.TRUST, (), ("dave",), tls=True),
        AuthRule(AuthMethod.TRUST, (), ("erin",), tls=False),
    )
    with running_proxy(library_cluster, tmp_path, rules) as proxy:
        for user in ("bob", "carol", "erin"):
            psycopg.connect(conninfo(proxy.port, user, None)).close()
        assert "rejects connection" in refusal(proxy.port, "bob", database="other")
        for user, database in (("alice", "library_system"), ("carol", "other"), ("dave", "library_system")):
            assert "no authentication rule" in refusal(proxy.port, user, database=database)


# Where users come from


def test_a_users_file_that_changes(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    write_users(path, {"alice": str(make_verifier("first"))})
    rule = AuthRule(AuthMethod.SCRAM, (), ("alice", "bob"))
    with running_proxy(library_cluster, tmp_path, with_rules(rule, file=path)) as proxy:

        def admitted(user: str, password: str) -> bool:
            return _admitted(proxy, user, password, "password authentication failed")

        assert admitted("alice", "first")
        assert not admitted("bob", "any")
        write_users(path, {"alice": str(make_verifier("second")), "bob": str(make_verifier("third"))})
        until(lambda: admitted("bob", "third"), "the file is read again")
        assert admitted("alice", "second")
        assert not admitted("alice", "first")
        path.write_text('"alice" "clear text"\n')
        until(lambda: admitted("bob", "third") and "is left as it was" in proxy.log_text(), "the mistake is seen")
        assert f"{path}:1: what is stored for" in proxy.log_text()
        assert "clear text" not in proxy.log_text()
        path.unlink()
        assert admitted("alice", "second")


def test_a_node_knows_the_users(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    for name in own_cluster.nodes:
        with own_cluster.connect(name) as node:
            node.execute("CREATE ROLE alice LOGIN PASSWORD 'secret'; CREATE ROLE plain LOGIN")
    query = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin"
    rule = AuthRule(AuthMethod.SCRAM, (), ("alice", "plain", "nobody"))
    with running_proxy(own_cluster, tmp_path, with_rules(rule, query=query)) as proxy:
        psycopg.connect(conninfo(proxy.port, "alice", "secret")).close()
        for user, password in (("alice", "wrong"), ("plain", "x"), ("nobody", "x")):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(conninfo(proxy.port, user, password))
        for name in list(own_cluster.nodes)[:2]:
            own_cluster.kill(name)

        until(
            lambda: _admitted(proxy, "alice", "secret", "cannot authenticate users now"),
            "another node is asked",
        )


def test_the_documented_function_shows_passwords_to_the_proxy_only(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    script = page.split("CREATE SCHEMA pgproxy_auth", 1)[1].split("```", 1)[0]
    query = page.split('query = "', 1)[1].split('"', 1)[0]
    for name in own_cluster.nodes:
        with own_cluster.connect(name) as node:
            node.execute("CREATE ROLE librarian LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO librarian")
            node.execute("CREATE ROLE alice LOGIN PASSWORD 'secret'; CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'x'")
            node.execute("CREATE ROLE late LOGIN PASSWORD 'x' VALID UNTIL '2020-01-01'")
            node.execute(f"CREATE SCHEMA pgproxy_auth{script}".encode())
    rules = with_rules(AuthRule(AuthMethod.SCRAM), query=query)

    def as_librarian(shard_map: ShardMap) -> ShardMap:
        return rules(replace(shard_map, cluster=replace(shard_map.cluster, user="librarian")))

    with running_proxy(own_cluster, tmp_path, as_librarian) as proxy:
        with psycopg.connect(conninfo(proxy.port, "alice", "secret"), autocommit=True) as alice:
            assert alice.execute("SELECT current_user").fetchone() == ("librarian",)
        for user in ("boss", "late"):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(conninfo(proxy.port, user, "x"))
    with own_cluster.connect("west-library") as node:
        node.execute("SET ROLE alice")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            node.execute(query.replace("$1", "'alice'").encode())


def test_no_node_is_left_to_ask(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = $1"
    rules = with_rules(AuthRule(AuthMethod.SCRAM), query=query)
    with running_proxy(own_cluster, tmp_path, rules, admin_users=("postgres",)) as proxy:
        for name in own_cluster.nodes:
            own_cluster.kill(name)
        assert refusal(proxy.port, "alice") == "57P03: the proxy cannot authenticate users now"
        admin = proxy.connect(dbname="pgproxy")  # a rule without a password still works
        admin.close()


# Limits


def test_who_has_not_logged_in_is_limited(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    limits = {"max_unauthenticated": 5, "max_unauthenticated_per_address": 3}
    with (
        running_proxy(library_cluster, tmp_path, **limits) as proxy,
        proxy.connect(),  # who has logged in counts no more
        proxy.connect(),
        proxy.connect(),
        proxy.connect(),
    ):
        silent = [RawClient(HOST, proxy.port) for _ in range(3)]
        with RawClient(HOST, proxy.port) as one_too_many:
            assert one_too_many.closed()
        silent[0].socket.close()
        until(lambda: _connects(proxy), "a place became free")
        for client in silent:
            client.socket.close()


def test_slow_log_ins_end_in_time(library_cluster: LibraryCluster, tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    write_users(path, {"alice": str(make_verifier("x"))})
    rules = with_rules(AuthRule(AuthMethod.SCRAM), file=path)
    with (
        running_proxy(library_cluster, tmp_path, rules, startup_timeout_s=1.5) as proxy,
        RawClient(HOST, proxy.port) as client,
    ):
        client.send(startup({"user": "alice", "database": "library_system"}))
        assert client.message() is not None
        assert client.closed()


def test_many_password_checks_do_not_stop_the_proxy(guarded_proxy: RunningProxy) -> None:
    clients = [RawClient(HOST, guarded_proxy.port) for _ in range(100)]
    for client in clients:
        client.send(startup({"user": "by_password", "database": "library_system"}))
    for client in clients:
        assert client.message() is not None
        client.send(m.password_message(b"wrong"))
    with guarded_proxy.connect() as connection:
        assert connection.execute("SELECT 7").fetchone() == (7,)
    for client in clients:
        message = client.message()
        assert message is not None
        assert message.fields["C"] == "28P01"
        client.socket.close()


def _admitted(proxy: RunningProxy, user: str, password: str, otherwise: str) -> bool:
    """Whether the user gets in. A refusal for another reason than the one expected fails the test."""
    try:
        psycopg.connect(conninfo(proxy.port, user, password)).close()
    except psycopg.OperationalError as refused:
        if otherwise not in str(refused):
            raise
        return False
    return True


def _connects(proxy: RunningProxy) -> bool:
    try:
        proxy.connect().close()
    except psycopg.OperationalError:
        return False
    return True


# Verifiers


def test_a_verifier_of_ours_in_a_postgres(guarded_pg: EmbeddedNode) -> None:
    verifier = str(make_verifier(PASSWORD))
    with psycopg.connect(guarded_pg.conninfo(), autocommit=True) as connection:
        before = stored_passwords(guarded_pg)["by_scram"]
        try:
            connection.execute(f"ALTER ROLE by_scram PASSWORD '{verifier}'".encode())
            assert stored_passwords(guarded_pg)["by_scram"] == verifier
            psycopg.connect(conninfo(guarded_pg.port, "by_scram")).close()
        finally:
            connection.execute(f"ALTER ROLE by_scram PASSWORD '{before}'".encode())


def test_a_user_is_unknown_in_the_same_way_each_time(guarded_proxy: RunningProxy) -> None:
    """The same salt, or its changing would tell that there is no such user."""

    def salt(user: str) -> bytes:
        with RawClient(HOST, guarded_proxy.port) as client:
            client.send(startup({"user": user, "database": "library_system"}))
            client.message()
            client.send(scram(CLIENT_FIRST))
            message = client.message()
            assert message is not None
            return message.payload.split(b",")[1]

    assert salt(NOBODY) == salt(NOBODY)
    assert salt(NOBODY) != salt("scram_wanted") != salt("by_scram")
