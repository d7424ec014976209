"""Which pictures are listed, and that the address says so."""

import datetime as dt
import re
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


def upload(server: Server, filename: str, tags: str = "", **fields: str) -> str:
    answer = server.http.post("/images", files={"file": (filename, DATA)}, data={"tags": tags, **fields})
    image_id: str = answer.raise_for_status().json()["image_id"]
    return image_id


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


def expect_chips(gallery: Gallery, *expected: str) -> None:
    """Expect these tags with their counts, in this order."""
    buttons = gallery.page.get_by_role("list", name="Tags").locator("button:not(.exclude)")
    expect(buttons).to_have_text([label.replace(", ", "") for label in expected])


def expect_names(gallery: Gallery, *expected: str) -> None:
    expect(gallery.tiles).to_have_count(len(expected))
    assert names(gallery) == set(expected)


def test_tags(gallery: Gallery, tagged: Server) -> None:
    """With all of them, any of them, and without."""
    page = gallery.open().page
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.get_by_label("Find a tag")).to_be_focused()
    expect_chips(gallery, "cat, 3", "garden, 2", "night, 1")  # the most frequent first
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


def test_tags_that_are_pressed_faster_than_the_service_answers(gallery: Gallery, tagged: Server) -> None:
    """Each counts, and none is lost because another one has come into its place."""
    page = gallery.open().page
    page.keyboard.press("f")
    expect_chips(gallery, "cat, 3", "garden, 2", "night, 1")
    held: list[Route] = []
    page.route("**/tags?*", lambda route: held.append(route))
    page.get_by_role("button", name="cat, 3", exact=True).click()
    expect(page.get_by_role("button", name="cat, 3", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="garden, 2", exact=True).hover()
    page.mouse.down()
    while held:
        held.pop().continue_()
    expect_names(gallery, "cat", "cat,garden", "cat,night")
    page.mouse.up()
    expect_names(gallery, "cat,garden")
    assert dict(httpx.URL(page.url).params) == {"tags": "cat,garden"}


def test_the_panel(gallery: Gallery) -> None:
    """It opens and closes by its button and by a key, and the focus goes along."""
    page = gallery.open().page
    button = page.get_by_role("button", name="Filter", exact=True)
    panel = page.get_by_role("region", name="Filters", exact=True)
    for _ in range(2):
        expect(panel).to_be_hidden()
        expect(button).to_have_attribute("aria-expanded", "false")
        page.keyboard.press("f")
        expect(panel).to_be_visible()
        expect(button).to_have_attribute("aria-expanded", "true")
        expect(page.get_by_label("Find a tag")).to_be_focused()
        page.keyboard.type("f")  # goes into the field
        expect(page.get_by_label("Find a tag")).to_have_value(re.compile("f+"))
        button.click()
        expect(button).to_be_focused()


def test_the_counts_follow(gallery: Gallery, tagged: Server) -> None:
    """When pictures come, go, and are tagged, while the tags are looked at."""
    page = gallery.open().page
    page.keyboard.press("f")
    expect_chips(gallery, "cat, 3", "garden, 2", "night, 1")
    page.get_by_role("checkbox", name="Select cat.png", exact=True).check()
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect_chips(gallery, "cat, 2", "garden, 2", "night, 1")
    page.get_by_role("checkbox", name="Select none.png", exact=True).check()
    page.keyboard.press("t")
    gallery.dialog.get_by_label("Add").fill("garden, new")
    page.keyboard.press("Enter")
    expect_chips(gallery, "garden, 3", "cat, 2", "new, 1", "night, 1")
    upload(tagged, "other.png", "other")
    page.locator("#files").set_input_files([{"name": "x.png", "mimeType": "image/png", "buffer": DATA}])
    expect_chips(gallery, "garden, 3", "cat, 2", "new, 1", "night, 1", "other, 1")


def test_the_address(gallery: Gallery, tagged: Server, open_gallery: Callable[..., Gallery]) -> None:
    """Each change is one step back, and whoever gets the address sees the same."""
    page = gallery.open().page
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_role("button", name="cat, 3", exact=True).click()
    expect_names(gallery, "cat", "cat,garden", "cat,night")
    page.get_by_role("button", name="Without night").click()
    expect_names(gallery, "cat", "cat,garden")
    page.get_by_label("From", exact=True).fill("2099-01-01")
    expect(page.get_by_role("status").get_by_text("No picture is like that.")).to_be_visible()
    page.get_by_label("Pictures with").select_option("any of them")
    expect(page).to_have_url(f"{gallery.url}?tags=cat&exclude=night&mode=any&from=2099-01-01")
    page.go_back()
    expect(page.get_by_label("Pictures with")).to_have_value("all")
    expect(page.get_by_label("From", exact=True)).to_have_value("2099-01-01")
    page.go_back()
    expect_names(gallery, "cat", "cat,garden")
    expect(page.get_by_label("From", exact=True)).to_have_value("")
    page.go_back()
    expect_names(gallery, "cat", "cat,garden", "cat,night")
    expect(page.get_by_role("button", name="Without night")).to_have_attribute("aria-pressed", "false")
    page.go_back()
    expect_names(gallery, "none", "cat", "garden", "cat,garden", "cat,night")
    page.go_forward()
    expect_names(gallery, "cat", "cat,garden", "cat,night")
    page.go_forward()
    expect_names(gallery, "cat", "cat,garden")
    expect(page.get_by_role("button", name="Without night")).to_have_attribute("aria-pressed", "true")
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
    upload(own_server, "x.png", "tag59,Übung,über,Straße,new york,newt")
    page = gallery.open().page
    page.get_by_role("button", name="Filter", exact=True).click()
    expect(page.get_by_role("list", name="Tags").get_by_role("listitem")).to_have_count(40)
    assert chips(gallery)[0] == "tag59, 2"
    search = page.get_by_label("Find a tag")
    search.fill("Üb")
    expect(page.get_by_role("button", name="übung, 1", exact=True)).to_be_visible()
    assert sorted(chips(gallery)) == ["über, 1", "übung, 1"]
    search.fill("STRAẞ")
    expect_chips(gallery, "strasse, 1")
    search.fill("new ")
    expect_chips(gallery, "new york, 1")
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


def test_days(open_gallery: Callable[..., Gallery], own_server: Server) -> None:
    """They begin and end as they do where one looks."""
    second, day = dt.timedelta(seconds=1), dt.timedelta(days=1)
    for zone, user, hours in (("Pacific/Auckland", "ann", -13), ("America/Los_Angeles", "bob", 8)):
        begin = dt.datetime(2026, 1, 10, tzinfo=dt.UTC) + dt.timedelta(hours=hours)
        moments = {"before": begin - second, "first": begin, "last": begin + day - second, "after": begin + day}
        images = [
            make_image(image_id=id_at(moment), user_id=user, filename=f"{name}.png") for name, moment in moments.items()
        ]
        seed(own_server.data_dir / "images.sqlite3", *images)
        gallery = open_gallery(own_server.url, timezone_id=zone)
        gallery.expect_error("status of 502")  # there are only records
        page = gallery.open(f"?user={user}&from=2026-01-10&to=2026-01-10").page
        expect_names(gallery, "first", "last")
        page.get_by_role("button", name="Remove the filter to 2026-01-10").click()
        expect_names(gallery, "first", "last", "after")
        page.get_by_role("button", name="Filter", exact=True).click()
        expect(page.get_by_label("From", exact=True)).to_have_value("2026-01-10")
        page.get_by_label("From", exact=True).fill("")
        page.get_by_label("To", exact=True).fill("2026-01-10")
        expect_names(gallery, "before", "first", "last")


def test_a_day_that_is_typed(gallery: Gallery, tagged: Server) -> None:
    """It is one step, though on the way it was one of the year 2, and one that is left half done is none."""
    page = gallery.open().page
    page.keyboard.press("f")
    field = page.get_by_label("From", exact=True)
    field.focus()
    steps = page.evaluate("history.length")
    page.keyboard.type("01102026")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{gallery.url}?from=2026-01-10")
    expect(field).to_have_value("2026-01-10")
    assert page.evaluate("history.length") == steps + 1
    asked = [request.url for request in gallery.requests if "created_after" in request.url]
    assert len(asked) == 1
    page.get_by_label("Find a tag").focus()
    field.focus()
    page.keyboard.press("Backspace")
    expect(field).to_have_value("")
    page.get_by_label("Find a tag").focus()
    expect(field).to_have_value("2026-01-10")
    assert page.url == f"{gallery.url}?from=2026-01-10"


def test_an_address_that_nobody_can_read(gallery: Gallery, tagged: Server) -> None:
    """The service says what is wrong with it, and there is a way out."""
    gallery.expect_error("status of 400")
    tags = ",".join(f"tag{number}" for number in range(21))
    for query, words in (
        ("from=yesterday", "created_after"),
        ("to=2026-02-31", "created_before"),
        ("tags=%00", "tags"),
        (f"exclude={'x' * 200}", "exclude_tags"),
        (f"tags={tags}", "at most 20"),
        ("user=%2F", "user_id"),
    ):
        page = gallery.open(f"?{query}").page
        expect(page.locator("#notice").get_by_role("alert")).to_contain_text(words)
        assert gallery.tiles.count() == 0
        page.get_by_role("button", name="Show all").click()
        expect(gallery.tiles).to_have_count(5)


def test_an_address_that_somebody_has_typed(gallery: Gallery, tagged: Server) -> None:
    """It means what the service takes it for."""
    page = gallery.open("?tags=%20CAT,,cat,&mode=xyz&from=&what=else").page
    expect_names(gallery, "cat", "cat,garden", "cat,night")
    expect(page.get_by_role("button", name="Remove the filter")).to_have_count(1)
    page.keyboard.press("f")
    expect(page.get_by_role("button", name="cat, 3", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("Pictures with")).to_have_value("all")
    page.get_by_role("button", name="Remove the filter cat").click()
    expect(gallery.tiles).to_have_count(5)
    assert page.url == gallery.url


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


def test_counts_that_come_late(gallery: Gallery, own_server: Server) -> None:
    """The tags and the sum are those of whom one looks at by now."""
    upload(own_server, "a.png", "hers", user_id="ann")
    upload(own_server, "b.png", "his", user_id="bob")
    held: list[Route] = []
    page = gallery.open("?user=ann").page
    page.keyboard.press("f")
    expect_chips(gallery, "hers, 1")
    page.route(re.compile("/(tags|usage)[?].*user_id=bob"), lambda route: held.append(route))
    page.get_by_label("User").fill("bob")
    page.keyboard.press("Enter")
    expect_names(gallery, "b")
    page.get_by_role("button", name="Show all").click()
    expect_chips(gallery, "hers, 1", "his, 1")
    expect(page.locator("#usage")).to_contain_text("2 pictures")
    assert len(held) == 2
    with page.expect_response(held[0].request.url), page.expect_response(held[1].request.url):
        for route in held:
            route.continue_()
    page.wait_for_timeout(100)  # nothing is to come of it
    expect_chips(gallery, "hers, 1", "his, 1")
    expect(page.locator("#usage")).to_contain_text("2 pictures")
