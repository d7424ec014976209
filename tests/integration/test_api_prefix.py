"""Under a path prefix (`root_path`: a stage, a reverse proxy) every address that is handed out begins with it."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette

from tests.support.api import assert_problem, raw
from tests.support.pictures import picture

pytestmark = pytest.mark.anyio

DATA = picture("png")


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """Asks as servers ask: `path` and `raw_path` include the prefix (ASGI, HTTP connection scope)."""
    transport = httpx.ASGITransport(app, root_path="/dev")
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver/dev") as client:
        yield client


async def test_location(client: httpx.AsyncClient) -> None:
    location = (await client.post("/images", **raw(DATA))).headers["location"]
    assert re.fullmatch(r"/dev/images/[0-9a-f-]{36}", location)
    assert (await client.get(httpx.URL("http://testserver").join(location))).status_code == 200


async def test_the_next_page(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        await client.post("/images", **raw(DATA))
    link = (await client.get("/images", params={"limit": 1})).headers["link"]
    assert link.startswith("</dev/images?limit=1&last_key=")
    following = await client.get(httpx.URL("http://testserver").join(link[1:].partition(">")[0]))
    assert following.json()["count"] == 1


async def test_the_documentation_works_there(client: httpx.AsyncClient) -> None:
    """Its references are relative, and the document's paths begin at the prefix."""
    page = await client.get("/docs")
    for reference in re.findall(r'(?:src|href)="([^":]+)"', page.text):
        assert (await client.get(page.url.join(reference))).status_code == 200
    document = (await client.get(page.url.join("openapi.json"))).json()
    assert document["servers"] == [{"url": "/dev"}]
    OpenAPIV31SpecValidator(document).validate()


@pytest.mark.parametrize("params", [{}, {"download": "true", "expires_in": "60"}])
async def test_object_links_work_there(client: httpx.AsyncClient, params: dict[str, str]) -> None:
    """They are below the prefix, signed for it, and served."""
    location = (await client.post("/images", **raw(DATA))).headers["location"]
    url = (await client.get(httpx.URL("http://testserver").join(location), params=params)).json()["url"]
    assert url.startswith("http://testserver/dev/objects/originals/")
    served = await client.get(url)
    assert (served.status_code, served.content) == (200, DATA)
    assert_problem(await client.get(url.replace("/dev/", "/")), 403, "signature_invalid")


async def test_errors_there(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/x"), 404, "route_not_found")
    answer = await client.put("/images/x")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PATCH"
