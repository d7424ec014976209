"""For everybody: by screen reader, by keyboard, on a small or large screen, in the light and in the dark."""

import re
from collections.abc import Callable
from importlib import resources

from playwright.sync_api import Page, Route, expect

from tests.support.browser import Gallery
from tests.support.pictures import picture
from tests.support.server import ROOT, Server
from tests.support.tokens import AUTH

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
SCREENS = ({"width": 1280, "height": 800}, {"width": 390, "height": 844})
FILES = [
    {"name": "a walk.png", "mimeType": "image/png", "buffer": picture("png")},
    {"name": "no picture.svg", "mimeType": "image/svg+xml", "buffer": b"<svg/>"},
]
# All rules that are on by default, those of best practice too, and the one of WCAG 2.2 that is not.
RULES = """async () => {
    const options = { rules: { "target-size": { enabled: true }, "hidden-content": { enabled: false } } };
    const { violations, incomplete } = await axe.run(document, options);
    const told = ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html.slice(0, 200)).join(" ")}`;
    // What it can't make up its mind about are colours under what lies above: see the test of the colours.
    return [...violations, ...incomplete.filter(({ id }) => id !== "color-contrast")].map(told);
}"""
FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"


def assert_accessible(page: Page, state: str) -> None:
    """Check the page as it is now, on a desk and on a phone, in the light and in the dark."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)  # not by a script element, which the page's policy would not let in
    for size in SCREENS:
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.evaluate(FRAMES)
            found = page.evaluate(RULES)
            assert found == [], f"{state}, {size['width']} wide, {scheme}:\n" + "\n".join(found)
    page.set_viewport_size(SCREENS[0])


def upload(server: Server, name: str, tags: str) -> None:
    server.http.post("/images", files={"file": (name, picture())}, data={"tags": tags}).raise_for_status()


def test_axe_finds_nothing(open_gallery: Callable[..., Gallery], own_server: Server) -> None:
    """In every state that the wall of pictures has."""
    gallery = open_gallery(own_server.url, reduced_motion="reduce")
    gallery.expect_error("status of 400")
    page = gallery.open().page
    assert_accessible(page, "empty")
    for name, tags in (("a.jpg", ""), ("b.jpg", "cat,garden"), ("c.jpg", "cat"), ("d.jpg", "night")):
        upload(own_server, name, tags)
    page.keyboard.press("f")
    expect(page.get_by_role("button", name="cat, 2", exact=True)).to_be_visible()
    gallery.open()
    expect(page.locator(".tile.shown")).to_have_count(4)
    assert_accessible(page, "list")
    page.keyboard.press("f")
    page.get_by_role("button", name="cat, 2", exact=True).click()
    page.get_by_role("button", name="Without night").click()
    expect(gallery.tiles).to_have_count(2)
    page.get_by_role("checkbox", name="Select b.jpg").check()
    expect(page.get_by_text("1 picture selected")).to_be_visible()
    assert_accessible(page, "filters, and a selection")
    page.keyboard.press("t")
    assert_accessible(page, "tagging")
    gallery.dialog.get_by_label("Add").fill("new")
    page.keyboard.press("Enter")
    expect(gallery.toasts).to_contain_text("Tagged 1 picture.")
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    assert_accessible(page, "deleting, and a message")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Help and keyboard shortcuts").click()
    assert_accessible(page, "help")
    gallery.open("?from=yesterday")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    assert_accessible(page, "a list that can't be had")


def test_axe_finds_nothing_in_the_viewer(open_gallery: Callable[..., Gallery], own_server: Server) -> None:
    for name in ("c.jpg", "b.jpg", "a.jpg"):
        upload(own_server, name, "cat")
    gallery = open_gallery(own_server.url, reduced_motion="reduce")
    gallery.expect_error("status of 4")
    page = gallery.open().page
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
    assert_accessible(page, "an error's message")


def test_axe_finds_nothing_in_uploads(open_gallery: Callable[..., Gallery], own_server: Server) -> None:
    """With a line in each state there is."""
    gallery = open_gallery(own_server.url, reduced_motion="reduce")
    gallery.expect_error("status of (4|503)")
    page = gallery.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        # One is sent for ever, one comes back in a while, and the others go on.
        held.append(route)
        if len(held) == 2:
            route.fulfill(status=503, headers={"Retry-After": "20"})
        elif len(held) > 2:
            route.continue_()

    page.route("**/limits", lambda route: route.fulfill(json={"max_body_size": 65_600}))  # so all go to the storage
    page.route("**/objects/", hold)
    gallery.open()
    files = page.locator("#files")
    files.set_input_files([{**FILES[0], "name": f"{number}.png"} for number in range(2)])
    expect(page.locator("[data-state=paused]")).to_have_count(1)
    files.set_input_files([{**FILES[0], "name": "done.png"}])
    expect(page.locator("[data-state=done]")).to_have_count(1)
    files.set_input_files(FILES[1:])
    expect(page.locator("[data-state=failed]")).to_have_count(1)
    page.route("**/complete", lambda route: held.append(route))
    files.set_input_files([{**FILES[0], "name": f"{number}.png"} for number in range(2, 5)])
    page.get_by_role("button", name="Cancel 4.png").click()
    for state in ("sending", "paused", "done", "failed", "checking", "waiting", "cancelled"):
        expect(page.locator(f"[data-state={state}]")).to_have_count(1)
    assert_accessible(page, "uploads")
    page.evaluate("""() => {
        const files = new DataTransfer();
        files.items.add(new File(["x"], "x.png", { type: "image/png" }));
        dispatchEvent(new DragEvent("dragover", { dataTransfer: files, cancelable: true }));
    }""")
    expect(page.get_by_text("Drop pictures to upload them")).to_be_visible()
    assert_accessible(page, "something is dragged")


def test_axe_finds_nothing_where_one_signs_in(
    open_gallery: Callable[..., Gallery], start_server: Callable[..., Server]
) -> None:
    gallery = open_gallery(start_server(**AUTH).url, reduced_motion="reduce")
    gallery.expect_error("status of 401")
    page = gallery.open(is_settled=False).page
    gallery.dialog.get_by_label("Token").fill("x")
    page.keyboard.press("Enter")
    expect(gallery.dialog.get_by_role("alert")).to_be_visible()
    assert_accessible(page, "signing in")


def test_colours(gallery: Gallery) -> None:
    """Each text is easily told from what it lies on, and each line that matters (WCAG 2.2, 1.4.3 and 1.4.11)."""
    pairs = [
        *((text, ground, 4.5) for text in ("text", "quiet", "danger") for ground in ("page", "raised")),
        *((text, "soft", 4.5) for text in ("text", "quiet")),
        *((f"on-{name}", name, 4.5) for name in ("accent", "danger")),
        *(("accent", ground, 3) for ground in ("page", "raised", "soft")),
    ]
    page = gallery.open().page
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours = page.evaluate(
            """(names) => {
            const probe = document.body.appendChild(document.createElement("i"));
            return Object.fromEntries(names.map((name) => {
                probe.style.color = `var(--${name})`;
                return [name, getComputedStyle(probe).color.match(/\\d+/g).map(Number)];
            }));
        }""",
            sorted({name for pair in pairs for name in pair[:2]}),
        )
        low = [pair for pair in pairs if contrast(colours[pair[0]], colours[pair[1]]) < pair[2]]
        assert low == [], scheme


def contrast(*colours: list[int]) -> float:
    """Return the contrast of two colours, as WCAG defines it."""
    linear = [
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
        for colour in colours
    ]
    low, high = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in linear)
    return (high + 0.05) / (low + 0.05)


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


def test_nothing_is_wider_than_the_screen(gallery: Gallery, own_server: Server) -> None:
    """As on a phone, or where everything is magnified by four."""
    for name in ("c.jpg", f"{'b' * 200}.jpg", "a.jpg"):
        upload(own_server, name, f"cat,{'x' * 50}")
    page = gallery.page
    page.set_viewport_size({"width": 640, "height": 640})
    gallery.open()

    def check() -> None:
        for width in (640, 390, 320):
            page.set_viewport_size({"width": width, "height": 640})
            page.evaluate(FRAMES)
            wide = page.evaluate("""() => [...document.querySelectorAll("body *")]
                .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
                .map((e) => e.outerHTML.slice(0, 100))""")
            assert wide == [], width
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width

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
    """Not where pictures come, nor where something is waited for."""
    upload(own_server, "a.jpg", "")
    gallery = open_gallery(own_server.url, reduced_motion="reduce")
    held: list[Route] = []
    page = gallery.page
    page.route(re.compile("/images[/?]"), lambda route: held.append(route))
    gallery.open("?image=x", is_settled=False)
    expect(page.locator(".viewer.loading")).to_be_visible()
    expect(page.locator("#grid")).to_have_attribute("aria-busy", "true")
    moving = page.evaluate("""() => [...document.querySelectorAll("body *")].filter((element) =>
        [null, "::before", "::after"].map((part) => getComputedStyle(element, part))
            .some((style) => style.animationName !== "none" || parseFloat(style.transitionDuration) > 0)
    ).map((element) => element.outerHTML)""")
    assert moving == []


def test_forced_colours(open_gallery: Callable[..., Gallery], own_server: Server) -> None:
    """What is selected, pressed, and has the focus, is seen without colours of ours."""
    upload(own_server, "a.jpg", "cat")
    page = open_gallery(own_server.url, forced_colors="active").open().page
    page.locator(".tile a").focus()
    page.keyboard.press("Space")
    style = "(e, [part, name]) => getComputedStyle(e, part)[name]"
    tile = page.locator(".tile")
    assert tile.evaluate(style, [None, "outlineStyle"]) == "solid"
    assert tile.evaluate(style, ["::before", "borderTopWidth"]) == "4px"
    assert tile.evaluate(style, ["::before", "top"]) == "6px"  # within the line around what is selected
    expect(page.get_by_role("checkbox", name="Select a.jpg")).to_be_checked()
    page.keyboard.press("f")
    for name in ("cat, 1", "Without cat"):
        chip = page.get_by_role("button", name=name, exact=True)
        before = chip.evaluate(style, [None, "backgroundColor"])
        chip.click()
        expect(chip).to_have_attribute("aria-pressed", "true")
        assert chip.evaluate(style, [None, "backgroundColor"]) != before


def test_what_happens_is_said(gallery: Gallery, own_server: Server) -> None:
    """In places that screen readers listen to, which are there before."""
    upload(own_server, "a.jpg", "cat")
    page = gallery.open().page
    status = page.get_by_role("status")
    expect(status.filter(has_text="1 picture")).to_have_count(1)
    page.locator("#files").set_input_files(FILES[:1])
    expect(page.locator("h2[aria-live=polite]")).to_have_text("1 picture uploaded")
    expect(status.filter(has_text="2 pictures")).to_have_count(1)
    page.keyboard.press("f")
    page.get_by_role("button", name="cat, 1", exact=True).click()
    expect(status.filter(has_text="1 picture")).to_have_count(1)
    page.keyboard.press("Control+a")
    expect(status.filter(has_text="1 picture selected")).to_have_count(1)
    page.keyboard.press("Delete")
    page.keyboard.press("Enter")
    expect(status.filter(has_text="1 picture deleted.")).to_have_count(1)
    expect(status.filter(has_text="No picture is like that.")).to_have_count(1)


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
