"""`/metrics`: what the server counts, for Prometheus."""

from starlette.requests import Request
from starlette.responses import Response

from ..common.errors import RouteNotFound
from ..models.caller import METRICS, Caller
from .admission import needs
from .answers import header, services_of


@needs(METRICS)
async def get_metrics(request: Request, caller: Caller) -> Response:
    """Tell what all processes of the server have counted, in the format of Prometheus or of OpenMetrics."""
    exposition = services_of(request).telemetry.exposition
    if exposition is None:
        raise RouteNotFound(f"There is no {request.url.path}.")
    body, media_type = await exposition.exposition(header(request, b"accept") or "")
    return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})
