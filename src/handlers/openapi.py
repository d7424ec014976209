"""The OpenAPI 3.1 document, from the routes, what their operations say of themselves, and the schemas."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from spectree import Response, SpecTree
from spectree.model_adapter import get_msgspec_model_adapter
from starlette.applications import Starlette
from starlette.routing import Route

from .. import VERSION
from ..models.image import FORMATS
from ..models.wire import Problem
from .admission import guard_of
from .descriptions import MERGE_PATCH, description_of

# Headers of answers, and whether they are always there.
_HEADERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "X-Request-Id": (
        "The request's own, or a new one; also in the log.",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    ),
    "ETag": ("The image as it is now, for `If-Match` and `If-None-Match`.", {"type": "string", "pattern": '^".+"$'}),
    "Location": ("Where it is.", {"type": "string", "format": "uri-reference"}),
    "Link": ('The next page, as `rel="next"` (RFC 8288).', {"type": "string"}),
    "Retry-After": ("Seconds after which to try again.", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("What is wrong with the token, or missing (RFC 6750).", {"type": "string"}),
}
_OF_NEW_IMAGES = {status: {"ETag": True, "Location": True} for status in ("200", "201")}
_BYTES: Mapping[str, str] = {"type": "string", "format": "binary"}
# By operation and status.
_ANSWER_HEADERS: Mapping[str, Mapping[str, Mapping[str, bool]]] = {
    "upload_image": _OF_NEW_IMAGES,
    "complete_upload": _OF_NEW_IMAGES,
    "list_images": {"200": {"Link": False}},
    "list_tags": {"200": {"Link": False}},
    "get_image": {"200": {"ETag": True}, "304": {"ETag": True}},
    "update_image": {"200": {"ETag": True}},
    "get_content": {"302": {"Location": True}},
    "declare_upload": {"201": {"Location": True}},
}


def document(app: Starlette) -> dict[str, Any]:
    """Return the OpenAPI document of the app's routes. Takes a fiftieth of a second."""
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
    spec.app = Starlette(routes=list(_described(spec, app)))
    # spectree makes it once, and takes its own parts apart in doing so.
    return _guarded(_finished(copy.deepcopy(spec.spec)), app)


def _described(spec: SpecTree, app: Starlette) -> Iterator[Route]:
    """Yield the routes that say what they are, in the way that spectree wants to be told."""
    for route in app.routes:
        if not isinstance(route, Route) or (what := description_of(route.endpoint)) is None:
            continue
        decorate = spec.validate(
            query=what.query,
            headers=what.headers,
            form=what.form,
            json=what.json,
            resp=Response(**{f"HTTP_{status}": answer for status, answer in what.answers.items()}),
            tags=what.tags,
            path_parameter_descriptions=what.path_parameters or None,
            operation_id=what.operation_id,
            skip_validation=True,
        )
        yield Route(route.path, decorate(route.endpoint), methods=route.methods)


def _guarded(document: dict[str, Any], app: Starlette) -> dict[str, Any]:
    """Add which scope an operation takes, what those get who don't have it, and the headers of all answers."""
    is_open = app.state.services.authentication.is_open
    if not is_open:
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        }
    for route in app.routes:
        scope, takes_links = guard_of(getattr(route, "endpoint", None))
        if scope is None or not isinstance(route, Route) or description_of(route.endpoint) is None:
            continue
        for method in (route.methods or set()) - {"HEAD"}:
            operation = document["paths"][route.path][method.lower()]
            _may_answer(document, operation, *((403, 429) if is_open else (401, 403, 429)))
            if not is_open:
                operation["security"] = [{"token": [scope]}, *([{}] if takes_links else [])]
    for operation in _operations(document):
        for status, answer in operation["responses"].items():
            answer["headers"] = {
                name: _header(name, is_required=is_required)
                for name, is_required in _headers_of(operation, status, is_open=is_open).items()
            }
    return document


