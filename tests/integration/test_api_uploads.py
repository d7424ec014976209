"""The `/uploads` routes: what is declared, what is sent to storage, and the image that comes of it."""

import asyncio
import base64
import datetime as dt
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from threading import Event
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from src.common.config import Settings
from src.common.errors import OutcomeUnknown, StoreFailed, StoreUnavailable
from src.common.ids import created_at, is_id
from src.models.upload import FORM_LIFE
from tests.support.api import assert_nothing_stored, assert_problem, raw, stored_files, uploaded
from tests.support.pictures import ENCODERS, noise, padded, picture, png_bomb, turned
from tests.support.uploads import (
    DATA,
    SHA256,
    complete,
    completed,
    declaration,
    declared,
    key_of,
    receive,
    send,
)

NOBODY = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"  # not one of the moment: all processes have to find the same tests

pytestmark = pytest.mark.anyio

FIELDS: dict[str, Any] = {
    "user_id": "ann@example.com",
    "filename": "a walk.png",
    "tags": ["Walk", "sun", "sun"],
    "description": "Line one\nline two",
    "width": 64,
    "height": 48,
    "sha256": SHA256.upper(),
    "on_duplicate": "store",
}
OTHER = picture("png", color=(1, 2, 3))


# Two pictures of the same size that are not the same.
ONE, ANOTHER = padded(DATA, 1_000), padded(OTHER, 1_000)


async def status_of(client: httpx.AsyncClient, upload: dict[str, Any]) -> str:
    answer = await client.get(f"/uploads/{upload['image_id']}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    status: str = answer.json()["status"]
    return status


def objects_of(settings: Settings) -> list[str]:
    """Return the keys of all objects."""
    return sorted(path.relative_to(settings.data_dir / "objects").as_posix() for path in stored_files(settings))


def failing(error: Exception) -> Callable[..., Any]:
    async def fail(*_: object, **__: object) -> None:
        raise error

    return fail


# Declaring


async def test_a_declaration(client: httpx.AsyncClient, settings: Settings) -> None:
    """It has the id that the image will have, and a form for an hour; there is no image yet."""
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    answer = await client.post("/uploads", json=declaration(**FIELDS))
    assert answer.status_code == 201, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "private, no-store"
    upload = answer.json()
    assert is_id(upload["image_id"])
    assert answer.headers["location"] == f"/uploads/{upload['image_id']}"
    assert set(upload) == {"image_id", "status", "content_type", "size", "upload", "expires_at"}
    assert (upload["status"], upload["content_type"], upload["size"]) == ("waiting", "image/png", len(DATA))
    assert set(upload["upload"]) == {"method", "url", "fields"}
    assert (upload["upload"]["method"], upload["upload"]["url"]) == ("POST", "http://testserver/objects/")
    assert upload["upload"]["fields"]["key"] == key_of(upload)
    assert upload["upload"]["fields"]["Content-Type"] == "image/png"
    expires_at = dt.datetime.fromisoformat(upload["expires_at"])
    assert before <= expires_at - FORM_LIFE <= dt.datetime.now(dt.UTC)
    got = await client.get(answer.headers["location"])
    assert got.status_code == 200
    assert got.json() | {"upload": None} == upload | {"upload": None}
    assert got.json()["upload"]["fields"]["key"] == key_of(upload)
    await assert_nothing_stored(client, settings)


async def test_null_is_not_said(client: httpx.AsyncClient, app: Starlette) -> None:
    names = ("user_id", "filename", "tags", "description", "width", "height", "sha256", "on_duplicate")
    image = await completed(client, app, **dict.fromkeys(names))
    assert (image["user_id"], image["filename"]) == ("anonymous", f"{image['image_id']}.png")
    assert (image["tags"], image["description"]) == ([], "")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["content_type", "size"]),
        ({"size": None, "content_type": None}, ["content_type", "size"]),
        ({"size": 1}, ["content_type"]),
        ({"content_type": "image/png"}, ["size"]),
        *[(declaration(size=size), ["size"]) for size in (0, -1, 1.5, "x", "", True, [], {}, 2**40 + 1, 2**70)],
        *[
            ({"size": 1, "content_type": content_type}, ["content_type"])
            for content_type in ("", "image/svg+xml", "image/jpg", "IMAGE/PNG", "image/png; q=1", "png", 1, [], {})
        ],
        *[(declaration(sha256=text), ["sha256"]) for text in ("", "0" * 63, "0" * 65, "g" * 64, SHA256 + "\n", 1, [])],
        *[(declaration(user_id=text), ["user_id"]) for text in ("", "a b", "ä", "x" * 129, 1)],
        *[(declaration(filename=text), ["filename"]) for text in ("", "..", "a/", "a\nb", "x" * 256, 1)],
        *[(declaration(tags=tags), ["tags"]) for tags in (1, [1], {}, "x" * 65, [str(i) for i in range(21)])],
        *[(declaration(description=text), ["description"]) for text in (1, "x" * 2_001, "\x07")],
        *[(declaration(width=edge), ["width"]) for edge in (0, -1, "wide", 1.5, 2**31 + 1)],
        *[(declaration(height=edge), ["height"]) for edge in (0, "", [])],
        *[(declaration(on_duplicate=text), ["on_duplicate"]) for text in ("", "replace", True)],
        (declaration(image_data="AAAA", file="x"), ["image_data", "file"]),
        ({"size": "x", "sha256": "y", "colour": "red"}, ["content_type", "size", "sha256", "colour"]),
        *[(value, ["body"]) for value in ([], "x", None)],
    ],
    ids=lambda value: json.dumps(value)[-40:],
)
async def test_what_is_malformed(client: httpx.AsyncClient, body: object, fields: list[str]) -> None:
    answer = await client.post("/uploads", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "invalid_request", *fields)


