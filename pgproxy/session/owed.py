"""The replies that are owed to the client: a Parse or Bind is answered late, when a node has accepted it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from pgproxy.session.client import Client
from pgproxy.session.description import Description
from pgproxy.session.portals import Portal, Prepared
from pgproxy.session.transactions import Transactions
from pgproxy.wire import extended as wire
from pgproxy.wire.rows import Column, row_description

MOST_OWED = 1_000  # replies; then those who ask are answered before they say Sync


@dataclass(slots=True)
class Owed:
    """A reply that waits, and what it is for."""

    reply: bytes
    parsed: Prepared | None = None
    bound: Portal | None = None
    described: Prepared | Portal | None = None


class Owing:
    """`describe` says what a node says of a statement. `items` is the same list all the time."""

    def __init__(
        self, client: Client, transactions: Transactions, describe: Callable[[Prepared], Awaitable[Description]]
    ) -> None:
        self.items: list[Owed] = []
        self._client = client
        self._transactions = transactions
        self._describe = describe

    async def owe(self, item: Owed) -> None:
        self.items.append(item)
        if len(self.items) > MOST_OWED:
            await self.settle()

    def take(self, portal: Portal) -> list[Owed]:
        """What waits last and is for this portal and its statement, to be sent with its answer."""
        first = len(self.items)
        if first and self.items[first - 1].described is portal:
            first -= 1
        if first and self.items[first - 1].bound is portal:
            first -= 1
            if first and self.items[first - 1].parsed is portal.statement:
                first -= 1
        taken = self.items[first:]
        del self.items[first:]
        return taken

    async def settle(self) -> None:
        """Send all that is owed, in order, as far as nodes accept it."""
        owed = self.items.copy()
        self.items.clear()
        for item in owed:
            if item.parsed is not None and not item.parsed.accepted:
                await self._describe(item.parsed)
            if item.bound is not None and len(item.bound.bind.result_formats) > 1:
                columns = (await self._describe(item.bound.statement)).columns
                if columns is not None:
                    wire.check_result_formats(item.bound.bind.result_formats, len(columns))
            if isinstance(item.described, Prepared):
                await self._describe_statement(item.described)
            elif item.described is not None:
                await self.describe_portal(item.described)
            self._client.send(item.reply)

    async def _describe_statement(self, statement: Prepared) -> None:
        description = await self._describe(statement)
        if description.columns is not None:
            self._transactions.check_alive()
        rows = wire.no_data() if description.columns is None else row_description(description.columns)
        self._client.send(wire.parameter_description(description.parameter_types) + rows)

    async def describe_portal(self, portal: Portal) -> None:
        columns = (await self._describe(portal.statement)).columns
        if columns is None:
            self._client.send(wire.no_data())
            return
        self._transactions.check_alive()
        formats = portal.bind.result_formats
        self._client.send(row_description(_in_formats(columns, formats)))


def _in_formats(columns: tuple[Column, ...], formats: tuple[int, ...]) -> tuple[Column, ...]:
    wire.check_result_formats(formats, len(columns))
    return tuple(replace(column, format=wire.format_at(formats, at)) for at, column in enumerate(columns))
