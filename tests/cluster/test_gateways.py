"""Where statements go while nodes come and go; the clock is the test's."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pgproxy.cluster.gateways import Gateways


@dataclass
class Clock:
    now: float = 100.0
    nodes: tuple[str, ...] = ("a", "b", "c")
    paused: set[str] = field(default_factory=set)
    gateways: Gateways = field(init=False)

    def __post_init__(self) -> None:
        self.gateways = Gateways(
            self.nodes, interchangeable=True, stable_s=5.0, clock=lambda: self.now, paused=self.paused
        )


@pytest.fixture
def clock() -> Clock:
    return Clock()


def homes(gateways: Gateways, times: int = 6) -> set[str | None]:
    return {gateways.node_for("a") for _ in range(times)}


def test_the_home_while_all_is_well(clock: Clock) -> None:
    assert homes(clock.gateways) == {"a"}
    clock.gateways.came_up("a")  # the first verdict of a heartbeat
    assert homes(clock.gateways) == {"a"}


def test_the_others_in_turn_while_it_is_down(clock: Clock) -> None:
    clock.gateways.went_down("a")
    assert homes(clock.gateways) == {"b", "c"}
    assert clock.gateways.node_for("b") == "b"
    assert clock.gateways.failovers == {"a": 6, "b": 0, "c": 0}


def test_it_must_be_well_for_a_while_to_be_preferred_again(clock: Clock) -> None:
    clock.gateways.went_down("a")
    clock.now += 60
    assert homes(clock.gateways) == {"b", "c"}
    clock.gateways.came_up("a")
    clock.now += 4.9
    assert homes(clock.gateways) == {"b", "c"}
    clock.gateways.went_down("a")  # it flaps
    clock.gateways.came_up("a")
    clock.now += 4.9
    assert homes(clock.gateways) == {"b", "c"}
    clock.now += 0.2
    assert homes(clock.gateways) == {"a"}


def test_one_that_has_just_come_back_is_better_than_none(clock: Clock) -> None:
    for node in "abc":
        clock.gateways.went_down(node)
    assert clock.gateways.node_for("a") is None
    clock.gateways.came_up("b")
    assert homes(clock.gateways) == {"b"}


def test_trouble_lasts_until_it_has_been_well(clock: Clock) -> None:
    clock.gateways.in_trouble("a")
    assert homes(clock.gateways) == {"b", "c"}
    assert clock.gateways.is_avoided("a")
    clock.now += 3
    clock.gateways.in_trouble("a")
    clock.now += 3
    assert homes(clock.gateways) == {"b", "c"}
    clock.now += 3
    assert homes(clock.gateways) == {"a"}
    assert not clock.gateways.is_avoided("a")


def test_trouble_does_not_raise_the_dead(clock: Clock) -> None:
    clock.gateways.went_down("a")
    clock.gateways.in_trouble("a")
    clock.now += 60
    assert homes(clock.gateways) == {"b", "c"}


def test_who_has_failed_the_statement_is_asked_last(clock: Clock) -> None:
    assert {clock.gateways.node_for("a", {"a"}) for _ in range(6)} == {"b", "c"}
    assert {clock.gateways.node_for("a", {"a", "b"}) for _ in range(6)} == {"c"}
    assert clock.gateways.node_for("a", {"a", "b", "c"}) == "a"
    clock.gateways.went_down("c")
    assert clock.gateways.untried({"a"})
    assert not clock.gateways.untried({"a", "b"})


def test_statements_for_a_paused_node_wait_there(clock: Clock) -> None:
    clock.paused.add("a")
    clock.gateways.went_down("a")
    assert homes(clock.gateways) == {"a"}
    clock.paused.clear()
    assert homes(clock.gateways) == {"b", "c"}


def test_a_paused_node_stands_in_for_nobody(clock: Clock) -> None:
    clock.gateways.went_down("a")
    clock.paused.add("b")
    assert homes(clock.gateways) == {"c"}
    assert not clock.gateways.untried({"c"})
    clock.gateways.went_down("c")
    assert homes(clock.gateways) == {"b"}  # there they wait, which is better than an error


def test_independent_nodes_have_no_stand_in() -> None:
    gateways = Gateways("ab", interchangeable=False, stable_s=5.0, clock=lambda: 0.0)
    gateways.in_trouble("a")
    assert gateways.node_for("a", {"a"}) == "a"
    gateways.went_down("a")
    assert gateways.node_for("a") is None
    gateways.came_up("a")
    assert gateways.node_for("a") == "a"
