"""`Idempotency-Key`: a POST that is repeated with its key gets its first answer again and changes nothing."""

import asyncio
import base64
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from src.common.config import Settings
from src.common.errors import OutcomeUnknown, StoreFailed, StoreUnavailable
from tests.support.api import assert_nothing_stored, assert_problem, form, raw, stored_files, uploaded
from tests.support.pictures import picture
from tests.support.uploads import DATA, complete, declaration, declared, receive, send

pytestmark = pytest.mark.anyio

KEY = {"Idempotency-Key": "7c9e6679-7425-40de-944b-e07fc1f90ae7"}
REUSED = "idempotency_key_reused"
OTHER = picture("png", color=(1, 2, 3))
FILE = 'form-data; name="file"; filename="a.png"'
FIELDS: dict[str, Any] = {"user_id": "ann", "tags": "a,b", "filename": "a.png"}
BASE64 = base64.b64encode(DATA).decode()


def in_form(boundary: str, data: bytes = DATA) -> dict[str, Any]:
    parts = [(f'form-data; name="{name}"', value.encode()) for name, value in FIELDS.items()]
    return form(*parts, (FILE, data), boundary=boundary)


# The same upload in all its spellings.
SAME: dict[str, dict[str, Any]] = {
    "form": in_form("one"),
    "form with another boundary": in_form("another"),
    "JSON": {"json": {"image_data": BASE64, **FIELDS}},
    "JSON in another order": {
        "json": {"tags": [" A", "b", "a"], "filename": "x/a.png", "image_data": f"data:;base64,{BASE64}"},
        "params": {"user_id": "ann"},
    },
    "raw": {"params": FIELDS, **raw(DATA, "image/png")},
    "raw of another type": {"params": {**FIELDS, "on_duplicate": "store"}, **raw(DATA, "image/jpeg")},
}


def keyed(request: dict[str, Any], key: dict[str, str] = KEY) -> dict[str, Any]:
    return {**request, "headers": {**request.get("headers", {}), **key}}


async def count(client: httpx.AsyncClient) -> int:
    images: int = (await client.get("/usage")).json()["images"]
    return images


def set_claims(settings: Settings, column: str) -> int:
    """Let a moment of all claims be long past, and return how many there are."""
    with closing(sqlite3.connect(settings.data_dir / "images.sqlite3")) as connection, connection:
        return connection.execute(f"UPDATE claims SET {column} = 1").rowcount


def failing_once(target: object, name: str, error: Exception, *, after: bool = False) -> Callable[..., Awaitable[Any]]:
    """Return a method that fails at its first call, before or after it takes effect."""
    method, errors = getattr(target, name), [error]

    async def call(*arguments: Any, **options: Any) -> Any:
        if errors and not after:
            raise errors.pop()
        result = await method(*arguments, **options)
        if errors:
            raise errors.pop()
        return result

    return call


# The same again


@pytest.mark.parametrize("body", SAME)
async def test_an_upload_again(client: httpx.AsyncClient, settings: Settings, body: str) -> None:
    """The very same answer, and no second image, whichever way the same content is spelt."""
    first = await client.post("/images", **keyed(SAME[body]))
    assert first.status_code == 201, first.text
    for again in SAME.values():
        answer = await client.post("/images", **keyed(again))
        assert (answer.status_code, answer.content) == (201, first.content)
        for name in ("location", "etag", "content-type"):
            assert answer.headers[name] == first.headers[name]
    assert await count(client) == len(stored_files(settings)) == 1


