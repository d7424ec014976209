"""The application behind API Gateway (REST and HTTP APIs), or a function URL. `STORAGE` is `aws` unless it is set."""

import asyncio
import logging as stdlib_logging
import os
import sys
from collections.abc import Callable
from typing import Any

from mangum import Mangum

from ..bootstrap import build_services
from ..common import logging
from ..common.config import Settings
from ..common.emf import EmfMetrics
from ..common.errors import ConfigurationError
from ..common.telemetry import SILENT, Telemetry
from .app import OPEN, create_app
from .stages import StagePrefix

# Lambda takes events of 6 MB, of which headers and context are some, and the body is in base64 (AWS, "Lambda quotas").
CARRIED_BODY = (6 * 1024 * 1024 - 64 * 1024) * 3 // 4  # bytes

TEXT_TYPES = ["text/", "application/json", "application/problem+json"]  # all others go out in base64


type Adapter = Callable[[dict[str, Any], Any], dict[str, Any]]


def build() -> Adapter:
    """Build all that answers events take, as the environment says."""
    logging.configure("INFO")
    try:
        # Lambda keeps credentials and region in the environment under the names that we read.
        settings = Settings.from_environment({"STORAGE": "aws", **os.environ})
        logging.configure(settings.log_level)
        _refuse_open_api(settings)
        metrics = EmfMetrics(_write) if settings.is_measured else None
        telemetry = Telemetry(metrics=metrics) if metrics else SILENT
        app = create_app(build_services(settings, telemetry), behind_gateway=True, carried_body=CARRIED_BODY)
    except Exception:
        stdlib_logging.getLogger(__name__).exception("the start failed")
        raise
    asyncio.set_event_loop(asyncio.new_event_loop())  # Mangum uses the thread's loop, and each invocation the same one
    scheme = "http" if _is_emulated(settings) else None
    adapter = Mangum(StagePrefix(app, scheme=scheme), lifespan="off", text_mime_types=TEXT_TYPES)
    return _flushing(adapter, metrics) if metrics else adapter


def _flushing(adapter: Adapter, metrics: EmfMetrics) -> Adapter:
    """Return the adapter with what an invocation counts written at its end: there may be no other one."""

    def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
        try:
            return adapter(event, context)
        finally:
            metrics.flush()

    return answer


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")  # where CloudWatch finds it
    sys.stdout.flush()  # there may be no next time


def _is_emulated(settings: Settings) -> bool:
    return bool(settings.use_localstack or settings.endpoint)


def _refuse_open_api(settings: Settings) -> None:
    if not settings.is_open or settings.use_localstack:
        return
    # An endpoint may be something else than an emulator, such as one of a private network.
    if settings.allow_anonymous != "1" and not _is_emulated(settings):
        raise ConfigurationError(
            "AUTH_SECRET, AUTH_JWKS_URL: got neither: nobody is asked who they are, so whoever reaches the API may do "
            "everything (ALLOW_ANONYMOUS=1 allows that)"
        )
    stdlib_logging.getLogger(__name__).warning(OPEN)
