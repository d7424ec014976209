"""`MAX_IMAGE_SIZE`: what is exactly as large is accepted in every body, and a byte more is refused."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.common.config import Settings
from tests.support.api import assert_nothing_stored, assert_problem, form, raw
from tests.support.pictures import noise

pytestmark = pytest.mark.anyio

# Large enough that what is allowed beside the picture does not hide a wrong sum.
PICTURE = noise(900, 800, "tiff", compression=None)
LIMIT = len(PICTURE)
TOO_LARGE = PICTURE + b"\0"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"DATA_DIR": str(tmp_path / "data"), "MAX_IMAGE_SIZE": str(LIMIT)})


def in_lines(data: bytes, width: int, newline: str) -> str:
    text = base64.b64encode(data).decode()
    return newline.join(text[i : i + width] for i in range(0, len(text), width))


def body(kind: str, data: bytes) -> dict[str, Any]:
    """Return a body with the picture and all other fields as long as they may be."""
    tags = [f"{i:02}{'€' * 62}" for i in range(20)]
    fields = {"description": "€" * 2_000, "tags": tags, "user_id": "u" * 128, "filename": "€" * 255}
    if kind == "raw":
        return raw(data)
    if kind == "multipart":
        return {"files": {"file": ("a.tiff", data)}, "data": fields}
    text = {
        "JSON": base64.b64encode(data).decode(),
        "JSON with a data URI": f"data:image/tiff;base64,{base64.b64encode(data).decode()}",
        # PEM's and MIME's ways to break lines; in JSON a line break takes two characters or four.
        "JSON in lines of 64": in_lines(data, 64, "\n"),
        "JSON in lines of 76": in_lines(data, 76, "\r\n"),
        "JSON in lines of 64 with two characters": in_lines(data, 64, "\r\n"),
    }[kind]
    return {"json": {"image_data": text, **fields}}


KINDS = [
    "raw",
    "multipart",
    "JSON",
    "JSON with a data URI",
    "JSON in lines of 64",
    "JSON in lines of 76",
    "JSON in lines of 64 with two characters",
]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_picture_of_the_greatest_size(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post("/images", **body(kind, PICTURE))
    assert answer.status_code == 201, answer.text
    assert answer.json()["size"] == LIMIT


@pytest.mark.parametrize("kind", KINDS)
async def test_a_byte_more(client: httpx.AsyncClient, settings: Settings, kind: str) -> None:
    assert_problem(await client.post("/images", **body(kind, TOO_LARGE)), 413, "payload_too_large")
    await assert_nothing_stored(client, settings)


@pytest.mark.parametrize("content_type", ["image/tiff", "application/json", "multipart/form-data; boundary=a-boundary"])
async def test_an_endless_body_without_a_length(
    client: httpx.AsyncClient, settings: Settings, content_type: str
) -> None:
    """It is refused once it is too long, not when it ends."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield (
            form(('form-data; name="file"; filename="a"', b""), end=b"")["content"].partition(b"\r\n\r\n")[0]
            + b"\r\n\r\n"
        )
        while True:
            sent += 65_536
            assert sent < 4 * LIMIT
            yield bytes(65_536)

    answer = await client.post("/images", content=endless(), headers={"Content-Type": content_type})
    assert_problem(answer, 413, "payload_too_large")
    assert sent < 2 * LIMIT
    await assert_nothing_stored(client, settings)


@pytest.mark.parametrize("content_type", ["image/tiff", "application/json", "multipart/form-data; boundary=a-boundary"])
async def test_a_length_that_is_too_large(client: httpx.AsyncClient, content_type: str) -> None:
    """It is refused by its header, before the body is read."""

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = {"Content-Type": content_type, "Content-Length": str(10 * LIMIT)}
    assert_problem(await client.post("/images", content=unread(), headers=headers), 413, "payload_too_large")


async def test_the_limits_are_what_is_said(client: httpx.AsyncClient) -> None:
    """`GET /limits` states the largest body that is read."""
    limits = (await client.get("/limits")).json()
    assert limits["max_image_size"] == LIMIT
    for content_type, most in (
        ("image/tiff", limits["max_body_size"]),
        ("application/json", limits["max_json_body_size"]),
    ):
        for length, status in ((most, {400, 413, 415}), (most + 1, {413})):
            answer = await client.post("/images", **raw(bytes(length), content_type))
            assert answer.status_code in status
            assert (f"more than {most} bytes" in answer.text) is (length > most)
