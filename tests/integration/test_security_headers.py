"""What every answer tells browsers: guess no type, run nothing, and tell nobody where you came from."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from src.common import sigv4
from src.common.config import Settings
from src.handlers.app import OBJECT_ROUTES, ROUTES
from src.handlers.gallery import files_version
from src.handlers.routing import ShortWay
from src.models.image import EXTENSION_OF
from tests.support.api import assert_problem, raw, uploaded
from tests.support.images import make_image
from tests.support.pictures import picture
from tests.support.uploads import DATA, declaration, declared, receive

pytestmark = pytest.mark.anyio

ANY_ROUTE = sorted(
    {(method, route.path) for route in (*ROUTES, *OBJECT_ROUTES) for method in route.methods},
    key=lambda r: (r[1], r[0]),
)
PAGES = {"/", "/docs"}
NOTHING = "default-src 'none'; frame-ancestors 'none'"
EVIL = b"<!doctype html><script>alert(document.domain)</script>"


def assert_headers(answer: httpx.Response, *, policy: str | None = NOTHING) -> None:
    """Check that each header is there once; with `policy` None, the policy is looked at elsewhere."""
    where = (answer.request.method, str(answer.request.url), answer.status_code)
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"], where
    assert answer.headers.get_list("referrer-policy") == ["no-referrer"], where
    policies = answer.headers.get_list("content-security-policy")
    assert len(policies) == 1, where
    assert policies == [policy or policies[0]], where


def directives(answer: httpx.Response) -> Mapping[str, list[str]]:
    parts = (part.split() for part in answer.headers["content-security-policy"].split(";"))
    return {name: values for name, *values in parts}


async def working(app: Starlette, client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    """Ask a route for something that it does."""
    image = await uploaded(client)
    url, options = path.replace("{image_id}", image["image_id"]), dict[str, Any]()
    url = url.replace("docs/{name}", "docs/docs.js").replace("{version}/{name}", f"{files_version()}/main.js")
    match method, path:
        case "POST", "/images":
            options = raw(DATA)
        case "POST", "/images/delete":
            options = {"json": {"image_ids": [image["image_id"]]}}
        case "PATCH", _:
            options = {"json": {"tags": ["a"]}}
        case "POST", "/uploads":
            options = {"json": declaration()}
        case _, ("/uploads/{image_id}" | "/uploads/{image_id}/complete"):
            upload = await declared(client)
            await receive(app, upload)
            url = path.replace("{image_id}", upload["image_id"])
        case _, "/checksums":
            url = f"{path}?sha256={image['sha256']}"
        case "POST", "/objects/":
            form = (await declared(client))["upload"]
            options = {"data": form["fields"], "files": {"file": ("a.png", DATA)}}
        case _, "/objects/{key:path}":
            url = (await client.get(f"/images/{image['image_id']}")).json()["url"]
    return await client.request(method, url, **options)


@pytest.mark.parametrize(("method", "path"), ANY_ROUTE)
async def test_answers(app: Starlette, client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await working(app, client, method, path)
    assert answer.status_code < 400, answer.text
    special = path in PAGES or path.startswith("/objects/{")
    assert_headers(answer, policy=None if special else NOTHING)


@pytest.mark.parametrize(("method", "path"), ANY_ROUTE)
async def test_errors(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> None:
    """Of the client's making and of ours."""
    url = re.sub(r"\{[^}]+\}", "x", path)
    answers = [await client.request(each, url) for each in ("OPTIONS", "TRACE")]
    assert {answer.status_code for answer in answers} == {405}
    if "{" in path or method not in ("GET", "HEAD"):
        answers.append(await client.request(method, url, params={"unknown": "a"}))
        assert 400 <= answers[-1].status_code < 500
    monkeypatch.setattr(ShortWay, "__call__", _fail)
    answers.append(await client.request(method, url))
    assert answers[-1].status_code == 500
    for answer in answers:
        assert_headers(answer)
        assert answer.headers["content-type"] == "application/problem+json"


async def _fail(*_: object) -> None:
    raise RuntimeError("a secret")


