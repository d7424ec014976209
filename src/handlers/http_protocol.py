"""HTTP/1.1 as uvicorn and httptools speak it, with what they leave out: bounds, and words for what is no HTTP."""

import asyncio
import logging
import uuid
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..common.errors import InvalidRequest, RequestHeadTooLarge, RequestTimeout, ServiceError
from ..common.logging import request_id
from ..common.metrics import REQUESTS
from .measures import NO_ROUTE, OTHER
from .problems import problem_response

log = logging.getLogger(__name__)

# Bytes of a request's line and headers. It is counted as it comes, up to 256 KiB at a time, and the last of it may
# bring the beginning of the body: hence more than any client sends.
MAX_HEAD_SIZE = 320 * 1024

# Seconds. uvicorn bounds only the silence after an answer.
HEAD_TIMEOUT = 30  # for a request's line and headers to arrive, or the rest of a body that is answered already
STALL_TIMEOUT = 60  # for a client to take in what is ready for it, 256 KiB or so


class BoundedHttpProtocol(HttpToolsProtocol):
    """Ends connections whose request heads grow without end (httptools would collect them all), and slow ones."""

    _head_size = 0
    _in_head = True
    _arrival: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_arrival()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        self._unset_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._await_arrival()
            self._head_size += len(data)
            if self._head_size > MAX_HEAD_SIZE:
                self._refuse(RequestHeadTooLarge(f"They have more than {MAX_HEAD_SIZE} bytes."))
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._arrived()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head_size, self._in_head = 0, True
        if not self._is_answered():  # else the time for the next head has begun
            self._arrived()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if not self._in_head:
            self._await_arrival()
        super().on_response_complete()

    def _await_arrival(self) -> None:
        if self._arrival is None:
            self._arrival = self.loop.call_later(HEAD_TIMEOUT, self._is_late)

    def _arrived(self) -> None:
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _is_late(self) -> None:
        self._arrival = None
        if self.transport.is_closing() or not self._is_answered():
            return  # a request is at work, and another one was begun meanwhile
        if self._in_head and self._head_size:
            self._refuse(RequestTimeout(f"The headers did not come within {HEAD_TIMEOUT} seconds."))
        else:
            self.transport.close()

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def pause_writing(self) -> None:
        self._stall = self.loop.call_later(STALL_TIMEOUT, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unset_stall()
        super().resume_writing()

    def _unset_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(
            InvalidRequest("This is not HTTP/1.1. In a URL, what is not ASCII is percent-encoded: %C3%A9 stands for é.")
        )

    def _refuse(self, error: ServiceError) -> None:
        own_id = uuid.uuid4().hex
        token = request_id.set(own_id)
        try:
            response = problem_response(error, headers={"X-Request-Id": own_id, "Connection": "close"})
            log.info("request", extra={"method": None, "route": None, "status": response.status_code})
            if metrics := self.app_state.get("metrics"):
                metrics.count(REQUESTS, (OTHER, NO_ROUTE, str(response.status_code)))
        finally:
            request_id.reset(token)
        head = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()]
        head += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + bytes(response.body))
        self.transport.close()
