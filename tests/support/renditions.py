"""Renditions for tests: made by the service of a record that Pillow measured, and opened with Pillow."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import Image, ImageOps

from src.common.payload import Payload
from src.imaging.render import render
from src.models.image import Image as Record
from src.models.rendition import Rendition, RenditionRequest
from src.services.rendition_plan import plan
from tests.support.images import make_image

FORMATS = ["jpeg", "png", "webp", "avif"]
_METADATA = {"exif", "xmp", "icc_profile", "comment", "photoshop", "XML:com.adobe.xmp", "Raw profile type exif"}


def record_of(data: bytes) -> Record:
    with Image.open(BytesIO(data)) as image:
        # Pillow turns an AVIF as it opens it, and says that nothing is left to turn.
        width, height = ImageOps.exif_transpose(image).size
        return make_image(
            content_type=Image.MIME[image.format or ""],
            width=width,
            height=height,
            frames=getattr(image, "n_frames", 1),
        )


def planned(data: bytes, **asked: Any) -> tuple[Record, Rendition]:
    record = record_of(data)
    values: dict[str, Any] = {"format": "png"}
    return record, plan(record, RenditionRequest(**values | asked))


def rendered_bytes(data: bytes, **asked: Any) -> bytes:
    record, rendition = planned(data, **asked)
    payload = Payload.of(data)
    made = render(payload, record.content_type, rendition)
    payload.close()
    return made


def rendered(data: bytes, **asked: Any) -> Image.Image:
    """Return a rendition, after looking at what must be true of every one: format, size, frames, no metadata."""
    _, rendition = planned(data, **asked)
    image = Image.open(BytesIO(rendered_bytes(data, **asked)))
    image.load()
    assert image.format == rendition.format.upper()
    assert image.size == (rendition.width, rendition.height)
    assert getattr(image, "n_frames", 1) == rendition.frames
    assert not _METADATA & set(image.info)
    assert not image.getexif()
    assert not getattr(image, "text", None)
    return image


def frames_of(image: Image.Image) -> Iterator[Image.Image]:
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        yield image.convert("RGBA")


def color_at(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """Return the colour, with alpha, at a place that is given as a part of the width and of the height."""
    color = image.convert("RGBA").getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(color, tuple)
    return color


def near(color: tuple[int, ...], other: tuple[int, ...], *, by: int = 12) -> bool:
    """Say whether colours differ by no more than an encoder's loss; one without alpha is opaque."""
    return all(abs(a - b) <= by for a, b in zip((*color, 255)[:4], (*other, 255)[:4], strict=True))
