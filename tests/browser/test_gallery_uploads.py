"""Pictures come into the gallery: by button, drag and drop and paste, also where the connection is bad."""

import base64
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Dialog, FilePayload, Locator, Route, expect

from tests.support.browser import Gallery
from tests.support.pictures import noise, picture, png_bomb
from tests.support.server import Server, wait_until
from tests.support.tokens import AUTH, bearer, token

type OpenGallery = Callable[..., Gallery]
type StartServer = Callable[..., Server]

SLOW = 250_000  # bytes a second
LONG = 60_000  # milliseconds that many uploads may take


def file(name: str, data: bytes | None = None, content_type: str = "image/jpeg") -> FilePayload:
    return {"name": name, "mimeType": content_type, "buffer": picture() if data is None else data}


@cache
def large() -> bytes:
    """Return a picture that goes straight to the storage."""
    return noise(1400, 1400, "tiff", compression="raw")


def choose(gallery: Gallery, *files: FilePayload) -> None:
    """Press the button, and choose files."""
    with gallery.page.expect_file_chooser() as chooser:
        gallery.page.get_by_role("button", name="Upload", exact=True).click()
    chooser.value.set_files(files)


def panel(gallery: Gallery) -> Locator:
    return gallery.page.get_by_role("region", name="Uploads", exact=True)


def title(gallery: Gallery) -> Locator:
    return panel(gallery).get_by_role("heading")


def line(gallery: Gallery, name: str) -> Locator:
    return panel(gallery).get_by_role("listitem").filter(has=gallery.page.get_by_text(name, exact=True))


def button(gallery: Gallery, name: str) -> Locator:
    return panel(gallery).get_by_role("button", name=name, exact=True)


def toast(gallery: Gallery, text: str) -> Locator:
    return gallery.toasts.locator(".toast").filter(has_text=text)


def stored(server: Server) -> list[dict[str, Any]]:
    """Return all images that there are, newest first."""
    images: list[dict[str, Any]] = []
    url = "/images?limit=100"
    while url:
        page = server.http.get(url)
        images += page.json()["images"]
        url = page.links.get("next", {}).get("url", "")
    return images


def writes(gallery: Gallery) -> list[str]:
    """Return what the page has asked to be changed, with `*` for ids."""
    return [
        f"{request.method} {re.sub(r'[0-9a-f-]{36}', '*', urlsplit(request.url).path)}"
        for request in gallery.requests
        if request.method != "GET"
    ]


@contextmanager
def slow_line(gallery: Gallery) -> Iterator[None]:
    """Let only so many bytes a second leave the browser."""
    cdp = gallery.context.new_cdp_session(gallery.page)
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": SLOW}
    cdp.send("Network.emulateNetworkConditions", conditions)
    yield
    cdp.detach()


class Drag:
    """What somebody drags over the page from outside of it, with the browser's own events."""

    def __init__(self, gallery: Gallery, *paths: Path, text: str = "") -> None:
        self._cdp = gallery.context.new_cdp_session(gallery.page)
        items = [{"mimeType": "text/plain", "data": text}] if text else []
        self._data = {"items": items, "files": [str(path) for path in paths], "dragOperationsMask": 1}

    def enter(self) -> "Drag":
        self._send("dragEnter", 300)
        return self.move(300)

    def move(self, x: int) -> "Drag":
        self._send("dragOver", x)
        return self

    def drop(self) -> None:
        self._send("drop", 400)

    def _send(self, what: str, x: int) -> None:
        self._cdp.send("Input.dispatchDragEvent", {"type": what, "x": x, "y": 300, "data": self._data})


class Gate:
    """Holds the requests to a path, with POST, until they are let through."""

    def __init__(self, gallery: Gallery, path: str = "images", method: str = "POST") -> None:
        self.waiting: list[Route] = []
        self._page = gallery.page
        self._method = method
        self._is_open = False
        self._page.route(f"{gallery.url}{path}", self._hold)

    def _hold(self, route: Route) -> None:
        if route.request.method != self._method:
            route.fallback()
        elif self._is_open:
            route.continue_()
        else:
            self.waiting.append(route)

    def wait_for(self, count: int) -> None:
        """Wait until there are so many; fail if there are more."""
        wait_until(lambda: self._page.evaluate("true") and len(self.waiting) >= count)
        assert len(self.waiting) == count

    def release(self) -> None:
        """Let the one through that has waited for longest."""
        self.waiting.pop(0).continue_()

    def open(self) -> None:
        self._is_open = True
        while self.waiting:
            self.waiting.pop().continue_()


