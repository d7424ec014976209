"""The telemetry of a server process: metrics for Prometheus, and spans where OpenTelemetry's variables ask for them."""

import logging
import multiprocessing
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from .. import VERSION
from ..common.config import Settings
from ..common.errors import ConfigurationError
from ..common.telemetry import SILENT, Telemetry
from ..common.tracing import NO_TRACING, Tracing

log = logging.getLogger(__name__)

# Where the processes of a server share what they count, if there are several. The parent makes it.
METRICS_DIRECTORY = "IMAGE_SERVICE_METRICS_DIRECTORY"
_ASKING = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NOT_INSTALLED = (
    "spans are asked for, and not recorded: pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
)


def of_server(settings: Settings, environment: Mapping[str, str]) -> Telemetry:
    """Raise ConfigurationError if spans are asked for that can't be handed over."""
    tracing = tracing_of(environment)
    if not settings.is_measured:
        return Telemetry(tracing=tracing) if tracing.is_on else SILENT
    # Here, since a Lambda function does without it.
    from ..common.prometheus import PrometheusMetrics
    from ..common.snapshots import SharedCounts

    shared = None
    if directory := environment.get(METRICS_DIRECTORY):
        name = multiprocessing.current_process().name
        shared = SharedCounts(Path(directory), name=name, pid=os.getpid())
    metrics = PrometheusMetrics(build=(VERSION, platform.python_version(), settings.storage), shared=shared)
    return Telemetry(metrics=metrics, tracing=tracing, exposition=metrics)


def tracing_of(environment: Mapping[str, str]) -> Tracing:
    """Raise ConfigurationError if spans are asked for that can't be handed over."""
    if not _is_asked_for(environment):
        return NO_TRACING
    try:
        from ..common.otel import OtelTracing  # which reads some of the variables when it is loaded

        return OtelTracing(environment, version=VERSION)
    except ImportError:
        log.warning(_NOT_INSTALLED)
        return NO_TRACING
    except ValueError as error:
        raise ConfigurationError(f"OTEL_*: got something else than OpenTelemetry wants ({error})") from error


def _is_asked_for(environment: Mapping[str, str]) -> bool:
    """Tell it as OpenTelemetry's "Environment Variable Specification" does, where an empty variable is not set."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    return exporter != "none" and any(environment.get(name) for name in _ASKING)
