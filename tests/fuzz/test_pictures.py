"""Thousands of damaged pictures of each format, sent to a server process: none of them does it any harm.

`FUZZ_CASES` says how many of each format (all together take about two minutes), `FUZZ_SERIES` which ones: in another
series all are others.
"""

import itertools
import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from src.models.image import FORMAT_BY_NAME
from tests.support.mutations import Seed, mutant
from tests.support.raw_http import RawAnswer, RawClient
from tests.support.server import Server, wait_until
from tests.support.specimens import specimens

log = logging.getLogger(__name__)

CASES = int(os.environ.get("FUZZ_CASES", "10000"))
SERIES = int(os.environ.get("FUZZ_SERIES", "1"))
CLIENTS = 4
DELETED_AT_ONCE = 100
MOST_SECONDS = 20  # until an answer; the slowest takes half a second where nothing else is done
# Bytes, of the second half. Up to fourteen megabytes come and go with the holes that decoders leave in the heap, where
# there are many pictures no more than where there are few.
MOST_GROWTH = 32 * 1024 * 1024
REFUSED = {
    400: {"invalid_request"},  # nothing is left of the picture
    415: {"unsupported_image_format"},
    422: {"active_content", "too_many_pixels", "undecodable_image"},
}
NOT_SHOWN = {400: {"invalid_request"}, 503: {"overloaded"}}
# Of the pictures that are accepted, every fourth is shown, as one of these.
SHOWN = 4
RENDITIONS = (
    "width=16&format=jpeg",
    "width=16&height=8&format=webp",
    "width=8&height=16&position=attention&format=png",
    "width=16&height=16&fit=contain&format=jpeg",
)


class Found(AssertionError):
    """Something that the server may not do, with the picture at which it did it."""


class Fuzzer:
    """Clients that send what is damaged, each one picture after the other."""

    def __init__(self, name: str, server: Server, directory: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest = (0.0, -1)
        self._name = name
        self._content_type = FORMAT_BY_NAME[name].content_type
        self._server = server
        self._directory = directory
        self._seeds = [Seed.of(name, data) for data in specimens(name).values()]
        self._lock = threading.Lock()
        self._failures: list[str] = []

    def check_seeds(self) -> None:
        """What is damaged is whole before: else there would be nothing to learn from what becomes of it."""
        with RawClient(self._server.url) as http:
            answers = [http.post("/images", seed.data, self._content_type) for seed in self._seeds]
            assert [answer.status for answer in answers] == [201] * len(self._seeds)
            self._delete(http, [json.loads(answer.body)["image_id"] for answer in answers])

    def run(self, numbers: range) -> None:
        """Send these, and delete again what is accepted. Raises Found."""
        left = iter(numbers)
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(self._client, [left] * CLIENTS))
        if self._failures:
            raise Found("\n".join(self._failures))

    def _client(self, numbers: Iterable[int]) -> None:
        accepted: list[str] = []
        counts: Counter[str] = Counter()
        slowest = (0.0, -1)
        with RawClient(self._server.url) as http:
            for number in numbers:
                if self._failures:  # a server that has crashed fails everything else, too
                    break
                data = mutant(self._name, self._seeds, number, series=SERIES)
                started = time.perf_counter()
                try:
                    self._try(http, number, data, accepted, counts)
                    seconds = time.perf_counter() - started
                    if seconds > MOST_SECONDS:
                        raise Found(f"took {seconds:.0f} s")
                    slowest = max(slowest, (seconds, number))
                except Exception as error:  # whatever it is, it came of this picture
                    self._note(number, data, error)
            if not self._failures:
                self._delete(http, accepted)
        with self._lock:
            self.counts += counts
            self.slowest = max(self.slowest, slowest)

    def _try(self, http: RawClient, number: int, data: bytes, accepted: list[str], counts: Counter[str]) -> None:
        answer = http.post("/images", data, self._content_type)
        if answer.status != 201:
            counts[_problem(answer, REFUSED)] += 1
            return
        counts["accepted"] += 1
        image_id = json.loads(answer.body)["image_id"]
        accepted.append(image_id)
        if counts["accepted"] % SHOWN == 0:
            shown = http.get(f"/images/{image_id}/content?{RENDITIONS[number % len(RENDITIONS)]}")
            counts["shown" if shown.status == 302 else _problem(shown, NOT_SHOWN)] += 1
        if len(accepted) == DELETED_AT_ONCE:
            self._delete(http, accepted)

    def _delete(self, http: RawClient, image_ids: list[str]) -> None:
        for some in itertools.batched(image_ids, DELETED_AT_ONCE):
            answer = http.post("/images/delete", json.dumps({"image_ids": some}).encode(), "application/json")
            results = [result["status"] for result in json.loads(answer.body)["results"]]
            if results != ["deleted"] * len(some):
                raise Found(f"{answer.status}: {answer.body[:500]!r}")
        image_ids.clear()

    def _note(self, number: int, data: bytes, error: Exception) -> None:
        path = self._directory / f"{self._name}-{SERIES}-{number}"
        path.write_bytes(data)
        with self._lock:
            self._failures.append(f"mutant({self._name!r}, ..., {number}, series={SERIES}) in {path}: {error!r}")


def _problem(answer: RawAnswer, expected: Mapping[int, set[str]]) -> str:
    """Return the code of a problem that is among those expected. Raises Found."""
    if answer.headers.get("content-type") == "application/problem+json":
        code: str = json.loads(answer.body)["code"]
        if code in expected.get(answer.status, ()):
            return code
    raise Found(f"{answer.status}: {answer.body[:500]!r}")


def _opened(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


@pytest.mark.timeout(max(120, CASES // 40))
@pytest.mark.parametrize("name", FORMAT_BY_NAME)
def test_damaged_pictures(name: str, tmp_path: Path) -> None:
    """No error of the server's own, no crash, no growth of memory, and no object left behind."""
    with Server(tmp_path / "data", environment={"LOG_LEVEL": "WARNING"}) as server:
        pid = server.process.pid
        fuzzer = Fuzzer(name, server, tmp_path)
        fuzzer.check_seeds()
        started = time.perf_counter()
        fuzzer.run(range(CASES // 2))
        opened, before = _opened(server), server.rss()
        fuzzer.run(range(CASES // 2, CASES))
        after = server.rss()
        log.info(
            "%s: %d in %.1f s; %s; the slowest, %d, in %.2f s; RSS %.1f, then %.1f, at most %.1f MiB",
            *(name, CASES, time.perf_counter() - started, dict(fuzzer.counts), fuzzer.slowest[1], fuzzer.slowest[0]),
            *(size / 2**20 for size in (before, after, server.peak_rss())),
        )

        assert (server.process.poll(), server.process.pid) == (None, pid)
        assert after - before < MOST_GROWTH
        wait_until(lambda: _opened(server) <= opened)  # connections that were closed a moment ago are, too
        assert server.http.get("/images").json() == {"images": [], "count": 0, "last_key": None}
        assert [path for path in (server.data_dir / "objects").rglob("*") if path.is_file()] == []
        assert server.log.read_text(errors="replace") == ""  # no traceback, no warning, no word of a library's
