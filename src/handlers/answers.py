"""Small helpers that answers share."""

from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..bootstrap import Services
from .body_limits import BodyLimits

REVALIDATE = "private, no-cache"
# For what holds a link: a cache that revalidated it, and was told that the image is the same, would serve an old link.
NO_STORE = "private, no-store"

_encode = msgspec.json.Encoder().encode


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def body_limits_of(request: Request) -> BodyLimits:
    limits: BodyLimits = request.app.state.body_limits
    return limits


def origin_of(request: Request) -> str:
    """Return our own URL as the client reached it, with the path prefix that we run under and without a final slash."""
    return str(request.base_url).rstrip("/")


def prefix_of(request: Request) -> str:
    """Return the path prefix that we run under, for links within the service."""
    prefix: str = request.scope.get("root_path", "")
    return prefix.rstrip("/")


def json_response(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        _encode(body),
        status_code=status,
        headers={"Cache-Control": REVALIDATE, **(headers or {})},
        media_type="application/json",
    )


def next_link(request: Request, path: str, last_key: msgspec.Struct | None) -> dict[str, str]:
    """Return the Link header (RFC 8288) to the page after the one that ended with `last_key`."""
    if last_key is None:
        return {}
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "last_key"]
    query.append(("last_key", _encode(last_key).decode()))
    return {"Link": f'<{prefix_of(request)}{path}?{urlencode(query)}>; rel="next"'}


def matches_etag(request: Request, etag: str) -> bool:
    """Tell whether If-None-Match holds the tag (RFC 9110, 13.1.2: weak comparison, or `*`)."""
    value = request.headers.get("if-none-match")
    if value is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in value.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags
