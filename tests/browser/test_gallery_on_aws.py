"""The gallery of a server in front of S3: pictures come from there, and large ones go there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Locator, expect

from tests.support.browser import Gallery
from tests.support.emulator import Emulator
from tests.support.pictures import noise, picture
from tests.support.server import Server


class Home:
    """A server whose pictures are in a bucket of the emulator."""

    def __init__(self, emulator: Emulator, start_server: Callable[..., Server]) -> None:
        self.emulator = emulator
        self.bucket = emulator.new_bucket()
        self.server = start_server(
            STORAGE="aws",
            BUCKET_NAME=self.bucket,
            TABLE_NAME=emulator.new_table(),
            AWS_ENDPOINT_URL=emulator.url,
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
        )

    def allow(self, *origins: str) -> None:
        """Let pages of these origins send files to the bucket."""
        rule = {"AllowedOrigins": list(origins), "AllowedMethods": ["GET", "HEAD", "POST"], "AllowedHeaders": ["*"]}
        self.emulator.client("s3").put_bucket_cors(Bucket=self.bucket, CORSConfiguration={"CORSRules": [rule]})

    def add(self, name: str, data: bytes) -> dict[str, Any]:
        answer = self.server.http.post("/images", files={"file": (name, data)})
        image: dict[str, Any] = answer.raise_for_status().json()
        return image


@pytest.fixture
def home(emulator: Emulator, start_server: Callable[..., Server]) -> Home:
    return Home(emulator, start_server)


@pytest.fixture
def gallery(home: Home, open_gallery: Callable[..., Gallery]) -> Gallery:
    permissions = ["clipboard-read", "clipboard-write"]
    return open_gallery(home.server.url, home.emulator.url, permissions=permissions)


def choose(gallery: Gallery, name: str, data: bytes) -> Locator:
    """Upload a file; return its line in the panel."""
    with gallery.page.expect_file_chooser() as chooser:
        gallery.page.get_by_role("button", name="Upload", exact=True).click()
    chooser.value.set_files([{"name": name, "mimeType": "image/tiff", "buffer": data}])
    panel = gallery.page.get_by_role("region", name="Uploads", exact=True)
    return panel.get_by_role("listitem").filter(has=gallery.page.get_by_text(name, exact=True))


def asked_of(gallery: Gallery, url: str) -> list[tuple[str, str]]:
    """Return method and path of what was asked of an origin."""
    return [
        (request.method, urlsplit(request.url).path)
        for request in gallery.requests
        if request.url.startswith(f"{url}/")
    ]


def large() -> bytes:
    return noise(1400, 1400, "tiff", compression="raw")


def test_looking_at_pictures(gallery: Gallery, home: Home, tmp_path: Path) -> None:
    """Thumbnails, the viewer, downloads and links lead to S3, and to nowhere else."""
    data = picture(width=1600, height=1200)
    home.add("a.jpg", data)
    with gallery.page.expect_response(gallery.url) as page:
        gallery.open()
    expect(gallery.page.locator(".tile.shown")).to_have_count(1)
    originals = f"/{home.bucket}/originals/"
    renditions = f"/{home.bucket}/renditions/"
    assert all(path.startswith(renditions) for _, path in asked_of(gallery, home.emulator.url))
    policy = page.value.headers["content-security-policy"]
    assert set(re.findall(r"https?://[^ ;]+", policy)) == {home.emulator.url}

    gallery.tile("a.jpg").click()
    expect(gallery.viewer.locator(".full.shown")).to_be_visible()
    assert len(asked_of(gallery, home.emulator.url)) == 2
    gallery.viewer.get_by_role("button", name="Copy link").click()
    expect(gallery.viewer.get_by_text("Copied.")).to_be_visible()
    link = gallery.page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(home.emulator.url + originals)
    assert httpx.get(link).content == data
    with gallery.page.expect_download() as download:
        gallery.viewer.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "a.jpg"
    assert download.value.url.startswith(home.emulator.url + originals)
    download.value.save_as(tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == data


def test_uploading(gallery: Gallery, home: Home) -> None:
    """Small files go through the server, large ones straight to the bucket, whose rule names the page's origin."""
    home.allow(home.server.url)
    gallery.open()
    expect(choose(gallery, "small.tif", picture("tiff"))).to_contain_text("done")
    assert ("POST", f"/{home.bucket}/") not in asked_of(gallery, home.emulator.url)
    data = large()
    expect(choose(gallery, "large.tif", data)).to_contain_text("done")
    assert asked_of(gallery, home.emulator.url).count(("POST", f"/{home.bucket}/")) == 1
    posts = [path for method, path in asked_of(gallery, home.server.url) if method == "POST"]
    assert posts[:2] == ["/images", "/uploads"]
    assert re.fullmatch(r"/uploads/[0-9a-f-]{36}/complete", posts[2])
    expect(gallery.page.locator(".tile.shown")).to_have_count(2)
    assert gallery.names() == ["large.tif", "small.tif"]
    newest = home.server.http.get("/images").json()["images"][0]
    assert (newest["filename"], newest["size"]) == ("large.tif", len(data))


def test_a_bucket_that_takes_nothing_from_the_page(gallery: Gallery, home: Home) -> None:
    """Whoever uploads reads that it is the storage, and its rules; nothing is left of the upload."""
    home.allow("https://elsewhere.example")
    gallery.expect_error("CORS policy|net::ERR_FAILED|status of 403")
    gallery.open()
    with gallery.page.expect_response("**/uploads/*") as deleted:
        line = choose(gallery, "large.tif", large())
    assert (deleted.value.request.method, deleted.value.status) == ("DELETE", 204)
    expect(line).to_contain_text("The storage for large files can't be reached from this page.")
    expect(line).to_contain_text("CORS rules don't name this page's address")
    expect(choose(gallery, "small.tif", picture("tiff"))).to_contain_text("done")
    expect(gallery.page.locator(".tile.shown")).to_have_count(1)
    home.allow(home.server.url)
    line.get_by_role("button", name="Retry large.tif").click()
    expect(line).to_contain_text("done")
    expect(gallery.page.locator(".tile.shown")).to_have_count(2)
