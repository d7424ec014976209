"""An image: what is known of a picture that was accepted."""

import datetime as dt
from typing import Annotated, Literal

import msgspec

from ..common.payload import Payload

Moment = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class Format(msgspec.Struct, frozen=True):
    """A picture format that is accepted."""

    name: str
    content_type: str
    extension: str


FORMATS = (
    Format("jpeg", "image/jpeg", "jpg"),
    Format("png", "image/png", "png"),
    Format("webp", "image/webp", "webp"),
    Format("gif", "image/gif", "gif"),
    Format("avif", "image/avif", "avif"),
    Format("tiff", "image/tiff", "tiff"),
)
FORMAT_BY_NAME = {format_.name: format_ for format_ in FORMATS}
EXTENSION_OF = {format_.content_type: format_.extension for format_ in FORMATS}
CONTENT_TYPE_OF = {format_.extension: format_.content_type for format_ in FORMATS}

LONGEST_EDGE = 65_535  # pixels, as of a JPEG or GIF; lines cost time however short they are
MAX_FRAMES = 2_000  # of an animation
MAX_PAGES = 200  # of a TIFF, or pictures in an AVIF: to find one takes the decoder as many steps as stand before it


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What the bytes themselves say. Width and height in pixels, as displayed (EXIF orientation applied)."""

    content_type: str
    width: int
    height: int
    frames: int
    color: str
    placeholder: str


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """The record of an image. It exists if and only if this does."""

    image_id: Annotated[str, msgspec.Meta(description="A UUID; later ones are of later images.")]
    user_id: Annotated[str, msgspec.Meta(description="The owner.")]
    filename: Annotated[str, msgspec.Meta(description="The name that a download gets.")]
    content_type: Annotated[str, msgspec.Meta(description="Of the bytes, whatever name and header said.")]
    size: Annotated[int, msgspec.Meta(description="Bytes.")]
    width: Annotated[int, msgspec.Meta(description="Pixels, as displayed.")]
    height: Annotated[int, msgspec.Meta(description="Pixels, as displayed.")]
    frames: Annotated[int, msgspec.Meta(description="More than one in an animation, or a TIFF of several pages.")]
    tags: tuple[str, ...]
    description: str
    sha256: Annotated[str, msgspec.Meta(description="Of the bytes, in hex.")]
    color: Annotated[str, msgspec.Meta(description="The dominant one, `#rrggbb`.")]
    placeholder: Annotated[str, msgspec.Meta(description="A tiny WebP, as a data URI.")]
    created_at: Moment
    updated_at: Moment
    version: Annotated[int, msgspec.Meta(description="Counts the changes.")]


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of an image that is to be. What is None was not said."""

    user_id: str | None = None
    filename: str | None = None
    tags: tuple[str, ...] = ()
    description: str = ""
    width: int | None = None
    height: int | None = None
    return_duplicate: bool = False


class NewImage(Details, frozen=True, kw_only=True):
    """An upload before it is verified."""

    payload: Payload


class ImagePatch(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be changed of an image; None leaves it. An empty filename stands for the default one."""

    tags: tuple[str, ...] | None = None
    description: str | None = None
    filename: str | None = None


class Deletion(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of deleting one image; `code` says why it failed."""

    image_id: str
    status: Literal["deleted", "not_found", "failed"]
    code: str | None = None


ORIGINALS = "originals/"


def default_filename(image_id: str, content_type: str) -> str:
    """Return the name that an image has if nobody names it."""
    return f"{image_id}.{EXTENSION_OF[content_type]}"


def original_key(image_id: str, content_type: str) -> str:
    """Return the object key of an image's own bytes.

    The id's last two digits are random, so no directory holds more than a 256th of the files.
    """
    return f"{ORIGINALS}{image_id[-2:]}/{image_id}.{EXTENSION_OF[content_type]}"


def image_id_of(key: str) -> str:
    """Return the id of the image that an object belongs to, from its key; of other keys, something that is no id."""
    parts = key.split("/")
    return parts[2].partition(".")[0] if len(parts) > 2 else ""
