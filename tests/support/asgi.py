"""Requests to the application to the byte, as a server hands them on, and answers as it gets them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Message

type Headers = Iterable[tuple[str, bytes]]


class Answer(NamedTuple):
    status: int
    raw_headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        """By name in small letters; the last of several with one name."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.raw_headers}

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(app: ASGIApp, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Answer:
    """Send a request whose target (path and query) is ASCII, percent-encoded or not, as uvicorn would put it."""
    url = target.partition("//testserver")[2] if target.startswith("http:") else target
    raw_path, _, query = url.partition("?")
    named = [(name.lower().encode("latin-1"), value) for name, value in headers]
    if not any(name == b"host" for name, _ in named):
        named.append((b"host", b"testserver"))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [*named, (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 50_000),
        "server": ("testserver", 80),
        "state": {},
    }
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return pending.pop() if pending else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    return Answer(start["status"], list(start["headers"]), b"".join(part.get("body", b"") for part in rest))


def path_of(url: str) -> str:
    """Return the target of a URL."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
