"""What the bodies and headers of requests may say. The OpenAPI document is made from these."""

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..common import validation
from ..common.ids import ID_PATTERN, is_id
from ..models.caller import Caller
from ..models.image import EXTENSION_OF, Moment
from .parameters import Wants
from .queries import Sha256, Tags, UserId

MAX_EDGE = 1 << 31  # of a picture
MAX_DELETIONS = 100
LONGEST_ID = 36  # characters; what is longer is none of ours
MAX_VERSION = 1 << 31
MAX_SIZE = 1 << 40  # of a file, to be read as a number; how large one may be is a setting

Filename = Annotated[str, Meta(min_length=1, max_length=validation.MAX_FILENAME_LENGTH)]
Description = Annotated[str, Meta(max_length=validation.MAX_DESCRIPTION_LENGTH)]
Edge = Annotated[int, Meta(ge=1, le=MAX_EDGE)]
Size = Annotated[int, Meta(ge=1, le=MAX_SIZE)]
ContentType = Annotated[str, Meta(extra_json_schema={"enum": list(EXTENSION_OF)})]
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


class NoneMatchHeader(msgspec.Struct, frozen=True, kw_only=True, rename={"etag": "If-None-Match"}):
    """What spares an answer that is known already."""

    etag: Annotated[str | None, Meta(description="An `ETag`: 304 if the image has not changed since.")] = None


def _content_type(text: str) -> str:
    if text not in EXTENSION_OF:
        raise ValueError(f"wants one of {', '.join(EXTENSION_OF)}")
    return text


def _image_id(text: str) -> str:
    if not is_id(text):
        raise ValueError("wants an image id, a UUID of version 7 in small letters")
    return text


def _utc(text: str) -> dt.datetime:
    moment = validation.normal_moment(text)
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:  # in UTC it lies outside of all years: too early or too late, as what is next to it
        is_early = moment.year == dt.MINYEAR
        return dt.datetime.min.replace(tzinfo=dt.UTC) if is_early else dt.datetime.max.replace(tzinfo=dt.UTC)


class UploadFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes with the bytes of an upload, in the query or in the body."""

    user_id: Annotated[
        UserId | None,
        Meta(description="The owner; if not given the token's subject, or without tokens `anonymous`."),
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


def details(fields: UploadFields, caller: Caller) -> dict[str, Any]:
    """Return the fields as the models name them. Raises InsufficientScope if the image may not have that owner."""
    values = msgspec.structs.asdict(fields)
    is_returned = values.pop("on_duplicate") == "return"
    return {**values, "user_id": caller.owner_of_new(fields.user_id), "return_duplicate": is_returned}


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
    image_id: Annotated[
        Annotated[str, Meta(pattern=f"^{ID_PATTERN}$")] | None,
        Meta(description="For an image that has an id already, which it keeps, and `created_at` with it."),
        Wants("an image id", _image_id),
    ] = None
    version: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_VERSION)] | None,
        Meta(description="With `image_id`: that the image has; 1 if not given."),
        Wants("a positive integer"),
    ] = None
    updated_at: Annotated[
        Moment | None,
        Meta(description="With `image_id`: when the image was last changed; `created_at` if not given."),
        Wants("an RFC 3339 time", _utc),
    ] = None


class PatchFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class DeleteFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The JSON body of `POST /images/delete`."""

    image_ids: Annotated[
        tuple[Annotated[str, Meta(max_length=LONGEST_ID)], ...],  # the answer repeats them, and may be kept for a day
        Meta(min_length=1, max_length=MAX_DELETIONS, description="One that is repeated counts once."),
        Wants(f"a list of 1 to {MAX_DELETIONS} image ids of at most {LONGEST_ID} characters"),
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
