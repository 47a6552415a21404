"""The files that a shard map names: which of them TLS needs, and where a relative path begins."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pgproxy.shardmap.auth_rules import AuthUsers
from pgproxy.shardmap.environment import Report
from pgproxy.shardmap.model import ClusterSettings, ShardMap, TlsSettings

T = TypeVar("T", TlsSettings, ClusterSettings, AuthUsers)


def check_proxy_tls(settings: TlsSettings, report: Report) -> None:
    if settings.mode in ("allow", "require"):
        for name in ("certificate_file", "key_file"):
            if getattr(settings, name) is None:
                report(f"proxy.tls.{name}", f'is missing; proxy.tls.mode = "{settings.mode}" needs it')
    if settings.client_certificates == "required" and settings.client_ca_file is None:
        report("proxy.tls.client_ca_file", 'is missing; client_certificates = "required" needs it')


def check_cluster_tls(settings: ClusterSettings, report: Report) -> None:
    verified = settings.tls in ("verify-ca", "verify-full")
    if verified and settings.tls_ca_file is None:
        report("cluster.tls_ca_file", f'is missing; cluster.tls = "{settings.tls}" needs it')
    if settings.tls == "require" and settings.tls_ca_file is not None:
        report("cluster.tls_ca_file", 'has no meaning with tls = "require", which verifies nothing; use "verify-ca"')
    given = {name for name in ("tls_certificate_file", "tls_key_file") if getattr(settings, name) is not None}
    for name in {"tls_certificate_file", "tls_key_file"} - given if given else ():
        report(f"cluster.{name}", f"is missing; cluster.{given.copy().pop()} needs it")


def from_folder(folder: Path, shard_map: ShardMap) -> ShardMap:
    """Relative paths begin at the shard map's own folder, wherever the proxy is started."""
    folder, proxy = folder.absolute(), shard_map.proxy
    return replace(
        shard_map,
        proxy=replace(proxy, tls=_placed(proxy.tls, folder)),
        cluster=_placed(shard_map.cluster, folder),
        auth_users=_placed(shard_map.auth_users, folder),
    )


def _placed(settings: T, folder: Path) -> T:
    paths = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name.endswith("file")}
    placed: dict[str, Any] = {name: str(folder / path) for name, path in paths.items() if path is not None}
    return replace(settings, **placed)
