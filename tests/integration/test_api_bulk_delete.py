"""`POST /images/delete`: many at once, each by itself."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from src.common.config import Settings
from src.common.errors import OutcomeUnknown, StoreFailed, StoreUnavailable
from src.common.ids import new_id
from src.models.image import Image
from tests.support.api import assert_nothing_stored, assert_problem, raw, stored_files, uploaded
from tests.support.pictures import picture

pytestmark = pytest.mark.anyio


async def several(client: httpx.AsyncClient, count: int, **fields: str) -> list[str]:
    return [(await uploaded(client, picture("png"), **fields))["image_id"] for _ in range(count)]


async def delete(client: httpx.AsyncClient, image_ids: list[str]) -> list[tuple[str, str]]:
    """Delete images, and return id and status of each."""
    answer = await client.post("/images/delete", json={"image_ids": image_ids})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"results", "deleted"}
    assert all(set(result) == {"image_id", "status"} for result in body["results"])
    results = [(result["image_id"], result["status"]) for result in body["results"]]
    assert body["deleted"] == sum(status == "deleted" for _, status in results)
    return results


async def test_each_has_its_result(client: httpx.AsyncClient, settings: Settings) -> None:
    """In the order of the request; what there never was is no failure, whatever it looks like."""
    a, b, kept = await several(client, 3)
    absent = new_id()
    strange = ["x", "", " ", "../../etc/passwd", "a\0", b.upper(), f"{b[:-1]} ", "€" * 36, "delete"]
    results = await delete(client, [absent, b, *strange, a])
    assert results == [
        (absent, "not_found"),
        (b, "deleted"),
        *[(text, "not_found") for text in strange],
        (a, "deleted"),
    ]
    assert [image["image_id"] for image in (await client.get("/images")).json()["images"]] == [kept]
    assert len(stored_files(settings)) == 1
    assert await delete(client, [a, b, kept]) == [(a, "not_found"), (b, "not_found"), (kept, "deleted")]
    await assert_nothing_stored(client, settings)


async def test_one_that_is_repeated_counts_once(client: httpx.AsyncClient) -> None:
    a, b = await several(client, 2)
    assert await delete(client, [a, b, a, "x", a, "x"]) == [(a, "deleted"), (b, "deleted"), ("x", "not_found")]


async def test_everything_of_them_goes(client: httpx.AsyncClient, settings: Settings) -> None:
    """Objects, renditions, entries in lists, and counts."""
    ids = await several(client, 3, tags="a,b", user_id="ann")
    for image_id in ids:
        answer = await client.get(f"/images/{image_id}/content", params={"width": "10"})
        assert answer.status_code == 302, answer.text
    assert len(stored_files(settings)) == 6
    url = (await client.get(f"/images/{ids[0]}")).json()["url"]
    await delete(client, ids[:2])
    assert (await client.get("/tags")).json()["tags"] == [{"tag": "a", "count": 1}, {"tag": "b", "count": 1}]
    assert (await client.get("/usage", params={"user_id": "ann"})).json()["images"] == 1
    assert_problem(await client.get(url), 404, "object_not_found")
    assert len(stored_files(settings)) == 2
    await delete(client, ids)
    assert (await client.get("/tags")).json()["tags"] == []
    assert (await client.get("/usage")).json() == {"images": 0, "bytes": 0}
    assert (await client.get("/images", params={"tags": "a"})).json()["images"] == []
    await assert_nothing_stored(client, settings)


async def test_a_hundred(client: httpx.AsyncClient, settings: Settings) -> None:
    """As many as a page has; one more is refused, and deletes none."""
    ids = await several(client, 5)
    others = [new_id() for _ in range(96)]
    answer = await client.post("/images/delete", json={"image_ids": [*ids, *others]})
    assert_problem(answer, 400, "invalid_request", "image_ids")
    assert len(stored_files(settings)) == 5
    results = await delete(client, [*others[1:], *ids])
    assert results == [*[(other, "not_found") for other in others[1:]], *[(image_id, "deleted") for image_id in ids]]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["image_ids"]),
        *[
            # An answer repeats them, and may be kept for a day.
            ({"image_ids": value}, ["image_ids"])
            for value in (
                ["ID,ID"],
                ["ID", "x" * 37],
                ["€" * 1_000],
                None,
                [],
                "ID",
                1,
                True,
                {},
                {"0": "ID"},
                ["ID", 1],
                ["ID", None],
                [["ID"]],
            )
        ],
        ({"image_ids": ["ID"], "dry_run": True}, ["dry_run"]),
        ({"ids": ["ID"]}, ["ids", "image_ids"]),
        *[(value, ["body"]) for value in (["ID"], "ID", 1, None)],
    ],
    ids=json.dumps,
)
async def test_what_is_malformed(client: httpx.AsyncClient, body: Any, fields: list[str]) -> None:
    """It is refused by name, and nothing is deleted."""
    (image_id,) = await several(client, 1)
    text = json.dumps(body).replace("ID", image_id)
    answer = await client.post("/images/delete", **raw(text.encode(), "application/json"))
    assert_problem(answer, 400, "invalid_request", *fields)
    assert (await client.get(f"/images/{image_id}")).status_code == 200


async def test_other_bodies(client: httpx.AsyncClient) -> None:
    (image_id,) = await several(client, 1)
    body = json.dumps({"image_ids": [image_id]}).encode()
    for content_type in ("", "text/plain", "application/merge-patch+json", "application/x-www-form-urlencoded"):
        answer = await client.post("/images/delete", **raw(body, content_type))
        assert_problem(answer, 415, "unsupported_request_body")
    answer = await client.post("/images/delete", **raw(body + b" " * 65_536, "application/json"))
    assert_problem(answer, 413, "payload_too_large")
    answer = await client.post("/images/delete", json={"image_ids": [image_id]}, params={"dry_run": "true"})
    assert_problem(answer, 400, "invalid_request", "dry_run")
    assert (await client.get(f"/images/{image_id}")).status_code == 200


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreFailed("It broke."), "store_failed"),
        (StoreUnavailable("It is busy."), "store_unavailable"),
        (OutcomeUnknown("It did not say."), "outcome_unknown"),
        (RuntimeError("a secret"), "internal_error"),
    ],
)
async def test_one_that_fails(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    """It is told by its code, it is there as before, and the others are deleted all the same."""
    ids = await several(client, 4)
    repository = app.state.services.repository
    remove = repository.remove

    async def failing(image_id: str, *, owner: str | None) -> Image | None:
        if image_id == ids[1]:
            raise error
        found: Image | None = await remove(image_id, owner=owner)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(repository, "remove", failing)
        answer = await client.post("/images/delete", json={"image_ids": ids})
    assert "a secret" not in answer.text
    results = [{"image_id": image_id, "status": "deleted"} for image_id in ids]
    results[1] = {"image_id": ids[1], "status": "failed", "code": code}
    assert (answer.status_code, answer.json()) == (200, {"results": results, "deleted": 3})
    url = (await client.get(f"/images/{ids[1]}")).json()["url"]
    assert (await client.get(url)).status_code == 200
    assert await delete(client, ids) == [
        (image_id, "deleted" if image_id == ids[1] else "not_found") for image_id in ids
    ]


async def test_bytes_that_stay_are_not_told(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is gone with its record; what is left of it nobody can see."""
    ids = await several(client, 2)

    async def failing(key: str) -> None:
        raise StoreUnavailable("It is busy.")

    with monkeypatch.context() as patch:
        patch.setattr(app.state.services.objects, "delete", failing)
        assert await delete(client, ids) == [(image_id, "deleted") for image_id in ids]
    assert (await client.get("/images")).json()["images"] == []
    assert_problem(await client.get(f"/images/{ids[0]}"), 404, "image_not_found")


async def test_two_at_once(client: httpx.AsyncClient, settings: Settings) -> None:
    """Each image is deleted by one of them, and missed by the other."""
    ids = await several(client, 20)
    one, other = await asyncio.gather(delete(client, ids), delete(client, ids[::-1]))
    for (image_id, status), (same_id, other_status) in zip(one, other[::-1], strict=True):
        assert image_id == same_id
        assert {status, other_status} == {"deleted", "not_found"}
    await assert_nothing_stored(client, settings)
