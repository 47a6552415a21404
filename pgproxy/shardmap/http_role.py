"""Statements over HTTP run as the cluster's user, whatever the rules of authentication say: when to warn of that."""

from __future__ import annotations

from pgproxy.shardmap.auth_rules import is_loopback
from pgproxy.shardmap.model import ShardMap


def superuser_warning(shard_map: ShardMap) -> str | None:
    """For a cluster whose user is a superuser. None where HTTP opens nothing: it is off, or both ports are for this
    machine alone and the proxy's own port lets everyone in as that user, who may do more there than read."""
    http, cluster = shard_map.http, shard_map.cluster
    nothing_new = not shard_map.auth and not cluster.as_client and is_loopback(http.listen)
    if not http.enabled or nothing_new:
        return None
    return (
        f'http: whoever may ask /sql is the superuser "{cluster.user}" (cluster.user) on the nodes: that reads stored '
        "passwords and server files and runs functions such as pg_reload_conf(); let the proxy log in as another role, "
        "or say http.enabled = false"
    )
