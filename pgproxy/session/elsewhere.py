"""Nodes with replicas, as one session uses them: where a statement runs, and when it runs once more elsewhere.

A statement outside of a transaction runs again when that cannot be noticed and cannot do anything twice: a write that
a standby has refused (25006: the primary has moved), and a read that a replica could not answer, before anything of
its rows was sent. What the primary then says is the answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgproxy.backend.exchange import ServerError
from pgproxy.backend.pool import NodePool
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.session.call import Call
from pgproxy.session.client import Client
from pgproxy.session.services import Services
from pgproxy.session.settings import Settings
from pgproxy.wire.frames import first_message_end
from pgproxy.wire.messages import NO_DATA, ROW_DESCRIPTION

_DESCRIPTIONS = (ROW_DESCRIPTION, NO_DATA)
_READ_ONLY_TRANSACTION = "25006"
_CANCELED = "57014"
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
        self._places: dict[str, tuple[str, bool]] = {}  # by node: where the statement runs, and whether that is a replica
        self._primary_only = False

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
        reads = reads and not self._primary_only and not any(name in settings for name in _ISOLATION_SETTINGS)
        place = services.place(node, reads=reads)
        failure = services.why_down(place)
        if failure is not None:
            raise failure
        if place != node:
            self._places[node] = place, reads and place != services.place(node)
        return pools[place]

    async def may_repeat(self, error: ProxyError) -> bool:
        """Whether the statement, which has failed so outside of a transaction, is to run once more."""
        if not self._places or self._primary_only or self.told:
            return False
        if any(on_replica for _, on_replica in self._places.values()):
            answered = isinstance(error, ServerError) and not error.is_stale_plan and error.sqlstate != _CANCELED
            return answered or isinstance(error, NodeFailure)
        if isinstance(error, ServerError) and error.sqlstate == _READ_ONLY_TRANSACTION:
            return await self._has_moved(error.node)
        return False

    def repeat(self, call: Call) -> None:
        """It runs once more, until `end`: reads too on the primary, as long as there is one."""
        call.again()
        self._has_description = bool(self._description)
        nodes = list(self._places)
        self._primary_only = all(self._services.why_down(node) is None for node in nodes)
        self._places.clear()

    def end(self) -> None:
        self._primary_only = False

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
        place, _ = self._places[node]
        if self._services.place(node) == place:
            pending = self._services.seek_primary(node, self._client.wake)
            while not pending.done:
                await self._client.wait()
        return self._services.place(node) not in (place, node)
