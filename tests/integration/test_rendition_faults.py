"""Renditions where stores fail, clients go away, too many ask, or the service ends: nothing half-made, nobody stuck."""

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import OutcomeUnknown, StoreFailed, StoreUnavailable
from src.models.image import original_key
from src.models.rendition import RenditionRequest
from tests.support.api import assert_problem
from tests.support.faults import Fault
from tests.support.pictures import picture
from tests.support.rendition_home import SIZE, Home, Pause, RenderPause, home_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    async with home_of(tmp_path / "data") as home:
        yield home


async def settled(home: Home) -> None:
    """Wait until nothing is being made any more, and it has been forgotten."""
    async with asyncio.timeout(10):
        while home.renditions._running:
            await asyncio.sleep(0.01)
    assert home.renditions._waiting == 0


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the event loop has to say of tasks and their exceptions."""
    gc.collect()
    return [record.getMessage() for record in caplog.records if record.name == "asyncio"]


# Stores that fail


STATUS = {StoreFailed: (502, "store_failed"), StoreUnavailable: (503, "store_unavailable")}


@pytest.mark.parametrize("kind", STATUS)
@pytest.mark.parametrize("step", ["head", "fetch", "put", "get"])
async def test_a_store_fails(home: Home, step: str, kind: type[Exception]) -> None:
    """Everybody who waits is told so; nothing half-written is left, and it works the next time."""
    image = await home.upload()
    error: Exception = kind("broken")
    # Each request reads the record before; what is to fail is the look at it afterwards.
    fault = Fault("before", error, every=4 if step == "get" else 1)
    (home.records if step == "get" else home.objects).faults[step] = fault
    answers = await asyncio.gather(*(home.ask(image) for _ in range(3)))
    for answer in answers:
        assert_problem(answer, *STATUS[kind])
        assert ("retry-after" in answer.headers) == (kind is StoreUnavailable)
    await settled(home)
    home.heal()
    for key in home.stored("renditions"):  # which is whole then, since the put had returned
        assert step == "get"
        assert (home.files / key).stat().st_size > 0
    assert len(await home.follow(image)) > 0
    assert len(home.stored("renditions")) == 1


async def test_a_put_that_is_not_confirmed(home: Home) -> None:
    """It may have happened; either way the next request has a rendition that is whole."""
    image = await home.upload()
    home.objects.faults["put"] = Fault("after", OutcomeUnknown("no answer"))
    assert_problem(await home.ask(image), 503, "outcome_unknown")
    home.heal()
    assert len(await home.follow(image)) > 0
    assert len(home.stored("renditions")) == 1


async def test_a_put_that_fails_and_a_check_that_fails(home: Home) -> None:
    image = await home.upload()
    home.objects.faults["put"] = Fault("before", StoreFailed("broken"))
    home.records.faults["get"] = Fault("before", StoreUnavailable("busy"), every=2)
    answer = await home.ask(image)
    assert answer.status_code in (502, 503)
    assert home.stored("renditions") == []


async def test_an_original_that_is_missing(home: Home) -> None:
    """A record without its object is the store's fault, not the client's: 502, and nothing is stored."""
    image = await home.upload()
    (home.files / original_key(image.image_id, image.content_type)).unlink()
    assert_problem(await home.ask(image), 502, "store_failed")
    assert home.stored() == []


async def test_an_original_that_is_broken(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that lost half of it: an error, and no half a rendition."""
    data = picture("png", 400, 300)
    image = await home.upload(data)
    path = home.files / original_key(image.image_id, image.content_type)
    path.write_bytes(data[: len(data) // 2])
    for answer in await asyncio.gather(*(home.ask(image) for _ in range(3))):
        assert_problem(answer, 502, "store_failed")
    await settled(home)
    assert home.stored("renditions") == []
    path.write_bytes(data)
    assert len(await home.follow(image)) > 0
    assert complaints(caplog) == []


# Too much to do


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Home]:
    """Return a service in which two renditions may be waiting or at work."""
    async with home_of(tmp_path / "data", most_waiting=2) as home:
        yield home


async def test_a_queue_that_is_full(small: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is new is refused; what is there, or being made, is not. Then it works again."""
    image = await small.upload()
    await small.follow(image, width="8")
    pause = RenderPause(monkeypatch)
    asking = [asyncio.create_task(small.ask(image, width=width)) for width in ("16", "16", "17")]
    while len(small.renditions._running) < 2 or small.renditions._waiting < 2:
        await asyncio.sleep(0.01)
    for answer in await asyncio.gather(*(small.ask(image, width=width) for width in ("18", "18", "19"))):
        assert_problem(answer, 503, "overloaded")
        assert int(answer.headers["retry-after"]) > 0
    assert (await small.ask(image, width="8")).status_code == 302
    assert (await small.ask(image, download="true")).status_code == 302
    joining = asyncio.create_task(small.ask(image, width="17"))
    await asyncio.sleep(0.01)
    pause.go_on.set()
    answers = await asyncio.gather(*asking, joining)
    assert [answer.status_code for answer in answers] == [302] * 4
    assert pause.count == 2
    for width in ("18", "19", "20"):
        assert (await small.ask(image, width=width)).status_code == 302


async def test_failures_leave_the_queue(small: Home) -> None:
    """However many have failed, there is room for those that come after."""
    image = await small.upload()
    for step in ("fetch", "put"):
        small.objects.faults[step] = Fault("before", StoreFailed("broken"))
        for width in range(10, 16):
            assert (await small.ask(image, width=str(width))).status_code == 502
    small.heal()
    assert [(await small.ask(image, width=str(width))).status_code for width in range(10, 16)] == [302] * 6


async def test_patience_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who wait are told to come back, and then it is there, made once."""
    async with home_of(tmp_path / "data", patience=0.1) as home:
        image = await home.upload()
        pause = RenderPause(monkeypatch)
        for answer in await asyncio.gather(*(home.ask(image) for _ in range(3))):
            assert_problem(answer, 503, "overloaded")
            assert "retry-after" in answer.headers
        pause.go_on.set()
        await settled(home)
        assert len(home.stored("renditions")) == 1
        await home.follow(image)
        assert pause.count == 1


async def test_a_time_out_of_the_store_s_own(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """A TimeoutError out of a store is no sign that the rendition is still being made."""
    image = await home.upload()
    home.objects.faults["fetch"] = Fault("before", TimeoutError("of the store"))
    assert_problem(await home.ask(image), 500, "internal_error")
    assert complaints(caplog) == []


async def test_others_are_answered_meanwhile(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue of renditions is not that of everything else: what needs no thread of theirs is answered."""
    image = await home.upload()
    pause = RenderPause(monkeypatch)
    asking = [asyncio.create_task(home.ask(image, width=str(width))) for width in range(10, 20)]
    await pause.reached.wait()
    try:
        assert (await home.client.get("/healthz")).status_code == 200
        link = (await home.client.get(f"/images/{image.image_id}")).json()["url"]
        assert (await home.client.get(link)).status_code == 200
    finally:
        pause.go_on.set()
        await asyncio.gather(*asking)


# Clients that go away


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_one_client_goes_away(home: Home, monkeypatch: pytest.MonkeyPatch, leaver: int) -> None:
    """The one who asked first, too: the others get what they wait for."""
    image = await home.upload()
    pause = RenderPause(monkeypatch)
    waiting = [asyncio.create_task(home.renditions.ensure(image, SIZE)) for _ in range(3)]
    await pause.reached.wait()
    waiting[leaver].cancel()
    await asyncio.wait({waiting[leaver]}, timeout=5)
    assert waiting[leaver].cancelled()
    pause.go_on.set()
    others = await asyncio.gather(*(task for task in waiting if task is not waiting[leaver]))
    assert others == home.stored("renditions") * 2
    assert pause.count == 1


@pytest.mark.parametrize("error", [None, StoreFailed("broken"), RuntimeError("unforeseen")], ids=repr)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_all_clients_go_away(
    home: Home, caplog: pytest.LogCaptureFixture, when: Any, error: Exception | None
) -> None:
    """It is made all the same, or fails without a word of the event loop's; the next one has it."""
    image = await home.upload()
    pause = Pause("before")
    home.objects.faults["fetch"] = pause
    if error:
        home.objects.faults["put"] = Fault(when, error)
    waiting = [asyncio.create_task(home.renditions.ensure(image, SIZE)) for _ in range(3)]
    await pause.reached.wait()
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    pause.go_on.set()
    await settled(home)
    assert len(home.stored("renditions")) == (1 if error is None or when == "after" else 0)
    home.heal()
    await home.follow(image)
    del waiting, task
    assert complaints(caplog) == []


# The end


async def test_close_while_renditions_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It waits for those at work, not for the queue; whoever waits is let go, and nothing half-made is left."""
    async with home_of(tmp_path / "data") as home:
        image = await home.upload(picture("png", 1_000, 800))
        release = threading.Event()
        for _ in range(home.services.cpu._max_workers):  # type: ignore[attr-defined]
            home.services.cpu.submit(release.wait, 0.3)
        requests = (RenditionRequest(width=width, format="avif") for width in range(500, 530))
        waiting = [asyncio.create_task(home.renditions.ensure(image, request)) for request in requests]
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await home.services.close()
        assert time.monotonic() - started < 2
        done, pending = await asyncio.wait(waiting, timeout=5)
        assert not pending
        outcomes = Counter("cancelled" if task.cancelled() else type(task.exception()).__name__ for task in done)
        assert outcomes["NoneType"] <= home.services.cpu._max_workers  # type: ignore[attr-defined]
        assert not [key for key in home.stored("renditions") if "#" in key]
        assert not home.renditions._running
        del waiting, done, pending
        assert complaints(caplog) == []


async def test_a_rendition_after_the_end(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """A request that was still on its way gets an answer, not silence."""
    image = await home.upload()
    pause = Pause("before")
    home.objects.faults["fetch"] = pause
    asking = asyncio.create_task(home.ask(image))
    await pause.reached.wait()
    await home.services.close()
    pause.go_on.set()
    assert (await asyncio.wait_for(asking, 5)).status_code in (500, 502, 503)
    assert complaints(caplog) == []
