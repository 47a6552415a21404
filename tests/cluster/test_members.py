"""Which member is the primary, and which may be read: no server is needed for that."""

from __future__ import annotations

import pytest

from pgproxy.cluster.members import Members
from pgproxy.cluster.node_state import NodeState, Role
from pgproxy.shardmap.model import ClusterSettings, Engine, Node

A, B, C = (f"west/10.0.0.{number}:5432" for number in (1, 2, 3))
NODE = Node("west", "10.0.0.1", 5432, replicas=("10.0.0.2:5432", "10.0.0.3:5432"))


class Situation:
    """Members that are told what probes have found, and what they have told others."""

    def __init__(self, read_from: str = "primary", max_lag_s: float = 10.0) -> None:
        self.now = 100.0
        self.changes: list[tuple[str, bool | None]] = []
        self.moves: list[str] = []
        self.asked_again = 0
        self.under_way: set[str] = set()  # whose probes had begun when they were asked again
        cluster = ClusterSettings("c", Engine.POSTGRESQL, "d", "u", read_from=read_from, max_lag_s=max_lag_s)
        self.members = Members(
            NODE,
            cluster,
            lambda state: self.changes.append((state.name, state.up)),
            self.moves.append,
            self._all_asked_again,
            clock=lambda: self.now,
        )

    def primary(self, key: str, timeline: int = 1, wal: int = 0, system: int = 7) -> None:
        self._take(key, Role(False, timeline, system, wal))

    def standby(self, key: str, timeline: int = 1, wal: int = 0, system: int = 7) -> None:
        self._take(key, Role(True, timeline, system, wal))

    def dead(self, key: str) -> None:
        known = self.members.states[key]
        self.members.take(NodeState(key, up=False, since=0.0, failures=2, error="refused", role=known.role))

    def missed(self, key: str) -> None:
        """A probe has failed, but it is not down yet."""
        known = self.members.states[key]
        self.members.take(NodeState(key, up=True, since=0.0, failures=1, error="slow", role=known.role))

    def _all_asked_again(self) -> dict[str, int]:
        self.asked_again += 1
        return {key: 2 if key in self.under_way else 1 for key in (A, B, C)}

    def gone(self, key: str) -> None:
        """It is dead, and so the others have been asked again."""
        self.dead(key)
        for other, state in self.members.states.items():
            if other != key:
                self.members.take(state)

    def reads(self) -> set[str | None]:
        return {self.members.reader() for _ in range(6)}

    def _take(self, key: str, role: Role) -> None:
        self.members.take(NodeState(key, up=True, since=0.0, last_ok=self.now, role=role))


def healthy(read_from: str = "primary", max_lag_s: float = 10.0) -> Situation:
    situation = Situation(read_from, max_lag_s)
    situation.primary(A)
    situation.standby(B)
    situation.standby(C)
    return situation


def test_no_verdict_before_all_have_been_asked() -> None:
    situation = Situation()
    situation.primary(A)
    situation.standby(B)
    assert situation.members.state.up is None
    assert situation.members.primary is None
    situation.dead(C)
    assert situation.members.primary == A
    assert situation.changes == [("west", True)]


def test_the_primary_need_not_be_the_first() -> None:
    situation = Situation()
    situation.standby(A)
    situation.standby(C)
    situation.primary(B)
    assert situation.members.primary == B
    assert situation.moves == []


def test_without_a_primary_the_node_is_down_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    situation = healthy()
    situation.gone(A)
    assert situation.members.primary is None
    assert situation.members.state.up is False
    expected = "10.0.0.1:5432 does not answer (refused); 10.0.0.2:5432 is a standby; 10.0.0.3:5432 is a standby"
    assert situation.members.state.error == expected
    assert situation.changes == [("west", True), ("west", False)]
    assert f"ALERT: node west is DOWN ({expected})" in caplog.messages


