"""Images that keep their id: what may be said of one, and how its bytes are stored where others may have been.

An id that comes again may meet what is left of its former life: an object, renditions, a deletion or a completion that
is still at work. So bytes are never stored over others, and looked for once more when the record is there.
"""

import asyncio
import datetime as dt
import logging
from contextlib import closing

import msgspec

from ..common.errors import ImageExists, InvalidRequest, ObjectNotFound, StoreUnavailable, UploadChanged
from ..common.ids import created_at, first_id_at, in_milliseconds
from ..common.payload import Payload
from ..models.claim import Claim
from ..models.image import Image, original_key
from ..models.upload import NewUpload, Upload
from ..repositories.ports import ImageRepository, ObjectStore, UploadExists, UploadRepository
from .garbage import discard

log = logging.getLogger(__name__)

CLOCKS_DIFFER = dt.timedelta(minutes=1)
ROUNDS = 5  # when others declare the same id
ATTEMPTS = 3  # to store what others delete at the same time


def as_it_was(new: NewUpload, image_id: str) -> NewUpload:
    """Return the declaration with all that it leaves open. Raises InvalidRequest for times that can't be."""
    latest = dt.datetime.now(dt.UTC) + CLOCKS_DIFFER
    if image_id >= first_id_at(latest):
        raise InvalidRequest.field("image_id", "wants one that was made by now; its time lies in the future")
    moment = created_at(image_id)
    updated_at = in_milliseconds(new.updated_at or moment)
    if updated_at < moment:
        raise InvalidRequest.field("updated_at", f"wants no time before the image was made, {moment.isoformat()}")
    if updated_at > latest:
        raise InvalidRequest.field("updated_at", "wants no time in the future")
    return msgspec.structs.replace(new, version=new.version or 1, updated_at=updated_at)


def _continues(upload: Upload, open_upload: Upload) -> bool:
    """Tell whether a declaration says the same as the one that is open, but for when; bytes may be fixed by now."""
    same = msgspec.structs.replace(upload, sha256=open_upload.sha256, expires_at=open_upload.expires_at)
    return same == open_upload and (upload.sha256 is None or open_upload.sha256 in (None, upload.sha256))


async def refuse_taken(repository: ImageRepository, image_id: str) -> None:
    """Raise ImageExists if there is an image with that id."""
    if await repository.get(image_id) is not None:
        raise ImageExists(f"There is an image {image_id} already.")


async def declare(
    uploads: UploadRepository, repository: ImageRepository, upload: Upload, claim: Claim | None
) -> Upload:
    """Take note of an upload, or let the same one go on. Raises ImageExists if the id is taken, or ClaimLost."""
    for _ in range(ROUNDS):
        # The upload first: if it becomes an image in between, the image is seen, or that the upload has changed.
        known = await uploads.get(upload.image_id)
        await refuse_taken(repository, upload.image_id)
        if known and not known.completed:
            if not _continues(upload, known):
                raise ImageExists("An upload with this id and other content is open: complete or cancel that.")
            upload = msgspec.structs.replace(upload, sha256=known.sha256 or upload.sha256)
        try:
            await uploads.declare(upload, replaces=known, claim=claim)
        except UploadExists:
            continue  # somebody else has just declared, completed or cancelled it
        return upload
    raise StoreUnavailable("The upload keeps changing.")


async def store(objects: ObjectStore, image: Image, payload: Payload) -> None:
    """Store the image's own bytes, if they are not there. Raises UploadChanged if there are others."""
    key = original_key(image.image_id, image.content_type)
    for _ in range(ATTEMPTS):
        if await objects.create(key, payload, content_type=image.content_type):
            return
        try:
            with closing(await objects.fetch(key)) as found:
                sha256 = await asyncio.to_thread(found.sha256)
        except ObjectNotFound:  # somebody has just deleted it
            continue
        if sha256 != image.sha256:
            raise UploadChanged("Other bytes are stored under this id. Cancel the upload, and declare it anew.")
        return
    raise StoreUnavailable("The object is being deleted.")


async def see_to(repository: ImageRepository, objects: ObjectStore, image: Image, payload: Payload) -> None:
    """Store the bytes once more, should a deletion of the id's former image have taken them since. It never raises."""

    async def is_there() -> bool:
        now = await repository.get(image.image_id)
        return now is not None and now.sha256 == image.sha256

    key = original_key(image.image_id, image.content_type)
    try:
        try:
            await objects.head(key)
        except ObjectNotFound:
            if not await is_there():  # it was deleted
                return
            log.warning("a deletion took the object of an image that was restored", extra={"key": key})
            if await objects.create(key, payload, content_type=image.content_type) and not await is_there():
                await discard(objects, key)
    except Exception:  # the image is committed
        log.exception("the object of a restored image could not be looked at", extra={"key": key})
