"""HTTP/1.1 as uvicorn and httptools speak it, with what they leave out: a bound, and words for what is no HTTP."""

import logging
import uuid
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..common.errors import InvalidRequest, RequestHeadTooLarge, ServiceError
from ..common.logging import request_id
from .problems import problem_response

log = logging.getLogger(__name__)

# Bytes of a request's line and headers. It is counted as it comes, up to 256 KiB at a time, and the last of it may
# bring the beginning of the body: hence more than any client sends.
MAX_HEAD_SIZE = 320 * 1024


class BoundedHttpProtocol(HttpToolsProtocol):
    """Ends connections whose request heads grow without end; httptools would collect them all."""

    _head_size = 0
    _in_head = True

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD_SIZE:
                self._refuse(RequestHeadTooLarge(f"They have more than {MAX_HEAD_SIZE} bytes."))
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head_size, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

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
        finally:
            request_id.reset(token)
        head = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}".encode()]
        head += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join(head) + b"\r\n\r\n" + bytes(response.body))
        self.transport.close()
