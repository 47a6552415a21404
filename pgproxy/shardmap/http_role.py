"""Statements over HTTP run as the cluster's user, whatever the rules of authentication say: when to warn of that."""

from __future__ import annotations

from collections.abc import Iterator

from pgproxy.shardmap.auth_rules import AuthMethod, client_address, find_rule, is_loopback
from pgproxy.shardmap.model import ShardMap

_HERE = client_address("127.0.0.1")


def warnings(shard_map: ShardMap, *, superuser: bool) -> Iterator[str]:
    """Each a line `key.path: what about it`. `superuser`: that is what the nodes say of the cluster's user."""
    http, cluster = shard_map.http, shard_map.cluster
    if not http.enabled or _opens_nothing(shard_map):
        return
    if http.token is None:
        yield (
            f'http.token: without one whoever is on this machine reads over HTTP what "{cluster.user}" (cluster.user) '
            "may read, whatever [[auth]] says; set one, or say http.enabled = false"
        )
    if superuser:
        yield (
            f'http: whoever may ask /sql is the superuser "{cluster.user}" (cluster.user) on the nodes, who reads '
            "stored passwords and files and runs programs there, in a read-only transaction too; let the proxy log in "
            "as another role, or say http.enabled = false"
        )


def _opens_nothing(shard_map: ShardMap) -> bool:
    """It is for this machine alone, and there the proxy's own port lets everyone in as the same user, to do more than
    read."""
    http, cluster = shard_map.http, shard_map.cluster
    rule = find_rule(shard_map.auth, _HERE, cluster.user, cluster.database, tls=False)
    trusted = not shard_map.auth or (rule is not None and rule.method is AuthMethod.TRUST)
    return trusted and not cluster.as_client and is_loopback(http.listen)
