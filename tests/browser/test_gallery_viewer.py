"""One picture at a time: look, go on, share, download, edit, delete."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser import Gallery
from tests.support.pictures import animation, noise, picture
from tests.support.server import Server

DATA = picture("jpeg", 640, 480)


def upload(server: Server, filename: str, data: bytes = DATA, **fields: str) -> str:
    answer = server.http.post("/images", files={"file": (filename, data)}, data=fields)
    assert answer.status_code == 201, answer.text
    image_id: str = answer.json()["image_id"]
    return image_id


def three(server: Server) -> list[str]:
    """Upload three pictures; return their ids, newest first."""
    return [upload(server, name) for name in ("c.jpg", "b.jpg", "a.jpg")][::-1]


def view(gallery: Gallery, name: str) -> None:
    gallery.tile(name).get_by_role("link").click()
    expect(gallery.viewer.get_by_role("img", name=name)).to_have_class(re.compile("shown"))


def heading(gallery: Gallery) -> str:
    return gallery.viewer.get_by_role("heading").inner_text()


def rendition_requests(gallery: Gallery) -> list[httpx.URL]:
    return [httpx.URL(request.url) for request in gallery.requests if re.search(r"/images/[^/]+\?width", request.url)]


def test_a_picture_fits_the_screen(gallery: Gallery, own_server: Server) -> None:
    """It is asked for in a size for this screen, and its thumbnail stands for it until it is there."""
    upload(own_server, "large.png", noise(1500, 900))
    upload(own_server, "small.png", picture("png", 90, 60))
    held: list[Route] = []
    gallery.page.route(re.compile(r"/images/[^/]+\?width"), lambda route: held.append(route))
    gallery.open()
    gallery.tile("large.png").get_by_role("link").click()
    low, full = gallery.viewer.locator("img.low"), gallery.viewer.locator("img.full")
    expect(low).to_be_visible()
    place = low.bounding_box()
    assert place
    held.pop().continue_()
    expect(full).to_have_class(re.compile("shown"))
    expect(low).to_be_hidden()
    assert full.bounding_box() == place
    assert place["width"] == pytest.approx(960, abs=1)  # beside what is known about it
    assert place["height"] == pytest.approx(576, abs=1)
    (request,) = rendition_requests(gallery)[:1]
    assert dict(request.params) == {"width": "1024", "height": "1024", "fit": "inside"}
    gallery.page.unroute_all()
    gallery.page.go_back()
    view(gallery, "small.png")
    box = full.bounding_box()
    assert box
    assert (box["width"], box["height"]) == (90, 60)  # it is not blown up


def test_next_and_previous(gallery: Gallery, own_server: Server) -> None:
    """By buttons and by keys; there is no way beyond the ends. What was seen last has the focus then."""
    _, b, _ = three(own_server)
    page = gallery.open().page
    page.keyboard.press("Tab")
    gallery.tile("a.jpg").get_by_role("link").focus()
    page.keyboard.press("Enter")
    viewer = gallery.viewer
    expect(viewer.get_by_role("heading", name="a.jpg")).to_be_visible()
    expect(viewer.get_by_role("button", name="Previous picture")).to_be_hidden()
    viewer.get_by_role("button", name="Next picture").click()
    expect(viewer.get_by_role("heading", name="b.jpg")).to_be_visible()
    assert page.url == f"{gallery.url}?image={b}"
    assert page.title() == "b.jpg · Pictures"
    page.keyboard.press("ArrowRight")
    expect(viewer.get_by_role("heading", name="c.jpg")).to_be_visible()
    expect(viewer.get_by_role("button", name="Next picture")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    expect(viewer.get_by_role("heading", name="b.jpg")).to_be_visible()
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(gallery.tile("b.jpg").get_by_role("link")).to_be_focused()
    assert (page.url, page.title()) == (gallery.url, "Pictures")
    page.go_forward()
    expect(viewer.get_by_role("heading", name="b.jpg")).to_be_visible()
    page.go_back()
    expect(viewer).to_be_hidden()


def test_going_on_beyond_what_is_loaded(gallery: Gallery, own_server: Server) -> None:
    for number in range(45):  # the first page has 40
        upload(own_server, f"{number}.png", picture("png", 8, 8))
    # As low as the pictures are, the list would be loaded to its end at once.
    gallery.page.set_viewport_size({"width": 320, "height": 200})
    page = gallery.open().page
    view(gallery, "44.png")
    for number in range(43, -1, -1):
        expect(gallery.viewer.get_by_role("button", name="Next picture")).to_be_visible()
        page.keyboard.press("ArrowRight")
        expect(gallery.viewer.get_by_role("heading", name=f"{number}.png", exact=True)).to_be_visible()
    expect(gallery.viewer.get_by_role("button", name="Next picture")).to_be_hidden()


def test_swiping(open_gallery: Callable[..., Gallery], own_server: Server) -> None:
    three(own_server)
    gallery = open_gallery(own_server.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = gallery.open().page
    gallery.tile("a.jpg").get_by_role("link").tap()
    expect(gallery.viewer.get_by_role("heading", name="a.jpg")).to_be_visible()
    for start, end, name in ((300, 60, "b.jpg"), (60, 300, "a.jpg"), (200, 190, "a.jpg")):
        swipe(page, start, end)
        expect(gallery.viewer.get_by_role("heading", name=name)).to_be_visible()


def swipe(page: Page, start: int, end: int) -> None:
    session = page.context.new_cdp_session(page)
    points = [{"x": start + (end - start) * step / 5, "y": 200} for step in range(6)]
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
    for point in points[1:]:
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_what_is_known(gallery: Gallery, own_server: Server) -> None:
    """Its texts are texts. The panel goes away to make room, and comes back."""
    evil = '<img src=x onerror="alert(1)">'
    image_id = upload(own_server, "a walk.jpg", tags="garden,cat", description=evil, user_id="ann")
    page = gallery.open().page
    view(gallery, evil)
    info = gallery.viewer.get_by_role("complementary")
    for text in ("a walk.jpg", "640 × 480", "JPEG", "ann", image_id):
        expect(info.get_by_text(text)).to_be_visible()
    assert info.get_by_label("Tags of the picture").get_by_role("button").all_inner_texts() == ["garden", "cat"]
    button = gallery.viewer.get_by_role("button", name="About the picture")
    expect(button).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("i")
    expect(info).to_be_hidden()
    expect(button).to_have_attribute("aria-expanded", "false")
    wide = gallery.viewer.locator(".stage").bounding_box()
    assert wide
    assert wide["width"] == 1280
    button.click()
    info.get_by_role("button", name="garden").click()
    expect(gallery.viewer).to_be_hidden()
    assert page.url == f"{gallery.url}?tags=garden"


@pytest.mark.parametrize(("life", "seconds"), [("1 hour", 3_600), ("1 day", 86_400), ("7 days", 604_800)])
def test_a_link_for_others(gallery: Gallery, own_server: Server, life: str, seconds: int) -> None:
    """It lands in the clipboard, works by itself and ends when it says."""
    upload(own_server, "a.jpg")
    gallery.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = gallery.open().page
    view(gallery, "a.jpg")
    gallery.viewer.get_by_label("A link that works for").select_option(life)
    gallery.viewer.get_by_role("button", name="Copy link").click()
    expect(gallery.viewer.get_by_text("Copied. It works until")).to_be_visible()
    url: str = page.evaluate("navigator.clipboard.readText()")
    assert httpx.URL(url).params["X-Amz-Expires"] == str(seconds)
    assert httpx.get(url).content == DATA
    assert gallery.viewer.get_by_label("Link", exact=True).input_value() == url


def test_a_link_where_pages_may_not_copy(gallery: Gallery, own_server: Server) -> None:
    """It is shown, and selected."""
    upload(own_server, "a.jpg")
    gallery.context.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page = gallery.open().page
    view(gallery, "a.jpg")
    page.keyboard.press("c")
    link = gallery.viewer.get_by_label("Link", exact=True)
    expect(link).to_be_focused()
    assert page.evaluate("getSelection().toString()") == link.input_value() != ""


def test_download(gallery: Gallery, own_server: Server) -> None:
    """The original, to the byte, under its name."""
    upload(own_server, "ein Übergang.jpg")
    page = gallery.open().page
    view(gallery, "ein Übergang.jpg")
    for start in (
        lambda: gallery.viewer.get_by_role("button", name="Download").click(),
        lambda: page.keyboard.press("d"),
    ):
        with page.expect_download() as started:
            start()
        assert started.value.suggested_filename == "ein Übergang.jpg"
        assert started.value.path().read_bytes() == DATA
    expect(gallery.viewer).to_be_visible()


def test_edit(gallery: Gallery, own_server: Server) -> None:
    image_id = upload(own_server, "a.jpg", tags="old")
    page = gallery.open().page
    view(gallery, "a.jpg")
    gallery.viewer.get_by_role("button", name="Edit").click()
    dialog = gallery.dialog
    expect(dialog.get_by_label("Tags")).to_have_value("old")
    dialog.get_by_label("Tags").fill("Garden, , cat,CAT")
    dialog.get_by_label("Description").fill("A walk\nin the garden")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    expect(gallery.viewer.get_by_role("heading")).to_have_text("A walk in the garden")
    image = own_server.http.get(f"/images/{image_id}").json()
    assert (image["tags"], image["description"], image["version"]) == (["garden", "cat"], "A walk\nin the garden", 2)
    # Once more, from what it is now, by the keyboard; and the third time nothing comes of it.
    page.keyboard.press("e")
    expect(dialog.get_by_label("Description")).to_have_value("A walk\nin the garden")
    dialog.get_by_label("File name").fill("b.jpg")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(gallery.viewer.get_by_text("b.jpg")).to_be_visible()
    page.keyboard.press("e")
    dialog.get_by_label("Tags").fill("never")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(gallery.viewer).to_be_visible()
    image = own_server.http.get(f"/images/{image_id}").json()
    assert (image["filename"], image["tags"], image["version"]) == ("b.jpg", ["garden", "cat"], 3)
    page.keyboard.press("Escape")
    expect(gallery.tile("A walk\nin the garden")).to_be_visible()


def test_a_button_that_is_pressed_while_the_picture_comes(gallery: Gallery, own_server: Server) -> None:
    """It is not exchanged for another one between the two halves of a click."""
    upload(own_server, "a.jpg", tags="cat")
    page = gallery.page
    held: list[Route] = []
    page.route(re.compile(r"/images/[^/]+\?width"), lambda route: held.append(route))
    gallery.open()
    gallery.tile("a.jpg").get_by_role("link").click()
    gallery.viewer.get_by_role("button", name="Edit").hover()
    page.mouse.down()
    held.pop().continue_()
    expect(gallery.viewer.locator("img.full")).to_have_class(re.compile("shown"))
    page.mouse.up()
    expect(gallery.dialog).to_be_visible()


def test_what_an_edit_is_refused_for(gallery: Gallery, own_server: Server) -> None:
    """In the words of the service, and what was typed is still there; nobody's change is lost."""
    image_id = upload(own_server, "a.jpg")
    gallery.expect_error("status of 4(00|12)")
    page = gallery.open().page
    view(gallery, "a.jpg")
    page.keyboard.press("e")
    dialog = gallery.dialog
    dialog.get_by_label("Tags").fill("x" * 200)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("tags")
    dialog.get_by_label("Tags").fill("x")
    own_server.http.patch(f"/images/{image_id}", json={"description": "somebody else's"}).raise_for_status()
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Somebody else has changed this picture")
    expect(dialog.get_by_label("Tags")).to_have_value("x")
    dialog.get_by_role("button", name="Cancel").click()
    assert own_server.http.get(f"/images/{image_id}").json()["description"] == "somebody else's"


