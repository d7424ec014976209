"""Pages of other web sites, which an open service on somebody's own machine is within the reach of.

Browsers let a page send what an HTML form could without asking us; and a page whose host name is made to point at
127.0.0.1 is to the browser one of ours. Where tokens are asked for, such pages have none.
"""

from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request

from ..common.errors import OriginRefused
from .answers import header, services_of


def refuse_foreign_page(request: Request) -> None:
    """Raise OriginRefused if a page of another site sends this."""
    settings = services_of(request).settings
    host = header(request, b"host") or ""
    if request.app.state.is_local and not (_is_local(host) or host == _host_of(settings.public_endpoint or "")):
        raise OriginRefused(
            f"An open service answers to localhost, not to {host[:100]!r}: use tokens, or ALLOW_ANONYMOUS=1."
        )
    origin = header(request, b"origin")
    if origin is None or request.method in ("GET", "HEAD"):
        return
    allowed = settings.cors_allow_origins or ()
    if not (_host_of(origin) == host or origin in allowed or "*" in allowed):
        raise OriginRefused(f"CORS_ALLOW_ORIGINS does not name the origin {origin[:100]}.")


@lru_cache(maxsize=64)  # there are few, and this is done for every request
def _is_local(host: str) -> bool:
    with suppress(ValueError):
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost" or name.endswith(".localhost"):
            return True
        return ip_address(name).is_loopback
    return False


@lru_cache(maxsize=64)
def _host_of(url: str) -> str | None:
    with suppress(ValueError):
        return urlsplit(url).netloc
    return None
