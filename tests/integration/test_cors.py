"""Pages of other web sites: none may call the API unless the configuration names it."""

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from src.bootstrap import build_services
from src.common.config import Settings
from src.handlers.app import CORS_ANSWER_HEADERS, CORS_REQUEST_HEADERS, OBJECT_ROUTES, ROUTES, create_app
from src.handlers.routing import ShortWay
from tests.support.api import assert_problem, raw, stored_files, uploaded
from tests.support.tokens import AUTH, SECRET, bearer, token
from tests.support.uploads import DATA, declaration, declared

pytestmark = pytest.mark.anyio

ONE, OTHER = "https://a.example", "https://b.example"
NAMED = {"CORS_ALLOW_ORIGINS": f"{ONE},{OTHER}"}
FOREIGN = [
    "https://c.example",
    "https://a.example.evil",
    "https://evil-a.example",
    "https://evil.a.example",
    "https://a.example:444",
    "https://a.example:443",
    "https://a.example/",
    "https://A.example",
    "http://a.example",
    "https://a.example,https://b.example",
    "https://a.example https://b.example",
    "https://user@a.example",
    "https://[",
    "a.example",
    "null",
    "*",
    "",
]
METHODS = ["GET", "HEAD", "POST", "PATCH", "DELETE"]
UNKNOWN = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"
PATHS = sorted({route.path.replace("{image_id}", UNKNOWN) for route in (*ROUTES, *OBJECT_ROUTES)} | {"/x"})

type Open = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def open_client(tmp_path: Path) -> AsyncIterator[Open]:
    """Return what starts the service with some variables, and returns a client without a token."""
    apps: list[Starlette] = []

    def start(**environment: str) -> httpx.AsyncClient:
        settings = Settings.from_environment({"DATA_DIR": str(tmp_path / "data"), **environment})
        apps.append(create_app(build_services(settings)))
        return httpx.AsyncClient(transport=httpx.ASGITransport(apps[-1]), base_url="http://testserver")

    yield start
    for app in apps:
        await app.state.services.close()


