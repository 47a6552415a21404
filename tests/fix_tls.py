"""Certificates for tests, made once: two authorities, of which servers and clients trust one."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from pgproxy.shardmap.model import TlsSettings
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, running_proxy


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM files."""

    certificate: str
    key: str


@dataclass(frozen=True)
class Certificates:
    """`server` is good for localhost and 127.0.0.1, `elsewhere` for another host; `other_*` comes from another CA."""

    folder: Path
    authority: trustme.CA
    ca: str
    other_ca: str
    server: Pair
    elsewhere: Pair
    expired: Pair
    client: Pair
    other_client: Pair

    def settings(self, **changes: Any) -> TlsSettings:
        chosen = {"mode": "allow", "certificate_file": self.server.certificate, "key_file": self.server.key}
        return TlsSettings(**(chosen | changes))


def write_pair(folder: Path, name: str, issued: trustme.LeafCert) -> Pair:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.touch(0o600)
    key.write_bytes(issued.private_key_pem.bytes())
    return Pair(str(certificate), str(key))


def make_certificates(folder: Path) -> Certificates:
    ours, other = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(str(folder / "ca.pem"))
    other.cert_pem.write_to_path(str(folder / "other_ca.pem"))
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    return Certificates(
        folder,
        ours,
        str(folder / "ca.pem"),
        str(folder / "other_ca.pem"),
        write_pair(folder, "server", ours.issue_cert("localhost", "127.0.0.1")),
        write_pair(folder, "elsewhere", ours.issue_cert("elsewhere.example")),
        write_pair(folder, "expired", ours.issue_cert("localhost", "127.0.0.1", not_after=past)),
        write_pair(
            folder,
            "client",
            ours.issue_cert(
                "reader@example", common_name="reader, é", organization_name="A+B", organization_unit_name="Lending"
            ),
        ),
        write_pair(folder, "other_client", other.issue_cert("reader@example", common_name="reader")),
    )


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def tls_proxy(
    cluster: LibraryCluster,
    certificates: Certificates,
    directory: Path,
    *,
    tls: dict[str, Any] | None = None,
    **rest: Any,
) -> Iterator[RunningProxy]:
    with running_proxy(cluster, directory, tls=certificates.settings(**(tls or {})), **rest) as running:
        yield running


@pytest.fixture(scope="session")
def shared_tls_proxy(
    library_cluster: LibraryCluster, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    """One proxy with TLS allowed and client certificates verified, for all tests that only query."""
    directory = tmp_path_factory.mktemp("tls-proxy")
    with tls_proxy(library_cluster, certificates, directory, tls={"client_ca_file": certificates.ca}) as running:
        yield running
