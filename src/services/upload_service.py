"""Direct uploads: declared here, sent straight to the object store, completed here.

Nothing of one can be seen until it is completed. The bytes under its key may change until then, so a completion first
fixes their checksum: whatever is stored as the image's own bytes are the same ones, however many complete it at once
and wherever they break off. Of an image that keeps its id there may have been others before: see `restoring`.
"""

import asyncio
import datetime as dt
import logging
from contextlib import closing

import msgspec

from ..common.errors import (
    FieldError,
    ImageNotFound,
    ObjectNotFound,
    PayloadTooLarge,
    QuotaExceeded,
    UnacceptableImage,
    UnsupportedImageFormat,
    UploadChanged,
    UploadCompleted,
    UploadIncomplete,
    UploadMismatch,
    UploadNotFound,
)
from ..common.ids import is_id, new_id
from ..common.metrics import NO_METRICS, Metrics
from ..common.payload import Payload
from ..models.caller import ANONYMOUS
from ..models.claim import Claim, Outcome
from ..models.image import Details, Image, NewImage, original_key
from ..models.rendition import renditions_prefix
from ..models.upload import FORM_LIFE, NewUpload, Upload, incoming_key
from ..repositories.ports import ClaimRepository, ImageRepository, ObjectStore, UploadNotOpen, UploadRepository
from . import restoring
from .acceptance import accepted, note_upload
from .garbage import discard
from .inspection import InspectionService
from .room import Room

log = logging.getLogger(__name__)


