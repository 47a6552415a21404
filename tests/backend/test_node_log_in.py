"""Logging in to a node with keys instead of a password, bound to its TLS connection."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from pgproxy.backend.connection import BackendConnection
from pgproxy.shardmap.model import ClusterSettings, Engine, Node
from pgproxy.tls.node import load_node_tls
from pgproxy.wire import scram
from pgproxy.wire.auth import Credential
from tests.fix_system_nodes import SecureCluster
from tests.fix_tls import Certificates

pytestmark = pytest.mark.system_postgres


@pytest.mark.asyncio
async def test_scram_plus_with_keys(secure_cluster: SecureCluster, certificates: Certificates) -> None:
    salted = scram.salted_password(b"secret", b"salt" * 4, 4096)
    verifier = scram.make_verifier("secret", salt=b"salt" * 4)
    keys = scram.ScramKeys(scram.client_key_of(salted), verifier.server_key, verifier.salt, verifier.iterations)
    embedded = secure_cluster.nodes["west-library"]
    with psycopg.connect(embedded.conninfo(), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS keyed")
        connection.execute(f"CREATE ROLE keyed LOGIN PASSWORD '{verifier}'".encode())
    secure_cluster.secure("hostssl all all all scram-sha-256\n")
    cluster = ClusterSettings(
        "c", Engine.POSTGRESQL, "postgres", "nobody", tls="verify-full", tls_ca_file=certificates.ca
    )
    node = Node("west-library", "localhost", embedded.port)
    opened = await BackendConnection.open(
        node, cluster, asyncio.get_running_loop(), 20.0, load_node_tls(cluster), Credential("keyed", scram=keys)
    )
    try:
        assert opened.parameters["session_authorization"] == "keyed"
    finally:
        opened.close()
