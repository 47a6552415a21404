"""The extended query protocol of one session: prepared statements, portals, and what is still owed for them.

A Parse or Bind is answered late: with the answer to the Execute it belongs to, when the node has accepted all
three, or at Describe, Flush or Sync, when a node is asked about the statement alone. So the usual sequence up to Sync
costs one round trip to a node, and errors come in the place where PostgreSQL has them.
"""

from __future__ import annotations

from collections.abc import Callable

from pgproxy.backend.exchange import ServerError
from pgproxy.backend.prepared import BoundStatement
from pgproxy.errors import NodeFailure, ProxyError, Refused
from pgproxy.planner.plan import Declare, DiscardAll, Empty, Execute, Fetch, Planned, Several, Sharded
from pgproxy.session.backends import Backends
from pgproxy.session.bound_route import BoundRoute
from pgproxy.session.bound_values import BoundValues
from pgproxy.session.call import BoundCall, Call
from pgproxy.session.client import Client
from pgproxy.session.client_portals import ClientPortals
from pgproxy.session.description import Description
from pgproxy.session.descriptions import Descriptions
from pgproxy.session.owed import Owed, Owing
from pgproxy.session.pipeline import Pipeline
from pgproxy.session.portals import Portal, Prepared
from pgproxy.session.relay import Relay
from pgproxy.session.routed import Routed
from pgproxy.session.services import Services
from pgproxy.session.statements import Statements
from pgproxy.session.transactions import Transactions
from pgproxy.wire import extended as wire
from pgproxy.wire.messages import SYNC
from pgproxy.wire.sequences import BoundSequence

