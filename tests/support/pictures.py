"""Pictures for tests, made with Pillow: another encoder than the service's decoder."""

import struct
import zlib
from collections.abc import Iterator, Sequence
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


def pages(*sizes: tuple[int, int]) -> bytes:
    """Return a TIFF with a page of each size."""
    images = [canvas(*size) for size in sizes]
    return encode(images[0], "tiff", save_all=True, append_images=images[1:])


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


def padded(data: bytes, size: int) -> bytes:
    """Return a PNG of this size to the byte, by a comment before its end."""
    comment = b"tEXt" + b"c\0" + bytes(size - len(data) - 14).replace(b"\0", b"x")
    chunk = struct.pack(">I", len(comment) - 4) + comment + struct.pack(">I", zlib.crc32(comment))
    return data[:-12] + chunk + data[-12:]


def tiff_of(sizes: Sequence[tuple[int, int]]) -> bytes:
    """Return a TIFF with a black page of each size, which all share the same bytes; made in no time."""
    pixels = bytes(max(width * height for width, height in sizes))
    made = bytearray(b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels)
    for page, (width, height) in enumerate(sizes, 1):
        # Width, height, bits, no compression, 0 is black, where the bytes are, samples, rows, how many bytes.
        fields = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: width * height}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
        following = len(made) + 2 + len(entries) + 4
        made += struct.pack("<H", len(fields)) + entries + struct.pack("<I", following if page < len(sizes) else 0)
    return bytes(made)


def avif_of(*files: bytes, shown: int = 1) -> bytes:
    """Return one AVIF that holds the pictures of several (ISO/IEC 23008-12), of which viewers show one, from 1 on."""
    first = dict(_boxes(files[0]))
    properties: list[bytes] = []
    associations, items, pixels = b"", b"", []
    for number, file in enumerate(files, 1):
        boxes = dict(_boxes(file))
        own = [_box(kind, body) for kind, body in _boxes(_inside(boxes[b"meta"][4:], b"iprp", b"ipco"))]
        indexes = bytes(range(len(properties) + 1, len(properties) + 1 + len(own)))
        associations += struct.pack(">HB", number, len(own)) + indexes
        items += _box(b"infe", struct.pack(">IHH", 2 << 24, number, 0) + b"av01\0")
        properties += own
        pixels.append(boxes[b"mdat"])

    def before_pixels(offset: int) -> bytes:
        places = b""
        for number, data in enumerate(pixels, 1):
            places += struct.pack(">HHHII", number, 0, 1, offset, len(data))
            offset += len(data)
        meta = (
            _box(b"hdlr", _inside(first[b"meta"][4:], b"hdlr")),
            _box(b"pitm", struct.pack(">IH", 0, shown)),
            _box(b"iloc", struct.pack(">IHH", 0, 0x4400, len(pixels)) + places),
            _box(b"iinf", struct.pack(">IH", 0, len(pixels)) + items),
            _box(
                b"iprp",
                _box(b"ipco", b"".join(properties)) + _box(b"ipma", struct.pack(">II", 0, len(pixels)) + associations),
            ),
        )
        return _box(b"ftyp", first[b"ftyp"]) + _box(b"meta", bytes(4) + b"".join(meta))

    return before_pixels(len(before_pixels(0)) + 8) + _box(b"mdat", b"".join(pixels))


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 0
    while start < len(data):
        (length,) = struct.unpack_from(">I", data, start)
        yield data[start + 4 : start + 8], data[start + 8 : start + length]
        start += length


def _inside(data: bytes, *path: bytes) -> bytes:
    for kind in path:
        data = dict(_boxes(data))[kind]
    return data
