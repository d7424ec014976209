"""A hundred uploads at a time: what they cost, and that of those that are refused nothing is left."""

import asyncio
import base64
import itertools
import logging
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from tests.support.crowd import bodies, large_png, upload_at_once
from tests.support.pictures import ENCODERS, encode, noise, picture, png_bomb
from tests.support.server import Server

log = logging.getLogger(__name__)

MOST_MEMORY = 400_000_000  # bytes
MOST_FOR_UPLOADS = 300_000_000  # bytes
MAX_IMAGE_SIZE = 10_485_760  # bytes; the default
CLIENTS = 8
REQUESTS = 100
LARGE = (8000, 6200)  # close to the 50,000,000 pixels that are accepted

type Send = Callable[[httpx.Client], httpx.Response]


def raw(data: bytes) -> Send:
    return lambda http: http.post("/images", content=data, headers={"Content-Type": "image/png"})


def in_a_form(data: bytes) -> Send:
    return lambda http: http.post("/images", files={"file": ("a.png", data, "image/png")})


def in_json(data: bytes) -> Send:
    text = base64.b64encode(data).decode()
    return lambda http: http.post("/images", json={"image_data": text})


def chunked(size: int) -> Send:
    """Send zeros without saying how many."""
    pieces = [b"\0" * 65_536] * (size // 65_536 + 1)
    return lambda http: http.post("/images", content=iter(pieces), headers={"Content-Type": "image/png"})


def cut(data: bytes, part: float = 0.9) -> bytes:
    return data[: int(len(data) * part)]


def gradient(size: tuple[int, int]) -> Image.Image:
    grey = Image.linear_gradient("L").resize(size)
    return Image.merge("RGB", (grey, grey.rotate(180), grey))


def interlaced_png(width: int, height: int) -> bytes:
    """Return a black RGB picture in the seven passes of Adam7 (PNG specification, 8.1), which Pillow doesn't write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    compressor = zlib.compressobj(1)
    pixels = b""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    for x, y, step_x, step_y in passes:
        row = b"\0" * (1 + 3 * len(range(x, width, step_x)))
        pixels += b"".join(compressor.compress(row) for _ in range(y, height, step_y))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    pixels += compressor.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def refused_uploads() -> dict[str, tuple[int, Send]]:
    """Return, by name, the status that is due and how to send it."""
    bomb = png_bomb(16_384, 16_384)
    assert len(bomb) < 100_000
    progressive = encode(gradient(LARGE), "jpeg", progressive=True)
    too_large = bytes(MAX_IMAGE_SIZE + 1)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
    html = b"<!doctype html><title>no picture</title><script>alert(1)</script>" + b" " * 5_000
    truncated = {f"truncated {name}": (422, raw(cut(noise(1200, 900, name)))) for name in ENCODERS}
    return truncated | {
        "bomb": (422, raw(bomb)),
        "bomb in a form": (422, in_a_form(bomb)),
        "bomb in JSON": (422, in_json(bomb)),
        "progressive JPEG": (422, raw(cut(progressive))),
        "interlaced PNG": (422, raw(cut(interlaced_png(*LARGE)))),
        "large PNG": (422, raw(cut(encode(gradient(LARGE), "png", compress_level=1)))),
        "HTML": (415, raw(html)),
        "SVG": (415, raw(svg)),
        "empty": (400, raw(b"")),
        "empty in a form": (400, in_a_form(b"")),
        "too large": (413, raw(too_large)),
        "too large by far": (413, raw(bytes(3 * MAX_IMAGE_SIZE))),
        "too large in a form": (413, in_a_form(too_large)),
        "too large in JSON": (413, in_json(too_large)),
        "too large in JSON by far": (413, in_json(bytes(2 * MAX_IMAGE_SIZE))),
        "too large, chunked": (413, chunked(MAX_IMAGE_SIZE + 1)),
        "too large by far, chunked": (413, chunked(10 * MAX_IMAGE_SIZE)),
    }


@pytest.fixture(scope="module")
def uploads() -> dict[str, tuple[int, Send]]:
    return refused_uploads()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "data") as server:
        yield server


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def send_all(server: Server, uploads: dict[str, tuple[int, Send]], names: list[str]) -> list[tuple[str, int, int]]:
    """Send them, several at a time; return (name, status that is due, status) of those that differ."""

    def send(name: str) -> tuple[str, int, int]:
        due, how = uploads[name]
        with httpx.Client(base_url=server.url, timeout=60) as http:
            answer = how(http)
        assert answer.headers["content-type"] == "application/problem+json"
        return name, due, answer.status_code

    with ThreadPoolExecutor(CLIENTS) as clients:
        return [answer for answer in clients.map(send, names) if answer[1] != answer[2]]


def test_refused_uploads_cost_little_memory_and_leave_nothing(
    fresh: Server, uploads: dict[str, tuple[int, Send]]
) -> None:
    names = list(itertools.islice(itertools.cycle(uploads), REQUESTS))
    random.Random(1).shuffle(names)
    before = {path.name for path in files_in(fresh.data_dir)}

    assert send_all(fresh, uploads, names) == []

    peak = fresh.peak_rss()
    log.info("peak RSS: %d MB", peak // 1_000_000)
    assert peak < MOST_MEMORY
    assert fresh.http.get("/images").json()["count"] == 0
    assert files_in(fresh.data_dir / "objects") == []
    assert {path.name for path in files_in(fresh.data_dir)} == before
    # And it still does what it is for.
    answer = fresh.http.post("/images", content=picture("png"), headers={"Content-Type": "image/png"})
    assert answer.status_code == 201


@pytest.mark.parametrize("name", ["progressive JPEG", "interlaced PNG", "too large in JSON"])
def test_refusing_the_same_again_costs_no_more(name: str, fresh: Server, uploads: dict[str, tuple[int, Send]]) -> None:
    """What a refused upload took is given back at once, not when the garbage collector comes by."""
    assert send_all(fresh, uploads, [name] * 6) == []
    assert fresh.peak_rss() < MOST_MEMORY


def test_the_costliest_jpeg(fresh: Server) -> None:
    """Without chroma subsampling a progressive JPEG takes twice the memory; alone, that is still within the limit."""
    data = cut(encode(gradient(LARGE), "jpeg", progressive=True, subsampling=0))
    assert send_all(fresh, {"JPEG": (422, raw(data))}, ["JPEG"] * 6) == []
    assert fresh.peak_rss() < MOST_MEMORY


def test_a_hundred_large_uploads_at_once(fresh: Server) -> None:
    """None of them is ever in memory as a whole: together they have a gigabyte."""
    kinds = bodies(large_png(MAX_IMAGE_SIZE))
    uploads = [kinds["raw"], kinds["multipart"]] * (REQUESTS // 2)
    statuses = asyncio.run(upload_at_once(urlsplit(fresh.url).netloc, uploads))
    assert statuses == [201] * REQUESTS
    peak = fresh.peak_rss()
    log.info("peak RSS: %d MB", peak // 1_000_000)
    assert peak < MOST_FOR_UPLOADS
