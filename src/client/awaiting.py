"""`AsyncClient`: calls to await."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, Self

import httpx

from . import counts, downloads, uploads
from . import images as records
from .flow import Batches, Flow, Pause, Send, Work
from .methods import presented
from .session import Session


def _call[**P, T](
    operation: Callable[Concatenate[Session, P], Flow[T]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    @presented(operation)
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client._run(operation(client._session, *args, **kwargs))

    return method


def _iteration[**P, T](
    operation: Callable[Concatenate[Session, P], Batches[T]],
) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[T]]:
    @presented(operation, within=AsyncIterator)
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        batches, after = operation(client._session, *args, **kwargs), None
        while True:
            items, after = await client._run(batches(after))
            for item in items:
                yield item
            if after is None:
                return

    return method


class AsyncClient:
    """Calls an image service as Client does, with asyncio: every method is awaited, iterations are asynchronous."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take what Client takes."""
        self._session = Session(url, token=token, timeout=timeout, retries=retries)
        self._http = httpx.AsyncClient(transport=transport)

    upload = _call(uploads.upload)
    restore = _call(uploads.restore)
    declare_upload = _call(uploads.declare_upload)
    get_upload = _call(uploads.get_upload)
    complete_upload = _call(uploads.complete_upload)
    cancel_upload = _call(uploads.cancel_upload)
    images = _iteration(records.images)
    page = _call(records.page)
    get = _call(records.get)
    content = _call(downloads.content)
    download = _call(downloads.download)
    update = _call(records.update)
    delete = _call(records.delete)
    delete_all = _iteration(records.delete_all)
    tags = _iteration(counts.tags)
    usage = _call(counts.usage)
    checksums = _call(counts.checksums)
    limits = _call(counts.limits)
    health = _call(counts.health)
    ready = _call(counts.ready)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run[T](self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    outcome = await self._perform(step)
                except Exception as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            flow.close()

    async def _perform(self, step: Send | Pause | Work) -> object:
        match step:
            case Send():
                return await self._send(step)
            case Pause():
                await asyncio.sleep(step.seconds)
            case Work():
                return await asyncio.to_thread(step.function)
        return None

    async def _send(self, step: Send) -> httpx.Response:
        answer = await self._http.send(step.request, stream=True)
        try:
            if step.sink and answer.is_success:
                step.sink.begin(answer)
                async for chunk in answer.aiter_bytes():
                    await asyncio.to_thread(step.sink.write, chunk)
            else:
                await answer.aread()
        finally:
            await answer.aclose()
        return answer
