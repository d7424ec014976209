"""Quotas over the API: exact, however many upload at once, and nothing is left of what is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.applications import Starlette

from tests.support.api import assert_problem, raw, uploaded
from tests.support.homes import HOMES, home_app, stored_objects
from tests.support.pictures import picture
from tests.support.tokens import AUTH, bearer, token
from tests.support.uploads import DATA, complete, declaration, declared, receive

pytestmark = pytest.mark.anyio

IMAGES, ATTEMPTS = 5, 20


class Home(NamedTuple):
    app: Starlette
    client: httpx.AsyncClient
    request: pytest.FixtureRequest

    async def stored(self) -> int:
        return len(await stored_objects(self.app, lambda: self.request.getfixturevalue("emulator")))


@pytest.fixture(params=HOMES)
async def home(request: pytest.FixtureRequest, tmp_path: Path, quota: dict[str, str]) -> AsyncIterator[Home]:
    async with home_app(request.param, tmp_path, lambda: request.getfixturevalue("emulator"), {**AUTH, **quota}) as app:
        options: dict[str, Any] = {"transport": httpx.ASGITransport(app), "base_url": "http://testserver"}
        async with httpx.AsyncClient(**options, headers=bearer(token("ann")), timeout=60) as client:
            yield Home(app, client, request)


@pytest.mark.parametrize("quota", [{"QUOTA_IMAGES": str(IMAGES)}, {"QUOTA_BYTES": str(IMAGES * len(DATA) + 1)}])
async def test_exactly_as_many_as_there_is_room_for(home: Home, quota: dict[str, str]) -> None:
    answers = await asyncio.gather(*(home.client.post("/images", **raw(DATA)) for _ in range(ATTEMPTS)))
    assert sorted(answer.status_code for answer in answers) == [201] * IMAGES + [403] * (ATTEMPTS - IMAGES)
    for answer in answers:
        if answer.status_code == 403:
            assert_problem(answer, 403, "quota_exceeded")
    expected = {"images": IMAGES, "bytes": IMAGES * len(DATA)}
    assert (await home.client.get("/usage")).json() == expected
    assert await home.stored() == IMAGES
    other = bearer(token("bob"))
    assert (await home.client.post("/images", content=DATA, headers={**other, "Content-Type": "image/png"})).is_success
    gone = next(answer for answer in answers if answer.status_code == 201).json()["image_id"]
    assert (await home.client.delete(f"/images/{gone}")).status_code == 204
    assert (await home.client.post("/images", **raw(DATA))).status_code == 201
    assert_problem(await home.client.post("/images", **raw(DATA)), 403, "quota_exceeded")
    assert (await home.client.get("/usage")).json() == expected


@pytest.mark.parametrize("quota", [{"QUOTA_IMAGES": "1"}])
async def test_direct_uploads(home: Home) -> None:
    """Both were declared while there was room; one is completed, and the other one when there is room again."""
    uploads = [await declared(home.client) for _ in range(2)]
    for upload in uploads:
        await receive(home.app, upload)
    answers = await asyncio.gather(*(complete(home.client, upload) for upload in uploads))
    assert sorted(answer.status_code for answer in answers) == [201, 403]
    late = uploads[answers[0].status_code == 201]
    assert (await home.client.get(f"/uploads/{late['image_id']}")).json()["status"] == "received"
    assert_problem(await home.client.post("/uploads", json=declaration()), 403, "quota_exceeded")
    image = next(answer for answer in answers if answer.status_code == 201).json()
    assert (await home.client.delete(f"/images/{image['image_id']}")).status_code == 204
    assert (await complete(home.client, late)).status_code == 201


@pytest.mark.parametrize("quota", [{"QUOTA_IMAGES": "1"}])
async def test_a_repeat_and_a_duplicate_take_no_room(home: Home) -> None:
    key = {"Idempotency-Key": "a", "Content-Type": "image/png"}
    image = (await home.client.post("/images", content=DATA, headers=key)).json()
    again = await home.client.post("/images", content=DATA, headers=key)
    assert (again.status_code, again.json()) == (201, image)
    same = await home.client.post("/images?on_duplicate=return", **raw(DATA))
    assert (same.status_code, same.json()) == (200, image)
    refused = {"Idempotency-Key": "b", "Content-Type": "image/png"}
    other = picture("png", color=(1, 2, 3))
    assert_problem(await home.client.post("/images", content=other, headers=refused), 403, "quota_exceeded")
    assert_problem(await home.client.post("/images?on_duplicate=return", **raw(other)), 403, "quota_exceeded")
    assert (await home.client.delete(f"/images/{image['image_id']}")).status_code == 204
    assert (await home.client.post("/images", content=other, headers=refused)).status_code == 201  # the key was freed


@pytest.mark.parametrize("quota", [{"QUOTA_IMAGES": "2", "QUOTA_BYTES": str(len(DATA))}])
async def test_what_there_may_be_is_told(home: Home) -> None:
    limits = (await home.client.get("/limits")).json()
    assert (limits["quota_images"], limits["quota_bytes"]) == (2, len(DATA))
    await uploaded(home.client, DATA)
    problem = assert_problem(await home.client.post("/images", **raw(DATA)), 403, "quota_exceeded")
    assert f"{len(DATA)} bytes" in problem["detail"]
