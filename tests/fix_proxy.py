"""A real proxy: `python -m pgproxy serve` as a child process in front of the library cluster."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

import psycopg
import pytest

from pgproxy.demo.library import DATABASE
from pgproxy.demo.nodes import HOST, SUPERUSER, free_port
from pgproxy.shardmap.model import HeartbeatSettings, HttpSettings, PoolSettings, ProxySettings, ShardMap
from pgproxy.shardmap.write import to_toml
from tests.fix_nodes import LibraryCluster

NO_HTTP = HttpSettings(enabled=False)
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 90.0
# No test may fail because the machine is slow: limits that are not a test's subject are far away.
_FAR_LIMITS: dict[type, dict[str, Any]] = {
    ProxySettings: {"startup_timeout_s": 60.0, "slow_statement_ms": 60_000, "failover_deadline_s": 60.0},
    PoolSettings: {"queue_timeout_s": 60.0, "connect_timeout_s": 30.0},
    HeartbeatSettings: {"timeout_s": 15.0},
    HttpSettings: {"statement_timeout_s": 60.0},
}


class HasShardMap(Protocol):
    """The nodes that a proxy is for."""

    def shard_map(self, port: int) -> ShardMap: ...


@dataclass(frozen=True)
class RunningProxy:
    host: str
    port: int
    conninfo: str
    log: Path
    config: Path
    process: subprocess.Popen[bytes]

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def connect(self, **options: Any) -> psycopg.Connection:
        """A psycopg connection that uses the simple query protocol (ClientCursor), in autocommit."""
        return psycopg.connect(
            self.conninfo, **({"autocommit": True, "cursor_factory": psycopg.ClientCursor} | options)
        )


@contextmanager
def running_proxy(
    cluster: HasShardMap,
    directory: Path,
    change: Callable[[ShardMap], ShardMap] = lambda shard_map: shard_map,
    *,
    http: HttpSettings = NO_HTTP,
    arguments: Sequence[str] = (),
    **settings: Any,
) -> Iterator[RunningProxy]:
    """A proxy of one's own. `settings` are fields of ProxySettings that differ from the default, `change` makes other
    changes to the shard map; `http` is its HTTP side, which is off otherwise; `arguments` are `serve`'s. Limits that
    nobody has chosen are those of a slow machine."""
    port = free_port()
    config, log = directory / "shardmap.toml", directory / "proxy.log"
    given = cluster.shard_map(port)
    shard_map = change(replace(given, proxy=patient(given.proxy), http=_with_far_limits(http)))
    chosen = replace(shard_map.proxy, **settings)
    chosen = replace(chosen, pool=_with_far_limits(chosen.pool))
    config.write_text(to_toml(replace(shard_map, proxy=chosen)), encoding="utf-8")
    with log.open("wb") as output:
        process = serve(config, output, *arguments)
    try:
        conninfo = f"host={HOST} port={port} user={SUPERUSER} dbname={DATABASE}"
        await_answer(process, conninfo, log)
        yield RunningProxy(HOST, port, conninfo, log, config, process)
    finally:
        end(process)


def patient(settings: ProxySettings) -> ProxySettings:
    """With far limits where it has the default ones."""
    pool, heartbeat = _with_far_limits(settings.pool), _with_far_limits(settings.heartbeat)
    return replace(_with_far_limits(settings), pool=pool, heartbeat=heartbeat)


def _with_far_limits(settings: Any) -> Any:
    default = type(settings)()
    far = _FAR_LIMITS[type(settings)]
    return replace(settings, **{name: far[name] for name in far if getattr(settings, name) == getattr(default, name)})


def serve(config: Path, output: IO[bytes], *options: str) -> subprocess.Popen[bytes]:
    """As an operator starts it; what it logs goes to `output`."""
    return subprocess.Popen(
        [sys.executable, "-m", "pgproxy", "serve", "--config", str(config), *options],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=Path(__file__).parent.parent,
    )


@pytest.fixture
def proxy(library_cluster: LibraryCluster, tmp_path: Path) -> Iterator[RunningProxy]:
    with running_proxy(library_cluster, tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def shared_proxy(library_cluster: LibraryCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """One proxy for all tests that only query."""
    with running_proxy(library_cluster, tmp_path_factory.mktemp("proxy")) as running:
        yield running


def await_answer(process: subprocess.Popen[bytes], conninfo: str, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(conninfo, connect_timeout=10).close()
            return
        except psycopg.OperationalError as failure:
            if "certificate" in str(failure) or "encrypted connections only" in str(failure):
                return  # it answers: who may connect is the test's business
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the proxy did not start ({failure}):\n{log.read_text(errors='replace')}")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM as an operator would; a proxy that does not end is killed and the test fails."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail("the proxy did not end within its grace time after SIGTERM")