async def test_the_first_answer_stays(client: httpx.AsyncClient, settings: Settings) -> None:
    """Also when the image is another one by now, or gone: it is not made anew."""
    first = await client.post("/images", **keyed(SAME["form"]))
    path = first.headers["location"]
    assert (await client.patch(path, json={"tags": ["new"]})).status_code == 200
    again = await client.post("/images", **keyed(SAME["form"]))
    assert (again.status_code, again.content, again.headers["etag"]) == (201, first.content, first.headers["etag"])
    assert (await client.get(path)).json()["tags"] == ["new"]
    assert (await client.delete(path)).status_code == 204
    again = await client.post("/images", **keyed(SAME["form"]))
    assert (again.status_code, again.content) == (201, first.content)
    assert_problem(await client.get(path), 404, "image_not_found")
    await assert_nothing_stored(client, settings)


async def test_a_duplicate_again(client: httpx.AsyncClient) -> None:
    """200 stays 200, with the image that was found."""
    image = await uploaded(client, DATA)
    request = {"params": {"on_duplicate": "return"}, **raw(DATA)}
    answers = [await client.post("/images", **keyed(request)) for _ in range(2)]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, image)] * 2
    assert await count(client) == 1


async def test_keys_and_requests_without_one_are_apart(client: httpx.AsyncClient) -> None:
    for key in (KEY, {"Idempotency-Key": "another"}, {}, {}):
        assert (await client.post("/images", **keyed(raw(DATA), key))).status_code == 201
    assert await count(client) == 4


async def test_a_key_is_looked_at_to_its_last_character(client: httpx.AsyncClient) -> None:
    """In its case too; and it may be as long as it may be, of anything that can be seen."""
    characters = "".join(map(chr, range(0x21, 0x7F)))
    keys = ["a", "A", "a" * 255, "a" * 254, "a" * 254 + "b", characters, characters[::-1], "'", '"', "%41", "a/b"]
    ids = set()
    for key in keys * 2:
        answer = await client.post("/images", **keyed(raw(DATA), {"Idempotency-Key": key}))
        assert answer.status_code == 201, answer.text
        ids.add(answer.json()["image_id"])
    assert len(ids) == await count(client) == len(keys)


async def test_a_declaration_again(client: httpx.AsyncClient) -> None:
    """The same upload, with a form that works; the signature may be a new one."""
    answers = []
    for body in (
        declaration(sha256="AB" * 32, tags=["A", "b"]),
        declaration(sha256="ab" * 32, tags="a,b", filename=None, on_duplicate="store"),
    ):
        answer = await client.post("/uploads", json=body, headers=KEY)
        assert answer.status_code == 201, answer.text
        answers.append(answer)
    first, again = (answer.json() for answer in answers)
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert again | {"upload": None} == first | {"upload": None}
    assert again["upload"]["url"] == first["upload"]["url"]
    assert again["upload"]["fields"]["key"] == first["upload"]["fields"]["key"]
    for upload in (first, again):
        assert (await send(client, upload)).status_code == 204


async def test_a_declaration_again_after_all_was_done(app: Starlette, client: httpx.AsyncClient) -> None:
    """No second upload comes of it, when the first one is an image or cancelled."""
    for end in ("complete", "cancel"):
        key = {"Idempotency-Key": end}
        upload = (await client.post("/uploads", json=declaration(), headers=key)).json()
        if end == "complete":
            await receive(app, upload)
            assert (await complete(client, upload)).status_code == 201
        else:
            assert (await client.delete(f"/uploads/{upload['image_id']}")).status_code == 204
        again = await client.post("/uploads", json=declaration(), headers=key)
        assert (again.status_code, again.json()["image_id"]) == (201, upload["image_id"])
        status = (await client.get(f"/uploads/{upload['image_id']}")).status_code
        assert status == (200 if end == "complete" else 404)


