"""Twenty thousand pictures: those that are far away take no room. How quick it is, `bench.sh gallery` tells."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from src.models.image import Image, original_key
from tests.support.browser import Gallery
from tests.support.images import make_image, numbered_id
from tests.support.pictures import noise
from tests.support.server import Server
from tests.support.sqlite import seed

IMAGES = 20_000
SHAPES = ((640, 480), (480, 640), (600, 600), (900, 500), (700, 300))
WHEEL = 1_500  # pixels at a time, faster than anybody looks

SEEN = """() => ({
    pictures: document.querySelectorAll("img").length,
    tiles: [...document.querySelectorAll(".tile")].map((tile) => [Number(tile.ariaPosInSet), tile.dataset.id]),
})"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Image]:
    """The records, newest first. A millisecond lies between them."""
    images = []
    for number in range(IMAGES):
        width, height = SHAPES[number % len(SHAPES)]
        image_id = numbered_id(number, 0)
        images.append(make_image(image_id=image_id, filename=f"{number}.jpg", width=width, height=height))
    return images[::-1]


@pytest.fixture(scope="module")
def full_server(tmp_path_factory: pytest.TempPathFactory, many: list[Image]) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("many") / "data"
    with Server(data_dir) as server:
        assert server.stop() == 0
    files = {shape: _file(data_dir.parent, shape) for shape in SHAPES}
    for image in many:
        path = data_dir / "objects" / original_key(image.image_id, image.content_type)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(files[image.width, image.height], path)
    seed(data_dir / "images.sqlite3", *many)
    with Server(data_dir) as server:
        yield server


def _file(directory: Path, shape: tuple[int, int]) -> Path:
    path = directory / f"{shape[0]}.jpg"
    path.write_bytes(noise(*shape, "jpeg"))
    return path


@pytest.fixture
def full_gallery(open_gallery: Callable[..., Gallery], full_server: Server) -> Gallery:
    return open_gallery(full_server.url)


def test_scrolling_to_the_two_thousandth(full_gallery: Gallery, many: list[Image]) -> None:
    """However far one goes there are few pictures in the document, and they are those that belong there, in order."""
    gallery = full_gallery.open()
    gallery.page.mouse.move(600, 400)
    expected = {position: image.image_id for position, image in enumerate(many, 1)}
    furthest = most = 0
    while furthest < 2_000:
        now = gallery.page.evaluate(SEEN)
        gallery.page.mouse.wheel(0, WHEEL)
        positions = [position for position, _ in now["tiles"]]
        assert positions == list(range(positions[0], positions[0] + len(positions)))
        assert all(expected[position] == image_id for position, image_id in now["tiles"])
        furthest = positions[-1]
        most = max(most, now["pictures"])
    assert most < 200  # 500 is what was promised
    assert gallery.shifts() == 0
    expect(gallery.page.locator(".tile.shown").first).to_be_visible()
