"""Renditions on their way: made once, kept, shared by all who ask, and gone with their image at whatever moment."""

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from src.common.errors import ImageNotFound, OutcomeUnknown, StoreUnavailable
from src.models.rendition import renditions_prefix
from src.services import rendition_service
from tests.support.api import assert_problem
from tests.support.faults import Fault
from tests.support.pictures import animation, picture
from tests.support.rendition_home import SAME_SIZE, SIZE, Home, Pause, RenderPause, home_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    async with home_of(tmp_path / "data") as home:
        yield home


# Once


async def test_the_order_of_things(home: Home) -> None:
    """It is looked for, made, stored, and then the record is looked at once more: see the service's docstring."""
    image = await home.upload()
    data = await home.follow(image)
    assert PIL.Image.open(io.BytesIO(data)).size == (16, 12)
    assert home.calls == ["get", "head", "list", "fetch", "put", "get"]
    (key,) = home.stored("renditions")
    assert key.startswith(renditions_prefix(image.image_id))


async def test_a_hundred_at_once(home: Home) -> None:
    """They all get the same, which is made and stored once."""
    image = await home.upload()
    answers = await asyncio.gather(*(home.ask(image) for _ in range(100)))
    assert Counter(answer.status_code for answer in answers) == {302: 100}
    assert len({answer.headers["location"].partition("?")[0] for answer in answers}) == 1
    assert (home.calls.count("put"), home.calls.count("fetch")) == (1, 1)
    assert len(home.stored("renditions")) == 1


async def test_many_different_ones_at_once(home: Home) -> None:
    images = [await home.upload(picture("png", color=(i, 0, 0))) for i in range(3)]
    await asyncio.gather(*(home.follow(image, width=str(width)) for image in images for width in range(8, 24)))
    assert home.calls.count("put") == 48
    assert len(home.stored("renditions")) == 48


@pytest.mark.parametrize(("name", "most"), [("MOST_RENDITIONS", 3), ("MOST_RENDITION_BYTES", None)])
async def test_an_image_has_room_for_so_many(
    home: Home, monkeypatch: pytest.MonkeyPatch, name: str, most: int | None
) -> None:
    """Whoever may look at one image must not fill the store with it. What is there goes on, and so do other images."""
    image, other = await home.upload(), await home.upload(picture("png"))
    for width in (8, 9, 10):
        await home.follow(image, width=str(width))
    total = sum(path.stat().st_size for path in (home.files / "renditions").rglob("*.*"))
    monkeypatch.setattr(rendition_service, name, most or total)
    assert_problem(await home.ask(image, width="11"), 403, "too_many_renditions")
    assert len(home.stored("renditions")) == 3
    await home.follow(image, width="8")
    await home.follow(other, width="11")


EQUAL: list[list[dict[str, str]]] = [
    [{"width": "32"}, {"width": "32", "fit": "cover", "position": "centre", "enlarge": "false"}, {"height": "24"}],
    [{"width": "32"}, {"width": "32", "height": "24"}, {"width": "32", "height": "24", "fit": "fill"}],
    [{"width": "32"}, {"width": "32", "height": "4000", "fit": "inside"}],
    [{"width": "32", "position": "top"}, {"width": "32", "position": "attention"}],
    [{"width": "32"}, {"width": "32", "format": "auto"}, {"width": "32", "format": "png"}],
    [{"width": "32", "format": "png"}, {"width": "32", "format": "png", "quality": "3"}],
    [{"width": "32", "format": "webp"}, {"width": "32", "format": "webp", "quality": "80"}],
    [{"width": "32", "format": "avif"}, {"width": "32", "format": "avif", "quality": "50"}],
    [{"width": "64"}, {"width": "65"}, {"width": "4096"}, {"height": "4096"}, {"format": "auto"}, {"quality": "7"}],
    [{"width": "4096", "height": "3072"}, {"width": "64", "height": "48", "fit": "contain"}, {"fit": "inside"}],
    [{"width": "32", "height": "32"}, {"width": "32", "height": "32", "position": "top"}],  # it is cut at the sides
]


@pytest.mark.parametrize("ways", EQUAL, ids=lambda ways: str(ways[0]))
async def test_ways_to_write_the_same(home: Home, ways: list[dict[str, str]]) -> None:
    """They share one object, which is made once."""
    image = await home.upload()
    made = {await home.follow(image, **params) for params in ways}
    assert len(made) == 1
    assert len(home.stored("renditions")) == 1
    assert home.calls.count("put") == 1


DIFFERENT: list[dict[str, str]] = [
    {"width": "32"},
    {"width": "33"},
    {"width": "32", "height": "32"},
    {"width": "32", "height": "32", "fit": "contain"},
    {"width": "32", "height": "32", "fit": "fill"},
    {"width": "32", "height": "32", "position": "left"},
    {"width": "32", "height": "32", "position": "attention"},
    {"width": "128"},
    {"width": "128", "enlarge": "true"},
    {"width": "32", "format": "jpeg"},
    {"width": "32", "format": "jpeg", "quality": "81"},
    {"width": "32", "format": "webp"},
    {"width": "32", "format": "avif"},
]


async def test_different_ones_share_nothing(home: Home) -> None:
    image = await home.upload()
    for number, params in enumerate(DIFFERENT, 1):
        await home.follow(image, **params)
        assert len(home.stored("renditions")) == number, params


