"""Random conversations: the proxy answers each as one PostgreSQL does, message by message, or refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings

from tests.differential.conversation import CONVERSATIONS, LAST_ISBN, TABLE, Talker, Turn, is_refused, said
from tests.extended_client import Shown
from tests.fix_nodes import ReferencePostgres
from tests.fix_proxy import RunningProxy

_CLEAN_UP = said("ROLLBACK"), said("DISCARD ALL")


@pytest.fixture(scope="module")
def housekeepers(shared_proxy: RunningProxy, reference_pg: ReferencePostgres) -> Iterator[list[psycopg.Connection]]:
    """Who puts back what a conversation has changed."""
    keepers = [
        psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.ClientCursor)
        for conninfo in (shared_proxy.conninfo, reference_pg.conninfo)
    ]
    yield keepers
    for keeper in keepers:
        keeper.close()


def put_back(keepers: Sequence[psycopg.Connection]) -> None:
    for keeper in keepers:
        for branch in ("west", "north", "downtown"):
            keeper.execute("DELETE FROM books WHERE branch = %s AND isbn <= %s", (branch, LAST_ISBN))
        keeper.execute(f"DROP TABLE IF EXISTS {TABLE}".encode())


def differing(turns: Sequence[Turn], proxy: Talker, reference: Talker, seen: Counter[str] | None = None) -> str | None:
    """The first difference. What is refused the reference is not asked."""
    for number, turn in enumerate(turns):
        got = proxy.take(turn)
        if seen is not None:
            seen["refused" if is_refused(got) else "answered"] += 1
        if is_refused(got):
            if got[-1][0] != "Z":
                return f"turn {number}, {turn}: refused, and closed: {got}"
            for clean in _CLEAN_UP:
                proxy.take(clean), reference.take(clean)
            continue
        want = reference.take(turn)
        if has_wrong_value(want) and not has_wrong_value(got):
            for clean in _CLEAN_UP:
                proxy.take(clean), reference.take(clean)
            continue
        if got != want:
            return f"turn {number}, {turn}\n  proxy:    {got}\n  postgres: {want}"
        if not got or got[-1][0] != "Z":
            return None  # both have closed
    return None


def has_wrong_value(answer: Sequence[Shown]) -> bool:
    """Values of a Bind are looked at when it is executed."""
    return any(one[0] == "E" and one[1]["C"] == "22P02" for one in answer)


def test_random_conversations(
    shared_proxy: RunningProxy,
    reference_pg: ReferencePostgres,
    housekeepers: list[psycopg.Connection],
    request: pytest.FixtureRequest,
) -> None:
    seen: Counter[str] = Counter()

    @settings(
        max_examples=request.config.getoption("conversations"),
        derandomize=not request.config.getoption("conversation_luck"),
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(CONVERSATIONS)
    def agrees(turns: list[Turn]) -> None:
        proxy, reference = Talker(shared_proxy.conninfo), Talker(reference_pg.conninfo)
        try:
            why = differing(turns, proxy, reference, seen)
        finally:
            proxy.close()
            reference.close()
            put_back(housekeepers)
        note("\n".join(map(repr, turns)))
        assert why is None, why

    agrees()
    assert seen["answered"] > 3 * seen["refused"], seen
