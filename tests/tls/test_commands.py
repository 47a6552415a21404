"""What `serve` and `check` say of certificate files that cannot be used, before they ask any node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pgproxy.shardmap.load import load
from tests.fix_tls import Certificates

SHARD_MAP = """
[proxy.tls]
mode = "allow"
certificate_file = "{certificate}"
key_file = "{key}"
[cluster]
name = "library"
engine = "postgresql"
database = "library_system"
user = "postgres"
[nodes.west]
host = "127.0.0.1"
port = 1
"""


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_file_that_cannot_be_used(command: str, certificates: Certificates, tmp_path: Path) -> None:
    config = tmp_path / "shardmap.toml"
    config.write_text(SHARD_MAP.format(certificate=certificates.server.certificate, key=certificates.elsewhere.key))
    run = subprocess.run(
        [sys.executable, "-m", "pgproxy", command, "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == 1
    assert f"proxy.tls.key_file: {certificates.elsewhere.key} is not the key of " in run.stderr
    assert "Traceback" not in run.stderr


def test_a_relative_path_begins_at_the_shard_map(tmp_path: Path) -> None:
    config = tmp_path / "shardmap.toml"
    config.write_text(
        SHARD_MAP.format(certificate="tls/server.pem", key="/etc/server.key").replace(
            'user = "postgres"', 'user = "postgres"\ntls = "verify-ca"\ntls_ca_file = "ca.pem"'
        )
    )
    shard_map = load(config, {})
    assert shard_map.proxy.tls.certificate_file == str(tmp_path / "tls" / "server.pem")
    assert shard_map.proxy.tls.key_file == "/etc/server.key"
    assert shard_map.proxy.tls.client_ca_file is None
    assert shard_map.cluster.tls_ca_file == str(tmp_path / "ca.pem")
