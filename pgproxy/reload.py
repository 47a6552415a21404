"""Reading the shard map again while the proxy runs: checked first, refused whole, put in force at once.

What the new map is held against is what `pgproxy check` asks; what it then changes is the worker's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import Enum

from pgproxy.auth.users_file import UsersFileErrors, open_users_file
from pgproxy.cluster.catalog import read_facts
from pgproxy.cluster.check import check_nodes
from pgproxy.cluster.check_auth import check_authentication
from pgproxy.descriptors import raise_limit
from pgproxy.errors import ProxyError
from pgproxy.shardmap.facts import CatalogFacts
from pgproxy.shardmap.load import ShardMapErrors, trust_problem
from pgproxy.shardmap.members import members_of
from pgproxy.shardmap.model import ShardMap
from pgproxy.tls.certificates import Certificates, load_certificates
from pgproxy.tls.serving import TlsFileError
from pgproxy.worker import Change, Worker

log = logging.getLogger("pgproxy.server")

# What is bound to when the process began, or would be another cluster to the clients that are connected.
NEEDS_RESTART = (
    "proxy.listen",
    "proxy.port",
    "cluster.name",
    "cluster.engine",
    "cluster.database",
    "cluster.login_as",
    "cluster.read_from",
    "cluster.max_lag_s",
)


class Reload:
    """`read` gives the shard map of the file, or raises ShardMapErrors. One reload at a time."""

    def __init__(self, worker: Worker, read: Callable[[], ShardMap]) -> None:
        self._worker = worker
        self._read = read
        self._turn = asyncio.Lock()

    async def __call__(self) -> Sequence[str]:
        """What the operator should know besides. Raises F0000 with every problem; then nothing has changed."""
        async with self._turn:
            try:
                change, warnings = await self._prepare()
            except _Wrong as wrong:
                for problem in wrong.problems:
                    log.error("nothing is reloaded, the old ones stay in force: %s", problem)
                raise ProxyError(
                    "F0000",
                    "the shard map is not reloaded, everything stays as it was",
                    detail="\n".join(wrong.problems),
                ) from None
            self._worker.put_in_force(change)
        raise_limit(change.shard_map)
        for warning in warnings:
            log.warning("%s", warning)
        shard_map = change.shard_map
        log.info("the shard map is reloaded: %d nodes, %d tables", len(shard_map.nodes), len(shard_map.tables))
        log.info("certificates are reloaded: %s", change.certificates.described())
        return warnings

    async def on_signal(self) -> None:
        """SIGHUP: the log alone tells."""
        try:
            await self()
        except ProxyError:
            pass  # said in the log already
        except Exception:
            log.exception("the reload failed by a bug")

    async def _prepare(self) -> tuple[Change, list[str]]:
        worker = self._worker
        shard_map, warnings = self._read_map()
        certificates = _certificates(shard_map)
        errors, _ = check_authentication(shard_map)
        findings = await check_nodes(shard_map)
        down = self._known_to_be_down(shard_map)
        excused = tuple(self._places_down(shard_map, down))
        errors += (error for error in findings.errors if not error.startswith(excused))
        warnings += (error for error in findings.errors if error.startswith(excused))
        if errors:
            raise _Wrong(errors)
        facts = await self._facts(shard_map, down)
        new_users = _about_users(shard_map) != _about_users(worker.shard_map)
        try:
            users_file = open_users_file(shard_map.auth_users) if new_users else None
        except UsersFileErrors as wrong:
            raise _Wrong(wrong.problems) from None
        beats = await worker.heartbeats.prepare(shard_map)
        return Change(shard_map, facts, beats, certificates, new_users, users_file), warnings

    def _read_map(self) -> tuple[ShardMap, list[str]]:
        """The file's shard map, but for what needs a restart; and what does."""
        try:
            shard_map, warnings = _as_running(self._read(), self._worker.shard_map)
        except ShardMapErrors as wrong:
            raise _Wrong(wrong.problems) from None
        if shard_map.nodes != self._worker.shard_map.nodes and _have_replicas(shard_map, self._worker.shard_map):
            raise _Wrong(["nodes: where some have replicas, a change of the nodes needs a restart"])
        problem = trust_problem(shard_map.auth, shard_map.proxy)  # the address may be another than the file's
        if problem is not None:
            raise _Wrong([": ".join(problem)])
        return shard_map, warnings

    def _known_to_be_down(self, shard_map: ShardMap) -> list[str]:
        """Nodes that are down already keep nothing from being reloaded; new ones and those elsewhere must answer."""
        running = self._worker.shard_map
        states = self._worker.heartbeats.states()
        return [
            name
            for name, node in shard_map.nodes.items()
            if running.nodes.get(name) == node and states[name].up is False
        ]

    def _places_down(self, shard_map: ShardMap, down: Sequence[str]) -> Iterator[str]:
        """How findings begin that are about nodes, or members of them, that are down already."""
        for name, node in shard_map.nodes.items():
            if name in down:
                yield from (f"nodes.{name}: ", f"nodes.{name}.replicas")
                continue
            for index, key in enumerate(list(members_of(node))[1:]):
                if self._worker.heartbeats.state(key).up is False:
                    yield f"nodes.{name}.replicas[{index}]: "

    async def _facts(self, shard_map: ShardMap, down: Sequence[str]) -> CatalogFacts:
        """Without the nodes that are down the picture is not whole: where nothing has moved, the old one serves."""
        known = self._worker.facts
        if down and known is not None and _about_tables(shard_map) == _about_tables(self._worker.shard_map):
            return known
        try:
            return await read_facts(shard_map, skip=down)
        except ProxyError as failure:
            raise _Wrong([f"cluster: {failure.message}"]) from None


class _Wrong(Exception):
    """Every problem, each a line that begins with a place."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__()
        self.problems = tuple(problems)


def _as_running(wanted: ShardMap, running: ShardMap) -> tuple[ShardMap, list[str]]:
    """The wanted map with the running one's values where those cannot change, and a warning for each."""
    warnings = []
    if wanted.http != running.http:
        warnings.append("http stays as it is until the next start")
        wanted = replace(wanted, http=running.http)
    for path in NEEDS_RESTART:
        section, name = path.split(".")
        old, new = (getattr(getattr(each, section), name) for each in (running, wanted))
        if old != new:
            warnings.append(f'{path} stays "{_text(old)}" until the next start; the file says "{_text(new)}"')
            wanted = replace(wanted, **{section: replace(getattr(wanted, section), **{name: old})})
    return wanted, warnings


def _have_replicas(*shard_maps: ShardMap) -> bool:
    return any(node.replicas for shard_map in shard_maps for node in shard_map.nodes.values())


def _text(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def _certificates(shard_map: ShardMap) -> Certificates:
    try:
        return load_certificates(shard_map)
    except TlsFileError as wrong:
        raise _Wrong([str(wrong)]) from None


def _about_users(shard_map: ShardMap) -> object:
    return shard_map.auth_users, shard_map.nodes, shard_map.cluster


def _about_tables(shard_map: ShardMap) -> object:
    return shard_map.nodes, shard_map.cluster, shard_map.tables, shard_map.reference_tables
