"""Spans by OpenTelemetry's SDK, as its own environment variables say. Only imported where those ask for it.

Source of names: OpenTelemetry, "Semantic conventions for HTTP spans" (stable). A path is left out, as it is of the log.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from .errors import ConfigurationError, StoreError
from .metrics import CANCELLED, outcome_of
from .tracing import NO_SPAN, ServedRequest, Span, TraceParent

SERVICE_NAME = "image-service"
CLOSING = 10  # seconds
UNKNOWN_METHOD = "_OTHER"


class OtelTracing:
    is_on = True

    def __init__(self, environment: Mapping[str, str], *, version: str) -> None:
        """Raise ConfigurationError if an exporter is not there, and ValueError for what the SDK does not take."""
        named = OTELResourceDetector().detect()  # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
        resource = Resource({"service.name": SERVICE_NAME, "service.version": version}).merge(named)
        self._provider = TracerProvider(resource=Resource.create(resource.attributes))
        for exporter in _exporters(environment):
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("image_service", version)

    def begin(self, name: str, attributes: Mapping[str, str]) -> Span:
        if not trace.get_current_span().is_recording():  # such as of what is swept now and then
            return NO_SPAN
        return OtelSpan(self._tracer.start_span(name, attributes=attributes))

    @contextmanager
    def current(self, name: str) -> Iterator[None]:
        span = self._tracer.start_span(name)
        with _made_current(span):
            yield

    @contextmanager
    def serving(self, request: ServedRequest) -> Iterator[Mapping[str, str]]:
        method = request.method or UNKNOWN_METHOD
        span = self._tracer.start_span(
            request.method or "HTTP",
            context=_remote(request.parent, request.state) if request.parent else contexts.Context(),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "url.scheme": request.scheme},
        )
        ids = {
            "trace_id": trace.format_trace_id(span.get_span_context().trace_id),
            "span_id": trace.format_span_id(span.get_span_context().span_id),
        }
        with _made_current(span):
            try:
                yield ids
            finally:
                _tell_answer(span, request)

    def close(self) -> None:
        """Give the collector some seconds to take what is left; the SDK's own way out may take half a minute."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSING)


class OtelSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def end(self, error: BaseException | None) -> None:
        if error is not None:
            _tell_error(self._span, error)
        self._span.end()


@contextmanager
def _made_current(span: trace.Span) -> Iterator[None]:
    """Have what begins within be parts of the span, which ends with the context."""
    token = contexts.attach(trace.set_span_in_context(span))
    try:
        yield
    except BaseException as error:
        _tell_error(span, error)
        raise
    finally:
        contexts.detach(token)
        span.end()


def _tell_answer(span: trace.Span, request: ServedRequest) -> None:
    if request.route is not None:
        span.update_name(f"{request.method or 'HTTP'} {request.route}")
        span.set_attribute("http.route", request.route)
    if request.status:
        span.set_attribute("http.response.status_code", request.status)
    if request.status >= 500:
        span.set_attribute("error.type", str(request.status))
        span.set_status(StatusCode.ERROR)


def _tell_error(span: trace.Span, error: BaseException) -> None:
    """Say by its code how it ended; it is a failure unless the error is one of those that are part of the bargain.

    What was only broken off has none.
    """
    outcome = outcome_of(error)
    if outcome == CANCELLED:
        return
    span.set_attribute("error.type", outcome)
    if isinstance(error, StoreError) or not hasattr(type(error), "code"):
        span.set_status(StatusCode.ERROR)


def _remote(parent: TraceParent, state: str) -> contexts.Context:
    flags = TraceFlags(parent.flags)
    known = TraceState.from_header([state]) if state else None
    span = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags, known)
    return trace.set_span_in_context(NonRecordingSpan(span), contexts.Context())


def _exporters(environment: Mapping[str, str]) -> Iterator[SpanExporter]:
    """Make those that OTEL_TRACES_EXPORTER names, which packages of theirs bring along."""
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    for name in (environment.get("OTEL_TRACES_EXPORTER") or "otlp").split(","):
        package = name.strip()
        if package == "otlp":
            package = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
        found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=package)), None)
        if found is None:
            raise ConfigurationError(
                f"OTEL_TRACES_EXPORTER: got {name!r}, wants otlp, console, or what an installed package brings along "
                f"({package} is not installed)"
            )
        yield found.load()()
