"""Nodes with TLS: the system's PostgreSQL, since the one from PyPI is built without OpenSSL."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
import pytest

from pgproxy.demo import nodes
from pgproxy.demo.library import DATABASE, load_library
from pgproxy.demo.nodes import NODE_NAMES, EmbeddedNode, stop_nodes
from pgproxy.shardmap.model import ShardMap
from tests.activity import load_settings_again
from tests.fix_nodes import LibraryCluster, node_directory
from tests.fix_tls import Certificates, Pair

_INITDB_OPTIONS = (
    f"--username={nodes.SUPERUSER}",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
    "--no-instructions",
)


def system_programs() -> Path:
    """The newest installed server's programs. A machine without one cannot run these tests: that is a failure."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.fail("no PostgreSQL server below /usr/lib/postgresql: install Debian's package postgresql")
    return found[-1].parent


class SystemNode(EmbeddedNode):
    """An EmbeddedNode of the system's PostgreSQL, with TLS. `hba` is its pg_hba.conf once `secure` was called."""

    def prepare(self, pair: Pair, ca: str) -> None:
        """Give it a certificate, before it starts."""
        nodes._ensure_system_user()
        nodes._own(self.directory)
        for name, source in (("server.pem", pair.certificate), ("server.key", pair.key), ("ca.pem", ca)):
            target = self.directory / name
            shutil.copyfile(source, target)
            target.chmod(0o600)
            if account := nodes._account():
                os.chown(target, account.pw_uid, account.pw_gid)
        self.settings |= {
            "ssl": "on",
            "ssl_cert_file": str(self.directory / "server.pem"),
            "ssl_key_file": str(self.directory / "server.key"),
            "ssl_ca_file": str(self.directory / "ca.pem"),
            "password_encryption": "scram-sha-256",
        }

    def start(self) -> None:
        programs = system_programs()
        if not self.made:
            shutil.rmtree(self.data, ignore_errors=True)
            self._run([programs / "initdb", f"--pgdata={self.data}", *_INITDB_OPTIONS])
            self._await_initdb()
        self._begin_server(programs)
        self._await_ready(nodes.time.monotonic() + nodes._START_TIMEOUT_S)

    def secure(self, hba: str) -> None:
        """Another pg_hba.conf. A line for us to change it again is added."""
        own = f"host all {nodes.SUPERUSER} 127.0.0.1/32 trust\n"
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            (self.data / "pg_hba.conf").write_text(hba + own)
            load_settings_again(connection)


@contextmanager
def secure_standby(primary: SystemNode, name: str, pair: Pair, ca: str) -> Iterator[SystemNode]:
    """A streaming standby with this certificate. The primary's pg_hba.conf must let replication in."""
    standby = SystemNode(name, primary.directory.parent / name)
    standby.prepare(pair, ca)
    account = nodes._account()
    subprocess.run(
        [
            system_programs() / "pg_basebackup",
            *("-h", primary.host, "-p", str(primary.port), "-U", nodes.SUPERUSER),
            *("-D", str(standby.data), "-X", "stream", "-R", "-c", "fast", "--no-sync"),
        ],
        check=True,
        cwd=standby.directory,
        user=account and account.pw_uid,
        group=account and account.pw_gid,
        extra_groups=account and (),
    )
    (standby.directory / "made").touch()
    try:
        standby.start()
        yield standby
    finally:
        standby.kill()
        shutil.rmtree(standby.directory, ignore_errors=True)


@contextmanager
def running_system_node(name: str) -> Iterator[EmbeddedNode]:
    """The system's PostgreSQL, empty and without TLS."""
    with node_directory() as directory:
        node = SystemNode(name, directory / name)
        nodes._ensure_system_user()
        nodes._own(node.directory)
        node.start()
        try:
            yield node
        finally:
            node.stop()


@dataclass(frozen=True)
class SecureCluster(LibraryCluster):
    """The library on nodes with TLS. The proxy's user is `librarian`, with the password `secret`."""

    cluster_settings: dict[str, str] = field(default_factory=dict)

    def shard_map(self, port: int = 6432) -> ShardMap:
        plain = super().shard_map(port)
        settings = {"user": "librarian", "password": "secret"} | self.cluster_settings
        changed = {name: replace(node, host="localhost") for name, node in plain.nodes.items()}
        return replace(plain, nodes=changed, cluster=replace(plain.cluster, **settings))  # type: ignore[arg-type]

    def having(self, **settings: str) -> SecureCluster:
        return SecureCluster(self.nodes, settings)

    def secure(self, hba: str) -> None:
        for node in self.nodes.values():
            assert isinstance(node, SystemNode)
            node.secure(hba)


@pytest.fixture(scope="session")
def secure_cluster(certificates: Certificates) -> Iterator[SecureCluster]:
    with node_directory() as directory:
        made = [SystemNode(name, directory / name) for name in NODE_NAMES]
        try:
            for node in made:
                node.prepare(certificates.server, certificates.ca)
                node.start()
            load_library(made)
            for node in made:
                with psycopg.connect(node.conninfo(DATABASE), autocommit=True) as connection:
                    connection.execute("CREATE ROLE librarian LOGIN SUPERUSER PASSWORD 'secret'")
            yield SecureCluster({node.name: node for node in made})
        finally:
            stop_nodes(made)
