"""What every route has in common: errors, methods, request ids; and the routes about the service itself."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from src.common.config import Settings
from src.common.errors import OutcomeUnknown, StoreFailed, StoreUnavailable
from src.handlers.app import ROUTES
from src.models.image import FORMATS, MAX_FRAMES
from tests.support.api import assert_nothing_stored, assert_problem, raw, uploaded
from tests.support.pictures import picture

pytestmark = pytest.mark.anyio

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
# Path -> what it allows, an example of each route.
ALLOWED = {
    "/images": ["GET", "HEAD", "POST"],
    "/images/delete": ["DELETE", "GET", "HEAD", "PATCH", "POST"],  # it could be an id as well
    "/images/x": ["DELETE", "GET", "HEAD", "PATCH"],
    "/images/x/content": ["GET", "HEAD"],
    "/uploads": ["POST"],
    "/uploads/x": ["DELETE", "GET", "HEAD"],
    "/uploads/x/complete": ["POST"],
    "/objects/": ["GET", "HEAD", "POST"],
    "/objects/x": ["GET", "HEAD"],
    "/tags": ["GET", "HEAD"],
    "/usage": ["GET", "HEAD"],
    "/checksums": ["GET", "HEAD"],
    "/healthz": ["GET", "HEAD"],
    "/readyz": ["GET", "HEAD"],
    "/limits": ["GET", "HEAD"],
    "/openapi.json": ["GET", "HEAD"],
    "/docs": ["GET", "HEAD"],
    "/docs/docs.js": ["GET", "HEAD"],
    "/": ["GET", "HEAD"],
    "/gallery/x/main.js": ["GET", "HEAD"],
}


def failing(error: Exception) -> Callable[..., Any]:
    async def fail(*_: object, **__: object) -> None:
        raise error

    return fail


async def test_healthz(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_readyz(client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ready"}


@pytest.mark.parametrize("store", ["repository", "objects"])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFailed("The store failed."), 502, "store_failed"),
        (StoreUnavailable("The store is busy."), 503, "store_unavailable"),
        (RuntimeError("a secret"), 500, "internal_error"),
    ],
)
async def test_readyz_needs_both_stores(
    app: Starlette,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    store: str,
    error: Exception,
    status: int,
    code: str,
) -> None:
    monkeypatch.setattr(getattr(app.state.services, store), "ping", failing(error))
    answer = await client.get("/readyz")
    assert_problem(answer, status, code)
    assert ("retry-after" in answer.headers) == (status == 503)
    # The process itself is well.
    assert (await client.get("/healthz")).status_code == 200


async def test_readyz_asks_the_disk(client: httpx.AsyncClient, settings: Settings) -> None:
    """It looks at what is there now, not at what was there at the start."""
    directory = settings.data_dir / "objects"
    directory.rmdir()
    directory.write_text("not a directory")
    assert_problem(await client.get("/readyz"), 502, "store_failed")


@pytest.mark.parametrize(
    ("method", "path", "port", "call"),
    [
        ("GET", "/images", "repository", "list"),
        ("GET", "/images/{}", "repository", "get"),
        ("PATCH", "/images/{}", "repository", "get"),
        ("PATCH", "/images/{}", "repository", "replace"),
        ("DELETE", "/images/{}", "repository", "remove"),
        ("POST", "/images", "repository", "add"),
        ("POST", "/images", "objects", "put"),
    ],
)
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFailed("The store failed."), 502, "store_failed"),
        (StoreUnavailable("The store is busy."), 503, "store_unavailable"),
        (OutcomeUnknown("The store did not say."), 503, "outcome_unknown"),
        (RuntimeError("a secret"), 500, "internal_error"),
    ],
)
async def test_a_store_that_fails(
    app: Starlette,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    port: str,
    call: str,
    error: Exception,
    status: int,
    code: str,
) -> None:
    """The caller hears which of them it was, and nothing of what only the log may know."""
    error.__cause__ = ValueError("password=hunter2")
    image = await uploaded(client)
    body = {"POST": raw(picture()), "PATCH": {"json": {"description": "text"}}}.get(method, {})
    with monkeypatch.context() as patch:
        patch.setattr(getattr(app.state.services, port), call, failing(error))
        answer = await client.request(method, path.format(image["image_id"]), **body)
    assert_problem(answer, status, code)
    assert "hunter2" not in answer.text
    assert "a secret" not in answer.text
    # It was the store that failed and not the service.
    assert (await client.get(f"/images/{image['image_id']}")).status_code == 200


async def test_limits(client: httpx.AsyncClient, settings: Settings) -> None:
    limits = (await client.get("/limits")).json()
    assert limits["formats"] == [{"format": f.name, "content_type": f.content_type} for f in FORMATS]
    assert limits["max_image_size"] == settings.max_image_size == 10_485_760
    assert limits["max_image_pixels"] == settings.max_image_pixels == 50_000_000
    assert limits["max_frames"] == MAX_FRAMES
    assert [format_["format"] for format_ in limits["rendition_formats"]] == ["jpeg", "png", "webp", "avif"]
    assert limits["max_rendition_edge"] == 4_096
    assert limits["max_body_size"] > limits["max_image_size"]
    assert limits["max_json_body_size"] > limits["max_image_size"] * 4 / 3
    assert (limits["max_tags"], limits["max_tag_length"]) == (20, 64)
    assert (limits["max_description_length"], limits["max_filename_length"]) == (2_000, 255)
    assert limits["max_page_limit"] == 100
    assert (limits["max_expires_in"], limits["default_expires_in"]) == (604_800, 3600)


def test_every_route_is_tried() -> None:
    def is_example(path: str, route: str) -> bool:
        return re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", route), path) is not None

    for route in ROUTES:
        assert any(is_example(path, route.path) for path in ALLOWED)


@pytest.mark.parametrize("path", ALLOWED)
async def test_methods_that_are_not_allowed(client: httpx.AsyncClient, path: str) -> None:
    """405 with every method that the path takes, whichever route takes it."""
    for method in METHODS:
        answer = await client.request(method, path)
        if method in ALLOWED[path]:
            assert answer.status_code != 405
            continue
        assert answer.status_code == 405
        assert answer.headers["allow"] == ", ".join(ALLOWED[path])
        if method != "HEAD":  # whose answer has no body
            assert method in assert_problem(answer, 405, "method_not_allowed")["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/x",
        "/images/",
        "/images/x/",
        "/images/x/y",
        "/images/delete/",
        "/uploads/",
        "/uploads/x/",
        "/uploads/x/completed",
        "/healthz/",
        "/docs/",
        "/docs/../src",
        "/Images",
        "/objects",
        "//",
        "/%ff",
        "/%00",
        "/docs/..%2fapp.py",
        "/index.html",
        "/favicon.ico",
        "/" + "x" * 3_000,
    ],
    ids=lambda path: path[:20],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_routes_that_do_not_exist(client: httpx.AsyncClient, method: str, path: str) -> None:
    """404 and no redirect, also for a path that would be right but for a slash."""
    url = httpx.URL("http://testserver").copy_with(raw_path=path.encode())
    answer = await client.request(method, url)
    assert_problem(answer, 404, "route_not_found")


async def test_an_asset_that_does_not_exist(client: httpx.AsyncClient) -> None:
    """Only the documentation's own files are served, whatever else lies beside them."""
    for name in ("x", "docs.html", "__init__.py", "%2e%2e", "swagger-ui.css.map"):
        url = httpx.URL("http://testserver").copy_with(raw_path=f"/docs/{name}".encode())
        assert_problem(await client.get(url), 404, "route_not_found")