@pytest.mark.parametrize("path", ["/x", "//", "/images/x/y", "/index.html", "/favicon.ico", "/objects", "/docs/x.html"])
async def test_what_is_not_there(client: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = await client.request(method, f"http://testserver{path}")
        assert answer.status_code in (404, 405)
        assert_headers(answer)


async def test_what_is_not_modified(client: httpx.AsyncClient) -> None:
    """A browser may take the headers of a 304 for those of what it has: they are the same."""
    image = await uploaded(client)
    link = (await client.get(f"/images/{image['image_id']}")).json()["url"]
    for url in (f"/images/{image['image_id']}", link):
        whole = await client.get(url)
        answer = await client.get(url, headers={"If-None-Match": whole.headers["etag"]})
        assert answer.status_code == 304
        assert_headers(answer, policy=whole.headers["content-security-policy"])


# Pages


class Page(HTMLParser):
    """Collects what a page runs or styles by itself, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.scripts: list[str] = []
        self._within: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inline += [name for name, value in attrs if name.startswith("on") or name in ("style", "srcdoc")]
        self.inline += [value for _, value in attrs if value and value.strip().lower().startswith("javascript:")]
        self.inline += [tag] * (tag in ("base", "style", "iframe", "object", "embed", "form"))
        if tag == "script":
            self._within = tag
            self.scripts += [value for name, value in attrs if name == "src" and value]

    def handle_endtag(self, tag: str) -> None:
        self._within = None

    def handle_data(self, data: str) -> None:
        if self._within and data.strip():
            self.inline.append(data)


async def test_the_policy_of_the_documentation(client: httpx.AsyncClient) -> None:
    """It lets scripts of our own run, and none that anybody could put into the page."""
    policy = directives(await client.get("/docs"))
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == policy["connect-src"] == ["'self'"]
    assert "'self'" in policy["style-src"]
    assert policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == ["'none'"]
    assert set(policy["img-src"]) == {"'self'", "data:"}
    allowed = {source for name, sources in policy.items() if name != "style-src" for source in sources}
    assert allowed == {"'none'", "'self'", "data:"}


async def test_the_policy_of_the_gallery(client: httpx.AsyncClient) -> None:
    """It does not even let styles, nor texts that are taken for HTML, into the page."""
    policy = directives(await client.get("/"))
    assert policy.pop("img-src") == ["'self'", "data:", "blob:"]
    assert policy.pop("require-trusted-types-for") == ["'script'"]
    for name in ("script-src", "style-src", "connect-src", "base-uri"):
        assert policy.pop(name) == ["'self'"]
    assert policy.pop("trusted-types") == ["'none'"]
    assert policy.keys() == {"default-src", "form-action", "frame-ancestors"}
    assert all(sources == ["'none'"] for sources in policy.values())


@pytest.mark.parametrize(("path", "scripts"), [("/docs", 2), ("/", 1)])
async def test_a_page_needs_nothing_inline(client: httpx.AsyncClient, path: str, scripts: int) -> None:
    page = Page((await client.get(path)).text)
    assert set(page.inline) <= {"base"}  # the gallery's is the service's own, by its policy
    assert len(page.scripts) == scripts
    for script in page.scripts:
        answer = await client.get(f"http://testserver/{script}")
        assert answer.headers["content-type"].startswith("text/javascript")
        assert_headers(answer)


async def test_no_other_answer_is_a_page(app: Starlette, client: httpx.AsyncClient) -> None:
    for method, path in ANY_ROUTE:
        if path not in PAGES:
            answer = await working(app, client, method, path)
            assert "html" not in answer.headers.get("content-type", ""), path
            assert "xml" not in answer.headers.get("content-type", ""), path


# Objects


def link_to(app: Starlette, key: str, **parameters: str) -> str:
    """Sign a link with the service's own key to whatever is there."""
    links = app.state.services.links
    return sigv4.presign(
        "GET",
        "http://testserver",
        f"/objects/{key}",
        credentials=links._signer(),
        region="us-east-1",
        now=links._now(),
        expires_in=60,
        parameters={f"response-{name.replace('_', '-')}": value for name, value in parameters.items()},
    ).url


def assert_no_page(answer: httpx.Response, *, is_saved: bool) -> None:
    assert answer.status_code in (200, 206, 304), answer.text
    assert_headers(answer, policy=None)
    policy = directives(answer)
    assert policy["default-src"] == ["'none'"]
    assert policy["sandbox"] == []  # with nothing that is allowed all the same
    assert not {"script-src", "script-src-elem", "object-src", "frame-src"} & policy.keys()
    if is_saved:
        assert answer.headers["content-disposition"].partition(";")[0] == "attachment"


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "gif", "avif", "tiff"])
async def test_pictures_are_shown_in_a_sandbox(client: httpx.AsyncClient, format_: str) -> None:
    image = await uploaded(client, picture(format_))
    url = (await client.get(f"/images/{image['image_id']}")).json()["url"]
    for method, headers in (
        ("GET", {}),
        ("HEAD", {}),
        ("GET", {"Range": "bytes=0-3"}),
        ("GET", {"If-None-Match": "*"}),
    ):
        answer = await client.request(method, url, headers=headers)
        assert_no_page(answer, is_saved=False)
        if answer.status_code != 304:
            assert answer.headers["content-type"] == image["content_type"]
            assert answer.headers["content-disposition"].startswith("inline;")