def test_delete(gallery: Gallery, own_server: Server) -> None:
    """After a question; then the next one is there, or the one before, or the empty list."""
    three(own_server)
    gallery.expect_error("status of 404")  # of what was still being loaded
    page = gallery.open().page
    view(gallery, "b.jpg")
    page.keyboard.press("Delete")
    gallery.dialog.get_by_role("button", name="Cancel").click()
    expect(gallery.viewer.get_by_role("heading", name="b.jpg")).to_be_visible()
    gallery.viewer.get_by_role("button", name="Delete").click()
    gallery.dialog.get_by_role("button", name="Delete").click()
    expect(gallery.viewer.get_by_role("heading", name="c.jpg")).to_be_visible()
    expect(gallery.toasts).to_contain_text("1 picture deleted.")
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(gallery.viewer.get_by_role("heading", name="a.jpg")).to_be_visible()
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(gallery.viewer).to_be_hidden()
    expect(page.get_by_text("No pictures yet.")).to_be_visible()
    assert own_server.http.get("/usage").json() == {"images": 0, "bytes": 0}


def test_an_address_that_was_shared(gallery: Gallery, own_server: Server) -> None:
    """The picture is there, also if it is not in the list; closing leads to the list."""
    a, b, _ = three(own_server)
    own_server.http.patch(f"/images/{a}", json={"tags": ["cat"]}).raise_for_status()
    gallery.open(f"?image={b}")
    expect(gallery.viewer.get_by_role("heading", name="b.jpg")).to_be_visible()
    expect(gallery.viewer.get_by_role("button", name="Next picture")).to_be_visible()
    gallery.viewer.get_by_role("button", name="Close the viewer").click()
    expect(gallery.viewer).to_be_hidden()
    assert gallery.page.url == gallery.url
    gallery.open(f"?tags=cat&image={b}")
    expect(gallery.viewer.get_by_role("heading", name="b.jpg")).to_be_visible()
    expect(gallery.viewer.get_by_role("button", name="Next picture")).to_be_hidden()
    gallery.page.keyboard.press("Escape")
    assert gallery.names() == ["a.jpg"]