@pytest.mark.parametrize("path", ["/healthz", "/images", "/images/x", "/objects/x", "/x", "/docs", "/"])
async def test_a_request_id_is_taken_over(client: httpx.AsyncClient, path: str) -> None:
    """So that a caller's log and ours can be put side by side."""
    answer = await client.get(path, headers={"X-Request-Id": "a.request-1_2"})
    assert answer.headers.get_list("x-request-id") == ["a.request-1_2"]
    if answer.status_code >= 400:
        assert answer.json()["request_id"] == "a.request-1_2"


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 65, 'a"b', "a\tb", "ä", "<script>"])
async def test_a_request_id_is_made(client: httpx.AsyncClient, given: str | None) -> None:
    """Where there is none that is fit for a log, and another each time."""
    headers = {} if given is None else {"X-Request-Id": given.encode()}
    ids = [(await client.get("/x", headers=headers)).headers["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch(r"[0-9a-f]{32}", request_id) for request_id in ids)
    assert ids[0] != ids[1]


@pytest.mark.parametrize("path", [*ALLOWED, "/x"])
async def test_no_browser_guesses_a_type(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).headers["x-content-type-options"] == "nosniff"


class References(HTMLParser):
    """Collects what a page loads and whatever runs in it."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.loaded += [value for name, value in attrs if name in ("src", "href") and value]
        self.inline += [name for name in values if name.startswith("on")]
        if tag == "script" and "src" not in values:
            self.inline.append(tag)


async def test_the_documentation_page(client: httpx.AsyncClient) -> None:
    """It loads only what the service itself serves, and its policy lets it load nothing else."""
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    references = References()
    references.feed(page.text)
    assert references.inline == []
    own = [reference for reference in references.loaded if not reference.startswith("data:")]
    assert len(own) >= 3
    types = set()
    for reference in own:
        url = page.url.join(reference)
        assert (url.host, url.scheme) == (page.url.host, page.url.scheme)
        asset = await client.get(url)
        assert asset.status_code == 200
        assert len(asset.content) > 50
        types.add(asset.headers["content-type"].partition(";")[0])
    assert types == {"text/css", "text/javascript"}
    assert 'url: "openapi.json"' in (await client.get("/docs/docs.js")).text


async def test_nothing_was_stored_by_looking(client: httpx.AsyncClient, settings: Settings) -> None:
    for path in ALLOWED:
        await client.get(path)
    await assert_nothing_stored(client, settings)
