"""`GET /checksums`: which files an owner has already."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.api import assert_problem, raw, uploaded
from tests.support.homes import HOMES, home_app
from tests.support.pictures import picture
from tests.support.tokens import AUTH, bearer, token

pytestmark = pytest.mark.anyio

ONE, TWO, THREE = (picture(color=(number, 0, 0)) for number in (1, 2, 3))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def known(client: httpx.AsyncClient, *checksums: str, **options: Any) -> list[tuple[str, str]]:
    params = {"sha256": list(checksums), **options.pop("params", {})}
    answer = await client.get("/checksums", params=params, **options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-cache"
    body = answer.json()
    assert set(body) == {"checksums", "count"}
    assert body["count"] == len(body["checksums"])
    assert all(set(each) == {"sha256", "image_id"} for each in body["checksums"])
    return [(each["sha256"], each["image_id"]) for each in body["checksums"]]


@pytest.fixture(params=HOMES)
async def asking(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token of a service that asks for one, in either home."""
    async with (
        home_app(request.param, tmp_path, lambda: request.getfixturevalue("emulator"), AUTH) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver") as client,
    ):
        yield client


async def test_those_that_are_there(client: httpx.AsyncClient) -> None:
    """In the order asked, each once; and the one that a duplicate is answered with."""
    images = [await uploaded(client, data) for data in (ONE, TWO, ONE)]
    one, two = (sha256(ONE), images[0]["image_id"]), (sha256(TWO), images[1]["image_id"])
    assert await known(client, two[0], sha256(THREE), one[0]) == [two, one]
    assert await known(client, one[0].upper(), two[0], one[0]) == [one, two]
    assert await known(client, f"{two[0]}, {sha256(THREE)},{one[0]}") == [two, one]
    assert await known(client, sha256(THREE)) == []
    again = await client.post("/images", params={"on_duplicate": "return"}, **raw(ONE))
    assert again.json()["image_id"] == one[1]
    await client.delete(f"/images/{one[1]}")
    assert await known(client, one[0]) == [(one[0], images[2]["image_id"])]


async def test_fifty_at_once(client: httpx.AsyncClient) -> None:
    """More are refused, however often each is repeated."""
    image = await uploaded(client, ONE)
    others = [f"{number:064x}" for number in range(49)]
    assert await known(client, *others, sha256(ONE), *others) == [(sha256(ONE), image["image_id"])]
    answer = await client.get("/checksums", params={"sha256": [*others, sha256(ONE), sha256(TWO)]})
    assert "wants at most 50" in assert_problem(answer, 400, "invalid_request", "sha256")["detail"]


async def test_without_tokens_it_is_anonymous_who_asks(client: httpx.AsyncClient) -> None:
    """As it is to whom an upload belongs that does not say."""
    await uploaded(client, ONE, user_id="ann")
    assert await known(client, sha256(ONE)) == []
    image = await uploaded(client, ONE)
    assert await known(client, sha256(ONE)) == [(sha256(ONE), image["image_id"])]
    assert await known(client, sha256(ONE), params={"user_id": "anonymous"}) == [(sha256(ONE), image["image_id"])]


async def test_everybody_asks_for_themselves(asking: httpx.AsyncClient) -> None:
    """Only an admin asks for others; whoever else does is told of nothing."""
    ann, bob, admin = (
        {"headers": bearer(token(name, scope))}
        for name, scope in (("ann", "images:write"), ("bob", "images:read"), ("admin", "images:admin"))
    )
    upload = await asking.post("/images", content=ONE, headers={**ann["headers"], "Content-Type": "image/jpeg"})
    image = upload.json()
    mine = [(sha256(ONE), image["image_id"])]
    of_ann = {"params": {"user_id": "ann"}}
    assert await known(asking, sha256(ONE), **ann) == await known(asking, sha256(ONE), **ann, **of_ann) == mine
    assert await known(asking, sha256(ONE), **bob) == await known(asking, sha256(ONE), **bob, **of_ann) == []
    assert await known(asking, sha256(ONE), **admin) == []
    assert await known(asking, sha256(ONE), **admin, **of_ann) == mine


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "sha256"),
        ({"sha256": ""}, "sha256"),
        ({"sha256": "0" * 63}, "sha256"),
        ({"sha256": "g" * 64}, "sha256"),
        ({"sha256": f"{'0' * 64},"}, "sha256"),
        ({"sha256": ["0" * 64, "x"]}, "sha256"),
        ({"sha256": "0" * 64, "user_id": "a b"}, "user_id"),
        ({"sha256": "0" * 64, "tags": "a"}, "tags"),
    ],
)
async def test_what_is_refused(client: httpx.AsyncClient, params: dict[str, Any], field: str) -> None:
    assert_problem(await client.get("/checksums", params=params), 400, "invalid_request", field)
