"""How many connections the process may have: each is a file descriptor, and the system limits these."""

from __future__ import annotations

import logging
import resource

from pgproxy.shardmap.members import all_members
from pgproxy.shardmap.model import ShardMap

log = logging.getLogger("pgproxy.server")

OTHERS = 64  # listening sockets, heartbeats, logs, temporary files


def wanted(shard_map: ShardMap) -> int:
    """What a proxy that is as full as its limits allow needs. A cancel takes a connection of its own for a moment."""
    settings = shard_map.proxy
    users = settings.pool.max_users if shard_map.cluster.as_client else 1
    to_nodes = settings.pool.size * len(all_members(shard_map)) * users
    return settings.max_clients + settings.max_unauthenticated + 2 * to_nodes + OTHERS


def raise_limit(shard_map: ShardMap) -> None:
    """Take as many file descriptors as the system lets us have, and warn when they may not do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted(shard_map)
    if soft != resource.RLIM_INFINITY and soft < enough:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != resource.RLIM_INFINITY and soft < enough:
        log.warning(
            "the system allows %d open files (ulimit -n), but max_clients and the pools may need %d: "
            "connections beyond that are closed as they come",
            soft,
            enough,
        )
