"""Upload, read, list, change and delete images, in the order that keeps the invariant.

An image exists if and only if its record does. So the object is stored before the record is committed, and the record
is removed before the object: whatever fails or dies in between leaves at most an object that nobody can see.
"""

import asyncio
import datetime as dt
import logging
import random
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ..common.errors import ImageNotFound, OutcomeUnknown, PreconditionFailed, ServiceError, StoreUnavailable
from ..common.ids import in_milliseconds, is_id, new_id
from ..common.metrics import NO_METRICS, Metrics
from ..models.claim import Claim, Outcome
from ..models.image import Deletion, Image, ImagePatch, NewImage, default_filename, original_key
from ..models.page import ImageQuery, Page
from ..models.rendition import renditions_prefix
from ..models.usage import TagPage, TagQuery, Usage
from ..repositories.ports import ImageRepository, ObjectStore
from .acceptance import accepted, note_upload
from .garbage import discard
from .inspection import InspectionService
from .room import Room

log = logging.getLogger(__name__)

ATTEMPTS = 20  # to change an image that others change at the same time
PAUSE = 0.01  # seconds, twice as long after each attempt: dozens who change one image get out of each other's way
LONGEST_PAUSE = 0.5
DELETIONS_AT_ONCE = 8


class ImageService:
    """With `owner` given, the images of others are as good as not there; None is for those who see everybody's."""

    def __init__(
        self,
        *,
        repository: ImageRepository,
        objects: ObjectStore,
        inspection: InspectionService,
        room: Room,
        metrics: Metrics = NO_METRICS,
    ) -> None:
        self._repository = repository
        self._objects = objects
        self._inspection = inspection
        self._room = room
        self._metrics = metrics

    async def upload(self, new: NewImage, *, claim: Claim | None = None) -> Outcome:
        """Verify, store and commit an image, and with it the result of the claim.

        With `return_duplicate` the owner's existing image of the same bytes is returned instead, where there is one.
        Raises a ServiceError, or ClaimLost, and leaves nothing behind if the picture is refused or a store fails.
        """
        await self._room.check(new.user_id, new.payload.size, return_duplicate=new.return_duplicate)
        image = await accepted(new, new_id(), self._inspection)
        key = original_key(image.image_id, image.content_type)
        try:
            await self._objects.put(key, new.payload, content_type=image.content_type)
        except Exception:
            await discard(self._objects, key)
            raise
        try:
            committed = await self._repository.add(image, return_duplicate=new.return_duplicate, claim=claim)
        except OutcomeUnknown:
            raise  # the record may exist, and then its object must; if it doesn't, reconcile finds the object
        except Exception:
            await discard(self._objects, key)
            raise
        if committed.image_id != image.image_id:
            await discard(self._objects, key)
            log.info("upload is a duplicate", extra={"image_id": committed.image_id})
            return Outcome(committed, False)
        note_upload(image, self._metrics)
        return Outcome(committed, True)

    async def get(self, image_id: str, *, owner: str | None) -> Image:
        """Raise ImageNotFound if there is no such image."""
        image = await self._repository.get(image_id) if is_id(image_id) else None
        if image is None or owner not in (None, image.user_id):
            raise ImageNotFound(image_id)
        return image

    async def list(self, query: ImageQuery, *, owner: str | None) -> Page:
        if is_foreign(query.user_id, owner):
            return Page((), None)
        return await self._repository.list(msgspec.structs.replace(query, user_id=owner or query.user_id))

    async def tags(self, query: TagQuery, *, owner: str | None) -> TagPage:
        if is_foreign(query.user_id, owner):
            return TagPage((), None)
        return await self._repository.tags(msgspec.structs.replace(query, user_id=owner or query.user_id))

    async def usage(self, user_id: str | None, *, owner: str | None) -> Usage:
        if is_foreign(user_id, owner):
            return Usage(0, 0)
        return await self._repository.usage(owner or user_id)

    async def find_by_checksum(self, user_id: str, checksums: Sequence[str], *, owner: str | None) -> Mapping[str, str]:
        """Return, by SHA-256, which image a user has with these bytes: the one that a duplicate would be."""
        if is_foreign(user_id, owner):
            return {}
        return await self._repository.find_by_checksum(user_id, checksums)

    async def update(
        self, image_id: str, patch: ImagePatch, *, is_wanted: Callable[[Image], bool], owner: str | None
    ) -> Image:
        """Change what the patch names, in the record and all lists at once, and return the image as it then is.

        Raises ImageNotFound, or PreconditionFailed if the image is not wanted as it is.
        """
        for attempt in range(ATTEMPTS):
            image = await self.get(image_id, owner=owner)
            if not is_wanted(image):
                raise PreconditionFailed(f"The image is at version {image.version}, which is not what If-Match names.")
            changed = _patched(image, patch)
            if changed == image:
                return image
            if await self._repository.replace(image, changed):
                log.info("image changed", extra={"image_id": image_id, "version": changed.version})
                return changed
            pause = min(PAUSE * 2**attempt, LONGEST_PAUSE)
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
        raise StoreUnavailable("The image keeps changing.")

    async def delete(self, image_id: str, *, owner: str | None) -> None:
        """Raise ImageNotFound if there is no such image (any more)."""
        image = await self._repository.remove(image_id, owner=owner) if is_id(image_id) else None
        if image is None:
            raise ImageNotFound(image_id)
        await discard(self._objects, original_key(image.image_id, image.content_type))
        await discard(self._objects, renditions_prefix(image_id))
        log.info("image deleted", extra={"image_id": image_id})

    async def delete_all(self, image_ids: Sequence[str], *, owner: str | None) -> tuple[Deletion, ...]:
        """Delete images, each by itself, and say what came of it."""
        at_once = asyncio.Semaphore(DELETIONS_AT_ONCE)

        async def delete(image_id: str) -> Deletion:
            try:
                async with at_once:
                    await self.delete(image_id, owner=owner)
            except ImageNotFound:
                return Deletion(image_id, "not_found")
            except Exception as error:  # whatever it is, the others' results must not be lost
                log.exception("an image was not deleted", extra={"image_id": image_id})
                return Deletion(
                    image_id, "failed", error.code if isinstance(error, ServiceError) else ServiceError.code
                )
            return Deletion(image_id, "deleted")

        return tuple(await asyncio.gather(*(delete(image_id) for image_id in image_ids)))


def is_foreign(user_id: str | None, owner: str | None) -> bool:
    """Tell whether a query is for the images of somebody whom the caller does not see."""
    return user_id is not None and owner is not None and user_id != owner


def _patched(image: Image, patch: ImagePatch) -> Image:
    named = {name: value for name, value in msgspec.structs.asdict(patch).items() if value is not None}
    if named.get("filename") == "":
        named["filename"] = default_filename(image.image_id, image.content_type)
    changed = msgspec.structs.replace(image, **named)
    if changed == image:
        return image
    moment = in_milliseconds(dt.datetime.now(dt.UTC))
    return msgspec.structs.replace(changed, updated_at=max(moment, image.updated_at), version=image.version + 1)
