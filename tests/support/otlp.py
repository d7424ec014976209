"""A collector that takes spans by OTLP/HTTP, as protobuf."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


class Received(NamedTuple):
    """A span, with ids in hex."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    attributes: dict[str, str | int]
    is_server: bool
    is_error: bool
    trace_state: str


class Collector:
    """Listens at `url` within its context."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        received = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                received.extend(_spans(ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Collector":
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def one(self, name: str, **attributes: str | int) -> Received:
        """Return the only span of that name with these attributes, `.` of whose names is written `__`."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        (span,) = (each for each in self.spans if each.name == name and wanted.items() <= each.attributes.items())
        return span

    def parts_of(self, span: Received) -> list[str]:
        return sorted(each.name for each in self.spans if each.parent_id == span.span_id)


def _spans(request: ExportTraceServiceRequest) -> list[Received]:
    return [
        Received(
            service=str(_attributes(of_resource.resource.attributes)["service.name"]),
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            name=span.name,
            attributes=_attributes(span.attributes),
            is_server=span.kind == Span.SPAN_KIND_SERVER,
            is_error=span.status.code == Status.STATUS_CODE_ERROR,
            trace_state=span.trace_state,
        )
        for of_resource in request.resource_spans
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
