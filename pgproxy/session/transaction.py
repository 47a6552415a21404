"""The transaction that a session is in: which nodes have joined it, and what a node that joins must hear first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic

from pgproxy.backend.connection import BackendConnection
from pgproxy.errors import ProxyError
from pgproxy.session.settings import Settings, in_one_query, is_strict_isolation
from pgproxy.shardmap.model import Table


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing done in the transaction that a later joiner must do too: a SET, a SAVEPOINT.

    For a savepoint, `savepoint` is its name and the rest is what ROLLBACK TO it restores.
    """

    text: str
    savepoint: str | None = None
    settings: Settings = field(default_factory=dict)
    reported: Mapping[str, str] = field(default_factory=dict)
    joined: frozenset[str] = frozenset()
    writers: tuple[str, ...] = ()
    portals: int = 0  # that the session had bound by then


class Transaction:
    """`implicit` is the one around the statements of a single Query. `begin` starts it on each node."""

    def __init__(
        self, begin: str, settings: Settings, reported: Mapping[str, str], *, implicit: bool, strict: bool
    ) -> None:
        self.began_at = monotonic()
        self.begin = begin
        self.implicit = implicit
        self.strict = strict  # one snapshot for the whole transaction: a second node cannot join
        self.read_only = False  # begun as one that a standby can run
        self.failed = False
        self.settings_before = settings
        self.reported_before = reported
        self.joined: dict[str, BackendConnection] = {}
        self.applied_before: dict[str, Settings] = {}
        self.writers: tuple[str, ...] = ()  # the nodes written to, in the order of their first write
        self.copied: tuple[Table, ...] = ()  # into which: errors at COMMIT name them, not their shards
        self.peculiar: set[str] = set()  # nodes where something else was done than with rows of shards
        self.now: str | None = None  # once a statement over several shards has asked
        self.log: list[Entry] = []

    def opening(self) -> str:
        """The Query that takes a node into the transaction as it stands."""
        return in_one_query((self.begin, *(entry.text for entry in self.log)))

    def note_written(self, node: str) -> None:
        if node not in self.writers:
            self.writers += (node,)

    def note_mode(self, text: str) -> None:
        """SET TRANSACTION … was said."""
        self.strict = self.strict or is_strict_isolation(text)
        self.read_only = False  # what it is now is the nodes' business
        if self.implicit or any(entry.savepoint is not None for entry in self.log):
            self.log.append(Entry(text))
        else:  # it comes before all queries, and AND CHAIN keeps it
            self.begin = in_one_query((self.begin, text))

    def set_savepoint(
        self, name: str, text: str, settings: Settings, reported: Mapping[str, str], portals: int
    ) -> None:
        self.log.append(Entry(text, name, settings, reported, frozenset(self.joined), self.writers, portals))

    def release(self, name: str) -> None:
        """Forget the savepoint and those set after it; what was done since stays done."""
        at = self._find(name)
        self.log[at:] = [entry for entry in self.log[at:] if entry.savepoint is None]

    def roll_back_to(self, name: str) -> Entry:
        """Forget what was done since the savepoint, which itself stays. Gives what it restores."""
        at = self._find(name)
        del self.log[at + 1 :]
        return self.log[at]

    def undoing(self) -> str:
        """What undoes, on a node where it has not failed, what the failure has undone: all since the last savepoint."""
        names = [entry.savepoint for entry in self.log if entry.savepoint is not None]
        return 'ROLLBACK TO "{}"'.format(names[-1].replace('"', '""')) if names else "ROLLBACK"

    def joined_since(self, savepoint: Entry) -> Iterator[str]:
        return (node for node in list(self.joined) if node not in savepoint.joined)

    def _find(self, name: str) -> int:
        for at in reversed(range(len(self.log))):
            if self.log[at].savepoint == name:
                return at
        raise ProxyError("3B001", f'savepoint "{name}" does not exist')