# How files come in


def test_by_button(gallery: Gallery, own_server: Server) -> None:
    """What was chosen is on the wall, newest first, without a reload; the panel tells of it until it is closed."""
    own_server.http.post("/images", files={"file": ("old.jpg", picture())}).raise_for_status()
    gallery.open()
    expect(panel(gallery)).to_be_hidden()
    choose(gallery, file("a.jpg"), file("b.png", picture("png"), "image/png"))
    expect(title(gallery)).to_have_text("2 pictures uploaded")
    expect(gallery.page.locator(".tile.shown")).to_have_count(3)
    assert gallery.names() == [image["filename"] for image in stored(own_server)]
    assert gallery.names()[2] == "old.jpg"
    size = sum(image["size"] for image in stored(own_server))
    expect(gallery.page.locator("#usage")).to_have_text(re.compile(rf"^3 pictures, {size / 1000:.1f} kB$"))
    expect(gallery.page.locator("#notice")).to_have_text("3 pictures")
    for name in ("a.jpg", "b.png"):
        expect(line(gallery, name)).to_contain_text("done")
        expect(line(gallery, name).get_by_role("button")).to_have_count(0)
    expect(panel(gallery).get_by_role("progressbar")).to_have_count(0)
    assert writes(gallery) == ["POST /images", "POST /images"]
    assert gallery.shifts() == 0
    button(gallery, "Close the uploads").click()
    expect(panel(gallery)).to_be_hidden()
    expect(gallery.page.get_by_role("button", name="Upload", exact=True)).to_be_focused()

    with gallery.page.expect_file_chooser() as chooser:  # the same file again, with the keyboard
        gallery.page.keyboard.press("u")
    chooser.value.set_files([file("a.jpg")])
    expect(title(gallery)).to_have_text("1 picture uploaded")
    expect(gallery.tiles).to_have_count(4)


def test_into_an_empty_gallery(gallery: Gallery) -> None:
    gallery.open()
    with gallery.page.expect_file_chooser() as chooser:
        gallery.page.get_by_role("button", name="upload some").click()
    chooser.value.set_files([file("first.jpg")])
    expect(gallery.tile("first.jpg")).to_be_visible()
    expect(gallery.page.locator("#notice")).to_have_text("1 picture")
    assert gallery.shifts() == 0


def test_drag_and_drop(gallery: Gallery, own_server: Server, tmp_path: Path) -> None:
    """The page says that files may be dropped as long as they are over it, and takes those in directories too."""
    files = [tmp_path / "one.jpg", tmp_path / "trip"]
    names = {"one.jpg", "two.jpg", "trip/three.jpg", "trip/day 2/four.jpg", "trip/day 2/.DS_Store", "trip/none/.x"}
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture())
    gallery.open()
    overlay = gallery.page.get_by_text("Drop pictures to upload them")

    Drag(gallery, text="three.jpg").enter().move(500).drop()
    expect(overlay).to_be_hidden()

    drag = Drag(gallery, *files).enter()
    expect(overlay).to_be_visible()
    drag.move(500).move(20)  # over one element after the other
    expect(overlay).to_be_visible()
    gallery.page.locator("body").dispatch_event("dragleave", {"relatedTarget": None})
    expect(overlay).to_be_hidden()
    drag.move(30)
    expect(overlay).to_be_visible()
    gallery.page.mouse.move(40, 40)  # the drag has ended somewhere else, and the page was not told
    expect(overlay).to_be_hidden()

    drag.enter().drop()
    expect(overlay).to_be_hidden()
    expect(title(gallery)).to_have_text("3 pictures uploaded")
    Drag(gallery, tmp_path / "two.jpg").enter().drop()
    expect(title(gallery)).to_have_text("4 pictures uploaded")
    expect(gallery.tiles).to_have_count(4)
    assert {image["filename"] for image in stored(own_server)} == {"one.jpg", "two.jpg", "three.jpg", "four.jpg"}


def test_a_picture_of_the_page_is_not_uploaded_again(gallery: Gallery, own_server: Server) -> None:
    """Whoever drags the picture in the viewer has the browser offer it as a file."""
    own_server.http.post("/images", files={"file": ("a.jpg", picture(width=800, height=600))}).raise_for_status()
    gallery.open()
    gallery.tile("a.jpg").click()
    full = gallery.viewer.locator(".full.shown")
    full.hover()
    gallery.page.mouse.down()
    gallery.page.mouse.move(300, 300, steps=4)
    expect(gallery.page.locator("#drop")).to_be_hidden()
    gallery.page.mouse.move(200, 200)
    gallery.page.mouse.up()
    gallery.page.keyboard.press("Escape")
    expect(gallery.viewer).to_be_hidden()
    choose(gallery, file("b.jpg"))
    expect(title(gallery)).to_have_text("1 picture uploaded")
    assert [image["filename"] for image in stored(own_server)] == ["b.jpg", "a.jpg"]


