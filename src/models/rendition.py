"""Renditions: an image in another size or format, made when it is first asked for and stored beside the original."""

from typing import Literal

import msgspec

from .image import EXTENSION_OF, FORMAT_BY_NAME

MAX_EDGE = 4_096  # pixels
DEFAULT_THUMBNAIL_SIZE = 320
# What is kept of one image: who may look at it could have as many made as there are sizes.
MOST_RENDITIONS = 200
MOST_RENDITION_BYTES = 256 * 1024 * 1024

Fit = Literal["cover", "contain", "inside", "fill"]
Anchor = Literal["centre", "top", "right", "bottom", "left", "top-left", "top-right", "bottom-left", "bottom-right"]
Smart = Literal["attention", "entropy"]
Position = Literal[Anchor, Smart]
RenditionFormat = Literal["jpeg", "png", "webp", "avif"]

# How much of what is left over goes to the left, and above.
ANCHORS: dict[Anchor, tuple[float, float]] = {
    "centre": (0.5, 0.5),
    "top": (0.5, 0.0),
    "right": (1.0, 0.5),
    "bottom": (0.5, 1.0),
    "left": (0.0, 0.5),
    "top-left": (0.0, 0.0),
    "top-right": (1.0, 0.0),
    "bottom-left": (0.0, 1.0),
    "bottom-right": (1.0, 1.0),
}
DEFAULT_QUALITY: dict[RenditionFormat, int | None] = {"jpeg": 80, "png": None, "webp": 80, "avif": 50}


class RenditionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. Edges are in pixels; `quality` is None for the format's own."""

    width: int | None = None
    height: int | None = None
    fit: Fit = "cover"
    position: Position = "centre"
    enlarge: bool = False
    format: RenditionFormat
    quality: int | None = None


class Rendition(msgspec.Struct, frozen=True, kw_only=True):
    """How to make a rendition, in its normal form: equal ones are the same object.

    The picture, upright, is scaled to `scaled_width` x `scaled_height`. Where `width` x `height` is smaller it is then
    cut to that at `position`, and where it is larger it is laid on a canvas of that size. `quality` is None for formats
    that lose nothing. An animation is one if all of `frames` are to be kept.
    """

    scaled_width: int
    scaled_height: int
    width: int
    height: int
    position: Position
    format: RenditionFormat
    quality: int | None
    frames: int

    @property
    def content_type(self) -> str:
        return FORMAT_BY_NAME[self.format].content_type

    @property
    def pixels(self) -> int:
        """The most that any step of its making has, in all frames."""
        return self.frames * max(self.scaled_width * self.scaled_height, self.width * self.height)


RENDITIONS = "renditions/"


def renditions_prefix(image_id: str) -> str:
    """Return what the object keys of all renditions of an image begin with."""
    return f"{RENDITIONS}{image_id[-2:]}/{image_id}/"


def rendition_key(image_id: str, rendition: Rendition) -> str:
    """Return the object key of a rendition, which says all that it is made by."""
    name = f"{rendition.scaled_width}x{rendition.scaled_height}"
    if (rendition.width, rendition.height) != (rendition.scaled_width, rendition.scaled_height):
        name += f".{rendition.width}x{rendition.height}.{rendition.position}"
    if rendition.quality is not None:
        name += f".q{rendition.quality}"
    return f"{renditions_prefix(image_id)}{name}.{EXTENSION_OF[rendition.content_type]}"
