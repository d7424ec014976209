"""For everybody: by screen reader, by keyboard, on a small or large screen, in the light and in the dark."""

import re
from collections.abc import Callable
from importlib import resources
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Gallery
from tests.support.pictures import picture
from tests.support.server import ROOT, Server
from tests.support.tokens import AUTH

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
FILES = [
    {"name": "a walk.png", "mimeType": "image/png", "buffer": picture("png")},
    {"name": "no picture.svg", "mimeType": "image/svg+xml", "buffer": b"<svg/>"},
]
SCREENS = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


def assert_accessible(page: Page, state: str) -> None:
    """Check the page as it is now by axe-core's rules, its best practices too."""
    page.evaluate(AXE)  # not by a script element, which the page's policy would not let in
    found: list[dict[str, Any]] = page.evaluate("async () => (await axe.run(document)).violations")
    lines = [f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']]}" for each in found]
    assert lines == [], f"{state}:\n" + "\n".join(lines)


def upload(server: Server, name: str, tags: str) -> None:
    server.http.post("/images", files={"file": (name, picture())}, data={"tags": tags}).raise_for_status()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing(open_gallery: Callable[..., Gallery], own_server: Server, screen: str, scheme: str) -> None:
    """In every state that the gallery has."""
    gallery = open_gallery(
        own_server.url,
        viewport=SCREENS[screen],
        color_scheme=scheme,
        reduced_motion="reduce",
        has_touch=screen == "phone",
    )
    gallery.expect_error("status of 4")
    page = gallery.open().page
    assert_accessible(page, "empty")
    page.locator("#files").set_input_files(FILES)
    expect(page.get_by_text("1 picture uploaded, 1 not")).to_be_visible()
    assert_accessible(page, "uploads")
    page.get_by_role("button", name="Close the uploads").click()
    for name, tags in (("b.jpg", "cat,garden"), ("c.jpg", "cat"), ("d.jpg", "night")):
        upload(own_server, name, tags)
    gallery.open()
    expect(page.locator(".tile.shown")).to_have_count(4)
    assert_accessible(page, "list")
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_role("button", name="cat, 2", exact=True).click()
    page.get_by_role("button", name="Without night").click()
    expect(gallery.tiles).to_have_count(2)
    assert_accessible(page, "filters")
    page.get_by_role("checkbox", name="Select b.jpg").check()
    expect(page.get_by_text("1 picture selected")).to_be_visible()
    assert_accessible(page, "selection")
    page.keyboard.press("t")
    assert_accessible(page, "tagging")
    page.keyboard.press("Escape")
    page.keyboard.press("Delete")
    assert_accessible(page, "deleting")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Help and keyboard shortcuts").click()
    assert_accessible(page, "help")
    page.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("button", name="Clear").click()
    gallery.tile("b.jpg").get_by_role("link").click()
    expect(gallery.viewer.locator("img.full")).to_have_class(re.compile("shown"))
    page.get_by_role("button", name="Copy link").click()
    expect(gallery.viewer.get_by_label("Link", exact=True)).to_be_visible()
    assert_accessible(page, "viewer")
    page.keyboard.press("e")
    gallery.dialog.get_by_label("Tags").fill("x" * 200)
    gallery.dialog.get_by_role("button", name="Save").click()
    expect(gallery.dialog.get_by_role("alert")).to_be_visible()
    assert_accessible(page, "editing")
    page.keyboard.press("Escape")
    page.keyboard.press("i")
    assert_accessible(page, "viewer without what is known")
    gallery.open("?image=x")
    expect(gallery.toasts).to_contain_text("There is no image")
    assert_accessible(page, "error")
    gallery.open("?from=yesterday")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert_accessible(page, "a list that can't be had")


def test_axe_finds_nothing_where_one_signs_in(
    open_gallery: Callable[..., Gallery], start_server: Callable[..., Server]
) -> None:
    gallery = open_gallery(start_server(**AUTH).url)
    gallery.expect_error("status of 401")
    page = gallery.open(is_settled=False).page
    gallery.dialog.get_by_label("Token").fill("x")
    page.keyboard.press("Enter")
    expect(gallery.dialog.get_by_role("alert")).to_be_visible()
    assert_accessible(page, "signing in")


def test_the_way_of_the_tab_key(gallery: Gallery, own_server: Server) -> None:
    """Through everything that can be done, in the order in which it is seen; and what has the focus shows it."""
    for name in ("c.jpg", "b.jpg", "a.jpg"):
        upload(own_server, name, "cat")
    page = gallery.open().page
    page.get_by_role("button", name="Filter", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="cat, 3", exact=True)).to_be_visible()
    page.keyboard.press("Shift+Tab")
    way = []
    while "c.jpg" not in way:
        way.append(
            page.evaluate(
                "(document.activeElement.ariaLabel ?? document.activeElement.labels?.[0]?.innerText"
                " ?? document.activeElement.innerText)"
            )
        )
        shown = page.evaluate("""() => {
            const seen = [getComputedStyle(document.activeElement),
                getComputedStyle(document.activeElement.closest(".tile") ?? document.activeElement, "::before")];
            return seen.some((style) => (style.outlineStyle !== "none" && style.outlineWidth !== "0px")
                || (style.content !== "none" && style.borderTopWidth === "4px"));
        }""")
        assert shown, way[-1]
        page.keyboard.press("Tab")
    dates = [name for name in way if name not in ("From", "To")]  # which have parts of their own
    assert dates == [
        "Help and keyboard shortcuts",
        "Find a tag",
        "Pictures with",
        "cat, 3",
        "Without cat",
        "a.jpg",
        "b.jpg",
        "c.jpg",
    ]


