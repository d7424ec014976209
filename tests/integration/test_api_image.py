"""`GET` and `DELETE /images/{image_id}`: the image and its link, conditional requests, and the end of both."""

import datetime as dt
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from src.common.config import Settings
from tests.support.api import assert_nothing_stored, assert_problem, stored_files, uploaded
from tests.support.pictures import picture

pytestmark = pytest.mark.anyio

NOBODY = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"


async def got(client: httpx.AsyncClient, image: dict[str, Any], **params: Any) -> dict[str, Any]:
    answer = await client.get(f"/images/{image['image_id']}", params=params)
    assert answer.status_code == 200, answer.text
    linked: dict[str, Any] = answer.json()
    return linked


def query_of(url: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


async def test_an_image_and_its_link(client: httpx.AsyncClient) -> None:
    data = picture("webp")
    image = await uploaded(client, data, tags="a,b", description="text")
    linked = await got(client, image)
    assert {name: linked[name] for name in image} == image
    assert set(linked) - set(image) == {"url", "expires_at"}
    served = await client.get(linked["url"])
    assert (served.status_code, served.content) == (200, data)


@pytest.mark.parametrize(
    ("params", "seconds"), [({}, 3600), ({"expires_in": "1"}, 1), ({"expires_in": "604800"}, 604_800)]
)
async def test_expires_at_is_when_the_url_says(client: httpx.AsyncClient, params: dict[str, str], seconds: int) -> None:
    """What the answer promises is what is signed: X-Amz-Date and X-Amz-Expires."""
    before = dt.datetime.now(dt.UTC)
    linked = await got(client, await uploaded(client), **params)
    query = query_of(linked["url"])
    assert query["X-Amz-Expires"] == str(seconds)
    signed_at = dt.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    assert before - dt.timedelta(seconds=1) <= signed_at <= dt.datetime.now(dt.UTC)
    assert dt.datetime.fromisoformat(linked["expires_at"]) == signed_at + dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        *[
            ({"expires_in": value}, ["expires_in"])
            for value in ("0", "604801", "abc", "", "-1", "1.5", "+5", "null", "9" * 400)
        ],
        *[({"download": value}, ["download"]) for value in ("yes", "", "2", "null")],
        ({"download": ["true", "true"]}, ["download"]),
        ({"size": "large"}, ["size"]),
        ({"expires_in": "0", "download": "perhaps", "x": ""}, ["expires_in", "download", "x"]),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_refusals(client: httpx.AsyncClient, params: dict[str, Any], fields: list[str]) -> None:
    image = await uploaded(client)
    answer = await client.get(f"/images/{image['image_id']}", params=params)
    assert_problem(answer, 400, "invalid_request", *fields)


@pytest.mark.parametrize("download", ["true", "false", None])
async def test_a_download_has_the_image_s_name(client: httpx.AsyncClient, download: str | None) -> None:
    """RFC 6266, with the name in both forms where it is not plain ASCII."""
    image = await uploaded(client, filename='€ "walk" 100%.png')
    linked = await got(client, image, **({} if download is None else {"download": download}))
    served = await client.get(linked["url"])
    assert served.headers["content-disposition"] == (
        f"{'attachment' if download == 'true' else 'inline'}; "
        "filename=\"_ _walk_ 100_.png\"; filename*=UTF-8''%E2%82%AC%20%22walk%22%20100%25.png"
    )


@pytest.mark.parametrize(
    ("spelling", "matches"),
    [
        ("{}", True),
        ("W/{}", True),
        ('"other", {}', True),
        ('"other" ,W/"another",{} ', True),
        ("*", True),
        ('"other"', False),
        ("", False),
        ('W/"other", "more"', False),
    ],
)
async def test_if_none_match(client: httpx.AsyncClient, spelling: str, matches: bool) -> None:
    """RFC 9110, 13.1.2: weak comparison, any of a list, or whatever there is."""
    path = f"/images/{(await uploaded(client))['image_id']}"
    first = await client.get(path)
    answer = await client.get(path, headers={"If-None-Match": spelling.format(first.headers["etag"])})
    assert answer.status_code == (304 if matches else 200)
    assert answer.headers["etag"] == first.headers["etag"]
    if matches:
        assert answer.content == b""
        # What a cache would have got with the 200 (RFC 9110, 15.4.5).
        assert answer.headers.get("cache-control") == first.headers["cache-control"]


async def test_an_etag_is_of_one_image(client: httpx.AsyncClient) -> None:
    """A strong one, which no other image has and which stays while the image is as it is."""
    images = [await uploaded(client) for _ in range(2)]
    etags = [(await client.get(f"/images/{image['image_id']}")).headers["etag"] for image in images * 2]
    assert etags[:2] == etags[2:]
    assert etags[0] != etags[1]
    assert all(etag.startswith('"') and etag.endswith('"') for etag in etags)


async def test_delete(client: httpx.AsyncClient, settings: Settings) -> None:
    """Gone from everywhere at once: the image, the list, its tags, its link, the disk. Again is 404."""
    image = await uploaded(client, tags="a")
    path = f"/images/{image['image_id']}"
    url = (await got(client, image))["url"]
    answer = await client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    for method in ("GET", "DELETE"):
        problem = assert_problem(await client.request(method, path), 404, "image_not_found")
        assert image["image_id"] in problem["detail"]
    assert_problem(await client.get(url), 404, "object_not_found")
    assert (await client.get("/images", params={"tags": "a"})).json()["images"] == []
    await assert_nothing_stored(client, settings)


async def test_deleting_one_leaves_the_others(client: httpx.AsyncClient, settings: Settings) -> None:
    """Also one of the same bytes and owner."""
    data = picture("png")
    kept, deleted = await uploaded(client, data), await uploaded(client, data)
    assert (await client.delete(f"/images/{deleted['image_id']}")).status_code == 204
    assert (await client.get((await got(client, kept))["url"])).content == data
    assert len(stored_files(settings)) == 1


async def test_a_delete_does_what_it_was_asked_or_nothing(client: httpx.AsyncClient) -> None:
    """A parameter that is not known is refused here too: whoever sends `dry_run` must not lose the image."""
    image = await uploaded(client)
    answer = await client.delete(f"/images/{image['image_id']}", params={"dry_run": "true"})
    assert_problem(answer, 400, "invalid_request", "dry_run")
    assert await got(client, image)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "image_id",
    [
        NOBODY,
        "x",
        "0",
        "null",
        "%00",
        "%ff",
        "..%5c..%5cetc%5cpasswd",
        "a" * 3_000,
        NOBODY.upper(),
        f"{NOBODY}%20",
        "0198c0de-1111-4111-8111-111111111111",
    ],
    ids=lambda value: value[:20],
)
async def test_no_such_image(client: httpx.AsyncClient, method: str, image_id: str) -> None:
    assert_problem(await client.request(method, f"/images/{image_id}"), 404, "image_not_found")
