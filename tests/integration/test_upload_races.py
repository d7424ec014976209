"""Completions that overtake each other: what one has committed, another one's failure must not take away."""

import datetime as dt
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from src.common.config import Settings
from src.common.errors import StoreUnavailable
from src.models.finding import Finding
from src.models.image import original_key
from src.models.upload import FORM_LIFE, KEPT
from src.repositories import local_objects, sqlite_uploads
from tests.support.api import assert_problem, uploaded
from tests.support.faults import held_at
from tests.support.stores import make_upload
from tests.support.uploads import DATA, complete, declared, receive, send

pytestmark = pytest.mark.anyio

BAD = DATA[:-10] + b"x" * 10


async def check_whole(client: httpx.AsyncClient, image_id: str) -> None:
    url = (await client.get(f"/images/{image_id}")).json()["url"]
    assert (await client.get(url)).content == DATA


async def test_a_late_one_whose_disk_fails(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both store under the same key: when the file has its name already, it is not the late one's to delete."""
    upload = await declared(client)
    await receive(app, upload)

    def no_descriptor_left(_: Path) -> None:
        raise OSError(24, "Too many open files")

    async with held_at(app.state.services.objects, "create", lambda: complete(client, upload)) as late:
        assert (await complete(client, upload)).status_code == 201
        monkeypatch.setattr(local_objects, "sync", no_descriptor_left)
    assert late.result().status_code == 502
    await check_whole(client, upload["image_id"])


async def test_a_late_one_after_the_upload_s_day(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload that is no longer kept is not one that was cancelled."""
    upload = await declared(client)
    await receive(app, upload)
    async with held_at(app.state.services.repository, "add", lambda: complete(client, upload)) as late:
        assert (await complete(client, upload)).status_code == 201
        monkeypatch.setattr(sqlite_uploads, "_now", lambda: time.time() + KEPT.total_seconds())
    assert late.result().status_code == 200
    await check_whole(client, upload["image_id"])


async def test_a_refusal_takes_away_only_what_it_looked_at(app: Starlette, client: httpx.AsyncClient) -> None:
    upload = await declared(client)
    await receive(app, upload, BAD)
    inspection = app.state.services.uploads._inspection
    async with held_at(inspection, "inspect", lambda: complete(client, upload)) as late:
        assert (await complete(client, upload)).status_code == 422
        assert (await send(client, upload)).status_code == 204
    assert late.result().status_code == 422
    assert (await complete(client, upload)).status_code == 201
    await check_whole(client, upload["image_id"])


async def test_refused_bytes_that_can_t_be_looked_at_again(app: Starlette, client: httpx.AsyncClient) -> None:
    """The client learns that they are refused, whatever becomes of them."""
    upload = await declared(client)
    await receive(app, upload, BAD)
    objects = app.state.services.objects
    fetch = objects.fetch
    calls = []

    async def second_fails(key: str) -> Any:
        calls.append(key)
        if len(calls) > 1:
            raise StoreUnavailable("not now")
        return await fetch(key)

    objects.fetch = second_fails
    assert (await complete(client, upload)).status_code == 422
    assert len(calls) == 2


@pytest.mark.parametrize(("ended", "found"), [(60, False), (-60, False), (-7_200, True)])
async def test_reconcile_waits_after_an_upload_s_end(
    app: Starlette,
    client: httpx.AsyncClient,
    settings: Settings,
    ended: int,
    found: bool,
) -> None:
    """An original without a record may be what a completion that began before the end is about to commit."""
    image_id = (await uploaded(client))["image_id"]
    services = app.state.services
    await services.repository.remove(image_id)
    path = settings.data_dir / "objects" / original_key(image_id, "image/jpeg")
    now = dt.datetime.now(dt.UTC)
    os.utime(path, (now.timestamp() - 10_000,) * 2)
    declared_at = now + dt.timedelta(seconds=ended) - KEPT
    await services.uploads._uploads.declare(make_upload(image_id=image_id, expires_at=declared_at + FORM_LIFE))
    looked = [each async for each in services.reconciler.find(now - dt.timedelta(hours=1))]
    findings = [each.what for each in looked if isinstance(each, Finding)]
    assert findings == ([original_key(image_id, "image/jpeg")] if found else [])


async def test_a_deletion_that_failed_is_tried_again(app: Starlette, client: httpx.AsyncClient) -> None:
    """What failed is not kept as the answer for a day: the key is free."""
    image_id = (await uploaded(client))["image_id"]
    repository, headers = app.state.services.repository, {"Idempotency-Key": "a"}
    remove = repository.remove

    async def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("not now")

    repository.remove = fail
    body = {"image_ids": [image_id]}
    first = await client.post("/images/delete", json=body, headers=headers)
    assert first.json()["results"][0]["status"] == "failed"
    repository.remove = remove
    second = await client.post("/images/delete", json=body, headers=headers)
    assert second.json()["results"][0]["status"] == "deleted"
    assert (await client.post("/images/delete", json=body, headers=headers)).json() == second.json()


@pytest.mark.parametrize("charset", ["utf-7", "unicode_escape", "utf-16", "latin-1", "nonsense"])
async def test_forms_are_in_utf_8(client: httpx.AsyncClient, charset: str) -> None:
    """Some charsets can spell what no answer can repeat."""
    body = b'--b\r\nContent-Disposition: form-data; name="+2AA-"\r\n\r\nx\r\n--b--\r\n'
    headers = {"Content-Type": f"multipart/form-data; charset={charset}; boundary=b"}
    assert_problem(await client.post("/images", content=body, headers=headers), 415, "unsupported_request_body")
    assert_problem(await client.post("/objects/", content=body, headers=headers), 415, "unsupported_request_body")
    utf_8 = {"Content-Type": "multipart/form-data; charset=UTF-8; boundary=b"}
    assert (await client.post("/images", content=body, headers=utf_8)).status_code == 400