NAMES = [
    "evil.html",
    "evil.svg",
    "evil.xhtml",
    "evil.xml",
    "evil.pdf",
    "evil.js",
    "evil.mht",
    "evil",
    "evil.JPG",
    "a.html/png",
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_that_is_no_picture(
    app: Starlette, client: httpx.AsyncClient, settings: Settings, name: str
) -> None:
    """However it came there, and with a link that asks to show it."""
    place(settings, name, EVIL)
    link = app.state.services.links.link(make_image(), origin="http://testserver", rendition=name)
    assert "response-content-disposition=inline" in link.url
    for url in (link.url, link_to(app, name)):
        answer = await client.get(url)
        assert_no_page(answer, is_saved=True)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.content == EVIL
        assert_no_page(await client.get(url, headers={"Range": "bytes=0-9"}), is_saved=True)
        assert_no_page(await client.head(url), is_saved=True)


TYPES = [
    "text/html",
    "TEXT/HTML",
    "text/html; charset=utf-8",
    " text/html",
    "image/svg+xml",
    "image/png, text/html",
    "image/png;text/html",
    "application/xhtml+xml",
    "text/xml",
    "application/pdf",
    "text/javascript",
    "multipart/x-mixed-replace",
    "x",
    "",
]


@pytest.mark.parametrize("content_type", TYPES)
async def test_a_link_that_asks_for_another_type(
    app: Starlette, client: httpx.AsyncClient, settings: Settings, content_type: str
) -> None:
    """Even one that we have signed."""
    for name in ("evil.html", "evil.png"):
        place(settings, name, EVIL)
        answer = await client.get(
            link_to(app, name, content_type=content_type, content_disposition='inline; filename="a.html"')
        )
        assert_no_page(answer, is_saved=True)


async def test_a_page_under_the_type_of_a_picture(
    app: Starlette, client: httpx.AsyncClient, settings: Settings
) -> None:
    """It is shown as what it is not: a picture that can't be decoded."""
    place(settings, "evil.png", EVIL)
    for content_type in EXTENSION_OF:
        answer = await client.get(link_to(app, "evil.png", content_type=content_type))
        assert_no_page(answer, is_saved=False)
        assert answer.headers["content-type"] == content_type


async def test_links_that_anybody_made(app: Starlette, client: httpx.AsyncClient) -> None:
    """What a link asks for is signed."""
    image = await uploaded(client)
    url = (await client.get(f"/images/{image['image_id']}")).json()["url"]
    for changed in (
        f"{url}&response-content-type=text%2Fhtml",
        url.replace("&X-Amz-Signature", "&response-content-type=text%2Fhtml&X-Amz-Signature"),
        url.replace("inline", "attachment"),
    ):
        answer = await client.get(changed)
        assert_problem(answer, 403, "signature_invalid")
        assert_headers(answer)


def place(settings: Settings, name: str, data: bytes) -> None:
    path = Path(settings.data_dir / "objects" / name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