async def test_an_animation_and_its_first_frame(home: Home) -> None:
    image = await home.upload(animation("gif"))
    for format_, frames in (("webp", 3), ("png", 1)):
        made = PIL.Image.open(io.BytesIO(await home.follow(image, width="20", format=format_)))
        assert getattr(made, "n_frames", 1) == frames


async def test_a_restart(home: Home, tmp_path: Path) -> None:
    """What is stored is found again, and neither made nor fetched."""
    image = await home.upload()
    data = await home.follow(image)
    await home.services.close()
    async with home_of(tmp_path / "data") as again:
        assert await again.follow(image) == data
        assert again.calls == ["get", "head"]


async def test_two_servers_at_once(home: Home, tmp_path: Path) -> None:
    """Each makes it once; what is served is whole, whoever wrote it last."""
    image = await home.upload()
    async with home_of(tmp_path / "data") as other:
        made = await asyncio.gather(*(each.follow(image) for each in (home, other) * 10))
    assert len(set(made)) == 1
    assert len(home.stored("renditions")) == 1


# Gone with their image


async def test_delete(home: Home) -> None:
    """Original and renditions, from storage; those of another image stay, and links lead to nothing."""
    image, other = await home.upload(), await home.upload()
    for params in DIFFERENT[:4]:
        await home.follow(image, **params)
    await home.follow(other)
    link = (await home.ask(image, **DIFFERENT[0])).headers["location"]
    assert (await home.client.delete(f"/images/{image.image_id}")).status_code == 204
    assert [key for key in home.stored() if image.image_id in key] == []
    assert len([key for key in home.stored() if other.image_id in key]) == 2
    assert not (home.files / renditions_prefix(image.image_id)).exists()
    assert_problem(await home.client.get(link), 404, "object_not_found")
    for params in DIFFERENT[:2]:
        assert_problem(await home.ask(image, **params), 404, "image_not_found")
    assert home.stored("renditions") != []


MOMENTS: list[Any] = [("head", "before"), ("fetch", "before"), ("fetch", "after")]
MOMENTS += [("put", "before"), ("put", "after"), ("get", "before"), ("render", "before")]


@pytest.mark.parametrize(("step", "when"), MOMENTS)
async def test_a_delete_at_any_moment(home: Home, monkeypatch: pytest.MonkeyPatch, step: str, when: Any) -> None:
    """Whoever waits for the rendition is told that there is no such image, and no object is left."""
    image = await home.upload()
    await home.follow(image, width="8")  # one that is there already
    pause: Any = RenderPause(monkeypatch) if step == "render" else Pause(when)
    if step != "render":
        (home.records if step == "get" else home.objects).faults[step] = pause
    asking = asyncio.create_task(home.renditions.ensure(image, SIZE))
    await asyncio.wait_for(pause.reached.wait(), 10)
    home.heal()
    await home.services.images.delete(image.image_id, owner=None)
    pause.go_on.set()
    with pytest.raises(ImageNotFound):
        await asking
    assert home.stored() == []


async def test_a_delete_while_many_are_made(home: Home) -> None:
    """Whatever each of them is at: nothing is left, and each says either that it is there or that there is no image."""
    for delay in range(6):
        image = await home.upload()
        asking = [asyncio.create_task(home.ask(image, width=str(width))) for width in range(10, 20)]
        await asyncio.sleep(delay * 0.01)
        assert (await home.client.delete(f"/images/{image.image_id}")).status_code == 204
        answers = await asyncio.gather(*asking)
        assert {answer.status_code for answer in answers} <= {302, 404}
        assert home.stored() == []


@pytest.mark.parametrize("error", [StoreUnavailable("busy"), OutcomeUnknown("no answer")], ids=repr)
async def test_a_delete_before_a_put_that_is_not_confirmed(home: Home, error: Exception) -> None:
    """It has happened all the same: what it wrote is removed, since nobody else will."""
    image = await home.upload()
    pause = Pause("after")
    home.objects.faults["fetch"] = pause
    home.objects.faults["put"] = Fault("after", error)
    asking = asyncio.create_task(home.ask(image))
    await pause.reached.wait()
    await home.services.images.delete(image.image_id, owner=None)
    pause.go_on.set()
    assert_problem(await asking, 404, "image_not_found")
    assert home.stored() == []


async def test_a_delete_before_a_record_check_that_fails(home: Home) -> None:
    """Nobody knows whether there is the image: what was written is removed, since a delete may be over by then."""
    image = await home.upload()
    pause = Pause("before")
    home.objects.faults["put"] = pause
    asking = asyncio.create_task(home.renditions.ensure(image, SIZE))
    await pause.reached.wait()
    await home.services.images.delete(image.image_id, owner=None)
    home.records.faults["get"] = Fault("before", StoreUnavailable("busy"))
    pause.go_on.set()
    with pytest.raises(StoreUnavailable):
        await asking
    assert home.stored() == []


async def test_a_delete_that_fails_to_remove_renditions(home: Home) -> None:
    """The image is gone all the same, and its renditions can't be seen any more."""
    image = await home.upload()
    await home.follow(image)
    home.objects.faults["delete_below"] = Fault("before", StoreUnavailable("busy"))
    assert (await home.client.delete(f"/images/{image.image_id}")).status_code == 204
    home.heal()
    assert_problem(await home.ask(image, **SAME_SIZE), 404, "image_not_found")
    assert len(home.stored()) == 1
