"""Clients that keep a server busy: so many at once, each on a connection that it keeps."""

import asyncio
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple, Self

WRK = shutil.which("wrk")
TIMEOUT = "30s"

type Answer = tuple[int, dict[str, str], bytes]  # status, headers, body


class Load(NamedTuple):
    """What came of it: so many answers (or works of several requests) in so long, the slowest but for one in 100."""

    answers: int
    seconds: float
    p99: float  # milliseconds

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


class Connection:
    """A client's connection, kept. It does little, so that the servers have the machine."""

    @classmethod
    async def open(cls, address: str) -> Self:
        self = cls()
        host, _, port = address.partition(":")
        self._head = f" HTTP/1.1\r\nHost: {address}\r\n"
        self._reader, self._writer = await asyncio.open_connection(host, int(port), limit=2**20)
        return self

    async def ask(self, target: str, *, body: bytes | None = None, content_type: str = "image/jpeg") -> Answer:
        request = f"{'GET' if body is None else 'POST'} {target}{self._head}"
        if body is not None:
            request += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(f"{request}\r\n".encode() + (body or b""))
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        answer = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, answer

    def close(self) -> None:
        self._writer.close()


def gets(address: str, targets: Sequence[str], *, connections: int, seconds: float, seed: int) -> Load:
    """Ask for targets at random, by wrk if it is installed. Raises SystemExit if an answer is no success."""
    if WRK is None:
        chance = Random(seed)  # noqa: S311 - no secret

        async def get(connection: Connection) -> None:
            target = chance.choice(targets)
            expect(await connection.ask(target), 200)

        return works(address, get, connections=connections, seconds=seconds)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{target}\n" for target in targets)
        file.flush()
        options = ["-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", TIMEOUT, "--latency"]
        script = Path(__file__).with_name("wrk.lua")
        command = [WRK, *options, "-s", script, f"http://{address}", "--", file.name, str(seed)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - as the bench says
    found = json.loads(done.stdout.splitlines()[-1])
    if found["failures"] or not found["answers"]:
        raise SystemExit(f"{targets[0]}: {found}")
    return Load(found["answers"], found["seconds"], found["p99"])


def works(address: str, work: Callable[[Connection], Awaitable[None]], *, connections: int, seconds: float) -> Load:
    """Do a work, of one request or of several, again and again."""
    return asyncio.run(_works(address, work, connections, seconds))


async def _works(address: str, work: Callable[[Connection], Awaitable[None]], connections: int, seconds: float) -> Load:
    taken: list[float] = []
    opened = [await Connection.open(address) for _ in range(connections)]
    started = time.perf_counter()

    async def client(connection: Connection) -> None:
        before = time.perf_counter()
        while before < started + seconds:
            await work(connection)
            after = time.perf_counter()
            taken.append(1000 * (after - before))
            before = after

    await asyncio.gather(*map(client, opened))
    passed = time.perf_counter() - started
    for connection in opened:
        connection.close()
    return Load(len(taken), passed, statistics.quantiles(taken, n=100)[98])


def expect(answer: Answer, status: int) -> bytes:
    """Return the body of an answer that is as it should be."""
    if answer[0] != status:
        raise SystemExit(f"{answer}")
    return answer[2]
