"""Uploads that are refused: each with its own problem, naming the field; and nothing of them is left."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from src.common.config import Settings
from tests.support.api import assert_nothing_stored, assert_problem, form, raw
from tests.support.pictures import picture, png_bomb

pytestmark = pytest.mark.anyio

DATA = picture("png")
BASE64 = base64.b64encode(DATA).decode()
FILE = ('form-data; name="file"; filename="a.png"', DATA)
NO_FORM = {"Content-Type": "multipart/form-data"}


def json_body(content: bytes | str) -> dict[str, Any]:
    return {"content": content, "headers": {"Content-Type": "application/json"}}


def field(name: str, value: str) -> tuple[str, bytes]:
    return f'form-data; name="{name}"', value.encode()


MALFORMED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "form without a file": (form(field("tags", "a")), ["file"]),
    "form without anything": (form(), ["file"]),
    "form with the file under another name": (form(('form-data; name="image"; filename="a.png"', DATA)), ["image"]),
    "form with a text called file": (form(field("file", "not a file")), ["file"]),
    "form with a file and a text called file": (form(FILE, field("file", "x")), ["file"]),
    "form with two files": (form(FILE, FILE), ["file"]),
    "form with an empty file": (form(('form-data; name="file"; filename="a.png"', b"")), ["file"]),
    "form with an unknown field": (form(FILE, field("color", "red")), ["color"]),
    "form with a field twice": (form(FILE, field("user_id", "a"), field("user_id", "a")), ["user_id"]),
    "form with several bad fields": (
        form(FILE, field("width", "wide"), field("user_id", "a b"), field("tags", "x" * 65)),
        ["width", "user_id", "tags"],
    ),
    "form with a field that the query has too": (
        {**form(FILE, field("user_id", "a")), "params": {"user_id": "b"}},
        ["user_id"],
    ),
    "form with too many fields": (form(FILE, *[field("tags", "a")] * 100), ["body"]),
    "form with an endless field": (form(FILE, field("description", "x" * 70_000)), ["body"]),
    "form with a bad name of the file": (form(('form-data; name="file"; filename=".."', DATA)), ["filename"]),
    "form with a part without a name": (form(('form-data; filename="a.png"', DATA)), ["body"]),
    "form without a boundary": ({**form(FILE), "headers": NO_FORM}, ["body"]),
    "form with an empty boundary": (
        {**form(FILE), "headers": {"Content-Type": "multipart/form-data; boundary="}},
        ["body"],
    ),
    "form with another boundary": (
        {**form(FILE), "headers": {"Content-Type": "multipart/form-data; boundary=other"}},
        ["body"],
    ),
    "form with an endless boundary": (
        {**form(FILE), "headers": {"Content-Type": f"multipart/form-data; boundary={'x' * 300}"}},
        ["body"],
    ),
    "form of nonsense": (
        {"content": b"nonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        ["body"],
    ),
    "form that is empty": ({"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, ["body"]),
    "form that breaks off in the file": ({**form(FILE), "content": form(FILE)["content"][:150]}, ["body"]),
    "form that breaks off before its end": (form(FILE, end=b""), ["body"]),
    # What came after the file is lost, so the image would not be what was sent.
    "form that breaks off behind the file": (form(FILE, end=b"\r\n"), ["body"]),
    "form that breaks off in a field": (
        {**form(FILE), "content": form(FILE, field("tags", "abc"))["content"][:-20]},
        ["body"],
    ),
    "form with a text that is not UTF-8": (
        form(FILE, ('form-data; name="description"', b"a\xed\xbf\xbfb")),
        ["description"],
    ),
    "JSON that is none": (json_body("{"), ["body"]),
    "JSON that is empty": (json_body(""), ["body"]),
    "JSON with something behind it": (json_body('{"image_data": ""} x'), ["body"]),
    "JSON list": (json_body("[]"), ["body"]),
    "JSON text": (json_body('"x"'), ["body"]),
    "JSON null": (json_body("null"), ["body"]),
    "JSON not in UTF-8": (json_body(b'{"image_data": "\xff"}'), ["body"]),
    "JSON in UTF-16": (json_body('{"image_data": ""}'.encode("utf-16")), ["body"]),
    "JSON with NaN": (json_body('{"width": NaN}'), ["body"]),
    "JSON with a number without end": (json_body(f'{{"width": {"9" * 5_000}}}'), ["body"]),
    "JSON with half a character": (json_body('{"description": "\\ud800"}'), ["body"]),
    "JSON nested deeply": (json_body('{"a":' * 10_000), ["body"]),
    "JSON without a picture": (json_body("{}"), ["image_data"]),
    "JSON with null for a picture": (json_body('{"image_data": null}'), ["image_data"]),
    "JSON with a number for a picture": (json_body('{"image_data": 1}'), ["image_data"]),
    "JSON with an empty picture": (json_body('{"image_data": ""}'), ["image_data"]),
    "JSON with an empty data URI": (json_body('{"image_data": "data:image/png;base64,"}'), ["image_data"]),
    "JSON with broken base64": (json_body(json.dumps({"image_data": BASE64[:-1]})), ["image_data"]),
    "JSON with base64 for URLs": (json_body('{"image_data": "-_-_"}'), ["image_data"]),
    "JSON with a data URI that is not base64": (json_body('{"image_data": "data:image/png,AAAA"}'), ["image_data"]),
    "JSON with a type that is no text": (
        json_body(json.dumps({"image_data": BASE64, "content_type": 1})),
        ["content_type"],
    ),
    "JSON with an unknown member": (json_body(json.dumps({"image_data": BASE64, "colour": "red"})), ["colour"]),
    "JSON with an empty name": (json_body(json.dumps({"image_data": BASE64, "": 1})), [""]),
    "JSON with a large number": (json_body(json.dumps({"image_data": BASE64, "width": 2**70})), ["width"]),
    "JSON and an unknown parameter": (
        {"params": {"colour": "red"}, **json_body(json.dumps({"image_data": BASE64}))},
        ["colour"],
    ),
    "raw with an unknown parameter": ({"params": {"colour": "red"}, **raw(DATA)}, ["colour"]),
    "raw with a picture in the query": ({"params": {"image_data": BASE64}, **raw(DATA)}, ["image_data"]),
    "raw with a parameter twice": ({"params": {"width": ["64", "64"]}, **raw(DATA)}, ["width"]),
    "raw with several bad parameters": (
        {"params": {"width": "0", "height": "-1", "filename": "..", "on_duplicate": "replace"}, **raw(DATA)},
        ["width", "height", "filename", "on_duplicate"],
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_malformed(client: httpx.AsyncClient, settings: Settings, kind: str) -> None:
    body, fields = MALFORMED[kind]
    assert_problem(await client.post("/images", **body), 400, "invalid_request", *fields)
    await assert_nothing_stored(client, settings)


@pytest.mark.parametrize("part", [field("\\ud800", "x"), field("description", "\\ud800"), field("width", "\\ud800")])
async def test_a_form_in_another_encoding(
    client: httpx.AsyncClient, settings: Settings, part: tuple[str, bytes]
) -> None:
    """Some can write half a character, which no JSON answer can repeat."""
    headers = {"Content-Type": "multipart/form-data; boundary=a-boundary; charset=unicode_escape"}
    answer = await client.post("/images", content=form(FILE, part)["content"], headers=headers)
    assert_problem(answer, 415, "unsupported_request_body")
    await assert_nothing_stored(client, settings)


@pytest.mark.parametrize("name", ["user_id", "filename", "description", "width", "height", "on_duplicate", "tags"])
@pytest.mark.parametrize("value", [True, 1.5, {}, [1], {"a": "b"}, [[]], ["a", None]])
async def test_json_of_a_wrong_type(client: httpx.AsyncClient, settings: Settings, name: str, value: object) -> None:
    answer = await client.post("/images", json={"image_data": BASE64, name: value})
    assert_problem(answer, 400, "invalid_request", name)
    await assert_nothing_stored(client, settings)


@pytest.mark.parametrize("name", ["user_id", "filename", "description"])
async def test_json_texts_are_no_numbers(client: httpx.AsyncClient, name: str) -> None:
    assert_problem(await client.post("/images", json={"image_data": BASE64, name: 7}), 400, "invalid_request", name)


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "image", "/"],
)
async def test_an_unsupported_body(client: httpx.AsyncClient, settings: Settings, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await client.post("/images", content=DATA, headers=headers)
    assert_problem(answer, 415, "unsupported_request_body")
    await assert_nothing_stored(client, settings)


PAGE = b"<!doctype html><script>alert(1)</script>"
UNACCEPTABLE: dict[str, tuple[bytes, int, str]] = {
    "a page": (PAGE, 415, "unsupported_image_format"),
    "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "unsupported_image_format"),
    "a text": (b"hello", 415, "unsupported_image_format"),
    "half a picture": (DATA[: len(DATA) // 2], 422, "undecodable_image"),
    "a header": (DATA[:8], 422, "undecodable_image"),
    "a picture and a page": (DATA + PAGE, 422, "active_content"),
    "a bomb": (png_bomb(8_000, 8_000), 422, "too_many_pixels"),
}


@pytest.mark.parametrize("kind", UNACCEPTABLE)
@pytest.mark.parametrize("way", ["multipart", "JSON", "raw"])
async def test_an_unacceptable_file(client: httpx.AsyncClient, settings: Settings, kind: str, way: str) -> None:
    """Whatever name and type it comes with, and whichever way."""
    data, status, code = UNACCEPTABLE[kind]
    body: dict[str, Any] = {
        "multipart": {"files": {"file": ("a.png", data, "image/png")}},
        "JSON": {"json": {"image_data": base64.b64encode(data).decode(), "content_type": "image/png"}},
        "raw": raw(data, "image/png"),
    }[way]
    assert_problem(await client.post("/images", **body), status, code)
    await assert_nothing_stored(client, settings)


async def test_a_contradiction(client: httpx.AsyncClient, settings: Settings) -> None:
    problem = assert_problem(
        await client.post("/images", params={"width": 48, "height": 64}, **raw(DATA)),
        422,
        "dimensions_mismatch",
        "width",
        "height",
    )
    assert "64 x 48" in problem["detail"]
    await assert_nothing_stored(client, settings)


async def test_an_empty_raw_body(client: httpx.AsyncClient, settings: Settings) -> None:
    answer = await client.post("/images", **raw(b""))
    assert answer.json()["errors"]
    assert_problem(answer, 400, "invalid_request", answer.json()["errors"][0]["field"])
    await assert_nothing_stored(client, settings)


@pytest.mark.parametrize("content_type", ["image/png", "application/json", "multipart/form-data; boundary=a-boundary"])
async def test_a_sender_that_goes_away(
    app: Starlette, client: httpx.AsyncClient, settings: Settings, content_type: str
) -> None:
    """In the middle of a body, even one that is spooled already: nobody is answered, and nothing of it stays."""
    part = b'--a-boundary\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + bytes(1_500_000)
    messages = iter([{"type": "http.request", "body": part, "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/images",
        "raw_path": b"/images",
        "query_string": b"",
        "headers": [(b"content-type", content_type.encode())],
    }
    await app(scope, receive, send)
    assert sent == []
    await assert_nothing_stored(client, settings)


@pytest.mark.parametrize("length", [b"\xb2", b"-1", b"1e3", b"x", b"9" * 5_000])
@pytest.mark.parametrize("content_type", ["image/png", "application/json"])
async def test_a_content_length_that_is_none(client: httpx.AsyncClient, content_type: str, length: bytes) -> None:
    """Servers refuse most such requests; should one pass, it is answered and not stumbled over."""
    headers = [(b"Content-Type", content_type.encode()), (b"Content-Length", length)]
    answer = await client.post("/images", content=DATA, headers=headers)
    assert answer.status_code in ({201, 413} if content_type == "image/png" else {400, 413}), answer.text


async def test_every_mistake_of_an_upload_is_named_at_once(client: httpx.AsyncClient) -> None:
    answer = await client.post("/images", json={"image": "x", "width": -1, "tags": 5, "content_type": 1})
    assert_problem(answer, 400, "invalid_request", "image", "width", "tags", "content_type", "image_data")
    answer = await client.post("/images", **form(field("width", "-1"), field("foo", "1")))
    assert_problem(answer, 400, "invalid_request", "file", "width", "foo")
    assert "file, filename" in answer.text  # what is known here


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_a_compressed_body(client: httpx.AsyncClient, settings: Settings, encoding: str) -> None:
    """It is refused for what it is; the picture is not blamed."""
    headers = {"Content-Type": "image/png", "Content-Encoding": encoding}
    answer = await client.post("/images", content=DATA, headers=headers)
    assert_problem(answer, 415, "unsupported_request_body")
    await assert_nothing_stored(client, settings)


async def test_a_client_that_falls_silent(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a body, for longer than it may."""
    monkeypatch.setattr("src.handlers.request_bodies.IDLE_TIMEOUT", 0.05)

    async def body() -> AsyncIterator[bytes]:
        yield DATA[:10]
        await anyio.sleep(5)
        yield DATA[10:]

    answer = await client.post("/images", content=body(), headers={"Content-Type": "image/png"})
    assert_problem(answer, 408, "request_timeout")
