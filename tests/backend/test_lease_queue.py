"""Who waits for a connection, and for how long: no node is needed for that, and the clock is the test's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from pgproxy.backend.counts import PoolCounts
from pgproxy.backend.lease_queue import Lease, LeaseQueue
from pgproxy.errors import NodeFailure
from pgproxy.shardmap.model import PoolSettings
from tests.hostile.stand import StreamEnd, VirtualLoop

REASON = NodeFailure("west", "gone")


def no_node(_protocol: object) -> StreamEnd:
    raise AssertionError("nobody connects")


@dataclass
class Waiting:
    """A queue, and who has been woken."""

    loop: VirtualLoop
    counts: PoolCounts = field(default_factory=PoolCounts)
    woken: list[str] = field(default_factory=list)
    queue: LeaseQueue = field(init=False)

    def __post_init__(self) -> None:
        settings = PoolSettings(queue_limit=3, queue_timeout_s=10.0, pause_timeout_s=30.0)
        self.queue = LeaseQueue("west", settings, self.counts, self.loop)

    def enter(self, name: str, *, in_the_way: bool = False) -> Lease:
        lease = Lease(lambda: self.woken.append(name), self.loop.time())
        self.queue.enter(lease, in_the_way=in_the_way)
        return lease


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    loop = VirtualLoop(no_node)
    yield Waiting(loop)
    assert loop.wrong == []
    loop.close()


def test_only_so_many_may_wait(waiting: Waiting) -> None:
    queue = waiting.queue
    waiting.enter("a")
    queue.pause()
    waiting.enter("b")
    assert queue.why_full() is None
    last = waiting.enter("c", in_the_way=True)
    full = queue.why_full()
    assert full is not None
    assert full.sqlstate == "53300"
    queue.leave(last)
    assert queue.why_full() is None


def test_each_waits_equally_long(waiting: Waiting) -> None:
    first = waiting.enter("first")
    waiting.loop.pass_time(4)
    second = waiting.enter("second")
    assert waiting.queue.oldest_wait_s == pytest.approx(4)
    waiting.loop.pass_time(5.9)
    assert waiting.woken == []
    waiting.loop.pass_time(0.2)
    assert waiting.woken == ["first"]
    assert first.error is not None
    assert first.error.sqlstate == "53300"
    assert not second.done
    waiting.loop.pass_time(4)
    assert waiting.woken == ["first", "second"]
    assert (waiting.queue.waiting, waiting.queue.oldest_wait_s) == (0, None)
    assert waiting.counts.queue_timeouts == 2


@pytest.mark.parametrize(("limit_s", "woken"), [(3.0, ["first"]), (5.0, []), (60.0, [])])
def test_who_waits_goes_by_a_new_limit(limit_s: float, woken: list[str], waiting: Waiting) -> None:
    waiting.enter("first")
    waiting.loop.pass_time(4)
    waiting.queue.reconfigure(replace(waiting.queue.settings, queue_timeout_s=limit_s))
    waiting.loop.pass_time(0.1)
    assert waiting.woken == woken
    waiting.loop.pass_time(limit_s)
    assert waiting.woken == ["first"]


def test_who_is_held_back_waits_for_resume_in_the_order_of_coming(waiting: Waiting) -> None:
    before = waiting.enter("before")
    waiting.queue.pause()
    after = waiting.enter("after")
    needed = waiting.enter("needed", in_the_way=True)
    assert list(waiting.queue.in_turn) == [needed]
    waiting.queue.leave(needed)
    waiting.loop.pass_time(20)
    assert waiting.woken == [], "queue_timeout_s is not for them"
    waiting.queue.resume()
    assert list(waiting.queue.in_turn) == [before, after]
    waiting.loop.pass_time(9.9)
    assert waiting.woken == [], "it begins now"
    waiting.loop.pass_time(0.2)
    assert waiting.woken == ["before", "after"]


def test_nobody_is_held_back_for_ever(waiting: Waiting) -> None:
    waiting.queue.pause()
    lease = waiting.enter("a")
    waiting.loop.pass_time(29)
    assert not lease.done
    waiting.loop.pass_time(2.1)
    assert lease.error is not None
    assert "was not resumed within 30 s" in lease.error.message
    assert waiting.counts.queue_timeouts == 1
    waiting.queue.close(REASON)


def test_a_failure_is_for_those_in_turn_turning_away_for_the_others(waiting: Waiting) -> None:
    queue = waiting.queue
    queue.pause()
    held_back, needed = waiting.enter("held back"), waiting.enter("needed", in_the_way=True)
    queue.fail(REASON)
    waiting.loop.pass_time(0)
    assert (waiting.woken, needed.error, held_back.done) == (["needed"], REASON, False)
    queue.turn_away(REASON)
    waiting.loop.pass_time(0)
    assert (waiting.woken, held_back.error) == (["needed", "held back"], REASON)
    assert queue.paused
    assert queue.waiting == 0
    queue.resume()
    assert not queue.paused


def test_at_the_end_everybody_hears_it(waiting: Waiting) -> None:
    waiting.enter("in turn")
    waiting.queue.pause()
    waiting.enter("held back")
    waiting.enter("needed", in_the_way=True)
    waiting.queue.close(REASON)
    waiting.loop.pass_time(100)
    assert sorted(waiting.woken) == ["held back", "in turn", "needed"]
    assert waiting.counts.queue_timeouts == 0
