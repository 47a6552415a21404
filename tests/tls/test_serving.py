"""Files that cannot be used are named with their key in the shard map and the reason."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pgproxy.shardmap.model import ClusterSettings, Engine
from pgproxy.tls.node import load_node_tls
from pgproxy.tls.serving import TlsFileError, load_serving
from tests.fix_tls import Certificates


def _problem(certificates: Certificates, **changes: str) -> str:
    with pytest.raises(TlsFileError) as wrong:
        load_serving(certificates.settings(**changes))
    return str(wrong.value)


def test_a_good_pair(certificates: Certificates) -> None:
    serving = load_serving(certificates.settings(client_ca_file=certificates.ca))
    assert serving is not None
    assert len(serving.server_end_point or b"") == 32
    assert load_serving(certificates.settings(mode="disable")) is None


@pytest.mark.parametrize("key", ["certificate_file", "key_file", "client_ca_file"])
def test_a_missing_file(key: str, certificates: Certificates) -> None:
    assert (
        _problem(certificates, **{key: "/nowhere.pem"}) == f"proxy.tls.{key}: /nowhere.pem: No such file or directory"
    )


@pytest.mark.parametrize("key", ["certificate_file", "key_file", "client_ca_file"])
def test_a_file_of_something_else(key: str, certificates: Certificates, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text("nothing\n")
    other.chmod(0o600)
    assert _problem(certificates, **{key: str(other)}).startswith(f"proxy.tls.{key}: {other} holds no ")


def test_the_key_of_another_certificate(certificates: Certificates) -> None:
    problem = _problem(certificates, key_file=certificates.elsewhere.key)
    assert problem == (
        f"proxy.tls.key_file: {certificates.elsewhere.key} is not the key of {certificates.server.certificate}"
    )


def test_a_key_that_others_may_read(certificates: Certificates, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(Path(certificates.server.key).read_bytes())
    key.chmod(0o644)
    assert "can be read by others" in _problem(certificates, key_file=str(key))


def test_an_encrypted_key_asks_nobody(certificates: Certificates, tmp_path: Path) -> None:
    key = tmp_path / "key"
    command = [
        "openssl",
        "pkcs8",
        "-topk8",
        "-in",
        certificates.server.key,
        "-out",
        str(key),
        "-passout",
        "pass:secret",
    ]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    assert "encrypted" in _problem(certificates, key_file=str(key))


def test_the_cluster_s_files(certificates: Certificates) -> None:
    def problem(**changes: str) -> str:
        with pytest.raises(TlsFileError) as wrong:
            load_node_tls(ClusterSettings("library", Engine.POSTGRESQL, "d", "u", tls="verify-ca", **changes))
        return str(wrong.value)

    assert problem(tls_ca_file="/nowhere.pem") == "cluster.tls_ca_file: /nowhere.pem: No such file or directory"
    pair = {"tls_certificate_file": certificates.client.certificate, "tls_key_file": certificates.server.key}
    assert problem(tls_ca_file=certificates.ca, **pair).startswith("cluster.tls_key_file: ")
