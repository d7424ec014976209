"""`kill -9` at random moments while clients are busy: nothing is lost, doubled or half-visible, and nothing is left."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from tests.faults.checks import Checks
from tests.faults.ledger import Ledger, Operation
from tests.faults.operations import next_operation
from tests.support.server import ROOT, Server, environment_with, is_running, wait_until
from tests.support.tally import TALLY
from tests.support.zygote import Zygote

CHAINS = 2  # at the same time, each with a server of its own
EPOCHS = 8  # of a chain, each with a data directory of its own
POINTS = 14  # of an epoch, at which clients are busy
CLIENTS = 5
MOST_SECONDS = 0.3  # of being busy, before a kill
START_SECONDS = 0.03  # about what a start takes, and a reconciliation
RECONCILE = ("reconcile", "--older-than", "0s")


class Home(Protocol):
    """A server on a data directory, that can be killed and started again."""

    url: str

    def start(self) -> None: ...

    def kill(self) -> None: ...


class Epoch:
    """What clients do to one data directory, and what they are told, over all kills. The name is the seed."""

    def __init__(self, home: Home, data_dir: Path, name: str) -> None:
        self.chance = random.Random(name)
        self.checks = Checks(Ledger(), data_dir)
        self._ledger = self.checks.ledger
        self._home = home
        self._name = name
        self._points = 0
        self._is_killed = False
        self._failures: list[BaseException] = []

    def point(self) -> None:
        """Have clients be busy with the server, kill it at some moment, and check what is there when it is back."""
        self._points += 1
        self._is_killed = False
        names = [f"{self._name}, point {self._points}, client {number}" for number in range(CLIENTS)]
        clients = [threading.Thread(target=self._be_busy, args=(random.Random(name),)) for name in names]
        for client in clients:
            client.start()
        seconds = self.chance.uniform(0, MOST_SECONDS)
        time.sleep(seconds)  # the moment is what is tried out, not waited for
        self._is_killed = True
        self._home.kill()
        for client in clients:
            client.join()
        try:
            if self._failures:
                raise self._failures[0]
            self._home.start()
            TALLY.add("points")
            self.check()
        except BaseException as error:
            error.add_note(f"at or after point {self._points}, killed after {seconds:.4f} s")
            raise

    def check(self, *, every_byte: bool = False) -> None:
        with self._http() as http:
            self.listed = self.checks.after_start(http, every_byte=every_byte)

    def settle(self) -> None:
        """Try again whatever was not answered, and check that this has come to what it should."""
        with self._http() as http:
            while operation := self._ledger.retry():
                operation(http)
        self.check(every_byte=True)

    def _be_busy(self, chance: random.Random) -> None:
        operation: Operation | None = None
        try:
            with self._http() as http:
                while True:
                    operation = next_operation(self._ledger, chance)
                    operation(http)
        except httpx.TransportError as error:
            assert operation
            self._ledger.put_off(operation)
            if not self._is_killed:
                self._failures.append(error)
        except BaseException as error:  # the main thread raises it
            self._failures.append(error)

    def _http(self) -> httpx.Client:
        return httpx.Client(base_url=self._home.url, timeout=30, verify=False)  # no TLS: to set it up takes 20 ms


def run_chain(directory: Path, name: str, *, epochs: int = EPOCHS, points: int = POINTS) -> None:
    directory.mkdir()
    with Zygote(directory) as zygote:
        for number in range(epochs):
            zygote.data_dir = directory / str(number)
            label = f"{name}, epoch {number}"
            try:
                run_epoch(Epoch(zygote, zygote.data_dir, label), zygote, points)
            except BaseException as error:
                error.add_note(f"in {label}; the log is {zygote.log}")
                raise
            shutil.rmtree(zygote.data_dir)


def run_epoch(epoch: Epoch, zygote: Zygote, points: int) -> None:
    kill_soon(epoch, zygote, "serve")  # where there is nothing yet
    zygote.start()
    for _ in range(points):
        epoch.point()
        if epoch.chance.random() < 0.1:
            zygote.kill()
            kill_soon(epoch, zygote, "serve")
            zygote.start()
            epoch.check()
    epoch.settle()
    zygote.kill()
    kill_soon(epoch, zygote, *RECONCILE)
    code, printed = zygote.run(*RECONCILE)
    assert code == 0, printed
    epoch.checks.after_reconcile(epoch.listed)
    code, printed = zygote.run(*RECONCILE, "--dry-run")
    assert code == 0, printed
    zygote.start()
    epoch.check(every_byte=True)
    assert zygote.stop() == 0


def kill_soon(epoch: Epoch, zygote: Zygote, *command: str) -> None:
    """Kill a command while it starts, or does the little that it has to do."""
    zygote.begin(*command)
    time.sleep(epoch.chance.uniform(0, START_SECONDS))
    zygote.kill()
    TALLY.add("points")


@pytest.mark.timeout(300)
def test_kill_at_any_moment(tmp_path: Path) -> None:
    """Servers with one process each. Nothing is left by what was killed, a reconciliation included."""
    with ThreadPoolExecutor(CHAINS) as chains:
        for chain in [chains.submit(run_chain, tmp_path / str(n), f"chain {n}") for n in range(CHAINS)]:
            chain.result()


class TwoWorkers:
    """A server with two processes, as a user starts it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def start(self) -> None:
        self._server = Server(self._data_dir, "--workers", "2")
        self._server.start()
        self.url = self._server.url

    def kill(self) -> None:
        """`kill -9` of all processes, as when the machine takes them all."""
        workers = self._server.workers()
        self._server.kill()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, workers)))
        self._server.__exit__()


def test_kill_two_workers_at_any_moment(tmp_path: Path) -> None:
    """Neither do several processes leave anything, which a reconciliation sees while they run."""
    data_dir = tmp_path / "data"
    home = TwoWorkers(data_dir)
    home.start()
    epoch = Epoch(home, data_dir, "two workers")
    for _ in range(3):
        epoch.point()
    epoch.settle()
    environment = environment_with(DATA_DIR=str(data_dir))
    subprocess.run([sys.executable, "-m", "src", *RECONCILE], cwd=ROOT, env=environment, check=True)
    epoch.checks.after_reconcile(epoch.listed)
    epoch.check(every_byte=True)
    home.kill()
