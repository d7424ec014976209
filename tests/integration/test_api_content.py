"""`GET /images/{image_id}/content`, renditions as `GET /images/{image_id}` links to them, and what they refuse."""

import datetime as dt
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import PIL.Image
import pytest

from src.bootstrap import build_services
from src.common.config import Settings
from src.common.sigv4 import Credentials
from src.handlers.app import create_app
from src.services.link_service import LinkService
from tests.support.api import assert_problem, stored_files, uploaded
from tests.support.pictures import animation, picture

NOBODY = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"  # not one of the moment: all processes have to find the same tests

pytestmark = pytest.mark.anyio

DATA = picture("png", 640, 480)
EVERYTHING = {
    "width": "100",
    "height": "100",
    "fit": "contain",
    "position": "top-left",
    "enlarge": "true",
    "format": "jpeg",
    "quality": "70",
    "download": "true",
    "expires_in": "60",
}


@pytest.fixture
async def image(client: httpx.AsyncClient) -> dict[str, Any]:
    return await uploaded(client, DATA, filename="a walk.png")


def path_of(image: dict[str, Any]) -> str:
    return f"/images/{image['image_id']}/content"


async def redirected(
    client: httpx.AsyncClient, image: dict[str, Any], params: dict[str, str], **headers: str
) -> httpx.Response:
    answer = await client.get(path_of(image), params=params, headers=headers)
    assert (answer.status_code, answer.content) == (302, b"")
    return answer


async def followed(
    client: httpx.AsyncClient, image: dict[str, Any], params: dict[str, str], **headers: str
) -> tuple[httpx.Response, PIL.Image.Image]:
    served = await client.get((await redirected(client, image, params, **headers)).headers["location"])
    assert served.status_code == 200, served.text
    return served, PIL.Image.open(io.BytesIO(served.content))


def life_of(url: str) -> int:
    return int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0])


# The redirect


async def test_without_parameters_it_is_the_original(client: httpx.AsyncClient, image: dict[str, Any]) -> None:
    answer = await redirected(client, image, {})
    served = await client.get(answer.headers["location"])
    assert (served.status_code, served.content) == (200, DATA)
    assert served.headers["content-type"] == "image/png"
    assert served.headers["content-disposition"] == 'inline; filename="a walk.png"'
    assert "vary" not in answer.headers


