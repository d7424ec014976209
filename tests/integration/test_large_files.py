"""Files that don't stay in memory, and are read by Python and by libvips by turns."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from src.bootstrap import build_services
from src.common.config import Settings
from src.common.payload import SPOOL_LIMIT, Payload, spool
from src.services.inspection import InspectionService
from tests.support.api import raw
from tests.support.pictures import ENCODERS, picture

pytestmark = pytest.mark.anyio

SIZE = 3 * SPOOL_LIMIT


def large(name: str) -> bytes:
    """Return a picture with so much behind it that is none, and different everywhere, that the file is large."""
    data = picture(name, 320, 200)
    count = SIZE - len(data)
    filling = b"".join(struct.pack(">I", number) for number in range(count // 4 + 1))[:count]
    if name == "avif":  # a box (ISO/IEC 14496-12, 8.1.2) that says it is free space
        return data + struct.pack(">I4s", 8 + len(filling), b"free") + filling
    return data + filling


def spooled(data: bytes, _directory: Path) -> Payload:
    file = spool()
    file.write(data)
    return Payload(file, len(data))


def stored(data: bytes, directory: Path) -> Payload:
    path = directory / "file"
    path.write_bytes(data)
    return Payload(path.open("rb"), len(data))


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("make", [spooled, stored])
async def test_a_file_is_what_it_was_after_its_inspection(
    name: str, make: Callable[[bytes, Path], Payload], settings: Settings, tmp_path: Path
) -> None:
    data = large(name)
    services = build_services(settings)
    inspection: InspectionService = services.images._inspection
    payload = make(data, tmp_path)
    picture_, sha256 = await inspection.inspect(payload)
    assert (picture_.width, picture_.height) == (320, 200)
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert payload.open().read() == data
    payload.close()
    await services.close()


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "a-key"}], ids=["", "with a key"])
async def test_what_is_stored_is_what_was_sent(client: httpx.AsyncClient, name: str, headers: dict[str, str]) -> None:
    data = large(name)
    request = raw(data, f"image/{name}")
    answer = await client.post("/images", content=data, headers={**request["headers"], **headers})
    assert answer.status_code == 201, answer.text
    image = answer.json()
    assert (image["size"], image["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    url = (await client.get(f"/images/{image['image_id']}")).json()["url"]
    assert (await client.get(url)).content == data
