"""What must stay secret is in no log line, whatever is logged, and in nothing that the proxy shows."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.admin.answers import SHOWS
from pgproxy.demo.nodes import HOST, SUPERUSER, free_port
from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule, AuthUsers
from pgproxy.shardmap.model import HttpSettings, ShardMap
from pgproxy.wire.scram import make_verifier
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy
from tests.http.conftest import HttpProxy
from tests.raw_client import RawClient, frame
from tests.session.fix_authentication import conninfo, write_users

CLUSTER, TOKEN, SALT = "cluster-secret", "http-token-secret", "salt-secret"
PASSWORD, WRONG, STRAY, SET = "right-secret", "wrong-secret", "stray-secret", "set-secret"
VERIFIER = make_verifier(PASSWORD)
SECRETS = (CLUSTER, TOKEN, SALT, PASSWORD, WRONG, STRAY, SET, *str(VERIFIER).split("$")[2].split(":"))
USERS = {"alice": AuthMethod.PASSWORD, "bob": AuthMethod.SCRAM}


def _guarded(users: Path) -> Callable[[ShardMap], ShardMap]:
    write_users(users, dict.fromkeys(USERS, str(VERIFIER)))
    rules = [AuthRule(AuthMethod.TRUST, user=(SUPERUSER,)), *(AuthRule(USERS[name], user=(name,)) for name in USERS)]

    def change(shard_map: ShardMap) -> ShardMap:
        stored = AuthUsers(str(users), salt_secret=SALT)
        cluster = replace(shard_map.cluster, password=CLUSTER)
        return replace(shard_map, cluster=cluster, auth=tuple(rules), auth_users=stored)

    return change


def _say_secrets(proxy: RunningProxy, web: HttpProxy) -> str:
    """In every way that a client has; what was shown for it, over HTTP."""
    for user in USERS:
        psycopg.connect(conninfo(proxy.port, user, PASSWORD)).close()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(conninfo(proxy.port, user, WRONG))
    with proxy.connect() as client:
        for sql in (
            "ALTER ROLE nosuch PASSWORD '{}'",
            "ALTER ROLE nosuch PASSWORD $${}$$",
            "ALTER ROLE x PASSWORD '{}",
        ):
            with pytest.raises(psycopg.Error):
                client.execute(sql.format(SET).encode())
    with RawClient.logged_in(proxy.conninfo) as raw:
        raw.send(frame("p", STRAY.encode() + b"\0"))
        assert raw.until_ready()
    with socket.create_connection((HOST, web.port), 30) as malformed:
        malformed.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {STRAY}\x01\r\n\r\n".encode())
        assert b" 400 " in malformed.recv(1000)
    token = {"Authorization": f"Bearer {TOKEN}"}
    answers = [web.ask(path, headers=token) for path in ("/metrics", "/ready", "/sql?q=SELECT+1", "/nowhere")]
    answers.append(web.ask("/sql?q=SELECT+1", headers={"Authorization": f"Bearer {WRONG}"}))
    assert [answer.status for answer in answers] == [200, 200, 200, 404, 401]
    return "".join(f"{answer.headers} {answer.body.decode()}" for answer in answers)


def _shown(proxy: RunningProxy) -> str:
    """Everything that the admin database has to say."""
    with proxy.connect(dbname="pgproxy") as admin:
        admin.execute("RELOAD")
        return "\n".join(str(admin.execute(f"SHOW {name}".encode()).fetchall()) for name in SHOWS)


@pytest.mark.parametrize("form", ["human", "json"])
def test_no_secret_is_logged_or_shown(form: str, library_cluster: LibraryCluster, tmp_path: Path) -> None:
    http = HttpSettings(port=free_port(), token=TOKEN)
    with running_proxy(
        library_cluster,
        tmp_path,
        _guarded(tmp_path / "users.txt"),
        http=http,
        arguments=("--log-level", "debug", "--log-format", form),
        log_statements="all",
        admin_users=(SUPERUSER,),
    ) as proxy:
        said = _say_secrets(proxy, HttpProxy(proxy, http.port or 0))
        shown = _shown(proxy)
    log = proxy.log_text()
    for telling in ("log-in refused", "ALTER ROLE nosuch"):
        assert telling in log
    assert shown.count("********") == 3
    for text in (log, shown, said):
        assert [secret for secret in SECRETS if secret in text] == []
