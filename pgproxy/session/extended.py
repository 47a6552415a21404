"""The extended query protocol of one session: prepared statements, portals, and what is still owed for them.

A Parse or Bind is answered late: with the answer to the Execute it belongs to, when the node has accepted all
three, or at Describe, Flush or Sync, when a node is asked about the statement alone. So the usual sequence up to Sync
costs one round trip to a node, and errors come in the place where PostgreSQL has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import ServerError
from pgproxy.backend.prepared import BoundStatement
from pgproxy.errors import NodeFailure, ProxyError, Refused
from pgproxy.planner.parameters import repeated_parameters
from pgproxy.planner.plan import (
    CopyIn,
    Declare,
    Empty,
    Execute,
    Fetch,
    Plan,
    Planned,
    Scatter,
    Several,
    Sharded,
    ToNode,
    wrapped,
)
from pgproxy.session.backends import Backends
from pgproxy.session.bound_route import BoundRoute
from pgproxy.session.call import BoundCall, Call
from pgproxy.session.client import Client
from pgproxy.session.cursors import ProxyCursor
from pgproxy.session.description import Description
from pgproxy.session.descriptions import Descriptions
from pgproxy.session.node_portals import OpenRows
from pgproxy.session.pipeline import Pipeline
from pgproxy.session.portals import Owed, Portal, Prepared
from pgproxy.session.relay import Relay
from pgproxy.session.routed import Routed
from pgproxy.session.services import Services
from pgproxy.session.statements import Statements
from pgproxy.session.transactions import Transactions
from pgproxy.wire import extended as wire
from pgproxy.wire.messages import SYNC, command_complete
from pgproxy.wire.rows import Column, row_description
from pgproxy.wire.sequences import BoundSequence

__all__ = ["Extended", "Portal", "Prepared"]

MOST_STATEMENTS = 10_000  # of one client
MOST_OWED = 1_000  # replies; then those who ask are answered before they say Sync
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(\w+)", re.DOTALL)
_LONGEST_SHORT = 16_384  # planning a longer text costs more than the short way saves
_TAGS = {
    "SHOW": "SHOW",
    "FETCH": "FETCH 0",
    "EXPLAIN": "EXPLAIN",
    "INSERT": "INSERT 0 0",
    "UPDATE": "UPDATE 0",
    "DELETE": "DELETE 0",
}


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
        answered: Callable[[Routed, int], None],
    ) -> None:
        self._client = client
        self._services = services
        self._backends = backends
        self._transactions = transactions
        self._runner = runner
        self._plan = plan
        self._descriptions = Descriptions(client, services, backends, transactions, runner.failover)
        self._statements: dict[str, Prepared] = {}
        self._portals: dict[str, Portal] = {}
        self._owed: list[Owed] = []
        self._unnamed: tuple[bytes, Prepared | None] = (b"", None)  # the last Parse that took the short way
        self._parsed_last: Prepared | None = None  # by the short way
        self._portal_count = 0
        self.sql = ""  # of the message that came last
        self._pipeline = Pipeline(client, backends, transactions, self, answered)
        self._cursors = runner.cursor_statements
        self._cursors.cursors.taken_elsewhere = self._portals.__contains__
        self._cursors.portal_cursor = self._as_cursor
        self._cursors.close_portal = self._drop_portal
        transactions.before_commit = self._cursors.cursors.persist
        transactions.on_ended = self._end_transaction
        transactions.on_rolled_back = self._end_portals

    @property
    def rests(self) -> bool:
        """Nothing is owed, and nothing is open that a Sync or Query would end."""
        return not self._owed and not self._portals

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
        self.drop_unnamed()
        self._drop_portal("")

    def drop_unnamed(self) -> None:
        self._statements.pop("", None)

    def deallocate(self, name: str | None) -> None:
        """DEALLOCATE; None is ALL."""
        if name is None:
            self._statements.clear()
        elif self._statements.pop(name, None) is None:
            raise ProxyError("26000", f'prepared statement "{name}" does not exist')

    # For PREPARE and EXECUTE

    async def keep(self, statement: Prepared) -> None:
        """PREPARE: a statement that nodes find right."""
        await self._description_of(statement)
        if statement.name in self._statements:
            raise ProxyError("42P05", f'prepared statement "{statement.name}" already exists')
        self._check_room()
        self._statements[statement.name] = statement

    async def known(self, name: str) -> tuple[Prepared, Description]:
        """Raises 26000."""
        statement = self._statements.get(name)
        if statement is None:
            raise ProxyError("26000", f'prepared statement "{name}" does not exist')
        self._renew(statement)
        return statement, await self._description_of(statement)

    async def run_prepared(self, statement: Prepared, values: tuple[bytes | None, ...], call: Call) -> None:
        """EXECUTE with these values, in text format."""
        portal = Portal(statement, wire.Bind("", statement.name, (), values, ()))
        planned, types = await self._with_values(portal)
        bound = BoundStatement(
            sql="",
            types=types,
            parameter_formats=(),
            values=values,
            result_formats=call.result_formats,
            lasting=True,
            describe=call.describe and statement.description is not None and statement.description.columns is not None,
            max_rows=call.max_rows,
        )
        await self._run_fresh(planned, BoundCall(bound, None, None, self._client.send), statement)

    def _check_room(self) -> None:
        if len(self._statements) >= MOST_STATEMENTS:
            raise ProxyError(
                "53400", "too many prepared statements", hint="DEALLOCATE those that are not needed any more."
            )

    # The short way

    def routed(self, data: bytes, sequence: BoundSequence) -> Routed | None:
        """A sequence that certainly goes to one shard, with its Parse taken; None: message by message, please."""
        try:
            statement = self._parsed(sequence)
            if statement is None:
                return None
            description = statement.description
            types = None if description is None else description.parameter_types
            assert statement.route is not None
            found = statement.route.read(data, sequence.values_at, sequence.bind_end, types)
        except (ProxyError, UnicodeDecodeError):
            return None  # found again message by message, and told
        if found is None:
            return None
        if sequence.parse is not None:
            self._statements[""] = statement
            self._unnamed = sequence.parse, statement
        shard, arguments, types = found
        return Routed(data, sequence, statement, statement.route.plan, shard, arguments, types)

    def _parsed(self, sequence: BoundSequence) -> Prepared | None:
        """The statement that is bound, with its route. Whoever parses the same text again as the unnamed statement
        has it already."""
        payload = sequence.parse
        if payload is None:
            statement = self._statements.get(sequence.name.decode())
            if statement is None or statement.planner is not self._backends.in_force.planning():
                return None
        else:
            last, statement = self._unnamed
            known = (
                statement is not None and last == payload and statement.planner is self._backends.in_force.planning()
            )
            if sequence.name:
                return None
            if not known or self._statements.get("") is not statement:
                if len(payload) > _LONGEST_SHORT:
                    return None
                self._parsed_last = statement = self._parsed_anew(payload)
        assert statement is not None
        route = statement.route
        if route is None or route.planned is not statement.planned:
            plan = statement.planned.plan
            if not isinstance(plan, Sharded) or statement.planned.default_limit is not None:
                return None
            statement.route = BoundRoute(statement.sql, statement.planned, plan, statement.planner, statement.types)
        return statement

    def _parsed_anew(self, payload: bytes) -> Prepared:
        message = wire.parse_parse(payload)
        planner = self._backends.in_force.planning()
        return Prepared("", message.sql, message.parameter_types, self._plan(message.sql), planner, accepted=False)

    @property
    def unnamed(self) -> Prepared | None:
        return self._statements.get("")

    @unnamed.setter
    def unnamed(self, statement: Prepared | None) -> None:
        if statement is None:
            self.drop_unnamed()
        else:
            self._statements[""] = statement

    def outdated(self, statement: Prepared) -> None:
        """What is known of it has changed on a node."""
        statement.description = statement.route = None
        self._services.descriptions.clear()

    @property
    def may_go_ahead(self) -> bool:
        """Statements that the client has sent may run together, if they are of that kind."""
        return not self._owed and self._pipeline.may_begin

    async def go_ahead(self) -> int:
        """Run those that have come; how many they were. With 0 the next message is to be handled by itself."""
        try:
            return await self._pipeline.run()
        finally:
            last = self._pipeline.last
            if last is not None:
                self._drop_portal("")
                self._transactions.portals += 1
                bind = wire.parse_bind(last.payload)
                self._portals[""] = Portal(last.statement, bind, self._transactions.portals, done=True)

    def _planned_before(self, message: wire.Parse) -> Planned | None:
        """What the short way has found before it gave up."""
        last, self._parsed_last = self._parsed_last, None
        if last is None or last.sql != message.sql or last.planner is not self._backends.in_force.planning():
            return None
        return last.planned

    async def finish_relay(self, relay: Relay, routed: Routed) -> None:
        """The short way's answer is not simple: go on as if the messages had come one by one."""
        statement = routed.statement
        if routed.sequence.parse is not None:
            statement.accepted = False
            self._owed.append(Owed(wire.parse_complete(), parsed=statement))
        self._transactions.portals += 1
        portal = Portal(statement, wire.parse_bind(routed.payload), self._transactions.portals, done=True)
        self._portals[""] = portal
        self._owed.append(Owed(wire.bind_complete(), bound=portal))
        if routed.sequence.describes:
            self._owed.append(Owed(b"", described=portal))
        await self._run(portal, 0, relay)

    # Messages

    async def parse(self, payload: bytes) -> None:
        message = wire.parse_parse(payload)
        self.sql = message.sql
        if not message.name:
            self._statements.pop("", None)  # gone even if this one fails
        planned = self._planned_before(message) or self._plan(message.sql)
        if isinstance(planned.plan, Several):
            raise ProxyError("42601", "cannot insert multiple commands into a prepared statement")
        if not isinstance(planned.plan, Empty):
            self._transactions.check_allows(planned.plan)
        planner = self._backends.in_force.planning()
        statement = Prepared(message.name, message.sql, message.parameter_types, planned, planner, accepted=False)
        if message.name in self._statements:
            await self._settle()
            await self._description_of(statement)  # PostgreSQL looks at the name last
            raise ProxyError("42P05", f'prepared statement "{message.name}" already exists')
        self._check_room()
        self._statements[message.name] = statement
        await self._owe(Owed(wire.parse_complete(), parsed=statement))

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
        if message.portal:
            self._cursors.cursors.check_free(message.portal)
        self._drop_portal(message.portal)
        self._transactions.portals += 1
        portal = self._portals[message.portal] = Portal(statement, message, self._transactions.portals)
        await self._owe(Owed(wire.bind_complete(), bound=portal))

    async def describe(self, payload: bytes) -> None:
        message = wire.parse_describe(payload)
        if message.kind == wire.PORTAL and message.name in self._cursors.cursors:
            await self._describe_cursor(message.name)
            return
        described = self._portal(message.name) if message.kind == wire.PORTAL else self._statement(message.name)
        if isinstance(described, Prepared):
            self._renew(described)
        await self._owe(Owed(b"", described=described))

    async def execute(self, payload: bytes) -> None:
        message = wire.parse_execute(payload)
        if message.portal in self._cursors.cursors:
            await self._settle()
            await self._cursors.run(message.portal, message.max_rows)
            return
        portal = self._portal(message.portal)
        if portal.cursor is not None:
            await self._settle()
            await self._cursors.run_cursor(portal.cursor, message.portal, message.max_rows)
            return
        self.sql = portal.statement.sql
        if self._services.logs_statements:
            self._services.log_statement(self.sql, self._client.address)
        if portal.suspended_on is not None:
            await self._run_on(portal, portal.suspended_on, message.max_rows)
            return
        if portal.rows is not None:
            await self._give_on(portal, portal.rows, message.max_rows)
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
            await self._cursors.close_named(message.name)
            self._drop_portal(message.name)
        else:
            self._statements.pop(message.name, None)  # to close what does not exist is no error
        await self._owe(Owed(wire.close_complete()))

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

    async def _run(self, portal: Portal, max_rows: int, relay: Relay | None = None) -> None:
        """`relay`: it is under way there, up to its Sync."""
        statement = portal.statement
        if isinstance(statement.planned.plan, Execute):
            await self._settle()  # what it describes is another statement's, in the formats that were bound
        taken = self._take_owed(portal)
        await self._settle()
        parse_reply = next((item.reply for item in taken if item.parsed is not None), None)
        bind_reply = next((item.reply for item in taken if item.bound is not None), None)
        describe = any(item.described is not None for item in taken)
        alone = self._client.reader.next_kind == SYNC or _stands_alone(statement.planned.plan)
        if relay is None and self._transactions.current is None and not alone:
            self._transactions.begin_implicit()  # more may follow before Sync, and all of it is one transaction
        goes_on = (
            max_rows > 0 and not isinstance(statement.planned.plan, Declare) and self._transactions.current is not None
        )
        if not statement.for_nodes and self._cursors.node_of(statement.planned.plan) is None:
            replies = (parse_reply or b"") + (bind_reply or b"")
            await self._run_here(portal, replies, max_rows, describe=describe)
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
            once=_is_short_lived(statement),
        )
        call = BoundCall(bound, parse_reply, bind_reply, self._client.send)
        try:
            await self._run_fresh(planned, call, statement, relay)
        except ProxyError as error:
            call.failed(error)
            statement.accepted = statement.accepted or call.parse_reply is None
            if not call.exchanges:
                self._owed = taken
            elif call.parse_reply is not None:
                self._owed = [item for item in taken if item.parsed is not None]
            raise
        statement.accepted = True
        portal.rows = call.rows
        if goes_on and call.sent_to is not None:
            if call.suspended:
                portal.suspended_on = (call.sent_to, bound.portal)
            else:
                call.sent_to.prepared.close_portal_later(bound.portal)

    async def _run_fresh(
        self, planned: Planned, call: BoundCall, statement: Prepared, relay: Relay | None = None
    ) -> None:
        """Run it; and once more where a node has prepared it before its tables changed. That goes unseen where the
        client is told the columns with the rows, and no transaction has failed by it."""
        try:
            await (self._runner.run(planned, call) if relay is None else self._runner.finish_relay(relay, call))
        except ServerError as error:
            if not error.is_stale_plan:
                raise
            self.outdated(statement)
            if not call.describe or self._transactions.current is not None:
                raise
            call.renew()
            await self._runner.run(planned, call)

    async def _run_again(self, portal: Portal, name: str) -> None:
        """A portal that gives rows has none left; any other runs once."""
        await self._settle()
        if isinstance(portal.statement.planned.plan, Execute):
            raise Refused("fetching the rows of EXECUTE in parts is not supported", "Fetch all rows at once.")
        if (await self._description_of(portal.statement)).columns is None:
            raise ProxyError("55000", f'portal "{name}" cannot be run')
        self._transactions.check_alive()
        self._client.send(command_complete(tag_without_rows(portal.statement.sql)))

    async def _run_on(self, portal: Portal, where: tuple[BackendConnection, str], max_rows: int) -> None:
        await self._settle()
        exchange = await self._runner.run_on(*where, max_rows)
        if not exchange.suspended:
            self._close_on_node(portal)

    async def _give_on(self, portal: Portal, rows: OpenRows, max_rows: int) -> None:
        await self._settle()
        self._transactions.check_alive()
        try:
            await rows.check_style()
            if await self._runner.give(rows, max_rows, _tag_of(portal)):
                return
        except BaseException:
            self._close_on_node(portal)
            raise
        self._close_on_node(portal)

    async def _as_cursor(self, name: str) -> ProxyCursor | None:
        """A portal that FETCH or MOVE names: from now on it is fetched from here."""
        portal = self._portals.get(name)
        if portal is None or portal.cursor is not None:
            return portal.cursor if portal is not None else None
        if portal.suspended_on is not None:
            portal.rows = await self._runner.adopt(*portal.suspended_on)
            portal.suspended_on = None
        elif portal.rows is None:
            portal.rows = await self._open(portal)
        columns = await portal.rows.describe()
        portal.cursor = ProxyCursor(columns, portal.rows, portal.number, 0, portal.rows.style, anywhere=True)
        return portal.cursor

    async def _open(self, portal: Portal) -> OpenRows:
        """The rows of a portal that was only bound."""
        for_nodes = isinstance(portal.statement.planned.plan, (Sharded, ToNode))
        if portal.done or not for_nodes or self._transactions.current is None:
            raise Refused("moving in this portal is not supported", "Bind it anew, or declare a cursor.")
        planned, types = await self._with_values(portal)
        bind = portal.bind
        bound = BoundStatement("", types, bind.parameter_formats, bind.values, bind.result_formats)
        portal.done = True
        return await self._cursors.open(planned, BoundCall(bound, None, None, self._client.send))

    async def _describe_cursor(self, name: str) -> None:
        await self._settle()
        columns = await self._cursors.columns(name)
        self._transactions.check_alive()
        self._client.send(wire.no_data() if columns is None else row_description(columns))

    def _drop_portal(self, name: str) -> bool:
        portal = self._portals.pop(name, None)
        if portal is not None:
            self._close_on_node(portal)
        return portal is not None

    def _close_on_node(self, portal: Portal) -> None:
        if portal.suspended_on is not None:
            connection, name = portal.suspended_on
            connection.prepared.close_portal_later(name)
            portal.suspended_on = None
        if portal.rows is not None:
            portal.rows.close()
            portal.rows = None

    def _end_transaction(self) -> None:
        """The nodes have closed all portals."""
        for portal in self._portals.values():
            _forget(portal)
        self._portals.clear()
        self._cursors.cursors.end_transaction()

    def _end_portals(self, last: int) -> None:
        """ROLLBACK TO a savepoint: the nodes have forgotten those that were bound since."""
        for name in [name for name, portal in self._portals.items() if portal.number > last]:
            _forget(self._portals.pop(name))
        self._cursors.cursors.roll_back_to(last)

    def _new_portal_name(self) -> str:
        self._portal_count += 1
        return f"pgproxy_{self._portal_count}"

    async def _run_here(self, portal: Portal, replies: bytes, max_rows: int, *, describe: bool) -> None:
        """A statement that the proxy answers itself."""
        statement, bind = portal.statement, portal.bind
        if statement.asks_node:
            await self._description_of(statement)
        statement.accepted = True
        self._client.send(replies)
        if describe:
            await self._describe_portal(portal)
        planned, types = await self._with_values(portal)
        results = bind.result_formats if isinstance(planned.plan, (Fetch, Execute)) else ()
        bound = BoundStatement(
            "", types, bind.parameter_formats, bind.values, results, describe=False, max_rows=max_rows
        )
        await self._runner.run(planned, BoundCall(bound, None, None, self._client.send))

    async def _with_values(self, portal: Portal) -> tuple[Planned, tuple[int, ...]]:
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
        return self._backends.in_force.planning().bound(statement.planned, bind.values, formats, known)

    # What is owed

    async def _owe(self, item: Owed) -> None:
        self._owed.append(item)
        if len(self._owed) > MOST_OWED:
            await self._settle()

    def _take_owed(self, portal: Portal) -> list[Owed]:
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
        self._client.send(row_description(_in_formats(columns, formats)))

    # Descriptions

    async def _description_of(self, statement: Prepared) -> Description:
        plan = statement.planned.plan
        if isinstance(plan, Fetch):  # it may be another cursor of that name by now
            statement.accepted = True
            return Description((), await self._cursors.described(plan))
        if isinstance(plan, Execute):
            return await self._description_of_execute(plan)
        return await self._descriptions.of(statement)

    async def _description_of_execute(self, plan: Execute) -> Description:
        """The rows of what it executes now."""
        if plan.name not in self._statements:
            return Description((), None)
        if isinstance(self._statements[plan.name].planned.plan, Execute):  # maybe of itself
            raise Refused("EXECUTE of this kind of statement is not supported", "Say the statement itself.")
        _, description = await self.known(plan.name)
        return Description((), description.columns)

    # Names

    def _renew(self, statement: Prepared) -> None:
        """Plan anew what was planned for another state of the catalog."""
        planner = self._backends.in_force.planning()
        if statement.planner is not planner:
            statement.planned, statement.planner = self._plan(statement.sql), planner
            statement.description = None

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


