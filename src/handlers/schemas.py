"""What requests and answers look like on the wire. The OpenAPI document is made from these."""

import json
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..common import validation
from ..common.errors import FieldError
from ..common.ids import is_id
from ..common.sigv4 import LONGEST_LIFE
from ..models.image import Image, Moment
from ..models.page import DEFAULT_LIMIT, MAX_LIMIT, Order, TagMode
from ..models.usage import DEFAULT_TAG_LIMIT, TagCount
from .parameters import Wants

MAX_EDGE = 1 << 31


def _each(values: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    parts = tuple(part.strip() for value in values for part in value.split(","))
    if not set(parts) <= set(known):
        raise ValueError(f"wants {' or '.join(known)}")
    return parts


def parse_cursor(text: str) -> str:
    """Return the image id in a `last_key`, the JSON object that a page ended with."""
    return _parse_key(text, "image_id", is_id)


def parse_tag_cursor(text: str) -> str:
    """Return the tag in the `last_key` of a page of tags."""
    return _parse_key(text, "tag", validation.is_tag)


def _parse_key(text: str, name: str, is_valid: Callable[[str], bool]) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and value.keys() == {name} and isinstance(value[name], str) and is_valid(value[name]):
        found: str = value[name]
        return found
    raise ValueError(f'wants the JSON object {{"{name}": "..."}} that a page gave as its last_key')


UserId = Annotated[str, Meta(pattern="^[A-Za-z0-9._@:|+-]{1,128}$")]
Filename = Annotated[str, Meta(min_length=1, max_length=validation.MAX_FILENAME_LENGTH)]
Edge = Annotated[int, Meta(ge=1, le=MAX_EDGE)]
ExpiresIn = Annotated[int, Meta(ge=1, le=LONGEST_LIFE)]
Tags = Annotated[
    tuple[str, ...],
    Meta(
        description="Comma-separated or repeated. "
        f"At most {validation.MAX_TAGS} tags of at most {validation.MAX_TAG_LENGTH} characters; "
        "compared without regard to case.",
    ),
    Wants("text, or a list of texts", validation.normal_tags, many=True),
]


class ListParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The query of `GET /images`."""

    user_id: Annotated[
        UserId | None, Meta(description="Only this owner's images."), Wants("a user id", validation.normal_user_id)
    ] = None
    tags: Tags = ()
    tag_mode: Annotated[
        TagMode, Meta(description="Whether an image has `all` of the tags, or `any`."), Wants('"all" or "any"')
    ] = "all"
    exclude_tags: Tags = ()
    created_after: Annotated[
        Moment | None,
        Meta(description="Created at this moment (RFC 3339) or later."),
        Wants("an RFC 3339 time", validation.normal_moment),
    ] = None
    created_before: Annotated[
        Moment | None,
        Meta(description="Created before this moment (RFC 3339)."),
        Wants("an RFC 3339 time", validation.normal_moment),
    ] = None
    order: Annotated[Order, Meta(description="By time of creation."), Wants('"newest" or "oldest"')] = "newest"
    limit: Annotated[
        int,
        Meta(ge=1, le=MAX_LIMIT, description="How many images a page has at the most."),
        Wants(f"an integer from 1 to {MAX_LIMIT}"),
    ] = DEFAULT_LIMIT
    last_key: Annotated[
        str | None,
        Meta(description="The `last_key` of the page before, as JSON."),
        Wants("a JSON object", parse_cursor),
    ] = None
    include: Annotated[
        tuple[Literal["urls"], ...],
        Meta(description="`urls`: give each image `url` and `expires_at`."),
        Wants('"urls"', lambda values: _each(values, ("urls",)), many=True),
    ] = ()


class TagParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The query of `GET /tags`."""

    user_id: Annotated[
        UserId | None, Meta(description="Of this owner's images."), Wants("a user id", validation.normal_user_id)
    ] = None
    prefix: Annotated[
        str,
        Meta(description="How the tags begin.", max_length=validation.MAX_TAG_LENGTH),
        Wants("how a tag begins", validation.normal_prefix),
    ] = ""
    limit: Annotated[
        int,
        Meta(ge=1, le=MAX_LIMIT, description="How many tags a page has at the most."),
        Wants(f"an integer from 1 to {MAX_LIMIT}"),
    ] = DEFAULT_TAG_LIMIT
    last_key: Annotated[
        str | None,
        Meta(description="The `last_key` of the page before, as JSON."),
        Wants("a JSON object", parse_tag_cursor),
    ] = None


class UsageParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The query of `GET /usage`."""

    user_id: Annotated[
        UserId | None, Meta(description="Of this owner's images."), Wants("a user id", validation.normal_user_id)
    ] = None


class ImageParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The query of `GET /images/{image_id}`."""

    download: Annotated[
        bool, Meta(description="Whether the link saves the file instead of showing it."), Wants("true or false")
    ] = False
    expires_in: Annotated[
        ExpiresIn | None,
        Meta(description="Seconds that the link works."),
        Wants(f"an integer from 1 to {LONGEST_LIFE}"),
    ] = None


class UploadFields(msgspec.Struct, frozen=True, kw_only=True):
    """What goes with the bytes of an upload, in the query or in the body."""

    user_id: Annotated[
        UserId | None,
        Meta(description="The owner; `anonymous` if not given."),
        Wants("a user id", validation.normal_user_id),
    ] = None
    filename: Annotated[
        Filename | None,
        Meta(description="The name that a download gets."),
        Wants("a file name", validation.normal_filename),
    ] = None
    tags: Tags = ()
    description: Annotated[
        str,
        Meta(description="Free text.", max_length=validation.MAX_DESCRIPTION_LENGTH),
        Wants("text", validation.normal_description),
    ] = ""
    width: Annotated[
        Edge | None,
        Meta(description="The picture's width in pixels as displayed; checked."),
        Wants("a positive integer"),
    ] = None
    height: Annotated[
        Edge | None,
        Meta(description="The picture's height in pixels as displayed; checked."),
        Wants("a positive integer"),
    ] = None
    on_duplicate: Annotated[
        Literal["store", "return"],
        Meta(description="`return`: answer 200 with the owner's image of the same bytes, if there is one."),
        Wants('"store" or "return"'),
    ] = "store"


class MultipartUpload(UploadFields, frozen=True, kw_only=True):
    """The form of `POST /images`."""

    file: Annotated[str, Meta(description="The picture.", extra_json_schema={"format": "binary"})]


class JsonUpload(UploadFields, frozen=True, kw_only=True):
    """The JSON body of `POST /images`."""

    image_data: Annotated[
        str, Meta(description="The picture in base64 (RFC 4648), or as a base64 data URI (RFC 2397).")
    ]
    content_type: Annotated[
        str | None, Meta(description="What the sender takes it for. The bytes decide, not this.")
    ] = None


class Cursor(msgspec.Struct, frozen=True):
    """Where a page ended."""

    image_id: str


class LinkedImage(Image, frozen=True, kw_only=True):
    """An image with a link to its bytes."""

    url: str
    expires_at: Moment


class ListedImage(Image, frozen=True, kw_only=True):
    """An image in a list; with `include=urls` it has a link."""

    url: str | UnsetType = UNSET
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


class AcceptedFormat(msgspec.Struct, frozen=True):
    """A picture format that uploads may have."""

    format: str
    content_type: str


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What this deployment accepts."""

    formats: list[AcceptedFormat]
    max_image_size: Annotated[int, Meta(description="Bytes.")]
    max_image_pixels: Annotated[int, Meta(description="Width × height × frames.")]
    max_frames: Annotated[int, Meta(description="Of an animation.")]
    max_pages: Annotated[int, Meta(description="Of a TIFF, or pictures in an AVIF.")]
    max_body_size: Annotated[int, Meta(description="Bytes of a request body, whatever its form.")]
    max_json_body_size: Annotated[int, Meta(description="Bytes of a JSON request body: base64 is a third longer.")]
    max_tags: int
    max_tag_length: int
    max_description_length: int
    max_filename_length: int
    max_page_limit: int
    max_expires_in: Annotated[int, Meta(description="Seconds.")]
    default_expires_in: Annotated[int, Meta(description="Seconds.")]


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
