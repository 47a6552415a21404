"""The control plane's own connections to nodes, by psycopg: opened with the shard map's log-in, cut without waiting."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from psycopg import AsyncConnection

from pgproxy.shardmap.members import members_of
from pgproxy.shardmap.model import ClusterSettings, Node

T = TypeVar("T")

_NO_FILE = "/nonexistent/file"


async def connect(
    node: Node, cluster: ClusterSettings, *, application_name: str, timeout_s: float, lock_timeout_s: float = 0.0
) -> AsyncConnection:
    """A connection in autocommit mode. Raises psycopg.OperationalError (or TimeoutError after `timeout_s`)."""
    async with asyncio.timeout(timeout_s):
        return await AsyncConnection.connect(
            **addresses(node),
            dbname=cluster.database,
            user=cluster.user,
            password=cluster.password,
            **tls_options(cluster),
            gssencmode="disable",  # CockroachDB answers a GSSENCRequest with an error
            client_encoding="utf8",
            application_name=application_name,
            options=f"-c lock_timeout={math.ceil(lock_timeout_s * 1000)}",
            connect_timeout=max(2, math.ceil(timeout_s)),  # libpq's least is 2; ours above is the real one
            autocommit=True,
            prepare_threshold=None,
        )


def addresses(node: Node) -> dict[str, Any]:
    """libpq's options for where the node is: with replicas, whichever member is the primary."""
    members = members_of(node).values()
    attributes = {"target_session_attrs": "primary"} if node.replicas else {}
    hosts = ",".join(member.host for member in members)
    ports = ",".join(str(member.port) for member in members)
    return {"host": hosts, "port": ports, **attributes}


def tls_options(cluster: ClusterSettings) -> dict[str, Any]:
    """libpq's options for what `tls.node` means for the other connections. Files of the proxy's own user, which libpq
    would find in ~/.postgresql, play no part."""
    options = {
        "sslmode": cluster.tls,
        "sslrootcert": cluster.tls_ca_file or _NO_FILE,
        "sslcert": cluster.tls_certificate_file or _NO_FILE,
        "sslkey": cluster.tls_key_file or _NO_FILE,
    }
    return {"sslmode": "disable"} if cluster.tls == "disable" else options


@asynccontextmanager
async def connection(
    node: Node, cluster: ClusterSettings, *, application_name: str, timeout_s: float
) -> AsyncIterator[AsyncConnection]:
    """`connect`, closed at the end."""
    opened = await connect(node, cluster, application_name=application_name, timeout_s=timeout_s)
    try:
        yield opened
    finally:
        await opened.close()


async def run(connection: AsyncConnection, work: Coroutine[Any, Any, T]) -> T:
    """Await `work` on this connection; when cancelled, cut the connection and be gone.

    psycopg alone would ask the server to cancel and wait up to ten seconds for a stalled one.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        if not task.done():
            _cut(connection)  # the task sees end of file and ends
            await asyncio.wait({task})
        with suppress(Exception):
            task.result()
        raise
    return task.result()


def one_line(error: BaseException) -> str:
    """What went wrong, without libpq's advice on further lines."""
    lines = str(error).strip().splitlines()
    return lines[0].removeprefix("connection failed: ") if lines else type(error).__name__


def _cut(connection: AsyncConnection) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
