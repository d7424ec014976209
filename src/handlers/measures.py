"""What is measured of every request. With a list that takes 70 microseconds, each of them counts."""

import logging

from starlette.types import Message, Receive, Scope

from ..common.errors import ServiceError
from ..common.metrics import (
    REQUEST_BYTES,
    REQUEST_DURATION,
    REQUESTS,
    RESPONSE_BYTES,
    UPLOADS_REFUSED,
    Complaint,
    Metrics,
)
from ..services.link_service import OBJECTS_PATH

log = logging.getLogger(__name__)

# Others, of which a client may think up any number, are all one.
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"})
OTHER = "other"
NO_ROUTE = "none"

_UPLOADS = frozenset({"/images", "/uploads", "/uploads/{image_id}/complete", OBJECTS_PATH})  # by POST

type _Labels = tuple[tuple[str, str, str], tuple[str, str]]


class Body:
    """What has come of a request's body, in bytes."""

    size = 0


_NO_BODY = Body()


class Measures:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._complaint = Complaint(log, "a request can't be counted")
        self._labels: dict[tuple[str, str, int], _Labels] = {}

    def counted(self, scope: Scope, receive: Receive) -> tuple[Receive, Body]:
        """Return a `receive` that counts the bytes, and where it does."""
        if scope["method"] in ("GET", "HEAD") or not self._metrics.is_on:
            return receive, _NO_BODY
        body = Body()

        async def receive_and_count() -> Message:
            message = await receive()
            body.size += len(message.get("body", b""))
            return message

        return receive_and_count, body

    def note(self, scope: Scope, status: int, seconds: float, received: int, sent: int) -> None:
        """Take note of a request that is answered. If that fails, only the log is told."""
        if not self._metrics.is_on:
            return
        try:
            self._note(scope, status, seconds, received, sent)
        except Exception:
            self._complaint.make()

    def _note(self, scope: Scope, status: int, seconds: float, received: int, sent: int) -> None:
        method, route = scope["method"], _route(scope)
        labels = self._labels.get((method, route, status)) or self._labels_of(method, route, status)
        of_answer, of_route = labels
        self._metrics.count(REQUESTS, of_answer)
        self._metrics.observe(REQUEST_DURATION, of_route, seconds)
        if received:
            self._metrics.count(REQUEST_BYTES, of_route, received)
        if sent and method != "HEAD":
            self._metrics.count(RESPONSE_BYTES, of_route, sent)

    def _labels_of(self, method: str, route: str, status: int) -> _Labels:
        name = method if method in METHODS else OTHER
        labels = (name, route, str(status)), (name, route)
        if name == method:  # else there might be any number
            self._labels[method, route, status] = labels
        return labels


def note_refusal(metrics: Metrics, scope: Scope, error: ServiceError) -> None:
    """Take note of an error of the client's, if it is an upload's."""
    if scope["method"] == "POST" and _route(scope) in _UPLOADS:
        metrics.count(UPLOADS_REFUSED, (error.code,))


def _route(scope: Scope) -> str:
    """Return the template of the route, as a path may be anything."""
    path: str = getattr(scope.get("route"), "path", NO_ROUTE)
    return path
