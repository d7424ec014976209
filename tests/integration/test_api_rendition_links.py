"""`GET /images/{image_id}` with a rendition, and the signed `thumbnail_url` of lists: what is changed is refused."""

import datetime as dt
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import PIL.Image
import pytest
from starlette.applications import Starlette

from src.bootstrap import build_services
from src.common.config import Settings
from src.handlers.app import create_app
from src.services.content_links import ContentLinks
from src.services.link_service import LinkService
from src.services.rendition_service import RenditionService
from tests.support.api import assert_problem, stored_files, uploaded
from tests.support.pictures import picture

pytestmark = pytest.mark.anyio

DATA = picture("png", 640, 480)
OLD, NEW = "an old key of at least 16", "a new key of at least 16"


async def listed(client: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    answer = await client.get("/images", params={"include": "urls", **params})
    assert answer.status_code == 200, answer.text
    images: list[dict[str, Any]] = answer.json()["images"]
    return images


async def thumbnail_of(client: httpx.AsyncClient) -> str:
    """Upload an image and return the signed link to its thumbnail."""
    image = await uploaded(client, DATA)
    return next(str(each["thumbnail_url"]) for each in await listed(client) if each["image_id"] == image["image_id"])


async def follow(client: httpx.AsyncClient, url: str) -> httpx.Response:
    answer = await client.get(url)
    assert answer.status_code == 302, answer.text
    served = await client.get(answer.headers["location"])
    assert served.status_code == 200, served.text
    return served


def end_of(url: str) -> dt.datetime:
    """Return when a presigned URL ends."""
    query = dict(parse_qsl(urlsplit(url).query))
    signed_at = dt.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    return signed_at + dt.timedelta(seconds=int(query["X-Amz-Expires"]))


def expires_of(url: str) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(dict(parse_qsl(urlsplit(url).query))["expires"]), dt.UTC)


def with_query(url: str, pairs: list[tuple[str, str]]) -> str:
    return f"{url.partition('?')[0]}?{urlencode(pairs)}"


def set_clock(app: Starlette, monkeypatch: pytest.MonkeyPatch, now: dt.datetime) -> None:
    links: LinkService = app.state.services.links
    contents: ContentLinks = app.state.services.contents
    for service in (links, contents):
        monkeypatch.setattr(service, "_now", lambda: now)


# GET /images/{image_id}


async def test_an_image_with_a_link_to_a_rendition(client: httpx.AsyncClient) -> None:
    """The image is described as it was; `url` leads to the rendition, and what was asked of the link holds for it."""
    image = await uploaded(client, DATA, filename="a walk.png")
    params = {"width": "64", "format": "jpeg", "download": "true", "expires_in": "60"}
    answer = await client.get(f"/images/{image['image_id']}", params=params)
    linked = answer.json()
    assert {name: linked[name] for name in image} == image
    assert end_of(linked["url"]) == dt.datetime.fromisoformat(linked["expires_at"])
    served = await client.get(linked["url"])
    assert PIL.Image.open(io.BytesIO(served.content)).size == (64, 48)
    assert served.headers["content-type"] == "image/jpeg"
    assert served.headers["content-disposition"] == 'attachment; filename="a walk.jpg"'
    assert answer.headers["cache-control"] == "private, no-store"
    assert "vary" not in answer.headers
    assert "vary" not in (await client.get(f"/images/{image['image_id']}")).headers


async def test_it_negotiates_as_well(client: httpx.AsyncClient) -> None:
    image = await uploaded(client, DATA)
    for accept, content_type in (("image/webp", "image/webp"), ("*/*", "image/png")):
        answer = await client.get(f"/images/{image['image_id']}", params={"width": "64"}, headers={"Accept": accept})
        assert answer.headers["vary"] == "Accept"
        assert (await client.get(answer.json()["url"])).headers["content-type"] == content_type


@pytest.mark.parametrize("params", [{}, {"width": "64"}], ids=str)
async def test_if_none_match(client: httpx.AsyncClient, settings: Settings, params: dict[str, str]) -> None:
    """The tag is that of the image, whatever the link leads to; a 304 makes nothing, and has the headers of the 200."""
    image = await uploaded(client, DATA)
    plain = await client.get(f"/images/{image['image_id']}")
    headers = {"If-None-Match": plain.headers["etag"]}
    answer = await client.get(f"/images/{image['image_id']}", params=params, headers=headers)
    assert (answer.status_code, answer.content) == (304, b"")
    assert len(stored_files(settings)) == 1
    whole = await client.get(f"/images/{image['image_id']}", params=params)
    for name in ("etag", "cache-control", "vary"):  # RFC 9110, 15.4.5
        assert answer.headers.get(name) == whole.headers.get(name)


