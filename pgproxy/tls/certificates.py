"""Everything that is loaded from the certificate files of a shard map, to be put in force at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pgproxy.shardmap.model import ShardMap
from pgproxy.tls.node import NodeTls, load_node_tls
from pgproxy.tls.serving import ServingTls, load_serving


@dataclass(frozen=True, slots=True)
class Certificates:
    """Each is None where TLS is disabled."""

    serving: ServingTls | None
    node: NodeTls | None

    def described(self) -> str:
        """For the log."""
        if self.serving is None:
            return "no TLS towards clients"
        end = self.serving.expires_at
        state = "EXPIRED" if end < datetime.now(UTC) else "valid until"
        return f"certificate of {self.serving.subject or 'nobody'}, {state} {end:%Y-%m-%d %H:%M:%S} UTC"


def load_certificates(shard_map: ShardMap) -> Certificates:
    """Raises serving.TlsFileError for the first file that cannot be used."""
    return Certificates(load_serving(shard_map.proxy.tls), load_node_tls(shard_map.cluster))
