"""The gallery's page and files, as HTTP answers: what browsers may keep, run and ask, and where it all is."""

import re
from collections.abc import AsyncIterator, Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette

from src.bootstrap import build_services
from src.common.config import Settings
from src.handlers.app import create_app
from src.handlers.gallery import files_version
from tests.support.api import assert_problem

pytestmark = pytest.mark.anyio

FILES = Path(__file__).parents[2] / "src" / "web" / "gallery"
NAMES = sorted(path.name for path in FILES.iterdir() if path.name != "index.html")
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"

type At = Callable[[str], httpx.AsyncClient]


class Page(HTMLParser):
    """What a page refers to, and with which tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.base = ""
        self.references: dict[str, str] = {}
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append(tag)
        if tag == "base":
            self.base = attributes["href"] or ""
        elif tag in ("link", "script") and (address := attributes.get("href") or attributes.get("src")):
            self.references[address.rpartition("/")[2]] = address


@pytest.fixture
async def at(app: Starlette) -> AsyncIterator[At]:
    """Return what makes clients of the service below a path prefix; they ask for whole paths."""
    clients: list[httpx.AsyncClient] = []

    def make(prefix: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, root_path=prefix)
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://testserver"))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


def address(name: str, version: str | None = None) -> str:
    return f"/gallery/{version or files_version()}/{name}"


async def test_the_page(client: httpx.AsyncClient) -> None:
    """It is asked for anew each time, since it names the files of a release."""
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text.startswith("<!doctype html>")
    assert '<html lang="en">' in answer.text
    assert "$" not in answer.text


async def test_the_page_names_all_files(client: httpx.AsyncClient) -> None:
    """Each module is fetched at once, and none when another one turns out to want it."""
    page = Page((await client.get("/")).text)
    assert sorted(page.references) == NAMES
    assert set(page.references.values()) == {address(name).removeprefix("/") for name in NAMES}
    assert "style" not in page.tags


@pytest.mark.parametrize("name", NAMES)
async def test_files(client: httpx.AsyncClient, name: str) -> None:
    """They are kept for ever: their address changes with them."""
    answer = await client.get(address(name))
    assert answer.status_code == 200
    assert answer.content == (FILES / name).read_bytes()
    assert answer.headers["content-type"].partition(";")[0] == TYPES[Path(name).suffix]
    assert answer.headers["cache-control"] == FOR_EVER
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["etag"]


@pytest.mark.parametrize("path", ["/", address("main.js")])
async def test_head(client: httpx.AsyncClient, path: str) -> None:
    got, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    ignored = {"x-request-id", "date"}
    assert {n: v for n, v in head.headers.items() if n not in ignored} == {
        n: v for n, v in got.headers.items() if n not in ignored
    }


async def test_only_files_of_the_gallery(client: httpx.AsyncClient) -> None:
    """Of this release, by their names, and the page not by this way."""
    for path in (
        address("main.js", "0123456789abcdef"),
        address("index.html"),
        address("nothing.js"),
        address("MAIN.JS"),
        address("main.js/"),
        address("../main.js"),
        address("..%2Findex.html"),
        address("%2e%2e/%2e%2e/docs.html"),
        address(""),
        address("main.js%00"),
        "/gallery",
        "/gallery/",
        f"/gallery/{files_version()}",
        "/index.html",
        "/main.js",
    ):
        assert_problem(await client.get(path), 404, "route_not_found")


async def test_nothing_else_than_reading(client: httpx.AsyncClient) -> None:
    for path in ("/", address("main.js")):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = await client.request(method, path)
            assert_problem(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == "GET, HEAD"


async def test_no_module_is_imported_by_an_address_that_stays(client: httpx.AsyncClient) -> None:
    """Modules name each other relative to themselves, and so within one release; and they all exist."""
    for name in NAMES:
        if not name.endswith(".js"):
            continue
        text = (await client.get(address(name))).text
        for reference in re.findall(r'^(?:import|export) [^=;]*from "([^"]+)";', text, re.MULTILINE):
            assert reference.startswith("./")
            assert reference.removeprefix("./") in NAMES
        assert not re.search(r"https?://(?!127\.|localhost)", text), "an address of somebody else"


STORES = {"STORAGE": "aws", "BUCKET_NAME": "pictures", "TABLE_NAME": "t", "AWS_DEFAULT_REGION": "eu-central-1"}


@pytest.mark.parametrize(
    ("environment", "storage"),
    [
        ({}, None),
        (STORES, "https://pictures.s3.eu-central-1.amazonaws.com"),
        (STORES | {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}, "http://127.0.0.1:4566"),
        (STORES | {"S3_PUBLIC_ENDPOINT": "https://s3.example:9000/path"}, "https://s3.example:9000"),
    ],
    ids=["embedded", "AWS", "an emulator", "a public endpoint"],
)
async def test_the_policy(tmp_path: Path, environment: dict[str, str], storage: str | None) -> None:
    """Nothing but the service and the storage that its links lead to; no script but its own, and no HTML of texts."""
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "DATA_DIR": str(tmp_path)}
    services = build_services(Settings.from_environment(environment | credentials))
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        answer = await client.get("/")
    await services.close()
    parts = (part.split() for part in answer.headers["content-security-policy"].split(";"))
    own = ["'self'", storage] if storage else ["'self'"]
    assert {name: values for name, *values in parts} == {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": [*own, "data:", "blob:"],
        "connect-src": own,
        "base-uri": ["'self'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }


@pytest.mark.parametrize(
    ("prefix", "base"),
    [("", "./"), ("/dev", "/dev/"), ("/a/b/c", "/a/b/c/"), ("/a b/ü", "/a%20b/%C3%BC/")],
)
async def test_below_a_prefix(at: At, prefix: str, base: str) -> None:
    """All addresses of the page are below it."""
    client = at(prefix)
    answer = await client.get(f"{prefix}/")
    page = Page(answer.text)
    assert page.base == base
    assert not any(reference.startswith(("/", "http", ".")) for reference in page.references.values())
    here = httpx.URL("http://testserver").join(f"{prefix}/").join(page.base)
    for name, reference in page.references.items():
        assert (await client.get(here.join(reference))).content == (FILES / name).read_bytes()


@pytest.mark.parametrize(
    "prefix",
    [
        '/"><script src=//evil.example/x.js></script><a href="',
        "/'onerror=alert(1)",
        "/<b>",
        "/$base${files}$$",
        "/&quot;&lt;",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "/https://evil.example",
        "/javascript:alert(1)",
        "/?x#y",
        "/a\r\nb",
    ],
)
async def test_a_prefix_makes_no_page(at: At, prefix: str) -> None:
    """Whoever chooses a prefix can put nothing into the page, and can't have it load anything from elsewhere."""
    ordinary = Page((await at("").get("/")).text)
    answer = await at(prefix).get(f"http://testserver{quote(prefix)}/")
    assert answer.status_code == 200, answer.text
    page = Page(answer.text)
    assert page.tags == ordinary.tags
    assert page.references == ordinary.references
    assert re.fullmatch(r"/(?!/)[A-Za-z0-9%._~/-]+/", page.base)
    assert httpx.URL("http://testserver/x").join(page.base).host == "testserver"
