"""`POST /objects/`: what a signed form stores, and every form that stores nothing.

What it has in common with S3 is in `test_s3_forms.py`.
"""

import datetime as dt
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette

from src.common.config import Settings
from src.handlers.object_forms import MAX_FIELD_SIZE, MAX_FIELDS
from src.models.link import Form
from src.services.link_service import LinkService, utc_now
from tests.support.api import BOUNDARY, assert_problem, form, stored_files
from tests.support.forms import DATA, FILE, IMAGE_ID, KEY, body_of, parts_of, post

pytestmark = pytest.mark.anyio

REQUIRED = ("key", "policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
CHUNK = 10_000


def links_of(app: Starlette) -> LinkService:
    links: LinkService = app.state.services.links
    return links


def signed(app: Starlette, *, key: str = KEY, size: int = len(DATA), life: int = 600) -> Form:
    return links_of(app).form(
        key,
        content_type="image/png",
        size=size,
        origin="http://testserver",
        expires_at=utc_now() + dt.timedelta(seconds=life),
    )


async def test_a_form_stores_the_file(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    answer = await post(client, signed(app))
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["location"] == f"/objects/{KEY}"
    assert answer.headers["etag"] == (await app.state.services.objects.head(KEY)).etag
    assert stored_files(settings) == [settings.data_dir / "objects" / KEY]
    assert stored_files(settings)[0].read_bytes() == DATA
    assert (await client.get("/images")).json()["images"] == []


async def test_a_large_file(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """As large as a picture may be, which is more than is kept in memory."""
    data = DATA * (settings.max_image_size // len(DATA))
    assert (await post(client, signed(app, size=len(data)), data)).status_code == 204
    assert stored_files(settings)[0].read_bytes() == data


async def test_clients_of_all_kinds(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    """Some send every field as if it was a file, and some the file as if it was a field; S3 goes by the names."""
    made = signed(app)
    as_files = [(f'form-data; name="{name}"; filename="{name}"', v.encode()) for name, v in made.fields.items()]
    for parts in (as_files, parts_of(made.fields.items())):
        for file in (FILE, 'form-data; name="file"', 'form-data; name="FILE"; filename=""'):
            assert (await client.post(made.url, **form(*parts, (file, DATA)))).status_code == 204
            path = stored_files(settings)[0]
            assert path.read_bytes() == DATA
            path.unlink()


async def test_the_address_has_the_prefix_that_the_service_runs_under(app: Starlette) -> None:
    transport = httpx.ASGITransport(app, root_path="/dev")
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        answer = await client.post("/dev/objects/", **body_of(signed(app).fields.items()))
    assert answer.headers["location"] == f"/dev/objects/{KEY}"


async def test_fields_after_the_file_are_ignored(app: Starlette, client: httpx.AsyncClient) -> None:
    made = signed(app)
    after = parts_of([("acl", "public-read"), ("key", "other"), ("submit", "Send")])
    answer = await client.post(made.url, **form(*parts_of(made.fields.items()), (FILE, DATA), *after))
    assert answer.status_code == 204


async def test_fields_only_after_the_file(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    made = signed(app)
    answer = await client.post(made.url, **form((FILE, DATA), *parts_of(made.fields.items())))
    assert_problem(answer, 400, "invalid_request", *REQUIRED)
    assert stored_files(settings) == []


async def test_several_files(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    made = signed(app)
    for files in ([DATA, DATA], [b"", DATA], [DATA, b""]):
        parts = [*parts_of(made.fields.items()), *((FILE, data) for data in files)]
        assert_problem(await client.post(made.url, **form(*parts)), 400, "invalid_request", "file")
    assert stored_files(settings) == []


@pytest.mark.parametrize(
    "data", [None, b"", DATA[1:], DATA + b"x", bytes(11 * 1024 * 1024)], ids=["none", "empty", "less", "more", "most"]
)
async def test_another_file(app: Starlette, client: httpx.AsyncClient, settings: Settings, data: bytes | None) -> None:
    made = signed(app)
    for file in (FILE, 'form-data; name="file"'):
        answer = await client.post(made.url, **body_of(made.fields.items(), data, file=file))
        assert_problem(answer, 400, "invalid_request", "file")
    assert stored_files(settings) == []


async def test_what_is_wrong_with_a_form(app: Starlette, client: httpx.AsyncClient, settings: Settings) -> None:
    made = signed(app)
    for name, value in made.fields.items():
        fields = {**made.fields, name: value[:-1] + ("0" if value[-1] != "0" else "1")}
        answer = await client.post(made.url, **body_of(fields.items()))
        if name in ("x-amz-algorithm", "x-amz-credential", "x-amz-date"):
            assert_problem(answer, 400, "invalid_request", name)
        else:
            assert_problem(answer, 403, "signature_invalid")
    assert_problem(await post(client, signed(app, life=-1)), 403, "link_expired")
    assert stored_files(settings) == []


@pytest.mark.parametrize("key", ["originals/1a/a.png", "renditions/1a/a/b.png", "a.png", "incoming", "/incoming/a.png"])
async def test_no_other_objects_are_stored(
    app: Starlette, client: httpx.AsyncClient, settings: Settings, key: str
) -> None:
    """Even if they were signed."""
    assert_problem(await post(client, signed(app, key=key)), 403, "signature_invalid")
    assert stored_files(settings) == []


@pytest.mark.parametrize("end", [0, 1, 100, 1_500, -1, -10, -len(DATA) // 2])
async def test_a_form_that_breaks_off(app: Starlette, client: httpx.AsyncClient, settings: Settings, end: int) -> None:
    made = signed(app)
    request = body_of(made.fields.items())
    request["content"] = request["content"].rstrip()[:end]
    assert_problem(await client.post(made.url, **request), 400, "invalid_request", "body")
    assert stored_files(settings) == []


@pytest.mark.parametrize(
    "content_type", [None, "", "image/png", "application/json", "multipart/form-data", "multipart/form-data; boundary="]
)
async def test_no_form(app: Starlette, client: httpx.AsyncClient, content_type: str | None) -> None:
    request = body_of(signed(app).fields.items())
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await client.post("/objects/", content=request["content"], headers=headers)
    assert_problem(answer, 400, "invalid_request", "body")


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-16", "rot13", "x", "idna"])
async def test_a_charset_is_no_way_in(
    app: Starlette, client: httpx.AsyncClient, settings: Settings, charset: str
) -> None:
    request = body_of({**signed(app).fields, "policy": "\\ud800"}.items())
    request["headers"]["Content-Type"] += f"; charset={charset}"
    assert (await client.post("/objects/", **request)).status_code in (400, 403, 415)
    assert stored_files(settings) == []


@pytest.mark.parametrize("fields", [[("x-ignore-a", "b")] * MAX_FIELDS, [("x-ignore-a", "b" * (MAX_FIELD_SIZE + 1))]])
async def test_too_much_beside_the_file(
    app: Starlette, client: httpx.AsyncClient, settings: Settings, fields: list[tuple[str, str]]
) -> None:
    answer = await client.post("/objects/", **body_of([*signed(app).fields.items(), *fields]))
    assert_problem(answer, 400, "invalid_request", "body")
    assert stored_files(settings) == []


@pytest.mark.parametrize(("change", "taken"), [({"key": "other"}, 0), ({}, 1)], ids=["signature", "size"])
async def test_a_refused_file_is_not_read(
    app: Starlette, client: httpx.AsyncClient, change: dict[str, str], taken: int
) -> None:
    """The signature is verified before the file comes, and its size as it comes."""
    made = signed(app, size=CHUNK)
    head = form(*parts_of({**made.fields, **change}.items()), (FILE, b""), end=b"")["content"].rpartition(b"\r\n--")[0]
    read = []

    async def body() -> AsyncIterator[bytes]:
        yield head
        for i in range(100):
            read.append(i)
            yield bytes(CHUNK)

    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = await client.post(made.url, content=body(), headers=headers)
    assert answer.status_code == (403 if change else 400)
    assert len(read) <= taken + 1


async def test_the_log_names_the_image(
    app: Starlette, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await post(client, signed(app))
        await post(client, signed(app), b"x")
    logged = [record for record in caplog.records if record.getMessage() == "request"]
    assert [record.__dict__.get("image_id") for record in logged] == [IMAGE_ID, IMAGE_ID]


@pytest.mark.parametrize("path", ["/objects/x", f"/objects/{KEY}", "/objects//"], ids=["another", "key", "empty"])
async def test_forms_have_one_address(app: Starlette, client: httpx.AsyncClient, path: str) -> None:
    assert_problem(await client.post(path, **body_of(signed(app).fields.items())), 405, "method_not_allowed")
