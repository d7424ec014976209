"""What the services need of a store. Adapters speak models and our errors, and pass the suites in `tests/contract`.

Every method may raise StoreFailed (it did not happen) or StoreUnavailable (try again later; for a write, only its
subclass OutcomeUnknown leaves open whether it happened).
"""

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ..common.payload import Payload
from ..models.claim import Claim
from ..models.finding import Finding
from ..models.image import Image
from ..models.page import ImageQuery, Page
from ..models.upload import Upload
from ..models.usage import TagPage, TagQuery, Usage


class UploadNotOpen(Exception):
    """There is no upload with the image's id that waits to be completed (any more)."""

    code = "upload_not_open"  # for metrics: no client ever sees it


class UploadExists(Exception):
    """There is another upload with the image's id than the caller knows of."""

    code = "upload_exists"


class ClaimLost(Exception):
    """Another request holds the key by now, so nothing was written."""

    code = "claim_lost"


class ImageRepository(Protocol):
    """The records. A write that returned is durable, and every later read sees it.

    A repository is given the Quota of each user; a usage that is within it stays so, however many add at once.
    """

    async def add(
        self, image: Image, *, return_duplicate: bool = False, completes: bool = False, claim: Claim | None = None
    ) -> Image:
        """Commit a new record and return it.

        With `return_duplicate`, an image with the same owner and SHA-256 that exists already is returned instead and
        no record is written; of several such calls at once, one writes.

        With `completes` the upload with the image's id is completed in the same commit, or UploadNotOpen is raised;
        also if its bytes are fixed to others.
        With `claim` the commit also holds its result, an Outcome as JSON, or ClaimLost is raised.

        A new record that would exceed its owner's quota is not made: if nothing else hinders it, QuotaExceeded is
        raised and nothing is written, so that the upload stays open and the claim held.
        """
        ...

    async def replace(self, old: Image, new: Image) -> bool:
        """Put `new` in place of `old`, in all lists, if that is still the record; else return False.

        Both have the same id, owner and bytes.
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

    async def find_by_checksum(self, user_id: str, checksums: Sequence[str]) -> Mapping[str, str]:
        """Return, by SHA-256, the id of the user's oldest image with such bytes, for those of which there is one."""
        ...

    async def remove(self, image_id: str, *, owner: str | None = None) -> Image | None:
        """Remove the record and everything listed from it; return what it was, or None if there was none.

        With `owner`, the image of anybody else is as good as not there.
        """
        ...

    async def ping(self) -> None:
        """Return if the store answers."""
        ...

    async def close(self) -> None: ...


class UploadRepository(Protocol):
    """Uploads that were declared, for as long as they are kept (`kept_until`)."""

    async def declare(self, upload: Upload, *, replaces: Upload | None = None, claim: Claim | None = None) -> None:
        """Commit a new upload, in place of one that is no longer kept or that it `replaces`, else raise UploadExists.

        With `claim` the commit also holds its result, the Upload as JSON, or ClaimLost is raised.
        """
        ...

    async def get(self, image_id: str, *, ended: bool = False) -> Upload | None:
        """Return an upload; with `ended` also one that is no longer kept, for as long as the store happens to have it.

        What the store does not have can't be completed any more, not even by who has begun to.
        """
        ...

    async def pin(self, image_id: str, sha256: str) -> bool:
        """Fix the checksum of the bytes. Return False if it is fixed to another one, or the upload is not open."""
        ...

    async def cancel(self, image_id: str) -> bool:
        """Remove an upload if it is open, and tell whether it was: from then on nobody can complete it."""
        ...

    async def expired(self) -> list[Upload]:
        """Return what is no longer kept, and wants to be forgotten; nothing if the store does so by itself."""
        ...

    async def forget(self, uploads: Sequence[Upload]) -> None:
        """Remove those of them that have not changed since they were read."""
        ...


class ClaimRepository(Protocol):
    """Holds on idempotency keys."""

    async def take(self, claim: Claim) -> Claim:
        """Take the key if nobody has it, or whoever has it is dead or expired. Return who has it then."""
        ...

    async def finish(self, claim: Claim, result: bytes) -> None:
        """Record what the request came to. Raises ClaimLost."""
        ...

    async def release(self, claim: Claim) -> None:
        """Let the key go, if it is still held by this claim and has no result."""
        ...

    async def release_orphans(self) -> None:
        """Let go the keys of requests that are certainly dead, as all are when the only server of a store starts."""
        ...

    async def remove_expired(self) -> None:
        """Remove what has expired, unless the store does so by itself."""
        ...


class PublicKeys(Protocol):
    """What an issuer of tokens signs them with."""

    async def find(self, key_id: str | None) -> Any:
        """Return the key, or without an id the only one; None if there is none. Raises KeysUnavailable."""
        ...


class Audit(Protocol):
    """Looks at the whole of the metadata. It takes as long as there are images: it is for maintenance alone."""

    def records(self) -> AsyncIterator[Image]:
        """Yield every record, in no order; those that come or go meanwhile may be among them or not."""
        ...

    def findings(self, before: dt.datetime) -> AsyncIterator[Finding]:
        """Yield entries and counters that don't agree with the records, and were so before that moment already.

        A finding is best mended before the next one is asked for: counters come last, and count what is mended.
        """
        ...

    async def mend(self, finding: Finding) -> None:
        """Mend a finding of its own, unless it has become right by itself."""
        ...


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

    async def create(self, key: str, payload: Payload, *, content_type: str) -> bool:
        """Store the object, durably, if there is none, and tell so; else what there is has become durable."""
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

    def leftovers(self) -> AsyncIterator[ObjectInfo]:
        """Yield what writes that broke off have left: no objects, but `delete` takes their keys."""
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