MOST_STATEMENTS = 10_000  # of one client
_LONGEST_SHORT = 16_384  # planning a longer text costs more than the short way saves


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
        self._descriptions = Descriptions(client, services, backends, transactions)
        self._statements: dict[str, Prepared] = {}
        self._owing = Owing(client, transactions, self._description_of)
        self._owed = self._owing.items
        self._values = BoundValues(backends, self._description_of)
        self._open = ClientPortals(client, transactions, runner, self._owing, self._values, self._description_of)
        self._portals = self._open.by_name
        self._unnamed: tuple[bytes, Prepared | None] = (b"", None)  # the last Parse that took the short way
        self._parsed_last: Prepared | None = None  # by the short way
        self.sql = ""  # of the message that came last
        self._pipeline = Pipeline(client, backends, transactions, self, answered)
        self._cursors = runner.cursor_statements
        self._cursors.cursors.taken_elsewhere = self._portals.__contains__
        self._cursors.portal_cursor = self._open.as_cursor
        self._cursors.close_portal = self._open.close
        self._cursors.close_portals = self._open.drop_all
        transactions.before_commit = self._cursors.cursors.persist
        transactions.on_ended = self._open.end_transaction
        transactions.on_rolled_back = self._open.roll_back_to

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
                await self._owing.settle()
        except ProxyError as earlier:
            error = earlier
        self._statements = {name: statement for name, statement in self._statements.items() if statement.accepted}
        if self._transactions.current is None:
            self._portals.clear()
        return error

    async def before_query(self) -> None:
        """A simple Query came."""
        if self._owed:
            await self._owing.settle()
        self.drop_unnamed()
        self._open.drop("")

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
        planned, types = await self._values.planned(portal)
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
            route = statement.route
            assert route is not None
            found = route.find(data, sequence.values_at, sequence.bind_end, types)
        except (ProxyError, UnicodeDecodeError):
            return None  # found again message by message, and told
        if found is None:
            return None
        if sequence.parse is not None:
            self._statements[""] = statement
            self._unnamed = sequence.parse, statement
        return Routed(data, sequence, statement, route, *found, types)

    def _parsed(self, sequence: BoundSequence) -> Prepared | None:
        """The statement that is bound, with its route. Whoever parses the same text again as the unnamed statement
        has it already."""
        payload = sequence.parse
        if payload is None:
            statement = self._statements.get(sequence.name.decode())
            if statement is None or statement.planner is not self._backends.in_force.planner:
                return None
        else:
            last, statement = self._unnamed
            known = statement is not None and last == payload and statement.planner is self._backends.in_force.planner
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
        except ProxyError:
            if self._pipeline.last is not None:
                self._runner.note_routed(self._pipeline.last, 0)
            raise
        finally:
            last = self._pipeline.last
            if last is not None:
                self._open.drop("")
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
            await self._owing.settle()
            await self._description_of(statement)  # PostgreSQL looks at the name last
            raise ProxyError("42P05", f'prepared statement "{message.name}" already exists')
        self._check_room()
        self._statements[message.name] = statement
        await self._owing.owe(Owed(wire.parse_complete(), parsed=statement))

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
        self._transactions.portals += 1
        portal = Portal(statement, message, self._transactions.portals)
        self._open.add(message.portal, portal)
        await self._owing.owe(Owed(wire.bind_complete(), bound=portal))

    async def describe(self, payload: bytes) -> None:
        message = wire.parse_describe(payload)
        if message.kind == wire.PORTAL and message.name in self._cursors.cursors:
            await self._open.describe_cursor(message.name)
            return
        described = self._open.get(message.name) if message.kind == wire.PORTAL else self._statement(message.name)
        if isinstance(described, Prepared):
            self._renew(described)
        await self._owing.owe(Owed(b"", described=described))

    async def execute(self, payload: bytes) -> None:
        message = wire.parse_execute(payload)
        if message.portal in self._cursors.cursors:
            await self._owing.settle()
            await self._cursors.run(message.portal, message.max_rows)
            return
        portal = self._open.get(message.portal)
        if portal.cursor is not None:
            await self._owing.settle()
            await self._cursors.run_cursor(portal.cursor, message.portal, message.max_rows)
            return
        self.sql = portal.statement.sql
        if self._services.logs_statements:
            self._services.log_statement(self.sql, self._client.address)
        if portal.suspended_on is not None:
            await self._open.run_on(portal, portal.suspended_on, message.max_rows)
            return
        if portal.rows is not None:
            await self._open.give_on(portal, portal.rows, message.max_rows)
            return
        self._transactions.check_allows(portal.statement.planned.plan)
        if portal.done:
            await self._open.run_again(portal, message.portal)
            return
        portal.done = not isinstance(portal.statement.planned.plan, Empty)
        await self._run(portal, message.max_rows)

    async def close(self, payload: bytes) -> None:
        message = wire.parse_close(payload)
        if message.kind == wire.PORTAL:
            await self._cursors.close_named(message.name)
            self._open.drop(message.name)
        else:
            self._statements.pop(message.name, None)  # to close what does not exist is no error
        await self._owing.owe(Owed(wire.close_complete()))

    async def flush(self) -> None:
        await self._owing.settle()
        self._client.flush()

    async def sync(self) -> None:
        """Answer what is owed, and end the implicit transaction of the messages since the last Sync."""
        await self._owing.settle()
        await self._transactions.end_implicit()
        if self._transactions.current is None:
            self._portals.clear()

    # Running

    async def _run(self, portal: Portal, max_rows: int, relay: Relay | None = None) -> None:
        """`relay`: it is under way there, up to its Sync."""
        statement = portal.statement
        if isinstance(statement.planned.plan, Execute):
            await self._owing.settle()  # what it describes is another statement's, in the formats that were bound
        taken = self._owing.take(portal)
        await self._owing.settle()
        parse_reply = next((item.reply for item in taken if item.parsed is not None), None)
        bind_reply = next((item.reply for item in taken if item.bound is not None), None)
        describe = any(item.described is not None for item in taken)
        alone = self._client.reader.next_kind == SYNC or statement.stands_alone
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
            planned, types = await self._values.planned(portal)
        except ProxyError:
            self._owed[:] = taken
            raise
        bound = BoundStatement(
            sql="",
            types=types,
            parameter_formats=portal.bind.parameter_formats,
            values=portal.bind.values,
            result_formats=portal.bind.result_formats,
            lasting=bool(statement.name),
            describe=describe,
            portal=self._open.new_name() if goes_on else "",
            max_rows=max_rows,
            once=statement.short_lived,
        )
        call = BoundCall(bound, parse_reply, bind_reply, self._client.send)
        try:
            await self._run_fresh(planned, call, statement, relay)
        except ProxyError as error:
            call.failed(error)
            statement.accepted = statement.accepted or call.parse_reply is None
            if not call.exchanges:
                self._owed[:] = taken
            elif call.parse_reply is not None:
                self._owed[:] = [item for item in taken if item.parsed is not None]
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

    async def _run_here(self, portal: Portal, replies: bytes, max_rows: int, *, describe: bool) -> None:
        """A statement that the proxy answers itself."""
        statement, bind = portal.statement, portal.bind
        if statement.asks_node:
            await self._description_of(statement)
        statement.accepted = True
        self._client.send(replies)
        if describe:
            await self._owing.describe_portal(portal)
        planned, types = await self._values.planned(portal)
        results = bind.result_formats if isinstance(planned.plan, (Fetch, Execute)) else ()
        bound = BoundStatement(
            "", types, bind.parameter_formats, bind.values, results, describe=False, max_rows=max_rows
        )
        self._open.running = portal
        try:
            await self._runner.run(planned, BoundCall(bound, None, None, self._client.send))
        finally:
            self._open.running = None
        if isinstance(planned.plan, DiscardAll):  # which commits, and so ends its own
            self._portals.clear()

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