def granted(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


async def preflight(
    client: httpx.AsyncClient, path: str, method: str, origin: str = ONE, headers: str = "authorization"
) -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return await client.options(path, headers=asked)


def assert_readable(answer: httpx.Response, origin: str = ONE) -> None:
    assert answer.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-credentials" not in answer.headers  # tokens, and no cookies
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert set(exposed) == set(CORS_ANSWER_HEADERS)
    if origin != "*":
        assert "Origin" in [name.strip() for line in answer.headers.get_list("vary") for name in line.split(",")]


# By default


@pytest.mark.parametrize("path", PATHS)
async def test_none_by_default(client: httpx.AsyncClient, path: str) -> None:
    for method in METHODS:
        for origin in (ONE, "null", "http://testserver"):
            assert granted(await client.request(method, path, headers={"Origin": origin})) == {}
            answer = await preflight(client, path, method, origin)
            assert answer.status_code in (404, 405)
            assert granted(answer) == {}


async def test_none_by_default_with_tokens(open_client: Open) -> None:
    client = open_client(**AUTH)
    assert granted(await client.get("/images", headers={"Origin": ONE})) == {}
    assert granted(await client.get("/images", headers={"Origin": ONE, **bearer(token("ann"))})) == {}
    assert granted(await preflight(client, "/images", "POST")) == {}


# For those that are named


@pytest.mark.parametrize("origin", [ONE, OTHER])
@pytest.mark.parametrize("method", METHODS)
async def test_preflight(open_client: Open, method: str, origin: str) -> None:
    """A browser that asks first hears that it may, on every path, and without a token: it sends none."""
    client = open_client(**NAMED, **AUTH)
    for path in PATHS:
        answer = await preflight(client, path, method, origin, ", ".join(CORS_REQUEST_HEADERS).lower())
        assert answer.status_code == 200
        permission = granted(answer)
        assert permission["access-control-allow-origin"] == origin
        assert permission["access-control-allow-methods"].split(", ") == METHODS
        allowed = {name.lower() for name in permission["access-control-allow-headers"].split(", ")}
        assert {name.lower() for name in CORS_REQUEST_HEADERS} <= allowed
        assert "access-control-allow-credentials" not in permission
        assert "Origin" in answer.headers["vary"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("origin", FOREIGN)
async def test_origins_that_are_not_named(open_client: Open, origin: str) -> None:
    client = open_client(**NAMED)
    answer = await preflight(client, "/images", "POST", origin)
    assert answer.status_code >= 400
    assert "access-control-allow-origin" not in answer.headers
    assert "Origin" in answer.headers["vary"]
    answer = await client.get("/images", headers={"Origin": origin})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("method", "headers"), [("PUT", "x-request-id"), ("TRACE", "x-request-id"), ("POST", "x-other"), ("POST", "cookie")]
)
async def test_what_no_page_may_send(open_client: Open, method: str, headers: str) -> None:
    assert (await preflight(open_client(**NAMED), "/images", method, headers=headers)).status_code >= 400


async def test_private_networks(open_client: Open) -> None:
    """No page is let through to a service in its reader's own network because of where it is."""
    asked = {"Origin": ONE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Private-Network": "true"}
    answer = await open_client(**NAMED).options("/images", headers=asked)
    assert "access-control-allow-private-network" not in answer.headers


async def test_answers_are_readable(open_client: Open) -> None:
    """All of those that a page gets to see, with the headers that it needs."""
    client = open_client(**NAMED)
    client.headers["Origin"] = ONE
    image = await uploaded(client)
    path = f"/images/{image['image_id']}"
    link = (await client.get(path)).json()["url"]
    for answer in (
        await client.post("/images", **raw(DATA)),
        await client.get("/images", params={"limit": 1, "include": "urls"}),
        await client.get(path),
        await client.head(path),
        await client.get(f"{path}/content"),
        await client.get(f"{path}/content", params={"width": "8"}),
        await client.get(link),
        await client.get(link, headers={"Range": "bytes=0-3"}),
        await client.get(link, headers={"If-None-Match": "*"}),
        await client.patch(path, json={"tags": ["a"]}),
        await client.get("/tags"),
        await client.get("/openapi.json"),
        await client.delete(path),
    ):
        assert answer.status_code < 400
        assert_readable(answer)


async def test_caches_keep_origins_apart(open_client: Open) -> None:
    """Also where the answer was made for somebody without an origin, and depends on something else besides."""
    client = open_client(**NAMED)
    path = f"/images/{(await uploaded(client))['image_id']}/content"
    vary = [name.strip() for name in (await client.get(path, params={"width": "8"})).headers["vary"].split(",")]
    assert sorted(vary) == ["Accept", "Origin"]


async def test_forms_and_objects(open_client: Open) -> None:
    """A page sends the form of a direct upload, and reads what a link leads to."""
    client = open_client(**NAMED, **AUTH)
    client.headers.update({"Origin": ONE, **bearer(token("ann"))})
    upload = await declared(client)
    del client.headers["Authorization"]
    form = upload["upload"]
    options: dict[str, Any] = {"data": form["fields"], "files": {"file": ("a.png", DATA)}}
    answer = await client.post(form["url"], **options)
    assert answer.status_code == 204
    assert_readable(answer)
    assert "ETag" in answer.headers["access-control-expose-headers"]
    answer = await client.post(form["url"], data={**form["fields"], "key": "a"}, files=options["files"])
    assert_problem(answer, 403, "signature_invalid")
    assert_readable(answer)
    answer = await client.get("/objects/a")
    assert_problem(answer, 403, "signature_invalid")
    assert_readable(answer)


async def test_errors_are_readable(open_client: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a page can tell its user what is wrong."""
    limits = {"RATE_LIMIT": "1", "RATE_BURST": "6", "MAX_CONCURRENT_UPLOADS": "1", "MAX_IMAGE_SIZE": "1000"}
    client = open_client(**NAMED, AUTH_SECRET=SECRET, **limits)
    client.headers["Origin"] = OTHER
    own = bearer(token("ann"))
    too_large = raw(bytes(200_000))
    attempts = {
        401: await client.get("/images"),
        403: await client.post("/images", **with_headers(raw(DATA), bearer(token("bob", "images:read")))),
        404: await client.get(f"/images/{UNKNOWN}", headers=own),
        405: await client.put("/images", headers=own),
        400: await client.get("/images", params={"limit": "0"}, headers=own),
        413: await client.post("/images", **with_headers(too_large, own)),
        415: await client.post("/images", content=b"a", headers=own),
        429: [await client.get("/images", headers=own) for _ in range(8)][-1],
    }
    monkeypatch.setattr(ShortWay, "__call__", _fail)
    attempts[500] = await client.get("/images", headers=own)
    for status, answer in attempts.items():
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert_readable(answer, OTHER)
    assert attempts[429].headers["retry-after"]
    assert attempts[401].headers["www-authenticate"]


def with_headers(options: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    return {**options, "headers": {**options["headers"], **headers}}


async def _fail(*_: object) -> None:
    raise RuntimeError("a secret")


async def test_everybody(open_client: Open) -> None:
    """`*`: any page may read, and none gets a browser to send what it has of somebody."""
    client = open_client(CORS_ALLOW_ORIGINS="*", **AUTH)
    for origin in (ONE, "http://testserver:1", "null"):
        answer = await preflight(client, "/images", "POST", origin)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        answer = await client.get("/images", headers={"Origin": origin, **bearer(token("ann"))})
        assert answer.status_code == 200
        assert_readable(answer, "*")
        assert_readable(await client.get("/images", headers={"Origin": origin}), "*")


# Where nobody is asked who they are, what a page sends would be done: it is refused


WRITES: Mapping[str, dict[str, Any]] = {
    "POST /images": {**raw(DATA)},
    "POST /images as a form": {"files": {"file": ("a.png", DATA)}},
    "POST /images/delete": {"json": {"image_ids": [UNKNOWN]}},
    "PATCH /images/{}": {"json": {"tags": ["changed"]}},
    "DELETE /images/{}": {},
    "POST /uploads": {"json": declaration()},
    "POST /uploads/{}/complete": {},
    "DELETE /uploads/{}": {},
}


def test_every_write_is_tried() -> None:
    routes = {f"{method} {route.path}" for route in ROUTES for method in route.methods - {"GET", "HEAD"}}
    assert routes == {name.partition(" as ")[0].replace("{}", "{image_id}") for name in WRITES}


async def write(client: httpx.AsyncClient, name: str, image_id: str, origin: str | None) -> httpx.Response:
    method, path = name.partition(" as ")[0].split(" ")
    options = dict(WRITES[name])
    if origin is not None:
        options["headers"] = {**options.get("headers", {}), "Origin": origin}
    return await client.request(method, path.format(image_id), **options)


@pytest.mark.parametrize("name", WRITES)
async def test_foreign_pages_change_nothing(client: httpx.AsyncClient, settings: Settings, name: str) -> None:
    image = await uploaded(client)
    before = stored_files(settings)
    for origin in (*FOREIGN, ONE, "https://testserver:8443", "http://testserver.evil", "http://testserver:8000"):
        answer = await write(client, name, image["image_id"], origin)
        assert_problem(answer, 403, "origin_refused")
        assert granted(answer) == {}
    assert stored_files(settings) == before
    assert (await client.get("/images")).json()["images"] == [image]


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("origin", [None, "http://testserver"])
async def test_our_own_pages_and_no_pages(client: httpx.AsyncClient, name: str, origin: str | None) -> None:
    image = await uploaded(client)
    assert (await write(client, name, image["image_id"], origin)).status_code not in (401, 403)


async def test_our_own_pages_at_another_port(client: httpx.AsyncClient) -> None:
    """What counts is where the request was sent to."""
    for host, origin in (("localhost:8000", "http://localhost:8000"), ("[::1]:8000", "http://[::1]:8000")):
        options = with_headers(raw(DATA), {"Host": host, "Origin": origin})
        assert (await client.post("/images", **options)).status_code == 201
        options = with_headers(raw(DATA), {"Host": host, "Origin": origin.replace("8000", "8001")})
        assert_problem(await client.post("/images", **options), 403, "origin_refused")


@pytest.mark.parametrize("name", WRITES)
async def test_pages_that_are_named(open_client: Open, name: str) -> None:
    client = open_client(**NAMED)
    image = await uploaded(client)
    for origin in FOREIGN:
        answer = await write(client, name, image["image_id"], origin)
        assert_problem(answer, 403, "origin_refused")
        assert "access-control-allow-origin" not in answer.headers
    for origin in (ONE, OTHER):
        answer = await write(client, name, image["image_id"], origin)
        assert answer.status_code not in (401, 403)
        assert_readable(answer, origin)


async def test_pages_of_everybody(open_client: Open) -> None:
    client = open_client(CORS_ALLOW_ORIGINS="*")
    for origin in (ONE, "null"):
        assert (await client.post("/images", **with_headers(raw(DATA), {"Origin": origin}))).status_code == 201


async def test_what_pages_may_look_at(client: httpx.AsyncClient) -> None:
    """To look changes nothing, and without permission the browser keeps the answer from the page."""
    image = await uploaded(client)
    for path in ("/images", f"/images/{image['image_id']}", f"/images/{image['image_id']}/content", "/limits"):
        answer = await client.get(path, headers={"Origin": ONE})
        assert answer.status_code in (200, 302)
        assert granted(answer) == {}


async def test_a_signed_form_is_proof_enough(client: httpx.AsyncClient) -> None:
    form = (await declared(client))["upload"]
    options: dict[str, Any] = {"data": form["fields"], "files": {"file": ("a.png", DATA)}}
    assert (await client.post(form["url"], **options, headers={"Origin": ONE})).status_code == 204


@pytest.mark.parametrize("environment", [{}, NAMED], ids=["none", "named"])
async def test_a_token_is_proof_enough(open_client: Open, environment: dict[str, str]) -> None:
    """No browser adds it by itself. Whether the page gets to read the answer is another matter."""
    client = open_client(**environment, **AUTH)
    for origin in FOREIGN:
        headers = {"Origin": origin, **bearer(token("ann"))}
        answer = await client.post("/images", **with_headers(raw(DATA), headers))
        assert answer.status_code == 201
        assert "access-control-allow-origin" not in answer.headers
        answer = await client.post("/images", **with_headers(raw(DATA), {"Origin": origin}))
        assert_problem(answer, 401, "token_missing")
