"""Make the API reference, docs/api.md, from the OpenAPI document; the examples are run against a server.

    .venv/bin/python -m scripts.reference

Run it again when a route, a parameter or a field has changed. An operation that has no example in
`reference_examples.py`, and that can be called as it is, gets that as its example.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from scripts.reference_examples import transcripts
from scripts.reference_tables import Schemas, cell
from src.bootstrap import build_services
from src.common.config import Settings
from src.handlers.app import create_app
from src.handlers.openapi import document
from tests.support.server import ROOT

PAGE = ROOT / "docs" / "api.md"
SECRET = "x" * 32  # so that the document has scopes in it; nobody is let in by it
# Whoever is refused by one of these is told so once for all operations.
ANYWHERE = {
    "400": "The request is malformed: a parameter that there is none of, a value out of bounds, a body that is no JSON",
    "401": "A token is asked for, and there is none or it is not accepted",
    "403": "The token does not allow it; the quota is used up; a link is not good, or not any more",
    "408": "The body came too slowly",
    "429": "Too many requests, or uploads at once; `Retry-After` says when to try again",
    "431": "Request line and headers are too large",
    "502": "A store refused the operation",
    "503": "A store does not answer, or there is more to do than can be done soon; with `Retry-After` too",
}
# And these are named at each operation.
NAMED = {
    "404": "There is no such image or upload, or it is somebody else's",
    "409": "Not now: nothing has been uploaded yet, it is completed already, or the same request is at work",
    "412": "The image is not the one that `If-Match` names",
    "413": "The body is too large",
    "415": "The body, or the picture in it, is of no format that is accepted",
    "422": "The picture is not acceptable, or not what was said of it; the `Idempotency-Key` is another request's",
}
HEAD = (
    "# API reference\n\n"
    "Made from the service's OpenAPI document by `scripts/reference.py`; a test compares them. What is not in the "
    "document, such as how pages, tags and repeated requests work, is in the [README](../README.md#api). Every service "
    "has the document at `GET /openapi.json`, and a page to try it out at `GET /docs`.\n\n"
    "JSON in and out, times in RFC 3339 (UTC); every answer has an `X-Request-Id`. In the examples `cat.jpg` is a "
    "picture, `$id` the id of the image or upload that was made last, and the service asks nobody for a token. Where "
    'it does, add `-H "Authorization: Bearer $token"`.\n'
)


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    """Return the reference as Markdown."""
    description = _document()
    operations = list(_operations(description))
    examples = transcripts(operations)
    schemas = Schemas(description["components"]["schemas"])
    parts = [HEAD, _contents(operations), _refusals()]
    tag = None
    for operation in operations:
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            parts.append(f"## {tag.capitalize()}\n")
        parts += _operation(operation, schemas, examples.get(operation["operationId"], ""))
    parts += ["## Schemas\n", *schemas.tables()]
    return "\n".join(parts)


def _document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        services = build_services(Settings.from_environment({"DATA_DIR": scratch, "AUTH_SECRET": SECRET}))
        return document(create_app(services))


def _operations(description: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the operations by tag; within one, those that take something away come last."""
    found = [
        operation | {"method": method.upper(), "path": path}
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    tags = [tag["name"] for tag in description["tags"]]
    yield from sorted(found, key=lambda each: (tags.index(each["tags"][0]), _takes_away(each)))


def _takes_away(operation: dict[str, Any]) -> int:
    return 1 if operation["method"] == "DELETE" else 2 * operation["path"].endswith("/delete")


def _contents(operations: list[dict[str, Any]]) -> str:
    lines = ["| | | scope |", "| --- | --- | --- |"]
    for each in operations:
        name = f"{each['method']} {each['path']}"
        lines.append(f"| [`{name}`](#{anchor(name)}) | {cell(each['summary'])} | {_scope(each) or 'none'} |")
    return "\n".join(lines) + "\n"


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _scope(operation: dict[str, Any]) -> str:
    ways = [f"`{scope}`" for way in operation.get("security", ()) for scopes in way.values() for scope in scopes]
    if {} in operation.get("security", ()):
        ways.append("a signed link")
    return " or ".join(ways)


def _refusals() -> str:
    lines = [
        "## Refusals\n",
        "All are a [`Problem`](#problem), whose `code` tells more (the [README](../README.md#errors) lists them). What "
        f"an operation says of itself leaves out {', '.join(ANYWHERE)}, which may come from any.\n",
        "| status | |",
        "| --- | --- |",
        *(f"| {status} | {text} |" for status, text in sorted((ANYWHERE | NAMED).items())),
    ]
    return "\n".join(lines) + "\n"


def _operation(operation: dict[str, Any], schemas: Schemas, example: str) -> Iterator[str]:
    yield f"### {operation['method']} {operation['path']}\n"
    yield f"{operation['summary']} {operation.get('description', '')}".rstrip() + "\n"
    if scope := _scope(operation):
        yield f"Scope: {scope}.\n"
    if parameters := operation.get("parameters"):
        yield schemas.parameters(parameters)
    for media_type, body in _bodies(operation).items():
        yield f"Body, {media_type}:{schemas.body(body, parameters or ())}"
    yield _answers(operation, schemas)
    if example:
        yield f"```console\n{example}```\n"


def _bodies(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas of the bodies by their media types; those that are the same, together."""
    found: dict[str, tuple[list[str], Any]] = {}
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content.get("schema", {})
        found.setdefault(json.dumps(schema), ([], schema))[0].append(f"`{media_type}`")
    return {" or ".join(media_types): schema for media_types, schema in found.values()}


def _answers(operation: dict[str, Any], schemas: Schemas) -> str:
    lines = []
    for status, answer in sorted(operation["responses"].items()):
        if status >= "400":
            continue
        bodies = [schemas.kind(content["schema"]) for content in answer.get("content", {}).values()]
        headers = [f"`{name}`" for name in answer.get("headers", {}) if name != "X-Request-Id"]
        says = answer["description"] if answer["description"] != HTTPStatus(int(status)).phrase else ""
        parts = [says, " or ".join(bodies), f"with {', '.join(headers)}" if headers else ""]
        lines.append(f"- **{status}** " + ("; ".join(part for part in parts if part) or HTTPStatus(int(status)).phrase))
    if refusals := sorted(status for status in operation["responses"] if status >= "400" and status not in ANYWHERE):
        lines.append(f"- Refused with {', '.join(refusals)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