async def test_a_completion_again(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """With its key it is 201 again, and stays so when the image is gone; without it is what it is then."""
    upload = await declared(client)
    await receive(app, upload)
    first = await complete(client, upload, **KEY)
    assert first.status_code == 201, first.text
    assert (await complete(client, upload)).status_code == 200
    assert (await client.delete(first.headers["location"])).status_code == 204
    again = await complete(client, upload, **KEY)
    assert (again.status_code, again.content) == (201, first.content)
    assert_problem(await complete(client, upload), 404, "image_not_found")
    await assert_nothing_stored(client, settings)


async def test_a_late_key_of_a_completion(app: Starlette, client: httpx.AsyncClient) -> None:
    """What is completed already is 200, and that is what the key stands for from then on."""
    upload = await declared(client)
    await receive(app, upload)
    image = (await complete(client, upload)).json()
    for _ in range(2):
        answer = await complete(client, upload, **KEY)
        assert (answer.status_code, answer.json()) == (200, image)
        await client.delete(f"/images/{image['image_id']}")


async def test_deletions_again(client: httpx.AsyncClient) -> None:
    """What was deleted is still told as deleted, and in the same order."""
    ids = [(await uploaded(client))["image_id"] for _ in range(2)]
    first = await client.post("/images/delete", json={"image_ids": [*ids, "x"]}, headers=KEY)
    assert first.json()["deleted"] == 2
    again = await client.post("/images/delete", json={"image_ids": [*ids, ids[0], "x"]}, headers=KEY)
    assert (again.status_code, again.content) == (200, first.content)
    answer = await client.post("/images/delete", json={"image_ids": [ids[1], ids[0], "x"]}, headers=KEY)
    assert_problem(answer, 422, REUSED)


# Something else


async def test_other_content(client: httpx.AsyncClient, settings: Settings) -> None:
    first = await client.post("/images", **keyed(SAME["raw"]))
    others = [
        raw(OTHER),
        *[
            {"params": {**FIELDS, name: value}, **raw(DATA)}
            for name, value in (
                ("user_id", "bob"),
                ("tags", "b,a"),
                ("filename", "b.png"),
                ("description", "text"),
                ("width", "64"),
                ("height", "48"),
                ("on_duplicate", "return"),
            )
        ],
        in_form("one", OTHER),
    ]
    for other in others:
        assert_problem(await client.post("/images", **keyed(other)), 422, REUSED)
    assert await count(client) == len(stored_files(settings)) == 1
    again = await client.post("/images", **keyed(SAME["raw"]))
    assert again.content == first.content


async def test_other_declarations(client: httpx.AsyncClient) -> None:
    await client.post("/uploads", json=declaration(), headers=KEY)
    for fields in (
        {"size": 1},
        {"content_type": "image/gif"},
        {"sha256": "0" * 64},
        {"width": 64},
        {"height": 48},
        {"user_id": "ann"},
        {"tags": ["a"]},
        {"filename": "a.png"},
        {"description": "a"},
        {"on_duplicate": "return"},
    ):
        answer = await client.post("/uploads", json=declaration() | fields, headers=KEY)
        assert_problem(answer, 422, REUSED)


async def test_other_routes(app: Starlette, client: httpx.AsyncClient) -> None:
    """A key stands for one request, and not for one of each kind."""
    uploads = [await declared(client) for _ in range(2)]
    for upload in uploads:
        await receive(app, upload)
    image = await uploaded(client)
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "upload": ("/images", raw(DATA)),
        "declare": ("/uploads", {"json": declaration()}),
        "complete": (f"/uploads/{uploads[0]['image_id']}/complete", {}),
        "complete another": (f"/uploads/{uploads[1]['image_id']}/complete", {}),
        "delete": ("/images/delete", {"json": {"image_ids": ["x"]}}),
    }
    for name, (path, request) in requests.items():
        key = {"Idempotency-Key": name.replace(" ", "-")}
        first = await client.post(path, **keyed(request, key))
        assert first.status_code in (200, 201), first.text
        for other, (other_path, other_request) in requests.items():
            if other != name:
                answer = await client.post(other_path, **keyed(other_request, key))
                assert_problem(answer, 422, REUSED)
    assert (await client.get(f"/images/{image['image_id']}")).status_code == 200


# Keys that are none


