"""Images that keep their id, declared with `image_id`: moved from elsewhere, or back after they were deleted."""

import asyncio
import datetime as dt
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from src.common.config import Settings
from src.common.errors import OutcomeUnknown
from src.common.ids import created_at, new_id
from src.common.payload import Payload
from src.models.finding import Finding
from src.models.image import original_key
from src.models.rendition import renditions_prefix
from src.models.upload import KEPT
from tests.support.api import assert_problem, raw, stored_files, uploaded
from tests.support.faults import held_at
from tests.support.homes import HOMES, home_app, stored_objects
from tests.support.images import NOON, id_at
from tests.support.pictures import padded, picture
from tests.support.stores import DAY, MINUTE
from tests.support.uploads import DATA, SHA256, complete, completed, declaration, declared, receive, send

pytestmark = pytest.mark.anyio

OTHER = picture("png", color=(1, 2, 3))
OLD = id_at(NOON)
LATER = "2025-06-02T01:02:03.456000Z"


@pytest.fixture(params=HOMES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Starlette]:
    async with home_app(request.param, tmp_path, lambda: request.getfixturevalue("emulator"), {}) as app:
        yield app


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def client_of(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")


def exported(image: dict[str, Any]) -> dict[str, Any]:
    """Return what a declaration says of an image so that it becomes the same again."""
    names = ("image_id", "version", "updated_at", "user_id", "filename", "tags", "description", "width", "height")
    return {name: image[name] for name in names} | {"sha256": image["sha256"]}


async def assert_whole(client: httpx.AsyncClient, app: Starlette, image: dict[str, Any], data: bytes) -> None:
    """Check that there is this image, with these bytes, and nothing else."""
    got = (await client.get(f"/images/{image['image_id']}")).json()
    assert {name: got[name] for name in image} == image
    assert (await client.get("/images")).json()["images"] == [image]
    key = original_key(image["image_id"], image["content_type"])
    with closing(await app.state.services.objects.fetch(key)) as payload:
        assert payload.open().read() == data


async def put(app: Starlette, key: str, data: bytes) -> None:
    with closing(Payload.of(data)) as payload:
        await app.state.services.objects.put(key, payload, content_type="image/png")


# What is restored


async def test_an_image_keeps_its_identity(home: Starlette) -> None:
    """By the form that it is sent with; in lists it stands where it stood, and what it becomes then is counted on."""
    async with client_of(home) as client:
        young = await uploaded(client, OTHER)
        upload = await declared(client, image_id=OLD, version=7, updated_at=LATER, user_id="ann", tags=["cat"])
        assert upload["image_id"] == OLD
        await receive(home, upload)
        image = (await complete(client, upload)).json()
        assert image["created_at"] == "2025-06-01T12:00:00Z"
        assert (image["image_id"], image["version"], image["updated_at"]) == (OLD, 7, LATER)
        assert (image["user_id"], image["tags"], image["sha256"]) == ("ann", ["cat"], SHA256)
        assert (await client.get("/images")).json()["images"] == [young, image]
        before = {"created_before": "2025-06-01T12:00:01Z"}
        assert (await client.get("/images", params=before)).json()["images"] == [image]
        again = await complete(client, upload)
        assert (again.status_code, again.json()) == (200, image)
        changed = (await client.patch(f"/images/{OLD}", json={"tags": ["dog"]})).json()
        assert changed["version"] == 8
        assert changed["updated_at"] > LATER


async def test_it_is_as_new_if_nothing_is_said(client: httpx.AsyncClient, app: Starlette) -> None:
    image = await completed(client, app, image_id=OLD, version=None, updated_at=None)
    assert (image["version"], image["updated_at"]) == (1, image["created_at"])


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("2025-06-01T12:00:00Z", "2025-06-01T12:00:00Z"),
        ("2025-06-01T14:00:00.0009+02:00", "2025-06-01T12:00:00Z"),
        ("2025-06-01T12:00:00.123999Z", "2025-06-01T12:00:00.123000Z"),
    ],
)
async def test_the_time_of_the_last_change(client: httpx.AsyncClient, app: Starlette, said: str, kept: str) -> None:
    """In UTC, and as precise as either home keeps it."""
    image = await completed(client, app, image_id=OLD, updated_at=said)
    assert image["updated_at"] == kept


