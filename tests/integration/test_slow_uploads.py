"""Bodies that come in too slowly are refused, and nothing of them stays."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest

from src.common.config import Settings
from src.common.payload import SPOOL_LIMIT
from tests.support.api import assert_nothing_stored, assert_problem
from tests.support.crowd import Body, bodies, large_png
from tests.support.pictures import picture

pytestmark = pytest.mark.anyio

SMALL = bodies(picture("png"))
LARGE = bodies(large_png(4 * SPOOL_LIMIT))


def unnamed_files() -> int:
    targets = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(str(target).endswith("(deleted)") for target in targets)


async def post(client: httpx.AsyncClient, body: Body, *, at_once: int, piece: int, pause: float) -> httpx.Response:
    """Send the beginning of a body at once, then a piece after each pause."""

    async def pieces() -> AsyncIterator[bytes]:
        yield body.data[:at_once]
        for start in range(at_once, len(body.data), piece):
            await anyio.sleep(pause)
            yield body.data[start : start + piece]

    return await client.post("/images", content=pieces(), headers={"Content-Type": body.content_type})


@pytest.mark.parametrize("kind", SMALL)
async def test_a_byte_now_and_then(
    kind: str, client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never silent for long, but would take for ever."""
    monkeypatch.setattr("src.handlers.request_bodies.GRACE", 0.1)
    answer = await post(client, SMALL[kind], at_once=10, piece=1, pause=0.02)
    problem = assert_problem(answer, 408, "request_timeout")
    assert problem["detail"] == "The body came in at less than 8192 bytes a second."
    await assert_nothing_stored(client, settings)


@pytest.mark.parametrize("kind", LARGE)
async def test_a_client_that_stalls_frees_what_it_held(
    kind: str, client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.handlers.request_bodies.IDLE_TIMEOUT", 0.05)
    before = unnamed_files()
    answer = await post(client, LARGE[kind], at_once=3 * SPOOL_LIMIT, piece=1, pause=5)
    problem = assert_problem(answer, 408, "request_timeout")
    assert problem["detail"].startswith("Nothing more of the body came for ")
    assert unnamed_files() == before
    await assert_nothing_stored(client, settings)


async def test_a_slow_body_that_is_fast_enough(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came in counts: a large body may take its time."""
    monkeypatch.setattr("src.handlers.request_bodies.GRACE", 0.2)
    monkeypatch.setattr("src.handlers.request_bodies.MINIMUM_RATE", 1_000_000)
    body = LARGE["raw"]
    answer = await post(client, body, at_once=len(body.data) - 6, piece=1, pause=0.1)  # 0.6 of 1.2 seconds
    assert answer.status_code == 201