# Signed links


async def test_a_list_leads_to_thumbnails(client: httpx.AsyncClient, settings: Settings) -> None:
    """They are made when they are looked at, and the link works as long as the image's own."""
    for size in ((640, 480), (480, 640), (64, 48)):
        await uploaded(client, picture("png", *size))
    images = await listed(client)
    assert len(stored_files(settings)) == 3
    for image in images:
        assert expires_of(image["thumbnail_url"]) == dt.datetime.fromisoformat(image["expires_at"])
        assert end_of(image["url"]) == dt.datetime.fromisoformat(image["expires_at"])
        served = await follow(client, image["thumbnail_url"])
        made = PIL.Image.open(io.BytesIO(served.content))
        assert max(made.size) == min(320, max(image["width"], image["height"]))
    assert len(stored_files(settings)) == 6


@pytest.mark.parametrize(
    ("thumbnail_size", "pixels"), [("1", (1, 1)), ("100", (100, 75)), ("320", (320, 240)), ("4096", (640, 480))]
)
async def test_thumbnails_lie_within_the_size_that_was_asked_for(
    client: httpx.AsyncClient, thumbnail_size: str, pixels: tuple[int, int]
) -> None:
    """Whatever their shape, and no picture is enlarged."""
    await uploaded(client, DATA)
    await uploaded(client, picture("png", 480, 640))
    upright, wide = await listed(client, thumbnail_size=thumbnail_size)
    for image, size in ((wide, pixels), (upright, pixels[::-1])):
        served = await follow(client, image["thumbnail_url"])
        assert PIL.Image.open(io.BytesIO(served.content)).size == size