def test_a_promoted_standby_is_the_primary(caplog: pytest.LogCaptureFixture) -> None:
    situation = healthy()
    situation.gone(A)
    situation.primary(B, timeline=2)
    assert situation.members.primary == B
    assert situation.moves == [A]
    assert situation.changes[-1] == ("west", True)
    assert "node west: 10.0.0.2:5432 is its primary now" in caplog.messages
    assert any(line.startswith("RECOVERED: node west is UP") for line in caplog.messages)


def test_there_is_no_primary_only_when_all_have_been_asked_again() -> None:
    """A switch-over: the old primary is a standby already, and nobody has heard yet that another was promoted."""
    situation = healthy()
    situation.standby(A)
    assert situation.asked_again == 1
    situation.standby(C)
    assert situation.members.primary == A
    situation.primary(B, timeline=2)
    assert situation.members.primary == B
    assert situation.changes == [("west", True)]
    assert situation.moves == []  # what is refused there anyway, and what is read there, need not be ended
    situation.standby(B, timeline=2)
    situation.standby(C, timeline=2)
    assert situation.members.primary == B
    situation.standby(A, timeline=2)
    assert situation.members.primary is None
    assert situation.changes == [("west", True), ("west", False)]


def test_a_probe_that_was_under_way_says_nothing_new() -> None:
    situation = healthy()
    situation.under_way = {B}
    situation.standby(A)
    situation.standby(C)
    situation.standby(B)  # as it was when it was asked
    assert situation.members.primary == A
    situation.primary(B, timeline=2)
    assert situation.members.primary == B
    assert situation.changes == [("west", True)]


def test_a_standby_may_know_of_the_new_timeline_before_the_new_primary_was_asked() -> None:
    """A switch-over once more: what the old primary was is all that is known of it."""
    situation = healthy()
    situation.standby(C, timeline=2)
    assert situation.asked_again == 1
    situation.missed(A)
    assert situation.members.primary == A
    situation.primary(B, timeline=2)
    assert situation.members.primary == B
    assert situation.changes == [("west", True)]


def test_an_old_primary_that_insists_is_not_used_any_more() -> None:
    """Whatever it took would be lost: what runs there ends, whoever the new one may be."""
    situation = healthy()
    situation.standby(C, timeline=2)
    assert situation.moves == []
    situation.primary(A, timeline=1)
    assert situation.members.primary is None
    assert situation.moves == [A]
    assert situation.changes == [("west", True), ("west", False)]


def test_only_an_old_primary_is_left_when_all_have_been_asked_again() -> None:
    situation = healthy()
    situation.standby(C, timeline=2)
    situation.missed(A)
    situation.standby(B)
    assert situation.members.primary is None
    assert "only an old primary answers (10.0.0.1:5432 on timeline 1)" in str(situation.members.state.error)


def test_an_old_primary_that_comes_back_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    situation = healthy()
    situation.gone(A)
    situation.primary(B, timeline=2)
    situation.primary(A, timeline=1)
    assert situation.members.primary == B
    (alert,) = [record.getMessage() for record in caplog.records if "old timeline" in record.getMessage()]
    assert alert.startswith("ALERT: node west: 10.0.0.1:5432 claims to be the primary")
    situation.primary(A, timeline=1)
    assert len([line for line in caplog.messages if "old timeline" in line]) == 1


def test_an_old_primary_alone_is_not_used_either() -> None:
    """The new one is gone for a while: what the old one takes would be lost."""
    situation = healthy()
    situation.gone(A)
    situation.primary(B, timeline=2)
    situation.primary(A, timeline=1)
    situation.gone(B)
    assert situation.members.primary is None
    assert "only an old primary answers (10.0.0.1:5432 on timeline 1)" in str(situation.members.state.error)


def test_a_standby_tells_of_a_newer_timeline_too() -> None:
    situation = Situation()
    situation.primary(A, timeline=1)
    situation.dead(B)
    situation.standby(C, timeline=2)
    assert situation.members.primary is None