COPY = """async ([png, text]) => {
    const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
    const image = { "image/png": new Blob([bytes], { type: "image/png" }) };
    const plain = text ? { "text/plain": new Blob([text], { type: "text/plain" }) } : {};
    await navigator.clipboard.write([new ClipboardItem({ ...image, ...plain })]);
}"""


def test_paste(open_gallery: OpenGallery, own_server: Server) -> None:
    """A picture from the clipboard is uploaded; what is pasted into a field goes there, and nowhere else."""
    permissions = ["clipboard-read", "clipboard-write"]
    gallery = open_gallery(own_server.url, permissions=permissions).open()
    png = base64.b64encode(picture("png")).decode()
    gallery.page.evaluate(COPY, [png, ""])
    gallery.page.keyboard.press("Control+v")
    expect(title(gallery)).to_have_text("1 picture uploaded")
    expect(gallery.tile("image.png")).to_be_visible()

    gallery.page.get_by_role("button", name="Filter", exact=True).click()
    gallery.page.evaluate(COPY, [png, "holiday"])  # as office programs copy a table
    search = gallery.page.get_by_label("Find a tag")
    search.focus()
    gallery.page.keyboard.press("Control+v")
    expect(search).to_have_value("holiday")
    gallery.page.evaluate("navigator.clipboard.writeText('words')")
    gallery.page.locator("h1").click()
    gallery.page.keyboard.press("Control+v")
    choose(gallery, file("b.jpg"))
    expect(title(gallery)).to_have_text("2 pictures uploaded")
    assert len(stored(own_server)) == 2


def test_who_may_only_read_uploads_nothing(
    open_gallery: OpenGallery, start_server: StartServer, tmp_path: Path
) -> None:
    """There is no button, and a file that is dropped neither comes in nor takes the place of the page."""
    (tmp_path / "a.jpg").write_bytes(picture())
    server = start_server(**AUTH)
    gallery = open_gallery(server.url)
    gallery.expect_error("401")
    gallery.open(is_settled=False)
    gallery.dialog.get_by_label("Token").fill(token("ann", "images:read"))
    gallery.dialog.get_by_role("button", name="Sign in").click()
    expect(gallery.page.get_by_text("No pictures yet.")).to_be_visible()
    expect(gallery.page.get_by_role("button", name="Upload", exact=True)).to_be_hidden()
    Drag(gallery, tmp_path / "a.jpg").enter().drop()
    gallery.page.keyboard.press("u")
    gallery.page.keyboard.press("?")
    expect(gallery.dialog.get_by_text("Keyboard")).to_be_visible()
    assert gallery.page.url == gallery.url
    expect(panel(gallery)).to_be_hidden()
    assert writes(gallery) == []
    assert server.http.get("/images", headers=bearer(token("ann"))).json()["images"] == []


def test_odd_names(gallery: Gallery, own_server: Server) -> None:
    """The picture is called as the file is, whatever is in its name."""
    names = ['say "hi".jpg', "100%22.jpg", "ü ñ 日本 🙂.jpg", "a;b,c&d=e+f.jpg", "<b>$1.jpg", "no ending", ".jpg"]
    gallery.open()
    choose(gallery, *(file(name) for name in names))
    expect(title(gallery)).to_have_text(f"{len(names)} pictures uploaded")
    expect(gallery.tiles).to_have_count(len(names))
    assert {image["filename"] for image in stored(own_server)} == set(names)
    assert set(gallery.names()) == set(names)


# Several


