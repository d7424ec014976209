"""Where the service asks for tokens, the gallery does."""

import datetime as dt
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser import Gallery
from tests.support.pictures import canvas, encode, picture
from tests.support.server import Server
from tests.support.tokens import AUTH, bearer, token

DATA = picture("png", 64, 48)


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """Of ann and bob, who have a picture each."""
    server = start_server(**AUTH)
    for user in ("ann", "bob"):
        answer = server.http.post("/images", files={"file": (f"{user}.png", DATA)}, headers=bearer(token(user)))
        answer.raise_for_status()
    return server


@pytest.fixture
def gallery(open_gallery: Callable[..., Gallery], server: Server) -> Gallery:
    gallery = open_gallery(server.url)
    gallery.expect_error("status of 401")
    return gallery


def sign_in(gallery: Gallery, text: str) -> None:
    gallery.dialog.get_by_label("Token").fill(text)
    gallery.dialog.get_by_role("button", name="Sign in").click()


def enter(gallery: Gallery, text: str) -> Page:
    gallery.open(is_settled=False)
    expect(gallery.dialog.get_by_role("heading")).to_have_text("Sign in")
    sign_in(gallery, text)
    expect(gallery.dialog).to_be_hidden()
    return gallery.page


def test_who_has_no_token_sees_nothing(gallery: Gallery) -> None:
    """The question can't be left; what is wrong with a token is said in the service's words."""
    page = gallery.open(is_settled=False).page
    for _ in range(3):
        page.keyboard.press("Escape")
    expect(gallery.dialog).to_be_visible()
    assert gallery.tiles.count() == 0
    expired = token("ann", life=dt.timedelta(days=-1))
    gallery.expect_error("status of 403")
    for text, words in (
        ("nonsense", "token"),
        (expired, "expired"),
        (token("ann", secret="x" * 40), "signature"),
        (token("ann", "images:none"), "images:read"),
        (token("ann", ""), "images:read"),
        ("日本", "token"),
    ):
        sign_in(gallery, text)
        expect(gallery.dialog.get_by_role("alert")).to_contain_text(re.compile(words, re.IGNORECASE))
        expect(gallery.dialog.get_by_role("button", name="Sign in")).to_be_enabled()
        expect(gallery.dialog.locator(":focus")).to_have_count(1)  # though the button was disabled meanwhile
    sign_in(gallery, f"  {token('ann')}\n")
    expect(gallery.tile("ann.png")).to_be_visible()


def test_one_s_own_pictures(gallery: Gallery, server: Server, open_gallery: Callable[..., Gallery]) -> None:
    """Everything works, and nothing of the token is left anywhere but in this tab."""
    mine = token("ann")
    page = enter(gallery, mine)
    expect(page.locator(".tile.shown")).to_have_count(1)
    assert gallery.names() == ["ann.png"]
    large = encode(canvas(1300, 1300), "png", compress_level=0)
    page.locator("#files").set_input_files(
        [
            {"name": "small.png", "mimeType": "image/png", "buffer": DATA},
            {"name": "large.png", "mimeType": "image/png", "buffer": large},
        ]
    )
    expect(page.get_by_text("2 pictures uploaded")).to_be_visible()
    expect(gallery.tiles).to_have_count(3)
    page.get_by_role("button", name="Close the uploads").click()
    assert "/objects/" in {re.sub(r"^\w+://[^/]+", "", r.url) for r in gallery.requests if r.method == "POST"}
    gallery.tile("large.png").get_by_role("link").click()
    expect(gallery.viewer.locator("img.full")).to_have_class(re.compile("shown"))
    with page.expect_download() as download:
        gallery.viewer.get_by_role("button", name="Download").click()
    assert download.value.path().read_bytes() == large
    page.keyboard.press("Escape")
    expect(gallery.viewer).to_be_hidden()
    page.reload()
    expect(gallery.tiles).to_have_count(3)
    assert page.evaluate("JSON.stringify(localStorage) + document.cookie") == "{}"
    assert not [request.url for request in gallery.requests if mine in request.url]
    assert {image["user_id"] for image in server.http.get("/images", headers=bearer(mine)).json()["images"]} == {"ann"}
    other = open_gallery(server.url)
    other.expect_error("status of 401")
    other.open(is_settled=False)
    expect(other.dialog).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(gallery.dialog).to_be_visible()
    assert gallery.tiles.count() == 0


