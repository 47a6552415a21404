"""Rules of authentication as facts: who may log in from where and how, first match decides, as in pg_hba.conf.

Reading them from the file is here too; asking clients for their passwords is the session's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from pgproxy.shardmap.environment import Report

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ALL = "all"


class AuthMethod(Enum):
    """PostgreSQL's names. `md5` asks for SCRAM when a SCRAM verifier is stored, as PostgreSQL does."""

    TRUST = "trust"
    REJECT = "reject"
    PASSWORD = "password"
    MD5 = "md5"
    SCRAM = "scram-sha-256"
    CERT = "cert"


NEED_SECRETS = frozenset({AuthMethod.PASSWORD, AuthMethod.MD5, AuthMethod.SCRAM})


@dataclass(frozen=True, slots=True)
class AuthRule:
    """One [[auth]] section. Empty tuples stand for all; `tls` None: encrypted or not."""

    method: AuthMethod
    address: tuple[Network, ...] = ()
    user: tuple[str, ...] = ()
    database: tuple[str, ...] = ()
    tls: bool | None = None

    def matches(self, address: Address | None, user: str, database: str, *, tls: bool) -> bool:
        return (
            self.tls in (None, tls)
            and (not self.user or user in self.user)
            and (not self.database or database in self.database)
            and (not self.address or (address is not None and any(address in network for network in self.address)))
        )


@dataclass(frozen=True, slots=True)
class AuthUsers:
    """Where stored passwords come from: a file, and for users who are not in it a query on a node."""

    file: str | None = None
    query: str | None = None
    cache_s: float = 10.0
    cache_size: int = 10_000
    salt_secret: str | None = field(default=None, repr=False)


# Without any rule. `proxy.listen` must be loopback then, unless a flag says otherwise.
TRUST_ALL = (AuthRule(AuthMethod.TRUST),)


def find_rule(
    rules: Iterable[AuthRule], address: Address | None, user: str, database: str, *, tls: bool
) -> AuthRule | None:
    """The first rule that matches."""
    return next((rule for rule in rules if rule.matches(address, user, database, tls=tls)), None)


def client_address(text: str) -> Address:
    """An IPv4 address that came by an IPv6 socket is an IPv4 address."""
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def read_rules(sections: Iterable[tuple[str, dict[str, Any]]], report: Report) -> tuple[AuthRule, ...]:
    """The rules of sections given as (path, values by key); what is wrong with them is reported."""
    rules = []
    for path, facts in sections:
        networks = tuple(_networks(f"{path}.address", facts["address"] or (), report))
        for key in ("user", "database"):
            _check_names(f"{path}.{key}", facts[key] or (), report)
        if facts["method"] is None:
            continue
        method = AuthMethod(facts["method"])
        if method is AuthMethod.CERT and facts["tls"] is not True:
            report(f"{path}.tls", 'must be true with method "cert": only TLS brings a certificate')
        rules.append(AuthRule(method, networks, _but_all(facts["user"]), _but_all(facts["database"]), facts["tls"]))
    return tuple(rules)


def trust_from_elsewhere(rules: tuple[AuthRule, ...], listen: str) -> str | None:
    """The path of a rule that lets other machines in without a password, if the proxy listens to any."""
    if is_loopback(listen):
        return None
    for index, rule in enumerate(rules):
        if rule.method is AuthMethod.TRUST and not (rule.address and all(n.is_loopback for n in rule.address)):
            return f"auth[{index}]"
    return None if rules else "auth"


def trust_warning(rules: tuple[AuthRule, ...], listen: str) -> str | None:
    """For whoever starts the proxy, even if the file says that it is meant."""
    path = trust_from_elsewhere(rules, listen)
    return None if path is None else f'{path}: ANYONE who reaches "{listen}" is let in without a password (trust)'


def warnings(rules: tuple[AuthRule, ...], listen: str) -> Iterator[str]:
    """What works, but perhaps not as meant; each a line `key.path: what about it`."""
    for index, rule in enumerate(rules):
        rest = rules[index + 1 :]
        if rule.method is AuthMethod.PASSWORD and rule.tls is not True and not is_loopback(listen):
            yield f"auth[{index}].method: passwords cross the network in clear text; say tls = true or scram-sha-256"
        if rest and not (rule.address or rule.user or rule.database) and rule.tls is None:
            yield f"auth[{index}]: matches everyone, so the rules behind it are never used"
            return


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _networks(path: str, texts: Iterable[str], report: Report) -> Iterator[Network]:
    if ALL in texts:
        return
    for text in texts:
        try:
            yield ip_network(text)
        except ValueError as wrong:
            report(path, f'"{text}" is no address or network: {wrong}')


def _but_all(names: tuple[str, ...] | None) -> tuple[str, ...]:
    return () if names is None or ALL in names else names


def _check_names(path: str, names: Iterable[str], report: Report) -> None:
    """pg_hba.conf gives a meaning to these that is not ours: a rule must not look stricter than it is."""
    for name in names:
        if name.startswith(("+", "/", "@")):
            report(path, f'"{name}": groups, patterns and files of names are not supported')