async def test_clocks_may_differ(client: httpx.AsyncClient, app: Starlette) -> None:
    soon = dt.datetime.now(dt.UTC) + MINUTE / 2
    image = await completed(client, app, image_id=id_at(soon), updated_at=(soon + MINUTE / 6).isoformat())
    assert image["created_at"] < image["updated_at"]


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        *[
            ({"image_id": text}, ["image_id"])
            for text in ("", "x", OLD.upper(), OLD[:-1], f"{OLD}\n", "00000000-0000-4000-8000-000000000000", 1, [OLD])
        ],
        *[
            ({"image_id": f"{time}-7000-8000-000000000000"}, ["image_id"])
            for time in ("ffffffff-ffff", "f0000000-0000")
        ],
        ({"image_id": id_at(dt.datetime.now(dt.UTC) + 10 * DAY)}, ["image_id"]),
        *[({"image_id": OLD, "version": version}, ["version"]) for version in (0, -1, 1.5, "x", True, 2**31 + 1, [])],
        *[
            ({"image_id": OLD, "updated_at": text}, ["updated_at"])
            for text in (
                "",
                "yesterday",
                1,
                "2025-06-02T01:02:03",
                "2025-06-01T11:59:59.999Z",
                "0001-01-01T00:00:00+14:00",
                "9999-12-31T23:59:59-14:00",
                (dt.datetime.now(dt.UTC) + DAY).isoformat(),
            )
        ],
        ({"version": 2}, ["version"]),
        ({"version": 2, "updated_at": LATER}, ["version", "updated_at"]),
        ({"version": 0, "updated_at": "x", "image_id": "y"}, ["version", "updated_at", "image_id"]),
    ],
)
async def test_what_cannot_be(client: httpx.AsyncClient, fields: dict[str, Any], at_fault: list[str]) -> None:
    problem = assert_problem(
        await client.post("/uploads", json=declaration(**fields)), 400, "invalid_request", *sorted(at_fault)
    )
    assert all(error["message"].startswith("wants ") for error in problem["errors"])


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("0001-01-01T00:00:00+00:01", "wants no time before the image was made"),
        ("9999-12-31T23:59:59-00:01", "wants no time in the future"),
    ],
)
async def test_times_that_utc_has_no_year_for(client: httpx.AsyncClient, said: str, reason: str) -> None:
    """They are too early and too late, as any other such time; and alone they lack an id, as any other."""
    answers = [
        await client.post("/uploads", json=declaration(updated_at=said, **more)) for more in ({"image_id": OLD}, {})
    ]
    messages = [
        assert_problem(answer, 400, "invalid_request", "updated_at")["errors"][0]["message"] for answer in answers
    ]
    assert messages[0].startswith(reason)
    assert messages[1] == "wants an image_id beside it"


async def test_it_is_verified_as_all_are(client: httpx.AsyncClient, app: Starlette) -> None:
    upload = await declared(client, image_id=OLD, sha256="0" * 64)
    await receive(app, upload)
    assert_problem(await complete(client, upload), 422, "upload_mismatch", "sha256")
    assert (await client.get("/images")).json()["images"] == []


# Ids that are taken, and free again


async def test_the_id_of_an_image_is_taken(home: Starlette) -> None:
    async with client_of(home) as client:
        image = await uploaded(client, DATA)
        for data in (DATA, OTHER):
            answer = await client.post("/uploads", json=declaration(data, **exported(image) | {"sha256": None}))
            assert_problem(answer, 409, "image_exists")
        assert_problem(await client.get(f"/uploads/{image['image_id']}"), 404, "upload_not_found")
        restored = await completed(client, home, OTHER, image_id=OLD)
        assert_problem(await client.post("/uploads", json=declaration(OTHER, image_id=OLD)), 409, "image_exists")
        assert (await client.get("/images")).json()["images"] == [image, restored]