class UploadService:
    """With `owner` given, the uploads of others are as good as not there; None is for those who see everybody's."""

    def __init__(
        self,
        *,
        uploads: UploadRepository,
        claims: ClaimRepository,
        repository: ImageRepository,
        objects: ObjectStore,
        inspection: InspectionService,
        room: Room,
        max_size: int,
        metrics: Metrics = NO_METRICS,
    ) -> None:
        self._uploads = uploads
        self._claims = claims
        self._repository = repository
        self._objects = objects
        self._inspection = inspection
        self._room = room
        self._max_size = max_size
        self._metrics = metrics

    async def declare(self, new: NewUpload, *, claim: Claim | None = None) -> Upload:
        """Take note of an upload, and with it the result of the claim.

        Raises PayloadTooLarge, QuotaExceeded or ClaimLost; for an image that is restored also InvalidRequest, or
        ImageExists if its id is taken. An upload of the same that is open goes on, for as long as a new one.
        """
        if new.image_id is not None:
            new = restoring.as_it_was(new, new.image_id)
        if new.size > self._max_size:
            wanted = f"wants at most {self._max_size} bytes, got {new.size}"
            raise PayloadTooLarge(f"size: {wanted}", errors=(FieldError("size", wanted),))
        try:
            await self._room.check(new.user_id, new.size, return_duplicate=new.return_duplicate)
        except QuotaExceeded:
            if new.image_id is not None:  # what is there already needs no room
                await restoring.refuse_taken(self._repository, new.image_id)
            raise
        # Whole seconds, as forms have it.
        expires_at = dt.datetime.now(dt.UTC).replace(microsecond=0) + FORM_LIFE
        fields = {**msgspec.structs.asdict(new), "image_id": new.image_id or new_id()}
        upload = Upload(**fields, expires_at=expires_at)
        if new.image_id is None:
            await self._uploads.declare(upload, claim=claim)
        else:
            upload = await restoring.declare(self._uploads, self._repository, upload, claim)
        log.info("upload declared", extra={"image_id": upload.image_id, "size": upload.size})
        return upload

    async def get(self, image_id: str, *, owner: str | None) -> Upload:
        """Raise UploadNotFound if there is no such upload (any more)."""
        upload = await self._uploads.get(image_id) if is_id(image_id) else None
        if upload is None or _is_foreign(upload, owner):
            raise UploadNotFound(image_id)
        return upload

    async def is_received(self, upload: Upload) -> bool:
        """Tell whether the bytes are in the object store."""
        try:
            await self._objects.head(incoming_key(upload))
        except ObjectNotFound:
            return False
        return True

    async def cancel(self, image_id: str, *, owner: str | None) -> None:
        """Forget an upload and its bytes. Raises UploadNotFound or UploadCompleted."""
        upload = await self.get(image_id, owner=owner)
        if upload.completed or not await self._uploads.cancel(image_id):
            upload = await self.get(image_id, owner=owner)
            raise UploadCompleted(f"The upload is the image {upload.completed}: delete that.")
        await self._discard(upload)
        log.info("upload cancelled", extra={"image_id": image_id})

    async def complete(self, image_id: str, *, owner: str | None, claim: Claim | None = None) -> Outcome:
        """Verify and commit what was uploaded; if that is done already, return the image.

        Raises UploadNotFound, UploadIncomplete, UploadChanged, ImageNotFound if the image is deleted by now,
        or what says why the bytes are not acceptable: then they are gone, and may be sent anew.
        """
        upload = await self._uploads.get(image_id) if is_id(image_id) else None
        if upload and _is_foreign(upload, owner):
            raise UploadNotFound(image_id)
        if upload is None or upload.completed:
            return await self._completed(image_id, upload, owner, claim)
        try:
            payload = await self._objects.fetch(incoming_key(upload))
        except ObjectNotFound as error:
            now = await self._uploads.get(image_id)
            if now is None or now.completed:  # by somebody else, just now
                return await self._completed(image_id, now, owner, claim)
            raise UploadIncomplete("Nothing has been uploaded yet: send the form first.") from error
        with closing(payload):
            try:
                image = await self._verified(upload, payload)
                if not await self._uploads.pin(image_id, image.sha256):
                    now = await self._uploads.get(image_id)
                    if now is None or now.completed:
                        return await self._completed(image_id, now, owner, claim)
                    raise UploadChanged("The upload was being completed with other bytes. Declare a new one.")
            except (PayloadTooLarge, UnacceptableImage, UnsupportedImageFormat):
                await self._discard_refused(upload, payload)
                raise
            # If this or the commit fails it may stay: somebody else may be about to commit the same bytes. It goes
            # with the upload.
            is_restored = upload.version is not None
            if is_restored:
                await discard(self._objects, renditions_prefix(image_id))  # which may be of other bytes
            await restoring.store(self._objects, image, payload)
            outcome = await self._commit(upload, image, owner, claim)
            if is_restored and outcome.is_new:
                await restoring.see_to(self._repository, self._objects, image, payload)
            return outcome

    async def _verified(self, upload: Upload, payload: Payload) -> Image:
        new = NewImage(payload=payload, **{name: getattr(upload, name) for name in Details.__struct_fields__})
        image = await accepted(new, upload.image_id, self._inspection)
        errors = tuple(
            FieldError(field, f"was declared as {declared}, is {found}")
            for field, declared, found in (
                ("size", upload.size, image.size),
                ("content_type", upload.content_type, image.content_type),
                ("sha256", upload.sha256 or image.sha256, image.sha256),
            )
            if declared != found
        )
        if errors:
            raise UploadMismatch("; ".join(f"{e.field} {e.message}" for e in errors), errors=errors)
        if upload.version is not None and upload.updated_at is not None:
            return msgspec.structs.replace(image, version=upload.version, updated_at=upload.updated_at)
        return image

    async def _commit(self, upload: Upload, image: Image, owner: str | None, claim: Claim | None) -> Outcome:
        try:
            committed = await self._repository.add(
                image, return_duplicate=upload.return_duplicate, completes=True, claim=claim
            )
        except UploadNotOpen:
            now = await self._uploads.get(upload.image_id)
            # Cancelled, or at its end: nobody can commit it any more, so what is not committed never will be.
            if now is None and await self._repository.get(upload.image_id) is None:
                await self._discard(upload)
            if now and not now.completed:  # cancelled, and declared anew for other bytes
                raise UploadChanged("The upload was declared anew with other bytes.") from None
            return await self._completed(upload.image_id, now, owner, claim)
        await discard(self._objects, incoming_key(upload))
        if committed.image_id != image.image_id:
            await discard(self._objects, original_key(image.image_id, image.content_type))
            log.info("upload is a duplicate", extra={"image_id": committed.image_id})
            return Outcome(committed, False)
        note_upload(image, self._metrics)
        return Outcome(committed, True)

    async def _completed(self, image_id: str, upload: Upload | None, owner: str | None, claim: Claim | None) -> Outcome:
        """Return the image that the upload has become. After some time only the image itself tells of it."""
        became = upload.completed if upload and upload.completed else image_id
        image = await self._repository.get(became) if is_id(became) else None
        if image is None or owner not in (None, image.user_id):
            raise ImageNotFound(became) if upload else UploadNotFound(image_id)
        outcome = Outcome(image, False)
        if claim:
            await self._claims.finish(claim, msgspec.json.encode(outcome))
        return outcome

    async def _discard_refused(self, upload: Upload, refused: Payload) -> None:
        """Delete the bytes that were refused, unless others have been sent meanwhile."""
        try:
            with closing(await self._objects.fetch(incoming_key(upload))) as current:
                digests = await asyncio.to_thread(lambda: (current.sha256(), refused.sha256()))
        except ObjectNotFound:
            return
        except Exception:  # it must not hide what the caller has to say; the bytes go with the upload
            log.warning("refused bytes are left behind", extra={"image_id": upload.image_id}, exc_info=True)
            return
        if digests[0] == digests[1]:
            await discard(self._objects, incoming_key(upload))

    async def _discard(self, upload: Upload) -> None:
        """Delete all bytes of an upload that can't be completed any more."""
        await discard(self._objects, incoming_key(upload))
        await discard(self._objects, original_key(upload.image_id, upload.content_type))


def _is_foreign(upload: Upload, owner: str | None) -> bool:
    return owner not in (None, upload.user_id or ANONYMOUS)
