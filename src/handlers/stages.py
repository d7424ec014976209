"""The path prefix under which API Gateway serves us: a stage's name, or a custom domain's base path."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

MARGIN = 2  # seconds of the function's time that are kept for the answer


class StagePrefix:
    """Tells the application, as ASGI does it, which part of the path is the prefix (`root_path`).

    It also ends every request within the function's time: one that is cut off is answered with 503.
    """

    def __init__(self, app: ASGIApp, *, scheme: str | None = None) -> None:
        """`scheme` is what clients speak where the event does not say so, as those of emulators may not."""
        self._app = app
        self._scheme = scheme

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix, path = split_path(scope["aws.event"])
        scope["root_path"] = prefix
        scope["path"] = prefix + path
        scope["raw_path"] = quote(scope["path"], safe="/-_.~").encode()
        if self._scheme and not any(name == b"x-forwarded-proto" for name, _ in scope["headers"]):
            scope["scheme"] = self._scheme
        context = scope["aws.context"]
        left = context.get_remaining_time_in_millis() / 1000 - MARGIN if context else None
        async with asyncio.timeout(left):
            await self._app(scope, receive, send)


def split_path(event: Mapping[str, Any]) -> tuple[str, str]:
    """Return the prefix and the path behind it.

    Source: AWS, "Input format of a Lambda function for proxy integration" (REST APIs: `path` is without the stage,
    `requestContext.path` is as the client sent it) and "payload format versions" (HTTP APIs: `rawPath` is with it).
    """
    context = event["requestContext"]
    proxy = (event.get("pathParameters") or {}).get("proxy")
    if event.get("version") == "2.0":
        whole = unquote(event["rawPath"])
        stage = context.get("stage", "$default")
        if stage != "$default" and (whole == f"/{stage}" or whole.startswith(f"/{stage}/")):
            return f"/{stage}", whole.removeprefix(f"/{stage}") or "/"
        return _before(whole, proxy) or ("", whole)
    path = unquote(event["path"])
    whole = unquote(context.get("path") or path)
    if event.get("resource") == "/":
        return whole.rstrip("/"), "/"
    # Behind a custom domain both paths have its base path; the resource `/{proxy+}` says what is ours.
    if found := _before(whole, proxy):
        return found
    return (whole.removesuffix(path), path) if whole.endswith(path) else ("", path)


def _before(whole: str, proxy: str | None) -> tuple[str, str] | None:
    """Split a path before what `/{proxy+}` stands for, if it ends in that."""
    ours = f"/{unquote(proxy or '').strip('/')}"
    if proxy is None or not whole.rstrip("/").endswith(ours):
        return None
    prefix = whole.rstrip("/").removesuffix(ours)
    return prefix, whole.removeprefix(prefix)
