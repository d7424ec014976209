"""Small helpers that answers share."""

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..bootstrap import Services
from ..common.errors import InvalidRequest
from ..models.claim import Outcome
from ..models.image import Image
from ..models.page import encode_images
from .body_limits import BodyLimits

REVALIDATE = "private, no-cache"
# For what holds a link: a cache that revalidated it, and was told that the image is the same, would serve an old link.
NO_STORE = "private, no-store"

_WRITTEN = "!$'()*+,/:;=?@%"  # what a pair in a query may have as it is, besides what any text has

_KEY = re.compile(r"[!-~]{1,255}")

_encode = msgspec.json.Encoder(enc_hook=encode_images).encode


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def body_limits_of(request: Request) -> BodyLimits:
    limits: BodyLimits = request.app.state.body_limits
    return limits


def header_values(request: Request, name: bytes) -> list[str]:
    """Return the values of a header, whose name is in small letters: one for each of its lines.

    As Starlette's own do, in a fourth of the time, which several for each request add up to.
    """
    return [value.decode("latin-1") for each, value in request.scope["headers"] if each == name]


def header(request: Request, name: bytes) -> str | None:
    """Return the value of a header's first line."""
    return next(iter(header_values(request, name)), None)


def origin_of(request: Request) -> str:
    """Return our own URL as the client reached it, with the path prefix that we run under and without a final slash."""
    scope = request.scope
    prefix = scope.get("app_root_path", scope.get("root_path", ""))
    return _origin(scope["scheme"], header(request, b"host"), scope.get("server"), prefix)


@lru_cache(maxsize=64)  # there are few, and Starlette takes its time
def _origin(scheme: str, host: str | None, server: tuple[str, int | None] | None, prefix: str) -> str:
    headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    scope = {"type": "http", "scheme": scheme, "server": server, "headers": headers, "query_string": b""}
    return str(Request(scope | {"path": "/", "app_root_path": prefix}).base_url).rstrip("/")


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
    # As the client wrote them, since taking them apart and putting them together again costs more than the page's SQL.
    pairs = request.scope["query_string"].decode("latin-1").split("&")
    query = [quote(pair, safe=_WRITTEN) for pair in pairs if pair and unquote(pair.partition("=")[0]) != "last_key"]
    query.append(f"last_key={quote(_encode(last_key))}")
    return {"Link": f'<{prefix_of(request)}{path}?{"&".join(query)}>; rel="next"'}


def etag_of(image: Image) -> str:
    return f'"{image.image_id}.{image.version}"'


def image_response(request: Request, outcome: Outcome) -> Response:
    """Answer an upload: 201 with the new image, or 200 with one that there was already."""
    image = outcome.image
    request.state.image_id = image.image_id
    headers = {"Location": f"{prefix_of(request)}/images/{image.image_id}", "ETag": etag_of(image)}
    return json_response(image, status=201 if outcome.is_new else 200, headers=headers)


def idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key. Raises InvalidRequest if it can't be one."""
    keys = header_values(request, b"idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise InvalidRequest.field("Idempotency-Key", "wants 1 to 255 visible ASCII characters")
    return keys[0]


def matches_etag(request: Request, etag: str) -> bool:
    """Tell whether If-None-Match holds the tag (RFC 9110, 13.1.2: weak comparison, or `*`)."""
    tags = [tag.removeprefix("W/") for tag in _tags(request, b"if-none-match")]
    return "*" in tags or etag.removeprefix("W/") in tags


def is_wanted(request: Request, etag: str) -> bool:
    """Tell whether If-Match is absent or holds the tag (RFC 9110, 13.1.1: strong comparison, or `*`)."""
    if header(request, b"if-match") is None:
        return True
    tags = _tags(request, b"if-match")
    return "*" in tags or etag in tags


def _tags(request: Request, name: bytes) -> list[str]:
    """Return the members of a list, which may stand in several lines (RFC 9110, 5.3)."""
    return [tag.strip() for line in header_values(request, name) for tag in line.split(",")]
