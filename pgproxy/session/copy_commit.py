"""The end of a COPY FROM STDIN outside of a transaction, whose shards have a connection and a transaction each: all are
committed or none where the nodes can prepare transactions, else each by itself, with all constraints checked before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pgproxy.backend.exchange import Exchange, Mode
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.session.across import CommitAcross, why_not_together
from pgproxy.session.backends import Backends
from pgproxy.session.client import Client
from pgproxy.session.copy_legs import Leg
from pgproxy.session.services import Services


class CommitLegs:
    """`run` raises when nothing is committed, and 40003 when that is not known."""

    def __init__(self, client: Client, services: Services, backends: Backends) -> None:
        self._client = client
        self._services = services
        self._backends = backends

    async def run(self, legs: Sequence[Leg]) -> None:
        for leg in legs:
            if not leg.rows:
                await self._backends.execute(leg.connection, "ROLLBACK")
        written = [leg for leg in legs if leg.rows]
        connections = [leg.connection for leg in written]
        if len(written) > 1:
            # On all at once, and before anything is prepared: of several violations the first shard's is told.
            await self._backends.execute_on_all(connections, "SET CONSTRAINTS ALL IMMEDIATE")
        self._backends.check_cancelled()
        if len(written) > 1 and self._can_prepare(written):
            across = CommitAcross(self._client, self._services, self._backends)
            if await across.run(connections, last_chance=self._backends.check_cancelled) != "COMMIT":
                raise _rolled_back()
        else:
            await self._one_by_one(written)

    def _can_prepare(self, written: Sequence[Leg]) -> bool:
        """Where a node has several shards, it prepares as many transactions."""
        facts = self._backends.in_force.facts
        if facts is None or self._backends.interchangeable or why_not_together(facts):
            return False
        return max(Counter(leg.connection.node.name for leg in written).values()) <= facts.max_prepared_transactions

    async def _one_by_one(self, written: Sequence[Leg]) -> None:
        exchanges = [leg.connection.query("COMMIT", Mode.SILENT, self._client.wake) for leg in written]
        while not all(exchange.finished for exchange in exchanges):
            await self._client.wait()
        failed = [leg for leg, exchange in zip(written, exchanges, strict=True) if not _committed(exchange)]
        if not failed:
            return
        error = next((exchange.error for exchange in exchanges if exchange.error is not None), None)
        if len(failed) == len(written) and (len(written) == 1 or not isinstance(error, NodeFailure)):
            raise error or _rolled_back()
        raise _in_doubt([leg for leg in written if leg not in failed], failed)


def _committed(exchange: Exchange) -> bool:
    return exchange.error is None and exchange.tag == "COMMIT"


def _rolled_back() -> ProxyError:
    return ProxyError("40000", "the COPY was rolled back by its node")


def _in_doubt(committed: Sequence[Leg], failed: Sequence[Leg]) -> ProxyError:
    def nodes(legs: Sequence[Leg]) -> str:
        return ", ".join(sorted({leg.connection.node.name for leg in legs})) or "none"

    return ProxyError(
        "40003",
        f"COPY was committed on node {nodes(committed)}, and whether it was on node {nodes(failed)} is not known",
        hint="Compare the rows on these nodes with the data before you copy it again.",
    )
