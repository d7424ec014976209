"""Hostile texts in every input of the API: none breaks it, none becomes a path, and what is accepted is kept as it is.

The inputs come from the routes and from the OpenAPI document, so that a new parameter is tried by itself.
"""

import json
import os
import re
import tempfile
import time
import unicodedata
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from src.bootstrap import build_services
from src.common import sigv4
from src.common.config import Settings
from src.handlers import fields, queries
from src.handlers.app import OBJECT_ROUTES, ROUTES, create_app
from src.handlers.gallery import files_version
from src.handlers.openapi import document
from tests.support.asgi import Answer, Headers, ask, path_of
from tests.support.emulator import Emulator
from tests.support.hostile import MARKS, TEXTS, spellings
from tests.support.pictures import picture

pytestmark = pytest.mark.anyio

DATA = picture("png", 8, 8)
BASE64 = b64encode(DATA).decode()
NOBODY = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"
SECRET = "what lies beside the data and is nobody's business"

ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
# All that the service ever makes below DATA_DIR.
SHAPES = re.compile(
    r"images\.sqlite3(-wal|-shm)?|url_signing_key"
    rf"|objects(/(originals|incoming)(/[0-9a-f]{{2}}(/{ID}\.(jpg|png|webp|gif|avif|tiff))?)?)?"
    rf"|objects/renditions(/[0-9a-f]{{2}}(/{ID}(/[0-9]+x[0-9]+(\.[0-9]+x[0-9]+\.[a-z-]+)?(\.q[0-9]+)?"
    r"\.(jpg|png|webp|avif))?)?)?"
)
DETAILS = ("user_id", "filename", "tags", "description")


class Request(NamedTuple):
    """What is sent, to the byte."""

    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""


class Home(NamedTuple):
    """The service, with an image and an upload in it."""

    app: Starlette
    image_id: str
    upload: Mapping[str, Any]
    link: str  # of the image, to /objects/
    content_link: str

    async def send(self, request: Request) -> Answer:
        return await ask(self.app, request.method, request.target, request.headers, request.body)

    async def get(self, target: str) -> Answer:
        return await ask(self.app, "GET", target)

    async def receive(self, upload: Mapping[str, Any]) -> None:
        """Post the form of an upload."""
        parts = [
            (f'form-data; name="{name}"'.encode(), value.encode()) for name, value in upload["upload"]["fields"].items()
        ]
        assert (await self.send(form_request("/objects/", *parts, FILE))).status == 204

    async def follow(self, url: str) -> tuple[int, str, bytes]:
        """Return status, Content-Disposition and body of what a link leads to."""
        if url.startswith("http://testserver/"):
            answer = await self.get(path_of(url))
            return answer.status, answer.headers["content-disposition"], answer.body
        async with httpx.AsyncClient() as client:
            reply = await client.get(url)
        return reply.status_code, reply.headers["content-disposition"], reply.content


JSON: Headers = (("Content-Type", b"application/json"),)


def json_request(method: str, target: str, content: object) -> Request:
    return Request(method, target, JSON, json.dumps(content).encode())


def form_request(target: str, *parts: tuple[bytes, bytes]) -> Request:
    """Make a form of parts given as (the value of Content-Disposition and what follows it, content)."""
    body = b"".join(
        b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + content + b"\r\n"
        for disposition, content in parts
    )
    return Request("POST", target, (("Content-Type", b"multipart/form-data; boundary=b"),), body + b"--b--\r\n")


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def query_of(name: str, value: str) -> str:
    return f"{name}={quote(bytes_of(value), safe='')}"


