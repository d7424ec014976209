"""Pictures for tests, made with Pillow: another encoder than the service's decoder."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image

RED = (220, 30, 40)
# Pillow's name and options for each format the service accepts.
ENCODERS: dict[str, dict[str, Any]] = {
    "jpeg": {"quality": 85},
    "png": {},
    "webp": {"quality": 80},
    "gif": {},
    "avif": {"quality": 60, "speed": 10},
    "tiff": {"compression": "tiff_lzw"},
}
ORIENTATION = 0x0112  # the EXIF tag


def canvas(width: int = 64, height: int = 48, color: tuple[int, int, int] = RED) -> Image.Image:
    """Return a picture of one colour but for a white square, so that it is not trivially compressible."""
    image = Image.new("RGB", (width, height), color)
    image.paste((255, 255, 255), (0, 0, max(1, width // 8), max(1, height // 8)))
    return image


def encode(image: Image.Image, name: str = "jpeg", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=name.upper(), **{**ENCODERS[name], **options})
    return buffer.getvalue()


def picture(name: str = "jpeg", width: int = 64, height: int = 48, color: tuple[int, int, int] = RED) -> bytes:
    return encode(canvas(width, height, color), name)


def noise(width: int, height: int, name: str = "png", **options: Any) -> bytes:
    """Return a picture that hardly compresses."""
    return encode(Image.effect_noise((width, height), 100).convert("RGB"), name, **options)


def animation(name: str, frames: int = 3, width: int = 40, height: int = 30) -> bytes:
    images = [canvas(width, height, (80 * i % 256, 200, 255 - 80 * i % 256)) for i in range(frames)]
    return encode(images[0], name, save_all=True, append_images=images[1:])


def turned(name: str, orientation: int, width: int = 64, height: int = 48) -> bytes:
    """Return a picture stored as width x height that EXIF says to turn."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(canvas(width, height), name, exif=exif)


def png_bomb(width: int, height: int) -> bytes:
    """Return a small file, valid to its end, of a grey PNG with `width` x `height` pixels of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # One bit a pixel, and rows of zeros.
    compressor = zlib.compressobj(9)
    row = b"\0" * (1 + (width + 7) // 8)
    pixels = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