def test_two_primaries_on_one_timeline_are_refused() -> None:
    situation = healthy()
    situation.gone(A)
    situation.primary(B, timeline=2)
    situation.primary(C, timeline=2)
    assert situation.members.primary is None
    expected = "10.0.0.2:5432 and 10.0.0.3:5432 both claim to be its primary, on timeline 2"
    assert situation.members.state.error == expected


def test_a_promotion_while_the_primary_lives_moves_to_the_newer_timeline() -> None:
    situation = healthy()
    situation.primary(B, timeline=2)
    assert situation.members.primary == B
    assert situation.moves == [A]
    assert situation.changes == [("west", True)]  # never down


def test_members_of_another_system_are_refused() -> None:
    situation = healthy()
    situation.standby(C, system=8)
    assert situation.members.primary is None
    assert "different database systems" in str(situation.members.state.error)


@pytest.mark.parametrize(("read_from", "expected"), [("primary", {None}), ("replica", {B, C}), ("any", {A, B, C})])
def test_reads_go_where_they_may(read_from: str, expected: set[str | None]) -> None:
    assert healthy(read_from).reads() == expected


@pytest.mark.parametrize("read_from", ["replica", "any"])
def test_reads_go_on_without_a_primary(read_from: str) -> None:
    situation = healthy(read_from)
    situation.gone(A)
    assert situation.reads() == {B, C}
    situation.dead(B)
    assert situation.reads() == {C}
    situation.dead(C)
    assert situation.reads() == {None}


def test_a_replica_that_has_missed_one_probe_is_not_read() -> None:
    situation = healthy("replica")
    situation.missed(B)
    assert situation.reads() == {C}


def behind(situation: Situation) -> Situation:
    """The primary writes for eight seconds; B replays it all, C nothing."""
    for second in range(1, 9):
        situation.now = 100.0 + second
        situation.primary(A, wal=second * 1000)
        situation.standby(B, wal=second * 1000)
        situation.standby(C, wal=500)
    return situation


def test_lag_is_the_time_since_the_primary_was_where_the_replica_is() -> None:
    situation = behind(healthy("replica", max_lag_s=10.0))
    assert situation.members.lags == {A: 0.0, B: 0.0, C: 8.0}
    assert situation.reads() == {B, C}


def test_a_replica_too_far_behind_is_not_read() -> None:
    situation = behind(healthy("replica", max_lag_s=5.0))
    assert situation.reads() == {B}
    situation.standby(C, wal=8000)
    assert situation.reads() == {B, C}


def test_an_idle_primary_makes_no_lag() -> None:
    situation = healthy("replica", max_lag_s=1.0)
    situation.now += 3600
    situation.primary(A)
    situation.standby(B)
    situation.standby(C)
    assert situation.members.lags == {A: 0.0, B: 0.0, C: 0.0}


def test_with_the_primary_gone_lag_does_not_grow() -> None:
    situation = behind(healthy("replica", max_lag_s=10.0))
    situation.gone(A)
    situation.now += 3600
    situation.standby(B, wal=8000)
    situation.standby(C, wal=500)
    assert situation.members.lags[B] == 0.0
    assert situation.members.lags[C] == 8.0


def test_what_is_not_known_is_not_read() -> None:
    situation = Situation("replica")
    situation.gone(A)
    situation.standby(B)
    situation.standby(C)
    assert situation.reads() == {None}


@pytest.mark.parametrize("read_from", ["replica", "any"])
def test_lag_is_measured_anew_behind_a_new_primary(read_from: str) -> None:
    situation = behind(healthy(read_from, max_lag_s=5.0))
    situation.gone(A)
    situation.primary(B, timeline=2, wal=8100)
    situation.standby(C, wal=500)
    assert situation.members.lags[C] is None
    assert C not in situation.reads()
    situation.standby(C, timeline=2, wal=8100)
    assert C in situation.reads()