async def test_thumbnails_are_of_one_size_on_every_page(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        await uploaded(client, DATA)
    params = {"include": "urls", "thumbnail_size": "64", "limit": "1"}
    first = await client.get("/images", params=params)
    second = await client.get(first.links["next"]["url"])
    for page in (first, second):
        served = await follow(client, page.json()["images"][0]["thumbnail_url"])
        assert PIL.Image.open(io.BytesIO(served.content)).size == (64, 48)


@pytest.mark.parametrize("params", [{}, {"thumbnail_size": "64"}], ids=str)
async def test_a_list_without_urls_has_no_thumbnails(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    await uploaded(client)
    (image,) = (await client.get("/images", params=params)).json()["images"]
    assert not {"url", "thumbnail_url", "expires_at"} & set(image)


async def test_whatever_is_changed_is_refused(client: httpx.AsyncClient) -> None:
    """A value, a parameter that is added or left out, the signature, the image."""
    url = await thumbnail_of(client)
    pairs = parse_qsl(urlsplit(url).query)
    assert [name for name, _ in pairs] == ["width", "height", "fit", "expires", "signature"]
    values = dict(pairs)
    later = str(int(values["expires"]) + 1)
    others = {"width": "321", "height": "319", "fit": "cover", "expires": later, "signature": "0" * 64}
    changed = [with_query(url, [*(values | {name: value}).items()]) for name, value in others.items()]
    changed += [with_query(url, [pair for pair in pairs if pair[0] != name]) for name in values]
    added = ("position", "top"), ("enlarge", "true"), ("format", "png"), ("quality", "80"), ("download", "true")
    changed += [with_query(url, [*pairs, pair]) for pair in (*added, ("expires_in", "60"))]
    changed.append(with_query(url, [("expires", later)]))
    for signature in ("", "é", "%", values["signature"].upper(), values["signature"][:-1], f"{values['signature']}0"):
        changed.append(with_query(url, [*(values | {"signature": signature}).items()]))
    for link in changed:
        for method in ("GET", "HEAD"):
            answer = await client.request(method, link)
            assert answer.status_code == 403, link
        assert_problem(await client.get(link), 403, "signature_invalid")
    await follow(client, url)


async def test_what_is_said_twice_is_refused(client: httpx.AsyncClient) -> None:
    """Nobody may have to guess which of the two was signed. What is no parameter at all is named, too."""
    url = await thumbnail_of(client)
    for name, value in parse_qsl(urlsplit(url).query):
        for again in (value, "1"):
            assert_problem(await client.get(f"{url}&{urlencode({name: again})}"), 400, "invalid_request", name)
    assert_problem(await client.get(f"{url}&x=1"), 400, "invalid_request", "x")


async def test_the_order_does_not_matter(client: httpx.AsyncClient) -> None:
    """Proxies that sort the query break nothing."""
    url = await thumbnail_of(client)
    for pairs in (sorted(parse_qsl(urlsplit(url).query)), parse_qsl(urlsplit(url).query)[::-1]):
        await follow(client, with_query(url, pairs))


async def test_a_signature_is_good_for_one_image(client: httpx.AsyncClient) -> None:
    one, other = await thumbnail_of(client), await thumbnail_of(client)
    swapped = f"{other.partition('?')[0]}?{urlsplit(one).query}"
    assert_problem(await client.get(swapped), 403, "signature_invalid")


async def test_a_link_to_an_image_that_is_gone(client: httpx.AsyncClient) -> None:
    url = await thumbnail_of(client)
    await follow(client, url)
    (image,) = await listed(client)
    await client.delete(f"/images/{image['image_id']}")
    assert_problem(await client.get(url), 404, "image_not_found")


async def test_a_link_expires(app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """At `expires_at`, and a changed one is not said to have been good before."""
    url = await thumbnail_of(client)
    set_clock(app, monkeypatch, expires_of(url) - dt.timedelta(milliseconds=1))
    assert (await client.get(url)).status_code == 302
    for late in (dt.timedelta(0), dt.timedelta(days=400)):
        set_clock(app, monkeypatch, expires_of(url) + late)
        assert_problem(await client.get(url), 403, "link_expired")
        assert_problem(await client.get(url.replace("width=320", "width=321")), 403, "signature_invalid")


@pytest.mark.parametrize("left", [3_600, 1_800, 1.5, 1, 0.001])
async def test_what_it_leads_to_ends_with_it(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, left: float
) -> None:
    """Whoever got the link for a time does not get more of it by following it late."""
    url = await thumbnail_of(client)
    set_clock(app, monkeypatch, expires_of(url) - dt.timedelta(seconds=left))
    answer = await client.get(url)
    assert end_of(answer.headers["location"]) <= expires_of(url)
    assert int(answer.headers["cache-control"].removeprefix("private, max-age=")) <= left


async def test_what_it_leads_to_ends_with_it_however_long_it_was_made(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that making a rendition takes is not added to it."""
    url = await thumbnail_of(client)
    ensure = RenditionService.ensure

    async def take_ten_seconds(*arguments: Any) -> str:
        set_clock(app, monkeypatch, expires_of(url) - dt.timedelta(seconds=20))
        return await ensure(*arguments)

    set_clock(app, monkeypatch, expires_of(url) - dt.timedelta(seconds=30))
    monkeypatch.setattr(RenditionService, "ensure", take_ten_seconds)
    answer = await client.get(url)
    assert end_of(answer.headers["location"]) <= expires_of(url)


# Keys and prefixes


@asynccontextmanager
async def service(directory: Path, prefix: str = "", **variables: str) -> AsyncIterator[httpx.AsyncClient]:
    services = build_services(Settings.from_environment({"DATA_DIR": str(directory), **variables}))
    transport = httpx.ASGITransport(create_app(services), root_path=prefix)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://testserver{prefix}") as client:
        yield client
    await services.close()


async def test_keys_are_changed(tmp_path: Path) -> None:
    """With the old key second its links still work; once it is removed they don't. The new one signs."""
    async with service(tmp_path, URL_SIGNING_KEYS=OLD) as client:
        old = await thumbnail_of(client)
    async with service(tmp_path, URL_SIGNING_KEYS=f"{NEW},{OLD}") as client:
        await follow(client, old)
        new = await thumbnail_of(client)
    async with service(tmp_path, URL_SIGNING_KEYS=NEW) as client:
        assert_problem(await client.get(old), 403, "signature_invalid")
        await follow(client, new)
    async with service(tmp_path, URL_SIGNING_KEYS=OLD) as client:
        assert_problem(await client.get(new), 403, "signature_invalid")
        await follow(client, old)


async def test_a_key_that_was_made_is_kept(tmp_path: Path) -> None:
    async with service(tmp_path) as client:
        url = await thumbnail_of(client)
    async with service(tmp_path) as client:
        await follow(client, url)
    async with service(tmp_path / "another") as client:
        assert_problem(await client.get(url), 403, "signature_invalid")


async def test_under_a_prefix(tmp_path: Path) -> None:
    """The link begins with it, and so does what it leads to."""
    async with service(tmp_path, "/dev") as client:
        url = await thumbnail_of(client)
        assert url.startswith("http://testserver/dev/images/")
        answer = await client.get(url)
        assert answer.headers["location"].startswith("http://testserver/dev/objects/renditions/")
        await follow(client, url)
        assert_problem(await client.get(url.replace("width=320", "width=321")), 403, "signature_invalid")