async def test_other_bodies(client: httpx.AsyncClient) -> None:
    body = json.dumps(declaration()).encode()
    for content_type in ("", "text/plain", "image/png", "multipart/form-data; boundary=x", "application/x-json"):
        answer = await client.post("/uploads", **raw(body, content_type))
        assert_problem(answer, 415, "unsupported_request_body")
    assert_problem(
        await client.post("/uploads", json=declaration(), params={"size": "1"}), 400, "invalid_request", "size"
    )
    answer = await client.post("/uploads", **raw(body + b" " * 65_536, "application/json"))
    assert_problem(answer, 413, "payload_too_large")


async def test_the_largest_size_and_a_larger_one(client: httpx.AsyncClient, settings: Settings) -> None:
    """What could not be accepted is refused before it is sent."""
    limit = settings.max_image_size
    assert (await client.post("/uploads", json=declaration(size=limit))).status_code == 201
    problem = assert_problem(
        await client.post("/uploads", json=declaration(size=limit + 1)), 413, "payload_too_large", "size"
    )
    assert str(limit) in problem["detail"]


# On the way


async def test_how_far_it_is(app: Starlette, client: httpx.AsyncClient) -> None:
    upload = await declared(client)
    assert await status_of(client, upload) == "waiting"
    await receive(app, upload)
    assert await status_of(client, upload) == "received"
    assert (await complete(client, upload)).status_code == 201
    got = (await client.get(f"/uploads/{upload['image_id']}")).json()
    assert got.pop("completed_as") == upload["image_id"]
    assert got == {name: value for name, value in upload.items() if name != "upload"} | {"status": "completed"}


async def test_nothing_is_seen_of_it_before_it_is_complete(
    app: Starlette, client: httpx.AsyncClient, settings: Settings
) -> None:
    """Neither the image nor its bytes, its tags or its size."""
    upload = await declared(client, tags=["a"], user_id="ann")
    path = f"/images/{upload['image_id']}"
    for _ in range(2):
        assert_problem(await client.get(path), 404, "image_not_found")
        assert_problem(await client.get(f"{path}/content"), 404, "image_not_found")
        assert_problem(await client.patch(path, json={}), 404, "image_not_found")
        assert_problem(await client.delete(path), 404, "image_not_found")
        for params in ({}, {"user_id": "ann"}, {"tags": "a"}):
            assert (await client.get("/images", params=params)).json()["images"] == []
        assert (await client.get("/tags")).json()["tags"] == []
        assert (await client.get("/usage")).json() == {"images": 0, "bytes": 0}
        assert (await client.get(f"/objects/{key_of(upload)}")).status_code >= 400
        results = (await client.post("/images/delete", json={"image_ids": [upload["image_id"]]})).json()["results"]
        assert results == [{"image_id": upload["image_id"], "status": "not_found"}]
        await receive(app, upload)
    assert objects_of(settings) == [key_of(upload)]


