"""What answers look like on the wire. The OpenAPI document is made from these."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..common.errors import FieldError
from .image import Deletion, Image, Moment
from .usage import TagCount


class UploadForm(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how the file is sent: a multipart form with these fields, and then the part `file`."""

    method: Literal["POST"]
    url: str
    fields: dict[str, str]


class UploadAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A direct upload."""

    image_id: Annotated[str, Meta(description="That the image will have.")]
    status: Annotated[
        Literal["waiting", "received", "completed"],
        Meta(description="For the bytes, or to be completed, or done."),
    ]
    content_type: str
    size: int
    upload: Annotated[UploadForm | UnsetType, Meta(description="While the bytes may be sent.")] = UNSET
    expires_at: Annotated[Moment, Meta(description="When the form ends. Complete the upload within a day.")]
    completed_as: Annotated[
        str | UnsetType, Meta(description="The image that it became: another one if that had the same bytes.")
    ] = UNSET


class Deletions(msgspec.Struct, frozen=True, kw_only=True):
    """What came of each image; `deleted` counts."""

    results: tuple[Deletion, ...]
    deleted: int


class Cursor(msgspec.Struct, frozen=True):
    """Where a page ended."""

    image_id: str


class LinkedImage(Image, frozen=True, kw_only=True):
    """An image with a link to its bytes, or to a rendition's."""

    url: str
    expires_at: Moment


class ListedImage(Image, frozen=True, kw_only=True):
    """An image in a list; with `include=urls` it has links."""

    url: str | UnsetType = UNSET
    thumbnail_url: str | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET


class ImageList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of images; `last_key` is null when the list is over."""

    images: tuple[ListedImage, ...]
    count: int
    last_key: Cursor | None


class TagCursor(msgspec.Struct, frozen=True):
    """Where a page of tags ended."""

    tag: str


class TagList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of tags in the order of their code points; `last_key` is null when the list is over."""

    tags: tuple[TagCount, ...]
    count: Annotated[int, Meta(description="Tags on this page.")]
    last_key: TagCursor | None


class KnownChecksum(msgspec.Struct, frozen=True):
    """Bytes that an owner has, and the oldest image of them."""

    sha256: str
    image_id: str


class ChecksumList(msgspec.Struct, frozen=True, kw_only=True):
    """Which bytes there are, of those that were asked for and in that order."""

    checksums: tuple[KnownChecksum, ...]
    count: int


class AcceptedFormat(msgspec.Struct, frozen=True):
    """A picture format that uploads may have."""

    format: str
    content_type: str


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What this deployment accepts."""

    formats: list[AcceptedFormat]
    max_image_size: Annotated[int, Meta(description="Bytes.")]
    max_image_pixels: Annotated[int, Meta(description="Width × height × frames.")]
    max_image_edge: Annotated[int, Meta(description="Pixels.")]
    max_frames: Annotated[int, Meta(description="Of an animation.")]
    max_pages: Annotated[int, Meta(description="Of a TIFF, or pictures in an AVIF.")]
    max_body_size: Annotated[int, Meta(description="Bytes of a request body, whatever its form.")]
    max_json_body_size: Annotated[int, Meta(description="Bytes of a JSON request body: base64 is a third longer.")]
    rendition_formats: list[AcceptedFormat]
    max_rendition_edge: Annotated[int, Meta(description="Pixels.")]
    max_tags: int
    max_tag_length: int
    max_description_length: int
    max_filename_length: int
    max_page_limit: int
    max_expires_in: Annotated[int, Meta(description="Seconds.")]
    default_expires_in: Annotated[int, Meta(description="Seconds.")]
    quota_images: Annotated[int | None, Meta(description="Images of one user; null for any number.")]
    quota_bytes: Annotated[int | None, Meta(description="Bytes of one user's originals; null for any number.")]


class Health(msgspec.Struct, frozen=True):
    """`ok`, or `ready`."""

    status: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Meta(description="Stable; for programs.")]
    request_id: Annotated[str | None, Meta(description="Also in the X-Request-Id header and in the log.")] = None
    errors: Annotated[tuple[FieldError, ...], Meta(description="Where fields are at fault.")] = ()
