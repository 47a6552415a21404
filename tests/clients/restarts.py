"""What a pool lives through: its proxy is restarted, a node of the proxy dies and comes back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.clients.sides import Side
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, await_answer, end, running_proxy, serve

BRANCHES = ("downtown", "west", "north")  # one of each node, in the nodes' order
DEAD = "west-library"
# "up" asks until each shard has answered, or 90 seconds; "down" asks each once. One word for each shard.
Ask = Callable[[str], list[str]]


@dataclass
class RestartedProxy:
    """A proxy that can be restarted on its port."""

    first: RunningProxy
    cluster: LibraryCluster
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def side(self) -> Side:
        return Side(self.first.host, self.first.port)

    def restart(self) -> None:
        """As an operator does: SIGTERM, and another one when it has ended."""
        end(self.processes[-1] if self.processes else self.first.process)
        with self.first.log.open("ab") as output:
            process = serve(self.first.config, output)
        self.processes.append(process)
        await_answer(process, self.first.conninfo, self.first.log)

    def close(self) -> None:
        for process in self.processes:
            end(process)


def live_through(proxy: RestartedProxy, ask: Ask) -> None:
    """All shards answer again after each mishap, and while one is away the others do."""
    assert set(ask("up")) == {"ok"}
    proxy.restart()
    assert set(ask("up")) == {"ok"}
    proxy.cluster.kill(DEAD)
    try:
        while_down = ask("down")
    finally:
        proxy.cluster.restart(DEAD)
    for at, word in enumerate(while_down):  # those of several pools, one after the other
        assert (word == "ok") is (BRANCHES[at % 3] != "west"), while_down
    assert set(ask("up")) == {"ok"}


@pytest.fixture
def restarted_proxy(library_cluster: LibraryCluster, tmp_path: Path) -> Iterator[RestartedProxy]:
    """A proxy of one's own. Whoever kills a node starts it again."""
    with running_proxy(library_cluster, tmp_path) as running:
        proxy = RestartedProxy(running, library_cluster)
        try:
            yield proxy
        finally:
            proxy.close()
