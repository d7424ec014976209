"""Several pictures at once: select, tag, delete."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser import Gallery
from tests.support.pictures import picture
from tests.support.server import Server

DATA = picture("png", 8, 8)


def upload(server: Server, *names: str, tags: str = "") -> dict[str, str]:
    """Upload pictures; return their ids by name."""
    ids = {}
    for name in names:
        answer = server.http.post("/images", files={"file": (name, DATA)}, data={"tags": tags})
        ids[name] = answer.raise_for_status().json()["image_id"]
    return ids


def selected(gallery: Gallery) -> list[str]:
    links = gallery.page.locator(".tile.selected a").all()
    return [link.get_attribute("aria-label") or "" for link in links]


def tags_of(server: Server, image_id: str) -> list[str]:
    tags: list[str] = server.http.get(f"/images/{image_id}").json()["tags"]
    return tags


@pytest.fixture
def page(gallery: Gallery, own_server: Server) -> Page:
    upload(own_server, *"fedcba")
    return gallery.open().page


def test_by_mouse(gallery: Gallery, page: Page) -> None:
    """The box selects one; with Shift all up to it; then a click on a picture selects, and does not open it."""
    bar = page.get_by_role("region", name="Selected pictures")
    expect(bar).to_be_hidden()
    page.get_by_role("checkbox", name="Select b").check()
    expect(bar.get_by_role("status")).to_have_text("1 picture selected")
    page.get_by_role("checkbox", name="Select d").click(modifiers=["Shift"])
    assert selected(gallery) == ["b", "c", "d"]
    gallery.tile("f").get_by_role("link").click()
    assert selected(gallery) == ["b", "c", "d", "f"]
    expect(gallery.viewer).to_be_hidden()
    page.get_by_role("checkbox", name="Select c").uncheck()
    expect(bar.get_by_role("status")).to_have_text("3 pictures selected")
    bar.get_by_role("button", name="Select all").click()
    assert selected(gallery) == list("abcdef")
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_be_hidden()
    gallery.tile("a").get_by_role("link").click(modifiers=["Shift"])
    assert selected(gallery) == ["a"]


def test_by_keyboard(gallery: Gallery, page: Page) -> None:
    gallery.tile("b").get_by_role("link").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+Space")
    assert selected(gallery) == ["b", "c", "d"]
    page.keyboard.press("x")
    assert selected(gallery) == ["b", "c"]
    page.keyboard.press("Escape")
    assert selected(gallery) == []
    page.keyboard.press("Control+a")
    assert selected(gallery) == list("abcdef")
    page.get_by_role("button", name="Clear").press("Enter")
    assert selected(gallery) == []
    expect(gallery.tile("d").get_by_role("link")).to_be_focused()  # the button is gone, and one goes on from here


def test_a_selection_ends_with_its_list(gallery: Gallery, page: Page) -> None:
    """What is not seen any more must not be deleted."""
    page.keyboard.press("Control+a")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_label("From", exact=True).fill("2099-01-01")
    expect(page.get_by_text("No picture is like that.")).to_be_visible()
    expect(page.get_by_role("region", name="Selected pictures")).to_be_hidden()
    page.go_back()
    expect(gallery.tiles).to_have_count(6)
    assert selected(gallery) == []


def test_delete(gallery: Gallery, page: Page, own_server: Server) -> None:
    for name in "ace":
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.keyboard.press("Delete")
    dialog = gallery.dialog
    expect(dialog.get_by_role("heading")).to_have_text("Delete 3 pictures?")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert selected(gallery) == ["a", "c", "e"]
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(gallery.tiles).to_have_count(3)
    assert gallery.names() == ["b", "d", "f"]
    expect(gallery.toasts).to_contain_text("3 pictures deleted.")
    expect(page.locator("#usage")).to_contain_text("3 pictures")
    assert own_server.http.get("/usage").json()["images"] == 3
    # By keyboard one goes on with the picture that has taken the place of the one that had the focus.
    gallery.tile("b").get_by_role("link").focus()
    page.keyboard.press("x")
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(gallery.tile("d").get_by_role("link")).to_be_focused()
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Delete").press("Enter")
    gallery.dialog.get_by_role("button", name="Delete").press("Enter")
    expect(gallery.tile("f").get_by_role("link")).to_be_focused()
    assert gallery.names() == ["f"]


def test_what_could_not_be_deleted_stays_selected(gallery: Gallery, page: Page) -> None:
    def refuse_some(route: Route) -> None:
        ids = json.loads(route.request.post_data or "")["image_ids"]
        results = [{"image_id": id_, "status": "failed" if number else "deleted"} for number, id_ in enumerate(ids)]
        route.fulfill(json={"results": results, "deleted": 1})

    page.route("**/images/delete", refuse_some)
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(gallery.toasts).to_contain_text("5 pictures could not be deleted.")
    expect(gallery.toasts).to_contain_text("1 picture deleted.")
    assert selected(gallery) == list("bcdef")


def test_more_than_a_request_may_delete(gallery: Gallery, own_server: Server) -> None:
    """They go by hundreds; what could not be stays selected, and one that somebody else has deleted is gone, too."""
    ids = upload(own_server, *(str(number) for number in range(120)))
    gallery.expect_error("status of 404")  # thumbnails that were still to be made
    gallery.expect_error("images/delete")

    def refuse(route: Route) -> None:
        if len(json.loads(route.request.post_data or "")["image_ids"]) == 100:
            route.continue_()
        else:
            route.fulfill(status=500, json={"detail": "The disk is full."})

    page = gallery.open().page
    page.route("**/images/delete", refuse)
    expect(page.get_by_text("120 pictures", exact=True)).to_be_visible()  # so all are loaded
    own_server.http.delete(f"/images/{ids['7']}").raise_for_status()
    page.keyboard.press("Control+a")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.get_by_role("checkbox", name="Select 0", exact=True)).to_be_checked()
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(gallery.toasts).to_contain_text("The disk is full.")
    expect(gallery.toasts).to_contain_text("100 pictures deleted.")
    expect(page.get_by_text("20 pictures selected")).to_be_visible()
    assert sorted(selected(gallery), key=int) == [str(number) for number in range(20)]
    page.unroute_all()
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No pictures yet.")).to_be_visible()
    sent = [json.loads(r.post_data or "") for r in gallery.requests if r.url.endswith("/images/delete")]
    assert [len(body["image_ids"]) for body in sent] == [100, 20, 20]
    assert own_server.http.get("/usage").json()["images"] == 0


def test_tag(gallery: Gallery, own_server: Server) -> None:
    """Each keeps what it has besides."""
    ids = upload(own_server, "a", tags="old,mine,Straße") | upload(own_server, "b", tags="old")
    ids |= upload(own_server, "c")
    page = gallery.open().page
    for name in "ab":
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.keyboard.press("t")
    dialog = gallery.dialog
    expect(dialog.get_by_role("heading")).to_have_text("Tag 2 pictures")
    dialog.get_by_label("Add").fill("New, fresh")
    dialog.get_by_label("Take away").fill("OLD,straẞe")
    dialog.get_by_role("button", name="Tag").click()
    expect(gallery.toasts).to_contain_text("Tagged 2 pictures.")
    assert {name: sorted(tags_of(own_server, ids[name])) for name in "abc"} == {
        "a": ["fresh", "mine", "new"],
        "b": ["fresh", "new"],
        "c": [],
    }
    expect(page.get_by_role("region", name="Selected pictures")).to_be_hidden()
    gallery.tile("a").get_by_role("link").click()
    expect(gallery.viewer.get_by_label("Tags of the picture")).to_contain_text("fresh")


def test_tags_that_somebody_else_changes_meanwhile(gallery: Gallery, own_server: Server) -> None:
    """Nothing of theirs is lost: it is read and written once more."""
    ids = upload(own_server, "a")
    raced: list[Any] = []

    def race(route: Route) -> None:
        if not raced:
            raced.append(own_server.http.patch(f"/images/{ids['a']}", json={"tags": ["theirs"]}).raise_for_status())
        route.continue_()

    gallery.expect_error("status of 412")
    page = gallery.open().page
    page.route(
        re.compile("/images/[^/?]+$"),
        lambda route: race(route) if route.request.method == "PATCH" else route.continue_(),
    )
    page.keyboard.press("Control+a")
    page.keyboard.press("t")
    gallery.dialog.get_by_label("Add").fill("ours")
    page.keyboard.press("Enter")
    expect(gallery.toasts).to_contain_text("Tagged 1 picture.")
    assert raced
    assert sorted(tags_of(own_server, ids["a"])) == ["ours", "theirs"]


def test_what_could_not_be_tagged_stays_selected(gallery: Gallery, page: Page, own_server: Server) -> None:
    gallery.expect_error("status of 422")

    def refuse_one(route: Route) -> None:
        if route.request.method == "PATCH" and not refused:
            refused.append(route.request.url.rpartition("/")[2])
            route.fulfill(status=422, json={"detail": "This one is not to be tagged."})
        else:
            route.continue_()

    refused: list[str] = []
    page.route(re.compile("/images/[^/?]+$"), refuse_one)
    page.keyboard.press("Control+a")
    page.keyboard.press("t")
    gallery.dialog.get_by_label("Add").fill("new")
    page.keyboard.press("Enter")
    expect(gallery.toasts).to_contain_text("Tagged 5 pictures.")
    expect(gallery.toasts).to_contain_text("1 picture not: This one is not to be tagged.")
    expect(page.get_by_text("1 picture selected")).to_be_visible()
    assert page.locator(".tile.selected").get_attribute("data-id") == refused[0]
    page.keyboard.press("t")
    gallery.dialog.get_by_label("Add").fill("new")
    page.keyboard.press("Enter")
    expect(gallery.toasts).to_contain_text("Tagged 1 picture.")
    expect(page.get_by_role("region", name="Selected pictures")).to_be_hidden()
    assert own_server.http.get("/tags").json()["tags"] == [{"tag": "new", "count": 6}]


def test_other_filters_while_something_is_deleted(gallery: Gallery, page: Page) -> None:
    """What could not be is not selected any more where it is not seen."""
    held: list[Route] = []
    page.route("**/images/delete", lambda route: held.append(route))
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(gallery.dialog).to_be_hidden()
    page.keyboard.press("f")
    page.get_by_label("From", exact=True).fill("2099-01-01")
    expect(page.get_by_text("No picture is like that.")).to_be_visible()
    ids = json.loads(held[0].request.post_data or "")["image_ids"]
    held[0].fulfill(json={"results": [{"image_id": id_, "status": "failed"} for id_ in ids], "deleted": 0})
    expect(gallery.toasts).to_contain_text("6 pictures could not be deleted.")
    expect(page.get_by_role("region", name="Selected pictures")).to_be_hidden()


def test_a_service_that_dies_in_the_middle(gallery: Gallery, page: Page, own_server: Server) -> None:
    """It is said, and what is selected stays so."""
    gallery.expect_error("ERR_CONNECTION_REFUSED")
    expect(page.locator(".tile.shown")).to_have_count(6)
    own_server.kill()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(gallery.toasts).to_contain_text("The service can't be reached.")
    assert selected(gallery) == list("abcdef")
    page.keyboard.press("t")
    gallery.dialog.get_by_label("Add").fill("new")
    page.keyboard.press("Enter")
    expect(gallery.toasts).to_contain_text("6 pictures not: The service can't be reached.")
    assert selected(gallery) == list("abcdef")
    own_server.start()
