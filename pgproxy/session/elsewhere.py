"""Nodes with replicas, as one session uses them: where a statement runs, and when it runs once more elsewhere.

A statement outside of a transaction runs again when that cannot be noticed and cannot do anything twice: a write that
a standby has refused (25006: the primary has moved), whatever was turned away before it was sent, and, where read_from
lets replicas be read, a read that one member could not answer, before anything of its rows was sent. What the primary
then says is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgproxy.backend.exchange import ServerError
from pgproxy.backend.pool import NodePool
from pgproxy.errors import NodeFailure, ProxyError, TurnedAway
from pgproxy.session.client import Client
from pgproxy.session.services import Services
from pgproxy.session.settings import Settings
from pgproxy.wire.frames import first_message_end
from pgproxy.wire.messages import NO_DATA, ROW_DESCRIPTION

_DESCRIPTIONS = (ROW_DESCRIPTION, NO_DATA)
_READ_ONLY_TRANSACTION = "25006"
_CANCELED = "57014"
_GOING_AWAY = ("57P01", "57P02", "57P03")  # as a member says it: it shuts down, has crashed, or starts
# Their values are the session's choice of isolation; a standby knows no SERIALIZABLE.
_ISOLATION_SETTINGS = ("default_transaction_isolation", "session characteristics")


class Elsewhere:
    """`told`: the client has had more of the running statement's answer than what its rows are like."""

    def __init__(self, client: Client, services: Services) -> None:
        self.told = False
        self._description = b""  # what it has had of that, or that there are none
        self._has_description = False  # from the first run
        self._client = client
        self._services = services
        self._places: dict[str, tuple[str, bool]] = {}  # by node: where the statement runs, and whether as a read
        self._failed: dict[str, str] | None = None  # of a statement that runs once more: where it has failed

    def begin(self) -> None:
        """A statement begins."""
        self.told = self._has_description = False
        self._description = b""
        self._places.clear()

    def pass_on(self, chunk: bytes) -> bytes:
        """What of this piece of the answer goes to the client."""
        if self._has_description:
            chunk = self._without_description(chunk)
        if self.told:
            return chunk
        if chunk[0] in _DESCRIPTIONS and not self._description and first_message_end(chunk) == len(chunk):
            self._description = chunk
        else:
            self.told = True
        return chunk

    def pool(self, pools: Mapping[str, NodePool], node: str, settings: Settings, *, reads: bool) -> NodePool:
        """The member of the node for the statement. Raises NodeFailure."""
        services = self._services
        reads = reads and not any(name in settings for name in _ISOLATION_SETTINGS)
        place = self._place(node, reads=reads)
        failure = services.why_down(place)
        if failure is not None:
            raise failure
        if place != node:
            self._places[node] = place, reads
        return pools[place]

    async def may_repeat(self, error: ProxyError) -> bool:
        """Whether the statement, which has failed so outside of a transaction, is to run once more."""
        if not self._places or self._failed is not None or self.told:
            return False
        if isinstance(error, TurnedAway):
            return True
        if isinstance(error, NodeFailure) or error.sqlstate in _GOING_AWAY:
            return all(reads for _, reads in self._places.values())
        if not isinstance(error, ServerError) or error.is_stale_plan or error.sqlstate == _CANCELED:
            return False
        if any(reads and place != self._services.place(node) for node, (place, reads) in self._places.items()):
            return True
        return error.sqlstate == _READ_ONLY_TRANSACTION and await self._has_moved(error.node)

    def repeat(self) -> None:
        """It runs once more, until `end`: elsewhere, and on the primary where that is elsewhere."""
        self._has_description = bool(self._description)
        self._failed = {node: place for node, (place, _) in self._places.items()}
        self._places.clear()

    def end(self) -> None:
        self._failed = None

    def _place(self, node: str, *, reads: bool) -> str:
        services = self._services
        primary = services.place(node)
        if self._failed is None or not reads:
            return services.place(node, reads=True) if reads else primary
        failed = self._failed.get(node)
        if primary not in (failed, node):
            return primary
        return services.place(node, reads=True, other_than=failed)

    def _without_description(self, chunk: bytes) -> bytes:
        """The second run's first piece. The members have one catalog, but one of them may be behind in it."""
        self._has_description = False
        self.told = True
        if not chunk.startswith(self._description):
            hint = "Run the statement again."
            raise ProxyError("0A000", "the result's columns have changed on the primary", hint=hint)
        return chunk[len(self._description) :]

    async def _has_moved(self, node: str) -> bool:
        """Whether the node's primary is another than the one that refused. A client that asked for a read-only
        transaction itself is refused by the true primary, and hears so."""
        place, _ = self._places.get(node, (node, False))
        if self._services.place(node) == place:
            pending = self._services.seek_primary(node, self._client.wake)
            while not pending.done:
                await self._client.wait()
        return self._services.place(node) not in (place, node)
