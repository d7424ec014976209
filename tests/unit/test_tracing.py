"""The headers `traceparent` and `tracestate`, to the letter of W3C Trace Context, and what asks for spans."""

import pytest
from opentelemetry.trace import TraceState

from src.common.tracing import MOST_STATE, TraceParent, state_of
from src.handlers.telemetry import _is_asked_for

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 255),
        (f"01-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
        (f"cc-{TRACE}-{SPAN}-01-", 1),
    ],
)
def test_what_is_one(header: str, flags: int) -> None:
    assert TraceParent.of(header) == (TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0X",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"0٣-{TRACE}-{SPAN}-01",
        f"00_{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_none(header: str) -> None:
    assert TraceParent.of(header) is None


@pytest.mark.parametrize(
    ("header", "state"),
    [
        ("", ""),
        ("vendor=1", "vendor=1"),
        ("a=1 , \tb=2,,c= x", "a=1,b=2,c= x"),
        ("0tenant@vendor=1,a_-*/z=!~", "0tenant@vendor=1,a_-*/z=!~"),
        (",".join(f"k{n}=v" for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
        (f"a={'x' * 256}", f"a={'x' * 256}"),
    ],
)
def test_what_is_a_state(header: str, state: str) -> None:
    assert state_of(header) == state
    assert TraceState.from_header([state]).to_header() == state


@pytest.mark.parametrize(
    "header",
    [
        "vendor",
        "A=1",
        "0a=1",
        "a==1",
        "a=",
        "a=\xe9",
        "a=1\n",
        f"a={'x' * 257}",
        f"{'k' * 257}=1",
        "a@0=1",
        ",".join(f"k{n}=v" for n in range(33)),
        f"a={'x' * 250},b={'y' * 256}".ljust(MOST_STATE + 1, ","),
    ],
)
def test_what_is_no_state(header: str) -> None:
    assert state_of(header) == ""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "false"}, True),
    ],
)
def test_what_asks_for_spans(environment: dict[str, str], expected: bool) -> None:
    assert _is_asked_for(environment) == expected
