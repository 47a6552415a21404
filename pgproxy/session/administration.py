"""A statement in the admin database: answered at once, or an order that takes its time and can be cancelled."""

from __future__ import annotations

from pgproxy.session.backends import Backends
from pgproxy.session.client import Client
from pgproxy.session.services import Services


async def administer(sql: str, client: Client, services: Services, backends: Backends) -> bytes:
    """The answer up to CommandComplete. Raises ProxyError."""
    order = services.order(sql, client.wake)
    if order is None:
        return services.admin(sql)
    try:
        while not order.done:
            await client.wait()
            backends.check_cancelled()
    finally:
        services.give_up_order(order)
    return order.value