def test_who_may_only_look(gallery: Gallery) -> None:
    """They are not offered what would be refused."""
    page = enter(gallery, token("ann", "images:read"))
    expect(page.locator(".tile.shown")).to_have_count(1)
    expect(page.get_by_role("button", name="Upload")).to_be_hidden()
    page.keyboard.press("Control+a")
    expect(page.get_by_text("1 picture selected")).to_be_visible()
    for name in ("Tag", "Delete"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_hidden()
    for key in ("t", "Delete", "u"):
        page.keyboard.press(key)
    page.evaluate("""() => {
        const files = new DataTransfer();
        files.items.add(new File(["x"], "x.png", { type: "image/png" }));
        dispatchEvent(new DragEvent("dragover", { dataTransfer: files, cancelable: true }));
        dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true }));
        dispatchEvent(new ClipboardEvent("paste", { clipboardData: files }));
    }""")
    expect(gallery.dialog).to_be_hidden()
    expect(page.get_by_role("region", name="Uploads")).to_be_hidden()
    expect(page.get_by_text("Drop pictures to upload them")).to_be_hidden()
    page.keyboard.press("Escape")
    gallery.tile("ann.png").get_by_role("link").click()
    expect(gallery.viewer.get_by_role("button", name="Download")).to_be_visible()
    for name in ("Edit", "Delete"):
        expect(gallery.viewer.get_by_role("button", name=name)).to_be_hidden()
    page.keyboard.press("e")
    page.keyboard.press("Delete")
    expect(gallery.dialog).to_be_hidden()
    assert {request.method for request in gallery.requests} == {"GET"}


def test_an_admin_sees_everybody_s(gallery: Gallery) -> None:
    page = enter(gallery, token("root", "images:admin"))
    expect(gallery.tiles).to_have_count(2)
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_label("User").fill("bob")
    page.keyboard.press("Enter")
    expect(gallery.tiles).to_have_count(1)
    assert gallery.names() == ["bob.png"]


def end(page: Page, user_id: str) -> None:
    """Have the tab's token be one that does not work any more."""
    ended = token(user_id, life=dt.timedelta(days=-1))
    page.evaluate("([name, value]) => sessionStorage.setItem(name, value)", ["image-service-token:/", ended])


def test_a_token_that_ends(gallery: Gallery, server: Server) -> None:
    """It is asked for again, and what was begun goes on: nothing is lost, and nothing is done twice."""
    page = enter(gallery, token("ann"))
    expect(page.locator(".tile.shown")).to_have_count(1)
    end(page, "ann")
    page.locator("#files").set_input_files([{"name": "b.png", "mimeType": "image/png", "buffer": DATA}])
    expect(gallery.dialog).to_contain_text("Your token does not work any more")
    sign_in(gallery, token("ann"))
    expect(page.get_by_text("1 picture uploaded")).to_be_visible()
    expect(gallery.tiles).to_have_count(2)
    # A large one, whose bytes are sent already.
    ended: list[Route] = []

    def end_now(route: Route) -> None:
        if ended:
            route.continue_()
        else:
            ended.append(route)
            route.fulfill(status=401, json={"code": "token_expired", "detail": "It has expired."})

    page.route("**/complete", end_now)
    large = encode(canvas(1300, 1300), "png", compress_level=0)
    page.locator("#files").set_input_files([{"name": "large.png", "mimeType": "image/png", "buffer": large}])
    expect(gallery.dialog).to_contain_text("It has expired.")
    sign_in(gallery, token("ann"))
    expect(page.get_by_text("2 pictures uploaded")).to_be_visible()
    expect(gallery.tiles).to_have_count(3)
    assert server.http.get("/usage", headers=bearer(token("ann"))).json()["images"] == 3
    assert len([request for request in gallery.requests if request.url.endswith("/objects/")]) == 1


def test_a_token_that_ends_while_one_scrolls(gallery: Gallery, server: Server) -> None:
    """The list goes on; for somebody else it is theirs."""
    wide = picture("png", 48, 20)  # one fills a row here, so that there is something to scroll
    for number in range(44):
        answer = server.http.post("/images", files={"file": (f"{number}.png", wide)}, headers=bearer(token("ann")))
        answer.raise_for_status()
    gallery.page.set_viewport_size({"width": 300, "height": 400})
    page = enter(gallery, token("ann"))
    expect(gallery.tile("43.png")).to_be_visible()
    end(page, "ann")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(gallery.dialog).to_contain_text("Your token does not work any more")
    sign_in(gallery, token("ann"))
    expect(page.get_by_text("45 pictures", exact=True)).to_be_attached()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(gallery.tile("ann.png")).to_be_in_viewport()
    page.keyboard.press("Control+a")
    end(page, "ann")
    page.keyboard.press("f")  # wants to know the tags
    expect(gallery.dialog).to_be_visible()
    sign_in(gallery, token("bob"))
    expect(gallery.tiles).to_have_count(1)
    assert gallery.names() == ["bob.png"]
    expect(page.get_by_role("region", name="Selected pictures")).to_be_hidden()
