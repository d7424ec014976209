"""`kill -9`, and what is there afterwards: all that was acknowledged, and nothing by halves."""

import base64
import hashlib
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.pictures import ENCODERS, noise, picture
from tests.support.server import Server, is_running, wait_until

ROUNDS = 10
UPLOADERS = 4
MOST_SECONDS = 0.4  # of uploading, before a kill


def everything(http: httpx.Client, **filters: str) -> dict[str, dict[str, Any]]:
    """Return all images that the filters let through, with fresh links, by id, from all pages."""
    found: dict[str, dict[str, Any]] = {}
    query: dict[str, str | int] = {"limit": 100, "include": "urls", **filters}
    while True:
        page = http.get("/images", params=query).json()
        found.update({image["image_id"]: image for image in page["images"]})
        if page["last_key"] is None:
            return found
        query["last_key"] = f'{{"image_id": "{page["last_key"]["image_id"]}"}}'


def kill_everything(server: Server) -> None:
    """`kill -9` of the server and of its workers, as when the machine takes them all."""
    workers = server.workers()
    server.kill()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, workers)))


def test_uploads_survive_a_kill(tmp_path: Path) -> None:
    """Every format, in each form of body: listed as it was answered, and byte by byte the same."""
    answered: dict[str, dict[str, Any]] = {}
    sent: dict[str, bytes] = {}
    with Server(tmp_path / "data") as server:
        pictures = [picture(name) for name in ENCODERS] + [noise(900, 700)]  # the last is not kept in memory
        for data in pictures:
            answers = (
                server.http.post("/images", files={"file": ("ä.bin", data)}, data={"tags": "one,two"}),
                server.http.post(
                    "/images", json={"image_data": base64.b64encode(data).decode(), "description": "ünïcode"}
                ),
                server.http.post(
                    "/images", params={"user_id": "ann"}, content=data, headers={"Content-Type": "image/png"}
                ),
            )
            for answer in answers:
                assert answer.status_code == 201, answer.text
                answered[answer.json()["image_id"]] = answer.json()
                sent[answer.json()["image_id"]] = data
        server.kill()
    with Server(tmp_path / "data") as server:
        listed = everything(server.http)
        for image_id, data in sent.items():
            assert server.http.get(listed[image_id]["url"]).content == data
        for image in listed.values():
            del image["url"], image["thumbnail_url"], image["expires_at"]
        assert listed == answered


class Uploads:
    """What several clients have sent and been told, over all rounds."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kept: dict[str, bytes] = {}
        self.deleted: set[str] = set()
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def go_on(self, url: str) -> None:
        """Upload, and delete some of it again, until the server is gone. Only what was answered is taken down."""
        with httpx.Client(base_url=url, timeout=10) as http:
            try:
                while True:
                    self._upload(http)
            except httpx.TransportError:
                return

    def _upload(self, http: httpx.Client) -> None:
        with self._lock:
            number = next(self._numbers)
        # Each has a colour of its own, so that no two are the same file; some are too large to be kept in memory.
        data = picture("png", color=(number % 256, number // 256 % 256, 77))
        if number % 16 == 7:
            data += bytes([number % 251]) * 1_200_000
        answer = http.post("/images", content=data, headers={"Content-Type": "image/png"}, params={"tags": "t,u"})
        assert answer.status_code == 201, answer.text
        image_id = answer.json()["image_id"]
        with self._lock:
            self.kept[image_id] = data
        if number % 5 == 0:
            with self._lock:
                # Whether it is deleted is open from here until the answer.
                del self.kept[image_id]
            if http.delete(f"/images/{image_id}").status_code == 204:
                with self._lock:
                    self.deleted.add(image_id)


def uploading(uploads: Uploads, server: Server) -> Iterator[threading.Thread]:
    for _ in range(UPLOADERS):
        thread = threading.Thread(target=uploads.go_on, args=(server.url,))
        thread.start()
        yield thread


@pytest.mark.parametrize(("workers", "rounds"), [(1, ROUNDS), (2, 3)], ids=["one-worker", "two-workers"])
def test_kill_at_any_moment(workers: int, rounds: int, tmp_path: Path) -> None:
    """After each kill: every acknowledged image is there, no deleted one is, and whatever is listed is whole."""
    uploads = Uploads(seed=workers)
    checked: set[str] = set()
    for _ in range(rounds):
        with Server(tmp_path / "data", "--workers", str(workers)) as server:
            threads = list(uploading(uploads, server))
            before = len(uploads.kept)
            wait_until(lambda before=before: len(uploads.kept) > before)
            time.sleep(uploads.random.uniform(0, MOST_SECONDS))  # the moment is what is tried out, not waited for
            kill_everything(server)
            for thread in threads:
                thread.join()
        with Server(tmp_path / "data") as server:
            listed = everything(server.http)
            assert uploads.kept.keys() <= listed.keys()
            assert not uploads.deleted & listed.keys()
            assert everything(server.http, tags="t,u").keys() == listed.keys()
            for image_id in listed.keys() - checked:
                check_whole(server.http, listed[image_id], uploads.kept.get(image_id))
            checked = set(listed)
            assert server.stop() == 0
    assert len(uploads.kept) > 5 * rounds
    assert uploads.deleted


def check_whole(http: httpx.Client, image: dict[str, Any], sent: bytes | None) -> None:
    """An image whose upload was not answered is a whole one too, by its own record."""
    answer = http.get(image["url"])
    assert answer.status_code == 200, answer.text
    assert sent is None or answer.content == sent
    assert (len(answer.content), hashlib.sha256(answer.content).hexdigest()) == (image["size"], image["sha256"])
