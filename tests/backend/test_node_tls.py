"""TLS towards nodes: statements, heartbeat, catalog and cancel requests; nodes that are not the right ones."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgproxy.backend.connection import BackendConnection
from pgproxy.demo.library import DATABASE
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.shardmap.model import ClusterSettings, HeartbeatSettings, Node, ShardMap
from pgproxy.shardmap.write import to_toml
from pgproxy.tls.node import load_node_tls
from tests.activity import await_running, load_settings_again, until
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import running_proxy
from tests.fix_system_nodes import SecureCluster, SystemNode, secure_standby
from tests.fix_tls import Certificates

pytestmark = pytest.mark.system_postgres

ENCRYPTED_ONLY = "hostssl all librarian all scram-sha-256\n"
WITH_CERTIFICATE = "hostssl all librarian all scram-sha-256 clientcert=verify-ca\n"
UNENCRYPTED = (
    "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename = 'librarian' AND NOT ssl"
)
ENCRYPTED = UNENCRYPTED.replace("NOT ssl", "ssl")
WEST = "west-library"


def _modes(certificates: Certificates) -> dict[str, dict[str, str]]:
    return {
        "require": {"tls": "require"},
        "verify-ca": {"tls": "verify-ca", "tls_ca_file": certificates.ca},
        "verify-full": {"tls": "verify-full", "tls_ca_file": certificates.ca},
    }


def _ask(cluster: SecureCluster, sql: str) -> list[int]:
    answers = []
    for name in cluster.nodes:
        with cluster.connect(name) as connection:
            answers.append(connection.execute(sql.encode()).fetchone()[0])
    return answers


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_everything_is_encrypted(
    mode: str, secure_cluster: SecureCluster, certificates: Certificates, tmp_path: Path
) -> None:
    secure_cluster.secure(ENCRYPTED_ONLY)
    cluster = secure_cluster.having(**_modes(certificates)[mode])
    with running_proxy(cluster, tmp_path) as proxy, proxy.connect() as connection:
        assert connection.execute("SELECT count(*) FROM books").fetchone() == (72,)
        assert len(connection.execute("SELECT isbn FROM books ORDER BY isbn").fetchall()) == 72
        for _ in range(3):
            assert connection.execute("SELECT count(*) FROM books WHERE branch = 'west'").fetchone() == (24,)
        large = connection.execute("SELECT repeat('x', 20000000) FROM books WHERE branch = 'west' LIMIT 1").fetchone()
        assert large == ("x" * 20_000_000,)
        assert all(count >= 2 for count in _ask(cluster, ENCRYPTED)), "the heartbeat's and the pool's"
        assert _ask(cluster, UNENCRYPTED) == [0, 0, 0]


def test_a_cancel_request_is_encrypted_too(
    secure_cluster: SecureCluster, certificates: Certificates, tmp_path: Path
) -> None:
    secure_cluster.secure(ENCRYPTED_ONLY)
    cluster = secure_cluster.having(**_modes(certificates)["verify-full"])
    with running_proxy(cluster, tmp_path) as proxy, proxy.connect() as connection:
        connection.pgconn.send_query(b"SELECT pg_sleep(60) FROM books WHERE branch = 'west'")
        await_running(cluster, "pg_sleep(60)")
        connection.cancel_safe()
        states = []
        while (result := connection.pgconn.get_result()) is not None:
            states.append(result.error_field(psycopg.pq.DiagnosticField.SQLSTATE))
        assert b"57014" in states
        assert connection.execute("SELECT count(*) FROM books").fetchone() == (72,)


def test_init_and_check_are_encrypted(
    secure_cluster: SecureCluster, certificates: Certificates, tmp_path: Path
) -> None:
    secure_cluster.secure(ENCRYPTED_ONLY)
    config = tmp_path / "shardmap.toml"
    config.write_text(to_toml(secure_cluster.having(**_modes(certificates)["verify-full"]).shard_map()))
    for command in ("init", "check"):
        run = subprocess.run(
            [sys.executable, "-m", "pgproxy", command, "--config", str(config)],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        assert run.returncode == 0, run.stderr


# A node with replicas

ROUTED = "SELECT inet_server_port() FROM books WHERE branch = 'west' LIMIT 1"
WRITE = "UPDATE books SET price = price WHERE branch = 'west' RETURNING inet_server_port()"
REPLICATION = "host replication postgres 127.0.0.1/32 trust\n"
QUICK = HeartbeatSettings(interval_s=0.2, timeout_s=5.0)


def _port(connection: psycopg.Connection, sql: str = ROUTED) -> int:
    row = connection.execute(sql.encode()).fetchone()
    assert row is not None
    return int(row[0])


def _with_replica(standby: SystemNode) -> Callable[[ShardMap], ShardMap]:
    def change(found: ShardMap) -> ShardMap:
        west = replace(found.nodes[WEST], replicas=(f"localhost:{standby.port}",))
        cluster = replace(found.cluster, read_from="any", max_lag_s=60.0)
        return replace(found, nodes={**found.nodes, WEST: west}, cluster=cluster)

    return change


def _west(cluster: SecureCluster) -> SystemNode:
    node = cluster.nodes[WEST]
    assert isinstance(node, SystemNode)
    cluster.secure(ENCRYPTED_ONLY + REPLICATION)
    return node


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_replicas_are_reached_encrypted_too(
    mode: str, secure_cluster: SecureCluster, certificates: Certificates, tmp_path: Path
) -> None:
    """Heartbeats and statements, and the standby when it is the primary."""
    primary = _west(secure_cluster)
    cluster = secure_cluster.having(**_modes(certificates)[mode])
    with (
        secure_standby(primary, "west-standby", certificates.server, certificates.ca) as standby,
        running_proxy(cluster, tmp_path, _with_replica(standby), heartbeat=QUICK) as proxy,
        proxy.connect() as client,
    ):
        until(lambda: {_port(client) for _ in range(4)} == {primary.port, standby.port}, "both are read")
        with psycopg.connect(standby.conninfo(DATABASE)) as inside:
            assert inside.execute(UNENCRYPTED.encode()).fetchone() == (0,)
            assert (inside.execute(ENCRYPTED.encode()).fetchone() or (0,))[0] >= 2
        assert _port(client, WRITE) == primary.port
        with psycopg.connect(standby.conninfo(DATABASE), autocommit=True) as inside:
            assert inside.execute("SELECT pg_promote(true, 60)").fetchone() == (True,)
        until(lambda: f"localhost:{standby.port} is its primary now" in proxy.log_text(), "it is found")
        assert _port(client, WRITE) == standby.port


def test_a_replica_with_a_wrong_certificate_is_not_used(
    secure_cluster: SecureCluster, certificates: Certificates, tmp_path: Path
) -> None:
    primary = _west(secure_cluster)
    cluster = secure_cluster.having(**_modes(certificates)["verify-full"])
    with (
        secure_standby(primary, "west-impostor", certificates.elsewhere, certificates.ca) as standby,
        running_proxy(cluster, tmp_path, _with_replica(standby), heartbeat=QUICK) as proxy,
        proxy.connect() as client,
    ):
        until(lambda: f"ALERT: member localhost:{standby.port}" in proxy.log_text(), "it is not trusted")
        assert {_port(client) for _ in range(6)} == {primary.port}
        assert _port(client, WRITE) == primary.port


# One connection


def _open(cluster: ClusterSettings, node: Node) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        connection = await BackendConnection.open(node, cluster, loop, 10.0, load_node_tls(cluster))
        connection.close()
        await asyncio.sleep(0.05)

    asyncio.run(work())


def _settings(cluster: SecureCluster, node: str, **changes: Any) -> tuple[ClusterSettings, Node]:
    shard_map = cluster.having(**changes).shard_map()
    return shard_map.cluster, shard_map.nodes[node]


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_wrong_authority(mode: str, secure_cluster: SecureCluster, certificates: Certificates) -> None:
    with pytest.raises(NodeFailure, match=f"no TLS connection to node {WEST}: certificate verify failed: "):
        _open(*_settings(secure_cluster, WEST, tls=mode, tls_ca_file=certificates.other_ca))


def _reissued(cluster: SecureCluster, certificates: Certificates, pair: str) -> SystemNode:
    node = cluster.nodes[WEST]
    assert isinstance(node, SystemNode)
    node.prepare(getattr(certificates, pair), certificates.ca)
    with psycopg.connect(node.conninfo(), autocommit=True) as connection:
        load_settings_again(connection)
    return node


def test_a_wrong_host(secure_cluster: SecureCluster, certificates: Certificates) -> None:
    _reissued(secure_cluster, certificates, "elsewhere")
    try:
        _open(*_settings(secure_cluster, WEST, tls="verify-ca", tls_ca_file=certificates.ca))
        with pytest.raises(NodeFailure, match="Hostname mismatch, certificate is not valid for 'localhost'"):
            _open(*_settings(secure_cluster, WEST, tls="verify-full", tls_ca_file=certificates.ca))
    finally:
        _reissued(secure_cluster, certificates, "server")


def test_an_address_is_verified_too(secure_cluster: SecureCluster, certificates: Certificates) -> None:
    cluster, node = _settings(secure_cluster, WEST, tls="verify-full", tls_ca_file=certificates.ca)
    _open(cluster, Node(node.name, "127.0.0.1", node.port))


def test_an_expired_certificate(secure_cluster: SecureCluster, certificates: Certificates, tmp_path: Path) -> None:
    """Also as the heartbeat and the client see it."""
    _reissued(secure_cluster, certificates, "expired")
    try:
        cluster = secure_cluster.having(tls="verify-ca", tls_ca_file=certificates.ca)
        with pytest.raises(NodeFailure, match="certificate has expired"):
            _open(*_settings(secure_cluster, WEST, tls="verify-ca", tls_ca_file=certificates.ca))
        with running_proxy(cluster, tmp_path) as proxy, proxy.connect() as connection:
            with pytest.raises(psycopg.OperationalError) as failed:
                connection.execute("SELECT count(*) FROM books WHERE branch = 'west'")
            assert failed.value.sqlstate == "08006"
            assert connection.execute("SELECT count(*) FROM books WHERE branch = 'north'").fetchone() == (24,)
            assert f"ALERT: node {WEST} is DOWN" in proxy.log_text()
            with proxy.connect(dbname="pgproxy") as admin:
                assert "certificate verify failed" in str(admin.execute("SHOW NODES").fetchall())
            _reissued(secure_cluster, certificates, "server")
            until(lambda: f"RECOVERED: node {WEST} is UP" in proxy.log_text(), "it is up again")
            assert connection.execute("SELECT count(*) FROM books WHERE branch = 'west'").fetchone() == (24,)
    finally:
        _reissued(secure_cluster, certificates, "server")


def test_a_node_without_tls(library_cluster: LibraryCluster) -> None:
    shard_map = library_cluster.shard_map()
    settings = ClusterSettings(shard_map.cluster.name, shard_map.cluster.engine, "postgres", "postgres", tls="require")
    with pytest.raises(NodeFailure, match="the server does not support TLS"):
        _open(settings, shard_map.nodes[WEST])


def test_a_client_certificate(secure_cluster: SecureCluster, certificates: Certificates, tmp_path: Path) -> None:
    secure_cluster.secure(WITH_CERTIFICATE)
    ca = {"tls": "verify-full", "tls_ca_file": certificates.ca}

    def given(name: str) -> dict[str, str]:
        pair = getattr(certificates, name)
        return ca | {"tls_certificate_file": pair.certificate, "tls_key_file": pair.key}

    with running_proxy(secure_cluster.having(**given("client")), tmp_path) as proxy, proxy.connect() as connection:
        assert connection.execute("SELECT count(*) FROM books").fetchone() == (72,)
    with pytest.raises(ProxyError, match="connection requires a valid client certificate"):
        _open(*_settings(secure_cluster, WEST, **ca))

    def why_not() -> str:
        with pytest.raises(NodeFailure) as refused:
            _open(*_settings(secure_cluster, WEST, **given("other_client")))
        return str(refused.value)

    # In TLS 1.3 the handshake is over for us by then: when we write before we read, all that is seen is the end.
    until(lambda: "alert unknown ca" in why_not(), "the node's reason is seen")


def test_the_roots_are_reloaded_on_sighup(
    secure_cluster: SecureCluster, certificates: Certificates, tmp_path: Path
) -> None:
    """Roots with which no node can be reached are refused, and the old ones stay; others are for new connections."""
    secure_cluster.secure(ENCRYPTED_ONLY)
    roots = tmp_path / "roots.pem"
    cluster = secure_cluster.having(tls="verify-full", tls_ca_file=str(roots))

    def reload(*sources: str, told: str) -> None:
        """SIGHUP, and new connections to the node."""
        roots.write_bytes(b"".join(Path(source).read_bytes() for source in sources))
        before = proxy.log_text().count(told)
        proxy.process.send_signal(signal.SIGHUP)
        until(lambda: proxy.log_text().count(told) > before, told)
        with cluster.connect(WEST) as node:
            node.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'librarian'")

    def answers() -> bool:
        try:
            return connection.execute("SELECT count(*) FROM books WHERE branch = 'west'").fetchone() == (24,)
        except psycopg.OperationalError:  # the connections that were ended
            return False

    shutil.copyfile(certificates.ca, roots)
    with running_proxy(cluster, tmp_path) as proxy, proxy.connect() as connection:
        assert answers()
        reload(certificates.other_ca, told="nothing is reloaded")  # no node could be reached with these
        until(answers, "the old roots are in force")
        reload(certificates.other_ca, certificates.ca, told="certificates are reloaded")
        until(answers, "the new roots are in force")


def test_the_log_in_is_bound_to_the_channel(
    secure_cluster: SecureCluster, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stands between with a certificate of its own gets no further, even where nothing is verified."""
    secure_cluster.secure(ENCRYPTED_ONLY)
    _open(*_settings(secure_cluster, WEST, tls="require"))
    monkeypatch.setattr("pgproxy.backend.connection.end_point", lambda transport: b"x" * 32)
    with pytest.raises(ProxyError, match="SCRAM channel binding check failed"):
        _open(*_settings(secure_cluster, WEST, tls="require"))
