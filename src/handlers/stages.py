"""The path prefix under which API Gateway serves us: a stage's name, or a custom domain's base path."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send


class StagePrefix:
    """Tells the application, as ASGI does it, which part of the path is the prefix (`root_path`)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix, path = split_path(scope["aws.event"])
        scope["root_path"] = prefix
        scope["path"] = prefix + path
        scope["raw_path"] = quote(scope["path"], safe="/-_.~").encode()
        await self._app(scope, receive, send)


def split_path(event: Mapping[str, Any]) -> tuple[str, str]:
    """Return the prefix and the path behind it.

    Source: AWS, "Input format of a Lambda function for proxy integration" (REST APIs: `path` is without the stage,
    `requestContext.path` is as the client sent it) and "payload format versions" (HTTP APIs: `rawPath` is with it).
    """
    context = event["requestContext"]
    if event.get("version") == "2.0":
        whole: str = event["rawPath"]
        stage = context.get("stage", "$default")
        prefix = f"/{stage}"
        if stage != "$default" and (whole == prefix or whole.startswith(f"{prefix}/")):
            return prefix, whole.removeprefix(prefix) or "/"
        return "", whole
    path: str = event["path"]
    whole = context.get("path") or path
    # Behind a custom domain both have its base path; the resource `/{proxy+}` says what is ours.
    proxy = (event.get("pathParameters") or {}).get("proxy")
    if proxy is not None and path.endswith(f"/{proxy}"):
        path = f"/{proxy}"
    if path == "/":
        return whole.rstrip("/"), path
    return (whole.removesuffix(path), path) if whole.endswith(path) else ("", path)