def _headers_of(operation: dict[str, Any], status: str, *, is_open: bool) -> dict[str, bool]:
    """Return the headers of an answer, and whether they are always there. Those of problems are in `problems.py`."""
    own = dict(_ANSWER_HEADERS.get(operation["operationId"], {}).get(status, {}))
    if status in ("429", "503"):
        own["Retry-After"] = True
    elif status == "409" and any(parameter["in"] == "header" for parameter in operation.get("parameters", ())):
        own["Retry-After"] = False  # the first request with the Idempotency-Key is at work
    elif status in ("401", "403") and not is_open:
        own["WWW-Authenticate"] = status == "401"  # there are other reasons for 403 than a token
    return {"X-Request-Id": True} | own


def _header(name: str, *, is_required: bool) -> dict[str, Any]:
    description, schema = _HEADERS[name]
    return {"description": description, "required": is_required, "schema": schema}


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in document["paths"].values():
        yield from operations.values()


def _may_answer(document: dict[str, Any], operation: dict[str, Any], *statuses: int) -> None:
    """Add problems to what an operation may answer."""
    problem = document["paths"]["/images"]["get"]["responses"]["400"]
    for status in statuses:
        operation["responses"][str(status)] = {**problem, "description": HTTPStatus(status).phrase}


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    """Add what spectree can't say: problem+json, a picture as the body itself, merge patches, and what HTTP may bring.

    And take away what is not so: a parameter is given or not, and never null.
    """
    for operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _without_null(parameter["schema"])
        for status, answer in operation["responses"].items():
            if status >= "400" and "content" in answer:
                answer["content"] = {"application/problem+json": answer["content"]["application/json"]}
    for operation in _operations(document):
        # A body that comes too slowly, and headers that are too large.
        _may_answer(document, operation, *([408] if "requestBody" in operation else []), 431)
    upload = document["paths"]["/images"]["post"]
    upload["requestBody"]["content"] |= {format_.content_type: {"schema": _BYTES} for format_ in FORMATS}
    for parameter in upload["parameters"]:
        # A client made from the document would send it, and the body may say something else.
        parameter["schema"].pop("default", None)
    patch = document["paths"]["/images/{image_id}"]["patch"]["requestBody"]["content"]
    patch[MERGE_PATCH] = patch["application/json"]
    _say_what_json_may_hold(document["components"]["schemas"])
    return _without_strays(document)


def _without_strays(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out the schemas that nothing refers to: those of whole queries, which are there parameter by parameter."""
    schemas = document["components"]["schemas"]
    kept: dict[str, Any] = {}
    wanted = _referred_to(document["paths"])
    while wanted:
        kept |= {name: schemas[name] for name in wanted}
        wanted = _referred_to(kept) - kept.keys()
    document["components"]["schemas"] = {name: schemas[name] for name in schemas if name in kept}
    return document


def _referred_to(part: dict[str, Any]) -> set[str]:
    return set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(part)))


def _say_what_json_may_hold(schemas: dict[str, Any]) -> None:
    """In a JSON object null stands for what is not given, and tags may be one text; a form has no word for null."""
    form = schemas["MultipartUpload"]["properties"]
    form.update({name: _without_null(schema) for name, schema in form.items()})
    for name in ("JsonUpload", "NewUploadFields"):
        members = schemas[name]["properties"]
        for member in members.keys() - set(schemas[name]["required"]):
            members[member] = _or(members[member], {"type": "null"})
    for name in ("JsonUpload", "NewUploadFields", "PatchFields"):
        members = schemas[name]["properties"]
        members["tags"] = _or(members["tags"], {"type": "string"})


def _or(schema: dict[str, Any], option: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with one more thing that it may be."""
    about = {name: schema[name] for name in ("description", "default") if name in schema}
    options = schema.get("anyOf") or [{name: value for name, value in schema.items() if name not in about}]
    return about | {"anyOf": options if option in options else [*options, option]}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    kept = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**kept, **options[0]}