FILE = (b'form-data; name="file"; filename="a.png"', DATA)
PNG: Headers = (("Content-Type", b"image/png"),)


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which everything lies that a path could lead to: the data, their neighbours, and what is above."""
    (tmp_path / "above" / "beside").mkdir(parents=True)
    (tmp_path / "above" / "temporary").mkdir()
    for directory in (tmp_path, tmp_path / "above", tmp_path / "above" / "beside"):
        (directory / "secret.txt").write_text(SECRET)
    monkeypatch.chdir(tmp_path / "above" / "beside")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "above" / "temporary"))
    return tmp_path


@pytest.fixture
async def home(around: Path) -> AsyncIterator[Home]:
    settings = Settings.from_environment({"DATA_DIR": str(around / "above" / "data")})
    services = build_services(settings)
    app = create_app(services)
    image = (await ask(app, "POST", "/images?user_id=first", PNG, DATA)).json()
    upload = (
        await ask(app, "POST", "/uploads", JSON, json.dumps({"content_type": "image/png", "size": len(DATA)}).encode())
    ).json()
    link = (await ask(app, "GET", f"/images/{image['image_id']}")).json()["url"]
    listed = (await ask(app, "GET", "/images?include=urls")).json()["images"]
    yield Home(app, image["image_id"], upload, path_of(link), path_of(listed[0]["thumbnail_url"]))
    await services.close()


def entries(directory: Path) -> Iterator[str]:
    for parent, directories, names in os.walk(directory):
        for name in (*directories, *names):
            yield (Path(parent) / name).relative_to(directory).as_posix()


def assert_only_own_paths(around: Path) -> None:
    """Nothing is outside the data that was not there, and within there are only names that the service makes."""
    data = around / "above" / "data"
    outside = {name for name in entries(around) if not name.startswith("above/data")}
    secrets = {"secret.txt", "above/secret.txt", "above/beside/secret.txt"}
    assert outside == {"above", "above/beside", "above/temporary"} | secrets
    assert all((around / name).read_text() == SECRET for name in secrets)
    assert [name for name in entries(data) if not SHAPES.fullmatch(name)] == []


def assert_harmless(request: Request, answer: Answer) -> None:
    """No failure, a whole problem for what is refused, no line of anybody else's in the head, no secret in the body."""
    where = (request.method, request.target[:200], request.body[:300], answer.body[:500])
    assert 200 <= answer.status < 500, where
    assert SECRET.encode() not in answer.body, where
    assert b"root:" not in answer.body, where
    for name, value in answer.raw_headers:
        assert re.fullmatch(rb"[a-z-]+", name), where
        assert re.fullmatch(rb"[\t -~\x80-\xff]*", value), where
        assert name != b"x-injected", where
    if answer.status >= 400 and request.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json", where
        problem = answer.json()
        assert problem["status"] == answer.status, where
        assert problem["title"], where
        assert problem["detail"], where
        if answer.status == 400:
            assert problem["errors"], where
            assert all(error["message"] for error in problem["errors"]), where


# What is said of images


@cache
def normal_form(field: str, text: str) -> object:
    """Return what the documentation says that is made of a text; None if it is refused, "" if it says nothing.

    Written anew, from README and OpenAPI document, with nothing of the service's.
    """
    if field == "user_id":
        return text if re.fullmatch(r"[A-Za-z0-9._@:|+-]{1,128}", text) else None
    if re.search("[\u0300-\u036f]{2000}", text):
        return None  # nothing would shorten this enough, and to try takes seconds
    if field == "tags":
        tags = [unicodedata.normalize("NFC", part.strip()).casefold() for part in text.split(",")]
        tags = [tag for tag in dict.fromkeys(unicodedata.normalize("NFC", tag) for tag in tags) if tag]
        is_fine = len(tags) <= 20 and all(len(tag) <= 64 and is_clean(tag) for tag in tags)
        return tags if is_fine else None
    if field == "description":
        normal = unicodedata.normalize("NFC", text)
        return normal if len(normal) <= 2_000 and is_clean(normal, besides="\t\r\n") else None
    name = unicodedata.normalize("NFC", re.split(r"[\\/]", text.strip())[-1].strip())
    is_turned = re.search("[\u202a-\u202e\u2066-\u2069]", name)
    is_name = name not in ("", ".", "..") and len(name) <= 255
    return name if is_name and is_clean(name) and not is_turned else None


