"""What the services need of a store. Adapters speak models and our errors, and pass the suites in `tests/contract`.

Every method may raise StoreFailed (it did not happen) or StoreUnavailable (try again later; for a write, only its
subclass OutcomeUnknown leaves open whether it happened).
"""

import datetime as dt
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from ..common.payload import Payload
from ..models.image import Image
from ..models.page import ImageQuery, Page
from ..models.usage import TagPage, TagQuery, Usage


class ImageRepository(Protocol):
    """The records. A write that returned is durable, and every later read sees it."""

    async def add(self, image: Image, *, return_duplicate: bool = False) -> Image:
        """Commit a new record and return it.

        With `return_duplicate`, an image with the same owner and SHA-256 that exists already is returned instead and
        nothing is written; of several such calls at once, one writes.
        """
        ...

    async def get(self, image_id: str) -> Image | None: ...

    async def list(self, query: ImageQuery) -> Page:
        """Return one page; its cost does not depend on how many images there are."""
        ...

    async def tags(self, query: TagQuery) -> TagPage:
        """Return one page of tags that images have, with how many have them."""
        ...

    async def usage(self, user_id: str | None) -> Usage:
        """Count the images of a user, or of all, and their bytes."""
        ...

    async def remove(self, image_id: str) -> Image | None:
        """Remove the record and everything listed from it; return what it was, or None if there was none."""
        ...

    async def ping(self) -> None:
        """Return if the store answers."""
        ...

    async def close(self) -> None: ...


class ObjectInfo(msgspec.Struct, frozen=True):
    """What a store knows of an object: `size` in bytes, `etag` with its quotes, `modified_at` in whole seconds."""

    key: str
    size: int
    etag: str
    modified_at: dt.datetime


class ObjectStore(Protocol):
    """The bytes, by key. A key is ours (never a user's text), and an object never changes once it is written."""

    async def put(self, key: str, payload: Payload, *, content_type: str, durable: bool = True) -> None:
        """Store the object; nobody ever sees a part of it. If it need not be durable, a power cut may take it away."""
        ...

    async def head(self, key: str) -> ObjectInfo:
        """Raise ObjectNotFound where there is none."""
        ...

    def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to before `end`; raise ObjectNotFound where there is no such object."""
        ...

    async def fetch(self, key: str) -> Payload:
        """Return the whole object, which the caller closes; raise ObjectNotFound where there is none."""
        ...

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield every object below a prefix that ends in a slash, in no order."""
        ...

    async def delete(self, key: str) -> None:
        """Delete the object. It is no error if there is none."""
        ...

    async def delete_below(self, prefix: str) -> None:
        """Delete every object below a prefix that ends in a slash."""
        ...

    async def ping(self) -> None:
        """Return if the store answers."""
        ...
