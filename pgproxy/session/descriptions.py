"""What statements give and take, as a node says it: asked once for all who prepare the same."""

from __future__ import annotations

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import ServerError
from pgproxy.planner.plan import Declare, Effect, Explain, Planned, Sharded, Status, ToNode, sql_for, wrapped
from pgproxy.session.backends import Backends
from pgproxy.session.client import Client
from pgproxy.session.description import Description
from pgproxy.session.portals import Prepared
from pgproxy.session.positions import client_position
from pgproxy.session.services import Services
from pgproxy.session.transactions import Transactions
from pgproxy.shardmap.model import Shard
from pgproxy.wire.frames import first_message_end
from pgproxy.wire.rows import Column, parse_row_description

_LONGEST_REMEMBERED = 16 * 1024  # characters of a statement whose description is kept for others


class Descriptions:
    """Asks on the session's own connections, under its settings and in its transaction."""

    def __init__(self, client: Client, services: Services, backends: Backends, transactions: Transactions) -> None:
        self._client = client
        self._failover = transactions.failover
        self._services = services
        self._backends = backends
        self._transactions = transactions

    async def of(self, statement: Prepared) -> Description:
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
        inner = wrapped(plan)
        if isinstance(inner, Sharded):
            prefix = f"EXPLAIN {plan.options}\n" if isinstance(plan, Explain) else ""
            template = plan.text if isinstance(plan, Declare) else inner.route
            shards = inner.table.shards
            up = next((shard for shard in shards if self._services.why_down(shard.node) is None), shards[0])
            shard: Shard | None = up
            node, sql = up.node, prefix + sql_for(template, up, statement.planned.arguments)
        else:
            assert isinstance(inner, ToNode)
            shard, prefix = None, ""
            template = plan.text if isinstance(plan, Declare) else inner.text
            node = inner.node or self._transactions.preferred_node() or self._services.any_node()
            sql = sql_for(template, None, statement.planned.arguments)
        key = (sql, statement.types, tuple(self._backends.settings.items()), self._backends.node_user)
        current = self._transactions.current
        # A session's temporary tables are nobody else's; unmapped tables may have changed since.
        shared = current is None and not self._backends.pins and not (isinstance(inner, ToNode) and inner.node)
        known = self._services.descriptions.get(key) if shared else None
        if known is not None:
            return known
        joined = self._transactions.connection_for(node) if current is not None and not current.failed else None
        try:
            if joined is not None:
                description = await self._ask(joined, sql, statement)
            else:
                description = await self._failover.run(lambda: self._ask_apart(node, sql, statement), Effect.READ)
        except ServerError as error:
            if error.position is not None:
                inside = error.position - len(prefix)
                error.position = client_position(inside, template, shard, statement.planned.arguments)
            raise
        finally:
            if joined is not None:
                self._transactions.leave(joined)
        if shared and len(sql) <= _LONGEST_REMEMBERED:  # what a transaction has created is nobody else's yet
            self._services.descriptions.put(key, description)
        return description

    async def _ask_apart(self, node: str, sql: str, statement: Prepared) -> Description:
        plan = statement.planned.plan
        reads = isinstance(plan, Sharded) and plan.effect is Effect.READ and self._services.why_down(node) is not None
        connection = await self._backends.lease(node, reads=reads)
        try:
            return await self._ask(connection, sql, statement)
        finally:
            self._backends.give_back(connection)

    async def _ask(self, connection: BackendConnection, sql: str, statement: Prepared) -> Description:
        exchange = connection.describe(sql, statement.types, self._client.wake)
        await self._backends.finish(exchange)
        return Description(exchange.parameter_types, exchange.description)