def is_clean(text: str, *, besides: str = "") -> bool:
    return "\U0010ffff" not in text and not any(
        unicodedata.category(character) in ("Cc", "Cs") and character not in besides for character in text
    )


# The inputs


def of_paths(home: Home) -> Iterator[Callable[[str], Request]]:
    ids = (home.image_id, home.upload["image_id"])
    for route in (*ROUTES, *OBJECT_ROUTES):
        if "{" not in route.path:
            continue
        for method in sorted(route.methods):
            options = {"PATCH": json_request("PATCH", "", {"tags": ["a"]})}.get(method, Request(method, ""))
            pattern = re.sub(r"\{[^}]+\}", "{}", route.path.replace("{version}", files_version()))
            yield lambda text, options=options, pattern=pattern: options._replace(target=pattern.format(text))
            if method == "GET" and "image_id" in route.path:  # the id of something, and then more
                for image_id in ids:
                    yield lambda text, pattern=pattern, image_id=image_id: Request(
                        "GET", pattern.format(image_id + text)
                    )
    for pattern in (
        "/{}",
        "/images/{}/unknown",
        "/uploads/{}/unknown",
        "/docs/{}/x",
        "/{}/images",
        "/docs{}",
        "/gallery/{}/x",
    ):
        yield lambda text, pattern=pattern: Request("GET", pattern.format(text))


def of_queries(home: Home) -> Iterator[Callable[[str], Request]]:
    known = document(home.app)["paths"]
    for route in (*ROUTES, *OBJECT_ROUTES):
        path = re.sub(r"\{[^}]+\}", home.image_id, route.path)
        for method in sorted(route.methods - {"HEAD"}):
            operation = known.get(route.path, {}).get(method.lower(), {})
            names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
            base = Request(method, "", PNG if route.path == "/images" else JSON, DATA if names else b"{}")
            for name in names:
                if not (method == "POST" and name in DETAILS):  # those are tried further down
                    yield lambda text, base=base, path=path, name=name: base._replace(target=f"{path}?{name}={text}")
            if method != "DELETE":
                yield lambda text, base=base, path=path: base._replace(target=f"{path}?{text}")
                yield lambda text, base=base, path=path: base._replace(target=f"{path}?{text}=a")
    path, _, signed = home.link.partition("?")
    for part in signed.split("&"):
        name = part.partition("=")[0]
        yield lambda text, part=part, name=name: Request("GET", home.link.replace(part, f"{name}={text}"))
    yield lambda text: Request("GET", f"{home.link}&{text}={text}")
    yield lambda text: Request("GET", f"{home.content_link}&{text}={text}")
    yield lambda text: Request("GET", re.sub("signature=[^&]*", lambda _: f"signature={text}", home.content_link))
    yield lambda text: Request("GET", re.sub("expires=[^&]*", lambda _: f"expires={text}", home.content_link))


def of_cursors(home: Home) -> Iterator[Callable[[str], Request]]:
    for path, member in (("/images", "image_id"), ("/tags", "tag")):
        for make in (
            lambda text, member=member: {member: text},
            lambda text, member=member: {member: [text]},
            lambda text, member=member: {text: "a", member: NOBODY},
            lambda text: {text: text},
            lambda text: [text],
            lambda text: text,
        ):
            yield lambda text, path=path, make=make: Request(
                "GET", f"{path}?{query_of('last_key', json.dumps(make(text)))}"
            )