def test_several_at_once(gallery: Gallery, own_server: Server) -> None:
    """Three are under way, the others wait; each of them, and all, can be cancelled, and done after all."""
    gallery.open()
    gate = Gate(gallery)
    choose(gallery, *(file(f"{n}.jpg") for n in range(7)))
    expect(title(gallery)).to_have_text("Uploading: 0 of 7 pictures")
    expect(panel(gallery).get_by_role("listitem").filter(has_text="waiting")).to_have_count(4)
    expect(line(gallery, "3.jpg")).to_contain_text("waiting")
    gate.wait_for(3)
    gate.release()
    expect(line(gallery, "0.jpg")).to_contain_text("done")
    expect(gallery.tile("0.jpg")).to_be_visible()  # while others are under way
    expect(title(gallery)).to_have_text("Uploading: 1 of 7 pictures")
    expect(panel(gallery).get_by_role("listitem").filter(has_text="waiting")).to_have_count(3)
    gate.wait_for(3)
    assert writes(gallery) == ["POST /images"] * 4

    button(gallery, "Cancel 5.jpg").click()
    expect(line(gallery, "5.jpg")).to_contain_text("cancelled")
    expect(title(gallery)).to_have_text("Uploading: 1 of 6 pictures")
    button(gallery, "Close the uploads").click()  # it stays for what is under way, and forgets the rest
    expect(panel(gallery).get_by_role("listitem")).to_have_count(5)
    button(gallery, "Cancel all").click()
    for n in (4, 6):
        expect(line(gallery, f"{n}.jpg")).to_contain_text("cancelled")
    gate.open()
    expect(title(gallery)).to_have_text(re.compile("^[0-3] pictures? uploaded$"))
    expect(button(gallery, "Cancel all")).to_be_hidden()
    button(gallery, "Retry 6.jpg").click()
    expect(line(gallery, "6.jpg")).to_contain_text("done")
    names = {image["filename"] for image in stored(own_server)}
    assert names >= {"0.jpg", "6.jpg"}
    assert not names & {"4.jpg", "5.jpg"}
    expect(gallery.tiles).to_have_count(len(names))


def test_progress_and_cancelling(gallery: Gallery, own_server: Server) -> None:
    """Each has a bar that moves, and all have one; what is cancelled half-way leaves nothing, and can be sent again."""
    data = noise(700, 700)
    gallery.open()
    with slow_line(gallery):
        choose(gallery, file("a.png", data), file("b.png", data))
        for name in ("Progress of a.png", "Progress of b.png", "Uploading: 0 of 2 pictures"):
            assert_moving(panel(gallery).get_by_role("progressbar", name=name, exact=True))
        expect(line(gallery, "a.png")).to_contain_text(re.compile(r"\d+ kB of 1\.1 MB"))
        button(gallery, "Cancel a.png").click()
        expect(line(gallery, "a.png")).to_contain_text("cancelled")
        expect(line(gallery, "a.png").get_by_role("progressbar")).to_be_hidden()
        expect(title(gallery)).to_have_text("Uploading: 0 of 1 picture")
    expect(line(gallery, "b.png")).to_contain_text("done")
    assert [image["filename"] for image in stored(own_server)] == ["b.png"]
    button(gallery, "Retry a.png").click()
    expect(title(gallery)).to_have_text("2 pictures uploaded")
    assert [image["filename"] for image in stored(own_server)] == ["a.png", "b.png"]


def assert_moving(bar: Locator) -> None:
    expect(bar).to_be_visible()
    seen: list[float] = []

    def has_moved() -> bool:
        value, most = bar.evaluate("(bar) => [bar.value, bar.max]")
        assert 0 <= value < most
        seen.append(value)
        return 0 < seen[0] < value

    def has_begun() -> bool:
        return bool(bar.evaluate("(bar) => bar.value > 0"))

    wait_until(has_begun)
    wait_until(has_moved)
    assert seen == sorted(seen)


def test_many_files(gallery: Gallery, own_server: Server) -> None:
    """All arrive, once each, in the order in which a reload shows them."""
    names = [f"{n}.jpg" for n in range(150)]
    data = picture(width=16, height=12)
    gallery.open()
    choose(gallery, *(file(name, data) for name in names))
    expect(title(gallery)).to_have_text(re.compile("of 150 pictures"))
    expect(panel(gallery).get_by_role("listitem")).to_have_count(100)
    expect(panel(gallery)).to_contain_text("and 50 more")
    expect(gallery.tiles.first).to_be_visible()  # long before all are there
    expect(title(gallery)).to_have_text("150 pictures uploaded", timeout=LONG)
    assert sorted(image["filename"] for image in stored(own_server)) == sorted(names)
    expect(gallery.page.locator("#notice")).to_have_text("150 pictures")
    expect(gallery.page.locator("#usage")).to_have_text(re.compile("^150 pictures, "))
    before = gallery.names()
    gallery.open()
    assert gallery.names()[:40] == before[:40]


