"""The wall of pictures, as somebody sees it who comes to look."""

from playwright.sync_api import expect

from tests.support.browser import Gallery
from tests.support.pictures import picture
from tests.support.server import Server


def test_the_pictures_are_there_newest_first(gallery: Gallery, own_server: Server) -> None:
    for name in ("a", "b", "c"):
        own_server.http.post("/images", files={"file": (f"{name}.jpg", picture())}).raise_for_status()
    gallery.open()
    assert gallery.names() == ["c.jpg", "b.jpg", "a.jpg"]
    expect(gallery.page.locator(".tile.shown")).to_have_count(3)
    assert gallery.shifts() == 0
