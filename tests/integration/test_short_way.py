"""What goes the short way is answered as Starlette's own router answers it."""

import re

import httpx
import pytest
from starlette.applications import Starlette

from src.handlers.app import EXCEPTION_HANDLERS, ROUTES
from src.handlers.routing import ShortWay
from tests.support.api import uploaded

pytestmark = pytest.mark.anyio

CHANGING = {"x-request-id", "date"}
REQUESTS = [
    ("GET", "/images"),
    ("GET", "/images?limit=x"),
    ("HEAD", "/images"),
    ("GET", "/images/ID"),
    ("HEAD", "/images/ID"),
    ("GET", "/images/ID/content"),
    ("GET", "/images/delete"),
    ("POST", "/images/delete"),
    ("PUT", "/images/ID"),
    ("PATCH", "/images/ID"),
    ("GET", "/images/"),
    ("GET", "/images/a/b/c"),
    ("GET", "/images/%2e%2e"),
    ("GET", "//images"),
    ("GET", "/imagesx"),
    ("GET", "/objects/a/b.jpg"),
    ("GET", "/objects/"),
    ("GET", "/tags"),
    ("GET", "/usage?user_id=a%20b"),
    ("OPTIONS", "/tags"),
    ("GET", "/healthz"),
    ("GET", "/"),
    ("GET", "/gallery/x/y"),
    ("GET", "/docs"),
    ("GET", "/nothing"),
]


def timeless(text: str) -> str:
    """Leave out of links when they were signed."""
    return re.sub(r"""(X-Amz-Date=|X-Amz-Signature=|"expires_at":")[^&"]*""", r"\1", text)


@pytest.mark.parametrize(("method", "target"), REQUESTS)
async def test_the_same_answer(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, method: str, target: str
) -> None:
    image_id = (await uploaded(client))["image_id"]
    target = target.replace("ID", image_id)

    async def answer() -> tuple[int, dict[str, str], str]:
        response = await client.request(method, target)
        headers = {name: timeless(value) for name, value in response.headers.items() if name not in CHANGING}
        return response.status_code, headers, timeless(response.text.replace(response.headers["x-request-id"], ""))

    short = await answer()
    monkeypatch.setattr(ShortWay, "_matches", lambda *_: False)
    assert await answer() == short


async def test_it_is_gone() -> None:
    """By what matches, and by nothing else."""
    gone = []

    async def rest(scope: dict[str, object], *_: object) -> None:
        gone.append(scope["path"])

    way = ShortWay(rest, routes=ROUTES, exception_handlers=EXCEPTION_HANDLERS)
    for method, path, prefix in [
        ("GET", "/nothing", ""),
        ("PUT", "/images", ""),
        ("GET", "/dev/images", "/dev"),
        ("GET", "/images", "/dev"),
    ]:
        scope = {"type": "http", "method": method, "path": path, "root_path": prefix}
        await way(scope, None, None)  # type: ignore[arg-type]
    assert gone == ["/nothing", "/images", "/dev/images", "/images"]
    scope = {"type": "http", "method": "HEAD", "path": "/images/abc/content", "app": Starlette()}
    assert way._matches(scope)
    assert scope["path_params"] == {"image_id": "abc"}
    assert scope["route"].path == "/images/{image_id}/content"  # type: ignore[attr-defined]
