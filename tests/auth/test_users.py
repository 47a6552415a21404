"""Looking users up by a query: remembered, shared by all who ask meanwhile, and failing without waiting for ever."""

from __future__ import annotations

import asyncio

import pytest

from pgproxy.auth import users as users_module
from pgproxy.auth.pending import Pending
from pgproxy.auth.stored import Stored
from pgproxy.auth.users import Users
from pgproxy.errors import NodeFailure, ProxyError
from pgproxy.wire.scram import make_verifier

VERIFIER = make_verifier("secret")


class Nodes:
    """A query whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.answer: str | None = str(VERIFIER)
        self.error: ProxyError | None = None

    async def __call__(self, user: str) -> str | None:
        self.asked.append(user)
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return self.answer


def made(nodes: Nodes, *, cache_s: float = 1000.0, cache_size: int = 10) -> Users:
    return Users(None, nodes, asyncio.get_running_loop(), cache_s=cache_s, cache_size=cache_size)


async def ended(pending: Pending[Stored | None]) -> Stored | None:
    done = asyncio.Event()
    pending.wake = done.set
    if not pending.done:
        await done.wait()
    return pending.value


@pytest.mark.asyncio
async def test_an_answer_is_remembered() -> None:
    nodes = Nodes()
    users = made(nodes)
    assert await ended(users.find("alice", lambda: None)) == VERIFIER
    assert users.find("alice", lambda: None).value == VERIFIER
    nodes.answer = None
    assert await ended(users.find("nobody", lambda: None)) is None
    assert await ended(users.find("nobody", lambda: None)) is None
    assert nodes.asked == ["alice", "nobody"]
    users.forget()
    assert await ended(users.find("alice", lambda: None)) is None


@pytest.mark.asyncio
async def test_one_question_for_all_who_ask_meanwhile() -> None:
    nodes = Nodes()
    nodes.may_answer.clear()
    users = made(nodes, cache_s=0.0)
    waiting = [users.find("alice", lambda: None) for _ in range(5)]
    await asyncio.sleep(0)
    assert not any(pending.done for pending in waiting)
    nodes.may_answer.set()
    assert [await ended(pending) for pending in waiting] == [VERIFIER] * 5
    assert nodes.asked == ["alice"]
    await ended(users.find("alice", lambda: None))
    assert nodes.asked == ["alice"] * 2, "cache_s = 0 remembers nothing"


@pytest.mark.asyncio
async def test_no_more_is_remembered_than_allowed() -> None:
    nodes = Nodes()
    users = made(nodes, cache_size=2)
    for user in ("a", "b", "c", "a"):
        await ended(users.find(user, lambda: None))
    assert nodes.asked == ["a", "b", "c", "a"]


@pytest.mark.asyncio
async def test_a_failure_is_not_remembered() -> None:
    nodes = Nodes()
    users = made(nodes)
    nodes.error = NodeFailure("west", "node west is down")
    with pytest.raises(ProxyError, match="cannot authenticate users now") as refused:
        await ended(users.find("alice", lambda: None))
    assert (refused.value.sqlstate, refused.value.severity) == ("57P03", "FATAL")
    nodes.error = None
    assert await ended(users.find("alice", lambda: None)) == VERIFIER


@pytest.mark.asyncio
async def test_too_many_questions_and_too_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "LOOKUPS_AT_ONCE", 2)
    monkeypatch.setattr(users_module, "LOOKUP_TIMEOUT_S", 0.01)
    nodes = Nodes()
    nodes.may_answer.clear()
    users = made(nodes)
    pending = [users.find(user, lambda: None) for user in "abc"]
    assert pending[2].done
    for each in pending:
        with pytest.raises(ProxyError, match="cannot authenticate"):
            await ended(each)


@pytest.mark.asyncio
async def test_what_is_no_verifier_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    nodes = Nodes()
    nodes.answer = "in clear text"
    assert await ended(made(nodes).find("alice", lambda: None)) is None
    assert "no SCRAM verifier" in caplog.text
    assert "in clear text" not in caplog.text
