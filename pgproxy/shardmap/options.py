"""Every key that a shard map may have, as a table: its type, default and limits, and how a value is read.

docs/configuration.md tells the same to people; a test compares the two. Rules between keys are `shardmap.load`'s.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Final

from pgproxy.shardmap.auth_rules import AuthMethod, AuthUsers
from pgproxy.shardmap.environment import UNSET, Expanded, Report
from pgproxy.shardmap.model import (
    ClusterSettings,
    Engine,
    HeartbeatSettings,
    HttpSettings,
    Method,
    PoolSettings,
    ProxySettings,
    TlsSettings,
)


class _Required:
    """Stands for a default where the file must say the value."""


REQUIRED: Final = _Required()


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a section. `kind` names a reader in `_READERS`; limits are inclusive."""

    name: str
    kind: str
    default: Any = REQUIRED
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


_TCP_PORTS = (1, 65_535)
_TIME_S = (0.01, 7 * 86_400)
_COUNT = (1, 1_000_000)
_BYTES = (64 * 1024, 2**30)

# The limits of the numbers among the proxy's settings; names and defaults are the model's.
_LIMITS: dict[str, tuple[float, float]] = {
    "port": _TCP_PORTS,
    "max_clients": _COUNT,
    "max_unauthenticated": _COUNT,
    "max_unauthenticated_per_address": _COUNT,
    "max_users": (1, 10_000),
    "cache_s": (0, 86_400),
    "cache_size": _COUNT,
    "startup_timeout_s": _TIME_S,
    "shutdown_grace_s": (0, 86_400),
    "idle_in_transaction_timeout_s": _TIME_S,
    "keepalive_s": (1, 32_767),
    "breaker_failures": (1, 1_000),
    "breaker_open_s": _TIME_S,
    "failover_deadline_s": (0, 3_600),
    "failover_stable_s": (0, 3_600),
    "takeover_grace_s": (0, 7 * 86_400),
    "max_message_bytes": _BYTES,
    "default_limit": (1, 2**31 - 1),
    "plan_cache_size": _COUNT,
    "sort_memory_bytes": _BYTES,
    "slow_statement_ms": (0, 86_400_000),
    "max_rows": _COUNT,
    "max_response_bytes": _BYTES,
    "statement_timeout_s": _TIME_S,
    "concurrency": (1, 1_000),
    "size": (1, 10_000),
    "min_idle": (0, 10_000),
    "queue_limit": (0, 1_000_000),
    "queue_timeout_s": _TIME_S,
    "pause_timeout_s": _TIME_S,
    "idle_timeout_s": _TIME_S,
    "lifetime_s": _TIME_S,
    "connect_timeout_s": _TIME_S,
    "interval_s": _TIME_S,
    "timeout_s": _TIME_S,
    "down_after": (1, 1_000),
    "up_after": (1, 1_000),
}
_KINDS: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    tuple: "strings",
    type(None): "integer",
}


def _kind(field: Field[Any]) -> str:
    return "number" if field.name.endswith("_s") else _KINDS[type(field.default)]


def _settings(model: type) -> tuple[Option, ...]:
    """The options of a model whose fields all have plain defaults."""
    return tuple(
        Option(field.name, _kind(field), field.default, *_LIMITS.get(field.name, (None, None)))
        for field in fields(model)
        if field.default is not MISSING
    )


def _default(model: type, name: str) -> Any:
    return next(field.default for field in fields(model) if field.name == name)