@pytest.mark.parametrize("way", ["uploaded", "restored"])
async def test_a_deleted_image_comes_back_at_once(home: Starlette, way: str) -> None:
    """And goes, and comes again; whether there is an upload of it from before or not."""
    async with client_of(home) as client:
        if way == "restored":
            image = await completed(client, home, image_id=OLD, version=3, tags=["cat"])
        else:
            image = (await client.post("/images", params={"tags": "cat"}, **raw(DATA, "image/png"))).json()
        for _ in range(2):
            assert (await client.delete(f"/images/{image['image_id']}")).status_code == 204
            assert await completed(client, home, **exported(image)) == image
            await assert_whole(client, home, image, DATA)
        assert (await client.get("/tags")).json()["tags"] == [{"tag": "cat", "count": 1}]


async def test_an_id_whose_upload_became_another_image(client: httpx.AsyncClient, app: Starlette) -> None:
    """It is free: there is no image of that name."""
    first = await completed(client, app)
    upload = await declared(client, image_id=OLD, on_duplicate="return")
    await receive(app, upload)
    assert (await complete(client, upload)).json() == first
    restored = await completed(client, app, image_id=OLD)
    assert (await client.get("/images")).json()["images"] == [first, restored]


async def test_a_declaration_is_repeated(home: Starlette) -> None:
    """The upload goes on, whatever of it was done."""
    async with client_of(home) as client:
        fields = {"image_id": OLD, "version": 3, "updated_at": LATER, "tags": ["cat"], "description": "x"}
        first = await declared(client, **fields)
        again = await declared(client, **fields)
        assert (again["image_id"], again["status"]) == (OLD, "waiting")
        assert again["upload"]["fields"]["key"] == first["upload"]["fields"]["key"]
        await receive(home, again)
        assert (await declared(client, **fields, sha256=SHA256))["status"] == "received"
        assert (await declared(client, **fields))["status"] == "received"
        image = (await complete(client, first)).json()
        assert (image["version"], image["sha256"]) == (3, SHA256)
        assert_problem(await client.post("/uploads", json=declaration(**fields)), 409, "image_exists")


@pytest.mark.parametrize(
    "other",
    [
        {"size": 1},
        {"content_type": "image/jpeg"},
        {"sha256": "0" * 64},
        {"version": 2},
        {"updated_at": LATER},
        {"tags": []},
        {"user_id": "ann"},
        {"on_duplicate": "return"},
    ],
    ids=str,
)
async def test_another_declaration_of_an_open_id(client: httpx.AsyncClient, app: Starlette, other: Any) -> None:
    """It is refused, and the first one goes on; when that is cancelled, it is taken."""
    fields = {**declaration(), "image_id": OLD, "sha256": SHA256, "tags": ["cat"]}
    first = (await client.post("/uploads", json=fields)).json()
    assert_problem(await client.post("/uploads", json={**fields, **other}), 409, "image_exists")
    await receive(app, first)
    assert (await client.delete(f"/uploads/{OLD}")).status_code == 204
    assert (await client.post("/uploads", json={**fields, **other})).json()["status"] == "waiting"


