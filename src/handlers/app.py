"""The ASGI application: routes, error handling, lifespan."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route

from ..bootstrap import Services, build_services
from ..common import logging
from ..common.config import Settings
from ..common.errors import ServiceError
from ..services.link_service import OBJECTS_PATH
from .admission import UNBOUNDED, Allowances
from .body_limits import BodyLimits
from .changes import delete_image, delete_images, update_image
from .checksums import find_checksums
from .content import get_content
from .context import HEADERS, RequestContext, on_http_exception, on_service_error
from .counts import get_usage, list_tags
from .docs import docs_asset, docs_page, openapi_json
from .gallery import gallery_file, gallery_page
from .health import healthz, limits, readyz
from .images import get_image, list_images, upload
from .metrics import get_metrics
from .object_forms import receive_form
from .objects import serve_object
from .routing import OnError, ShortWay
from .spans import RequestSpans
from .uploads import cancel_upload, complete_upload, declare_upload, get_upload

OPEN = "nobody is asked who they are, so whoever reaches the API may do everything (ALLOW_ANONYMOUS=1)"
OPEN_LOCALLY = "nobody is asked who they are, and requests to other host names than localhost are refused"

CORS_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Range",
    "X-Request-Id",
)
CORS_ANSWER_HEADERS = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Link",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)

ROUTES = (
    Route("/images", upload, methods=["POST"]),
    Route("/images", list_images, methods=["GET"]),
    Route("/images/delete", delete_images, methods=["POST"]),
    Route("/images/{image_id}", get_image, methods=["GET"]),
    Route("/images/{image_id}/content", get_content, methods=["GET"]),
    Route("/images/{image_id}", update_image, methods=["PATCH"]),
    Route("/images/{image_id}", delete_image, methods=["DELETE"]),
    Route("/uploads", declare_upload, methods=["POST"]),
    Route("/uploads/{image_id}", get_upload, methods=["GET"]),
    Route("/uploads/{image_id}", cancel_upload, methods=["DELETE"]),
    Route("/uploads/{image_id}/complete", complete_upload, methods=["POST"]),
    Route("/tags", list_tags, methods=["GET"]),
    Route("/usage", get_usage, methods=["GET"]),
    Route("/checksums", find_checksums, methods=["GET"]),
    Route("/healthz", healthz, methods=["GET"]),
    Route("/readyz", readyz, methods=["GET"]),
    Route("/limits", limits, methods=["GET"]),
    Route("/openapi.json", openapi_json, methods=["GET"]),
    Route("/docs", docs_page, methods=["GET"]),
    Route("/docs/{name}", docs_asset, methods=["GET"]),
    Route("/", gallery_page, methods=["GET"]),
    Route("/gallery/{version}/{name}", gallery_file, methods=["GET"]),
)

# In the aws home, links lead to S3, and forms too.
OBJECT_ROUTES = (
    Route(OBJECTS_PATH, receive_form, methods=["POST"]),
    Route(OBJECTS_PATH + "{key:path}", serve_object, methods=["GET"]),
)

# Of a server that counts; from Lambda they go to CloudWatch.
METRICS_ROUTES = (Route("/metrics", get_metrics, methods=["GET"]),)

EXCEPTION_HANDLERS: dict[Any, OnError] = {ServiceError: on_service_error, HTTPException: on_http_exception}


def create_app(
    services: Services, *, is_local: bool = False, behind_gateway: bool = False, carried_body: int | None = None
) -> Starlette:
    """Build the application over `services`, which it closes when it ends.

    If it `is_local`, it is for those on this machine alone. Behind a gateway, that is what bounds callers. Bodies over
    `carried_body` are refused.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        sweeps = asyncio.create_task(services.housekeeper.run()) if services.settings.storage == "local" else None
        yield {"metrics": services.telemetry.metrics}  # for the protocol, which refuses what never comes here
        if sweeps:
            sweeps.cancel()
        await services.close()

    telemetry = services.telemetry
    routes = [
        *ROUTES,
        *(OBJECT_ROUTES if services.settings.storage == "local" else ()),
        *(METRICS_ROUTES if telemetry.exposition else ()),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            *_cors(services.settings),
            Middleware(RequestContext, metrics=telemetry.metrics),
            *([Middleware(RequestSpans, tracing=telemetry.tracing)] if telemetry.tracing.is_on else []),
            Middleware(ShortWay, routes=routes, exception_handlers=EXCEPTION_HANDLERS),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.services = services
    app.state.is_local = is_local
    app.state.allowances = UNBOUNDED if behind_gateway else Allowances.of(services.settings)
    app.state.body_limits = BodyLimits.of(services.settings.max_image_size, carried=carried_body)
    return app


class _Cors(CORSMiddleware):
    """It answers preflight requests by itself: nothing within has put our headers to those."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        response.raw_headers += HEADERS
        return response


def _cors(settings: Settings) -> list[Middleware]:
    """Return what lets pages of other sites call the API. No browser adds a token by itself, so none can be misused."""
    if settings.cors_allow_origins is None:
        return []
    return [
        Middleware(
            _Cors,
            allow_origins=settings.cors_allow_origins,
            allow_methods=("GET", "HEAD", "POST", "PATCH", "DELETE"),
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_ANSWER_HEADERS,
            max_age=3_600,
        )
    ]


def from_environment() -> Starlette:
    """Build the application as the environment says: what a server process runs."""
    # Now, and not when the first picture comes.
    from ..imaging import inspect, render  # noqa: F401
    from .telemetry import of_server  # a server's alone

    settings = Settings.from_environment(os.environ)
    logging.configure(settings.log_level, in_server=True)
    app = create_app(build_services(settings, of_server(settings, os.environ)), is_local=settings.is_local)
    # All that is there by now stays: to look through it for garbage would take 10 ms, again and again.
    gc.collect()
    gc.freeze()
    return app