# The options of each section, by the section's name as docs/configuration.md writes it.
SECTIONS: Mapping[str, tuple[Option, ...]] = {
    "": (
        Option("reference_tables", "strings", ()),
        Option("unmapped_node", "string", None),
        Option("proxy", "section", {}),
        Option("http", "section", {}),
        Option("cluster", "section"),
        Option("nodes", "section"),
        Option("tables", "section", {}),
        Option("auth", "sections", ()),
        Option("auth_users", "section", {}),
    ),
    "proxy": (
        *(
            replace(option, choices=("none", "errors", "all")) if option.name == "log_statements" else option
            for option in _settings(ProxySettings)
        ),
        Option("pool", "section", {}),
        Option("heartbeat", "section", {}),
        Option("tls", "section", {}),
    ),
    "proxy.pool": _settings(PoolSettings),
    "proxy.heartbeat": _settings(HeartbeatSettings),
    "http": tuple(
        replace(option, kind="string") if option.name == "token" else option for option in _settings(HttpSettings)
    ),
    "proxy.tls": (
        Option("mode", "string", _default(TlsSettings, "mode"), choices=("disable", "allow", "require")),
        Option("certificate_file", "string", None),
        Option("key_file", "string", None),
        Option("client_ca_file", "string", None),
        Option(
            "client_certificates",
            "string",
            _default(TlsSettings, "client_certificates"),
            choices=("optional", "required"),
        ),
        Option("min_version", "string", _default(TlsSettings, "min_version"), choices=("1.2", "1.3")),
    ),
    "cluster": (
        Option("name", "string"),
        Option("engine", "string", choices=tuple(engine.value for engine in Engine)),
        Option("database", "string"),
        Option("user", "string"),
        Option("password", "string", None),
        Option(
            "tls",
            "string",
            _default(ClusterSettings, "tls"),
            choices=("disable", "require", "verify-ca", "verify-full"),
        ),
        Option("tls_ca_file", "string", None),
        Option("tls_certificate_file", "string", None),
        Option("tls_key_file", "string", None),
        Option("login_as", "string", _default(ClusterSettings, "login_as"), choices=("configured", "client")),
        Option("read_from", "string", _default(ClusterSettings, "read_from"), choices=("primary", "replica", "any")),
        Option("max_lag_s", "number", _default(ClusterSettings, "max_lag_s"), *_TIME_S),
    ),
    "nodes.NAME": (
        Option("host", "string"),
        Option("port", "integer", REQUIRED, *_TCP_PORTS),
        Option("locality", "string", None),
        Option("replicas", "strings", ()),
    ),
    "auth": (
        Option("method", "string", choices=tuple(method.value for method in AuthMethod)),
        Option("address", "names", ()),
        Option("user", "names", ()),
        Option("database", "names", ()),
        Option("tls", "boolean", None),
    ),
    "auth_users": (
        Option("file", "string", None),
        Option("query", "string", None),
        Option("cache_s", "number", _default(AuthUsers, "cache_s"), *_LIMITS["cache_s"]),
        Option("cache_size", "integer", _default(AuthUsers, "cache_size"), *_LIMITS["cache_size"]),
        Option("salt_secret", "string", None),
    ),
    "tables.NAME": (
        Option("schema", "string", "public"),
        Option("key", "string"),
        Option("method", "string", choices=tuple(method.value for method in Method)),
        Option("gaps", "boolean", False),
        Option("shards", "sections"),
    ),
    "tables.NAME.shards": (
        Option("table", "string"),
        Option("node", "string"),
        Option("values", "values", ()),
        Option("lower", "value", None),
        Option("upper", "value", None),
    ),
}


def read_section(section: str, path: str, data: Any, report: Report) -> dict[str, Any]:
    """The section's values by key, defaults filled in; None for what was reported as wrong or missing."""
    options = SECTIONS[section]
    if data is UNSET or not isinstance(data, dict):
        report(path, "must be a section")
        return {option.name: None for option in options}
    known = [option.name for option in options]
    for name in data:
        if name not in known:
            report(_join(path, name), f"unknown key{did_you_mean(name, known)}")
    return {option.name: _read(option, _join(path, option.name), data, report) for option in options}


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean "port"?`, or the choices when nothing is close and there are few."""
    close = get_close_matches(word, known, 1)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; known: {', '.join(known)}" if len(known) <= 8 else ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _read(option: Option, path: str, data: dict[str, Any], report: Report) -> Any:
    if option.name not in data:
        if option.default is REQUIRED:
            report(path, "is missing")
            return None
        return option.default
    value = data[option.name]
    if value is UNSET or (isinstance(value, list) and UNSET in value):
        return None
    try:
        read = _READERS[option.kind](value)
        _limit(option, read)
    except ValueError as wrong:
        report(path, str(wrong))
        return None
    return read


def _limit(option: Option, value: Any) -> None:
    if option.choices and value not in option.choices:
        choices = " or ".join(f'"{choice}"' for choice in option.choices)
        raise ValueError(f'must be {choices}, not "{value}"' + _suggestion(value, option.choices))
    if option.low is not None and not option.low <= value <= (option.high or value):
        raise ValueError(f"must be between {option.low:g} and {option.high:.12g}, not {value}")


def _suggestion(value: str, choices: tuple[str, ...]) -> str:
    close = get_close_matches(value, choices, 1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _boolean(value: Any) -> bool:
    if isinstance(value, Expanded) and value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, Expanded) and value.isascii() and value.isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, Expanded):
        try:
            return float(value)
        except ValueError:
            raise ValueError("must be a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if not value:
        raise ValueError("must not be empty")
    return str(value)


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("must be a list of names")
    return tuple(str(item) for item in value)


def _names(value: Any) -> tuple[str, ...]:
    names = _strings([value] if isinstance(value, str) else value)
    if not names:
        raise ValueError("must not be empty")
    return names


def _value(value: Any) -> str:
    """A key value or bound as text, in the form that `hashing` reads."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise ValueError("must be a string, whole number, boolean, date or timestamp; write a fraction as a string")


def _values(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of key values")
    return tuple(_value(item) for item in value)


def _section(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a section")
    return value


def _sections(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of at least one [[section]]")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "string": _string,
    "strings": _strings,
    "names": _names,
    "value": _value,
    "values": _values,
    "section": _section,
    "sections": _sections,
}
