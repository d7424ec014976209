"""Time `GET /images` over HTTP while the server has nothing else to do, and while it makes renditions without a pause.

    bash scripts/bench.sh busy [--rounds 10] [--lists 300]

Idle and busy rounds by turns, clients in processes of their own on the same machine. Renditions are asked for on as
many connections as a browser opens; a third kind of round asks for ones that are stored already, as often, since these
requests, too, are something to wait for. The ratios are of the 99th percentiles.
"""

import argparse
import http.client
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.pictures import noise
from tests.support.server import Server

CLIENTS = 6
IMAGES = 42


def ask(address: str, paths: list[str], pause: float, stopped: Event) -> None:
    connection = http.client.HTTPConnection(address)
    for path in itertools.cycle(paths):
        get(connection, path, 302)
        if stopped.wait(pause):
            return


def get(connection: http.client.HTTPConnection, path: str, status: int) -> None:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    if answer.status != status:
        raise AssertionError(f"{path}: {answer.status}")


@contextmanager
def asked_for(address: str, paths: list[str], pause: float = 0) -> Iterator[None]:
    stopped = multiprocessing.Event()
    arguments = [(address, paths[number::CLIENTS], pause, stopped) for number in range(CLIENTS)]
    clients = [multiprocessing.Process(target=ask, args=each) for each in arguments]
    for client in clients:
        client.start()
    time.sleep(0.3)
    yield
    stopped.set()
    for client in clients:
        client.join()


def times(address: str, number: int) -> list[float]:
    """Return how many milliseconds each of so many pages takes."""
    connection = http.client.HTTPConnection(address)
    found = []
    for _ in range(number):
        started = time.perf_counter()
        get(connection, "/images", 200)
        found.append((time.perf_counter() - started) * 1000)
        time.sleep(0.002)
    connection.close()
    return found


def compare(server: Server, rounds: int, number: int) -> None:
    headers, data = {"Content-Type": "image/jpeg"}, noise(1_500, 1_000, "jpeg")
    answers = [server.http.post("/images", content=data, headers=headers) for _ in range(IMAGES)]
    image_ids = [answer.json()["image_id"] for answer in answers]
    address = urlsplit(server.url).netloc
    found: dict[str, list[float]] = {}
    stored = [f"/images/{image_id}/content?width=199&format=webp" for image_id in image_ids]
    for path in stored:
        server.http.get(path)
    for turn in range(rounds):
        found.setdefault("idle", []).extend(times(address, number))
        with asked_for(address, stored, pause=0.06):
            found.setdefault("stored renditions", []).extend(times(address, number))
        widths = range(200 + 50 * turn, 250 + 50 * turn)
        new = [f"/images/{image_id}/content?width={width}&format=webp" for width in widths for image_id in image_ids]
        with asked_for(address, new):
            found.setdefault("new renditions", []).extend(times(address, number))
    print(f"{'GET /images, ms, beside':28}{'p50':>8}{'p99':>8}{'ratio':>8}")
    idle = percentile(found["idle"])
    for what, values in found.items():
        print(f"{what:28}{statistics.median(values):8.2f}{percentile(values):8.2f}{percentile(values) / idle:8.2f}")


def percentile(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--lists", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Server(Path(directory) / "data") as server:
        compare(server, options.rounds, options.lists)


if __name__ == "__main__":
    main()
