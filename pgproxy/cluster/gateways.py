"""Where a statement for a node may run: there, or through another gateway while that node is not well.

Owns which nodes are avoided and until when; it is told what happens and asked where to go. With engine cockroachdb
every node reaches every table; with engine postgresql only the home has the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

_DOWN = float("inf")


class Gateways:
    """A node that was down or in trouble is preferred again when it has been well for `stable_s`; until then it
    serves only if no other does. `paused` are nodes that an operator has paused, as they are at any time: statements
    for them wait, and those for others go there last of all."""

    def __init__(
        self,
        nodes: Iterable[str],
        *,
        interchangeable: bool,
        stable_s: float,
        clock: Callable[[], float],
        paused: Collection[str] = (),
    ) -> None:
        self.interchangeable = interchangeable
        self._paused = paused
        self._nodes = tuple(nodes)
        self.failovers = dict.fromkeys(self._nodes, 0)  # statements for this node that were sent elsewhere
        self._stable_s = stable_s
        self._clock = clock
        self._avoided_until: dict[str, float] = {}  # of those that are not well
        self._turn = 0

    def change(self, nodes: Iterable[str], stable_s: float) -> None:
        """A shard map was reloaded."""
        self._nodes, self._stable_s = tuple(nodes), stable_s
        for node in self._nodes:  # what has left is counted still
            self.failovers.setdefault(node, 0)
        self._avoided_until = {node: until for node, until in self._avoided_until.items() if node in self._nodes}

    # What happens

    def went_down(self, node: str) -> None:
        self._avoided_until[node] = _DOWN

    def came_up(self, node: str) -> None:
        """A node that has been well from the start needs no proof, nor one that nothing can replace."""
        if not self.interchangeable:
            self._avoided_until.pop(node, None)
        elif node in self._avoided_until:
            self._avoided_until[node] = self._clock() + self._stable_s

    def in_trouble(self, node: str) -> None:
        """It drains, or refuses connections: what its heartbeat has not found yet, or never will."""
        if self.interchangeable and self._avoided_until.get(node) != _DOWN:
            self._avoided_until[node] = self._clock() + self._stable_s

    # Where to go

    def node_for(self, home: str, failed: Collection[str] = ()) -> str | None:
        """The home, or another node in turn; None when none is up that could serve. Those that have `failed` this
        statement already are the last to be asked."""
        if not self._avoided_until and not failed:
            return home
        if home in self._paused:
            return home  # statements wait, whatever becomes of the node meanwhile
        if not self.interchangeable:
            return None if self._avoided_until.get(home) == _DOWN else home
        self._forget_old_trouble()
        ranks = {node: self._rank(node, failed) for node in self._nodes if self._avoided_until.get(node) != _DOWN}
        if not ranks:
            return None
        best = [node for node, rank in ranks.items() if rank == min(ranks.values())]
        if home in best:
            return home
        self._turn += 1
        self.failovers[home] += 1
        return best[self._turn % len(best)]

    def untried(self, failed: Collection[str]) -> bool:
        """Some node is up that has not failed this statement yet."""
        tried = {*failed, *self._paused}
        return any(self._avoided_until.get(node) != _DOWN and node not in tried for node in self._nodes)

    def is_avoided(self, node: str) -> bool:
        """Up, but not trusted yet."""
        self._forget_old_trouble()
        return self._avoided_until.get(node, _DOWN) != _DOWN

    def _rank(self, node: str, failed: Collection[str]) -> int:
        return 4 * (node in self._paused) + 2 * (node in failed) + (node in self._avoided_until)

    def _forget_old_trouble(self) -> None:
        now = self._clock()
        for node in [node for node, until in self._avoided_until.items() if until <= now]:
            del self._avoided_until[node]
