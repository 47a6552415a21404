"""Connections that have not logged in: how many there may be, in all and from one address."""

from __future__ import annotations

from pgproxy.session.client import Client


class Newcomers:
    """`enter` when a connection comes, `leave` when it has logged in or ends, whichever is first."""

    def __init__(self, limit: int, limit_per_address: int | None) -> None:
        self._limit = limit
        self._limit_per_address = limit_per_address
        self._hosts: dict[Client, str] = {}
        self._counts: dict[str, int] = {}

    def change(self, limit: int, limit_per_address: int | None) -> None:
        """For those who come from now on."""
        self._limit, self._limit_per_address = limit, limit_per_address

    def __len__(self) -> int:
        return len(self._hosts)

    @property
    def full(self) -> bool:
        return len(self._hosts) >= self._limit

    def enter(self, client: Client) -> bool:
        """False when there is no room."""
        host = client.address.rpartition(":")[0]
        count = self._counts.get(host, 0)
        if len(self._hosts) >= self._limit or count >= (self._limit_per_address or self._limit):
            return False
        self._hosts[client] = host
        self._counts[host] = count + 1
        return True

    def leave(self, client: Client) -> None:
        host = self._hosts.pop(client, None)
        if host is None:
            return
        self._counts[host] -= 1
        if not self._counts[host]:
            del self._counts[host]
