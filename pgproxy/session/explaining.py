"""EXPLAIN: the proxy's own plan, and below each shard what its node says of its part."""

from __future__ import annotations

from dataclasses import replace

from pgproxy.backend.exchange import Mode, ServerError
from pgproxy.errors import Refused
from pgproxy.planner.explain import explain_tree
from pgproxy.planner.plan import Effect, Explain, Planned
from pgproxy.session.call import Call
from pgproxy.session.client import Client
from pgproxy.session.clock import now
from pgproxy.session.services import Services
from pgproxy.session.small_answers import all_rows
from pgproxy.session.transactions import Transactions
from pgproxy.wire.messages import command_complete
from pgproxy.wire.rows import Column, data_row, row_description

QUERY_PLAN = (Column("QUERY PLAN"),)


class Explaining:
    """What `Statements` leaves to it."""

    def __init__(self, client: Client, services: Services, transactions: Transactions) -> None:
        self._client = client
        self._services = services
        self._transactions = transactions

    async def explain(self, planned: Planned, plan: Explain, call: Call) -> None:
        self._services.metrics.local += 1
        self._check_runs_whole(planned, plan)
        tree = explain_tree(plan.plan, replace(planned.arguments, now=now()))
        lines = list(tree.lines)
        options = f"{plan.options}\n" if plan.options else ""  # a comment among them ends with its line
        indent = "  " * len(lines)
        for shard, sql in tree.shards:
            lines.append(f"{indent}{shard.table} on {shard.node}: {' '.join(sql.split())}")
            lines += [
                f"{indent}  {line}" for line in await self._node_plan(shard.node, f"EXPLAIN {options}{sql}", plan, call)
            ]
        client = self._client
        if call.describe:
            client.send(row_description(QUERY_PLAN))
        for line in lines:
            client.send(data_row((line.encode(),)))
        client.send(command_complete("EXPLAIN"))

    def _check_runs_whole(self, planned: Planned, plan: Explain) -> None:
        """What ANALYZE does on one shard after the other would not be one statement."""
        writes = plan.analyze and plan.plan.effect is Effect.WRITE
        if writes and len(plan.plan.choice.shards(planned.arguments)) > 1:
            raise Refused("EXPLAIN ANALYZE of a write on several shards is not supported", "Leave ANALYZE out.")

    async def _node_plan(self, node: str, sql: str, plan: Explain, call: Call) -> list[str]:
        effect = plan.plan.effect if plan.analyze else Effect.READ

        async def attempt() -> list[str]:
            return await self._once(node, sql, effect, call)

        return await self._transactions.run(attempt, effect, call)

    async def _once(self, node: str, sql: str, effect: Effect, call: Call) -> list[str]:
        connection = await self._transactions.enter(node, effect)
        try:
            exchange = call.send(connection, sql, Mode.ROWS, self._client.wake, as_text=True)
            return [(fields[0] or b"").decode() for fields in await all_rows(exchange, self._client)]
        except ServerError as error:
            error.position = None
            raise
        finally:
            self._transactions.leave(connection)
