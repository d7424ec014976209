"""The OpenAPI 3.1 document, from the routes and their schemas, and the page that shows it."""

import copy
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from spectree import SpecTree
from spectree.model_adapter import get_msgspec_model_adapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from swagger_ui_bundle import swagger_ui_path

from .. import VERSION
from ..common.errors import RouteNotFound
from ..models.image import FORMATS
from .admission import guard_of
from .answers import json_response, prefix_of
from .schemas import Problem

IMAGE_ID = {"image_id": "The id that the upload answered with."}
MERGE_PATCH = "application/merge-patch+json"
STORE_PROBLEMS = {"HTTP_502": Problem, "HTTP_503": Problem}
# Of what takes a body, or an Idempotency-Key.
POST_PROBLEMS = {f"HTTP_{status}": Problem for status in (400, 409, 413, 415, 422)} | STORE_PROBLEMS

# Validation is ours (`parameters.py`), since it names every field at fault; spectree describes.
spec = SpecTree(
    "starlette",
    title="Image Service",
    version=VERSION,
    description="Upload pictures with metadata, list and filter them, hand out links to view or download them.",
    mode="strict",
    annotations=False,
    model_adapter=get_msgspec_model_adapter(),
    validation_error_status=400,
    validation_error_model=Problem,
    naming_strategy=lambda model: getattr(model, "__name__", "Values"),
    nested_naming_strategy=lambda _parent, child: child,
)

_WEB = Path(__file__).parent.parent / "web"
_ASSETS = {
    "swagger-ui-bundle.js": Path(swagger_ui_path) / "swagger-ui-bundle.js",
    "swagger-ui.css": Path(swagger_ui_path) / "swagger-ui.css",
    "docs.js": _WEB / "docs.js",
}
# Swagger UI sets styles in the page, and its icons are data URIs.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def openapi_json(request: Request) -> Response:
    # Under a path prefix (a stage, a proxy) the paths begin there.
    servers = [{"url": prefix_of(request) or "/"}]
    return json_response({**document(request.app), "servers": servers}, headers={"Cache-Control": "no-cache"})


async def docs_page(request: Request) -> Response:
    return FileResponse(_WEB / "docs.html", headers={"Content-Security-Policy": _DOCS_POLICY})


async def docs_asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise RouteNotFound(f"There is no {request.url.path}.")
    return FileResponse(_ASSETS[name], headers={"Cache-Control": "max-age=86400"})


@cache
def document(app: Starlette) -> dict[str, Any]:
    """Return the OpenAPI document of the app's routes."""
    spec.app = app
    # spectree makes it once, and takes its own parts apart in doing so.
    return _guarded(_finished(copy.deepcopy(spec.spec)), app)


def _guarded(document: dict[str, Any], app: Starlette) -> dict[str, Any]:
    """Add which scope an operation takes, and what those get who don't have it."""
    is_open = app.state.services.authentication.is_open
    problem = document["paths"]["/images"]["get"]["responses"]["400"]
    if not is_open:
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        }
    for route in app.routes:
        scope, takes_links = guard_of(getattr(route, "endpoint", None))
        if scope is None or not isinstance(route, Route):
            continue
        for method in (route.methods or set()) - {"HEAD"}:
            operation = document["paths"][route.path][method.lower()]
            described = ("403", "429") if is_open else ("401", "403", "429")
            operation["responses"] |= {
                status: {**problem, "description": HTTPStatus(int(status)).phrase} for status in described
            }
            if not is_open:
                operation["security"] = [{"token": [scope]}, *([{}] if takes_links else [])]
    return document


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    """Add what spectree can't say: problem+json, a picture as the body itself, and merge patches.

    And take away what is not so: a parameter is given or not, and never null.
    """
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
            for status, answer in operation["responses"].items():
                if status >= "400" and "content" in answer:
                    answer["content"] = {"application/problem+json": answer["content"]["application/json"]}
    body = document["paths"]["/images"]["post"]["requestBody"]["content"]
    body.update({format_.content_type: {"schema": {}} for format_ in FORMATS})
    patch = document["paths"]["/images/{image_id}"]["patch"]["requestBody"]["content"]
    patch[MERGE_PATCH] = patch["application/json"]
    return document


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    kept = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**kept, **options[0]}