async def test_ten_declarations_at_once(home: Starlette) -> None:
    """Of the same all are answered alike; of others one is taken."""
    async with client_of(home) as client:
        answers = await asyncio.gather(*(client.post("/uploads", json=declaration(image_id=OLD)) for _ in range(10)))
        assert {answer.status_code for answer in answers} <= {201, 503}
        assert sum(answer.status_code == 201 for answer in answers) > 1
        other = id_at(NOON + DAY)
        answers = await asyncio.gather(
            *(client.post("/uploads", json=declaration(image_id=other, version=number)) for number in range(1, 11))
        )
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_a_key_gets_the_first_answer(client: httpx.AsyncClient, app: Starlette) -> None:
    headers, body = {"Idempotency-Key": "a"}, declaration(image_id=OLD)
    first = await client.post("/uploads", json=body, headers=headers)
    await receive(app, first.json())
    assert (await complete(client, first.json())).status_code == 201
    again = await client.post("/uploads", json=body, headers=headers)
    assert (again.status_code, again.json()["image_id"]) == (201, OLD)
    reused = await client.post("/uploads", json=declaration(image_id=OLD, version=2), headers=headers)
    assert_problem(reused, 422, "idempotency_key_reused")
    refused = await client.post("/uploads", json=body, headers={"Idempotency-Key": "b"})
    assert_problem(refused, 409, "image_exists")


async def test_a_form_that_has_ended_is_renewed(client: httpx.AsyncClient, settings: Settings) -> None:
    upload = await declared(client, image_id=OLD)
    past = "2025-06-01T12:00:00Z"
    with closing(sqlite3.connect(settings.data_dir / "images.sqlite3")) as connection, connection:
        connection.execute("UPDATE uploads SET record = json_set(record, '$.expires_at', ?)", (past,))
    assert "upload" not in (await client.get(f"/uploads/{OLD}")).json()
    again = await declared(client, image_id=OLD)
    assert again["expires_at"] >= upload["expires_at"]
    assert (await send(client, again)).status_code == 204
    assert (await complete(client, again)).status_code == 201


async def test_an_upload_that_is_over_is_declared_anew(
    client: httpx.AsyncClient, app: Starlette, settings: Settings
) -> None:
    """Whether it has been swept by then or not, and with whatever content."""
    await declared(client, image_id=OLD)
    with closing(sqlite3.connect(settings.data_dir / "images.sqlite3")) as connection, connection:
        connection.execute("UPDATE uploads SET kept_until = kept_until - ?", (KEPT.total_seconds(),))
    image = await completed(client, app, OTHER, image_id=OLD)
    await app.state.services.housekeeper.sweep()
    await assert_whole(client, app, image, OTHER)


async def test_an_old_id_is_not_swept(client: httpx.AsyncClient, app: Starlette) -> None:
    """An upload is kept for a day after it was declared, not after its id was made."""
    upload = await declared(client, image_id=OLD)
    await receive(app, upload)
    await app.state.services.housekeeper.sweep()
    assert (await complete(client, upload)).status_code == 201


async def test_a_sweep_beside_a_restore(client: httpx.AsyncClient, app: Starlette, settings: Settings) -> None:
    """It has found the former upload of the id over, and takes nothing of what came after it."""
    first = await declared(client, image_id=OLD)
    await receive(app, first)
    with closing(sqlite3.connect(settings.data_dir / "images.sqlite3")) as connection, connection:
        connection.execute("UPDATE uploads SET kept_until = kept_until - ?", (KEPT.total_seconds(),))
    services = app.state.services
    async with held_at(services.objects, "delete", services.housekeeper.sweep) as sweep:
        image = await completed(client, app, OTHER, image_id=OLD)
    await sweep
    await assert_whole(client, app, image, OTHER)
    assert (await client.get(f"/uploads/{OLD}")).json()["status"] == "completed"


# What is left of the id's former life


async def test_bytes_that_were_left(home: Starlette) -> None:
    """The same are taken over; others are not overwritten, and go when the upload is cancelled. Renditions go."""
    async with client_of(home) as client:
        stale = f"{renditions_prefix(OLD)}8x8.webp"
        await put(home, original_key(OLD, "image/png"), DATA)
        await put(home, stale, b"of other bytes")
        objects = home.state.services.objects
        upload = await declared(client, OTHER, image_id=OLD)
        await receive(home, upload, OTHER)
        assert_problem(await complete(client, upload), 409, "upload_changed")
        assert (await client.delete(f"/uploads/{OLD}")).status_code == 204
        await put(home, original_key(OLD, "image/png"), OTHER)
        image = await completed(client, home, OTHER, image_id=OLD)
        await assert_whole(client, home, image, OTHER)
        assert [info.key async for info in objects.list("renditions/")] == []


