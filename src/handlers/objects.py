"""`/objects/...`: the bytes behind a signed link, as S3 would serve them."""

import re
from collections.abc import AsyncIterator, Mapping
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..common.errors import RangeNotSatisfiable
from ..models.image import CONTENT_TYPE_OF, EXTENSION_OF, image_id_of
from ..repositories.ports import ObjectInfo
from .answers import header, matches_etag, services_of

# The headers that a signed link may set (S3, GetObject: "Overriding response header values through the request").
_OVERRIDES = {
    "response-cache-control": "Cache-Control",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
    "response-content-language": "Content-Language",
    "response-content-type": "Content-Type",
    "response-expires": "Expires",
}
# A cache may put them in place of those that it has.
_NOT_MODIFIED = ("ETag", "Cache-Control", "Content-Security-Policy")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)
AT_ONCE = 256 * 1024  # bytes that are sent as one, which costs less than streaming them


async def serve_object(request: Request) -> Response:
    """Serve an object, or a range of it, to whoever has a link with a valid signature."""
    services = services_of(request)
    parameters, life = services.links.verify(
        request.method,
        path=request.scope["raw_path"].decode("latin-1").partition("?")[0],
        query=request.scope["query_string"].decode("latin-1"),
        host=header(request, b"host") or "",
    )
    request.state.image_id = image_id_of(request.path_params["key"])
    info = await services.objects.head(request.path_params["key"])
    headers = _headers(info, parameters, life)
    if matches_etag(request, info.etag):
        return Response(status_code=304, headers={name: headers[name] for name in _NOT_MODIFIED})
    start, end, status = 0, info.size, 200
    if (wanted := _wanted_range(request, info)) is not None:
        (start, end), status = wanted, 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{info.size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    chunks = services.objects.read(info.key, start, end)
    if end - start <= AT_ONCE:
        return Response(b"".join([chunk async for chunk in chunks]), status_code=status, headers=headers)
    # It may have been deleted since its head was read, which can be answered until the first byte is sent.
    first = await anext(chunks)
    return StreamingResponse(_again(first, chunks), status_code=status, headers=headers)


async def _again(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _headers(info: ObjectInfo, parameters: Mapping[str, str], life: int) -> dict[str, str]:
    headers = {
        "Content-Type": CONTENT_TYPE_OF.get(info.key.rpartition(".")[2], "application/octet-stream"),
        "ETag": info.etag,
        "Last-Modified": format_datetime(info.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        # Whatever the bytes are, they never act as a page of ours. (The style is of the page that browsers show with.)
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        # Private, since the link is a secret, and no longer than it works; immutable, since a key's bytes never change.
        "Cache-Control": f"private, max-age={life}, immutable",
    }
    headers.update({_OVERRIDES[name]: value for name, value in parameters.items() if name in _OVERRIDES})
    if headers["Content-Type"] not in EXTENSION_OF:  # what a browser might take for a page is saved, not shown
        headers["Content-Disposition"] = "attachment"
    return headers


def _wanted_range(request: Request, info: ObjectInfo) -> tuple[int, int] | None:
    """Return the one range that is asked for as (start, end), end exclusive; None to serve the whole (RFC 9110, 14.2).

    Several ranges at once, other units and what can't be read are ignored, as S3 does. Raises RangeNotSatisfiable.
    """
    match = _RANGE.fullmatch(header(request, b"range") or "")
    if match is None or header(request, b"if-range") not in (None, info.etag):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, end = max(0, info.size - int(last)), info.size
    else:
        if last and int(last) < int(first):
            return None
        start, end = int(first), min(int(last) + 1 if last else info.size, info.size)
    if start >= end:
        raise RangeNotSatisfiable(info.size)
    return start, end
