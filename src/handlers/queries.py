"""What the query strings of requests may say. The OpenAPI document is made from these."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from ..common import validation
from ..common.ids import is_id
from ..common.sigv4 import LONGEST_LIFE
from ..models.image import Moment
from ..models.page import DEFAULT_LIMIT, MAX_LIMIT, Order, TagMode
from ..models.rendition import DEFAULT_THUMBNAIL_SIZE, MAX_EDGE, Anchor, Fit, Position, RenditionFormat, Smart
from ..models.usage import DEFAULT_TAG_LIMIT
from .parameters import Wants

MAX_CHECKSUMS = 50  # API Gateway takes 10,240 bytes of request line and headers, of which these are 3,700


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


def _choices(*literals: Any) -> str:
    *others, last = (f'"{name}"' for literal in literals for name in get_args(literal))
    return f"{', '.join(others)} or {last}"


def _checksums(values: list[str]) -> tuple[str, ...]:
    """Split at commas; drop repeats, keep the order."""
    found = dict.fromkeys(validation.normal_sha256(part.strip()) for value in values for part in value.split(","))
    if len(found) > MAX_CHECKSUMS:
        raise ValueError(f"wants at most {MAX_CHECKSUMS} of them, got {len(found)}")
    return tuple(found)


UserId = Annotated[str, Meta(pattern="^[A-Za-z0-9._@:|+-]{1,128}$")]
ExpiresIn = Annotated[int, Meta(ge=1, le=LONGEST_LIFE)]
Sha256 = Annotated[str, Meta(pattern="^[0-9A-Fa-f]{64}$")]
Tags = Annotated[
    tuple[str, ...],
    Meta(
        description="Comma-separated or repeated. "
        f"At most {validation.MAX_TAGS} tags of at most {validation.MAX_TAG_LENGTH} characters; "
        "compared without regard to case.",
    ),
    Wants("text, or a list of texts", validation.normal_tags, many=True),
]
Owner = Annotated[
    UserId | None, Meta(description="Only this owner's images."), Wants("a user id", validation.normal_user_id)
]
PageLimit = Annotated[
    int,
    Meta(ge=1, le=MAX_LIMIT, description="The most that a page has."),
    Wants(f"an integer from 1 to {MAX_LIMIT}"),
]
RenditionEdge = Annotated[int, Meta(ge=1, le=MAX_EDGE)]
Quality = Annotated[int, Meta(ge=1, le=100)]
Timestamp = Annotated[int, Meta(ge=0, le=253_402_300_799)]  # to the end of 9999


class ListParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The query of `GET /images`."""

    user_id: Owner = None
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
    limit: PageLimit = DEFAULT_LIMIT
    last_key: Annotated[
        str | None,
        Meta(description="The `last_key` of the page before, as JSON."),
        Wants("a JSON object", parse_cursor),
    ] = None
    include: Annotated[
        tuple[Literal["urls"], ...],
        Meta(description="`urls`: give each image `url`, `thumbnail_url` and `expires_at`."),
        Wants('"urls"', lambda values: _each(values, ("urls",)), many=True),
    ] = ()
    thumbnail_size: Annotated[
        RenditionEdge,
        Meta(description="Pixels: the width and the height within which the picture at `thumbnail_url` lies."),
        Wants(f"an integer from 1 to {MAX_EDGE}"),
    ] = DEFAULT_THUMBNAIL_SIZE


class TagParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The query of `GET /tags`."""

    user_id: Owner = None
    prefix: Annotated[
        str,
        Meta(description="How the tags begin.", max_length=validation.MAX_TAG_LENGTH),
        Wants("how a tag begins", validation.normal_prefix),
    ] = ""
    limit: PageLimit = DEFAULT_TAG_LIMIT
    last_key: Annotated[
        str | None,
        Meta(description="The `last_key` of the page before, as JSON."),
        Wants("a JSON object", parse_tag_cursor),
    ] = None


class UsageParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The query of `GET /usage`."""

    user_id: Owner = None


class ChecksumParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The query of `GET /checksums`."""

    sha256: Annotated[
        tuple[Sha256, ...],
        Meta(
            min_length=1,
            max_length=MAX_CHECKSUMS,
            description="Of files, in hex; comma-separated or repeated. One that is repeated counts once.",
        ),
        Wants(f"1 to {MAX_CHECKSUMS} times 64 hex digits", _checksums, many=True),
    ]
    user_id: Annotated[
        UserId | None,
        Meta(description="Whose images; if not given the token's subject, or without tokens `anonymous`."),
        Wants("a user id", validation.normal_user_id),
    ] = None


class RenditionParameters(msgspec.Struct, frozen=True, kw_only=True):
    """How the picture is to be; without any of them it is the original."""

    width: Annotated[
        RenditionEdge | None,
        Meta(description="Pixels, as displayed. With one of `width` and `height` the other follows."),
        Wants(f"an integer from 1 to {MAX_EDGE}"),
    ] = None
    height: Annotated[
        RenditionEdge | None,
        Meta(description="Pixels, as displayed."),
        Wants(f"an integer from 1 to {MAX_EDGE}"),
    ] = None
    fit: Annotated[
        Fit | None,
        Meta(
            description="With `width` and `height`: `cover` (default) fills them and cuts the rest off, `contain` "
            "shows all and fills up with transparency or white, `inside` shows all and is smaller, `fill` distorts."
        ),
        Wants(_choices(Fit)),
    ] = None
    position: Annotated[
        Position | None,
        Meta(
            description="What is kept by `cover`, or where `contain` puts it; `attention` and `entropy` find what "
            "people look at, and where most happens."
        ),
        Wants(_choices(Anchor, Smart)),
    ] = None
    enlarge: Annotated[
        bool | None, Meta(description="Whether a picture that is smaller is enlarged."), Wants("true or false")
    ] = None
    format: Annotated[
        Literal["auto", RenditionFormat] | None,
        Meta(description="`auto` (default): the best that `Accept` names, else what the original is."),
        Wants(f'"auto", {_choices(RenditionFormat)}'),
    ] = None
    quality: Annotated[
        Quality | None,
        Meta(description="Of `jpeg` and `webp` 80 if not given, of `avif` 50; `png` has none."),
        Wants("an integer from 1 to 100"),
    ] = None


class ImageParameters(RenditionParameters, frozen=True, kw_only=True):
    """The query of `GET /images/{image_id}`."""

    download: Annotated[
        bool, Meta(description="Whether the link saves the file instead of showing it."), Wants("true or false")
    ] = False
    expires_in: Annotated[
        ExpiresIn | None,
        Meta(description="Seconds that the link works."),
        Wants(f"an integer from 1 to {LONGEST_LIFE}"),
    ] = None


class ContentParameters(ImageParameters, frozen=True, kw_only=True):
    """The query of `GET /images/{image_id}/content`."""

    expires: Annotated[
        Timestamp | None,
        Meta(description="Of a signed link: when it ends, in seconds since 1970."),
        Wants("an integer"),
    ] = None
    signature: Annotated[str | None, Meta(description="Of a signed link."), Wants("text")] = None
