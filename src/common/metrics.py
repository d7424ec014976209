"""What the service counts and measures, and the port through which its layers say so.

Labels are few and bounded, as each set of their values is kept apart (and at CloudWatch paid for): a route's template
and never a path, an error's code and never a user.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, Protocol

from .errors import ServiceError

type Labels = tuple[str, ...]


class Metric(NamedTuple):
    """The name as Prometheus has it, and what CloudWatch calls the unit."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    unit: Literal["Count", "Seconds", "Bytes"]
    labels: Labels
    help: str


# Seconds. A list takes a fifth of a millisecond, a large rendition a second.
BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

REQUESTS = Metric(
    "image_service_http_requests_total",
    "counter",
    "Count",
    ("method", "route", "status"),
    "Requests that were answered; 499 is one whose client went away",
)
REQUEST_DURATION = Metric(
    "image_service_http_request_duration_seconds",
    "histogram",
    "Seconds",
    ("method", "route"),
    "Time from a request's head to the end of its answer",
)
REQUEST_BYTES = Metric(
    "image_service_http_request_bytes_total",
    "counter",
    "Bytes",
    ("method", "route"),
    "Bytes of bodies that were read",
)
RESPONSE_BYTES = Metric(
    "image_service_http_response_bytes_total",
    "counter",
    "Bytes",
    ("method", "route"),
    "Bytes of bodies that were sent",
)
UPLOADS = Metric("image_service_uploads_accepted_total", "counter", "Count", (), "Uploads that became an image")
UPLOAD_BYTES = Metric("image_service_uploads_accepted_bytes_total", "counter", "Bytes", (), "Bytes of their originals")
UPLOADS_REFUSED = Metric(
    "image_service_uploads_refused_total",
    "counter",
    "Count",
    ("code",),
    "Uploads, declared ones too, that were answered with a problem of 4xx, by its code",
)
RENDITIONS = Metric(
    "image_service_renditions_total",
    "counter",
    "Count",
    ("outcome",),
    "Renditions that were to be made: `ok`, `overloaded` if too many were waiting, or the code of another error",
)
RENDITIONS_WAITING = Metric("image_service_renditions_waiting", "gauge", "Count", (), "Renditions that wait to be made")
RENDITIONS_RUNNING = Metric("image_service_renditions_running", "gauge", "Count", (), "Renditions that are being made")
STORE_CALLS = Metric(
    "image_service_store_calls_total",
    "counter",
    "Count",
    ("store", "operation", "outcome"),
    "Calls of the stores (`objects`, `metadata`): `ok`, `cancelled`, or the error's code",
)
STORE_DURATION = Metric(
    "image_service_store_call_duration_seconds",
    "histogram",
    "Seconds",
    ("store", "operation"),
    "Time that they took; of an iteration, with what was done between its items",
)
BUILD = Metric(
    "image_service_build_info", "gauge", "Count", ("version", "python", "storage"), "1, with what it is that runs"
)

METRICS = (
    REQUESTS,
    REQUEST_DURATION,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    UPLOADS,
    UPLOAD_BYTES,
    UPLOADS_REFUSED,
    RENDITIONS,
    RENDITIONS_WAITING,
    RENDITIONS_RUNNING,
    STORE_CALLS,
    STORE_DURATION,
    BUILD,
)

OK = "ok"
CANCELLED = "cancelled"  # nobody waits for it any more


class Metrics(Protocol):
    """Labels are the values, in the order of the metric's names. To be called on the event loop's thread."""

    is_on: bool

    def count(self, metric: Metric, labels: Labels = (), amount: float = 1) -> None:
        """Add to a counter."""
        ...

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Add a value to a histogram."""
        ...

    def shift(self, metric: Metric, amount: float, labels: Labels = ()) -> None:
        """Move a gauge up, or down."""
        ...

    def close(self) -> None: ...


class NoMetrics:
    """For where nothing is measured."""

    is_on = False

    def count(self, metric: Metric, labels: Labels = (), amount: float = 1) -> None:
        return

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        return

    def shift(self, metric: Metric, amount: float, labels: Labels = ()) -> None:
        return

    def close(self) -> None:
        return


NO_METRICS = NoMetrics()


@contextmanager
def raised(metrics: Metrics, gauge: Metric) -> Iterator[None]:
    """Have a gauge one higher within."""
    metrics.shift(gauge, 1)
    try:
        yield
    finally:
        metrics.shift(gauge, -1)


class Complaint:
    """A fault of telemetry, which must not become one of what it tells of: the log has it once until it is settled."""

    def __init__(self, log: logging.Logger, message: str) -> None:
        self._log = log
        self._message = message
        self._is_made = False

    def make(self) -> None:
        """Log the exception that is being handled."""
        if not self._is_made:
            self._log.exception(self._message)
        self._is_made = True

    def settle(self) -> None:
        self._is_made = False


def outcome_of(error: BaseException | None) -> str:
    """Return what a label says of how something ended."""
    if error is None:
        return OK
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return CANCELLED
    return str(getattr(type(error), "code", ServiceError.code))
