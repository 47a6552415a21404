"""From the first byte to the first ReadyForQuery: encryption requests, cancel requests, log-in, first settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pgproxy.errors import NodeFailure, ProxyError, Refused
from pgproxy.planner.settings import check_setting
from pgproxy.session.authentication import authenticate
from pgproxy.session.backends import Backends
from pgproxy.session.client import Client
from pgproxy.session.encryption import TLS_HANDSHAKE, Encryption, check_encryption
from pgproxy.session.services import Services
from pgproxy.session.settings import start_up_statement
from pgproxy.wire import messages
from pgproxy.wire.auth import Credential
from pgproxy.wire.startup import (
    CancelRequest,
    StartupMessage,
    parse_first_packet,
    startup_settings,
)

__all__ = ["Identity", "check_encryption", "first_message", "identify", "log_in", "take_settings"]

ADMIN_DATABASE = "pgproxy"
_UTF8_NAMES = frozenset({"utf8", "unicode", "auto"})
_WITHOUT_NODES = {
    "server_version": "16.0",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the client is and what it asked for."""

    user: str
    database: str
    application_name: str
    admin: bool


async def first_message(client: Client, services: Services) -> StartupMessage | None:
    """Answer requests for encryption until the StartupMessage; None after a CancelRequest, which ends the
    connection without an answer."""
    while not client.untyped:
        await client.more()
    encryption = Encryption(client, services)
    if client.untyped[0] == TLS_HANDSHAKE and services.serving_tls is not None:
        await encryption.begin_directly()
    while True:
        parsed = parse_first_packet(bytes(client.untyped))
        if parsed is None:
            await client.more()
            continue
        packet, size = parsed
        del client.untyped[:size]
        if isinstance(packet, StartupMessage):
            client.start(bytes(client.untyped))
            return packet
        if isinstance(packet, CancelRequest):
            services.cancel(packet.pid, packet.key)
            return None
        await encryption.answer(packet)


async def log_in(client: Client, message: StartupMessage, services: Services) -> Credential:
    """Protocol version and authentication, up to AuthenticationOk."""
    if message.must_negotiate:
        client.send(messages.negotiate_protocol_version(message.agreed_minor, message.protocol_options))
    return await authenticate(client, message, services)


def identify(message: StartupMessage, services: Services) -> Identity:
    """Raises 3D000 for a database that is not the cluster's, 42501 where the admin database is not for this user."""
    database = message.database
    admin = database == ADMIN_DATABASE
    if admin and services.shard_map.auth and message.user not in services.shard_map.proxy.admin_users:
        raise ProxyError(
            "42501",
            f'permission denied for database "{ADMIN_DATABASE}"',
            hint="The shard map's proxy.admin_users names who may use it.",
            severity="FATAL",
        )
    if not admin and database != services.shard_map.cluster.database:
        raise ProxyError(
            "3D000",
            f'database "{database}" does not exist',
            hint=f'Connect to "{services.shard_map.cluster.database}", or to "{ADMIN_DATABASE}" for administration.',
            severity="FATAL",
        )
    return Identity(message.user, database, message.parameters.get("application_name", ""), admin)


async def take_settings(
    message: StartupMessage, identity: Identity, backends: Backends, services: Services
) -> dict[str, str]:
    """Make the start-up packet's settings the session's; the ParameterStatus values that result.

    A node that has accepted them once need not be asked for the next client with the same ones.
    """
    wanted = startup_settings(message)
    _check_syntax(wanted)
    wanted.pop("client_encoding", None)
    if identity.admin:
        return services.start_up_parameters("", {}) or _WITHOUT_NODES
    backends.settings = backends.defaults = {name: start_up_statement(name, value) for name, value in wanted.items()}
    known = services.start_up_parameters(backends.node_user, wanted)
    if known is not None:
        return known
    try:
        connection = await backends.lease(services.any_node())
    except NodeFailure:
        raise
    except ProxyError as refused:
        refused.severity = "FATAL"
        raise
    parameters = dict(connection.parameters)
    backends.give_back(connection)
    services.remember_start_up(backends.node_user, wanted, parameters)
    return parameters


def _check_syntax(settings: Mapping[str, str]) -> None:
    """Raise 0A000 for settings under which the proxy would read statements otherwise than the nodes do."""
    encoding = settings.get("client_encoding", "UTF8")
    if re.sub(r"[^a-z0-9]", "", encoding.lower()) not in _UTF8_NAMES:
        raise Refused(
            f'client_encoding "{encoding}" is not supported',
            "Use client_encoding UTF8 (libpq: PGCLIENTENCODING=UTF8).",
        )
    for name, value in settings.items():
        if name != "client_encoding":
            check_setting(name, value.lower())
