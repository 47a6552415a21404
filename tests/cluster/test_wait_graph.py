"""Circles of sessions over nodes: which there are, which are a node's own, who is the victim."""

from __future__ import annotations

import pytest

from pgproxy.cluster.wait_graph import Process, Sessions, Wait, deadlocks, edges, victim

# Processes are written as a letter for the node and a number; sessions by the processes that they use. A wait is
# "w1>w2,w3": w1 is blocked by w2 and w3. A session's process in brackets ends by itself: it holds nothing for long.
Circles = list[list[str]]


def process(name: str) -> Process:
    return Process((name[0], 5432), int(name[1:]))


def wait(text: str, lock: str = "a lock") -> Wait:
    waiter, blockers = text.split(">")
    return Wait(process(waiter), f"1/{waiter[1:]}", lock, tuple(int(name[1:]) for name in blockers.split(",")))


def sessions(using: dict[str, str]) -> Sessions:
    uses = {process(name.strip("()")): token for token, names in using.items() for name in names.split()}
    holds = {process(name): token for token, names in using.items() for name in names.split() if name[0] != "("}
    return Sessions(holds, uses)


def shown(using: dict[str, str], waits: str, own: str | None = None) -> Circles:
    """The circles found, each as its waiters' names in order."""
    found = deadlocks(edges(map(wait, waits.split()), sessions(using)), own.split() if own else using)
    return [
        [edge.waiter if isinstance(edge.waiter, str) else f"{edge.waiter.place[0]}{edge.waiter.pid}" for edge in circle]
        for circle in found
    ]


@pytest.mark.parametrize(
    ("using", "waits", "circles"),
    [
        pytest.param({}, "", [], id="nothing"),
        pytest.param({"A": "w1 n1", "B": "w2 n2"}, "w2>w1", [], id="one waits"),
        pytest.param({"A": "w1 n1", "B": "w2 n2"}, "w2>w1 n1>n2", [["B", "A"]], id="two over two nodes"),
        pytest.param({"A": "w1 n1", "B": "w2 n2"}, "w2>w1 w1>w2", [], id="two on one node: it sees that itself"),
        pytest.param({"A": "w1 w3", "B": "w2 w4"}, "w2>w1 w3>w4", [["B", "A"]], id="on one node, other processes"),
        pytest.param(
            {"A": "w1 n1", "B": "n2 d2", "C": "d3 w3"}, "n1>n2 d2>d3 w3>w1", [["C", "A", "B"]], id="three, three nodes"
        ),
        pytest.param(
            {"A": "w1 n1", "B": "n2 d2", "C": "d3 w3", "D": "w4 d4"}, "n1>n2 d2>d3 w4>w1 w3>d9", [], id="a chain"
        ),
        pytest.param({"A": "w1 n1", "B": "w2 n2"}, "w2>w7 w7>w1 n1>n2", [["B", "w7", "A"]], id="through a stranger"),
        pytest.param({"A": "w1 n1", "B": "w2 n2"}, "w2>w7,w8,w1 w7>w9 n1>n9,n2", [["B", "A"]], id="several blockers"),
        pytest.param({"A": "w1 n1", "B": "w2 n2"}, "w2>w0 n1>n2 w0>w1", [], id="prepared transactions end"),
        pytest.param({"A": "w1 w2"}, "w1>w2", [["A"]], id="one that waits for itself"),
        pytest.param(
            {"A": "w1 n1", "B": "w2 n2", "C": "w3 n3", "D": "w4 n4"},
            "w2>w1 n1>n2 w4>w3 n3>n4",
            [["D", "C"], ["B", "A"]],
            id="two deadlocks",
        ),
        pytest.param(
            {"A": "w1 n1", "B": "w2 n2", "C": "w3 n3"},
            "w2>w1 w3>w1 n1>n2,n3",
            [["C", "A"], ["B", "A"]],
            id="overlapping",
        ),
        pytest.param(
            {"A": "w1 n1", "B": "w2 n2", "C": "w3 n3"}, "w3>w2,w1 n1>n3 w2>w3", [["A", "C"]], id="beside a node's own"
        ),
        pytest.param({"A": "w1 (n1)", "B": "w2 n2"}, "w2>w1 n1>n2", [["B", "A"]], id="a part that ends waits"),
        pytest.param({"A": "w1 (n1)", "B": "w2 n2"}, "w1>w2 n2>n1", [], id="and is waited for"),
        pytest.param(
            {"A": "w1 (n1)", "B": "w2 n2"}, "w1>w2 n2>n1 n1>n9 n9>n2", [], id="and what it waits for is its node's"
        ),
    ],
)
def test_circles(using: dict[str, str], waits: str, circles: Circles) -> None:
    assert shown(using, waits) == circles


def test_only_circles_through_the_proxys_own_sessions_are_sought() -> None:
    others = {"A": "w1 n1", "B": "w2 n2", "C": "w3 n3", "D": "w4 n4"}
    assert shown(others, "w2>w1 n1>n2 w4>w3 n3>n4", "A") == [["A", "B"]]


def test_the_victim_is_the_same_wherever_the_circle_is_entered() -> None:
    using = {"0-2": "w1 n1", "1-0": "n2 d2", "1-1": "d3 w3"}
    found = edges(map(wait, ["n1>n2", "d2>d3", "w3>w1"]), sessions(using))
    assert {victim(circle) for token in using for circle in deadlocks(found, [token])} == {"1-1"}


def test_a_wait_is_the_same_while_its_blockers_change_but_not_its_lock() -> None:
    using = sessions({"A": "w1", "B": "w2 w3"})
    before = set(edges([wait("w1>w2")], using))
    assert before < set(edges([wait("w1>w2,w9")], using))
    assert not before & set(edges([wait("w1>w3")], using))
    assert not before & set(edges([wait("w1>w2", "another lock")], using))


def test_a_long_queue_is_no_circle() -> None:
    queue = [wait(f"w{at}>" + ",".join(f"w{ahead}" for ahead in range(1, at))) for at in range(2, 200)]
    using = sessions({f"{at:03}": f"w{at} n{at}" for at in range(1, 200)})
    assert list(deadlocks(edges(queue, using), sorted(set(using.uses.values())))) == []
    found = list(deadlocks(edges([*queue, wait("n1>n199")], using), ["199"]))
    assert [[edge.waiter for edge in circle] for circle in found] == [["199", "001"]]
