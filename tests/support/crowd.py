"""Clients that upload at once, all of whose bodies are under way at the same time."""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from tests.support.pictures import encode

PIECE = 64 * 1024  # bytes


class Body(NamedTuple):
    content_type: str
    data: bytes

    def head(self) -> bytes:
        """Return a request for it up to its body."""
        fields = (
            f"Host: localhost\r\nConnection: close\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.data)}"
        )
        return f"POST /images HTTP/1.1\r\n{fields}\r\n\r\n".encode()


def bodies(png: bytes) -> dict[str, Body]:
    """Return the three kinds of body that bring a PNG."""
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    return {
        "raw": Body("image/png", png),
        "multipart": Body("multipart/form-data; boundary=b", part + png + b"\r\n--b--\r\n"),
        "JSON": Body("application/json", json.dumps({"image_data": base64.b64encode(png).decode()}).encode()),
    }


def large_png(size: int) -> bytes:
    """Return a PNG of a little less than `size` bytes that does not compress, and so takes little time to decode."""
    edge = int((size * 0.99) ** 0.5)
    data = encode(Image.effect_noise((edge, edge), 100), "png", compress_level=0)
    assert size * 0.97 < len(data) < size
    return data


async def upload_at_once(address: str, bodies: Sequence[Body]) -> list[int]:
    """Send the bodies, the second half of each only once all first halves are sent; return the statuses."""
    halves_sent = asyncio.Barrier(len(bodies))
    host, _, port = address.rpartition(":")

    async def upload(body: Body) -> int:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(body.head())
        data = memoryview(body.data)
        half = len(data) // 2
        for start, end in ((0, half), (half, len(data))):
            for begin in range(start, end, PIECE):
                writer.write(data[begin : min(begin + PIECE, end)])
                await writer.drain()
            if end == half:
                await halves_sent.wait()
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1])

    return list(await asyncio.gather(*map(upload, bodies)))