async def test_a_completion_from_before(client: httpx.AsyncClient, app: Starlette) -> None:
    """It has broken nothing when it comes to its end: neither bytes nor record are those that were cancelled."""
    objects = app.state.services.objects
    first = await declared(client, DATA, image_id=OLD)
    await receive(app, first, DATA)
    async with held_at(objects, "create", lambda: complete(client, first)) as late:
        assert (await client.delete(f"/uploads/{OLD}")).status_code == 204
        image = await completed(client, app, OTHER, image_id=OLD)
    assert_problem(await late, 409, "upload_changed")
    await assert_whole(client, app, image, OTHER)


async def test_an_ordinary_completion_from_before(home: Starlette) -> None:
    """It does not store its bytes over those of the image that has its id by now."""
    async with client_of(home) as client:
        first = await declared(client, DATA)
        await receive(home, first, DATA)
        async with held_at(home.state.services.objects, "create", lambda: complete(client, first)) as late:
            assert (await client.delete(f"/uploads/{first['image_id']}")).status_code == 204
            image = await completed(client, home, OTHER, image_id=first["image_id"])
        assert_problem(await late, 409, "upload_changed")
        await assert_whole(client, home, image, OTHER)


@pytest.mark.parametrize("is_completed", [False, True], ids=["open", "completed"])
async def test_a_commit_from_before(client: httpx.AsyncClient, app: Starlette, is_completed: bool) -> None:
    """The same, when its bytes were stored already: it can't have what was declared anew for others."""
    first = await declared(client, DATA, image_id=OLD)
    await receive(app, first, DATA)
    async with held_at(app.state.services.repository, "add", lambda: complete(client, first)) as late:
        assert (await client.delete(f"/uploads/{OLD}")).status_code == 204
        second = await declared(client, OTHER, image_id=OLD, sha256=sha256(OTHER))
        await receive(app, second, OTHER)
        if is_completed:
            assert (await complete(client, second)).status_code == 201
    if is_completed:
        assert (await late).status_code == 200
    else:
        assert_problem(await late, 409, "upload_changed")
    image = (await complete(client, second)).json()
    await assert_whole(client, app, image, OTHER)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("store", "call"), [("objects", "create"), ("repository", "add"), ("objects", "head")])
async def test_a_completion_that_breaks_off(
    client: httpx.AsyncClient, app: Starlette, store: str, call: str, when: str
) -> None:
    """It is repeated, and nothing is lost or left; when it is committed, it is not told otherwise."""
    upload = await declared(client, image_id=OLD, version=2)
    await receive(app, upload)
    target = getattr(app.state.services, store)
    method = getattr(target, call)

    async def fail(*arguments: Any, **options: Any) -> None:
        if when == "after":
            await method(*arguments, **options)
        raise OutcomeUnknown("not now")

    setattr(target, call, fail)
    first = await complete(client, upload)
    assert first.status_code == (201 if call == "head" else 503)
    setattr(target, call, method)
    again = await complete(client, upload)
    is_committed = call == "head" or (call, when) == ("add", "after")
    assert again.status_code == (200 if is_committed else 201)
    await assert_whole(client, app, again.json(), DATA)
    assert again.json()["version"] == 2


async def test_completions_at_once_with_other_bytes(home: Starlette) -> None:
    """Whatever is sent while it is completed, again and again: there is one image, and its bytes are its own."""
    one, other = padded(DATA, 1_000), padded(OTHER, 1_000)
    async with client_of(home) as client:
        upload = await declared(client, one, image_id=OLD)

        async def attempt(data: bytes) -> int:
            await receive(home, upload, data)
            return (await complete(client, upload)).status_code

        statuses = await asyncio.gather(*(attempt(data) for data in (one, other) * 3))
        assert set(statuses) <= {200, 201, 409, 422}
        images = (await client.get("/images")).json()["images"]
        assert len(images) == 1
        await assert_whole(client, home, images[0], one if images[0]["sha256"] == sha256(one) else other)


