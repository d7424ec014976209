"""Stores that fail, hang or answer late, at a call of the test's choice."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

type When = Literal["before", "after"]


class Fault:
    """What happens to every n-th call before or after it takes effect: `error` is raised, or else it hangs for ever."""

    def __init__(self, when: When, error: Exception | None = None, *, every: int = 1) -> None:
        self.when = when
        self.error = error
        self.reached = asyncio.Event()
        self._every = every
        self._calls = 0

    def is_due(self) -> bool:
        self._calls += 1
        return self._calls % self._every == 0

    async def strike(self) -> None:
        self.reached.set()
        if self.error is None:
            await asyncio.Event().wait()
        else:
            raise self.error


class Faulty:
    """A store that passes every call on to `target`, but for the methods that have a fault. `calls` logs them all."""

    def __init__(self, target: object, calls: list[str]) -> None:
        self._target = target
        self._calls = calls
        self.faults: dict[str, Fault] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._target, name)
        if inspect.isasyncgenfunction(method):
            return self._iterated(name, method)

        async def call(*arguments: Any, **options: Any) -> object:
            self._calls.append(name)
            fault = self.faults.get(name)
            if fault and not fault.is_due():
                fault = None
            if fault and fault.when == "before":
                await fault.strike()
            answer = await method(*arguments, **options)
            if fault:
                await fault.strike()
            return answer

        return call

    def _iterated(
        self, name: str, method: Callable[..., AsyncIterator[object]]
    ) -> Callable[..., AsyncIterator[object]]:
        async def iterate(*arguments: Any, **options: Any) -> AsyncIterator[object]:
            self._calls.append(name)
            fault = self.faults.get(name)
            fault = fault if fault and fault.is_due() else None
            if fault and fault.when == "before":
                await fault.strike()
            async for each in method(*arguments, **options):
                yield each
            if fault:
                await fault.strike()

        return iterate


@asynccontextmanager
async def held_at(target: Any, name: str, call: Callable[[], Awaitable[Any]]) -> AsyncIterator[asyncio.Task[Any]]:
    """Begin a call and hold it at a method of `target`, which others pass; it goes on when the context ends."""
    method, reached, go_on = getattr(target, name), asyncio.Event(), asyncio.Event()

    async def held(*arguments: Any, **options: Any) -> Any:
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        return await method(*arguments, **options)

    setattr(target, name, held)
    task = asyncio.ensure_future(call())
    await reached.wait()
    yield task
    go_on.set()
    await asyncio.wait([task])