def of_json(home: Home) -> Iterator[Callable[[str], Request]]:
    described = document(home.app)
    wholes = {
        "JsonUpload": {"image_data": BASE64},
        "NewUploadFields": {"content_type": "image/png", "size": len(DATA)},
        "DeleteFields": {"image_ids": [NOBODY]},
        "PatchFields": {"tags": ["a"]},
    }
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if schema is None:
                continue
            name = schema["$ref"].rpartition("/")[2]
            target = path.replace("{image_id}", home.image_id)
            for member in described["components"]["schemas"][name]["properties"]:
                shapes: tuple[Callable[[str], object], ...] = (lambda text: [text], lambda text: {text: [[text]]})
                for make in shapes if member in DETAILS else (*shapes, lambda text: text):
                    yield lambda text, method=method, target=target, name=name, member=member, make=make: json_request(
                        method.upper(), target, {**wholes[name], member: make(text)}
                    )
            yield lambda text, method=method, target=target, name=name: json_request(
                method.upper(), target, {**wholes[name], text: text}
            )
            yield lambda text, method=method, target=target: json_request(method.upper(), target, text)
            yield lambda text, method=method, target=target: Request(method.upper(), target, JSON, bytes_of(text))


CHARSETS = (b"utf-16", b"utf-7", b"unicode_escape", b"punycode", b"idna", b"undefined", b"hex", b"zlib", b"cp037")


def of_forms(home: Home) -> Iterator[Callable[[str], Request]]:
    described = document(home.app)["components"]["schemas"]["MultipartUpload"]["properties"]
    for target in ("/images", "/objects/"):
        for name in described if target == "/images" else ():
            if name not in DETAILS:
                yield lambda text, name=name: form_request(
                    "/images", FILE, (f'form-data; name="{name}"'.encode(), bytes_of(text))
                )
        for parts in (
            lambda text: [FILE, (b'form-data; name="' + text + b'"', b"a")],
            lambda text: [FILE, (b"form-data; name=" + text, b"a")],
            lambda text: [(b'form-data; name="' + text + b'"; filename="a.png"', DATA)],
            lambda text: [(b'form-data; name="' + text + b'"; filename="' + text + b'"', DATA), FILE],
            lambda text: [(b'form-data; name="file"; filename="' + text + b'"', DATA)],
            lambda text: [(b'form-data; name="file"; filename=' + text, DATA)],
            lambda text: [(b"form-data; name=\"file\"; filename*=UTF-8''" + text, DATA)],
            lambda text: [(text, DATA)],
            lambda text: [FILE, (b'form-data; name="tags"\r\nContent-Type: ' + text, b"a")],
            lambda text: [(FILE[0] + b"\r\nContent-Type: " + text, DATA)],
            lambda text: [(FILE[0] + b"\r\n" + text + b": a", DATA)],
        ):
            yield lambda text, target=target, parts=parts: form_request(target, *parts(bytes_of(text)))
        yield lambda text, target=target: form_request(target, FILE)._replace(
            headers=(("Content-Type", b"multipart/form-data; boundary=" + bytes_of(text)),)
        )
        yield lambda text, target=target: form_request(target, FILE)._replace(
            headers=(("Content-Type", b'multipart/form-data; boundary="' + bytes_of(text) + b'"'),),
            body=b"--" + bytes_of(text) + b"\r\nContent-Disposition: " + FILE[0] + b"\r\n\r\n" + DATA,
        )
        yield lambda text, target=target: form_request(target, FILE)._replace(
            headers=(("Content-Type", b"multipart/form-data; boundary=b; charset=" + bytes_of(text)),)
        )
        yield lambda text, target=target: form_request(target, FILE)._replace(body=bytes_of(text))


ON_READS = ("If-None-Match", "If-Range", "Range", "Accept", "Cookie")
ON_WRITES = ("Idempotency-Key", "If-Match", "Content-Type", "Content-Encoding", "Content-Length", "Origin")
ON_ALL = ("X-Request-Id", "Host", "Authorization", "X-Forwarded-Host")


