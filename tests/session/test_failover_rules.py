"""The policy by itself: which errors of which statements may be repeated."""

from __future__ import annotations

import pytest

from pgproxy.backend.exchange import ServerError
from pgproxy.errors import ConnectionLost, NodeFailure, ProxyError, Refused
from pgproxy.planner.plan import Effect
from pgproxy.session.failover import Verdict, judge, outcome_unknown

READ, WRITE = Effect.READ, Effect.WRITE


def says(sqlstate: str, message: str = "") -> ServerError:
    return ServerError({"C": sqlstate, "M": message}, "west")


@pytest.mark.parametrize(
    ("error", "read", "write"),
    [
        (NodeFailure("west", "refused"), Verdict.ELSEWHERE, Verdict.ELSEWHERE),
        (NodeFailure("west", "it starts", sqlstate="57P03"), Verdict.ELSEWHERE, Verdict.ELSEWHERE),
        (ConnectionLost("west", "end of file"), Verdict.ELSEWHERE, Verdict.UNKNOWN),
        (says("40001"), Verdict.AGAIN, Verdict.AGAIN),
        (says("40003"), Verdict.REPORT, Verdict.REPORT),
        (says("57P01"), Verdict.ELSEWHERE, Verdict.REPORT),
        (says("58C00"), Verdict.ELSEWHERE, Verdict.REPORT),
        (says("XXUUU", "rpc error: transport is closing"), Verdict.ELSEWHERE, Verdict.REPORT),
        (says("XXUUU", "unexpected value"), Verdict.REPORT, Verdict.REPORT),
        (says("22012", "division by zero"), Verdict.REPORT, Verdict.REPORT),
        (says("57014"), Verdict.REPORT, Verdict.REPORT),
        (ProxyError("53300", "no connection became free"), Verdict.REPORT, Verdict.REPORT),
        (Refused("no", "hint"), Verdict.REPORT, Verdict.REPORT),
    ],
    ids=lambda value: f"{value.sqlstate} {value}" if isinstance(value, ProxyError) else value.name,
)
def test_what_may_be_repeated(error: ProxyError, read: Verdict, write: Verdict) -> None:
    assert judge(error, READ) is read
    assert judge(error, WRITE) is write


def test_an_unknown_outcome_says_so() -> None:
    error = outcome_unknown(ConnectionLost("west", "node west closed the connection unexpectedly"))
    assert error.sqlstate == "40003"
    assert "node west" in error.message
    assert error.hint
