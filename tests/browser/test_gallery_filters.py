"""Which pictures are listed, and that the address says so."""

import datetime as dt
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Route, expect

from tests.support.browser import Gallery
from tests.support.images import id_at, make_image
from tests.support.pictures import picture
from tests.support.server import Server
from tests.support.sqlite import seed

DATA = picture("png", 8, 8)


def upload(server: Server, filename: str, tags: str = "", **fields: str) -> None:
    files = {"file": (filename, DATA)}
    server.http.post("/images", files=files, data={"tags": tags, **fields}).raise_for_status()


@pytest.fixture
def tagged(own_server: Server) -> Server:
    """Of each combination one, called after its tags."""
    for tags in ("", "cat", "garden", "cat,garden", "cat,night"):
        upload(own_server, f"{tags or 'none'}.png", tags)
    return own_server


def chips(gallery: Gallery) -> list[str]:
    buttons = gallery.page.get_by_role("list", name="Tags").locator("button:not(.exclude)").all()
    return [button.get_attribute("aria-label") or "" for button in buttons]


def names(gallery: Gallery) -> set[str]:
    return {name.removesuffix(".png") for name in gallery.names()}


def expect_names(gallery: Gallery, *expected: str) -> None:
    expect(gallery.tiles).to_have_count(len(expected))
    assert names(gallery) == set(expected)


def test_tags(gallery: Gallery, tagged: Server) -> None:
    """With all of them, any of them, and without."""
    page = gallery.open().page
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.get_by_label("Find a tag")).to_be_focused()
    cat = page.get_by_role("button", name="cat, 3", exact=True)
    cat.click()
    expect_names(gallery, "cat", "cat,garden", "cat,night")
    expect(cat).to_have_attribute("aria-pressed", "true")
    expect(cat).to_be_focused()  # though it is another one
    assert page.url == f"{gallery.url}?tags=cat"
    page.get_by_role("button", name="garden, 2", exact=True).click()
    expect_names(gallery, "cat,garden")
    page.get_by_label("Pictures with").select_option("any of them")
    expect_names(gallery, "cat", "garden", "cat,garden", "cat,night")
    page.get_by_role("button", name="Without night").click()
    expect_names(gallery, "cat", "garden", "cat,garden")
    assert dict(httpx.URL(page.url).params) == {"tags": "cat,garden", "exclude": "night", "mode": "any"}
    # A tag is in or out, not both; and again is neither.
    page.get_by_role("button", name="Without cat").click()
    expect_names(gallery, "garden")
    page.get_by_role("button", name="Without cat").click()
    expect_names(gallery, "garden", "cat,garden")
    page.get_by_role("button", name="Remove the filter garden").click()
    expect_names(gallery, "none", "cat", "garden", "cat,garden")
    page.get_by_role("button", name="Show all").click()
    expect_names(gallery, "none", "cat", "garden", "cat,garden", "cat,night")
    assert page.url == gallery.url
    assert gallery.page.get_by_role("button", name="Filter", exact=True).get_attribute("aria-expanded") == "true"
    page.locator("#filter-toggle").focus()
    page.keyboard.press("f")
    expect(page.get_by_label("Find a tag")).to_be_hidden()


def test_the_address(gallery: Gallery, tagged: Server, open_gallery: Callable[..., Gallery]) -> None:
    """Each change is one step back, and whoever gets the address sees the same."""
    page = gallery.open().page
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_role("button", name="cat, 3", exact=True).click()
    expect_names(gallery, "cat", "cat,garden", "cat,night")
    page.get_by_role("button", name="Without night").click()
    expect_names(gallery, "cat", "cat,garden")
    page.get_by_label("From", exact=True).fill("2099-01-01")
    page.keyboard.press("Tab")
    expect(page.get_by_text("No picture is like that.")).to_be_visible()
    page.go_back()
    expect_names(gallery, "cat", "cat,garden")
    expect(page.get_by_label("From", exact=True)).to_have_value("")
    page.go_back()
    expect_names(gallery, "cat", "cat,garden", "cat,night")
    expect(page.get_by_role("button", name="Without night")).to_have_attribute("aria-pressed", "false")
    page.go_back()
    expect_names(gallery, "none", "cat", "garden", "cat,garden", "cat,night")
    page.go_forward()
    page.go_forward()
    expect_names(gallery, "cat", "cat,garden")
    page.reload()
    expect_names(gallery, "cat", "cat,garden")
    other = open_gallery(tagged.url)
    other.open(page.url.removeprefix(gallery.url))
    expect_names(other, "cat", "cat,garden")
    expect(other.page.get_by_role("button", name="Remove the filter not night")).to_be_visible()