def test_the_keyboard_stays_where_it_is(gallery: Gallery) -> None:
    """Lines change places when others are done; the focus is still on the button that somebody has gone to."""
    gallery.open()
    gate = Gate(gallery)
    choose(gallery, *(file(f"{n}.jpg") for n in range(6)))
    expect(line(gallery, "5.jpg")).to_contain_text("waiting")
    button(gallery, "Cancel 5.jpg").focus()
    for n in range(2):
        gate.wait_for(3)
        gate.release()
        expect(line(gallery, f"{n}.jpg")).to_contain_text("done")
        expect(button(gallery, "Cancel 5.jpg")).to_be_focused()
    gallery.page.keyboard.press("Enter")
    expect(button(gallery, "Retry 5.jpg")).to_be_focused()
    gallery.page.keyboard.press("Enter")
    expect(button(gallery, "Cancel 5.jpg")).to_be_focused()
    gate.open()
    expect(title(gallery)).to_have_text("6 pictures uploaded")
    expect(panel(gallery).get_by_role("list", name="Files")).to_be_focused()


def test_leaving_the_page(gallery: Gallery) -> None:
    """The browser asks before it breaks uploads off, and not when there are none."""
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    gallery.open()
    gallery.page.on("dialog", stay)
    gate = Gate(gallery)
    choose(gallery, file("a.jpg"))
    expect(title(gallery)).to_have_text("Uploading: 0 of 1 picture")
    with gallery.page.expect_event("dialog"):
        gallery.page.close(run_before_unload=True)
    gate.open()
    expect(title(gallery)).to_have_text("1 picture uploaded")
    gallery.open()
    assert asked == ["beforeunload"]
    expect(gallery.tiles).to_have_count(1)


# What is refused


def test_the_reason_why_not(gallery: Gallery, own_server: Server) -> None:
    """In the service's words; the others come in all the same."""
    refused = {
        "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not a picture of an accepted format"),
        "letter.jpg": (b"Dear Sir or Madam, this is no picture. Yours, A.", "not a picture of an accepted format"),
        "huge.png": (png_bomb(30_000, 30_000), "pixels"),
        "empty.jpg": (b"", "wants a picture"),
        "broken.jpg": (picture(width=400, height=300)[:-600], ""),
    }
    gallery.open()
    gallery.expect_error(r"status of (400|413|415|422)")
    choose(gallery, *(file(name, data) for name, (data, _) in refused.items()), file("good.jpg"))
    expect(title(gallery)).to_have_text(f"1 picture uploaded, {len(refused)} not")
    for name, (data, reason) in refused.items():
        answer = own_server.http.post("/images", files={"file": (name, data)})
        assert reason.lower() in answer.json()["detail"].lower()
        expect(line(gallery, name)).to_contain_text(answer.json()["detail"])
        expect(button(gallery, f"Retry {name}")).to_be_visible()
    expect(line(gallery, "good.jpg")).to_contain_text("done")
    assert [image["filename"] for image in stored(own_server)] == ["good.jpg"]
    button(gallery, "Retry").click()
    wait_until(lambda: gallery.page.evaluate("true") and len(writes(gallery)) == 1 + 2 * len(refused))
    expect(title(gallery)).to_have_text(f"1 picture uploaded, {len(refused)} not")
    button(gallery, "Close the uploads").click()
    expect(panel(gallery)).to_be_hidden()


def test_too_large_and_too_many(open_gallery: OpenGallery, start_server: StartServer) -> None:
    """What a deployment does not take is said, and may be tried again when there is room."""
    server = start_server(MAX_IMAGE_SIZE="20000", QUOTA_IMAGES="2")
    gallery = open_gallery(server.url).open()
    gallery.expect_error(r"status of (403|413)")
    choose(gallery, file("large.png", noise(200, 200), "image/png"))
    expect(line(gallery, "large.png")).to_contain_text("20000 bytes")
    for name in ("a.jpg", "b.jpg"):
        choose(gallery, file(name))
        expect(line(gallery, name)).to_contain_text("done")
    choose(gallery, file("c.jpg"))
    expect(line(gallery, "c.jpg")).to_contain_text("may have 2 images")
    expect(title(gallery)).to_have_text("2 pictures uploaded, 2 not")
    gallery.tile("a.jpg").hover()
    gallery.tile("a.jpg").get_by_role("checkbox").check()
    gallery.page.keyboard.press("Delete")
    gallery.dialog.get_by_role("button", name="Delete").click()
    expect(gallery.tile("a.jpg")).to_have_count(0)
    button(gallery, "Retry c.jpg").click()
    expect(line(gallery, "c.jpg")).to_contain_text("done")
    expect(gallery.tile("c.jpg")).to_be_visible()
    assert gallery.names() == ["c.jpg", "b.jpg"]


# Large files


