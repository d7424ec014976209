"""What several operations may be told."""

import datetime as dt
from collections.abc import Sequence
from typing import Literal, TypedDict

from ..models.page import Order, TagMode
from ..models.rendition import Fit, Position, RenditionFormat


class Rendition(TypedDict, total=False):
    """How the picture is to be; without any of them it is the original. Edges are in pixels."""

    width: int | None
    height: int | None
    fit: Fit | None
    position: Position | None
    enlarge: bool | None
    format: Literal["auto", RenditionFormat] | None
    quality: int | None


class Filters(TypedDict, total=False):
    """Which images, in which order, and whether with links.

    `created_after` is inclusive and `created_before` exclusive.
    """

    user_id: str | None
    tags: Sequence[str]
    tag_mode: TagMode
    exclude_tags: Sequence[str]
    created_after: dt.datetime | None
    created_before: dt.datetime | None
    order: Order
    include_urls: bool
    thumbnail_size: int | None


class Details(TypedDict, total=False):
    """What is said of an image that is to be. Width and height are checked."""

    user_id: str | None
    filename: str | None
    tags: Sequence[str]
    description: str
    width: int | None
    height: int | None
    on_duplicate: Literal["store", "return"]
