"""Compare renditions, made when they are asked for, with Thumbor's and with what libvips alone takes.

    bash scripts/bench.sh renditions [--rounds 5] [--copies 60]

All serve the same files at the same quality, and nothing is made twice: each round asks for every copy of a picture
once, at a quality that no round had, and Thumbor stores nothing. From us that is two requests, the redirect and the
bytes that it leads to. Our server is one process, as it is started by default. Thumbor uses one core, so there is a
process of it for each, with as many clients; it has no smart crop, no automatic WebP, and baseline JPEGs, as ours are.
Clients are two for each core, in this process, on connections that they keep.

CPU is user and system time of the server's processes. Bare libvips is the service's own library in a process of its
own, on one thread, that does nothing but `thumbnail` a file and encode it; `render` is the service's function in such
a process, without HTTP, records and files. WebP is encoded with the service's effort by both of them, and with Pillow's
default by Thumbor, which has no setting for it: compare the sizes, too. The contestants take turns, and figures are
medians.
"""

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from bench.load import Answer, Connection
from src.common.payload import Payload
from src.imaging.render import _WEBP_EFFORT, render
from src.imaging.vips import pyvips
from src.models.image import original_key
from src.models.rendition import RenditionRequest
from src.services.rendition_plan import plan
from tests.support.environments import ensure_venv
from tests.support.images import make_image
from tests.support.server import ROOT, START_TIME, Server

CORES = os.cpu_count() or 1
CLIENTS = 2 * CORES
THUMBOR = ROOT / ".venv-thumbor"
THUMBOR_SETTINGS = {
    "LOADER": "thumbor.loaders.file_loader",
    "STORAGE": "thumbor.storages.no_storage",
    "RESULT_STORAGE": None,
    "ENGINE": "thumbor.engines.pil",
    "SECURITY_KEY": "unused",
    "ALLOW_UNSAFE_URL": True,
    "AUTO_WEBP": False,
    "PROGRESSIVE_JPEG": False,
    "DETECTORS": [],
}
ALONE = 20  # renditions a turn of what runs without a server


class Case(NamedTuple):
    width: int
    height: int
    to_width: int
    to_height: int
    format: str

    def __str__(self) -> str:
        return f"{self.width}x{self.height} -> {self.to_width}x{self.to_height} {self.format}"


CASES = (
    Case(640, 480, 320, 240, "jpeg"),
    Case(3000, 2000, 640, 480, "jpeg"),
    Case(3000, 2000, 640, 480, "webp"),
    Case(4000, 3000, 640, 480, "jpeg"),
)


def photo(width: int, height: int, quality: int = 90) -> bytes:
    """Return a JPEG that is as hard to decode as a photograph: 1.4 bits a pixel, in plain areas and detailed ones."""
    light = pyvips.Image.xyz(width, height)[1] * (60 / height) + 95
    where = _noise(width, height, 50, {6: 0.35, 8: 0.5}) + 0.6
    detail = _noise(width, height, 0, {0: 2, 1: 3, 2: 7, 3: 8}) * ((where > 0).ifthenelse(where, 0) + 0.12)
    grey = _noise(width, height, 20, {4: 9, 6: 10, 8: 12, 9: 14}) + detail + light
    image = grey.bandjoin([grey + _noise(width, height, seed, {3: 1.5, 5: 4, 8: 9}) for seed in (30, 40)])
    image = image.cast("uchar").copy(interpretation="srgb")
    return bytes(image.jpegsave_buffer(Q=quality, subsample_mode="on"))  # as cameras do


