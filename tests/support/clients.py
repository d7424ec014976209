"""Both clients by one interface, that of the asynchronous one, so that a test of them is written once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from src import AsyncClient, Client

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

        return iterate if name in ("images", "tags") else call

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
    """Let no client wait; return the list that gets the seconds that they would have waited."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("src.client.blocking.time", SimpleNamespace(sleep=pauses.append))
    monkeypatch.setattr("src.client.awaiting.asyncio", SimpleNamespace(sleep=pause, to_thread=asyncio.to_thread))
    return pauses