def of_headers(home: Home) -> Iterator[Callable[[str], Request]]:
    reads = (
        Request("GET", f"/images/{home.image_id}?width=4"),
        Request("GET", f"/images/{home.image_id}/content?width=4"),
        Request("GET", home.link),
        Request("GET", "/x"),
    )
    writes = (
        Request("POST", "/images?width=1", PNG, DATA),  # which it has not
        json_request("POST", "/images/delete", {"image_ids": [NOBODY]}),
        json_request("PATCH", f"/images/{NOBODY}", {"tags": ["a"]}),
        Request("POST", f"/uploads/{home.upload['image_id']}/complete"),
        Request("POST", "/objects/"),
    )
    for headers, requests in ((ON_READS, reads), (ON_WRITES, writes), (ON_ALL, (*reads, writes[0]))):
        for header in headers:
            for request in requests:
                others = tuple(each for each in request.headers if each[0] != header)
                yield lambda text, header=header, request=request, others=others: request._replace(
                    headers=(*others, (header, bytes_of(text)))
                )
    yield lambda text: Request("GET", "/images", (("Authorization", b"Bearer " + bytes_of(text)),))
    yield lambda text: Request("GET", home.link, (("Range", b"bytes=" + bytes_of(text)),))
    yield lambda text: Request("GET", "/images", ((quote(bytes_of(text)) or "x", b"a"),))


def of_signed_forms(home: Home) -> Iterator[Callable[[str], Request]]:
    signed = home.upload["upload"]["fields"]

    def form(named: Iterable[tuple[bytes, bytes]]) -> Request:
        parts = [(b'form-data; name="' + name + b'"', value) for name, value in named]
        return form_request("/objects/", *parts, FILE)

    own = [(name.encode(), value.encode()) for name, value in signed.items()]
    for name, _ in own:
        yield lambda text, name=name: form((each, bytes_of(text) if each == name else value) for each, value in own)
        yield lambda text, name=name: form((bytes_of(text) if each == name else each, value) for each, value in own)
        yield lambda text, name=name: form(
            (each, value + bytes_of(text or " ") * (each == name)) for each, value in own
        )
    yield lambda text: form([*own, (b"bucket", bytes_of(text))])
    yield lambda text: form([*own, (bytes_of(text), bytes_of(text))])
    yield lambda text: form([*own, (b"x-ignore-" + bytes_of(text), bytes_of(text))])
    yield lambda text: form([*own, (b"success_action_redirect", bytes_of(text))])


GROUPS: Mapping[str, Callable[[Home], Iterator[Callable[[str], Request]]]] = {
    "paths": of_paths,
    "queries": of_queries,
    "cursors": of_cursors,
    "JSON": of_json,
    "forms": of_forms,
    "headers": of_headers,
    "signed forms": of_signed_forms,
}
IN_URLS = ("paths", "queries")


@pytest.mark.parametrize("group", GROUPS)
async def test_no_text_breaks_anything(home: Home, around: Path, group: str) -> None:
    for make in GROUPS[group](home):
        for text in TEXTS.values():
            for spelling in spellings(text) if group in IN_URLS else [text]:
                request = make(spelling)
                assert_harmless(request, await home.send(request))
    assert_only_own_paths(around)


async def test_every_field_is_among_the_inputs(home: Home) -> None:
    """What the models have is what the document has, from which the inputs are taken."""
    described = document(home.app)
    tried = {
        parameter["name"]
        for operations in described["paths"].values()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
    }
    for schema in described["components"]["schemas"].values():
        tried |= schema.get("properties", {}).keys()
    for module in (fields, queries):
        for model in vars(module).values():
            if isinstance(model, type) and issubclass(model, msgspec.Struct) and model.__module__ == module.__name__:
                assert {field.encode_name for field in msgspec.structs.fields(model)} <= tried


async def test_a_signed_path_leads_nowhere_else(home: Home, around: Path) -> None:
    """Not even where the key of links is known: the store itself takes no path that leads out of it."""
    links = home.app.state.services.links
    for text in TEXTS.values():
        for key in (text, f"originals/{text}", f"originals/../{text}"):
            if len(text) > 100 or re.search("[\ud800-\udfff]", text):
                continue
            signed = sigv4.presign(
                "GET",
                "http://testserver",
                f"/objects/{key}",
                credentials=links._signer(),
                region="us-east-1",
                now=links._now(),
                expires_in=60,
            )
            request = Request("GET", path_of(signed.url))
            answer = await home.send(request)
            assert_harmless(request, answer)
            assert answer.status in (403, 404)
    assert_only_own_paths(around)