@pytest.mark.parametrize("is_received", [True, False], ids=["received", "waiting"])
async def test_cancel(app: Starlette, client: httpx.AsyncClient, settings: Settings, is_received: bool) -> None:
    upload = await declared(client)
    if is_received:
        await receive(app, upload)
    answer = await client.delete(f"/uploads/{upload['image_id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    path = f"/uploads/{upload['image_id']}"
    for again in (await client.get(path), await client.delete(path), await client.post(f"{path}/complete")):
        assert_problem(again, 404, "upload_not_found")
    await assert_nothing_stored(client, settings)


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/complete")])
@pytest.mark.parametrize("image_id", [NOBODY, "x", "%00", "%ff", NOBODY.upper(), "a" * 3_000], ids=lambda v: v[:9])
async def test_no_such_upload(client: httpx.AsyncClient, method: str, path: str, image_id: str) -> None:
    assert_problem(await client.request(method, f"/uploads/{image_id}{path}"), 404, "upload_not_found")


async def test_parameters_are_refused(app: Starlette, client: httpx.AsyncClient) -> None:
    upload = await declared(client)
    await receive(app, upload)
    path = f"/uploads/{upload['image_id']}"
    for method, url in (("GET", path), ("DELETE", path), ("POST", f"{path}/complete")):
        answer = await client.request(method, url, params={"dry_run": "true"})
        assert_problem(answer, 400, "invalid_request", "dry_run")
    assert await status_of(client, upload) == "received"


# Completing


async def test_an_image_comes_of_it(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """The same as of every other upload, with the fields that were declared; only then is it listed."""
    upload = await declared(client, **FIELDS)
    await receive(app, upload)
    answer = await complete(client, upload)
    assert answer.status_code == 201, answer.text
    image = answer.json()
    assert answer.headers["location"] == f"/images/{upload['image_id']}"
    sent = {name: value for name, value in FIELDS.items() if name != "sha256"}
    other = (await client.post("/images", json={"image_data": base64.b64encode(DATA).decode(), **sent})).json()
    own = ("image_id", "created_at", "updated_at")
    assert {n: v for n, v in image.items() if n not in own} == {n: v for n, v in other.items() if n not in own}
    assert image["image_id"] == upload["image_id"]
    assert dt.datetime.fromisoformat(image["created_at"]) == created_at(upload["image_id"])
    got = await client.get(answer.headers["location"])
    assert got.headers["etag"] == answer.headers["etag"]
    assert (await client.get(got.json()["url"])).content == DATA
    assert (
        image in (await client.get("/images", params={"tags": "walk", "user_id": FIELDS["user_id"]})).json()["images"]
    )
    assert (await client.get("/usage")).json() == {"images": 2, "bytes": 2 * len(DATA)}
    assert not any(key.startswith("incoming/") for key in objects_of(settings))


@pytest.mark.parametrize("name", ENCODERS)
async def test_every_format(app: Starlette, client: httpx.AsyncClient, name: str) -> None:
    data = picture(name)
    image = await completed(client, app, data, content_type=f"image/{name}")
    assert (image["content_type"], image["size"]) == (f"image/{name}", len(data))


async def test_dimensions_are_as_displayed(app: Starlette, client: httpx.AsyncClient) -> None:
    data = turned("jpeg", 6)
    image = await completed(client, app, data, content_type="image/jpeg", width=48, height=64)
    assert (image["width"], image["height"]) == (48, 64)


async def test_a_large_file(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """More than is kept in memory."""
    data = noise(900, 800, "tiff", compression=None)
    image = await completed(client, app, data, content_type="image/tiff")
    assert image["sha256"] == hashlib.sha256(data).hexdigest()
    assert [path.read_bytes() == data for path in stored_files(settings)] == [True]


async def test_again(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """200 with the image as it is, and 404 when that is gone. The upload can no longer be cancelled."""
    upload = await declared(client)
    path = f"/uploads/{upload['image_id']}"
    await receive(app, upload)
    first = await complete(client, upload)
    again = await complete(client, upload)
    assert (again.status_code, again.json()) == (200, first.json())
    assert (again.headers["location"], again.headers["etag"]) == (first.headers["location"], first.headers["etag"])
    problem = assert_problem(await client.delete(path), 409, "upload_completed")
    assert upload["image_id"] in problem["detail"]
    changed = await client.patch(first.headers["location"], json={"tags": ["new"]})
    again = await complete(client, upload)
    assert (again.status_code, again.json()) == (200, changed.json())
    assert (await client.delete(first.headers["location"])).status_code == 204
    assert_problem(await complete(client, upload), 404, "image_not_found")
    assert_problem(await client.delete(path), 409, "upload_completed")
    assert await status_of(client, upload) == "completed"
    await assert_nothing_stored(client, settings)


async def test_bytes_that_come_too_late(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """Change nothing any more: the image's own bytes lie elsewhere."""
    upload = await declared(client, ONE)
    await receive(app, upload, ONE)
    image = (await complete(client, upload)).json()
    await receive(app, upload, ANOTHER)
    assert ((await complete(client, upload)).json(), await status_of(client, upload)) == (image, "completed")
    url = (await client.get(f"/images/{image['image_id']}")).json()["url"]
    assert (await client.get(url)).content == ONE


async def test_nothing_came_yet(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    upload = await declared(client)
    for _ in range(2):
        assert_problem(await complete(client, upload), 409, "upload_incomplete")
    await receive(app, upload)
    assert (await complete(client, upload)).status_code == 201


@pytest.mark.parametrize(
    ("data", "fields", "status", "code", "named"),
    [
        (b"x" * 500, {}, 415, "unsupported_image_format", []),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {}, 415, "unsupported_image_format", []),
        (DATA[:-40], {}, 422, "undecodable_image", []),
        (png_bomb(9_000, 9_000), {}, 422, "too_many_pixels", []),
        (DATA, {"size": len(DATA) + 1}, 422, "upload_mismatch", ["size"]),
        (DATA, {"size": len(DATA) - 1}, 422, "upload_mismatch", ["size"]),
        (DATA, {"content_type": "image/gif"}, 422, "upload_mismatch", ["content_type"]),
        (DATA, {"sha256": "0" * 64}, 422, "upload_mismatch", ["sha256"]),
        (
            DATA,
            {"sha256": "0" * 64, "size": 1, "content_type": "image/tiff"},
            422,
            "upload_mismatch",
            ["sha256", "size", "content_type"],
        ),
        (DATA, {"width": 63}, 422, "dimensions_mismatch", ["width"]),
        (DATA, {"width": 48, "height": 64}, 422, "dimensions_mismatch", ["width", "height"]),
    ],
)
async def test_what_is_not_acceptable(
    app: Starlette,
    client: httpx.AsyncClient,
    settings: Settings,
    data: bytes,
    fields: dict[str, Any],
    status: int,
    code: str,
    named: list[str],
) -> None:
    """It is named and deleted; nothing is left of it, and the upload waits for another file."""
    upload = await declared(client, data, **fields)
    await receive(app, upload, data)
    assert_problem(await complete(client, upload), status, code, *named)
    assert await status_of(client, upload) == "waiting"
    await assert_nothing_stored(client, settings)
    assert_problem(await complete(client, upload), 409, "upload_incomplete")


async def test_too_large_a_file(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """A store that lets more pass than the form allows does not make us read it."""
    upload = await declared(client)
    await receive(app, upload, bytes(settings.max_image_size + 1))
    assert_problem(await complete(client, upload), 413, "payload_too_large")
    await assert_nothing_stored(client, settings)


async def test_it_may_be_sent_anew(app: Starlette, client: httpx.AsyncClient) -> None:
    """A file that was refused fixes nothing: any other one that is as declared may follow."""
    upload = await declared(client, ONE, width=64)
    for data, status in ((ANOTHER[:-5] + b"x" * 5, 422), (padded(picture("png", 20, 20), len(ONE)), 422), (ONE, 201)):
        await receive(app, upload, data)
        answer = await complete(client, upload)
        assert answer.status_code == status, answer.text
    assert answer.json()["sha256"] == hashlib.sha256(ONE).hexdigest()


# The same bytes as an older image


async def test_a_duplicate_is_returned(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """The upload becomes the older image, and keeps no bytes of its own; what becomes of that image, becomes of it."""
    older = await uploaded(client, DATA, user_id="ann")
    upload = await declared(client, user_id="ann", tags=["new"], on_duplicate="return")
    await receive(app, upload)
    for _ in range(2):
        answer = await complete(client, upload)
        assert (answer.status_code, answer.json()) == (200, older)
        assert answer.headers["location"] == f"/images/{older['image_id']}"
        got = (await client.get(f"/uploads/{upload['image_id']}")).json()
        assert (got["status"], got["completed_as"]) == ("completed", older["image_id"])
    assert len(stored_files(settings)) == (await client.get("/usage")).json()["images"] == 1
    assert_problem(await client.get(f"/images/{upload['image_id']}"), 404, "image_not_found")
    problem = assert_problem(await client.delete(f"/uploads/{upload['image_id']}"), 409, "upload_completed")
    assert older["image_id"] in problem["detail"]
    assert (await client.delete(f"/images/{older['image_id']}")).status_code == 204
    assert_problem(await complete(client, upload), 404, "image_not_found")


async def test_what_is_no_duplicate(app: Starlette, client: httpx.AsyncClient) -> None:
    """Of another owner, of other bytes, or where nobody asked for it."""
    await uploaded(client, DATA, user_id="ann")
    await uploaded(client, OTHER, user_id="bob")
    await completed(client, app, user_id="bob", on_duplicate="return")
    await completed(client, app, user_id="ann")
    assert (await client.get("/usage")).json()["images"] == 4


async def test_duplicates_at_once(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """Of several uploads of the same bytes one becomes the image, and the others become the same one."""
    uploads = [await declared(client, on_duplicate="return") for _ in range(5)]
    for upload in uploads:
        await receive(app, upload)
    answers = await asyncio.gather(*(complete(client, upload) for upload in uploads))
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [201]
    assert len({answer.json()["image_id"] for answer in answers}) == 1
    assert len(stored_files(settings)) == (await client.get("/usage")).json()["images"] == 1


# Several at once, and stores that fail


async def test_ten_completions_at_once(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """All get the same image, and one of them made it."""
    for _ in range(3):
        upload = await declared(client)
        await receive(app, upload)
        answers = await asyncio.gather(*(complete(client, upload) for _ in range(10)))
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] * 9 + [201], [answer.text for answer in answers if answer.status_code > 201]
        assert len({answer.content for answer in answers}) == 1
        assert answers[0].json()["image_id"] == upload["image_id"]
    assert len(stored_files(settings)) == (await client.get("/usage")).json()["images"] == 3
    urls = [image["url"] for image in (await client.get("/images", params={"include": "urls"})).json()["images"]]
    assert [(await client.get(url)).content for url in urls] == [DATA] * 3


async def test_completions_in_one_commit(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that come second in it wait for its end too: what made them second is not there before."""
    upload = await declared(client)
    await receive(app, upload)
    services = app.state.services
    database, create = services.repository._database, services.objects.create
    are_ready, go_on = asyncio.Barrier(6), Event()

    async def create_together(*arguments: Any, **options: Any) -> bool:
        is_new: bool = await create(*arguments, **options)
        await are_ready.wait()
        await are_ready.wait()
        return is_new

    def slow_down(statement: str) -> None:
        if statement == "COMMIT":
            time.sleep(0.05)

    monkeypatch.setattr(services.objects, "create", create_together)
    completions = [asyncio.create_task(complete(client, upload)) for _ in range(5)]
    await are_ready.wait()
    await database.write(lambda connection: connection.set_trace_callback(slow_down))
    holding = asyncio.create_task(database.write(lambda _: go_on.wait(10)))
    await asyncio.sleep(0)
    while database._writer._jobs.qsize():
        await asyncio.sleep(0.001)
    await are_ready.wait()
    while database._writer._jobs.qsize() < len(completions):
        await asyncio.sleep(0.001)
    go_on.set()
    assert await holding
    answers = await asyncio.gather(*completions)
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [201]


@pytest.mark.parametrize(
    ("port", "name"), [("objects", "fetch"), ("objects", "create"), ("repository", "add"), ("objects", "head")]
)
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFailed("It broke."), 502, "store_failed"),
        (StoreUnavailable("It is busy."), 503, "store_unavailable"),
        (OutcomeUnknown("It did not say."), 503, "outcome_unknown"),
        (RuntimeError("a secret"), 500, "internal_error"),
    ],
)
async def test_a_store_that_fails(
    app: Starlette,
    client: httpx.AsyncClient,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    port: str,
    name: str,
    error: Exception,
    status: int,
    code: str,
) -> None:
    """What was sent is still there: nobody has to send it again."""
    upload = await declared(client)
    await receive(app, upload)
    with monkeypatch.context() as patch:
        patch.setattr(getattr(app.state.services, port), name, failing(error))
        method, path = ("GET", "") if name == "head" else ("POST", "/complete")
        answer = await client.request(method, f"/uploads/{upload['image_id']}{path}")
    assert_problem(answer, status, code)
    assert "a secret" not in answer.text
    assert (await client.get("/images")).json()["images"] == []
    assert await status_of(client, upload) == "received"
    assert (await complete(client, upload)).status_code == 201
    assert len(stored_files(settings)) == 1


async def test_an_outcome_that_is_unknown(
    app: Starlette, client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it happened all the same, to ask again says so."""
    upload = await declared(client)
    await receive(app, upload)
    repository = app.state.services.repository
    add = repository.add

    async def unsure(*arguments: Any, **options: Any) -> None:
        await add(*arguments, **options)
        raise OutcomeUnknown("It did not say.")

    with monkeypatch.context() as patch:
        patch.setattr(repository, "add", unsure)
        assert_problem(await complete(client, upload), 503, "outcome_unknown")
    answer = await complete(client, upload)
    assert (answer.status_code, answer.json()["image_id"]) == (200, upload["image_id"])
    url = (await client.get(answer.headers["location"])).json()["url"]
    assert (await client.get(url)).content == DATA


async def test_bytes_that_change_after_a_completion_broke_off(
    app: Starlette, client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first that were accepted are the ones, since something may hold them already: others are refused."""
    upload = await declared(client, ONE)
    await receive(app, upload, ONE)
    with monkeypatch.context() as patch:
        patch.setattr(app.state.services.repository, "add", failing(StoreFailed("It broke.")))
        assert (await complete(client, upload)).status_code == 502
    await receive(app, upload, ANOTHER)
    assert_problem(await complete(client, upload), 422, "upload_mismatch", "sha256")
    assert_problem(await complete(client, upload), 409, "upload_incomplete")
    await receive(app, upload, ONE)
    image = (await complete(client, upload)).json()
    assert image["sha256"] == hashlib.sha256(ONE).hexdigest()
    assert [path.read_bytes() for path in stored_files(settings)] == [ONE]


@pytest.mark.parametrize("commits", [True, False], ids=["done", "broken off"])
async def test_bytes_that_change_under_a_completion(
    app: Starlette, client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch, commits: bool
) -> None:
    """One that has read others, and is overtaken, never puts them under the image; it tells what came of the upload."""
    upload = await declared(client, ONE)
    await receive(app, upload, ONE)
    services = app.state.services
    fetch, reached, go_on = services.objects.fetch, asyncio.Event(), asyncio.Event()

    async def wait_after(key: str) -> Any:
        payload = await fetch(key)
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        return payload

    monkeypatch.setattr(services.objects, "fetch", wait_after)
    overtaken = asyncio.create_task(complete(client, upload))
    await reached.wait()
    await receive(app, upload, ANOTHER)
    with monkeypatch.context() as patch:
        if not commits:
            patch.setattr(services.repository, "add", failing(StoreUnavailable("It is busy.")))
        assert (await complete(client, upload)).status_code == (201 if commits else 503)
    go_on.set()
    answer = await overtaken
    if commits:
        assert (answer.status_code, answer.json()["sha256"]) == (200, hashlib.sha256(ANOTHER).hexdigest())
    else:
        assert_problem(answer, 409, "upload_changed")
        assert (await complete(client, upload)).status_code == 201
    assert [path.read_bytes() for path in stored_files(settings)] == [ANOTHER]


@pytest.mark.parametrize(
    ("port", "name", "is_after"),
    [
        ("objects", "fetch", True),
        ("objects", "create", False),
        ("objects", "create", True),
        ("repository", "add", False),
    ],
)
async def test_a_cancellation_during_a_completion(
    app: Starlette,
    client: httpx.AsyncClient,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    port: str,
    name: str,
    is_after: bool,
) -> None:
    """As long as nothing is committed it is cancelled: the completion finds no upload, and nothing is left."""
    upload = await declared(client)
    await receive(app, upload)
    target = getattr(app.state.services, port)
    method, reached, go_on = getattr(target, name), asyncio.Event(), asyncio.Event()

    async def waiting(*arguments: Any, **options: Any) -> Any:
        result = await method(*arguments, **options) if is_after else None
        reached.set()
        await go_on.wait()
        return result if is_after else await method(*arguments, **options)

    monkeypatch.setattr(target, name, waiting)
    completion = asyncio.create_task(complete(client, upload))
    await reached.wait()
    assert (await client.delete(f"/uploads/{upload['image_id']}")).status_code == 204
    go_on.set()
    assert_problem(await completion, 404, "upload_not_found")
    await assert_nothing_stored(client, settings)


async def test_cancellations_and_completions_at_once(
    app: Starlette, client: httpx.AsyncClient, settings: Settings
) -> None:
    """Whoever wins, there is a whole image or nothing at all."""
    images = 0
    for _ in range(10):
        upload = await declared(client)
        await receive(app, upload)
        completion, cancellation = await asyncio.gather(
            complete(client, upload), client.delete(f"/uploads/{upload['image_id']}")
        )
        assert (completion.status_code, cancellation.status_code) in {(201, 409), (404, 204), (409, 204)}
        images += completion.status_code == 201
        assert len(stored_files(settings)) == (await client.get("/usage")).json()["images"] == images


# Time


def make_older(settings: Settings, upload: dict[str, Any], age: dt.timedelta) -> None:
    """Let an upload, and what was sent of it, be older than it is."""
    with closing(sqlite3.connect(settings.data_dir / "images.sqlite3")) as connection, connection:
        changed = connection.execute(
            "UPDATE uploads SET kept_until = kept_until - ? WHERE image_id = ?",
            (age.total_seconds(), upload["image_id"]),
        )
        assert changed.rowcount == 1
    path = settings.data_dir / "objects" / key_of(upload)
    if path.exists():
        moment = time.time() - age.total_seconds()
        os.utime(path, (moment, moment))


async def test_the_sweep(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """What nobody completed within a day goes with its bytes; what is younger, or an image, stays."""
    ages = {"old": 24.1, "old and waiting": 24.1, "young": 23.9, "new": 0.0}
    uploads = {name: await declared(client) for name in ages}
    for name, hours in ages.items():
        if name != "old and waiting":
            await receive(app, uploads[name])
        make_older(settings, uploads[name], dt.timedelta(hours=hours))
    image = await completed(client, app)
    make_older(settings, {**image, "upload": None}, dt.timedelta(days=2))
    await app.state.services.housekeeper.sweep()
    for name in ages:
        path = f"/uploads/{uploads[name]['image_id']}"
        if name.startswith("old"):
            assert_problem(await client.get(path), 404, "upload_not_found")
        else:
            assert await status_of(client, uploads[name]) == "received"
    kept = [key_of(uploads[name]) for name in ("young", "new")]
    original = f"originals/{image['image_id'][-2:]}/{image['image_id']}.png"
    assert objects_of(settings) == sorted([*kept, original])
    for name in ("young", "new"):
        assert (await complete(client, uploads[name])).status_code == 201


async def test_a_day_ends_an_upload_before_the_sweep(
    app: Starlette, client: httpx.AsyncClient, settings: Settings
) -> None:
    """Nobody can complete it after that; an image that came of one tells of itself for as long as it is there."""
    upload = await declared(client)
    await receive(app, upload)
    image = await completed(client, app)
    for entry in (upload, {**image, "upload": None}):
        make_older(settings, entry, dt.timedelta(hours=25))
    assert_problem(await complete(client, upload), 404, "upload_not_found")
    assert_problem(await client.delete(f"/uploads/{upload['image_id']}"), 404, "upload_not_found")
    answer = await complete(client, image)
    assert (answer.status_code, answer.json()) == (200, image)


async def test_bytes_that_come_after_the_end(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """Forms outlive what they are for: what comes for an upload that was cancelled or completed goes in an hour."""
    cancelled, done, open_ = [await declared(client) for _ in range(3)]
    assert (await client.delete(f"/uploads/{cancelled['image_id']}")).status_code == 204
    await receive(app, done)
    assert (await complete(client, done)).status_code == 201
    for upload in (cancelled, done, open_):
        assert (await send(client, upload)).status_code == 204
    before = objects_of(settings)
    await app.state.services.housekeeper.sweep()
    assert objects_of(settings) == before
    for upload in (cancelled, done, open_):
        path = settings.data_dir / "objects" / key_of(upload)
        os.utime(path, (time.time() - 3_700,) * 2)
    await app.state.services.housekeeper.sweep()
    assert objects_of(settings) == sorted(set(before) - {key_of(cancelled), key_of(done)})
    assert (await complete(client, open_)).status_code == 201


async def test_a_form_that_has_ended(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """Is not given out any more, while what was sent in time may still be completed."""
    upload = await declared(client)
    await receive(app, upload)
    past = (dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)).isoformat()
    with closing(sqlite3.connect(settings.data_dir / "images.sqlite3")) as connection, connection:
        connection.execute("UPDATE uploads SET record = json_set(record, '$.expires_at', ?)", (past,))
    got = (await client.get(f"/uploads/{upload['image_id']}")).json()
    assert got["status"] == "received"
    assert "upload" not in got
    assert dt.datetime.fromisoformat(got["expires_at"]) == dt.datetime.fromisoformat(past)
    assert (await complete(client, upload)).status_code == 201


# With the form


async def test_the_whole_way(client: httpx.AsyncClient, settings: Settings) -> None:
    """Declare, send what is refused and what is not, complete."""
    upload = await declared(client, **FIELDS)
    assert (await send(client, upload, DATA + b"x")).status_code == 400
    assert await status_of(client, upload) == "waiting"
    assert_problem(await complete(client, upload), 409, "upload_incomplete")
    for data, status in ((b"x" * len(DATA), 415), (DATA, 201), (DATA, 200)):
        assert (await send(client, upload, data)).status_code == 204
        answer = await complete(client, upload)
        assert answer.status_code == status, answer.text
    image = answer.json()
    assert (image["image_id"], image["sha256"], image["tags"]) == (upload["image_id"], SHA256, ["walk", "sun"])
    linked = (await client.get(f"/images/{image['image_id']}")).json()
    assert (await client.get(linked["url"])).content == DATA
    assert (await client.get("/usage")).json() == {"images": 1, "bytes": len(DATA)}


async def test_the_form_that_get_gives(client: httpx.AsyncClient) -> None:
    """For whoever has lost the first one."""
    upload = await declared(client)
    again = (await client.get(f"/uploads/{upload['image_id']}")).json()
    assert again["expires_at"] == upload["expires_at"]
    assert (await send(client, again)).status_code == 204
    assert (await complete(client, upload)).status_code == 201


async def test_under_a_prefix(app: Starlette) -> None:
    """Under a stage, or behind a proxy, addresses begin there."""
    transport = httpx.ASGITransport(app, root_path="/dev")
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        answer = await client.post("/dev/uploads", json=declaration())
        upload = answer.json()
        assert answer.headers["location"] == f"/dev/uploads/{upload['image_id']}"
        assert upload["upload"]["url"] == "http://testserver/dev/objects/"
        assert (await send(client, upload)).status_code == 204
        answer = await client.post(f"/dev/uploads/{upload['image_id']}/complete")
        assert (answer.status_code, answer.headers["location"]) == (201, f"/dev/images/{upload['image_id']}")
