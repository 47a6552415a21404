"""The import arrows of docs/architecture.md: what each layer may import of ours, and who may use which package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pgproxy"

# Layer → the layers it may import. `errors` may be imported by all.
MAY_IMPORT = {
    "errors": set(),
    "keepalive": set(),
    "wire": set(),
    "hashing": set(),
    "shardmap": {"hashing"},
    "auth": {"wire", "shardmap"},
    "operators": {"wire"},
    "planner": {"metrics", "operators", "shardmap", "hashing", "wire"},
    "tls": {"shardmap"},
    "backend": {"keepalive", "metrics", "tls", "wire", "shardmap"},
    "session": {
        "auth",
        "keepalive",
        "tls",
        "planner",
        "operators",
        "backend",
        "wire",
        "shardmap",
        "admin",
        "metrics",
    },
    "metrics": set(),
    "logs": set(),
    "cluster": {"auth", "shardmap", "hashing", "tls"},
    "admin": {"cluster", "metrics", "shardmap", "wire"},
    "orders": {"auth", "admin", "backend", "cluster", "shardmap", "wire"},
    "statement_log": {"admin", "logs"},
    "view": {"admin", "backend", "cluster", "metrics", "planner", "session", "shardmap", "statement_log"},
    "worker": {
        "auth",
        "tls",
        "session",
        "admin",
        "backend",
        "cluster",
        "metrics",
        "orders",
        "planner",
        "shardmap",
        "statement_log",
        "view",
        "wire",
    },
    "reload": {"worker", "auth", "cluster", "descriptors", "shardmap", "tls"},
    "front_door": {"worker", "session", "planner", "metrics", "shardmap"},
    "http": {"admin", "metrics", "shardmap", "wire"},
    "takeover": set(),
    "ending": set(),
    "port": {"takeover", "worker"},
    "server": {
        "worker",
        "front_door",
        "http",
        "auth",
        "descriptors",
        "ending",
        "notify",
        "port",
        "reload",
        "shardmap",
        "takeover",
        "tls",
        "view",
    },
    "notify": set(),
    "descriptors": {"shardmap"},
    "demo": {"cluster", "shardmap"},
    "shell": set(),  # a client: it knows the proxy by its port only
    "cli": {"logs", "auth", "server", "admin", "cluster", "demo", "shardmap", "shell"},
    "__main__": {"cli"},
    "__init__": set(),
}
ONLY_IN = {
    "pglast": {"planner"},
    "sqlglot": {"planner"},
    "psycopg": {"cluster", "demo", "shell", "admin/render.py"},  # shell and `pgproxy status` are clients of the proxy
    "psycopg_pool": {"cluster"},
    "aiohttp": {"http"},
    "prometheus_client": {"http"},
    "asyncio": {
        "http",
        "auth",
        "tls",
        "backend",
        "session",
        "orders",
        "view",
        "worker",
        "reload",
        "takeover",
        "ending",
        "port",
        "server",
        "cluster",
    },
    "socket": {"keepalive", "backend", "session", "server", "takeover", "port", "cluster", "demo", "notify"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Every dotted name that a module imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(path: Path) -> None:
    here = layer(path)
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("pgproxy.")}
    assert ours - {here, "errors", "__version__"} <= MAY_IMPORT[here]
    for name in imports(path):
        allowed = ONLY_IN.get(name.split(".")[0])
        assert allowed is None or {here, path.relative_to(PACKAGE).as_posix()} & allowed, f"{name} in {here}"