def test_large_files_go_straight_to_the_storage(gallery: Gallery, own_server: Server) -> None:
    """They are declared, sent by a form and completed; also one whose type the browser does not know."""
    gallery.open()
    choose(gallery, file("noise.tif", large(), "image/tiff"))
    expect(title(gallery)).to_have_text("1 picture uploaded")
    direct = ["POST /uploads", "POST /objects/", "POST /uploads/*/complete"]
    assert writes(gallery) == direct
    expect(gallery.tile("noise.tif")).to_be_visible()
    gallery.page.evaluate(
        """(avif) => {
            const start = Uint8Array.from(atob(avif), (character) => character.charCodeAt(0));
            const data = new DataTransfer();
            const parts = [start, new Uint8Array(5_000_000)];
            data.items.add(new File(parts, "scan", { type: "" }));
            const files = document.querySelector("#files");
            files.files = data.files;
            files.dispatchEvent(new Event("change"));
        }""",
        base64.b64encode(picture("avif")).decode(),
    )
    expect(title(gallery)).to_have_text("2 pictures uploaded")
    assert writes(gallery) == [*direct, *direct]
    scan, first = stored(own_server)
    assert (scan["filename"], scan["content_type"]) == ("scan", "image/avif")
    assert (first["filename"], first["content_type"], first["size"]) == ("noise.tif", "image/tiff", len(large()))


def test_a_large_file_with_the_wrong_ending(gallery: Gallery, own_server: Server) -> None:
    """What counts is what is in it, as it does for small ones."""
    gallery.open()
    choose(gallery, file("a.png", large(), "image/png"), file("b.png", picture("tiff"), "image/png"))
    expect(title(gallery)).to_have_text("2 pictures uploaded")
    assert "POST /uploads" in writes(gallery)
    assert {image["content_type"] for image in stored(own_server)} == {"image/tiff"}


def test_cancelling_a_large_file(gallery: Gallery, own_server: Server) -> None:
    """Neither an image nor an upload is left of it; the same file can be sent again."""
    gallery.open()
    with slow_line(gallery):
        with gallery.page.expect_response(f"{gallery.url}uploads") as declared:
            choose(gallery, file("noise.tif", large(), "image/tiff"))
        upload = declared.value.json()
        expect(line(gallery, "noise.tif")).to_contain_text(re.compile(r"[1-9]\d* kB of 5\.9 MB"))
        with gallery.page.expect_response(f"{gallery.url}uploads/*") as deleted:
            button(gallery, "Cancel noise.tif").click()
    assert (deleted.value.request.method, deleted.value.status) == ("DELETE", 204)
    expect(line(gallery, "noise.tif")).to_contain_text("cancelled")
    assert own_server.http.get(f"/uploads/{upload['image_id']}").status_code == 404
    assert stored(own_server) == []
    button(gallery, "Retry noise.tif").click()
    expect(title(gallery)).to_have_text("1 picture uploaded")
    (image,) = stored(own_server)
    assert image["image_id"] != upload["image_id"]


# Where the connection is bad


def keys(gallery: Gallery) -> list[str]:
    """Return the Idempotency-Key of each upload that was tried."""
    uploads = [r for r in gallery.requests if r.method == "POST" and urlsplit(r.url).path in ("/images", "/uploads")]
    return [request.header_value("idempotency-key") or "" for request in uploads]


def test_a_connection_that_is_lost(gallery: Gallery, own_server: Server) -> None:
    """The upload is tried again, as the same one, and there is one image."""
    gallery.expect_error("ERR_FAILED|ERR_CONNECTION")
    gallery.open()
    failing = iter(["once"])

    def lose(route: Route) -> None:
        if route.request.method == "POST" and next(failing, None):
            route.abort("connectionreset")
        else:
            route.fallback()

    gallery.page.route(f"{gallery.url}images", lose)
    choose(gallery, file("a.jpg"))
    expect(line(gallery, "a.jpg")).to_contain_text("The service can't be reached")
    expect(line(gallery, "a.jpg")).to_contain_text("It is tried again.")
    expect(title(gallery)).to_have_text("1 picture uploaded")
    assert len(keys(gallery)) == 2
    assert len(set(keys(gallery))) == 1
    assert len(stored(own_server)) == 1
    expect(gallery.tiles).to_have_count(1)