@pytest.mark.parametrize("path", ["/images", "/uploads", "/images/delete", "/uploads/x/complete"])
async def test_bad_keys(client: httpx.AsyncClient, settings: Settings, path: str) -> None:
    requests: dict[str, dict[str, Any]] = {
        "/images": raw(DATA),
        "/uploads": {"json": declaration()},
        "/images/delete": {"json": {"image_ids": ["x"]}},
    }
    request = requests.get(path, {})
    given = [(name, value) for name, value in request.pop("headers", {}).items()]
    values: list[bytes] = [b"", b" ", b"a b", b"a" * 256, "é".encode(), "é".encode("latin-1"), b"a\tb", b"\x7f"]
    for keys in (*([value] for value in values), [b"a", b"a"], [b"a", b"b"], [b"", b"a"]):
        headers = [*given, *(("Idempotency-Key", key) for key in keys)]
        answer = await client.post(path, **request, headers=headers)
        assert_problem(answer, 400, "invalid_request", "Idempotency-Key")
    await assert_nothing_stored(client, settings)
    assert set_claims(settings, "expires_at") == 0


# Keys that are free again


@pytest.mark.parametrize(
    ("path", "request_", "status"),
    [
        ("/images", raw(b"text", "image/png"), 415),
        ("/images", raw(DATA[:-40], "image/png"), 422),
        ("/images", {"params": {"width": "1"}, **raw(DATA, "image/png")}, 422),
        ("/images", {"params": {"width": "x"}, **raw(DATA, "image/png")}, 400),
        ("/images", raw(DATA, "text/plain"), 415),
        ("/images", raw(b"", "image/png"), 400),
        ("/uploads", {"json": {}}, 400),
        ("/uploads", {"json": declaration(size=2**30)}, 413),
        ("/uploads", raw(b"{}", "text/plain"), 415),
        ("/images/delete", {"json": {"image_ids": []}}, 400),
        ("/uploads/x/complete", {}, 404),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_refused_request_frees_its_key(
    client: httpx.AsyncClient, settings: Settings, path: str, request_: dict[str, Any], status: int
) -> None:
    """So what was wrong can be put right with the same key."""
    answer = await client.post(path, **keyed(request_))
    assert answer.status_code == status
    await assert_nothing_stored(client, settings)
    assert set_claims(settings, "expires_at") == 0
    assert (await client.post("/images", **keyed(raw(DATA)))).status_code == 201


async def test_a_refused_completion_frees_its_key(app: Starlette, client: httpx.AsyncClient) -> None:
    upload = await declared(client)
    assert_problem(await complete(client, upload, **KEY), 409, "upload_incomplete")
    await receive(app, upload, OTHER + b"x")
    assert (await complete(client, upload, **KEY)).status_code == 422
    await receive(app, upload)
    answers = [await complete(client, upload, **KEY) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]


@pytest.mark.parametrize(("port", "name"), [("objects", "put"), ("repository", "add")])
@pytest.mark.parametrize(
    ("error", "status"), [(StoreFailed("x"), 502), (StoreUnavailable("x"), 503), (RuntimeError("x"), 500)]
)
async def test_a_store_that_fails_frees_the_key(
    app: Starlette,
    client: httpx.AsyncClient,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    port: str,
    name: str,
    error: Exception,
    status: int,
) -> None:
    """The same request with the same key may then succeed."""
    target = getattr(app.state.services, port)
    monkeypatch.setattr(target, name, failing_once(target, name, error))
    assert (await client.post("/images", **keyed(raw(DATA)))).status_code == status
    await assert_nothing_stored(client, settings)
    answers = [await client.post("/images", **keyed(raw(DATA))) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert await count(client) == 1


async def test_an_outcome_that_is_unknown(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happened all the same is found by the key: this is what keys are for."""
    repository = app.state.services.repository
    error = OutcomeUnknown("It did not say.")
    monkeypatch.setattr(repository, "add", failing_once(repository, "add", error, after=True))
    assert_problem(await client.post("/images", **keyed(raw(DATA))), 503, "outcome_unknown")
    (image,) = (await client.get("/images")).json()["images"]
    answer = await client.post("/images", **keyed(raw(DATA)))
    assert (answer.status_code, answer.json()) == (201, image)
    assert await count(client) == 1


async def test_an_outcome_that_is_unknown_and_did_not_happen(
    app: Starlette, client: httpx.AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key stays taken until the first request can no longer commit, and is then free."""
    repository = app.state.services.repository
    error = OutcomeUnknown("It did not say.")
    monkeypatch.setattr(repository, "add", failing_once(repository, "add", error))
    assert_problem(await client.post("/images", **keyed(raw(DATA))), 503, "outcome_unknown")
    assert_problem(await client.post("/images", **keyed(raw(DATA))), 409, "request_in_progress")
    set_claims(settings, "locked_until")
    assert (await client.post("/images", **keyed(raw(DATA)))).status_code == 201
    assert await count(client) == 1


# Time


async def test_a_key_is_kept_for_a_day(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """A minute frees no key that has an answer; a day does, and the sweep then removes it."""
    first = await client.post("/images", **keyed(raw(DATA)))
    assert set_claims(settings, "locked_until") == 1
    assert (await client.post("/images", **keyed(raw(DATA)))).content == first.content
    set_claims(settings, "expires_at")
    second = await client.post("/images", **keyed(raw(DATA)))
    assert second.status_code == 201
    assert second.json()["image_id"] != first.json()["image_id"]
    set_claims(settings, "expires_at")
    assert (await client.post("/uploads", json=declaration(), headers=KEY)).status_code == 201
    await app.state.services.housekeeper.sweep()
    assert set_claims(settings, "expires_at") == 1
    await app.state.services.housekeeper.sweep()
    assert set_claims(settings, "expires_at") == 0


@pytest.fixture
def hanging(app: Starlette, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Let the first original wait to be stored: return what says that it does, and what lets it go on."""
    objects = app.state.services.objects
    put, reached, go_on = objects.put, asyncio.Event(), asyncio.Event()

    async def wait_and_put(*arguments: Any, **options: Any) -> None:
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        await put(*arguments, **options)

    monkeypatch.setattr(objects, "put", wait_and_put)
    return reached, go_on


async def test_while_the_first_is_at_work(
    app: Starlette,
    client: httpx.AsyncClient,
    hanging: tuple[asyncio.Event, asyncio.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """409 and when to try again, and no work is done twice; what is something else hears so at once."""
    reached, go_on = hanging
    first = asyncio.create_task(client.post("/images", **keyed(raw(DATA))))
    await reached.wait()
    monkeypatch.delattr(type(app.state.services.images), "upload")  # the first is in it already
    for _ in range(2):
        answer = await client.post("/images", **keyed(raw(DATA)))
        assert_problem(answer, 409, "request_in_progress")
        assert int(answer.headers["retry-after"]) >= 1
    assert_problem(await client.post("/images", **keyed(raw(OTHER))), 422, REUSED)
    go_on.set()
    done = await first
    assert done.status_code == 201
    assert (await client.post("/images", **keyed(raw(DATA)))).content == done.content
    assert await count(client) == 1


async def test_a_request_that_takes_too_long(
    client: httpx.AsyncClient, settings: Settings, hanging: tuple[asyncio.Event, asyncio.Event]
) -> None:
    """After a minute another one takes its key; the first can then no longer commit, and leaves nothing behind."""
    reached, go_on = hanging
    first = asyncio.create_task(client.post("/images", **keyed(raw(DATA))))
    await reached.wait()
    assert set_claims(settings, "locked_until") == 1
    second = await client.post("/images", **keyed(raw(DATA)))
    assert second.status_code == 201
    go_on.set()
    answer = await first
    assert_problem(answer, 409, "request_in_progress")
    assert "retry-after" in answer.headers
    assert await count(client) == len(stored_files(settings)) == 1
    assert (await client.post("/images", **keyed(raw(DATA)))).content == second.content


async def test_a_request_that_takes_long_and_is_not_overtaken(
    client: httpx.AsyncClient, settings: Settings, hanging: tuple[asyncio.Event, asyncio.Event]
) -> None:
    """It commits, however long it took."""
    reached, go_on = hanging
    first = asyncio.create_task(client.post("/images", **keyed(raw(DATA))))
    await reached.wait()
    set_claims(settings, "locked_until")
    go_on.set()
    assert (await first).status_code == 201


async def test_a_start_frees_the_keys_of_the_dead(
    app: Starlette, client: httpx.AsyncClient, hanging: tuple[asyncio.Event, asyncio.Event]
) -> None:
    """Whoever has no answer by then never gets one; who has one keeps it."""
    other: dict[str, Any] = {"json": {"image_ids": ["x"]}, "headers": {"Idempotency-Key": "answered"}}
    answered = await client.post("/images/delete", **other)
    reached, go_on = hanging
    dead = asyncio.create_task(client.post("/images", **keyed(raw(DATA))))
    await reached.wait()
    await app.state.services.housekeeper.begin()
    assert (await client.post("/images", **keyed(raw(DATA)))).status_code == 201
    assert (await client.post("/images/delete", **other)).content == answered.content
    assert_problem(
        await client.post("/images/delete", json={"image_ids": ["y"]}, headers=other["headers"]), 422, REUSED
    )
    go_on.set()
    assert_problem(await dead, 409, "request_in_progress")
    assert await count(client) == 1


# Many at once


@pytest.mark.parametrize("kind", ["upload", "declare", "complete", "delete"])
async def test_ten_at_once(app: Starlette, client: httpx.AsyncClient, settings: Settings, kind: str) -> None:
    """One of them does it, and the others tell the same or that it is being done."""
    upload = await declared(client)
    await receive(app, upload)
    image = await uploaded(client)
    path, request = {
        "upload": ("/images", raw(DATA)),
        "declare": ("/uploads", {"json": declaration()}),
        "complete": (f"/uploads/{upload['image_id']}/complete", {}),
        "delete": ("/images/delete", {"json": {"image_ids": [image["image_id"]]}}),
    }[kind]
    answers = await asyncio.gather(*(client.post(path, **keyed(request)) for _ in range(10)))
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {200 if kind == "delete" else 201, 409}
    done = [answer for answer in answers if answer.status_code != 409]
    assert done
    for answer in answers:
        if answer.status_code == 409:
            assert_problem(answer, 409, "request_in_progress")
            assert "retry-after" in answer.headers
    if kind == "declare":
        assert len({answer.json()["image_id"] for answer in done}) == 1
    else:
        assert len({answer.content for answer in done}) == 1
    again = await client.post(path, **keyed(request))
    assert again.json().get("image_id") == done[0].json().get("image_id")
    assert await count(client) == {"delete": 0, "declare": 1, "upload": 2, "complete": 2}[kind]


async def test_a_declaration_s_fingerprint_stays(client: httpx.AsyncClient, settings: Settings) -> None:
    """What it was before images could keep their id: a key that was used then is still good for the same."""
    request = {"json": {"content_type": "image/png", "size": 5, "user_id": "ann", "tags": ["cat"]}}
    assert (await client.post("/uploads", **keyed(request))).status_code == 201
    with closing(sqlite3.connect(settings.data_dir / "images.sqlite3")) as connection:
        found = connection.execute("SELECT fingerprint FROM claims").fetchall()
    assert found == [("caa20efbc330a42f4d96054535c0d995f91b5971400b9a463995d7e2d2d45710",)]
