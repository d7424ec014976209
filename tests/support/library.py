"""A folder of photos that differ, and what a server then has."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.support.pictures import encode

ROWS = 100  # pictures in a folder


def make_library(root: Path, number: int) -> dict[str, str]:
    """Write so many photos in folders and folders of those; return the checksum of each by its path below the root."""
    texture = Image.effect_noise((48, 32), 60).convert("RGB")
    sums = {}
    for i in range(number):
        data = encode(texture, "jpeg", comment=f"number {i}")
        name = f"{2000 + i // ROWS // 4}/{i // ROWS:02}/IMG_{i:04}.jpg"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        sums[name] = hashlib.sha256(data).hexdigest()
    assert len(set(sums.values())) == number
    return sums


def listed(http: httpx.Client, **query: Any) -> Iterator[dict[str, Any]]:
    """Yield every image of a service, the newest first."""
    path: str | None = "/images"
    parameters: dict[str, Any] | None = {"limit": 100, **query}
    while path:
        answer = http.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        yield from answer.json()["images"]
        path, parameters = answer.links.get("next", {}).get("url"), None


def original(http: httpx.Client, image_id: str) -> bytes:
    answer = httpx.get(http.get(f"/images/{image_id}").json()["url"])
    assert answer.status_code == 200
    return answer.content
