"""What is stored, in numbers."""

import msgspec

from ..common.errors import QuotaExceeded

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


class Quota(msgspec.Struct, frozen=True):
    """What one user may have; None is no bound."""

    images: int | None = None
    bytes: int | None = None

    def allows(self, usage: Usage, size: int) -> bool:
        """Tell whether one image more, of that size, stays within it."""
        return self.refusal(usage, size) is None

    def refusal(self, usage: Usage, size: int) -> QuotaExceeded | None:
        """Return the error that says what one image more would exceed, if it would."""
        for name, bound, used, more in (
            ("images", self.images, usage.images, 1),
            ("bytes", self.bytes, usage.bytes, size),
        ):
            if bound is not None and used + more > bound:
                return QuotaExceeded(f"The owner may have {bound} {name} and has {used}; this would be {more} more.")
        return None


UNLIMITED = Quota()