def test_many_tags(gallery: Gallery, own_server: Server) -> None:
    """The most frequent ones are there, and each of the others can be found by its beginning."""
    for number in range(0, 60, 20):
        upload(own_server, f"{number}.png", ",".join(f"tag{each:02}" for each in range(number, number + 20)))
    upload(own_server, "x.png", "tag59,Übung,über")
    page = gallery.open().page
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.get_by_role("list", name="Tags").get_by_role("listitem")).to_have_count(40)
    assert chips(gallery)[0] == "tag59, 2"
    search = page.get_by_label("Find a tag")
    search.fill("Üb")
    expect(page.get_by_role("button", name="übung, 1", exact=True)).to_be_visible()
    assert sorted(chips(gallery)) == ["über, 1", "übung, 1"]
    search.fill("no such")
    expect(page.get_by_text("No tags.")).to_be_visible()
    search.fill("tag5")
    expect(page.get_by_role("list", name="Tags").get_by_role("listitem")).to_have_count(10)
    page.get_by_role("button", name="tag57, 1", exact=True).click()
    expect_names(gallery, "40")


def test_users(gallery: Gallery, own_server: Server) -> None:
    """There is a field for them where there are several."""
    upload(own_server, "a.png", user_id="ann")
    page = gallery.open().page
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.get_by_text("No tags.")).to_be_visible()
    expect(page.get_by_label("User")).to_be_hidden()
    upload(own_server, "b.png", "of-bob", user_id="bob")
    page.reload()
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_label("User").fill("ann")
    page.keyboard.press("Enter")
    expect_names(gallery, "a")
    assert page.url == f"{gallery.url}?user=ann"
    expect(page.get_by_text("No tags.")).to_be_visible()  # of hers
    expect(page.locator("#usage")).to_have_text(f"1 picture, {len(DATA)} B")
    assert page.locator("#users option").evaluate_all("options => options.map(({ value }) => value)") == ["bob", "ann"]


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/Los_Angeles"])
def test_days(open_gallery: Callable[..., Gallery], own_server: Server, zone: str) -> None:
    """They begin and end as they do where one looks."""
    midnight = {"Pacific/Auckland": dt.timedelta(hours=-13), "America/Los_Angeles": dt.timedelta(hours=8)}[zone]
    begin = dt.datetime(2026, 1, 10, tzinfo=dt.UTC) + midnight
    second, day = dt.timedelta(seconds=1), dt.timedelta(days=1)
    moments = {"before": begin - second, "first": begin, "last": begin + day - second, "after": begin + day}
    images = [make_image(image_id=id_at(moment), filename=f"{name}.png") for name, moment in moments.items()]
    seed(own_server.data_dir / "images.sqlite3", *images)
    gallery = open_gallery(own_server.url, timezone_id=zone)
    gallery.expect_error("status of 502")  # there are only records
    page = gallery.open("?from=2026-01-10&to=2026-01-10").page
    expect_names(gallery, "first", "last")
    page.get_by_role("button", name="Remove the filter to 2026-01-10").click()
    expect_names(gallery, "first", "last", "after")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.get_by_label("From", exact=True)).to_have_value("2026-01-10")
    page.get_by_label("From", exact=True).fill("")
    page.get_by_label("To", exact=True).fill("2026-01-10")
    expect_names(gallery, "before", "first", "last")


@pytest.mark.parametrize("query", ["from=yesterday", "tags=%00", "user=%2F", "tags=" + "x" * 200])
def test_an_address_that_nobody_can_read(gallery: Gallery, tagged: Server, query: str) -> None:
    """The service says what is wrong with it, and there is a way out."""
    gallery.expect_error("status of 400")
    page = gallery.open(f"?{query}").page
    expect(page.locator("#notice").get_by_role("alert")).to_be_visible()
    assert gallery.tiles.count() == 0
    page.get_by_role("button", name="Show all").click()
    expect(gallery.tiles).to_have_count(5)


def test_an_answer_that_comes_late(gallery: Gallery, tagged: Server) -> None:
    """What is shown is what was asked for last."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "tags=cat&" in route.request.url:
            held.append(route)
        else:
            route.continue_()

    page = gallery.open().page
    page.get_by_role("button", name="Filter", exact=True).click()
    page.route("**/images?*", hold)
    page.get_by_role("button", name="cat, 3", exact=True).click()
    page.get_by_role("button", name="garden, 2", exact=True).click()
    expect_names(gallery, "cat,garden")
    assert held
    for route in held:
        route.continue_()
    page.get_by_role("button", name="Remove the filter cat").click()
    expect_names(gallery, "garden", "cat,garden")
