"""A span for every request. This layer is there only where spans are recorded."""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..common.logging import trace_ids
from ..common.metrics import CANCELLED
from ..common.tracing import ServedRequest, Tracing, state_of
from .measures import METHODS


class _ClientGone(ClientDisconnect):
    """Nobody is answered, which is no fault."""

    code = CANCELLED


class RequestSpans:
    """Stands within RequestContext, which has found the parent, and logs with the ids of the span."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, parent = scope["method"], scope.get("traceparent")
        request = ServedRequest(method if method in METHODS else None, scope["scheme"], parent, _state(scope))

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
            await send(message)

        with self._tracing.serving(request) as ids:
            trace_ids.set({**(trace_ids.get() or {}), **ids})
            try:
                await self._app(scope, receive, send_and_note)
            except ClientDisconnect:
                raise _ClientGone from None
            except Exception:
                request.status = request.status or 500  # which RequestContext answers
                raise
            finally:
                request.route = getattr(scope.get("route"), "path", None)


def _state(scope: Scope) -> str:
    """Return what the header `tracestate` says, whose lines are one list (RFC 9110, 5.3)."""
    lines = (bytes(value).decode("latin-1") for name, value in scope["headers"] if name == b"tracestate")
    return state_of(",".join(lines))
