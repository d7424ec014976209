"""What surrounds every request: its id, one log line, and a problem for whatever nobody foresaw."""

import asyncio
import logging
import os
import re
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..common.errors import InternalError, OutcomeUnknown, ServiceError, StoreUnavailable
from ..common.ids import is_id
from ..common.logging import info, request_id, trace_ids
from ..common.metrics import Metrics
from ..common.tracing import TraceParent
from .answers import services_of
from .measures import Measures, note_refusal
from .problems import from_http_exception, problem_response, status_of

log = logging.getLogger(__name__)

_ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLIENT_CLOSED_REQUEST = 499  # as nginx logs it; never sent
# Unless an answer has its own: nothing of ours is a page, but for those that say so.
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),  # links are secrets
)


class RequestContext:
    """The outermost ASGI layer."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._measures = Measures(metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        own_id, parent = _ids(scope)
        token = request_id.set(own_id)
        if parent:
            trace_ids.set({"trace_id": parent.trace_id, "parent_span_id": parent.span_id})
            scope["traceparent"] = parent
        status = size = 0
        receive, body = self._measures.counted(scope, receive)

        async def send_with_headers(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            elif message["type"] == "http.response.start":
                status = message["status"]
                names = {name for name, _ in message["headers"]}
                added = [header for header in HEADERS if header[0] not in names]
                message["headers"] = [*message["headers"], *added, (b"x-request-id", _current_id())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
        except asyncio.CancelledError:
            # The server ends, or Lambda's time does. What a store was doing goes on, so a write may yet happen.
            log.warning("a request was broken off")
            if not status:
                error = StoreUnavailable if scope["method"] in ("GET", "HEAD") else OutcomeUnknown
                await problem_response(error("The request was broken off."))(scope, receive, send_with_headers)
        except Exception:
            log.exception("unexpected error")
            if status:
                raise  # too late for another answer: the server breaks the connection off
            await problem_response(InternalError("Something unexpected went wrong."))(scope, receive, send_with_headers)
        finally:
            passed = time.perf_counter() - started
            _log_request(scope, status, passed)
            request_id.reset(token)
            if trace_ids.get() is not None:
                trace_ids.set(None)
            self._measures.note(scope, status, passed, body.size, size)


async def on_service_error(request: Request, error: Exception) -> Response:
    """Answer with the error's problem; the log gets the cause."""
    assert isinstance(error, ServiceError)  # noqa: S101 - Starlette calls it for this class only
    if status_of(type(error)) >= 500:
        log.error(error.detail, exc_info=error)
    else:
        note_refusal(services_of(request).telemetry.metrics, request.scope, error)
    return problem_response(error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls it for this class only
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return problem_response(from_http_exception(error, request.method, request.url.path), headers=headers)


def _allowed(request: Request) -> str:
    """Return the methods of all routes with this path; Starlette names those of the first one."""
    methods: set[str] = set()
    for route in request.app.routes:
        match, _ = route.matches(request.scope)
        if match is not Match.NONE:
            methods |= route.methods
    return ", ".join(sorted(methods))


def _ids(scope: Scope) -> tuple[str, TraceParent | None]:
    """Return the request's id, a new one if it brings none that is well-formed, and its parent if it has one."""
    own_id, parents = None, []
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = bytes(value).decode("latin-1")
            own_id = own_id or (text if _ACCEPTED_ID.fullmatch(text) else None)
        elif name == b"traceparent":
            parents.append(bytes(value).decode("latin-1"))
    # Several are as good as none (W3C Trace Context).
    return own_id or os.urandom(16).hex(), TraceParent.of(parents[0]) if len(parents) == 1 else None


def _current_id() -> bytes:
    return (request_id.get() or "").encode()


def _log_request(scope: Scope, status: int, passed: float) -> None:
    # The query is not logged: it may hold a signature. Nor is the path, where it is not one of ours.
    fields: dict[str, Any] = {
        "method": scope["method"],
        "route": getattr(scope.get("route"), "path", None),
        "status": status,
        "duration_ms": round(passed * 1000, 2),
    }
    image_id = scope.get("path_params", {}).get("image_id") or scope.get("state", {}).get("image_id", "")
    if is_id(image_id):
        fields["image_id"] = image_id
    if user_id := scope.get("state", {}).get("user_id"):
        fields["user_id"] = user_id
    info(log, "request", fields)
