"""PostgreSQL's hash partitioning and the types a shard key may have, in pure Python."""

from pgproxy.hashing.keys import KEY_TYPES, TEXT_OIDS, WIDE_INTEGER_OIDS, KeyType
from pgproxy.hashing.values import NULL, UNKNOWN, KeyValue, NoValue, Parsed

__all__ = [
    "KEY_TYPES",
    "NULL",
    "TEXT_OIDS",
    "UNKNOWN",
    "WIDE_INTEGER_OIDS",
    "KeyType",
    "KeyValue",
    "NoValue",
    "Parsed",
]
