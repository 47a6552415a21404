"""COMMIT of a transaction that has written on several PostgreSQL nodes: everywhere or nowhere.

One of them, the decider, writes the transaction's global id into its commit log when all others have prepared their
parts: its own commit is everyone's. What a failure leaves prepared, the control plane ends as the decider says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode
from pgproxy.errors import ConnectionLost, ProxyError, Refused
from pgproxy.session.backends import Backends
from pgproxy.session.client import Client
from pgproxy.session.failover import outcome_unknown
from pgproxy.session.services import Services
from pgproxy.shardmap import commit_log
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.wire.messages import notice_response

_ROLLED_BACK = "ROLLBACK"
_PREPARED = "PREPARE TRANSACTION"
_ENDED_ALREADY = "42704"  # by recovery, which has asked the decider as well


def why_not_across(facts: CatalogFacts | None, writes: str, node: str) -> Refused | None:
    """Why a transaction that writes on node `writes` cannot write on `node` as well; None if it can."""
    if facts is None or facts.max_prepared_transactions == 0:
        hint = "Set max_prepared_transactions on every node, or commit in between."
    elif not facts.commit_log:
        hint = f"{commit_log.TABLE} is missing on a node: run pgproxy init, or commit in between."
    else:
        return None
    return Refused(f"the transaction has written on node {writes} and cannot write on node {node} as well", hint)


class CommitAcross:
    """One COMMIT over several nodes that were written."""

    def __init__(self, client: Client, services: Services, backends: Backends) -> None:
        self._client = client
        self._services = services
        self._backends = backends

    async def run(self, writers: Mapping[str, BackendConnection], *, last_chance: Callable[[], None]) -> str:
        """COMMIT's tag. Raises when nothing is committed, and 40003 when that is not known; what of it is prepared is
        then rolled back, and the rest the caller's to end. `last_chance` may raise before anything is decided."""
        decider = self._decider(writers)
        others = [connection for node, connection in writers.items() if node != decider]
        gid = commit_log.new_id(self._services.shard_map.cluster.name, decider)
        done = False
        try:
            tag = await self._decided(gid, writers[decider], others, last_chance)
            if tag != _ROLLED_BACK:
                await self._end(others, f"COMMIT PREPARED '{gid}'", gid)
            done = True
            return tag
        except ProxyError:
            done = True
            raise
        finally:
            if not done:  # the client has gone
                self._services.settle(gid, _nobody)

    def _decider(self, writers: Mapping[str, BackendConnection]) -> str:
        """One where the session keeps a connection, since what it keeps there may be what cannot be prepared."""
        return next((node for node in writers if node in self._backends.pins.by_node), next(iter(writers)))

    async def _decided(
        self, gid: str, decider: BackendConnection, others: Sequence[BackendConnection], last_chance: Callable[[], None]
    ) -> str:
        prepared: list[BackendConnection] = []
        try:
            exchanges = await self._on_all(others, f"{_PREPARED} '{gid}'")
            prepared = [one for one, ended in zip(others, exchanges, strict=True) if ended.tag == _PREPARED]
            for ended in exchanges:
                if ended.error is not None:
                    raise ended.error
                if ended.tag != _PREPARED:
                    tag = _ROLLED_BACK
                    break
            else:
                last_chance()
                tag = await self._decide(gid, decider)
        except ProxyError as error:
            if error.sqlstate != "40003":
                await self._roll_back(gid, prepared, others)
            raise
        if tag == _ROLLED_BACK:
            await self._roll_back(gid, prepared, others)
        return tag

    async def _decide(self, gid: str, decider: BackendConnection) -> str:
        sql = f"INSERT INTO {commit_log.TABLE} (gid, committed) VALUES ('{gid}', true); COMMIT"
        (ended,) = await self._on_all([decider], sql)
        if isinstance(ended.error, ConnectionLost):
            return await self._asked(gid, ended.error)
        if ended.error is not None:
            raise ended.error
        return ended.tag or ""

    async def _asked(self, gid: str, lost: ConnectionLost) -> str:
        """The decider's answer was lost: whether it has committed is in its log."""
        pending = self._services.settle(gid, self._client.wake)
        while not pending.done:
            await self._client.wait()
        try:
            committed = pending.value
        except ProxyError:
            raise outcome_unknown(lost) from None
        if not committed:
            raise lost
        return "COMMIT"

    async def _roll_back(
        self, gid: str, prepared: Sequence[BackendConnection], others: Sequence[BackendConnection]
    ) -> None:
        await self._end(prepared, f"ROLLBACK PREPARED '{gid}'", gid)
        if any(connection.closed for connection in others):
            self._services.settle(gid, _nobody)  # it may have been prepared all the same

    async def _end(self, prepared: Sequence[BackendConnection], sql: str, gid: str) -> None:
        """What has been decided is done on all nodes; where it cannot be now, it is later."""
        exchanges = await self._on_all(prepared, sql)
        failures = ((one.node.name, ended.error) for one, ended in zip(prepared, exchanges, strict=True))
        late = [node for node, error in failures if error is not None and error.sqlstate != _ENDED_ALREADY]
        if late:
            self._services.settle(gid, _nobody)
            self._warn(f"node {', '.join(late)} will end its part of the transaction later")

    async def _on_all(self, connections: Sequence[BackendConnection], sql: str) -> list[Exchange]:
        """The ended exchanges, with their errors."""
        exchanges = [connection.query(sql, Mode.SILENT, self._client.wake) for connection in connections]
        for exchange in exchanges:
            while not exchange.finished:
                await self._client.wait()
            self._backends.reported.relay(exchange.asides)
        return exchanges

    def _warn(self, message: str) -> None:
        self._client.send(notice_response({"S": "WARNING", "V": "WARNING", "C": "01000", "M": message}))


def _nobody() -> None:
    """Nobody waits for it."""
