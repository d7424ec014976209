"""The telemetry of a server process: metrics for Prometheus, and spans where OpenTelemetry's variables ask for them."""

import logging
import platform
from collections.abc import Mapping
from pathlib import Path

from .. import VERSION
from ..common.config import Settings
from ..common.telemetry import SILENT, Telemetry
from ..common.tracing import NO_TRACING, Tracing

log = logging.getLogger(__name__)

# prometheus_client's own: where the files of all processes are. The parent makes it.
METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_ASKING = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NOT_INSTALLED = (
    "spans are asked for, and not recorded: pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
)


def of_server(settings: Settings, environment: Mapping[str, str]) -> Telemetry:
    """Raise ConfigurationError if spans are asked for that can't be handed over."""
    tracing = _tracing(environment)
    directory = environment.get(METRICS_DIRECTORY)
    if not settings.is_measured or not directory:
        return Telemetry(tracing=tracing) if tracing.is_on else SILENT
    # Here, since a Lambda function does without it.
    from ..common.prometheus import PrometheusMetrics

    build = (VERSION, platform.python_version(), settings.storage)
    metrics = PrometheusMetrics(Path(directory), build=build)
    return Telemetry(metrics=metrics, tracing=tracing, exposition=metrics)


def _tracing(environment: Mapping[str, str]) -> Tracing:
    if not _is_asked_for(environment):
        return NO_TRACING
    try:
        from ..common.otel import OtelTracing
    except ImportError:
        log.warning(_NOT_INSTALLED)
        return NO_TRACING
    return OtelTracing(environment, version=VERSION)


def _is_asked_for(environment: Mapping[str, str]) -> bool:
    """Tell it as OpenTelemetry's "Environment Variable Specification" does, where an empty variable is not set."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    return exporter != "none" and any(environment.get(name) for name in _ASKING)
