"""Single transactions that sessions could not end themselves: ended now rather than in a round of recovery.

A session may wait for the decider's word. What takes longer than a minute is left to the rounds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pgproxy.auth.pending import Pending
from pgproxy.cluster.participant import NotAllowed
from pgproxy.cluster.participants import Participants, UnknownDecider
from pgproxy.errors import NodeFailure, ProxyError

MOST = 200
ANSWER_S = 5.0
_GIVE_UP_S = 60.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_FREE_OF_IT = 3  # looks in a row without any part of it: the first may have come before a PREPARE under way

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Transaction:
    """`committed` is None until the decider has spoken."""

    gid: str
    committed: bool | None = None
    waiting: list[Pending[bool]] = field(default_factory=list)


class Settling:
    """At most MOST at a time: of more the rounds take care."""

    def __init__(self, loop: asyncio.AbstractEventLoop, participants: Participants) -> None:
        self._loop = loop
        self._participants = participants
        self._transactions: dict[str, _Transaction] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def settle(self, gid: str, wake: Callable[[], None]) -> Pending[bool]:
        """Raises nothing, and does not call `wake` before it has returned."""
        pending: Pending[bool] = Pending(wake)
        transaction = self._transactions.get(gid) or self._begin(gid)
        if transaction is None:
            self._loop.call_soon(_give_up, pending)
        elif transaction.committed is None:
            transaction.waiting.append(pending)
            self._loop.call_later(ANSWER_S, _give_up, pending)
        else:
            self._loop.call_soon(pending.finish, transaction.committed)
        return pending

    async def stop(self) -> None:
        """What is not ended yet is left to whoever comes."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, gid: str) -> _Transaction | None:
        if self._stopped or len(self._tasks) >= MOST:
            return None
        transaction = self._transactions[gid] = _Transaction(gid)
        task = self._loop.create_task(self._run(transaction), name=f"settling {gid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return transaction

    async def _run(self, transaction: _Transaction) -> None:
        try:
            async with asyncio.timeout(_GIVE_UP_S):
                await self._until_ended(transaction)
        except (TimeoutError, UnknownDecider, NotAllowed):
            log.info("transaction %s is left to the rounds of recovery", transaction.gid)
        except Exception:
            log.exception("transaction %s could not be settled", transaction.gid)
        finally:
            del self._transactions[transaction.gid]
            for pending in transaction.waiting:
                _give_up(pending)

    async def _until_ended(self, transaction: _Transaction) -> None:
        pause_s = _FIRST_PAUSE_S
        free_of_it = 0
        while free_of_it < _FREE_OF_IT:
            try:
                free_of_it = free_of_it + 1 if await self._is_ended(transaction) else 0
            except NodeFailure as failure:
                log.debug("transaction %s: %s", transaction.gid, failure.message)
                free_of_it = 0
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _is_ended(self, transaction: _Transaction) -> bool:
        """Whether no node had any part of it left."""
        if transaction.committed is None:
            transaction.committed = await self._participants.committed(transaction.gid)
            for pending in transaction.waiting:
                if not pending.done:
                    pending.finish(transaction.committed)
        ended = [self._end_on(node, transaction) for node in self._participants.current()]
        found = await asyncio.gather(*ended, return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return not any(found)

    async def _end_on(self, node: str, transaction: _Transaction) -> bool:
        """Whether there was anything to end."""
        parts = await self._participants.prepared(node, transaction.gid)
        for part in parts:
            await self._participants.end(node, part, commit=bool(transaction.committed))
        return bool(parts)


def _give_up(pending: Pending[bool]) -> None:
    if not pending.done:
        hint = "Look whether it has taken effect before running it again."
        pending.fail(ProxyError("40003", "whether the transaction was committed is not known", hint=hint))
