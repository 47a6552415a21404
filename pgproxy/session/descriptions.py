"""What statements give and take, as a node says it: asked once for all who prepare the same."""

from __future__ import annotations

from pgproxy.backend.exchange import ServerError
from pgproxy.planner.plan import Declare, Explain, Planned, Sharded, Status, ToNode, sql_for, wrapped
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
            prefix = f"EXPLAIN {plan.options} " if isinstance(plan, Explain) else ""
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
        joined = current.joined.get(node) if current is not None and not current.failed else None
        connection = joined or await self._backends.lease(node)
        try:
            exchange = connection.describe(sql, statement.types, self._client.wake)
            await self._backends.finish(exchange)
            description = Description(exchange.parameter_types, exchange.description)
        except ServerError as error:
            if error.position is not None:
                inside = error.position - len(prefix)
                error.position = client_position(inside, template, shard, statement.planned.arguments)
            raise
        finally:
            if joined is None:
                self._backends.give_back(connection)
            else:
                self._transactions.leave(connection)
        if shared and len(sql) <= _LONGEST_REMEMBERED:  # what a transaction has created is nobody else's yet
            self._services.descriptions.put(key, description)
        return description
