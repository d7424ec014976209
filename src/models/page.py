"""Lists of images: what is asked for, and one page of the answer."""

import datetime as dt
from typing import Literal

import msgspec

from .image import Image

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

TagMode = Literal["all", "any"]
Order = Literal["newest", "oldest"]


class ImageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which images, in which order, and after which one.

    `created_after` is inclusive and `created_before` exclusive, so that adjoining ranges share no image.
    `after` is an image id: the page begins with the next match in the order.
    """

    user_id: str | None = None
    tags: tuple[str, ...] = ()
    tag_mode: TagMode = "all"
    exclude_tags: tuple[str, ...] = ()
    created_after: dt.datetime | None = None
    created_before: dt.datetime | None = None
    order: Order = "newest"
    limit: int = DEFAULT_LIMIT
    after: str | None = None


class Page(msgspec.Struct, frozen=True):
    """Up to `limit` images. `after` continues the list; it is None when the list is over.

    A page may hold fewer images than asked for, and even none, before the list is over: the work for one page is
    bounded.
    """

    images: tuple[Image, ...]
    after: str | None
