"""Stores that are struck in the middle of a request, as its `X-Strike` header says. For a process of their own.

`X-Strike: 2:kill-before` strikes the request's second call of a store:

| | |
| --- | --- |
| `kill-before`, `kill-after` | `kill -9` of the process, before the call or when it is done |
| `fail` | the store refuses the call, which has no effect |
| `lost` | the call is done, but its answer is lost |
| `late` | there is no answer within the time, and the call is done later |
| `hang` | the call is done, and answered, after a while |

`X-Calls` in the answer tells what was called.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src import bootstrap
from src.common.errors import OutcomeUnknown, ServiceError, StoreUnavailable
from src.handlers import server
from src.services import idempotency

FATAL = ("kill-before", "kill-after")
HARMLESS = ("fail", "lost", "late", "hang")
DELAY = 0.4  # seconds
LOCKED = timedelta(seconds=0.5)  # instead of a minute
OBJECTS = "objects"
READS = frozenset({"get", "list", "tags", "usage", "ping"})

_tasks: set[asyncio.Task[Any]] = set()


class Strike:
    """One request's."""

    def __init__(self, header: str) -> None:
        number, _, self.way = header.partition(":")
        self.number = int(number)
        self.calls: list[str] = []

    def is_due(self, call: str) -> bool:
        self.calls.append(call)
        return len(self.calls) == self.number


_current: ContextVar[Strike | None] = ContextVar("strike", default=None)


class Struck:
    """A store that passes on every call, but for the one that is struck."""

    def __init__(self, name: str, target: object) -> None:
        self._name = name
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if not asyncio.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **options: Any) -> object:
            strike = _current.get()
            if strike is None or not strike.is_due(f"{self._name}.{name}"):
                return await method(*arguments, **options)
            return await _struck(strike.way, lambda: method(*arguments, **options), _no_answer(self._name, name))

        return call


def _no_answer(store: str, method: str) -> Exception:
    error = StoreUnavailable if store == OBJECTS or method in READS else OutcomeUnknown
    return error("There was no answer, as the test wants it.")


async def _struck(way: str, call: Callable[[], Awaitable[object]], no_answer: Exception) -> object:
    if way == "kill-before":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "fail":
        raise StoreUnavailable("The store refused, as the test wants it.")
    if way == "late":
        task = asyncio.ensure_future(_after_a_while(call))
        _tasks.add(task)
        raise no_answer
    if way == "hang":
        return await _after_a_while(call)
    with suppress(ServiceError):  # as what there is not
        await call()
    if way == "kill-after":
        os.kill(os.getpid(), signal.SIGKILL)
    raise no_answer


async def _after_a_while(call: Callable[[], Awaitable[object]]) -> object:
    await asyncio.sleep(DELAY)
    return await call()


class Striking:
    """The application, which reads the header and tells the calls."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = Headers(scope=scope).get("x-strike") if scope["type"] == "http" else None
        if header is None:
            await self._app(scope, receive, send)
            return
        strike = Strike(header)

        async def send_with_calls(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Calls"] = ",".join(strike.calls)
            await send(message)

        token = _current.set(strike)
        try:
            await self._app(scope, receive, send_with_calls)
        finally:
            _current.reset(token)


def install() -> None:
    """Let the server of this process be struck."""
    build, make_app = bootstrap._services, server.from_environment

    def services(
        settings: Any, telemetry: Any, repositories: Any, objects: Any, links: Any, keys: Any
    ) -> bootstrap.Services:
        struck = {name: Struck(name, store) for name, store in repositories._asdict().items()}
        return build(settings, telemetry, bootstrap.Repositories(**struck), Struck(OBJECTS, objects), links, keys)  # type: ignore[arg-type]

    bootstrap._services = services  # type: ignore[assignment]
    server.from_environment = lambda: Striking(make_app())  # type: ignore[assignment, return-value]
    idempotency.LOCKED = LOCKED
