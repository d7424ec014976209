"""Both clients by one interface, that of the asynchronous one, so that a test of them is written once."""

import asyncio
import datetime as dt
import hashlib
import json
import operator
from collections.abc import AsyncIterator, Callable
from functools import reduce
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from src import AsyncClient, Client
from src.models.image import Image
from tests.support.pictures import picture

DATA = picture("png")
ID = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"
RECORD: dict[str, Any] = {
    "image_id": ID,
    "user_id": "ann",
    "filename": "cat.png",
    "content_type": "image/png",
    "size": len(DATA),
    "width": 64,
    "height": 48,
    "frames": 1,
    "tags": ["cat"],
    "description": "",
    "sha256": hashlib.sha256(DATA).hexdigest(),
    "color": "#000000",
    "placeholder": "data:",
    "created_at": "2026-11-22T13:52:30Z",
    "updated_at": "2026-11-22T13:52:30Z",
    "version": 1,
}
IMAGE_V1 = Image(
    **{
        **RECORD,
        "tags": ("cat",),
        "created_at": dt.datetime(2026, 11, 22, tzinfo=dt.UTC),
        "updated_at": dt.datetime(2026, 11, 22, tzinfo=dt.UTC),
    }
)

KINDS = ("blocking", "asynchronous")

type Handler = Callable[[httpx.Request], httpx.Response]


class _Blocking:
    """Calls a Client in a thread of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(method, *args, **kwargs)

        async def iterate(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            items = method(*args, **kwargs)
            while (item := await asyncio.to_thread(next, items, None)) is not None:
                yield item

        return iterate if name in ("images", "tags", "delete_all") else call

    async def aclose(self) -> None:
        self._client.close()


def client_of(kind: str, handler: Handler, **options: Any) -> AsyncClient:
    """Return a client, of which `handler` answers every request."""
    transport = httpx.MockTransport(handler)
    if kind == "blocking":
        return as_async(Client("http://service", transport=transport, **options))
    return AsyncClient("http://service", transport=transport, **options)


def as_async(client: Client) -> AsyncClient:
    return cast("AsyncClient", _Blocking(client))


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no client wait; return the list that gets the seconds that they would have waited. Their clock is its sum."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    clock = SimpleNamespace(monotonic=lambda: reduce(operator.add, pauses, 0.0))
    monkeypatch.setattr("src.client.pacing.time", clock)
    monkeypatch.setattr("src.client.blocking.time", SimpleNamespace(sleep=pauses.append))
    monkeypatch.setattr("src.client.awaiting.asyncio", SimpleNamespace(sleep=pause, to_thread=asyncio.to_thread))
    return pauses


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    """Return an answer that reports an error."""
    body = {"type": "t", "title": "T", "status": status, "detail": "Why.", "code": code, "request_id": "r1"}
    return httpx.Response(
        status, content=json.dumps(body), headers={"Content-Type": "application/problem+json", **headers}
    )
