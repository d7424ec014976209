"""Lists of images: what is asked for, and one page of the answer."""

import datetime as dt
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, overload

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

    images: Sequence[Image]
    after: str | None


class EncodedImages(Sequence[Image]):
    """Images as their JSON, which most lists are only passed on as; whoever looks at them takes it apart."""

    def __init__(self, records: Sequence[str]) -> None:
        """Take a JSON object of each."""
        self._length = len(records)
        self.encoded = f"[{','.join(records)}]"

    @cached_property
    def _images(self) -> tuple[Image, ...]:
        return _decode(self.encoded)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Image]: ...
    def __getitem__(self, index: int | slice) -> Image | Sequence[Image]:
        return self._images[index]

    def __iter__(self) -> Iterator[Image]:
        return iter(self._images)

    def __len__(self) -> int:
        return self._length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._images == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._images)


_decode = msgspec.json.Decoder(tuple[Image, ...]).decode


def encode_images(value: Any) -> msgspec.Raw:
    """Be the hook of an encoder for EncodedImages."""
    if isinstance(value, EncodedImages):
        return msgspec.Raw(value.encoded)
    raise NotImplementedError(f"{type(value).__name__} has no JSON")
