"""What the tests of the HTTP API share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from src.common.config import Settings
from tests.support.pictures import picture

BOUNDARY = "a-boundary"


def form(*parts: tuple[str, bytes], boundary: str = BOUNDARY, end: bytes = b"--\r\n") -> dict[str, Any]:
    """Return the body and header of a multipart form, of parts given as (Content-Disposition, content), to the byte."""
    line = f"--{boundary}".encode()
    body = b"".join(
        line + b"\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
        for disposition, content in parts
    )
    return {
        "content": body + line + end,
        "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    }


def raw(data: bytes, content_type: str = "image/jpeg") -> dict[str, Any]:
    return {"content": data, "headers": {"Content-Type": content_type}}


async def uploaded(client: httpx.AsyncClient, data: bytes | None = None, **fields: Any) -> dict[str, Any]:
    """Upload a picture with fields in the query and return the image."""
    answer = await client.post("/images", params=fields, **raw(picture() if data is None else data))
    assert answer.status_code == 201, answer.text
    image: dict[str, Any] = answer.json()
    return image


def assert_problem(answer: httpx.Response, status: int, code: str, *fields: str) -> Mapping[str, Any]:
    """Check that the answer is a whole problem (RFC 9457) that names exactly these fields, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"urn:image-service:problem:{code}"
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert sorted(error["field"] for error in problem.get("errors", [])) == sorted(fields), problem
    assert all(error["message"] for error in problem.get("errors", []))
    assert set(problem) <= {"type", "title", "status", "detail", "code", "request_id", "errors"}
    return problem


def stored_files(settings: Settings) -> list[Path]:
    """Return the files below the directory of objects, temporary ones too."""
    return [path for path in (settings.data_dir / "objects").rglob("*") if path.is_file()]


async def assert_nothing_stored(client: httpx.AsyncClient, settings: Settings) -> None:
    assert (await client.get("/images")).json() == {"images": [], "count": 0, "last_key": None}
    assert stored_files(settings) == []
