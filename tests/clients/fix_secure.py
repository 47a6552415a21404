"""A proxy that lets clients in over TLS only, by SCRAM; and what every driver must say there."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import psycopg
import pytest

from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule
from tests.fix_nodes import LibraryCluster, ReferencePostgres
from tests.fix_proxy import RunningProxy
from tests.fix_tls import Certificates, tls_proxy
from tests.session.fix_authentication import with_rules, write_users

READER, SECRET = "reader", "secret"


@pytest.fixture(scope="session")
def secure_proxy(
    library_cluster: LibraryCluster,
    reference_pg: ReferencePostgres,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("secure-clients")
    write_users(directory / "users.txt", {READER: _verifier(reference_pg)})
    rule = AuthRule(AuthMethod("scram-sha-256"), (ip_network("127.0.0.0/8"), ip_network("::1/128")), (READER,))
    change = with_rules(rule, file=directory / "users.txt")
    with tls_proxy(library_cluster, certificates, directory, tls={"mode": "require"}, change=change) as running:
        yield running


def _verifier(reference: ReferencePostgres) -> str:
    """What PostgreSQL itself stores for the password."""
    with psycopg.connect(reference.conninfo) as connection:
        connection.execute(f"CREATE ROLE {READER} PASSWORD '{SECRET}'".encode())
        (stored,) = connection.execute(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{READER}'").fetchone()
        connection.rollback()
        return str(stored)
