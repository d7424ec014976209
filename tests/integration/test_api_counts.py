"""`GET /tags` and `GET /usage`."""

import json
from typing import Any

import httpx
import pytest

from tests.support.api import assert_problem, uploaded

pytestmark = pytest.mark.anyio


async def tags(client: httpx.AsyncClient, **params: Any) -> dict[str, int]:
    answer = await client.get("/tags", params=params)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"tags", "count", "last_key"}
    assert body["count"] == len(body["tags"])
    return {found["tag"]: found["count"] for found in body["tags"]}


@pytest.fixture
async def images(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return [
        await uploaded(client, user_id=user_id, tags=names)
        for user_id, names in (("ann", "Cat,dog"), ("ann", "cat,catalogue"), ("bob", "cat,été"))
    ]


async def test_nothing_is_there(client: httpx.AsyncClient) -> None:
    assert (await client.get("/tags")).json() == {"tags": [], "count": 0, "last_key": None}
    assert (await client.get("/usage")).json() == {"images": 0, "bytes": 0}


async def test_tags_are_counted(client: httpx.AsyncClient, images: list[dict[str, Any]]) -> None:
    assert await tags(client) == {"cat": 3, "catalogue": 1, "dog": 1, "été": 1}
    assert await tags(client, user_id="ann") == {"cat": 2, "catalogue": 1, "dog": 1}
    assert await tags(client, user_id="nobody") == {}
    assert await tags(client, prefix=" CAT") == {"cat": 3, "catalogue": 1}
    assert await tags(client, prefix="cat ") == {}
    assert await tags(client, prefix="e\u0301") == {"été": 1}
    assert await tags(client, prefix="x") == {}
    assert (await client.delete(f"/images/{images[0]['image_id']}")).status_code == 204
    assert await tags(client) == {"cat": 2, "catalogue": 1, "été": 1}


async def test_pages_are_followed_to_the_end(client: httpx.AsyncClient, images: list[dict[str, Any]]) -> None:
    found, url = [], "/tags?limit=1&prefix=ca"
    while url:
        answer = await client.get(url)
        found += answer.json()["tags"]
        last_key = answer.json()["last_key"]
        assert ("next" in answer.links) is (last_key is not None)
        url = answer.links.get("next", {}).get("url", "")
    assert found == [{"tag": "cat", "count": 3}, {"tag": "catalogue", "count": 1}]
    answer = await client.get("/tags", params={"last_key": json.dumps({"tag": "catalogue"})})
    assert [entry["tag"] for entry in answer.json()["tags"]] == ["dog", "été"]


async def test_usage(client: httpx.AsyncClient, images: list[dict[str, Any]]) -> None:
    sizes = [image["size"] for image in images]
    assert (await client.get("/usage")).json() == {"images": 3, "bytes": sum(sizes)}
    assert (await client.get("/usage", params={"user_id": "ann"})).json() == {"images": 2, "bytes": sum(sizes[:2])}
    assert (await client.get("/usage", params={"user_id": "nobody"})).json() == {"images": 0, "bytes": 0}


@pytest.mark.parametrize(
    ("path", "params", "field"),
    [
        ("/tags", {"user_id": "a b"}, "user_id"),
        ("/tags", {"prefix": "a,b"}, "prefix"),
        ("/tags", {"prefix": "x" * 65}, "prefix"),
        ("/tags", {"prefix": "\U0010ffff"}, "prefix"),
        ("/tags", {"prefix": "a\u0000"}, "prefix"),
        ("/tags", {"limit": "0"}, "limit"),
        ("/tags", {"limit": "101"}, "limit"),
        ("/tags", {"last_key": "cat"}, "last_key"),
        ("/tags", {"last_key": '{"tag": ""}'}, "last_key"),
        ("/tags", {"last_key": '{"tag": "Cat"}'}, "last_key"),
        ("/tags", {"last_key": '{"tag": "a,b"}'}, "last_key"),
        ("/tags", {"last_key": '{"image_id": "cat"}'}, "last_key"),
        ("/tags", {"tags": "cat"}, "tags"),
        ("/usage", {"user_id": "a b"}, "user_id"),
        ("/usage", {"prefix": "a"}, "prefix"),
    ],
)
async def test_what_is_refused(client: httpx.AsyncClient, path: str, params: dict[str, str], field: str) -> None:
    assert_problem(await client.get(path, params=params), 400, "invalid_request", field)