@pytest.mark.parametrize(
    ("params", "size"),
    [
        ({"width": "320"}, (320, 240)),
        ({"height": "48"}, (64, 48)),
        ({"width": "100", "height": "100"}, (100, 100)),
        ({"width": "100", "height": "100", "fit": "inside"}, (100, 75)),
        ({"width": "100", "height": "100", "fit": "contain"}, (100, 100)),
        ({"width": "100", "height": "50", "fit": "fill"}, (100, 50)),
        ({"width": "1280"}, (640, 480)),
        ({"width": "1280", "enlarge": "true"}, (1280, 960)),
        ({"quality": "10"}, (640, 480)),
        ({"width": "1", "height": "1"}, (1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif"])
async def test_a_rendition(
    client: httpx.AsyncClient, image: dict[str, Any], name: str, params: dict[str, str], size: tuple[int, int]
) -> None:
    """The size and format that were asked for, the type that belongs to it, and the name with its ending."""
    served, made = await followed(client, image, params | {"format": name})
    assert (made.format, made.size) == (name.upper(), size)
    assert served.headers["content-type"] == f"image/{name}"
    ending = {"jpeg": "jpg"}.get(name, name)
    assert served.headers["content-disposition"] == f'inline; filename="a walk.{ending}"'
    assert served.headers["content-length"] == str(len(served.content))


@pytest.mark.parametrize(
    ("expires_in", "life", "max_age"),
    [(None, 3_600, 1_800), ("600", 600, 300), ("1", 1, 0), ("604800", 604_800, 302_400)],
)
@pytest.mark.parametrize("params", [{}, {"width": "10"}], ids=["original", "rendition"])
async def test_how_long(
    client: httpx.AsyncClient,
    image: dict[str, Any],
    params: dict[str, str],
    expires_in: str | None,
    life: int,
    max_age: int,
) -> None:
    """A cache keeps the answer for half as long as the link in it works, and no shared one does."""
    answer = await redirected(client, image, params | ({"expires_in": expires_in} if expires_in else {}))
    assert life_of(answer.headers["location"]) == life
    assert answer.headers["cache-control"] == f"private, max-age={max_age}"


async def test_no_cache_outlives_temporary_credentials(
    client: httpx.AsyncClient, image: dict[str, Any], monkeypatch: pytest.MonkeyPatch, app: Any
) -> None:
    """A link that is signed with them works for a shorter time than was asked for, and the cache must know."""
    links: LinkService = app.state.services.links
    end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100)
    temporary = Credentials("AKID", "secret", "token", end)
    monkeypatch.setattr(links, "_signer", lambda: temporary)
    answer = await redirected(client, image, {"expires_in": "604800"})
    assert life_of(answer.headers["location"]) <= 100
    assert int(answer.headers["cache-control"].removeprefix("private, max-age=")) <= 50


@pytest.mark.parametrize(
    "params", [{}, {"width": "10"}, {"width": "10", "format": "jpeg"}, {"format": "auto"}], ids=str
)
async def test_head_tells_what_get_would(
    client: httpx.AsyncClient, image: dict[str, Any], params: dict[str, str]
) -> None:
    got, head = [await client.request(method, path_of(image), params=params) for method in ("GET", "HEAD")]
    assert (head.status_code, head.content) == (302, b"")
    assert {*head.headers} == {*got.headers}
    for name in ("cache-control", "vary"):
        assert head.headers.get(name) == got.headers.get(name)
    assert (await client.head(head.headers["location"])).status_code == 200
    assert (await client.get(head.headers["location"])).status_code == 200


@pytest.mark.parametrize(
    ("filename", "params", "expected"),
    [
        ("a walk.png", {}, 'attachment; filename="a walk.png"'),
        ("a walk.png", {"width": "10"}, 'attachment; filename="a walk.png"'),
        ("a walk.png", {"format": "webp"}, 'attachment; filename="a walk.webp"'),
        ("a.tar.png", {"format": "jpeg"}, 'attachment; filename="a.tar.jpg"'),
        ("no ending", {"format": "avif"}, 'attachment; filename="no ending.avif"'),
        (".png", {"format": "avif"}, 'attachment; filename=".png.avif"'),
        ("...", {"format": "avif"}, None),
        ("walk.", {"format": "avif"}, None),
        ("v1.0 of the walk", {"format": "webp"}, 'attachment; filename="v1.0 of the walk.webp"'),
    ],
)
async def test_download(client: httpx.AsyncClient, filename: str, params: dict[str, str], expected: str | None) -> None:
    """It is saved under the image's name, with the ending that belongs to what it is now."""
    image = await uploaded(client, DATA, filename=filename)
    served, _ = await followed(client, image, params | {"download": "true"})
    disposition = served.headers["content-disposition"]
    assert disposition.endswith(f'.{params.get("format", "png")}"'.replace("jpeg", "jpg"))
    assert disposition.startswith("attachment; ")
    assert expected in (None, disposition)


# Accept


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("image/webp,*/*", "image/webp"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image/webp"),
        ("image/avif,*/*", "image/avif"),
        ("image/webp;q=0,*/*", "image/png"),
    ],
)
@pytest.mark.parametrize("params", [{"width": "32"}, {"width": "32", "format": "auto"}], ids=["no format", "auto"])
async def test_the_format_is_negotiated(
    client: httpx.AsyncClient, image: dict[str, Any], params: dict[str, str], accept: str | None, content_type: str
) -> None:
    """By the Accept header, and a cache is told so."""
    answer = await client.get(path_of(image), params=params, headers={} if accept is None else {"Accept": accept})
    assert answer.headers["vary"] == "Accept"
    assert (await client.get(answer.headers["location"])).headers["content-type"] == content_type


async def test_a_format_that_is_asked_for_is_not_negotiated(client: httpx.AsyncClient, image: dict[str, Any]) -> None:
    answer = await redirected(client, image, {"width": "32", "format": "jpeg"}, Accept="image/webp")
    assert "vary" not in answer.headers
    assert (await client.get(answer.headers["location"])).headers["content-type"] == "image/jpeg"


async def test_an_animation_stays_one(client: httpx.AsyncClient) -> None:
    image = await uploaded(client, animation("gif"))
    _, made = await followed(client, image, {"width": "20"})
    assert (made.format, made.size, getattr(made, "n_frames", 1)) == ("WEBP", (20, 15), 3)


# Refusals

BAD = {
    "width": ("0", "4097", "abc", "", "-1", "1.5", "null", "1e2", "+5", "9" * 400),
    "height": ("0", "4097", "abc", ""),
    "fit": ("crop", "", "Cover", "null"),
    "position": ("middle", "", "top left", "null"),
    "enlarge": ("yes", "", "2"),
    "format": ("gif", "tiff", "jpg", "", "image/webp", "null"),
    "quality": ("0", "101", "", "high"),
    "download": ("yes", ""),
    "expires_in": ("0", "604801", "", "abc"),
    "size": ("large",),
}


@pytest.mark.parametrize("route", ["/content", ""])
@pytest.mark.parametrize(("field", "value"), [(field, value) for field in BAD for value in BAD[field]])
async def test_a_bad_value_names_its_field(
    client: httpx.AsyncClient, image: dict[str, Any], settings: Settings, route: str, field: str, value: str
) -> None:
    """In both places alike, and nothing is made."""
    answer = await client.get(f"/images/{image['image_id']}{route}", params={field: value})
    assert_problem(answer, 400, "invalid_request", field)
    assert len(stored_files(settings)) == 1


@pytest.mark.parametrize("route", ["/content", ""])
async def test_all_that_is_wrong_is_named(client: httpx.AsyncClient, image: dict[str, Any], route: str) -> None:
    params: dict[str, Any] = dict.fromkeys(EVERYTHING, "?") | {"x": "1", "width": ["10", "10"]}
    answer = await client.get(f"/images/{image['image_id']}{route}", params=params)
    assert_problem(answer, 400, "invalid_request", *params)


@pytest.mark.parametrize("image_id", [NOBODY, "x", "%00", "%ff", "a" * 3_000, NOBODY.upper()], ids=lambda i: i[:9])
@pytest.mark.parametrize("params", [{}, {"width": "10"}], ids=str)
async def test_no_such_image(client: httpx.AsyncClient, image_id: str, params: dict[str, str]) -> None:
    assert_problem(await client.get(f"/images/{image_id}/content", params=params), 404, "image_not_found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_other_methods(client: httpx.AsyncClient, image: dict[str, Any], method: str) -> None:
    answer = await client.request(method, path_of(image))
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.fixture
async def modest(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Ask a service that allows ten thousand pixels."""
    services = build_services(Settings.from_environment({"DATA_DIR": str(tmp_path / "m"), "MAX_IMAGE_PIXELS": "10000"}))
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client
    await services.close()


@pytest.mark.parametrize("route", ["/content", ""])
@pytest.mark.parametrize(
    ("data", "params", "field"),
    [
        (picture("png", 100, 100), {"width": "101", "enlarge": "true"}, "width"),
        (picture("png", 100, 100), {"height": "101", "enlarge": "true"}, "height"),
        (picture("png", 100, 100), {"width": "101", "height": "100", "fit": "contain"}, "width"),
        (
            picture("png", 1_000, 1),
            {"width": "20", "height": "20", "enlarge": "true"},
            "width",
        ),  # 20,000 x 20 in between
        (animation("gif", frames=3), {"width": "80", "enlarge": "true"}, "width"),
    ],
)
async def test_too_many_pixels(
    modest: httpx.AsyncClient, data: bytes, params: dict[str, str], field: str, route: str
) -> None:
    """Of a rendition, or of what comes before it is cut, in all frames: refused before any work is done."""
    image = await uploaded(modest, data)
    answer = await modest.get(f"/images/{image['image_id']}{route}", params=params)
    problem = assert_problem(answer, 400, "invalid_request", field)
    assert "10000" in problem["errors"][0]["message"]
    allowed = {name: {"101": "99", "20": "2", "80": "40"}.get(value, value) for name, value in params.items()}
    await followed(modest, image, allowed)
