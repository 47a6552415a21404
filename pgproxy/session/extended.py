"""The extended query protocol of one session: prepared statements, portals, and what is still owed for them.

A Parse or Bind is answered late: with the answer to the Execute it belongs to, when the node has accepted all
three, or at Describe, Flush or Sync, when a node is asked about the statement alone. So the usual sequence up to Sync
costs one round trip to a node, and errors come in the place where PostgreSQL has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import ServerError
from pgproxy.backend.prepared import BoundStatement
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.planner.parameters import repeated_parameters
from pgproxy.planner.plan import (
    Empty,
    Explain,
    Planned,
    Scatter,
    Several,
    Sharded,
    Status,
    ToNode,
    sql_for,
)
from pgproxy.planner.planner import Planner
from pgproxy.session.backends import Backends
from pgproxy.session.call import BoundCall
from pgproxy.session.client import Client
from pgproxy.session.description import Description
from pgproxy.session.services import Services
from pgproxy.session.statements import Statements
from pgproxy.session.transactions import Transactions
from pgproxy.wire import extended as wire
from pgproxy.wire.frames import first_message_end
from pgproxy.wire.messages import SYNC, command_complete
from pgproxy.wire.rows import Column, parse_row_description, row_description

_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(\w+)", re.DOTALL)
_TAGS = {"SHOW": "SHOW", "EXPLAIN": "EXPLAIN", "INSERT": "INSERT 0 0", "UPDATE": "UPDATE 0", "DELETE": "DELETE 0"}


@dataclass(slots=True)
class Prepared:
    """A statement that the client has parsed. `accepted` by a node, or nothing that a node need accept."""

    name: str
    sql: str
    types: tuple[int, ...]
    planned: Planned
    planner: Planner
    accepted: bool
    description: Description | None = None

    @property
    def open_types(self) -> list[int]:
        """The parameters (from 0) whose type the client has left to the server."""
        return [at for at in range(self.planned.parameters) if at >= len(self.types) or not self.types[at]]

    @property
    def for_nodes(self) -> bool:
        return isinstance(self.planned.plan, (Sharded, ToNode))

    @property
    def asks_node(self) -> bool:
        """A node is to say whether it is right, and what its parameters are."""
        return isinstance(self.planned.plan, (Sharded, ToNode, Explain))


@dataclass(slots=True)
class Portal:
    statement: Prepared
    bind: wire.Bind
    number: int = 0  # counts Binds: a ROLLBACK TO ends those that came after its savepoint
    done: bool = False
    suspended_on: tuple[BackendConnection, str] | None = None  # and its name there


@dataclass(slots=True)
class _Owed:
    """A reply that waits, and what it is for."""

    reply: bytes
    parsed: Prepared | None = None
    bound: Portal | None = None
    described: Prepared | Portal | None = None


def tag_without_rows(sql: str) -> str:
    """The CommandComplete of a portal that has given all its rows."""
    word = _FIRST_WORD.match(sql)
    return _TAGS.get(word[1].upper() if word else "", "SELECT 0")


class Extended:
    """Each method handles one message. They raise ProxyError; the session then skips to Sync (`abandon`)."""

    def __init__(
        self,
        client: Client,
        services: Services,
        backends: Backends,
        transactions: Transactions,
        runner: Statements,
        plan: Callable[[str], Planned],
    ) -> None:
        self._client = client
        self._services = services
        self._backends = backends
        self._transactions = transactions
        self._runner = runner
        self._plan = plan
        self._statements: dict[str, Prepared] = {}
        self._portals: dict[str, Portal] = {}
        self._owed: list[_Owed] = []
        self._portal_count = 0
        self.sql = ""  # of the message that came last
        transactions.on_ended = self._portals.clear
        transactions.on_rolled_back = self._end_portals

    @property
    def owes(self) -> bool:
        return bool(self._owed)

    async def abandon(self, error: ProxyError) -> ProxyError:
        """A message failed. What is owed for those before it comes first, and may fail first: the error to tell."""
        try:
            if isinstance(error, (ServerError, NodeFailure)):
                self._owed.clear()
            else:
                await self._settle()
        except ProxyError as earlier:
            error = earlier
        self._statements = {name: statement for name, statement in self._statements.items() if statement.accepted}
        if self._transactions.current is None:
            self._portals.clear()
        return error

    async def before_query(self) -> None:
        """A simple Query came."""
        if self._owed:
            await self._settle()
        self._statements.pop("", None)
        self._drop_portal("")

    def deallocate(self, name: str | None) -> None:
        """DEALLOCATE; None is ALL."""
        if name is None:
            self._statements.clear()
        elif self._statements.pop(name, None) is None:
            raise ProxyError("26000", f'prepared statement "{name}" does not exist')

    # Messages

    async def parse(self, payload: bytes) -> None:
        message = wire.parse_parse(payload)
        self.sql = message.sql
        if not message.name:
            self._statements.pop("", None)  # gone even if this one fails
        planned = self._plan(message.sql)
        if isinstance(planned.plan, Several):
            raise ProxyError("42601", "cannot insert multiple commands into a prepared statement")
        if not isinstance(planned.plan, Empty):
            self._transactions.check_allows(planned.plan)
        planner = self._services.planner()
        statement = Prepared(message.name, message.sql, message.parameter_types, planned, planner, accepted=False)
        if message.name in self._statements:
            await self._settle()
            await self._description_of(statement)  # PostgreSQL looks at the name last
            raise ProxyError("42P05", f'prepared statement "{message.name}" already exists')
        self._statements[message.name] = statement
        self._owed.append(_Owed(wire.parse_complete(), parsed=statement))

    async def bind(self, payload: bytes) -> None:
        try:
            message = wire.parse_bind(payload)
        except ProxyError:
            self._statement(wire.bound_statement(payload))  # PostgreSQL looks for it before it reads on
            raise
        statement = self._statement(message.statement)
        self._renew(statement)
        wanted = max(statement.planned.parameters, len(statement.types))
        if len(message.values) != wanted:
            raise ProxyError(
                "08P01",
                f"bind message supplies {len(message.values)} parameters, "
                f'but prepared statement "{statement.name}" requires {wanted}',
            )
        self._transactions.check_allows(statement.planned.plan)
        if message.portal and message.portal in self._portals:
            raise ProxyError("42P03", f'cursor "{message.portal}" already exists')
        self._drop_portal(message.portal)
        self._transactions.portals += 1
        portal = self._portals[message.portal] = Portal(statement, message, self._transactions.portals)
        self._owed.append(_Owed(wire.bind_complete(), bound=portal))

    async def describe(self, payload: bytes) -> None:
        message = wire.parse_describe(payload)
        find = self._portal if message.kind == wire.PORTAL else self._statement
        self._owed.append(_Owed(b"", described=find(message.name)))

    async def execute(self, payload: bytes) -> None:
        message = wire.parse_execute(payload)
        portal = self._portal(message.portal)
        self.sql = portal.statement.sql
        if self._services.logs_statements:
            self._services.log_statement(self.sql, self._client.address)
        if portal.suspended_on is not None:
            await self._run_on(portal, portal.suspended_on, message.max_rows)
            return
        self._transactions.check_allows(portal.statement.planned.plan)
        if portal.done:
            await self._run_again(portal, message.portal)
            return
        portal.done = not isinstance(portal.statement.planned.plan, Empty)
        await self._run(portal, message.max_rows)

    async def close(self, payload: bytes) -> None:
        message = wire.parse_close(payload)
        if message.kind == wire.PORTAL:
            self._drop_portal(message.name)
        else:
            self._statements.pop(message.name, None)  # to close what does not exist is no error
        self._owed.append(_Owed(wire.close_complete()))

    async def flush(self) -> None:
        await self._settle()
        self._client.flush()

    async def sync(self) -> None:
        """Answer what is owed, and end the implicit transaction of the messages since the last Sync."""
        await self._settle()
        await self._transactions.end_implicit()
        if self._transactions.current is None:
            self._portals.clear()

    # Running

    async def _run(self, portal: Portal, max_rows: int) -> None:
        statement = portal.statement
        taken = self._take_owed(portal)
        await self._settle()
        parse_reply = next((item.reply for item in taken if item.parsed is not None), None)
        bind_reply = next((item.reply for item in taken if item.bound is not None), None)
        describe = any(item.described is not None for item in taken)
        if self._transactions.current is None and self._client.reader.next_kind != SYNC:
            self._transactions.begin_implicit()  # more may follow before Sync, and all of it is one transaction
        goes_on = max_rows > 0 and self._transactions.current is not None
        if not statement.for_nodes:
            await self._run_here(portal, (parse_reply or b"") + (bind_reply or b""), describe=describe)
            return
        try:
            planned, types = await self._with_values(portal)
        except ProxyError:
            self._owed = taken
            raise
        bound = BoundStatement(
            sql="",
            types=types,
            parameter_formats=portal.bind.parameter_formats,
            values=portal.bind.values,
            result_formats=portal.bind.result_formats,
            lasting=bool(statement.name),
            describe=describe,
            portal=self._new_portal_name() if goes_on else "",
            max_rows=max_rows,
        )
        call = BoundCall(bound, parse_reply, bind_reply, self._client.send)
        try:
            await self._run_fresh(planned, call, statement)
        except ProxyError as error:
            call.failed(error)
            statement.accepted = statement.accepted or call.parse_reply is None
            if not call.exchanges:
                self._owed = taken
            elif call.parse_reply is not None:
                self._owed = [item for item in taken if item.parsed is not None]
            raise
        statement.accepted = True
        if goes_on and call.sent_to is not None:
            if call.suspended:
                portal.suspended_on = (call.sent_to, bound.portal)
            else:
                call.sent_to.prepared.close_portal_later(bound.portal)

    async def _run_fresh(self, planned: Planned, call: BoundCall, statement: Prepared) -> None:
        """Run it; and once more where a node has prepared it before its tables changed. That goes unseen where the
        client is told the columns with the rows, and no transaction has failed by it."""
        try:
            await self._runner.run(planned, call)
        except ServerError as error:
            if not error.is_stale_plan:
                raise
            statement.description = None
            self._services.descriptions.clear()
            if not call.describe or self._transactions.current is not None:
                raise
            call.renew()
            await self._runner.run(planned, call)

    async def _run_again(self, portal: Portal, name: str) -> None:
        """A portal that gives rows has none left; any other runs once."""
        await self._settle()
        if (await self._description_of(portal.statement)).columns is None:
            raise ProxyError("55000", f'portal "{name}" cannot be run')
        self._transactions.check_alive()
        self._client.send(command_complete(tag_without_rows(portal.statement.sql)))

    async def _run_on(self, portal: Portal, where: tuple[BackendConnection, str], max_rows: int) -> None:
        await self._settle()
        exchange = await self._runner.run_on(*where, max_rows)
        if not exchange.suspended:
            self._close_on_node(portal)

    def _drop_portal(self, name: str) -> None:
        portal = self._portals.pop(name, None)
        if portal is not None:
            self._close_on_node(portal)

    def _close_on_node(self, portal: Portal) -> None:
        if portal.suspended_on is not None:
            connection, name = portal.suspended_on
            connection.prepared.close_portal_later(name)
            portal.suspended_on = None

    def _end_portals(self, last: int) -> None:
        """ROLLBACK TO a savepoint: the nodes have forgotten those that were bound since."""
        for name in [name for name, portal in self._portals.items() if portal.number > last]:
            del self._portals[name]

    def _new_portal_name(self) -> str:
        self._portal_count += 1
        return f"pgproxy_{self._portal_count}"

    async def _run_here(self, portal: Portal, replies: bytes, *, describe: bool) -> None:
        """A statement that the proxy answers itself."""
        statement, bind = portal.statement, portal.bind
        if statement.asks_node:
            await self._description_of(statement)
        statement.accepted = True
        self._client.send(replies)
        if describe:
            columns = (await self._description_of(portal.statement)).columns
            self._client.send(wire.no_data() if columns is None else row_description(columns))
        planned, types = await self._with_values(portal)
        bound = BoundStatement("", types, bind.parameter_formats, bind.values, (), describe=False)
        await self._runner.run(planned, BoundCall(bound, None, None, self._client.send))

    async def _with_values(self, portal: Portal) -> tuple[Planned, tuple[int, ...]]:
        """The plan with the values that decide about shards and limits, and the types to tell nodes.

        A node is asked for the types that the client has left open where a guess could be wrong: for a binary value,
        for a parameter used twice, and for several shards, whose text may have lost the place that tells it.
        """
        statement, bind = portal.statement, portal.bind
        types = statement.types
        if not statement.planned.parameters or not isinstance(statement.planned.plan, (Sharded, Explain)):
            return statement.planned, types
        if statement.open_types and (
            any(bind.format_of(at) == wire.BINARY for at in statement.open_types) or repeated_parameters(statement.sql)
        ):
            types = (await self._description_of(statement)).parameter_types
        planned = self._bound(statement, bind, types)
        if statement.open_types and types is statement.types and _needs_several_shards(planned):
            types = (await self._description_of(statement)).parameter_types
            planned = self._bound(statement, bind, types)
        return planned, types

    def _bound(self, statement: Prepared, bind: wire.Bind, types: tuple[int, ...]) -> Planned:
        count = len(bind.values)
        known = (types + (0,) * count)[:count]
        formats = [bind.format_of(at) for at in range(count)]
        return self._services.planner().bound(statement.planned, bind.values, formats, known)

    # What is owed

    def _take_owed(self, portal: Portal) -> list[_Owed]:
        """What waits last and is for this portal and its statement, to be sent with its answer."""
        first = len(self._owed)
        if first and self._owed[first - 1].described is portal:
            first -= 1
        if first and self._owed[first - 1].bound is portal:
            first -= 1
            if first and self._owed[first - 1].parsed is portal.statement:
                first -= 1
        taken = self._owed[first:]
        del self._owed[first:]
        return taken

    async def _settle(self) -> None:
        """Send all that is owed, in order, as far as nodes accept it."""
        owed, self._owed = self._owed, []
        for item in owed:
            if item.parsed is not None and not item.parsed.accepted:
                await self._description_of(item.parsed)
            if item.bound is not None and len(item.bound.bind.result_formats) > 1:
                columns = (await self._description_of(item.bound.statement)).columns
                if columns is not None:
                    wire.check_result_formats(item.bound.bind.result_formats, len(columns))
            if isinstance(item.described, Prepared):
                await self._describe_statement(item.described)
            elif item.described is not None:
                await self._describe_portal(item.described)
            self._client.send(item.reply)

    async def _describe_statement(self, statement: Prepared) -> None:
        description = await self._description_of(statement)
        if description.columns is not None:
            self._transactions.check_alive()
        rows = wire.no_data() if description.columns is None else row_description(description.columns)
        self._client.send(wire.parameter_description(description.parameter_types) + rows)

    async def _describe_portal(self, portal: Portal) -> None:
        columns = (await self._description_of(portal.statement)).columns
        if columns is None:
            self._client.send(wire.no_data())
            return
        self._transactions.check_alive()
        formats = portal.bind.result_formats
        wire.check_result_formats(formats, len(columns))
        self._client.send(
            row_description([replace(column, format=wire.format_at(formats, at)) for at, column in enumerate(columns)])
        )

    # Descriptions

    async def _description_of(self, statement: Prepared) -> Description:
        """From a node, as one shard sees the client's own text; remembered for all who prepare the same."""
        if statement.description is None:
            if not statement.asks_node:
                statement.description = Description((), self._own_columns(statement.planned))
            else:
                statement.description = await self._ask_node(statement)
            statement.accepted = True
        return statement.description

    def _own_columns(self, planned: Planned) -> tuple[Column, ...] | None:
        if isinstance(planned.plan, Status):
            answer = self._services.status()
            return parse_row_description(answer[5 : first_message_end(answer)])
        return None

    async def _ask_node(self, statement: Prepared) -> Description:
        plan = statement.planned.plan
        if isinstance(plan, (Sharded, Explain)):
            prefix = f"EXPLAIN {plan.options} " if isinstance(plan, Explain) else ""
            sharded = plan.plan if isinstance(plan, Explain) else plan
            shards = sharded.table.shards
            shard = next((shard for shard in shards if self._services.why_down(shard.node) is None), shards[0])
            node, sql = shard.node, prefix + sql_for(sharded.route, shard, statement.planned.arguments)
        else:
            assert isinstance(plan, ToNode)
            node = plan.node or self._transactions.preferred_node() or self._services.any_node()
            sql = sql_for(plan.text, None, statement.planned.arguments)
        key = (sql, statement.types, tuple(self._backends.settings.items()), self._backends.node_user)
        current = self._transactions.current
        known = self._services.descriptions.get(key) if current is None else None
        if known is not None:
            return known
        joined = current.joined.get(node) if current is not None and not current.failed else None
        connection = joined or await self._backends.lease(node)
        try:
            exchange = connection.describe(sql, statement.types, self._client.wake)
            await self._backends.finish(exchange)
            description = Description(exchange.parameter_types, exchange.description)
        finally:
            if joined is None:
                self._backends.give_back(connection)
            else:
                self._transactions.leave(connection)
        if current is None:  # what a transaction has created is nobody else's yet
            self._services.descriptions.put(key, description)
        return description

    def _renew(self, statement: Prepared) -> None:
        """Plan anew what was planned for another state of the catalog."""
        planner = self._services.planner()
        if statement.planner is not planner:
            statement.planned, statement.planner = self._plan(statement.sql), planner
            statement.description = None

    # Names

    def _statement(self, name: str) -> Prepared:
        try:
            return self._statements[name]
        except KeyError:
            which = f'prepared statement "{name}"' if name else "unnamed prepared statement"
            raise ProxyError("26000", f"{which} does not exist") from None

    def _portal(self, name: str) -> Portal:
        try:
            return self._portals[name]
        except KeyError:
            raise ProxyError("34000", f'portal "{name}" does not exist') from None


def _needs_several_shards(planned: Planned) -> bool:
    plan = planned.plan.plan if isinstance(planned.plan, Explain) else planned.plan
    if not isinstance(plan, Sharded) or not isinstance(plan.scatter, Scatter):
        return False
    return len(plan.choice.shards(planned.arguments)) > 1
