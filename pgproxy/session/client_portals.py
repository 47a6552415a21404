"""The client's portals by name: how long they live, and more of their rows."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.prepared import BoundStatement
from pgproxy.errors import ProxyError, Refused
from pgproxy.planner.plan import Execute, Sharded, ToNode
from pgproxy.session.bound_values import BoundValues
from pgproxy.session.call import BoundCall
from pgproxy.session.client import Client
from pgproxy.session.cursors import ProxyCursor
from pgproxy.session.description import Description
from pgproxy.session.node_portals import OpenRows
from pgproxy.session.owed import Owing
from pgproxy.session.portals import Portal, Prepared
from pgproxy.session.statements import Statements
from pgproxy.session.transactions import Transactions
from pgproxy.wire.extended import no_data
from pgproxy.wire.messages import command_complete
from pgproxy.wire.rows import row_description

# What is skipped is not looked at again: that a comment may end at each */ would take time exponential in their number.
_FIRST_WORD = re.compile(r"(?>\s|--[^\n]*\n|/\*.*?\*/)*+(\w+)", re.DOTALL)
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


MOST_PORTALS = 10_000  # of one client; each has its values


class ClientPortals:
    """`describe` says what a node says of a statement. `by_name` is the same dictionary all the time."""

    def __init__(
        self,
        client: Client,
        transactions: Transactions,
        runner: Statements,
        owing: Owing,
        values: BoundValues,
        describe: Callable[[Prepared], Awaitable[Description]],
    ) -> None:
        self.by_name: dict[str, Portal] = {}
        self.running: Portal | None = None  # of a statement that the proxy answers itself
        self._client = client
        self._transactions = transactions
        self._runner = runner
        self._owing = owing
        self._values = values
        self._describe = describe
        self._cursors = runner.cursor_statements
        self._count = 0  # of those that nodes were asked for in parts

    def new_name(self) -> str:
        """For a portal on a node."""
        self._count += 1
        return f"pgproxy_{self._count}"

    async def run_again(self, portal: Portal, name: str) -> None:
        """A portal that gives rows has none left; any other runs once."""
        await self._owing.settle()
        if isinstance(portal.statement.planned.plan, Execute):
            raise Refused("fetching the rows of EXECUTE in parts is not supported", "Fetch all rows at once.")
        if (await self._describe(portal.statement)).columns is None:
            raise ProxyError("55000", f'portal "{name}" cannot be run')
        self._transactions.check_alive()
        self._client.send(command_complete(tag_without_rows(portal.statement.sql)))

    async def run_on(self, portal: Portal, where: tuple[BackendConnection, str], max_rows: int) -> None:
        await self._owing.settle()
        exchange = await self._runner.run_on(*where, max_rows)
        if not exchange.suspended:
            _close_on_node(portal)

    async def give_on(self, portal: Portal, rows: OpenRows, max_rows: int) -> None:
        await self._owing.settle()
        self._transactions.check_alive()
        try:
            await rows.check_style()
            if await self._runner.give(rows, max_rows, _tag_of(portal)):
                return
        except BaseException:
            _close_on_node(portal)
            raise
        _close_on_node(portal)

    async def as_cursor(self, name: str) -> ProxyCursor | None:
        """A portal that FETCH or MOVE names: from now on it is fetched from here."""
        portal = self.by_name.get(name)
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
        planned, types = await self._values.planned(portal)
        bind = portal.bind
        bound = BoundStatement("", types, bind.parameter_formats, bind.values, bind.result_formats)
        portal.done = True
        return await self._cursors.open(planned, BoundCall(bound, None, None, self._client.send))

    async def describe_cursor(self, name: str) -> None:
        await self._owing.settle()
        columns = await self._cursors.columns(name)
        self._transactions.check_alive()
        self._client.send(no_data() if columns is None else row_description(columns))

    def add(self, name: str, portal: Portal) -> None:
        """In the place of the unnamed one, if it is that. Raises 53400."""
        self.drop(name)
        if len(self.by_name) >= MOST_PORTALS:
            raise ProxyError("53400", "too many portals", hint="Close those that are not needed any more.")
        self.by_name[name] = portal

    def drop(self, name: str) -> bool:
        portal = self.by_name.pop(name, None)
        if portal is not None:
            _close_on_node(portal)
        return portal is not None

    def close(self, name: str) -> bool:
        """CLOSE; False: there is none. Raises 24000 for the one that it runs in."""
        if self.running is not None and self.by_name.get(name) is self.running:
            raise ProxyError("24000", f'cannot drop active portal "{name}"')
        return self.drop(name)

    def drop_all(self) -> None:
        """CLOSE ALL: all but the one that it runs in."""
        for name in [name for name, portal in self.by_name.items() if portal is not self.running]:
            self.drop(name)

    def end_transaction(self) -> None:
        """The nodes have closed all portals."""
        for portal in self.by_name.values():
            _forget(portal)
        self.by_name.clear()
        self._cursors.cursors.end_transaction()

    def roll_back_to(self, last: int) -> None:
        """ROLLBACK TO a savepoint: the nodes have forgotten those that were bound since."""
        for name in [name for name, portal in self.by_name.items() if portal.number > last]:
            _forget(self.by_name.pop(name))
        self._cursors.cursors.roll_back_to(last)

    def get(self, name: str) -> Portal:
        try:
            return self.by_name[name]
        except KeyError:
            raise ProxyError("34000", f'portal "{name}" does not exist') from None


def _close_on_node(portal: Portal) -> None:
    if portal.suspended_on is not None:
        connection, name = portal.suspended_on
        connection.prepared.close_portal_later(name)
        portal.suspended_on = None
    if portal.rows is not None:
        portal.rows.close()
        portal.rows = None


def _tag_of(portal: Portal) -> str:
    plan = portal.statement.planned.plan
    return plan.tag if isinstance(plan, Sharded) else "SELECT {}"


def _forget(portal: Portal) -> None:
    if portal.rows is not None:
        portal.rows.forget()
        portal.rows.close()
