"""How many connections may be there that have not logged in."""

from __future__ import annotations

from typing import Any

from pgproxy.session.client import Client
from pgproxy.session.newcomers import Newcomers


async def _nothing(client: Client) -> Any: ...


def _client(address: str) -> Client:
    client = Client(_nothing, 1)
    client.address = address
    return client


def test_limits() -> None:
    newcomers = Newcomers(3, 2)
    one, two, three, other = (_client(a) for a in ("10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "[::1]:1"))
    assert newcomers.enter(one)
    assert newcomers.enter(two)
    assert not newcomers.enter(three)
    newcomers.leave(three)  # which never entered
    assert newcomers.enter(other)
    assert not newcomers.enter(_client("10.0.0.9:1"))
    newcomers.leave(one)
    newcomers.leave(one)
    assert len(newcomers) == 2
    assert newcomers.enter(three)


def test_no_limit_for_an_address() -> None:
    newcomers = Newcomers(3, None)
    assert [newcomers.enter(_client(f"10.0.0.1:{port}")) for port in range(5)] == [True, True, True, False, False]