def test_an_answer_that_is_lost(gallery: Gallery, own_server: Server) -> None:
    """The image is there and the page does not know: it is not made twice, be it small or large."""
    gallery.expect_error("ERR_FAILED|ERR_CONNECTION")
    gallery.open()
    cdp = gallery.context.new_cdp_session(gallery.page)
    lost: list[str] = []

    def lose(event: dict[str, Any]) -> None:
        url, number = event["request"]["url"], event["requestId"]
        if event["request"]["method"] == "POST" and event["responseStatusCode"] < 300 and url not in lost:
            lost.append(url)
            cdp.send("Fetch.failRequest", {"requestId": number, "errorReason": "ConnectionReset"})
        else:
            cdp.send("Fetch.continueRequest", {"requestId": number})

    cdp.on("Fetch.requestPaused", lose)
    paths = ("images", "uploads", "objects/", "uploads/*/complete")
    patterns = [{"urlPattern": f"{gallery.url}{path}", "requestStage": "Response"} for path in paths]
    cdp.send("Fetch.enable", {"patterns": patterns})
    choose(gallery, file("a.jpg"), file("noise.tif", large(), "image/tiff"))
    expect(title(gallery)).to_have_text("2 pictures uploaded")
    assert len(lost) == 4
    assert len(set(keys(gallery))) == 2
    assert {image["filename"] for image in stored(own_server)} == {"a.jpg", "noise.tif"}
    expect(gallery.tiles).to_have_count(2)
    assert len(stored(own_server)) == 2


