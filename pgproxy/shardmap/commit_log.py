"""The names and the table by which several PostgreSQL nodes commit one transaction together.

Each of them but one, the decider, prepares its part under a global id. The decider writes that id into its commit log
and commits: a row there with `committed` is the decision. A row without it says that none of it may be committed.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b
from urllib.parse import quote

SCHEMA = "pgproxy"
TABLE = "pgproxy.commit_log"
SETUP = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    gid text PRIMARY KEY,
    committed boolean NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT pg_catalog.now()
)""",
    f"GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC",
    f"GRANT SELECT, INSERT ON {TABLE} TO PUBLIC",
)
"""What a node needs; safe to run twice."""

_FIRST = "pgproxy"
_LONGEST_NAME = 60  # PostgreSQL takes global ids of 199 bytes
_NUMBER_BYTES = 12


def new_id(cluster: str, decider: str) -> str:
    """The global id of one more transaction of this cluster that node `decider` decides. It needs no quoting."""
    return prefix(cluster, decider) + secrets.token_hex(_NUMBER_BYTES)


def prefix(cluster: str, decider: str | None = None) -> str:
    """What the global ids of a cluster, or of those that a node decides, begin with."""
    names = [_FIRST, _name(cluster)] if decider is None else [_FIRST, _name(cluster), _name(decider)]
    return ":".join(names) + ":"


def _name(name: str) -> str:
    written = quote(name, safe="")
    return written if len(written) <= _LONGEST_NAME else "!" + blake2b(name.encode(), digest_size=16).hexdigest()
