"""COPY FROM STDIN on one node: the client's data passes as it comes."""

from __future__ import annotations

from pgproxy.backend.connection import BackendConnection
from pgproxy.backend.exchange import Exchange, Mode, ServerError
from pgproxy.planner.plan import CopyOnNode, Effect, Planned, sql_for
from pgproxy.session.backends import Backends
from pgproxy.session.client import Client
from pgproxy.session.copy_data import ClientData, synchronization_lost
from pgproxy.session.services import Services
from pgproxy.session.transactions import Transactions
from pgproxy.wire import copy as wire
from pgproxy.wire.messages import command_complete


async def copy_on_node(
    planned: Planned,
    plan: CopyOnNode,
    client: Client,
    services: Services,
    backends: Backends,
    transactions: Transactions,
) -> None:
    """COPY FROM STDIN on one node, whose data need not be looked at."""
    services.metrics.to_node += 1
    connection = await transactions.enter(plan.node or services.any_node(), Effect.WRITE)
    exchange: Exchange | None = None
    try:
        sql = sql_for(plan.text, None, planned.arguments)
        exchange = connection.query(sql, Mode.COPY, client.wake)
        while exchange.copy_response is None and not exchange.finished:
            await client.wait()
        if exchange.copy_response is not None:
            client.send(wire.copy_response(b"G", exchange.copy_response))
            client.flush()
            await _forward(exchange, connection, client, backends)
        backends.reported.relay(exchange.asides)
        if exchange.error is not None:
            raise exchange.error
        client.send(command_complete(exchange.tag or "COPY 0"))
    finally:
        if exchange is not None and not exchange.finished:
            connection.abort()
        transactions.leave(connection)


async def _forward(exchange: Exchange, connection: BackendConnection, client: Client, backends: Backends) -> None:
    data = ClientData(client)
    while not data.over and _goes_on(exchange) and not backends.cancelled:
        piece = data.take()
        if piece:
            connection.copy_in(wire.copy_data(piece))
            while connection.writing_paused and _goes_on(exchange) and not backends.cancelled:
                await client.wait()
        elif not data.over:
            await client.more()
    if exchange.error is None:
        connection.copy_in(_ending(data))
    while not exchange.finished:
        await client.wait()
    if not data.over:
        backends.check_cancelled()
    if data.failure is not None and data.lost:
        context = None if exchange.error is None else exchange.error.fields().get("W")
        fields = data.failure.fields() | ({"W": context} if context else {})
        raise synchronization_lost(client, ServerError(fields, ""))


def _ending(data: ClientData) -> bytes:
    if data.done:
        return wire.copy_done()
    # A node that waits for data does not look whether it was cancelled; and it is to keep what the session has there.
    reason = "canceled" if data.failure is None else data.failure.message
    return wire.copy_fail(reason.removeprefix("COPY from stdin failed: "))


def _goes_on(exchange: Exchange) -> bool:
    return exchange.error is None and not exchange.finished
