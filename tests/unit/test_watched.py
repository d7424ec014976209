"""Watched adapters do what they did, and what they did is known."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest

from src.common.errors import ObjectNotFound, StoreFailed
from src.common.metrics import STORE_CALLS, STORE_DURATION
from src.common.telemetry import SILENT, Telemetry
from src.repositories.ports import ClaimLost, ClaimRepository, ImageRepository, ObjectStore, UploadRepository
from src.repositories.watched import watched
from tests.support.metrics import Counted

pytestmark = pytest.mark.anyio


class Port(Protocol):
    async def get(self, key: str, *, other: int = 0) -> str: ...

    def list(self, prefix: str) -> AsyncIterator[str]: ...

    async def close(self) -> None: ...


class Adapter:
    own = "its own"

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.is_closed = False
        self.is_open = False

    async def get(self, key: str, *, other: int = 0) -> str:
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return f"{key} {other}"

    async def list(self, prefix: str) -> AsyncIterator[str]:
        self.is_open = True
        try:
            yield f"{prefix}1"
            if self.error:
                raise self.error
            yield f"{prefix}2"
        finally:
            self.is_open = False

    async def close(self) -> None:
        self.is_closed = True


def watched_by(metrics: Counted, adapter: Adapter) -> Any:
    return watched(Port, adapter, "store", Telemetry(metrics=metrics), prefix="things.")


async def test_calls_and_iterations() -> None:
    metrics, adapter = Counted(), Adapter()
    port = watched_by(metrics, adapter)
    assert await port.get("a", other=2) == "a 2"
    assert [each async for each in port.list("b")] == ["b1", "b2"]
    await port.close()
    assert adapter.is_closed
    assert port.own == "its own"
    assert metrics.counts == {
        (STORE_CALLS.name, ("store", "things.get", "ok")): 1,
        (STORE_CALLS.name, ("store", "things.list", "ok")): 1,
    }
    assert [(name, labels) for name, labels, _ in metrics.values] == [
        (STORE_DURATION.name, ("store", "things.get")),
        (STORE_DURATION.name, ("store", "things.list")),
    ]
    assert all(0 <= seconds < 60 for _, _, seconds in metrics.values)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ObjectNotFound("a"), "object_not_found"),
        (StoreFailed("It broke."), "store_failed"),
        (ClaimLost(), "claim_lost"),
        (ZeroDivisionError(), "internal_error"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
async def test_errors_go_on_and_are_counted(error: BaseException, outcome: str) -> None:
    metrics = Counted()
    port = watched_by(metrics, Adapter(error))
    with pytest.raises(type(error)):
        await port.get("a")
    with pytest.raises(type(error)):
        [each async for each in port.list("b")]
    assert {labels for _, labels in metrics.counts} == {
        ("store", "things.get", outcome),
        ("store", "things.list", outcome),
    }


async def test_a_call_that_is_given_up() -> None:
    metrics = Counted()
    call = watched_by(metrics, Adapter()).get("a")
    call.send(None)
    call.close()
    assert {labels for _, labels in metrics.counts} == {("store", "things.get", "cancelled")}


async def test_an_iteration_that_is_broken_off() -> None:
    metrics, adapter = Counted(), Adapter()
    items = watched_by(metrics, adapter).list("b")
    assert await anext(items) == "b1"
    assert adapter.is_open
    await items.aclose()
    assert not adapter.is_open
    assert metrics.counts == {(STORE_CALLS.name, ("store", "things.list", "ok")): 1}


async def test_where_nobody_listens_nothing_is_between() -> None:
    adapter = Adapter()
    assert watched(Port, adapter, "store", SILENT) is adapter


@pytest.mark.parametrize("port", [ObjectStore, ImageRepository, UploadRepository, ClaimRepository])
def test_every_operation_of_the_ports_is_watched(port: type) -> None:
    class Everything:
        def __getattr__(self, name: str) -> Any:
            async def method() -> None: ...

            return method

    port_watched = watched(port, Everything(), "store", Telemetry(metrics=Counted()))
    operations = {name for name in vars(port) if not name.startswith("_")} - {"close"}
    assert operations
    assert operations <= set(vars(port_watched))
