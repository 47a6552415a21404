"""SET, RESET and DISCARD ALL: a node judges the value, the session remembers it, every later connection gets it."""

from __future__ import annotations

from pgproxy.backend.connection import BackendConnection
from pgproxy.errors import ProxyError
from pgproxy.planner.plan import CONSTRAINTS, DiscardAll, Effect, Planned, SetSetting, SettingScope
from pgproxy.session.backends import Backends
from pgproxy.session.client import Client
from pgproxy.session.services import Services
from pgproxy.session.settings import Settings, changes, in_one_query, start_up_statement, with_setting, without_setting
from pgproxy.session.transaction import Entry, Transaction
from pgproxy.session.transactions import Transactions
from pgproxy.wire.messages import command_complete

_NO_RESET_ALL = frozenset({"role", "session_authorization"})  # PostgreSQL's GUC_NO_RESET_ALL


class SettingStatements:
    """The settings of one session, changed by statements."""

    def __init__(self, client: Client, services: Services, backends: Backends, transactions: Transactions) -> None:
        self._client = client
        self._services = services
        self._backends = backends
        self._transactions = transactions
        self._failover = transactions.failover

    async def set(self, _planned: Planned, plan: SetSetting) -> None:
        """SET and RESET in all their forms."""
        self._services.metrics.local += 1
        if plan.scope is not SettingScope.SESSION:
            await self._set_local(plan)
        elif plan.reset:
            await self._reset(plan)
        else:
            assert plan.name is not None, "SET names what it sets"
            await self._change(plan.text, with_setting(self._backends.settings, plan.name, plan.text))
        self._client.send(command_complete(plan.tag))

    async def keep(self, name: str, value: str) -> None:
        """What set_config() has set on one connection becomes the session's, as by SET."""
        sql = start_up_statement(name, value)
        await self._change(sql, with_setting(self._backends.settings, name, sql))

    async def discard_all(self, _planned: Planned, _plan: DiscardAll) -> None:
        self._services.metrics.local += 1
        if self._transactions.current is not None:
            raise ProxyError("25001", "DISCARD ALL cannot run inside a transaction block")
        await self._backends.discard_pinned()
        await self._back_to(self._backends.defaults)
        self._client.send(command_complete("DISCARD ALL"))

    async def _reset(self, plan: SetSetting) -> None:
        backends = self._backends
        if plan.name is None:
            kept = {name: text for name, text in backends.settings.items() if name in _NO_RESET_ALL}
            wanted = {**backends.defaults, **kept}
            if self._transactions.current is None:
                await self._back_to(wanted)
            else:
                await self._change(in_one_query((plan.text, *backends.defaults.values())), wanted)
            return
        # A value from the start-up packet is what RESET goes back to.
        sql = backends.defaults.get(plan.name, plan.text)
        await self._change(sql, without_setting(backends.settings, plan.name, backends.defaults))

    async def _back_to(self, wanted: Settings) -> None:
        """Outside of transactions: SET LOCAL is not looked at."""
        sql = changes(self._backends.settings, wanted)
        if sql:
            await self._change(sql, wanted)

    async def _change(self, sql: str, settings: Settings) -> None:
        """Run it on every node of the transaction, or on any one; then `settings` are the session's."""
        backends, current = self._backends, self._transactions.current
        if current is not None and current.joined:
            connections = list(current.joined.values())
            await self._try(connections, sql)
        else:
            # Outside of the transaction if there is one: no node need join it for a SET.
            connections = [await self._failover.run(lambda: self._try_on_any(sql), Effect.READ)]
        backends.settings = settings
        if current is not None:
            current.log.append(Entry(sql))
        for connection in connections:
            connection.applied = settings
            if current is None or not current.joined:
                backends.give_back(connection)

    async def _try_on_any(self, sql: str) -> BackendConnection:
        connection = await self._backends.lease(self._services.any_node())
        try:
            await self._try([connection], sql)
        except BaseException:
            self._backends.give_back(connection)
            raise
        return connection

    async def _try(self, connections: list[BackendConnection], sql: str) -> None:
        """A node that refuses it leaves everything as it was. A client that leaves leaves us in doubt."""
        try:
            await self._backends.execute_on_all(connections, sql)
        except ProxyError:
            raise
        except BaseException:
            for connection in connections:
                connection.distrust()
            raise

    async def _set_local(self, plan: SetSetting) -> None:
        """SET LOCAL and SET TRANSACTION: for the nodes of the transaction, those that join later included."""
        current = self._transactions.current
        if current is None:
            await self._on_any(plan.text)  # the node's own warning is the answer
            return
        if current.joined and plan.name == CONSTRAINTS:
            exchanges = await self._backends.ended_on_all(list(current.joined.values()), plan.text)
            for exchange in exchanges:  # what deferred triggers say of rows is no other node's to say as well
                await self._backends.finish(exchange)
        elif current.joined:
            await self._backends.execute_on_all(list(current.joined.values()), plan.text)
        else:
            await self._on_any(in_one_query(("BEGIN", plan.text, "ROLLBACK")), relay=False)
        self._note(current, plan)

    def _note(self, current: Transaction, plan: SetSetting) -> None:
        if plan.scope is SettingScope.TRANSACTION:
            current.note_mode(plan.text)
        else:
            current.log.append(Entry(plan.text))

    async def _on_any(self, sql: str, *, relay: bool = True) -> None:
        await self._failover.run(lambda: self._once_on_any(sql, relay=relay), Effect.READ)

    async def _once_on_any(self, sql: str, *, relay: bool) -> None:
        connection: BackendConnection = await self._backends.lease(self._services.any_node())
        try:
            if relay:
                await self._backends.execute_on_all([connection], sql)
            else:
                await self._backends.execute(connection, sql)
        finally:
            self._backends.give_back(connection)  # which an error may have left inside BEGIN … ROLLBACK
