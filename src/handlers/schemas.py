"""What bodies and answers look like on the wire. The OpenAPI document is made from these."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..common import validation
from ..common.errors import FieldError
from ..models.image import EXTENSION_OF, Deletion, Image, Moment
from ..models.usage import TagCount
from .parameters import Wants
from .queries import Tags, UserId

MAX_EDGE = 1 << 31  # of a picture
MAX_DELETIONS = 100
MAX_SIZE = 1 << 40  # of a file, to be read as a number; how large one may be is a setting

Filename = Annotated[str, Meta(min_length=1, max_length=validation.MAX_FILENAME_LENGTH)]
Description = Annotated[str, Meta(max_length=validation.MAX_DESCRIPTION_LENGTH)]
Edge = Annotated[int, Meta(ge=1, le=MAX_EDGE)]
Size = Annotated[int, Meta(ge=1, le=MAX_SIZE)]
ContentType = Annotated[str, Meta(extra_json_schema={"enum": list(EXTENSION_OF)})]
Sha256 = Annotated[str, Meta(pattern="^[0-9A-Fa-f]{64}$")]
IdempotencyKey = Annotated[str, Meta(pattern="^[!-~]{1,255}$")]


class IdempotencyHeader(msgspec.Struct, frozen=True, kw_only=True, rename={"key": "Idempotency-Key"}):
    """What makes a POST safe to repeat."""

    key: Annotated[
        IdempotencyKey | None,
        Meta(
            description="Of your choice. For a day the same request with the same key gets the first answer again, "
            "and changes nothing."
        ),
    ] = None


class MatchHeader(msgspec.Struct, frozen=True, kw_only=True, rename={"etag": "If-Match"}):
    """What makes a change safe from those of others."""

    etag: Annotated[str | None, Meta(description="An `ETag`: 412 if the image has changed since.")] = None


def _content_type(text: str) -> str:
    if text not in EXTENSION_OF:
        raise ValueError(f"wants one of {', '.join(EXTENSION_OF)}")
    return text


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


class NewUploadFields(UploadFields, frozen=True, kw_only=True):
    """The JSON body of `POST /uploads`."""

    content_type: Annotated[
        ContentType,
        Meta(description="What the file is; checked when it is there."),
        Wants("a content type", _content_type),
    ]
    size: Annotated[Size, Meta(description="Bytes; checked."), Wants("a positive integer")]
    sha256: Annotated[
        Sha256 | None,
        Meta(description="Of the file, in hex; checked."),
        Wants("64 hex digits", validation.normal_sha256),
    ] = None


class PatchFields(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON merge patch (RFC 7396): what is not named stays, and null stands for the default."""

    # UNSET and not None: a client made from the document would send a default of null, and clear what it did not name.
    filename: Annotated[
        Filename | UnsetType | None,
        Meta(description="The name that a download gets."),
        Wants("a file name", validation.normal_filename),
    ] = UNSET
    tags: Annotated[
        tuple[str, ...] | UnsetType | None,
        Meta(description="All of them, in place of those that there are."),
        Wants("text, or a list of texts", validation.normal_tags, many=True),
    ] = UNSET
    description: Annotated[
        Description | UnsetType | None,
        Meta(description="Free text."),
        Wants("text", validation.normal_description),
    ] = UNSET


class DeleteFields(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON body of `POST /images/delete`."""

    image_ids: Annotated[
        tuple[str, ...],
        Meta(min_length=1, max_length=MAX_DELETIONS, description="One that is repeated counts once."),
        Wants(f"a list of 1 to {MAX_DELETIONS} image ids"),
    ]


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
    rendition_formats: list[AcceptedFormat]
    max_rendition_edge: Annotated[int, Meta(description="Pixels.")]
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
