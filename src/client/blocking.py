"""`Client`: calls that return when they are done."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Concatenate, Self

import httpx

from . import counts, downloads, uploads
from . import images as records
from .flow import Batches, Flow, Pause, Send, Work
from .methods import presented
from .session import Session


def _call[**P, T](operation: Callable[Concatenate[Session, P], Flow[T]]) -> Callable[Concatenate["Client", P], T]:
    @presented(operation)
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._run(operation(client._session, *args, **kwargs))

    return method


def _iteration[**P, T](
    operation: Callable[Concatenate[Session, P], Batches[T]],
) -> Callable[Concatenate["Client", P], Iterator[T]]:
    @presented(operation, within=Iterator)
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        batches, after = operation(client._session, *args, **kwargs), None
        while True:
            items, after = client._run(batches(after))
            yield from items
            if after is None:
                return

    return method


class Client:
    """Calls an image service. It may be used from several threads; close it, or use it as a context.

    Every error that the service reports is one of `image_service.errors`, a ServiceError.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Take url and token from IMAGE_SERVICE_URL (or http://127.0.0.1:8000) and IMAGE_SERVICE_TOKEN if not given.

        A request may be silent for `timeout` seconds, and is made `retries` times more where that is safe. Raises
        ValueError for what can't be used.
        """
        self._session = Session(url, token=token, timeout=timeout, retries=retries)
        self._http = httpx.Client(transport=transport)

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

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run[T](self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    outcome = self._perform(step)
                except Exception as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            flow.close()

    def _perform(self, step: Send | Pause | Work) -> object:
        match step:
            case Send():
                return self._send(step)
            case Pause():
                time.sleep(step.seconds)
            case Work():
                return step.function()
        return None

    def _send(self, step: Send) -> httpx.Response:
        answer = self._http.send(step.request, stream=True)
        try:
            if step.sink and answer.is_success:
                step.sink.begin(answer)
                for chunk in answer.iter_bytes():
                    step.sink.write(chunk)
            else:
                answer.read()
        finally:
            answer.close()
        return answer