# What is accepted


def as_query(said: Mapping[str, str]) -> Request:
    return Request("POST", "/images?" + "&".join(query_of(*pair) for pair in said.items()), PNG, DATA)


def as_form(said: Mapping[str, str]) -> Request:
    parts = [(f'form-data; name="{name}"'.encode(), bytes_of(text)) for name, text in said.items()]
    return form_request("/images", *parts, FILE)


def as_json(said: Mapping[str, str]) -> Request:
    return json_request("POST", "/images", {"image_data": BASE64, **said})


def as_declaration(said: Mapping[str, str]) -> Request:
    return json_request("POST", "/uploads", {"content_type": "image/png", "size": len(DATA), **said})


def as_patch(said: Mapping[str, str]) -> Request:
    return json_request("PATCH", "/images/{}", said)


WAYS = (as_query, as_form, as_json, as_declaration, as_patch)


async def keep(home: Home, text: str, way: Callable[[Mapping[str, str]], Request]) -> dict[str, Any] | None:
    """Say a text in every field; check that each is refused or accepted as it should be; return what was accepted.

    What is accepted is of one image with all of it.
    """
    if way is as_form and text == "":
        return None  # an empty field says nothing
    named = DETAILS[1:] if way is as_patch else DETAILS
    normal = {name: normal_form(name, text) for name in named}
    refused = [name for name in named if normal[name] is None]
    accepted = {name: text for name in named if normal[name] is not None}
    if refused:
        wrong = way(dict.fromkeys(named, text))
        answer = await home.send(wrong._replace(target=wrong.target.format(home.image_id)))
        assert_harmless(wrong, answer)
        assert answer.status in (400, 413), (text[:50], way, answer.body[:200])
        at_fault = sorted(error["field"] for error in answer.json().get("errors", ()))
        # The whole is at fault if it is no UTF-8, or too large.
        assert at_fault in (sorted(refused), ["query"], ["body"], []), (text[:50], way, at_fault)
        assert at_fault or answer.status == 413
    if not accepted:
        return None
    request = way(accepted)
    answer = await home.send(request._replace(target=request.target.format(home.image_id)))
    assert_harmless(request, answer)
    assert answer.status in (200, 201), (text[:50], way, answer.body[:200])
    if way is as_declaration:
        await home.receive(answer.json())
        answer = await ask(home.app, "POST", f"/uploads/{answer.json()['image_id']}/complete")
        assert answer.status == 201, answer.body
    image: dict[str, Any] = answer.json()
    for name in accepted:
        assert image[name] == normal[name], (text[:50], way, name)
    return image


async def pages(home: Home, path: str, member: str) -> list[dict[str, Any]]:
    """Follow a list to its end by the cursor that each page gives."""
    found: list[dict[str, Any]] = []
    last_key: object = None
    while True:
        cursor = "" if last_key is None else f"&{query_of('last_key', json.dumps(last_key))}"
        answer = await home.get(f"{path}{'&' if '?' in path else '?'}limit=100{cursor}")
        assert answer.status == 200, answer.body
        found += answer.json()[member]
        last_key = answer.json()["last_key"]
        if last_key is None:
            return found