@pytest.mark.parametrize(
    "image_id", ["01a206b6-ca16-7634-bf4a-07a8c51b4cec", "x", "..%2F..%2Fusage", "%00", "a%26b%3Dc"]
)
def test_an_address_of_nothing(gallery: Gallery, own_server: Server, image_id: str) -> None:
    three(own_server)
    gallery.expect_error("status of 404")
    gallery.open(f"?image={image_id}")
    expect(gallery.toasts).to_contain_text("There is no ")
    expect(gallery.viewer).to_be_hidden()
    assert gallery.tiles.count() == 3


def test_an_animation_stays_one(gallery: Gallery, own_server: Server) -> None:
    upload(own_server, "a.gif", animation("gif", 3, 200, 150))
    gallery.open()
    view(gallery, "a.gif")
    expect(gallery.viewer.get_by_text("GIF, 3 frames")).to_be_visible()
    data = httpx.get(gallery.viewer.locator("img.full").get_attribute("src") or "").content
    assert b"ANIM" in data[:64]  # WebP


def test_a_picture_that_does_not_come(gallery: Gallery, own_server: Server) -> None:
    """Whoever looks is told, and can try again."""
    image_id = upload(own_server, "a.jpg")
    gallery.expect_error("ERR_FAILED")
    broken: list[Any] = []

    def fail(route: Route) -> None:
        broken.append(route.request.url)
        route.abort()

    gallery.open()
    expect(gallery.page.locator(".tile.shown")).to_have_count(1)
    gallery.page.route(re.compile("/objects/"), fail)
    gallery.tile("a.jpg").get_by_role("link").click()
    expect(gallery.toasts).to_contain_text("The picture could not be loaded.")
    assert broken
    gallery.page.unroute_all()
    gallery.toasts.get_by_role("button", name="Try again").click()
    expect(gallery.viewer.locator("img.full")).to_have_class(re.compile("shown"))
    assert gallery.page.url == f"{gallery.url}?image={image_id}"
