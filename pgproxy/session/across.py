"""COMMIT of a transaction that has written on several PostgreSQL nodes: everywhere or nowhere.

One of them, the decider, has the transaction's global id in its commit log, and commits when all others have prepared
their parts: its own commit is everyone's. What a failure leaves prepared, the control plane ends as the decider says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode
from pgproxy.errors import ProxyError, Refused
from pgproxy.session.backends import Backends
from pgproxy.session.client import Client
from pgproxy.session.failover import outcome_unknown
from pgproxy.session.services import Services
from pgproxy.session.settings import Settings, in_one_query, reset_statement
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.wire.messages import notice_response

_ROLLED_BACK = "ROLLBACK"
_PREPARED = "PREPARE TRANSACTION"
_CANCELLED = "57014"
_NOT_SUPPORTED = "0A000"
_READ_ONLY = "25006"
_GONE = "42704"  # no such prepared transaction: somebody else has ended it, as was decided
_MOST_TRIES = 5
_ROLE = re.compile(r"\b(role|authorization|session_authorization)\b", re.IGNORECASE)
_ROLES = ("session_authorization", "role")
# A decision that is not flushed could be lost, and the others would have gone by it: theirs always are.
_FLUSHED = (
    "SELECT pg_catalog.set_config('synchronous_commit', 'local', true)"
    " WHERE pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'off'"
)


def why_not_together(facts: CatalogFacts | None) -> str | None:
    """Why several nodes cannot commit together, as what to do about it; None if they can."""
    if facts is None or facts.max_prepared_transactions == 0:
        return "Set max_prepared_transactions on every node"
    if not facts.commit_log:
        return f"{commit_log.TABLE} is missing on a node: run pgproxy init"
    return None


def why_not_across(facts: CatalogFacts | None, writes: str, node: str) -> Refused | None:
    """Why a transaction that writes on node `writes` cannot write on `node` as well; None if it can."""
    reason = why_not_together(facts)
    if reason is None:
        return None
    return Refused(
        f"the transaction has written on node {writes} and cannot write on node {node} as well",
        f"{reason}, or commit in between.",
    )


def before_prepare(said: Iterable[str], settings: Settings) -> str:
    """What a transaction in which SETs were `said` must say first. Only the role that has prepared it may end it: that
    must be the one that the session has after it. Deferred triggers still run as the one that it has had in there."""
    if not any(_ROLE.search(text) for text in said):
        return ""
    kept = [text for name, text in settings.items() if name in _ROLES]
    return in_one_query(("SET CONSTRAINTS ALL IMMEDIATE", *map(reset_statement, _ROLES), *kept, ""))


@dataclass(frozen=True, slots=True)
class _Part:
    """What is prepared on one connection, and as what."""

    connection: BackendConnection
    gid: str


class CommitAcross:
    """One COMMIT over several connections that were written."""

    def __init__(self, client: Client, services: Services, backends: Backends) -> None:
        self._client = client
        self._services = services
        self._backends = backends

    async def run(
        self,
        writers: Sequence[BackendConnection],
        *,
        last_chance: Callable[[], None],
        peculiar: Collection[str] = (),
        before: str = "",
    ) -> str:
        """COMMIT's tag. Raises when nothing is committed, and 40003 when that is not known; what of it is prepared is
        then rolled back, and the rest the caller's to end. `last_chance` may raise before anything is decided.
        `peculiar`: nodes that may have something that cannot be prepared (NOTIFY, temporary tables). `before`: see
        `before_prepare`."""
        decider = min(writers, key=lambda one: (one.node.name not in peculiar, one not in self._backends.pins))
        parts = self._parts(decider, [connection for connection in writers if connection is not decider])
        done = False
        try:
            tag = await self._decided(decider, parts, before, last_chance)
            if tag != _ROLLED_BACK:
                await self._end(parts, "COMMIT PREPARED")
            done = True
            return tag
        except ProxyError:
            done = True
            raise
        finally:
            if not done:  # the client has gone
                self._settle(parts)

    def _parts(self, decider: BackendConnection, others: Sequence[BackendConnection]) -> list[_Part]:
        """A node prepares but one transaction under an id. Where it has several, each has an id of its own, and the
        decider writes all of them: whoever finds one of them prepared need not know of the others."""
        gids: list[str] = []
        before: Counter[str] = Counter()
        parts = []
        for connection in others:
            number = before[connection.node.name]
            before[connection.node.name] += 1
            if number == len(gids):
                gids.append(commit_log.new_id(self._services.shard_map.cluster.name, decider.node.name))
            parts.append(_Part(connection, gids[number]))
        return parts

    async def _decided(
        self, decider: BackendConnection, parts: Sequence[_Part], before: str, last_chance: Callable[[], None]
    ) -> str:
        prepared: list[_Part] = []
        try:
            # Written before anything is prepared for long: recovery then waits for this transaction, however long the
            # others take to prepare theirs.
            noted = decider.query(_note(parts), Mode.SILENT, self._client.wake)
            exchanges = await self._on_parts(parts, before + _PREPARED)
            await self._backends.all_ended([noted])
            prepared = [part for part, ended in zip(parts, exchanges, strict=True) if ended.tag == _PREPARED]
            if noted.error is not None:
                raise _not_noted(noted.error)
            for ended in exchanges:
                if ended.error is not None:
                    raise _not_prepared(ended.error)
                if ended.tag != _PREPARED:
                    tag = _ROLLED_BACK
                    break
            else:
                last_chance()
                _check_there(decider)
                tag = await self._decide(decider, parts)
        except ProxyError as error:
            if error.sqlstate != "40003":
                await self._roll_back(prepared, parts)
            raise
        if tag == _ROLLED_BACK:
            await self._roll_back(prepared, parts)
        return tag

    async def _decide(self, decider: BackendConnection, parts: Sequence[_Part]) -> str:
        (ended,) = await self._backends.ended_on_all([decider], "COMMIT")
        if ended.error is None:
            return ended.tag or ""
        if decider.closed:  # for whatever reason: it may have committed before
            return await self._asked(parts, ended.error)
        raise ended.error

    async def _asked(self, parts: Sequence[_Part], lost: ProxyError) -> str:
        """The decider's answer was lost: whether it has committed is in its log."""
        first, *others = _ids(parts)  # written together, so that one speaks for all
        pending = self._services.settle(first, self._client.wake)
        while not pending.done:
            await self._client.wait()
        try:
            committed = pending.value
        except ProxyError:
            for gid in others:
                self._services.settle(gid, _nobody)
            raise outcome_unknown(lost) from None
        if not committed:
            raise lost
        return "COMMIT"

    async def _roll_back(self, prepared: Sequence[_Part], parts: Sequence[_Part]) -> None:
        await self._end(prepared, "ROLLBACK PREPARED")
        self._settle(part for part in parts if part.connection.closed)  # it may have been prepared all the same

    async def _end(self, prepared: Sequence[_Part], verb: str) -> None:
        """What has been decided is done on all nodes; where it cannot be now, it is later."""
        late: Sequence[_Part] = prepared
        for _ in range(_MOST_TRIES):
            exchanges = await self._on_parts(late, verb)
            failed = [(part, ended.error) for part, ended in zip(late, exchanges, strict=True) if _is_late(ended)]
            late = [part for part, _ in failed]
            if not any(error is not None and error.sqlstate == _CANCELLED for _, error in failed):
                break  # a cancel comes too late: it is decided
        if late:
            self._settle(late)
            nodes = ", ".join(dict.fromkeys(part.connection.node.name for part in late))
            self._warn(f"node {nodes} will end its part of the transaction later")

    def _settle(self, parts: Iterable[_Part]) -> None:
        for gid in _ids(parts):
            self._services.settle(gid, _nobody)

    async def _on_parts(self, parts: Sequence[_Part], verb: str) -> list[Exchange]:
        wake = self._client.wake
        exchanges = [part.connection.query(f"{verb} '{part.gid}'", Mode.SILENT, wake) for part in parts]
        return await self._backends.all_ended(exchanges)

    def _warn(self, message: str) -> None:
        self._client.send(notice_response({"S": "WARNING", "V": "WARNING", "C": "01000", "M": message}))


def _ids(parts: Iterable[_Part]) -> list[str]:
    return list(dict.fromkeys(part.gid for part in parts))


def _check_there(decider: BackendConnection) -> None:
    """What was never sent has not committed."""
    if decider.closed:
        raise decider.failure


def _note(parts: Iterable[_Part]) -> str:
    rows = ", ".join(f"('{gid}', true)" for gid in _ids(parts))
    return f"{_FLUSHED}; INSERT INTO {commit_log.TABLE} (gid, committed) VALUES {rows}"


def _not_noted(error: ProxyError) -> ProxyError:
    if error.sqlstate != _READ_ONLY:
        return error
    return Refused(
        "a transaction that has written on several nodes and then become READ ONLY cannot be committed",
        "Leave out SET TRANSACTION READ ONLY.",
    )


def _not_prepared(error: ProxyError) -> ProxyError:
    """What PREPARE TRANSACTION cannot do is for transactions of one node."""
    if error.sqlstate != _NOT_SUPPORTED:
        return error
    return Refused(error.message, "The transaction has written on several nodes: do this in one that writes on one.")


def _is_late(ended: Exchange) -> bool:
    return ended.error is not None and ended.error.sqlstate != _GONE


def _nobody() -> None:
    """Nobody waits for it."""
