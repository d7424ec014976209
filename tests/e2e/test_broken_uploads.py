"""Clients that go away in the middle of an upload: the server keeps nothing of what they brought."""

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.crowd import Body, bodies, large_png
from tests.support.pictures import picture
from tests.support.server import Server, wait_until

CLIENTS = 20
SIZE = 4_000_000  # bytes of a picture
RESETS = struct.pack("ii", 1, 0)  # as SO_LINGER: closing breaks the connection off at once
KINDS = bodies(large_png(SIZE))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("broken") / "data") as server:
        assert server.http.post("/images", content=picture(), headers={"Content-Type": "image/jpeg"}).is_success
        server.http.close()
        yield server


def opened(server: Server) -> list[str]:
    """Return what the server has open that comes and goes: connections, and files that have no name any more."""
    targets = []
    for path in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            targets.append(str(path.readlink()))
    return [target for target in targets if target.startswith("socket:") or target.endswith("(deleted)")]


def settled(server: Server) -> int:
    """Return how much is open, once connections that were closed a moment ago are gone from the server, too."""
    counts = [-1]

    def is_settled() -> bool:
        time.sleep(0.05)
        counts.append(len(opened(server)))
        return len(set(counts[-4:])) == 1

    wait_until(is_settled)
    return counts[-1]


def begin(server: Server, body: Body, part: float) -> socket.socket:
    url = urlsplit(server.url)
    connection = socket.create_connection((url.hostname, url.port), timeout=10)
    connection.sendall(body.head() + body.data[: int(len(body.data) * part)])
    return connection


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_goes_away(kind: str, how: str, own: Server) -> None:
    before = settled(own)
    files = sorted(own.data_dir.rglob("*"))
    connections = [begin(own, KINDS[kind], 0.6) for _ in range(CLIENTS)]
    spooled = before + 2 * CLIENTS  # a connection and a file each
    wait_until(lambda: len(opened(own)) == spooled)
    # The files are on the disk of the data, and have no name that a crash could leave behind.
    directory = os.environ.get("TMPDIR", own.data_dir)
    assert sum(target.startswith(f"{directory}/") for target in opened(own)) == CLIENTS
    assert sorted(own.data_dir.rglob("*")) == files

    for connection in connections:
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
        connection.close()

    wait_until(lambda: len(opened(own)) == before)
    assert sorted(own.data_dir.rglob("*")) == files
    assert '"level":"ERROR"' not in own.log.read_text()


def test_going_away_again_and_again_costs_no_memory(own: Server) -> None:
    sizes = []
    for _ in range(6):
        connections = [begin(own, KINDS["raw"], 0.6) for _ in range(CLIENTS)]
        wait_until(lambda: len(opened(own)) > 2 * CLIENTS)
        for connection in connections:
            connection.close()
        wait_until(lambda: len(opened(own)) < CLIENTS)
        sizes.append(own.rss())
    assert sizes[-1] < sizes[1] + 10_000_000