def test_a_service_that_is_gone_for_a_while(open_gallery: OpenGallery, start_server: StartServer) -> None:
    """It ends in the middle of uploads: it is waited for; who loses patience may cancel."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = start_server(PORT=str(port))
    gallery = open_gallery(server.url).open()
    gallery.expect_error("ERR_CONNECTION|ERR_EMPTY_RESPONSE")
    choose(gallery, file("a.jpg"))
    expect(gallery.tile("a.jpg")).to_be_visible()
    with slow_line(gallery):
        choose(gallery, file("b.jpg", noise(400, 400)), file("c.jpg", noise(400, 400)))
        for name in ("b.jpg", "c.jpg"):
            assert_moving(line(gallery, name).get_by_role("progressbar"))
        server.kill()
    for name in ("b.jpg", "c.jpg"):
        expect(line(gallery, name)).to_contain_text("Is the connection up? It is tried again.")
    button(gallery, "Cancel c.jpg").click()
    expect(line(gallery, "c.jpg")).to_contain_text("cancelled")
    server.start()
    expect(line(gallery, "b.jpg")).to_contain_text("done")
    expect(gallery.tiles).to_have_count(2)
    assert [image["filename"] for image in stored(server)] == ["b.jpg", "a.jpg"]
    assert gallery.names() == ["b.jpg", "a.jpg"]


def test_a_service_that_is_busy(gallery: Gallery, own_server: Server) -> None:
    """It is given the time that it asks for, but not for ever, and none that is longer than anybody waits."""
    gallery.expect_error("status of (429|503)")
    gallery.open()
    answers = [(503, "1"), (429, "0.1"), (503, "0.1"), (503, "0.1"), (503, "600")]

    def refuse(route: Route) -> None:
        if route.request.method != "POST" or not answers:
            route.fallback()
            return
        status, wait = answers.pop(0)
        headers = {"Retry-After": wait, "Content-Type": "application/problem+json"}
        route.fulfill(status=status, headers=headers, json={"detail": f"Too much to do ({status}, {wait} s)."})

    gallery.page.route(f"{gallery.url}images", refuse)
    choose(gallery, file("a.jpg"))
    expect(line(gallery, "a.jpg")).to_contain_text("Too much to do (503, 1 s). It is tried again.")
    expect(title(gallery)).to_have_text("0 pictures uploaded, 1 not")
    expect(line(gallery, "a.jpg").locator(".state")).to_have_text("Too much to do (503, 0.1 s).")
    first, second, *_ = (r.timing["startTime"] for r in gallery.requests if r.method == "POST")
    assert second - first > 900  # milliseconds
    button(gallery, "Retry").click()
    expect(line(gallery, "a.jpg").locator(".state")).to_have_text("Too much to do (503, 600 s).")
    button(gallery, "Retry a.jpg").click()
    expect(title(gallery)).to_have_text("1 picture uploaded")
    assert len(keys(gallery)) == 6
    assert len(set(keys(gallery))) == 1
    assert len(stored(own_server)) == 1


# What is looked at meanwhile


SCROLL = """async (top) => {
    scrollTo({ top });
    for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
}"""
# The first picture that can be seen, if only in part, and where it is.
FIRST_IN_SIGHT = """() => {
    const tiles = [...document.querySelectorAll(".tile")];
    const first = tiles.find((tile) => tile.getBoundingClientRect().bottom > 0);
    return [first.querySelector("a").getAttribute("aria-label"), first.getBoundingClientRect().top];
}"""


def test_the_wall_stays_where_it_is(gallery: Gallery, own_server: Server) -> None:
    """Whoever has scrolled down keeps the pictures before his eyes when new ones come, and finds them on top."""
    for n in range(80):
        data = picture(width=(90, 60, 120, 40)[n % 4], height=60)
        own_server.http.post("/images", files={"file": (f"old {n}.jpg", data)}).raise_for_status()
    gallery.open()
    for top in (2500, 1400, 1700):  # down, up and down again
        gallery.page.evaluate(SCROLL, top)
    expect(gallery.page.locator("#notice")).to_have_text("80 pictures")
    name, top = gallery.page.evaluate(FIRST_IN_SIGHT)
    for n in range(5):  # one by one, which puts others before it in its row
        choose(gallery, file(f"new {n}.jpg", picture(width=100 - n, height=60)))
        expect(gallery.page.locator("#notice")).to_have_text(f"{81 + n} pictures")
    box = gallery.tile(name).bounding_box()
    assert box
    assert abs(box["y"] - top) <= 1
    assert gallery.shifts() == 0
    gallery.page.evaluate(SCROLL, 0)
    assert sorted(gallery.names()[:5]) == [f"new {n}.jpg" for n in range(5)]


def test_before_the_list_is_there(gallery: Gallery, own_server: Server) -> None:
    """What is uploaded meanwhile is there once."""
    for n in range(3):
        own_server.http.post("/images", files={"file": (f"old {n}.jpg", picture())}).raise_for_status()
    gate = Gate(gallery, "images?*", "GET")
    gallery.open(is_settled=False)
    choose(gallery, file("new.jpg"))
    expect(title(gallery)).to_have_text("1 picture uploaded")
    gate.open()
    expect(gallery.tiles).to_have_count(4)
    expect(gallery.page.locator("#notice")).to_have_text("4 pictures")
    assert gallery.names() == ["new.jpg", "old 2.jpg", "old 1.jpg", "old 0.jpg"]


def test_uploads_where_a_filter_is_on(gallery: Gallery, own_server: Server) -> None:
    """What does not match is offered to be shown; with a user as the filter it is uploaded for that user."""
    for user in ("ann", "bob"):
        form = {"user_id": user, "tags": user}
        own_server.http.post("/images", files={"file": (f"{user}.jpg", picture())}, data=form).raise_for_status()
    gallery.open("?user=bob")
    choose(gallery, file("of bob.jpg"))
    expect(gallery.tile("of bob.jpg")).to_be_visible()
    expect(gallery.page.locator("#usage")).to_have_text(re.compile("^2 pictures"))
    assert stored(own_server)[0]["user_id"] == "bob"
    expect(gallery.toasts.locator(".toast")).to_have_count(0)

    gallery.open("?tags=ann")
    choose(gallery, file("new.jpg"), file("another.jpg"))
    expect(title(gallery)).to_have_text("2 pictures uploaded")
    hidden = toast(gallery, "What was uploaded is not among what is shown.")
    expect(hidden).to_have_count(1)
    assert gallery.names() == ["ann.jpg"]
    expect(gallery.page.locator("#usage")).to_have_text(re.compile("^5 pictures"))
    hidden.get_by_role("button", name="Show all").click()
    expect(gallery.tiles).to_have_count(5)
    assert gallery.page.url == gallery.url
    assert {image["user_id"] for image in stored(own_server)[:2]} == {"anonymous"}


def test_tagging_what_was_uploaded(gallery: Gallery, own_server: Server) -> None:
    """The new ones, and no others."""
    own_server.http.post("/images", files={"file": ("old.jpg", picture())}).raise_for_status()
    gallery.open()
    gate = Gate(gallery)
    choose(gallery, file("a.jpg"), file("b.jpg"))
    expect(title(gallery)).to_have_text("Uploading: 0 of 2 pictures")
    expect(button(gallery, "Tag them")).to_be_hidden()
    gate.open()
    button(gallery, "Tag them").click()
    gallery.dialog.get_by_label("Add").fill("Trip, sea")
    gallery.dialog.get_by_role("button", name="Tag", exact=True).click()
    expect(toast(gallery, "Tagged 2 pictures.")).to_be_visible()
    assert {image["filename"]: image["tags"] for image in stored(own_server)} == {
        "a.jpg": ["trip", "sea"],
        "b.jpg": ["trip", "sea"],
        "old.jpg": [],
    }
