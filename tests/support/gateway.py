"""API Gateway and function URLs as an httpx transport: requests become events, answers are checked and taken apart.

Source: AWS, "Input and output format of Lambda functions for proxy integration" for REST APIs, and "Payload format
version 2.0" for HTTP APIs and function URLs.
"""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import httpx

type Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
type MakeEvent = Callable[[httpx.Request], dict[str, Any]]

STAGE = "dev"
EVENT_LIMIT = 6 * 1024 * 1024  # bytes: AWS, "Lambda quotas"


class GatewayTransport(httpx.BaseTransport):
    def __init__(self, handler: Handler, make_event: MakeEvent) -> None:
        self._handler = handler
        self._make_event = make_event

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        # Both ways are JSON on the wire: what can't be spelt in it can't pass.
        sent = json.dumps(self._make_event(request))
        assert len(sent) <= EVENT_LIMIT
        event = json.loads(sent)
        answer = json.loads(json.dumps(self._handler(event, None)))
        assert isinstance(answer["statusCode"], int)
        assert isinstance(answer["isBase64Encoded"], bool)
        body = answer.get("body") or ""
        content = base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()
        headers = [(name, value) for name, value in (answer.get("headers") or {}).items()]
        headers += [
            (name, value) for name, values in (answer.get("multiValueHeaders") or {}).items() for value in values
        ]
        return httpx.Response(answer["statusCode"], headers=headers, content=content)


def _body(request: httpx.Request, *, as_text: bool) -> dict[str, Any]:
    if not request.content:
        return {"body": None, "isBase64Encoded": False}
    if as_text:
        return {"body": request.content.decode(), "isBase64Encoded": False}
    return {"body": base64.b64encode(request.content).decode(), "isBase64Encoded": True}


def _is_json(request: httpx.Request) -> bool:
    return request.headers.get("content-type") == "application/json"


def rest_event(request: httpx.Request, *, text: bool = False) -> dict[str, Any]:
    """Return the event of a REST API, one for which all media types are binary unless JSON is to be `text`."""
    query = parse_qsl(request.url.query.decode(), keep_blank_values=True)
    multi: dict[str, list[str]] = {}
    for name, value in query:
        multi.setdefault(name, []).append(value)
    path = request.url.path.removeprefix(f"/{STAGE}") or "/"
    headers = {name.title(): value for name, value in request.headers.items()}
    return {
        "resource": "/" if path == "/" else "/{proxy+}",
        "path": path,
        "httpMethod": request.method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": dict(query) or None,
        "multiValueQueryStringParameters": multi or None,
        "pathParameters": None if path == "/" else {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": {
            "stage": STAGE,
            "path": request.url.path,
            "httpMethod": request.method,
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {"sourceIp": "203.0.113.7"},
        },
        **_body(request, as_text=text and _is_json(request)),
    }


def http_event(request: httpx.Request, *, stage: str = STAGE) -> dict[str, Any]:
    """Return an HTTP API's event; JSON comes as text, all else in base64."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.url.path,
        "rawQueryString": request.url.query.decode(),
        "headers": dict(request.headers),
        "requestContext": {
            "stage": stage,
            "http": {"method": request.method, "path": request.url.path, "sourceIp": "203.0.113.7"},
        },
        **_body(request, as_text=_is_json(request)),
    }


def function_url_event(request: httpx.Request) -> dict[str, Any]:
    return http_event(request, stage="$default")
