"""Spans as OpenTelemetry's SDK hands them over."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from src.common import otel
from src.common.errors import ObjectNotFound, StoreFailed
from src.common.otel import OtelTracing
from src.common.tracing import ServedRequest, TraceParent
from src.handlers.spans import RequestSpans

pytestmark = pytest.mark.anyio

PARENT = TraceParent("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> OtelTracing:
    monkeypatch.setattr(otel, "_exporters", lambda _: [exporter])
    return OtelTracing({}, version="1")


def told(tracing: OtelTracing, exporter: InMemorySpanExporter) -> list[tuple[StatusCode, object]]:
    tracing.close()
    spans = exporter.get_finished_spans()
    return [(span.status.status_code, (span.attributes or {}).get("error.type")) for span in spans]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, (StatusCode.UNSET, None)),
        (asyncio.CancelledError(), (StatusCode.UNSET, None)),
        (GeneratorExit(), (StatusCode.UNSET, None)),
        (ObjectNotFound("a"), (StatusCode.UNSET, "object_not_found")),
        (StoreFailed("It broke."), (StatusCode.ERROR, "store_failed")),
        (ZeroDivisionError(), (StatusCode.ERROR, "internal_error")),
    ],
)
def test_how_something_ended(
    tracing: OtelTracing, exporter: InMemorySpanExporter, error: BaseException | None, expected: tuple[object, object]
) -> None:
    with tracing.serving(ServedRequest("GET", "http", None, "")):
        tracing.begin("objects get", {}).end(error)
        with suppress(BaseException), tracing.current("make rendition"):
            if error:
                raise error
    assert told(tracing, exporter) == [expected, expected, (StatusCode.UNSET, None)]


def scope(*states: bytes) -> Scope:
    headers = [(b"tracestate", state) for state in states]
    return {"type": "http", "method": "POST", "scheme": "http", "headers": headers, "traceparent": PARENT}


async def nothing(*_: object) -> None:
    return


async def test_a_client_that_went_away_is_no_error(tracing: OtelTracing, exporter: InMemorySpanExporter) -> None:
    async def gone(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnect

    with pytest.raises(ClientDisconnect):
        await RequestSpans(gone, tracing=tracing)(scope(), nothing, nothing)  # type: ignore[arg-type]
    assert told(tracing, exporter) == [(StatusCode.UNSET, None)]


@pytest.mark.parametrize(
    ("states", "kept"),
    [([b"a=1", b"b=2"], "a=1,b=2"), ([b"a=1", b"x" * 20_000], ""), ([b"a=\xff"], ""), ([b"a=1,a=2"], "")],
)
async def test_no_state_floods_the_log(
    tracing: OtelTracing,
    exporter: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    states: list[bytes],
    kept: str,
) -> None:
    app = RequestSpans(nothing, tracing=tracing)
    await app(scope(*states), nothing, nothing)  # type: ignore[arg-type]
    tracing.close()
    (span,) = exporter.get_finished_spans()
    assert span.parent is not None
    assert span.context is not None
    assert (span.context.trace_state.to_header(), caplog.text) == (kept, "")


def test_a_collector_that_hangs_does_not_hold_up_the_end_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    class Hanging(SpanExporter):
        has_ended = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            released.wait(5)
            self.has_ended = True
            return SpanExportResult.FAILURE

    exporter = Hanging()
    monkeypatch.setattr(otel, "_exporters", lambda _: [exporter])
    monkeypatch.setattr(otel, "CLOSING", 0.1)
    tracing = OtelTracing({}, version="1")
    with tracing.serving(ServedRequest("GET", "http", None, "")):
        pass
    tracing.close()
    assert not exporter.has_ended
    released.set()