def test_the_focus_comes_back(gallery: Gallery, own_server: Server) -> None:
    """To what a dialog was opened from; and within one that is open it stays."""
    upload(own_server, "a.jpg", "cat")
    page = gallery.open().page
    help_ = page.get_by_role("button", name="Help and keyboard shortcuts")
    help_.focus()
    page.keyboard.press("Enter")
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    expect(help_).to_be_focused()
    gallery.tile("a.jpg").get_by_role("link").focus()
    page.keyboard.press("Enter")
    edit = gallery.viewer.get_by_role("button", name="Edit")
    edit.click()
    expect(gallery.dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(edit).to_be_focused()
    edit.click()
    gallery.dialog.get_by_label("Tags").fill("dog")
    page.keyboard.press("Enter")
    expect(gallery.dialog).to_be_hidden()
    expect(edit).to_be_focused()
    page.keyboard.press("Escape")
    expect(gallery.tile("a.jpg").get_by_role("link")).to_be_focused()


@pytest.mark.parametrize("width", [320, 390, 640])
def test_nothing_is_wider_than_the_screen(open_gallery: Callable[..., Gallery], own_server: Server, width: int) -> None:
    """As on a phone, or where everything is magnified by four."""
    for name in ("c.jpg", f"{'b' * 200}.jpg", "a.jpg"):
        upload(own_server, name, f"cat,{'x' * 50}")
    gallery = open_gallery(own_server.url, viewport={"width": width, "height": 640})
    page = gallery.open().page

    def check() -> None:
        wide = page.evaluate("""() => [...document.querySelectorAll("body *")]
            .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
            .map((e) => e.outerHTML.slice(0, 100))""")
        assert wide == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    check()
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_role("button", name="cat, 3", exact=True).click()
    page.get_by_role("checkbox", name="Select a.jpg").check()
    check()
    page.keyboard.press("t")
    check()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.locator("#files").set_input_files(FILES[:1])
    expect(page.get_by_text("1 picture uploaded")).to_be_visible()
    check()
    page.get_by_role("button", name="Close the uploads").click()
    gallery.tile(f"{'b' * 200}.jpg").get_by_role("link").click()
    expect(gallery.viewer.locator("img.full")).to_have_class(re.compile("shown"))
    check()


def test_who_wants_no_motion_gets_none(open_gallery: Callable[..., Gallery], own_server: Server) -> None:
    upload(own_server, "a.jpg", "")
    gallery = open_gallery(own_server.url, reduced_motion="reduce")
    page = gallery.open().page
    moving = page.evaluate("""() => [...document.querySelectorAll("body *")].filter((element) =>
        [null, "::before", "::after"].map((part) => getComputedStyle(element, part))
            .some((style) => style.animationName !== "none" || parseFloat(style.transitionDuration) > 0)
    ).map((element) => element.outerHTML)""")
    assert moving == []


def test_forced_colours(open_gallery: Callable[..., Gallery], own_server: Server) -> None:
    """What is selected, and what has the focus, is seen without colours of ours."""
    upload(own_server, "a.jpg", "")
    page = open_gallery(own_server.url, forced_colors="active").open().page
    page.locator(".tile a").focus()
    page.keyboard.press("Space")
    assert page.locator(".tile").evaluate("(e) => getComputedStyle(e).outlineStyle") == "solid"
    assert page.locator(".tile").evaluate("(e) => getComputedStyle(e, '::before').borderTopWidth") == "4px"
    expect(page.get_by_role("checkbox", name="Select a.jpg")).to_be_checked()


def test_the_help_lists_the_keys_that_there_are(gallery: Gallery) -> None:
    """And no other. The gallery's own source tells which."""
    sources = "".join(path.read_text() for path in sorted((ROOT / "src" / "web" / "gallery").glob("*.js")))
    handled = set(re.findall(r'^\s+"?(\?|[a-z]|Delete|Escape|Arrow\w+)"?: (?:\(\) =>|showHelp)', sources, re.MULTILINE))
    handled |= set(re.findall(r'event\.key === "([^"]+)"', sources)) | set(re.findall(r'case "(\w+)": return', sources))
    page = gallery.open().page
    page.keyboard.press("?")
    listed = " ".join(page.get_by_role("rowheader").all_inner_texts())
    words = {
        "Space": " ",
        "Esc": "Escape",
        "←": "ArrowLeft",
        "→": "ArrowRight",
        "↑": "ArrowUp",
        "↓": "ArrowDown",
        "A": "a",
    }
    names = {words.get(word, word) for word in re.findall(r"[\w←↑→↓?]+", listed)} - {"or", "Ctrl", "Enter"}
    assert names == handled