async def test_a_deletion_that_comes_late(client: httpx.AsyncClient, app: Starlette) -> None:
    """It takes the object of the image that was restored, which is looked for once more."""
    services = app.state.services
    add = services.repository.add
    image = await completed(client, app, image_id=OLD)
    async with held_at(services.objects, "delete", lambda: client.delete(f"/images/{OLD}")) as deletion:
        upload = await declared(client, image_id=OLD)
        await receive(app, upload)

        async def add_and_lose(*arguments: Any, **options: Any) -> Any:
            added = await add(*arguments, **options)
            await services.objects.delete(original_key(OLD, "image/png"))
            return added

        services.repository.add = add_and_lose
        assert (await complete(client, upload)).status_code == 201
        services.repository.add = add
        await assert_whole(client, app, image, DATA)
        deletion.cancel()


@pytest.mark.parametrize("when", ["before it is looked for", "while it is stored again"])
async def test_a_deletion_of_what_was_restored(
    client: httpx.AsyncClient, app: Starlette, settings: Settings, when: str
) -> None:
    """At once: then no object is made for it, or it goes again."""
    services = app.state.services
    add, create = services.repository.add, services.objects.create

    async def add_and_lose(*arguments: Any, **options: Any) -> Any:
        added = await add(*arguments, **options)
        await services.objects.delete(original_key(OLD, "image/png"))
        if when == "before it is looked for":
            await services.repository.remove(OLD)
        else:
            services.objects.create = remove_and_create
        return added

    async def remove_and_create(*arguments: Any, **options: Any) -> Any:
        await services.repository.remove(OLD)
        return await create(*arguments, **options)

    upload = await declared(client, image_id=OLD)
    await receive(app, upload)
    services.repository.add = add_and_lose
    assert (await complete(client, upload)).status_code == 201
    assert stored_files(settings) == []


async def test_a_rendition_from_before(client: httpx.AsyncClient, app: Starlette) -> None:
    """One that is being made of other bytes is not kept for the image that has them no longer."""
    await completed(client, app, DATA, image_id=OLD)
    objects = app.state.services.objects
    url = f"/images/{OLD}/content?width=8&format=png"
    async with held_at(app.state.services.renditions, "_make", lambda: client.get(url)) as late:
        assert (await client.delete(f"/images/{OLD}")).status_code == 204
        image = await completed(client, app, OTHER, image_id=OLD)
    assert (await late).status_code == 404
    assert [info.key async for info in objects.list("renditions/")] == []
    await assert_whole(client, app, image, OTHER)


# Reconciliation


async def test_reconcile_beside_a_restore(home: Starlette, request: pytest.FixtureRequest) -> None:
    """What is under way is left, and in the end everything agrees; what was cancelled goes."""

    async def found() -> list[str]:
        later = dt.datetime.now(dt.UTC) + DAY / 24
        findings = []
        async for each in home.state.services.reconciler.find(later):
            if isinstance(each, Finding):
                findings.append(each.what)
                await home.state.services.reconciler.mend(each)
        return findings

    async with client_of(home) as client:
        upload = await declared(client, image_id=OLD, tags=["cat"])
        await receive(home, upload)
        key = original_key(OLD, "image/png")
        await put(home, key, DATA)  # as a completion that broke off leaves it
        assert await found() == []
        image = (await complete(client, upload)).json()
        assert await found() == []
        await assert_whole(client, home, image, DATA)
        assert await stored_objects(home, lambda: request.getfixturevalue("emulator")) == [key]
        assert (await client.delete(f"/images/{OLD}")).status_code == 204
        await put(home, key, DATA)
        assert await found() == [key]


def test_ids_are_what_they_say() -> None:
    assert created_at(OLD) == NOON
    assert created_at(new_id()) > NOON
