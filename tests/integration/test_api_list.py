"""`GET /images`: filters, order, pages followed to the end, and what is refused."""

import asyncio
import datetime as dt
import json
import re
from typing import Any

import httpx
import pytest

from src.common.ids import new_id
from tests.support.api import assert_problem, uploaded

pytestmark = pytest.mark.anyio

TAGS = ["walk,sun", "walk", "sun", "", "walk,rain", "Walk,SUN,rain", "rain"]
NEXT = re.compile(r'<(?P<url>[^>]+)>; rel="next"')


@pytest.fixture
async def images(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Seven images, oldest first, of two owners by turns, each created in a millisecond of its own."""
    made = []
    for i, tags in enumerate(TAGS):
        made.append(await uploaded(client, user_id=("ann", "bob")[i % 2], tags=tags))
        await asyncio.sleep(0.002)
    return made


async def listed(client: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    answer = await client.get("/images", params=params)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert page["count"] == len(page["images"])
    assert set(page) == {"images", "count", "last_key"}
    found: list[dict[str, Any]] = page["images"]
    return found


async def test_an_empty_list(client: httpx.AsyncClient) -> None:
    answer = await client.get("/images")
    assert answer.json() == {"images": [], "count": 0, "last_key": None}
    assert "link" not in answer.headers


async def test_the_newest_come_first(client: httpx.AsyncClient, images: list[dict[str, Any]]) -> None:
    """Whole images, as the upload answered them."""
    assert await listed(client) == images[::-1]
    assert await listed(client, order="newest") == images[::-1]
    assert await listed(client, order="oldest") == images


@pytest.mark.parametrize(
    ("params", "indexes"),
    [
        ({"user_id": "ann"}, [0, 2, 4, 6]),
        ({"user_id": "nobody"}, []),
        ({"tags": "walk"}, [0, 1, 4, 5]),
        ({"tags": "WALK "}, [0, 1, 4, 5]),
        ({"tags": "walk,sun"}, [0, 5]),
        ({"tags": ["walk", "sun"]}, [0, 5]),
        ({"tags": ["walk,sun", "rain"]}, [5]),
        ({"tags": "walk,sun", "tag_mode": "all"}, [0, 5]),
        ({"tags": "walk,sun", "tag_mode": "any"}, [0, 1, 2, 4, 5]),
        ({"tags": "nothing"}, []),
        ({"tags": "nothing,sun", "tag_mode": "any"}, [0, 2, 5]),
        ({"tags": ""}, [0, 1, 2, 3, 4, 5, 6]),
        ({"exclude_tags": "walk"}, [2, 3, 6]),
        ({"exclude_tags": ["walk", "Rain"]}, [2, 3]),
        ({"tags": "walk", "exclude_tags": "rain"}, [0, 1]),
        ({"tags": "walk,sun", "tag_mode": "any", "exclude_tags": "rain", "user_id": "ann"}, [0, 2]),
        ({"tags": "walk", "exclude_tags": "walk"}, []),
    ],
)
@pytest.mark.parametrize("limit", [100, 1])
async def test_filters(
    client: httpx.AsyncClient, images: list[dict[str, Any]], params: dict[str, Any], indexes: list[int], limit: int
) -> None:
    """In both orders, on one page and on many."""
    for order in ("newest", "oldest"):
        found = await followed(client, {**params, "order": order, "limit": limit})
        wanted = [images[i] for i in indexes]
        assert found == (wanted if order == "oldest" else wanted[::-1])


async def followed(client: httpx.AsyncClient, params: dict[str, Any]) -> list[dict[str, Any]]:
    """Follow the Link header from page to page until there is none, checking it against `last_key`."""
    found: list[dict[str, Any]] = []
    answer = await client.get("/images", params=params)
    while True:
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["count"] == len(page["images"]) <= int(params["limit"])
        found += page["images"]
        link = answer.headers.get("link")
        assert (link is None) == (page["last_key"] is None)
        if link is None:
            return found
        match = NEXT.fullmatch(link)
        assert match
        query = httpx.URL(match["url"]).params
        assert json.loads(query["last_key"]) == page["last_key"]
        # It asks for the same otherwise.
        assert {name: query.get_list(name) for name in query if name != "last_key"} == {
            name: [str(value) for value in (values if isinstance(values, list) else [values])]
            for name, values in params.items()
        }
        answer = await client.get(match["url"])


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 100])
@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_pages(client: httpx.AsyncClient, images: list[dict[str, Any]], limit: int, order: str) -> None:
    """Every image once, however the list is cut."""
    found = await followed(client, {"limit": limit, "order": order})
    assert found == (images if order == "oldest" else images[::-1])


async def test_a_page_that_ends_with_the_list_says_so(client: httpx.AsyncClient, images: list[dict[str, Any]]) -> None:
    assert (await client.get("/images", params={"limit": len(images)})).json()["last_key"] is None
    page = (await client.get("/images", params={"limit": len(images) - 1})).json()
    assert page["last_key"] == {"image_id": images[1]["image_id"]}


async def test_what_changes_meanwhile_shifts_nothing(client: httpx.AsyncClient, images: list[dict[str, Any]]) -> None:
    """What was there all along is listed once, though others come and go, the cursor's own image too."""
    first = (await client.get("/images", params={"limit": 3})).json()
    await uploaded(client)
    for image in (images[-1], images[-3], images[1]):
        assert (await client.delete(f"/images/{image['image_id']}")).status_code == 204
    rest = await listed(client, last_key=json.dumps(first["last_key"]))
    assert first["images"] == images[:-4:-1]
    assert rest == [images[3], images[2], images[0]]


async def test_the_default_limit_is_twenty(client: httpx.AsyncClient) -> None:
    for _ in range(21):
        await uploaded(client)
    assert len(await listed(client)) == 20
    assert len(await listed(client, limit=100)) == 21


async def test_a_range_of_time(client: httpx.AsyncClient, images: list[dict[str, Any]]) -> None:
    """From `created_after` on, until before `created_before`: adjoining ranges share no image and miss none."""
    for i, image in enumerate(images):
        moment = image["created_at"]
        assert await listed(client, created_after=moment, order="oldest") == images[i:]
        assert await listed(client, created_before=moment, order="oldest") == images[:i]
    both = {"created_after": images[2]["created_at"], "created_before": images[5]["created_at"]}
    assert await listed(client, **both, order="oldest") == images[2:5]
    assert await listed(client, created_after=both["created_before"], created_before=both["created_after"]) == []
    assert await followed(client, {**both, "order": "oldest", "limit": 1}) == images[2:5]
    assert await listed(client, **both, tags="walk", user_id="ann") == [images[4]]


async def test_a_moment_in_any_zone(client: httpx.AsyncClient, images: list[dict[str, Any]]) -> None:
    moment = dt.datetime.fromisoformat(images[3]["created_at"])
    for hours in (-5, 0, 9):
        text = moment.astimezone(dt.timezone(dt.timedelta(hours=hours))).isoformat()
        assert await followed(client, {"created_after": text, "limit": 2}) == images[:2:-1]
    # Ids are whole milliseconds, so a moment within one is after them.
    later = (moment + dt.timedelta(microseconds=1)).isoformat()
    assert await listed(client, created_after=later) == images[:3:-1]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z"])
async def test_a_moment_far_away(client: httpx.AsyncClient, images: list[dict[str, Any]], moment: str) -> None:
    after, before = await listed(client, created_after=moment), await listed(client, created_before=moment)
    assert sorted([len(after), len(before)]) == [0, len(images)]


async def test_links_on_request(client: httpx.AsyncClient, images: list[dict[str, Any]]) -> None:
    """`include=urls` gives each image links that work, on every page."""
    found = await followed(client, {"include": "urls", "limit": 3})
    added = ("url", "thumbnail_url", "expires_at")
    assert [{k: v for k, v in image.items() if k not in added} for image in found] == images[::-1]
    for image in found:
        assert dt.datetime.fromisoformat(image["expires_at"]) > dt.datetime.now(dt.UTC)
        served = await client.get(image["url"])
        assert (served.status_code, len(served.content)) == (200, image["size"])
        thumbnail = await client.get(image["thumbnail_url"], follow_redirects=True)
        assert (thumbnail.status_code, thumbnail.headers["content-type"]) == (200, "image/jpeg")


async def test_every_cursor_is_taken(client: httpx.AsyncClient, images: list[dict[str, Any]]) -> None:
    """Of an image that exists, one that never did, and in any JSON spelling."""
    cursor = images[3]["image_id"]
    for text in (f'{{"image_id":"{cursor}"}}', f' {{ "image_id" : "{cursor}" }} '):
        assert await listed(client, last_key=text) == images[2::-1]
        assert await listed(client, last_key=text, order="oldest") == images[4:]
    assert await listed(client, last_key=json.dumps({"image_id": new_id()})) == images[::-1]
    assert await listed(client, last_key=json.dumps({"image_id": new_id()}), order="oldest") == []


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        *[({"limit": value}, ["limit"]) for value in ("0", "101", "-1", "abc", "", "1.5", "+5", "9" * 400)],
        *[
            ({"last_key": value}, ["last_key"])
            for value in (
                "",
                "x",
                "null",
                "[]",
                "{}",
                '{"foo": 1}',
                '{"image_id": 1}',
                '{"image_id": "x"}',
                "NaN",
                "[" * 5_000,
            )
        ],
        ({"order": "random"}, ["order"]),
        ({"tag_mode": "none"}, ["tag_mode"]),
        ({"include": "everything"}, ["include"]),
        ({"include": "urls,everything"}, ["include"]),
        ({"include": ""}, ["include"]),
        *[
            ({"include": "urls", "thumbnail_size": value}, ["thumbnail_size"])
            for value in ("0", "4097", "-1", "", "large", "1.5", "320x240", ["64", "64"])
        ],
        ({"thumbnail_size": "0"}, ["thumbnail_size"]),
        ({"created_after": "yesterday"}, ["created_after"]),
        ({"created_before": "2026-01-31T09:30:00"}, ["created_before"]),
        ({"tags": ",".join(map(str, range(21)))}, ["tags"]),
        ({"tags": "x" * 65}, ["tags"]),
        ({"exclude_tags": "a\nb"}, ["exclude_tags"]),
        ({"user_id": "a b"}, ["user_id"]),
        ({"user_id": "x" * 129}, ["user_id"]),
        ({"user_id": ""}, ["user_id"]),
        ({"limit": ["1", "2"]}, ["limit"]),
        ({"offset": "1"}, ["offset"]),
        ({"Limit": "1"}, ["Limit"]),
        (
            {"limit": "0", "order": "up", "last_key": "x", "user_id": " ", "offset": "1"},
            ["limit", "order", "last_key", "user_id", "offset"],
        ),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_refusals(client: httpx.AsyncClient, params: dict[str, Any], fields: list[str]) -> None:
    assert_problem(await client.get("/images", params=params), 400, "invalid_request", *fields)


async def test_a_plus_that_was_not_encoded(client: httpx.AsyncClient) -> None:
    """The commonest mistake with a zone in a URL: the answer says how to write it."""
    answer = await client.get("/images?created_after=2026-01-31T09:30:00+01:00")
    assert "%2B" in assert_problem(answer, 400, "invalid_request", "created_after")["detail"]


async def test_a_list_is_not_kept_by_caches(client: httpx.AsyncClient) -> None:
    assert (await client.get("/images")).headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("limit", ["1.0", "1e1", "+1", "0x1", "1_0", "١"])
async def test_a_limit_that_is_nearly_an_integer(client: httpx.AsyncClient, limit: str) -> None:
    assert_problem(await client.get("/images", params={"limit": limit}), 400, "invalid_request", "limit")


async def test_a_query_that_is_no_text(client: httpx.AsyncClient) -> None:
    """Bytes that are not UTF-8 are not searched for as something else."""
    assert_problem(await client.get("/images?tags=%FF"), 400, "invalid_request", "query")