async def assert_read_back(home: Home, kept: Iterable[Mapping[str, Any]]) -> None:
    """Every list has exactly what was accepted, whether it is asked for by user, by tag, or for all."""
    images = {image["image_id"]: image for image in kept}

    def having(**wanted: str) -> list[str]:
        return sorted(
            image_id
            for image_id, image in images.items()
            if wanted.get("user_id") in (None, image["user_id"])
            and ("tags" not in wanted or wanted["tags"] in image["tags"])
        )

    listed = await pages(home, "/images", "images")
    assert {image["image_id"]: image for image in listed} == images
    for user_id in {image["user_id"] for image in images.values()}:
        found = await pages(home, f"/images?{query_of('user_id', user_id)}", "images")
        assert sorted(image["image_id"] for image in found) == having(user_id=user_id)
    tags = sorted({tag for image in images.values() for tag in image["tags"]})
    counted = await pages(home, "/tags", "tags")
    assert counted == [{"tag": tag, "count": len(having(tags=tag))} for tag in tags]
    for tag in tags:
        found = await pages(home, f"/images?{query_of('tags', tag)}", "images")
        assert sorted(image["image_id"] for image in found) == having(tags=tag), tag
        begun = (await home.get(f"/tags?{query_of('prefix', tag)}")).json()["tags"]
        assert [each["tag"] for each in begun] == [other for other in tags if other.startswith(tag)], tag


DISPOSITION = re.compile(
    r"""attachment; filename="([ !#-\[\]-~]*)"(?:; filename\*=UTF-8''((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+))?"""
)


async def assert_download_names(home: Home, kept: Iterable[Mapping[str, Any]]) -> None:
    """A download link's header is one value of RFC 6266, in ASCII, and its name is the image's."""
    for image in {image["filename"]: image for image in kept}.values():
        url = (await home.get(f"/images/{image['image_id']}?download=true")).json()["url"]
        status, disposition, data = await home.follow(url)
        assert (status, data) == (200, DATA)
        match = DISPOSITION.fullmatch(disposition)
        assert match, disposition
        assert (match[1] if match[2] is None else unquote(match[2], errors="strict")) == image["filename"]


async def delete(home: Home, kept: Iterable[Mapping[str, Any]]) -> None:
    ids = [image["image_id"] for image in kept]
    for start in range(0, len(ids), 100):
        request = json_request("POST", "/images/delete", {"image_ids": ids[start : start + 100]})
        results = (await home.send(request)).json()["results"]
        assert {result["status"] for result in results} == {"deleted"}
    assert (await home.get("/images")).json()["images"] == []
    assert (await home.get("/tags")).json()["tags"] == []
    assert (await home.get("/usage")).json() == {"images": 0, "bytes": 0}


async def test_what_is_accepted_is_read_back(home: Home, around: Path) -> None:
    """In its normal form, in every list, and in the name of a download; and what is refused leaves nothing."""
    kept = {home.image_id: (await home.get(f"/images/{home.image_id}")).json()}
    del kept[home.image_id]["url"], kept[home.image_id]["expires_at"]
    for text in TEXTS.values():
        for way in WAYS:
            if image := await keep(home, text, way):
                kept[image["image_id"]] = image
    assert (await home.get("/usage")).json()["images"] == len(kept)
    assert len(kept) > 4 * 100
    await assert_read_back(home, kept.values())
    await assert_download_names(home, kept.values())
    assert_only_own_paths(around)
    await delete(home, kept.values())
    await ask(home.app, "DELETE", f"/uploads/{home.upload['image_id']}")
    assert [path for path in (around / "above" / "data" / "objects").rglob("*") if path.is_file()] == []


async def test_an_uploaded_file_s_name_is_a_name(home: Home, around: Path) -> None:
    """However the form spells it: what is kept is what a file name is brought to, and is so already."""
    for text in TEXTS.values():
        disposition = b'form-data; name="file"; filename="' + bytes_of(text) + b'"'
        answer = await home.send(form_request("/images", (disposition, DATA)))
        assert_harmless(Request("POST", "/images"), answer)
        if answer.status == 201:
            name = answer.json()["filename"]
            assert normal_form("filename", name) == name
            assert not re.search(r"[/\\]", name)
    assert_only_own_paths(around)


