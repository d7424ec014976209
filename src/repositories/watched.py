"""Adapters whose calls are watched: measured, or recorded as spans. One wrapper does for every port."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from inspect import iscoroutinefunction, isfunction
from typing import Any, Protocol, cast

from ..common.metrics import OK, STORE_CALLS, STORE_DURATION, Metrics, outcome_of
from ..common.telemetry import Telemetry
from ..common.tracing import Span, Tracing


class Watch(Protocol):
    """Watches the calls of one operation; `end` gets what `begin` has returned."""

    def begin(self) -> Any: ...

    def end(self, begun: Any, error: BaseException | None) -> None: ...


def watched[P](port: type, adapter: P, store: str, telemetry: Telemetry, *, prefix: str = "") -> P:
    """Return the adapter, with what the port declares watched as an operation of `store`, named behind `prefix`."""
    found = adapter
    if telemetry.metrics.is_on:
        found = _wrapped(port, found, lambda name: Meter(telemetry.metrics, store, prefix + name))
    if telemetry.tracing.is_on:
        found = _wrapped(port, found, lambda name: Tracer(telemetry.tracing, store, prefix + name))
    return found


def _wrapped[P](port: type, adapter: P, watch: Callable[[str], Watch]) -> P:
    return cast(P, _Watched(port, adapter, watch))


class _Watched:
    def __init__(self, port: type, adapter: object, watch: Callable[[str], Watch]) -> None:
        self._adapter = adapter
        for name, declared in vars(port).items():
            if isfunction(declared) and not name.startswith("_") and name != "close":
                wrap = _call if iscoroutinefunction(declared) else _iteration
                setattr(self, name, wrap(adapter, name, watch(name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


def _call(adapter: object, name: str, watch: Watch) -> Callable[..., Awaitable[Any]]:
    begin, end = watch.begin, watch.end

    async def call(*args: Any, **kwargs: Any) -> Any:
        begun = begin()
        try:
            result = await getattr(adapter, name)(*args, **kwargs)
        except BaseException as error:
            end(begun, error)
            raise
        end(begun, None)
        return result

    return call


def _iteration(adapter: object, name: str, watch: Watch) -> Callable[..., AsyncGenerator[Any]]:
    async def iterate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        begun = watch.begin()
        try:
            async with aclosing(getattr(adapter, name)(*args, **kwargs)) as items:
                async for item in items:
                    yield item
        except GeneratorExit:  # who asked has enough
            watch.end(begun, None)
            raise
        except BaseException as error:
            watch.end(begun, error)
            raise
        watch.end(begun, None)

    return iterate


class Meter:
    def __init__(self, metrics: Metrics, store: str, operation: str) -> None:
        self._metrics = metrics
        self._labels = (store, operation)
        self._ok = (*self._labels, OK)

    begin = staticmethod(time.perf_counter)

    def end(self, begun: float, error: BaseException | None) -> None:
        self._metrics.observe(STORE_DURATION, self._labels, time.perf_counter() - begun)
        self._metrics.count(STORE_CALLS, self._ok if error is None else (*self._labels, outcome_of(error)))


class Tracer:
    def __init__(self, tracing: Tracing, store: str, operation: str) -> None:
        self._tracing = tracing
        self._name = f"{store} {operation}"
        self._attributes = {"image_service.store": store, "image_service.operation": operation}

    def begin(self) -> Span:
        return self._tracing.begin(self._name, self._attributes)

    def end(self, begun: Span, error: BaseException | None) -> None:
        begun.end(error)
