"""The plan of a statement with the values that were bound to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pgproxy.errors import Refused
from pgproxy.planner.parameters import repeated_parameters
from pgproxy.planner.plan import Planned, Sharded, wrapped
from pgproxy.session.backends import Backends
from pgproxy.session.description import Description
from pgproxy.session.portals import Portal, Prepared
from pgproxy.wire import extended as wire


class BoundValues:
    """`describe` says what a node says of a statement."""

    def __init__(self, backends: Backends, describe: Callable[[Prepared], Awaitable[Description]]) -> None:
        self._backends = backends
        self._describe = describe

    async def planned(self, portal: Portal) -> tuple[Planned, tuple[int, ...]]:
        """The plan with the values that decide about shards and limits, and the types to tell nodes.

        A node is asked for the types that the client has left open where a guess could be wrong: for a binary value,
        for a parameter used twice, and for several shards, whose text may have lost the place that tells it.
        """
        statement, bind = portal.statement, portal.bind
        types = statement.types
        if not statement.planned.parameters or not isinstance(wrapped(statement.planned.plan), Sharded):
            return statement.planned, types
        if statement.open_types and (
            any(bind.format_of(at) == wire.BINARY for at in statement.open_types) or repeated_parameters(statement.sql)
        ):
            types = (await self._describe(statement)).parameter_types
        planned = self._bound(statement, bind, types)
        if statement.open_types and types is statement.types and _needs_several_shards(planned):
            types = (await self._describe(statement)).parameter_types
            planned = self._bound(statement, bind, types)
        return planned, types

    def _bound(self, statement: Prepared, bind: wire.Bind, types: tuple[int, ...]) -> Planned:
        count = len(bind.values)
        known = (types + (0,) * count)[:count]
        formats = [bind.format_of(at) for at in range(count)]
        return self._backends.in_force.planning().bound(statement.planned, bind.values, formats, known)


def _needs_several_shards(planned: Planned) -> bool:
    plan = wrapped(planned.plan)
    if not isinstance(plan, Sharded) or isinstance(plan.scatter, Refused):
        return False
    return len(plan.choice.shards(planned.arguments)) > 1