def _in_formats(columns: tuple[Column, ...], formats: tuple[int, ...]) -> tuple[Column, ...]:
    wire.check_result_formats(formats, len(columns))
    return tuple(replace(column, format=wire.format_at(formats, at)) for at, column in enumerate(columns))


def _is_short_lived(statement: Prepared) -> bool:
    """Names of cursors are often new ones. Unmapped tables may change between two Parses, and a node says so only where
    it hears them."""
    plan = statement.planned.plan
    if isinstance(plan, ToNode):
        return plan.node is not None and not statement.name
    return isinstance(plan, (Declare, Fetch))


def _stands_alone(plan: Plan) -> bool:
    """Not the first of an implicit transaction: DECLARE wants one that others have begun."""
    return isinstance(plan, CopyIn) or (isinstance(plan, Declare) and not plan.hold)


def _tag_of(portal: Portal) -> str:
    plan = portal.statement.planned.plan
    return plan.tag if isinstance(plan, Sharded) else "SELECT {}"


def _forget(portal: Portal) -> None:
    if portal.rows is not None:
        portal.rows.forget()
        portal.rows.close()


def _needs_several_shards(planned: Planned) -> bool:
    plan = wrapped(planned.plan)
    if not isinstance(plan, Sharded) or not isinstance(plan.scatter, Scatter):
        return False
    return len(plan.choice.shards(planned.arguments)) > 1
