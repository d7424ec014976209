"""What vanishes by itself, where the stores do not see to it: uploads nobody completed, old idempotency keys."""

import asyncio
import datetime as dt
import logging

from ..common.ids import is_id
from ..models.image import image_id_of, original_key
from ..models.upload import FORM_LIFE, INCOMING, Upload, incoming_key
from ..repositories.ports import ClaimRepository, ObjectStore, UploadRepository
from .garbage import discard

log = logging.getLogger(__name__)

EVERY = 600  # seconds


class Housekeeper:
    def __init__(self, *, uploads: UploadRepository, claims: ClaimRepository, objects: ObjectStore) -> None:
        self._uploads = uploads
        self._claims = claims
        self._objects = objects

    async def run(self) -> None:
        """Sweep now and then, until cancelled. What fails is logged, and tried again the next time."""
        while True:
            try:
                await self.sweep()
            except Exception:
                log.warning("the sweep of old uploads failed", exc_info=True)
            await asyncio.sleep(EVERY)

    async def begin(self) -> None:
        """Put in order what requests that died with the last server have left."""
        await self._claims.release_orphans()

    async def sweep(self) -> None:
        """Remove the bytes of uploads that are no longer kept, then these, then bytes that came after their end."""
        expired = await self._uploads.expired()
        for upload in expired:
            if not upload.completed:
                await self._discard(upload, incoming_key(upload))
                await self._discard(upload, original_key(upload.image_id, upload.content_type))
                log.info("an upload was never completed", extra={"image_id": upload.image_id})
        await self._uploads.forget(expired)
        await self._claims.remove_expired()
        end = dt.datetime.now(dt.UTC) - FORM_LIFE
        stale = [info.key async for info in self._objects.list(INCOMING) if info.modified_at < end]
        for key in stale:
            if not await self.is_awaited(key):
                await discard(self._objects, key)

    async def _discard(self, upload: Upload, key: str) -> None:
        """Delete bytes of an upload, unless its id was declared anew meanwhile: then they may be an image's by now."""
        if await self._uploads.get(upload.image_id, ended=True) == upload:
            await discard(self._objects, key)

    async def is_awaited(self, key: str) -> bool:
        """Tell whether an upload that is open may yet want the object below `incoming/`."""
        image_id = image_id_of(key)
        upload = await self._uploads.get(image_id) if is_id(image_id) else None
        return upload is not None and upload.completed is None and incoming_key(upload) == key
