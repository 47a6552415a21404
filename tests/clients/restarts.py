"""What a pool lives through: its proxy is restarted, a node of the proxy dies and comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.sides import Side
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import RunningProxy, _await_answer, _end

BRANCHES = ("downtown", "west", "north")  # one of each node, in the nodes' order
DEAD = "west-library"
# "up" asks until each shard has answered, or 40 seconds; "down" asks each once. One word for each shard.
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
        _end(self.processes[-1] if self.processes else self.first.process)
        with self.first.log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pgproxy", "serve", "--config", str(self.first.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=Path(__file__).parents[2],
            )
        self.processes.append(process)
        _await_answer(process, self.first.conninfo, self.first.log)

    def close(self) -> None:
        for process in self.processes:
            _end(process)


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
