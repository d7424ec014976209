"""What is stored, in numbers."""

import msgspec

DEFAULT_TAG_LIMIT = 100


class TagQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which tags, in the order of their code points, and after which one. Without `user_id`, those of all images."""

    user_id: str | None = None
    prefix: str = ""
    limit: int = DEFAULT_TAG_LIMIT
    after: str | None = None


class TagCount(msgspec.Struct, frozen=True):
    """A tag, and how many images have it."""

    tag: str
    count: int


class TagPage(msgspec.Struct, frozen=True):
    """Up to `limit` tags. `after` continues the list; it is None when the list is over."""

    tags: tuple[TagCount, ...]
    after: str | None


class Usage(msgspec.Struct, frozen=True):
    """How many images there are, and the bytes of their originals."""

    images: int
    bytes: int
