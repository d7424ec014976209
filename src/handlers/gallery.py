"""`/`: the gallery, a page that uses nothing but the API, and its files."""

import hashlib
from functools import cache
from pathlib import Path
from string import Template
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from ..common.errors import RouteNotFound
from .answers import prefix_of, services_of

_FILES = Path(__file__).parent.parent / "web" / "gallery"
_PAGE = "index.html"


async def gallery_page(request: Request) -> Response:
    """Serve the page; its links are relative to the path prefix that we run under."""
    prefix = prefix_of(request).strip("/")
    page = Template(_text_of_page()).substitute(
        base=f"/{quote(prefix)}/" if prefix else "./", files=f"gallery/{files_version()}"
    )
    policy = _policy(services_of(request).links.storage_origin)
    return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})


async def gallery_file(request: Request) -> Response:
    """Serve a file of the page. Its address changes with the files, so it may be kept for ever."""
    version, name = request.path_params["version"], request.path_params["name"]
    if version != files_version() or name not in _names():
        raise RouteNotFound(f"There is no {request.url.path}.")
    return FileResponse(_FILES / name, headers={"Cache-Control": "public, max-age=31536000, immutable"})


@cache
def files_version() -> str:
    """Return a digest of all files: no page ever mixes those of two releases."""
    digest = hashlib.sha256()
    for name in sorted(_names()):
        data = (_FILES / name).read_bytes()
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:16]


@cache
def _names() -> frozenset[str]:
    return frozenset(path.name for path in _FILES.iterdir() if path.name != _PAGE)


@cache
def _text_of_page() -> str:
    return (_FILES / _PAGE).read_text()


def _policy(storage: str | None) -> str:
    """Return the page's Content-Security-Policy: itself, and the storage that links and forms lead to."""
    origins = f"'self' {storage}" if storage else "'self'"
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {origins} data: blob:; "
        f"connect-src {origins}; base-uri 'self'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
