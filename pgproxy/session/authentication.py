"""How a client proves who it is: the first rule that matches says by which method. Messages are PostgreSQL's.

A user whom nobody knows takes the same steps, messages and time as a wrong password.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pgproxy.auth.pending import Pending
from pgproxy.auth.stored import Stored
from pgproxy.errors import ProtocolViolation, ProxyError
from pgproxy.session.client import LOG_IN_MESSAGE_BYTES, Client
from pgproxy.session.services import Services
from pgproxy.shardmap.auth_rules import TRUST_ALL, Address, AuthMethod, client_address, find_rule
from pgproxy.wire import messages
from pgproxy.wire.auth import Credential, md5_answer
from pgproxy.wire.scram import ScramKeys, ScramVerifier, mock_verifier
from pgproxy.wire.scram_server import ScramServer, WrongProof
from pgproxy.wire.startup import StartupMessage

log = logging.getLogger("pgproxy.auth")


T = TypeVar("T")


async def authenticate(client: Client, message: StartupMessage, services: Services) -> Credential:
    """All up to AuthenticationOk, which is sent. Raises a FATAL ProxyError for a client that is turned away."""
    user, database, address = message.user, message.database, _address(client)
    rules = TRUST_ALL if client.in_process else services.shard_map.auth or TRUST_ALL
    rule = find_rule(rules, address, user, database, tls=client.tls is not None)
    attempt = _Attempt(client, user, database, services)
    try:
        if rule is None:
            raise _turned_away("no authentication rule for", attempt)
        credential = await _METHODS[rule.method](attempt)
    except ProxyError as refused:
        services.metrics.logins_refused += 1
        method = "no rule" if rule is None else rule.method.value
        reason = f"{refused.message}{f' ({attempt.why})' if attempt.why else ''}"
        log.warning("log-in refused: client %s, user %.100r, method %s: %.300s", client.address, user, method, reason)
        refused.severity = "FATAL"
        raise
    return credential


@dataclass(slots=True)
class _Attempt:
    """One log-in. `why` is for the log alone: the client must not hear more than that it failed."""

    client: Client
    user: str
    database: str
    services: Services
    why: str = ""

    async def stored(self) -> Stored | None:
        """What is stored for the user, None (and `why`) for nothing."""
        stored = await self.answer(self.services.users.find(self.user, self.client.wake))
        if stored is None:
            self.why = "no such user, or none with a password"
        return stored

    async def answer(self, pending: Pending[T]) -> T:
        while not pending.done:
            await self.client.wait()
            if self.client.reader.waiting_bytes > LOG_IN_MESSAGE_BYTES:
                raise ProtocolViolation("too much data before authentication")
        return pending.value

    async def ask(self, question: bytes, expected: str) -> bytes:
        """The payload of the client's answer to an Authentication message."""
        self.client.send(question)
        self.client.flush()
        kind, payload = await self.client.message()
        if kind != messages.PASSWORD:
            raise ProtocolViolation(f"expected {expected}, got message type {kind}")
        return payload

    async def ask_password(self, question: bytes) -> bytes:
        payload = await self.ask(question, "password response")
        if not payload or payload.find(0) != len(payload) - 1:
            raise ProtocolViolation("invalid password packet size")
        if len(payload) == 1:
            raise ProxyError("28P01", "empty password returned by client")
        return payload[:-1]

    def accept(self) -> None:
        self.client.send(messages.authentication_ok())

    def wrong(self) -> ProxyError:
        self.why = self.why or "wrong password"
        return ProxyError("28P01", f'password authentication failed for user "{self.user}"')


async def _trust(attempt: _Attempt) -> Credential:
    attempt.accept()
    return Credential(attempt.user)


async def _reject(attempt: _Attempt) -> Credential:
    raise _turned_away("an authentication rule rejects connection for", attempt)


async def _cert(attempt: _Attempt) -> Credential:
    tls = attempt.client.tls
    if tls is None or tls.peer_common_name is None:
        raise ProxyError("28000", "connection requires a valid client certificate")
    if tls.peer_common_name != attempt.user:
        attempt.why = f"the certificate is {tls.peer_common_name!r}'s"
        raise ProxyError("28000", f'certificate authentication failed for user "{attempt.user}"')
    attempt.accept()
    return Credential(attempt.user)


async def _password(attempt: _Attempt) -> Credential:
    stored = await attempt.stored()
    password = await attempt.ask_password(messages.authentication(messages.AUTHENTICATION_CLEARTEXT))
    compared = stored if stored is not None else mock_verifier(attempt.services.salt_secret, attempt.user)
    check = attempt.services.check_password(compared, attempt.user, password, attempt.client.wake)
    if not await attempt.answer(check) or stored is None:
        raise attempt.wrong()
    attempt.accept()
    return Credential(attempt.user, _text(password))


async def _md5(attempt: _Attempt) -> Credential:
    """SCRAM unless an md5 hash is stored; for unknown users too, as in PostgreSQL."""
    stored = await attempt.stored()
    if not isinstance(stored, str):
        return await _exchange_scram(attempt, stored)
    salt = secrets.token_bytes(4)
    answer = await attempt.ask_password(messages.authentication(messages.AUTHENTICATION_MD5, salt))
    if not hmac.compare_digest(answer, md5_answer(stored, salt)):
        raise attempt.wrong()
    attempt.accept()
    return Credential(attempt.user, md5=stored)


async def _scram(attempt: _Attempt) -> Credential:
    stored = await attempt.stored()
    if isinstance(stored, str):
        attempt.why = "an md5 hash is stored, but the rule wants SCRAM"
        stored = None
    return await _exchange_scram(attempt, stored)


async def _exchange_scram(attempt: _Attempt, verifier: ScramVerifier | None) -> Credential:
    tls = attempt.client.tls
    known = verifier or mock_verifier(attempt.services.salt_secret, attempt.user)
    server = ScramServer(known, None if tls is None else tls.server_end_point)
    answer = server.offer()
    try:
        while not server.done:
            answer = server.feed(await attempt.ask(answer, "SASL response"))
    except WrongProof:
        raise attempt.wrong() from None
    attempt.client.send(answer)
    keys = ScramKeys(server.client_key, known.server_key, known.salt, known.iterations)
    return Credential(attempt.user, scram=keys)


_METHODS: Mapping[AuthMethod, Callable[[_Attempt], Awaitable[Credential]]] = {
    AuthMethod.TRUST: _trust,
    AuthMethod.REJECT: _reject,
    AuthMethod.PASSWORD: _password,
    AuthMethod.MD5: _md5,
    AuthMethod.SCRAM: _scram,
    AuthMethod.CERT: _cert,
}


def _turned_away(why: str, attempt: _Attempt) -> ProxyError:
    encryption = "no encryption" if attempt.client.tls is None else "SSL encryption"
    host = attempt.client.address.rpartition(":")[0]
    who = f'host "{host}", user "{attempt.user}", database "{attempt.database}", {encryption}'
    return ProxyError("28000", f"{why} {who}")


def _address(client: Client) -> Address | None:
    """None when the client was gone before we could ask for its address."""
    try:
        return client_address(client.address.rpartition(":")[0])
    except ValueError:
        return None


def _text(password: bytes) -> str | None:
    try:
        return password.decode()
    except UnicodeDecodeError:
        return None  # a node, too, gets it from its client only
