"""The measurements, each run for some seconds on real nodes; their verdicts on made-up figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest import clusters, consistency, recovery, soak
from loadtest.load import Records, load, per_second, quantiles_per_second, read_records
from loadtest.users import MIXES, kinds
from pgproxy.demo.library import library_map
from pgproxy.demo.nodes import EmbeddedNode
from pgproxy.shardmap.model import ShardMap
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import patient, running_proxy

BRANCHES = ("downtown", "north", "west")


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    for name in folder.glob("*.png"):
        assert name.read_bytes().startswith(b"\x89PNG")
        assert f"({name.name})" in (folder / "report.md").read_text()
    return found


def records(*entries: tuple[float, float, int, bytes], names: tuple[str, ...] = ("read_one west", "search")) -> Records:
    at, took, kind, sqlstate = zip(*entries, strict=True)
    return Records(np.array(at), np.array(took, np.float32), np.array(kind, np.uint8), np.array(sqlstate, "S5"), names)


def test_kinds_have_numbers_of_one_byte() -> None:
    for mix in MIXES:
        assert len(set(kinds(mix, BRANCHES))) == len(kinds(mix, BRANCHES)) < 256
    assert kinds("reads", BRANCHES) == ["read_one downtown", "read_one north", "read_one west", "search"]


def test_users_do_everything_without_an_error(own_cluster: LibraryCluster, tmp_path: Path) -> None:
    output = tmp_path / "records"
    with running_proxy(own_cluster, tmp_path) as proxy, load(proxy.conninfo, 8, 6, "everything", output) as process:
        assert process.wait(240) == 0
    found = read_records(output, kinds("everything", BRANCHES), 0)
    assert found.failures() == {}
    assert len(found.at) > 50
    assert len(set(found.kind.tolist())) > 8


def test_records_second_by_second() -> None:
    some = records((0.1, 0.2, 0, b"00000"), (0.5, 0.8, 0, b"08006"), (1.1, 0.4, 1, b"00000"), (3.2, 0.1, 1, b"00000"))
    at, well, badly = per_second(some, 4)
    assert (at.tolist(), well.tolist(), badly.tolist()) == ([0, 1, 2, 3], [1, 1, 0, 1], [0, 1, 0, 0])
    p50 = quantiles_per_second(some, 0.5, 4)
    assert p50[[0, 1, 3]] == pytest.approx([0.2, 0.4, 0.1])
    assert np.isnan(p50[2])
    assert some.failures() == {"08006": 1}
    assert len(some.of("search").at) == 2
    assert len(some.between(0.5, 3).at) == 2


@pytest.mark.parametrize(
    ("faultless", "quick", "start", "expected"),
    [
        ("111111111", "111111111", 2, 2.0),
        ("111011111", "111111111", 2, 4.0),
        ("111111111", "110111111", 0, 3.0),
        ("111111011", "111111111", 2, None),
        ("1111", "1111", 0, None),
    ],
)
def test_the_first_calm_second(faultless: str, quick: str, start: int, expected: float | None) -> None:
    assert recovery.first_calm(flags(faultless), flags(quick), start) == expected


def flags(text: str) -> Any:
    return np.array([letter == "1" for letter in text])


@pytest.fixture
def _no_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is down when it refuses connections, not when the machine is slow."""

    def with_far_limits(nodes: Sequence[EmbeddedNode], port: int) -> ShardMap:
        found = library_map(nodes, port)
        return replace(found, proxy=patient(found.proxy))

    monkeypatch.setattr(clusters, "library_map", with_far_limits)


@pytest.mark.usefixtures("_no_haste")
def test_recovery(tmp_path: Path) -> None:
    arguments = ["--users", "12", "--before", "4", "--down", "4", "--after", "9", "--rows", "500"]
    recovery.main([*arguments, "--folder", str(tmp_path)])
    found = figures(tmp_path)
    times = found["times"]
    assert times["T_stop"] < times["T_down_detected"] < times["T_restart"] < times["T_recovered"]
    parts = found["parts"]
    assert set(parts["for west-library alone"]["failures"]) <= {"08006", "57P01"}
    assert parts["for west-library alone"]["failures"]
    assert parts["for other nodes alone"]["failures"] == {}
    assert parts["for other nodes alone"]["statements"] > 20


def test_consistency(tmp_path: Path) -> None:
    assert consistency.main(["--trials", "20", "--rows", "10", "--folder", str(tmp_path)]) == 0
    found = figures(tmp_path)
    assert {part["trials"] for part in found.values()} == {10}
    assert all(part["median_s"] > 0 and part["never"] == 0 for part in found.values())
    assert "a row lives on one node" in (tmp_path / "report.md").read_text()


def test_a_write_that_nobody_sees_is_told() -> None:
    trials = [
        consistency.Trial("proxy", {"west": 0.1}, {"west": 1}),
        consistency.Trial("proxy", {"west": consistency.NEVER}, {"west": 9}),
    ]
    assert consistency.delays_of(trials) == [0.1, consistency.NEVER]


@pytest.mark.usefixtures("_no_haste")
def test_soak(tmp_path: Path) -> None:
    soak.main(["--minutes", "0.45", "--users", "8", "--rows", "500", "--seed", "5", "--folder", str(tmp_path)])
    found = figures(tmp_path)
    assert found["statements"] > 100
    assert found["faults"]
    assert not [problem for problem in found["problems"] if "wrong" in problem or "leased" in problem]


def series(memory: list[float], descriptors: list[int]) -> soak.Samples:
    return soak.Samples([float(at) for at in range(len(memory))], memory, descriptors, [1] * len(memory))


def test_the_verdict_on_what_is_flat() -> None:
    warm = [50 + min(at, 20) for at in range(100)]
    judged = soak.verdict(series([float(mb) for mb in warm], [40] * 100), 0, 0)
    assert judged.problems == []
    assert judged.growth == pytest.approx(0)


def test_the_verdict_on_a_leak() -> None:
    judged = soak.verdict(series([50 + at * 0.1 for at in range(100)], list(range(100))), 2, 1)
    assert len(judged.problems) == 4


def test_a_wrong_answer_is_shown(tmp_path: Path) -> None:
    found = records((1.0, 0.1, 0, b"00000"), (2.5, 20.0, 1, b"WRONG"), names=("count", "cancel"))
    samples = soak.Samples(at=[60.0], memory_mb=[80.0], descriptors=[30], threads=[4])
    page = soak.report(samples, found, soak.Verdict(0.0, (30, 30), 0, 1), tmp_path).write().read_text()
    assert "**Not flat:** 1 wrong answers." in page
    assert "| cancel | 2.50 s | 20.00 s |" in page