async def test_no_text_takes_long(home: Home) -> None:
    """Nobody else is answered meanwhile. To bring 70,000 combining marks into their order takes seconds."""
    many = {"marks": "a" + MARKS * 35_000, "slashes": "/" * 60_000, "commas": "a," * 30_000, "spaces": " " * 60_000}
    for text in many.values():
        for field in DETAILS:
            for request in (as_query({field: text}), as_form({field: text}), as_json({field: text})):
                started = time.process_time()
                assert_harmless(request, await home.send(request))
                assert time.process_time() - started < 1
        started = time.process_time()
        assert_harmless(request, await home.send(Request("GET", f"/tags?{query_of('prefix', text)}")))
        assert time.process_time() - started < 1


async def test_a_refusal_is_bounded(home: Home) -> None:
    """However much of a request is wrong: an answer that is many times as long could fill the memory."""
    names = [f"{number:05}" for number in range(20_000)]
    request = json_request("POST", "/images", {"image_data": BASE64, **dict.fromkeys(names, 1)})
    for each in (
        request,
        Request("GET", f"/images?{'&'.join(f'{name}=1' for name in names)}"),
        Request("GET", f"/images?{'a' * 100_000}=1"),
        json_request("POST", "/uploads", {"b" * 60_000: 1}),
        form_request("/images", (b'form-data; name="' + b"c" * 60_000 + b'"; filename="a.png"', DATA)),
    ):
        answer = await home.send(each)
        assert_harmless(each, answer)
        assert answer.status == 400
        assert len(answer.body) < 15_000, each.target[:50]


# On AWS, where texts are parts of keys


@pytest.fixture
async def aws(emulator: Emulator, around: Path) -> AsyncIterator[Home]:
    environment = {**emulator.home(), "DATA_DIR": str(around / "above" / "data")}
    services = build_services(Settings.from_environment(environment))
    yield Home(create_app(services), "", {}, "", "")
    await services.close()


IN_KEYS = (
    *("hash", "hash alone", "percent hash", "percent percent hash", "a user's tag", "a partition", "a record"),
    *("colon and bar", "SQL", "shell", "format", "traversal", "percent", "percent twice", "backslashes", "absolute"),
    *("NFC", "NFD", "hebrew", "zero width alone", "final sigma", "ypogegrammeni", "quote and a parameter", "operator"),
    *(
        "zalgo",
        "what folding lengthens",
        "noncharacters",
        "emoji",
        "comma",
        "device",
        "dots",
        "300",
        "surrogate",
        "last",
    ),
)


async def test_texts_in_keys(aws: Home, around: Path, emulator: Emulator) -> None:
    """Each is found by itself and by nothing else, and deleted without a trace."""
    settings = aws.app.state.services.settings
    kept = {}
    for name in IN_KEYS:
        if image := await keep(aws, TEXTS[name], as_json):
            kept[image["image_id"]] = image
    assert len(kept) > 25
    await assert_read_back(aws, kept.values())
    await assert_download_names(aws, list(kept.values())[::4])
    for key in ("a#b", "a%23b", "a%2523b", "#", "%23", "anonymous#a", "../../a", "*", '"', "k" * 255):
        request = as_query({"user_id": "ann"})._replace(headers=(*PNG, ("Idempotency-Key", key.encode())))
        ids = {(await aws.send(request)).json()["image_id"] for _ in range(2)}
        assert len(ids) == 1
        assert not ids & kept.keys()
        kept |= {image_id: {"image_id": image_id} for image_id in ids}
    keys = [entry["Key"] for entry in emulator.client("s3").list_objects_v2(Bucket=settings.bucket_name)["Contents"]]
    assert all(re.fullmatch(rf"originals/[0-9a-f]{{2}}/{ID}\.png", key) for key in keys)
    await delete(aws, kept.values())
    assert emulator.client("s3").list_objects_v2(Bucket=settings.bucket_name)["KeyCount"] == 0
    items = emulator.client("dynamodb").scan(TableName=settings.table_name)["Items"]
    left = [item["pk"]["S"] for item in items if not item["pk"]["S"].startswith("idem#anonymous images:admin#")]
    assert left == [], items
    assert not (around / "above" / "data").exists()