def _noise(width: int, height: int, seed: int, sigmas: dict[int, float]) -> pyvips.Image:
    """Return noise of several grains: the deviation by the power of two that is the grain's size."""
    total = None
    for power, sigma in sigmas.items():
        cell = 2**power
        size = (width // cell + 3, height // cell + 3)
        grain = pyvips.Image.gaussnoise(*size, sigma=sigma, mean=0, seed=seed + power).copy_memory()
        grain = grain.resize(cell, kernel="cubic").crop(cell // 2, cell // 2, width, height)
        total = grain if total is None else total + grain
    return total


async def from_us(connection: Connection, case: Case, quality: int, image_id: str) -> Answer:
    size = f"width={case.to_width}&height={case.to_height}&fit=cover"
    status, headers, body = await connection.ask(
        f"/images/{image_id}/content?{size}&format={case.format}&quality={quality}"
    )
    if status != 302:
        raise AssertionError(f"{status}: {body!r}")
    return await connection.ask(headers["location"].removeprefix(f"http://{headers['location'].split('/')[2]}"))


async def from_thumbor(connection: Connection, case: Case, quality: int, image_id: str) -> Answer:
    filters = f"filters:quality({quality}):format({case.format})"
    name = original_key(image_id, "image/jpeg")
    return await connection.ask(f"/unsafe/{case.to_width}x{case.to_height}/{filters}/{name}")


type Ask = Callable[[Connection, Case, int, str], Coroutine[Any, Any, Answer]]


async def load(
    ask: Ask, addresses: Sequence[str], case: Case, quality: int, image_ids: Sequence[str]
) -> tuple[float, int]:
    """Ask for a rendition of each image, check every answer; return the seconds that it took, and a size in bytes."""
    left = iter(image_ids)
    last = b""

    async def client(connection: Connection) -> None:
        nonlocal last
        for image_id in left:
            status, headers, last = await ask(connection, case, quality, image_id)
            if status != 200 or headers.get("content-type") != f"image/{case.format}":
                raise AssertionError(f"{case}: {status}, {headers}, {last[:200]!r}")

    connections = [await Connection.open(addresses[number % len(addresses)]) for number in range(CLIENTS)]
    started = time.perf_counter()
    await asyncio.gather(*map(client, connections))
    passed = time.perf_counter() - started
    for connection in connections:
        connection.close()
    made = pyvips.Image.new_from_buffer(last, "", fail_on="error")
    if (made.width, made.height) != (case.to_width, case.to_height) or made.avg() < 1:
        raise AssertionError(f"{case}: {made.width}x{made.height}")
    return passed, len(last)


async def upload(address: str, data: bytes, copies: int) -> list[str]:
    connection = await Connection.open(address)
    answers = [await connection.ask("/images", body=data) for _ in range(copies)]
    connection.close()
    return [json.loads(body)["image_id"] for _, _, body in answers]


class Thumbor:
    """A process for each core. A context that ends them."""

    def __init__(self, directory: Path, objects: Path) -> None:
        ensure_venv(THUMBOR, ROOT / "requirements" / "thumbor.txt")
        settings = THUMBOR_SETTINGS | {"FILE_LOADER_ROOT_PATH": str(objects)}
        self._settings = directory / "thumbor.conf"
        self._settings.write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
        self._processes: list[subprocess.Popen[bytes]] = []
        self.addresses: list[str] = []

    def __enter__(self) -> Self:
        for _ in range(CORES):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            options = ["--ip", "127.0.0.1", "--port", str(port), "--conf", self._settings, "--log-level", "error"]
            self._processes.append(subprocess.Popen([THUMBOR / "bin" / "thumbor", *options]))  # noqa: S603
            self.addresses.append(f"127.0.0.1:{port}")
        for address in self.addresses:
            _wait_for(address)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]


def _wait_for(address: str) -> None:
    host, _, port = address.partition(":")
    end = time.monotonic() + START_TIME
    while True:
        try:
            socket.create_connection((host, int(port))).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def cpu_of(pids: Sequence[int]) -> float:
    """Return the CPU seconds that processes have taken, by their clocks (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime(~pid << 3 | 2) for pid in pids)


def alone(what: str, case: Case, quality: int, path: Path) -> float:
    """Return the CPU seconds of a rendition by libvips, or by the service's own function, in this process."""

    def by_libvips() -> bytes:
        image = pyvips.Image.thumbnail(str(path), case.to_width, height=case.to_height, crop="centre")
        if case.format == "webp":
            return bytes(image.webpsave_buffer(Q=quality, effort=_WEBP_EFFORT, keep="none"))
        return bytes(image.jpegsave_buffer(Q=quality, keep="none"))

    def by_service() -> bytes:
        return render(payload, record.content_type, plan(record, request))

    record = make_image(content_type="image/jpeg", width=case.width, height=case.height)
    request = RenditionRequest(width=case.to_width, height=case.to_height, format=case.format, quality=quality)
    with closing(Payload.of(path.read_bytes())) as payload:
        make = by_service if what == "render" else by_libvips
        make()
        started = time.process_time()
        for _ in range(ALONE):
            make()
        return (time.process_time() - started) / ALONE


def compare(server: Server, thumbor: Thumbor, directory: Path, rounds: int, copies: int) -> None:
    """Measure round by round, contestant by contestant; print the medians."""
    ours = urlsplit(server.url).netloc
    paths = {size: directory / f"{size[0]}x{size[1]}.jpg" for size in {case[:2] for case in CASES}}
    image_ids = {}
    for size, path in sorted(paths.items()):
        path.write_bytes(photo(*size))
        print(f"{path.name}: {path.stat().st_size:,} bytes, {copies} copies")
        image_ids[size] = asyncio.run(upload(ours, path.read_bytes(), copies))
    contestants: dict[str, tuple[Ask, list[str], list[int]]] = {
        "ours": (from_us, [ours], [server.process.pid]),
        "thumbor": (from_thumbor, thumbor.addresses, thumbor.pids),
    }
    rates: dict[tuple[Case, str], list[float]] = defaultdict(list)
    cpu: dict[tuple[Case, str], list[float]] = defaultdict(list)
    sizes: dict[tuple[Case, str], list[int]] = defaultdict(list)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        for turn, case in itertools.product(range(rounds + 1), CASES):
            quality = 80 + (turn + 1) // 2 * (-1) ** turn  # around 80, none twice
            measured = turn > 0  # the first round warms up
            for name in sorted(contestants, reverse=turn % 2 == 1):
                ask, addresses, pids = contestants[name]
                before = cpu_of(pids)
                passed, size = asyncio.run(load(ask, addresses, case, quality, image_ids[case[:2]]))
                if measured:
                    cpu[case, name].append((cpu_of(pids) - before) / copies)
                    rates[case, name].append(copies / passed)
                    sizes[case, name].append(size)
            for what in ("render", "libvips"):
                spent = process.submit(alone, what, case, quality, paths[case[:2]]).result()
                if measured:
                    cpu[case, what].append(spent)
    heads = "".join(f"{name:>9}" for name in ("ours", "thumbor", "ratio", "ours kB", "its kB"))
    print(f"\n{f'renditions/s, {CLIENTS} clients':30}{heads}")
    for case in CASES:
        rate, other = (statistics.median(rates[case, name]) for name in contestants)
        size, its = (statistics.median(sizes[case, name]) / 1000 for name in contestants)
        print(f"{case!s:30}{rate:9.1f}{other:9.1f}{rate / other:9.2f}{size:9.1f}{its:9.1f}")
    heads = "".join(f"{name:>9}" for name in ("ours", "thumbor", "ratio", "libvips", "ratio", "render", "to vips"))
    print(f"\n{'CPU ms a rendition':30}{heads}")
    for case in CASES:
        ms = {what: statistics.median(cpu[case, what]) * 1000 for what in ("ours", "thumbor", "libvips", "render")}
        cells = f"{ms['ours']:9.2f}{ms['thumbor']:9.2f}{ms['ours'] / ms['thumbor']:9.2f}"
        cells += f"{ms['libvips']:9.2f}{ms['ours'] / ms['libvips']:9.2f}"
        print(f"{case!s:30}{cells}{ms['render']:9.2f}{ms['render'] / ms['libvips']:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        with Server(directory / "data") as server, Thumbor(directory, directory / "data" / "objects") as thumbor:
            compare(server, thumbor, directory, options.rounds, options.copies)


if __name__ == "__main__":
    main()
