"""`/openapi.json` and `/docs`: the API's own documentation."""

from functools import cache
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ..common.errors import RouteNotFound
from .answers import json_response, prefix_of

_WEB = Path(__file__).parent.parent / "web"
_SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")
# Swagger UI sets styles in the page, and its icons are data URIs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def openapi_json(request: Request) -> Response:
    # Under a path prefix (a stage, a proxy) the paths begin there.
    servers = [{"url": prefix_of(request) or "/"}]
    return json_response({**_document(request.app), "servers": servers}, headers={"Cache-Control": "no-cache"})


async def docs_page(request: Request) -> Response:
    return FileResponse(_WEB / "docs.html", headers={"Content-Security-Policy": _POLICY})


async def docs_asset(request: Request) -> Response:
    path = _assets().get(request.path_params["name"])
    if path is None:
        raise RouteNotFound(f"There is no {request.url.path}.")
    return FileResponse(path, headers={"Cache-Control": "max-age=86400"})


@cache
def _document(app: Starlette) -> dict[str, Any]:
    # Here, since what makes it takes as long to import as half of the service.
    from .openapi import document

    return document(app)


@cache
def _assets() -> dict[str, Path]:
    from swagger_ui_bundle import swagger_ui_path

    return {name: Path(swagger_ui_path) / name for name in _SWAGGER_UI} | {"docs.js": _WEB / "docs.js"}
