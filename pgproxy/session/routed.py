"""One usual sequence of the extended protocol that one shard answers: what was bound, and how it is sent."""

from __future__ import annotations

from dataclasses import dataclass

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.prepared import Opening
from pgproxy.operators.arguments import Arguments
from pgproxy.planner.plan import Sharded, sql_for
from pgproxy.session.bound_route import BoundRoute
from pgproxy.session.portals import Prepared
from pgproxy.shardmap.model import Shard
from pgproxy.wire.extended import bind_complete, parse_complete
from pgproxy.wire.sequences import BoundSequence, bind_head

_PARSED, _BOUND = parse_complete(), bind_complete()
_PARSED_AND_BOUND = _PARSED + _BOUND


@dataclass(slots=True)
class Routed:
    """`data` is what the client has sent, `sequence` where it stands there. The client's own bytes go to the node from
    Bind's formats on: only the statement's name there is another."""

    data: bytes
    sequence: BoundSequence
    statement: Prepared
    route: BoundRoute
    shard: Shard
    types: tuple[int, ...]
    described: tuple[int, ...] | None  # when the shard was found

    @property
    def plan(self) -> Sharded:
        return self.route.plan

    @property
    def arguments(self) -> Arguments:
        """The plan's. Read when they are asked for: the usual answer needs none."""
        return self.route.arguments(self.data, self.sequence.values_at, self.described)

    def open(self, connection: BackendConnection) -> Opening:
        sql = self.route.text(self.shard) or sql_for(self.plan.route, self.shard, self.arguments)
        return connection.prepared.open(sql, self.types, lasting=bool(self.statement.name))

    def messages(self, opening: Opening, end: int) -> bytes:
        """From the opening up to `end` in the client's data."""
        sequence = self.sequence
        head = bind_head(opening.names, sequence.bind_end - sequence.values_at)
        return b"%b%b%b" % (opening.data, head, self.data[sequence.values_at : end])

    @property
    def payload(self) -> bytes:
        """The Bind's."""
        sequence = self.sequence
        return self.data[sequence.values_at - len(sequence.name) - 2 : sequence.bind_end]

    @property
    def replies(self) -> bytes:
        """What the client is to be told before the rows."""
        return _BOUND if self.sequence.parse is None else _PARSED_AND_BOUND
