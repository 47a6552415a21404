"""Money moves between nodes while proxies and nodes are killed: none is lost or made, and nothing stays in doubt."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.fix_accounts import PLACES, SHARD_OF, AccountsCluster, until
from tests.fix_proxy import RunningProxy, await_answer, running_proxy, serve

CLIENTS = 4
ACCOUNTS = 5  # at each place
AMOUNT = 1_000
CHAOS_S = 15.0
SEED = 7
DISTURBANCES = ("proxy", "node", "two nodes", "client")


@dataclass
class Mover(threading.Thread):
    """One client: each transfer leaves a row of its number at both places, by which it is known afterwards."""

    number: int
    proxies: list[RunningProxy]
    over: threading.Event
    committed: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    heard: Counter[str] = field(default_factory=Counter)
    connection: psycopg.Connection | None = None

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.luck = random.Random(SEED + self.number)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        transfer = self.number * 1_000_000
        while not self.over.is_set():
            transfer += 1
            try:
                self.move(transfer)
            except psycopg.Error as failure:
                self.note(transfer, failure)
        self.hang_up()

    def move(self, transfer: int) -> None:
        connection = self.connected()
        one, two = self.luck.sample(PLACES, 2)
        account, amount = self.luck.randrange(ACCOUNTS), self.luck.randrange(1, 20)
        with connection.transaction():
            # In the order of places: two clients must not wait for each other.
            for place, change in sorted([(one, -amount), (two, amount)]):
                connection.execute(
                    "UPDATE accounts SET amount = amount + %s WHERE place = %s AND id = %s", [change, place, account]
                )
                connection.execute("INSERT INTO accounts VALUES (%s, %s, 0)", [transfer, place])
        self.committed.add(transfer)

    def note(self, transfer: int, failure: psycopg.Error) -> None:
        """Without a code the connection to the proxy broke: nothing is known."""
        self.heard[failure.sqlstate or "broken"] += 1
        if failure.sqlstate not in (None, "40003"):
            self.refused.add(transfer)
        if self.connection is not None and self.connection.broken:
            self.hang_up()
        time.sleep(0.02)

    def connected(self) -> psycopg.Connection:
        while self.connection is None:
            try:
                self.connection = self.luck.choice(self.proxies).connect(connect_timeout=5)
            except psycopg.OperationalError:
                time.sleep(0.05)
                if self.over.is_set():
                    raise
        return self.connection

    def vanish(self) -> None:
        """From another thread: its connection ends wherever it is."""
        connection = self.connection
        with suppress(psycopg.Error, OSError):
            if connection is not None:
                with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
                    duplicate.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        with suppress(psycopg.Error):
            if self.connection is not None:
                self.connection.close()
        self.connection = None


@dataclass
class Chaos:
    cluster: AccountsCluster
    proxies: list[RunningProxy]
    movers: list[Mover]
    stack: ExitStack
    luck: random.Random = field(default_factory=lambda: random.Random(SEED))

    def disturb(self) -> None:
        what = self.luck.choice(DISTURBANCES)
        if what == "proxy":
            self.kill_proxy(self.luck.randrange(len(self.proxies)))
        elif what == "client":
            self.luck.choice(self.movers).vanish()
        else:
            names = self.luck.sample(list(self.cluster.nodes), 1 if what == "node" else 2)
            for name in names:
                self.cluster.kill(name)
            time.sleep(self.luck.uniform(0.0, 1.5))
            for name in names:
                self.cluster.restart(name)

    def kill_proxy(self, index: int) -> None:
        """And start the next one in its place."""
        dead = self.proxies[index]
        dead.process.kill()
        dead.process.wait()
        time.sleep(self.luck.uniform(0.0, 0.5))
        output = self.stack.enter_context(dead.log.open("ab"))
        process = serve(dead.config, output)
        self.stack.callback(_end, process)
        await_answer(process, dead.conninfo, dead.log)
        self.proxies[index] = RunningProxy(dead.host, dead.port, dead.conninfo, dead.log, dead.config, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_the_sum_stays_the_same(accounts_cluster: AccountsCluster, tmp_path: Path) -> None:
    cluster = accounts_cluster
    for place in PLACES:
        rows = ", ".join(f"({account}, '{place}', {AMOUNT})" for account in range(ACCOUNTS))
        cluster.on(place, f"INSERT INTO {SHARD_OF[place]} VALUES {rows}")
    with ExitStack() as stack:
        proxies = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            proxies.append(stack.enter_context(running_proxy(cluster, tmp_path / name)))
        over = threading.Event()
        movers = [Mover(number, proxies, over) for number in range(1, CLIENTS + 1)]
        stack.callback(over.set)
        for mover in movers:
            mover.start()
        chaos = Chaos(cluster, proxies, movers, stack)
        deadline = time.monotonic() + CHAOS_S
        while time.monotonic() < deadline:
            time.sleep(chaos.luck.uniform(0.2, 1.0))
            chaos.disturb()
        over.set()
        for mover in movers:
            mover.join(60)
            assert not mover.is_alive()
        until(lambda: not cluster.prepared(), "the proxies have ended what was in doubt")
    assert_kept(cluster, movers)
    cluster.empty()


def assert_kept(cluster: AccountsCluster, movers: list[Mover]) -> None:
    amounts = [cluster.on(place, f"SELECT sum(amount) FROM {SHARD_OF[place]}") for place in PLACES]
    assert sum(int(str(amount)) for ((amount,),) in amounts) == len(PLACES) * ACCOUNTS * AMOUNT
    stored = Counter(id_ for ids in cluster.stored().values() for id_ in ids if id_ >= 1_000_000)
    assert set(stored.values()) == {2}, "each transfer is at both places or at none"
    for mover in movers:
        assert mover.committed <= stored.keys()
        assert not (mover.refused & stored.keys()), mover.heard
    assert any(mover.committed for mover in movers)
    until(lambda: cluster.locks() == 0, "nobody holds a lock")
