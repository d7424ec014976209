"""The trace of a request is in its log, and nothing of OpenTelemetry is there unless it is asked for."""

import builtins
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from src.common.config import Settings
from src.common.errors import ConfigurationError
from src.common.logging import JsonFormatter
from src.common.tracing import NO_TRACING
from src.handlers.telemetry import of_server
from tests.support.api import uploaded
from tests.support.server import ROOT, environment_with

pytestmark = pytest.mark.anyio

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
ASKED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


class Lines(logging.Handler):
    """What the log says, as it says it, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    caplog.set_level(logging.INFO, "src")
    logger, handler = logging.getLogger("src"), Lines()
    logger.addHandler(handler)
    yield handler.texts
    logger.removeHandler(handler)


async def test_every_line_of_a_request_has_its_trace(client: httpx.AsyncClient, lines: list[str]) -> None:
    client.headers["traceparent"] = PARENT
    await uploaded(client)
    assert len(lines) == 2
    for line in lines:
        assert f'"trace_id":"{TRACE}","parent_span_id":"{SPAN}"' in line
    del client.headers["traceparent"]
    lines.clear()
    await client.get("/images")
    assert len(lines) == 1
    assert "trace_id" not in lines[0]


@pytest.mark.parametrize("headers", [[PARENT.upper()], [PARENT[:-1]], ["x"], [PARENT, PARENT], ["\xff"]])
async def test_what_is_no_traceparent_is_none(client: httpx.AsyncClient, lines: list[str], headers: list[str]) -> None:
    sent = [(b"traceparent", header.encode("latin-1")) for header in headers]
    assert (await client.get("/images", headers=sent)).status_code == 200
    assert "trace_id" not in lines[0]


def test_nothing_is_loaded_that_is_not_asked_for() -> None:
    code = """
import asyncio, sys
from src.handlers.app import from_environment
app = from_environment()
asyncio.run(app.state.services.close())
print([name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "prometheus_client")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment_with(DATA_DIR="/proc/self/nothing", STORAGE="aws", USE_LOCALSTACK="1", METRICS="off"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[]\n", done.stderr


def test_without_its_packages_the_log_says_so(settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **kwargs: Any) -> Any:
        if name.endswith("otel"):
            raise ImportError(name)
        return real(name, *arguments, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert of_server(settings, ASKED).tracing is NO_TRACING
    assert "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http" in caplog.text


@pytest.mark.parametrize("variables", [{"OTEL_TRACES_EXPORTER": "otpl"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}])
def test_an_exporter_that_is_not_there(settings: Settings, variables: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="OTEL_TRACES_EXPORTER: got "):
        of_server(settings, ASKED | variables)


@pytest.mark.parametrize("variables", [{"OTEL_BSP_MAX_QUEUE_SIZE": "10"}, {"OTEL_BSP_SCHEDULE_DELAY": "-1"}])
def test_a_value_that_is_not_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in (ASKED | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=r"OTEL_\*: got .*(max_queue_size|schedule_delay)"):
        of_server(settings, ASKED | variables)
