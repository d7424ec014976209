"""The gallery below a path prefix, as behind a stage of API Gateway: nothing leads out of it."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, expect

from tests.support.browser import Gallery
from tests.support.emulator import Emulator
from tests.support.gateway import STAGE
from tests.support.pictures import noise, picture
from tests.support.server import Server
from tests.support.stage import COMMAND
from tests.support.tokens import SECRET, token

type OpenGallery = Callable[..., Gallery]
type StartStage = Callable[..., Server]


@pytest.fixture
def start_stage(emulator: Emulator, start_server: Callable[..., Server]) -> StartStage:
    """Start the function behind the stage, with more in its environment; its bucket takes files of its pages."""

    def start(**environment: str) -> Server:
        bucket = emulator.new_bucket()
        access = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        stores = {"BUCKET_NAME": bucket, "TABLE_NAME": emulator.new_table(), "AWS_ENDPOINT_URL": emulator.url}
        server = start_server(*COMMAND, **access, **stores, **environment)
        rule = {
            "AllowedOrigins": [server.url.removesuffix(f"/{STAGE}")],
            "AllowedMethods": ["GET", "HEAD", "POST"],
            "AllowedHeaders": ["*"],
        }
        emulator.client("s3").put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
        return server

    return start


def choose(gallery: Gallery, name: str, data: bytes) -> Locator:
    """Upload a file; return its line in the panel."""
    with gallery.page.expect_file_chooser() as chooser:
        gallery.page.get_by_role("button", name="Upload", exact=True).click()
    chooser.value.set_files([{"name": name, "mimeType": "image/tiff", "buffer": data}])
    panel = gallery.page.get_by_role("region", name="Uploads", exact=True)
    return panel.get_by_role("listitem").filter(has=gallery.page.get_by_text(name, exact=True))


def assert_below_the_stage(gallery: Gallery) -> None:
    """Of all that was asked of the page's own origin."""
    own = gallery.url.removesuffix(f"{STAGE}/")
    paths = [urlsplit(request.url).path for request in gallery.requests if request.url.startswith(own)]
    assert paths
    assert [path for path in paths if path != f"/{STAGE}" and not path.startswith(f"/{STAGE}/")] == []


def test_everything_is_below_the_stage(open_gallery: OpenGallery, start_stage: StartStage, emulator: Emulator) -> None:
    """The page, its files, the API, uploads of both kinds, the addresses, and the way to the documentation."""
    server = start_stage()
    gallery = open_gallery(server.url, emulator.url).open()
    page = gallery.page
    expect(choose(gallery, "small.tif", picture("tiff"))).to_contain_text("done")
    expect(choose(gallery, "large.tif", noise(1400, 1400, "tiff", compression="raw"))).to_contain_text("done")
    expect(page.locator(".tile.shown")).to_have_count(2)
    assert f"{server.url}/uploads" in {request.url for request in gallery.requests}

    gallery.tile("large.tif").click()
    expect(gallery.viewer.locator(".full.shown")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"^{re.escape(gallery.url)}\?image=[0-9a-f-]{{36}}$"))
    viewed = page.url
    page.go_back()
    expect(page).to_have_url(gallery.url)
    expect(gallery.viewer).to_be_hidden()
    page.go_forward()
    expect(page).to_have_url(viewed)
    expect(gallery.viewer.locator(".full.shown")).to_be_visible()
    page.reload()
    expect(gallery.viewer.locator(".full.shown")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page).to_have_url(gallery.url)

    page.keyboard.press("?")
    page.get_by_role("link", name="its documentation").click()
    expect(page).to_have_url(f"{gallery.url}docs")
    assert_below_the_stage(gallery)


def test_without_the_slash_at_the_end(open_gallery: OpenGallery, start_stage: StartStage, emulator: Emulator) -> None:
    """The stage's bare name is the gallery as well, and all leads below it."""
    server = start_stage()
    server.http.post(f"{server.url}/images", files={"file": ("a.jpg", picture())}, data={"tags": "sea"})
    gallery = open_gallery(server.url, emulator.url)
    page = gallery.page
    page.goto(server.url)
    expect(page.locator(".tile.shown")).to_have_count(1)
    assert page.url == server.url
    page.get_by_role("button", name="Filter", exact=True).click()
    page.get_by_role("button", name="sea, 1", exact=True).click()
    expect(page).to_have_url(f"{gallery.url}?tags=sea")
    page.go_back()
    expect(page).to_have_url(server.url)
    page.go_forward()
    gallery.tile("a.jpg").click()
    expect(page).to_have_url(re.compile(rf"^{re.escape(gallery.url)}\?tags=sea&image="))
    expect(gallery.viewer.locator(".full.shown")).to_be_visible()
    page.go_back()
    expect(gallery.viewer).to_be_hidden()
    page.get_by_role("button", name="Show all").click()
    expect(page).to_have_url(gallery.url)
    assert_below_the_stage(gallery)


def test_a_token_is_for_one_stage(open_gallery: OpenGallery, start_stage: StartStage, emulator: Emulator) -> None:
    """Another service at the same origin, below another prefix, does not get it, and has its own."""
    server = start_stage(AUTH_SECRET=SECRET)
    gallery = open_gallery(server.url, emulator.url)
    gallery.expect_error("status of 401")
    gallery.open(is_settled=False)
    gallery.dialog.get_by_label("Token").fill(token("ann"))
    gallery.dialog.get_by_role("button", name="Sign in").click()
    expect(gallery.page.get_by_text("No pictures yet.")).to_be_visible()
    expect(choose(gallery, "a.tif", picture("tiff"))).to_contain_text("done")
    kept = gallery.page.evaluate("Object.keys(sessionStorage)")
    assert kept == [f"image-service-token:/{STAGE}/"]
    gallery.page.reload()
    expect(gallery.tile("a.tif")).to_be_visible()
    assert_below_the_stage(gallery)
