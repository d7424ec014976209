"""The wall of pictures, as somebody sees it who comes to look."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Route, expect

from tests.support.browser import Gallery
from tests.support.pictures import encode, picture
from tests.support.server import Server

SHAPES = ((64, 48), (48, 64), (60, 60), (90, 50), (70, 30), (400, 20), (20, 400))
# Of the tiles in the document, in their order.
BOXES = """() => [...document.querySelectorAll(".tile")].map((tile) => {
    const { left, right, top, bottom } = tile.getBoundingClientRect();
    return { left, right, top, bottom };
})"""


def upload(server: Server, name: str, data: bytes | None = None, **fields: str) -> str:
    answer = server.http.post("/images", files={"file": data or picture()}, data={"filename": name, **fields})
    image_id: str = answer.raise_for_status().json()["image_id"]
    return image_id


def fill(server: Server, number: int) -> None:
    for each in range(number):
        upload(server, f"{each}.png", picture("png", *SHAPES[each % len(SHAPES)]))


def test_the_pictures_are_there_newest_first(gallery: Gallery, own_server: Server) -> None:
    for name in ("a", "b", "c"):
        upload(own_server, f"{name}.jpg")
    gallery.open()
    assert gallery.names() == ["c.jpg", "b.jpg", "a.jpg"]
    expect(gallery.page.locator(".tile.shown")).to_have_count(3)
    expect(gallery.page.locator("#usage")).to_contain_text("3 pictures, ")
    assert gallery.shifts() == 0


def test_an_empty_gallery(gallery: Gallery) -> None:
    """It says how to begin."""
    page = gallery.open().page
    expect(page.get_by_text("No pictures yet.")).to_be_visible()
    with page.expect_file_chooser():
        page.get_by_role("button", name="upload some").click()


@pytest.mark.parametrize("width", [1280, 390])
def test_rows(open_gallery: Callable[..., Gallery], own_server: Server, width: int) -> None:
    """Each fills the width, is of one height, and lies below the one before; also when the window changes."""
    fill(own_server, 42)
    gallery = open_gallery(own_server.url, viewport={"width": width, "height": 900})
    page = gallery.open().page
    expect(page.get_by_text("42 pictures", exact=True)).to_be_attached()
    assert_rows(gallery, height=220 if width == 1280 else 130)
    page.set_viewport_size({"width": 900, "height": 900})
    expect(page.locator("#grid")).to_have_js_property("clientWidth", 888)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert_rows(gallery, height=220)


def assert_rows(gallery: Gallery, *, height: int) -> None:
    grid = gallery.page.locator("#grid").bounding_box()
    assert grid
    rows: dict[float, list[dict[str, float]]] = {}
    for box in gallery.page.evaluate(BOXES):
        rows.setdefault(round(box["top"]), []).append(box)
    assert len(rows) > 2
    below = -1.0
    for number, (top, boxes) in enumerate(sorted(rows.items())):
        assert top > below
        below = boxes[0]["bottom"]
        assert all(box["bottom"] == pytest.approx(below, abs=1) for box in boxes)
        assert height * 0.4 < boxes[0]["bottom"] - boxes[0]["top"] <= height + 1
        assert boxes[0]["left"] == pytest.approx(grid["x"], abs=1)
        for left, right in pairwise(boxes):
            assert right["left"] - left["right"] == pytest.approx(6, abs=1)
        if number < len(rows) - 1:
            assert boxes[-1]["right"] == pytest.approx(grid["x"] + grid["width"], abs=1)


def test_before_a_thumbnail_is_there(gallery: Gallery, own_server: Server) -> None:
    """Its placeholder is, on its colour, and nothing moves when it comes."""
    image_id = upload(own_server, "a.jpg", picture("jpeg", 640, 480))
    image = own_server.http.get(f"/images/{image_id}").json()
    held: list[Route] = []
    gallery.page.route(re.compile("/content"), lambda route: held.append(route))
    gallery.open()
    tile = gallery.tile("a.jpg")
    expect(tile).to_be_visible()
    style: dict[str, str] = tile.evaluate("(e) => ({ image: e.style.backgroundImage, color: e.style.backgroundColor })")
    assert style["image"] == f'url("{image["placeholder"]}")'
    assert style["color"] == f"rgb({', '.join(str(int(image['color'][i : i + 2], 16)) for i in (1, 3, 5))})"
    place = tile.bounding_box()
    held[0].continue_()
    expect(tile).to_have_class(re.compile("shown"))
    assert tile.bounding_box() == place
    assert gallery.shifts() == 0


def test_a_transparent_picture_lies_on_a_chequerboard(gallery: Gallery, own_server: Server) -> None:
    """On its own colour it would not be seen."""
    upload(own_server, "a.png", encode(Image.new("RGBA", (64, 48), (20, 20, 20, 90)), "png"))
    gallery.open()
    tile = gallery.page.locator(".tile.shown")
    assert "conic-gradient" in tile.evaluate("(e) => getComputedStyle(e).backgroundImage")


def test_names_are_texts(gallery: Gallery, own_server: Server) -> None:
    names = ["<b>bold<b>.jpg", "\"'&quot;.jpg", "日本語 🌍.jpg", "${base}.jpg", "a" * 200 + ".jpg"]
    for name in names:
        upload(own_server, name)
    upload(own_server, "described.jpg", description="<script>alert(1)</script>\nnext line")
    gallery.open()
    assert gallery.names()[1:] == names[::-1]
    assert gallery.names()[0] == "<script>alert(1)</script>\nnext line"
    assert gallery.page.locator("main b, main script").count() == 0


def test_by_keyboard(gallery: Gallery, own_server: Server) -> None:
    """The arrows go as the pictures lie, and the one with the focus is on the screen."""
    for number in range(30):
        upload(own_server, f"{number}.png", picture("png", 60, 60))
    page = gallery.open().page
    expect(page.get_by_text("30 pictures", exact=True)).to_be_attached()
    page.locator(".tile a").first.focus()
    ways = (
        ("ArrowRight", 28),
        ("ArrowDown", 22),
        ("ArrowLeft", 23),
        ("ArrowUp", 29),
        ("ArrowUp", 29),
        ("ArrowLeft", 29),
        ("End", 0),
        ("ArrowDown", 0),
        ("ArrowRight", 0),
        ("Home", 29),
    )
    for key, number in ways:
        page.keyboard.press(key)
        link = gallery.tile(f"{number}.png").get_by_role("link")
        expect(link).to_be_focused()
        expect(link).to_be_in_viewport(ratio=0.99)
    page.keyboard.press("Enter")
    expect(gallery.viewer.get_by_role("heading")).to_have_text("29.png")


def test_the_focus_is_not_lost_by_scrolling(gallery: Gallery, own_server: Server) -> None:
    """A row that is far away is taken out of the document, but for the one that has the focus."""
    fill(own_server, 80)
    gallery.page.set_viewport_size({"width": 500, "height": 300})
    page = gallery.open().page
    link = page.locator(".tile a").first
    link.focus()
    name = link.get_attribute("aria-label") or ""
    page.mouse.move(200, 200)
    while not gallery.tile("0.png").is_visible():
        page.mouse.wheel(0, 200)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(gallery.tile("0.png")).to_be_visible()
    expect(gallery.tile("60.png")).to_have_count(0)
    expect(gallery.tile(name).get_by_role("link")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(gallery.tile("78.png")).to_be_in_viewport()


@pytest.mark.parametrize(("scale", "size"), [(1, 320), (2, 640)])
def test_thumbnails_are_sharp_on_every_screen(
    open_gallery: Callable[..., Gallery], own_server: Server, scale: int, size: int
) -> None:
    upload(own_server, "a.jpg", picture("jpeg", 1200, 900))
    gallery = open_gallery(own_server.url, device_scale_factor=scale)
    gallery.open()
    thumbnail = gallery.page.locator(".tile.shown img")
    assert thumbnail.evaluate("(image) => image.naturalWidth") == size


def test_a_thumbnail_that_fails_is_tried_again(gallery: Gallery, own_server: Server) -> None:
    """The third time by a new link."""
    upload(own_server, "a.jpg")
    gallery.expect_error("status of 503")
    asked: list[str] = []

    def fail(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) < 3:
            route.fulfill(status=503)
        else:
            route.continue_()

    gallery.page.route(re.compile("/content|/objects"), fail)
    gallery.open()
    expect(gallery.page.locator(".tile.broken")).to_have_count(1)
    expect(gallery.page.locator(".tile.shown:not(.broken)")).to_have_count(1)
    assert asked[0] == asked[1] != asked[2]


def test_links_that_have_ended_are_renewed(
    open_gallery: Callable[..., Gallery], start_server: Callable[..., Server]
) -> None:
    """A page may be open for longer than its links work."""
    server = start_server(PRESIGNED_URL_EXPIRATION="1")
    upload(server, "a.jpg")
    gallery = open_gallery(server.url)
    gallery.open()
    expect(gallery.page.locator(".tile.shown")).to_have_count(1)
    assert [request for request in gallery.requests if "width=320" in request.url and "/content" not in request.url]


def test_a_service_that_is_gone(gallery: Gallery, own_server: Server) -> None:
    """It is said, and a button tries again; what was there stays."""
    fill(own_server, 50)
    gallery.expect_error("ERR_|status of")
    page = gallery.page
    page.route("**/images?*last_key*", lambda route: route.abort())
    gallery.open(is_settled=False)
    alert = page.get_by_role("main").get_by_role("alert")
    expect(alert).to_have_text("The service can't be reached. Is the connection up?")
    assert page.locator("#grid").get_attribute("aria-busy") == "false"
    page.unroute_all()
    own_server.kill()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#grid")).to_have_attribute("aria-busy", "true")
    expect(alert).to_be_visible()
    assert gallery.tiles.count() > 10


def test_a_phone(open_gallery: Callable[..., Gallery], own_server: Server) -> None:
    """Boxes to select with are there without a pointer that hovers."""
    fill(own_server, 3)
    context: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    gallery = open_gallery(own_server.url, device_scale_factor=3, **context)
    page = gallery.open().page
    expect(page.locator(".tile.shown")).to_have_count(3)
    box = page.get_by_role("checkbox").first
    assert float(box.evaluate("(e) => getComputedStyle(e).opacity")) > 0.5
    box.tap()
    expect(page.get_by_text("1 picture selected")).to_be_visible()
    expect(page.get_by_role("button", name="Upload")).to_be_in_viewport(ratio=1)
