"""Reconciliation: what a crash may leave behind is found and removed, and what does not agree is mended.

Records decide: an image exists if and only if its record does. What is younger than the grace period may belong to a
request that is still running, and is never touched. What looks wrong in the listings is looked at once more, since
they don't show the stores at one moment.
"""

import datetime as dt
import logging
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from uuid import UUID

import msgspec

from ..common.errors import ObjectNotFound
from ..common.ids import is_id
from ..models.finding import LOST, Finding, Kind
from ..models.image import ORIGINALS, image_id_of, original_key
from ..models.rendition import RENDITIONS, renditions_prefix
from ..models.upload import INCOMING, kept_until
from ..repositories.ports import Audit, ImageRepository, ObjectInfo, ObjectStore, UploadRepository
from .housekeeping import Housekeeper

log = logging.getLogger(__name__)

WHOLE: Kind = "renditions without a record"  # the one of which all below a prefix goes


class Looked(msgspec.Struct, frozen=True):
    """Progress: one more record or object has been looked at."""

    at: str


class Reconciler:
    def __init__(
        self,
        *,
        repository: ImageRepository,
        uploads: UploadRepository,
        objects: ObjectStore,
        audit: Audit,
        housekeeper: Housekeeper,
    ) -> None:
        self._repository = repository
        self._uploads = uploads
        self._objects = objects
        self._audit = audit
        self._housekeeper = housekeeper

    async def is_misplaced(self) -> bool:
        """Tell whether there are originals and no record at all: one of the two may be another deployment's."""
        async for _ in self._audit.records():
            return False
        async for _ in self._objects.list(ORIGINALS):
            return True
        return False

    async def find(self, before: dt.datetime) -> AsyncGenerator[Finding | Looked]:
        """Look at everything, and yield what is wrong and was so before that moment. Mend each before the next."""
        images: dict[bytes, str | None] = {}  # by id, the content type; None once its object has been seen
        async for image in self._audit.records():
            images[UUID(image.image_id).bytes] = sys.intern(image.content_type)
            yield Looked(image.image_id)
        async for info in self._objects.list(ORIGINALS):
            yield Looked(info.key)
            if _is_of(info.key, images):
                images[UUID(image_id_of(info.key)).bytes] = None
            elif info.modified_at < before and await self._is_orphan(info.key, before):
                yield _object("object without a record", info)
        leftovers = [info async for info in self._objects.leftovers()]
        async for finding in self._renditions(images, leftovers, before):
            yield finding
        async for info in self._objects.list(INCOMING):
            if info.modified_at < before and not await self._housekeeper.is_awaited(info.key):
                yield _object("bytes without an upload", info)
        for id_, content_type in images.items():
            if content_type is not None and await self._is_lost(str(UUID(bytes=id_))):
                yield Finding(kind=LOST, what=str(UUID(bytes=id_)), detail=content_type)
        async for finding in self._audit.findings(before):
            yield finding

    async def mend(self, finding: Finding) -> None:
        """Remove or correct what was found. A record without its object is left: nobody can make the object again."""
        if finding.kind == LOST:
            return
        if finding.handle is not None:
            await self._audit.mend(finding)
        elif finding.kind == WHOLE:
            await self._objects.delete_below(finding.what)
        else:
            await self._objects.delete(finding.what)
        log.info("reconciled", extra={"kind": finding.kind, "what": finding.what})

    async def _is_orphan(self, key: str, before: dt.datetime) -> bool:
        image_id = image_id_of(key)
        if not is_id(image_id):
            return True
        # The upload first: if it is not open any more, its record is there by now or never will be.
        upload = await self._uploads.get(image_id, ended=True)
        since = min(before, dt.datetime.now(dt.UTC))
        if upload is not None and upload.completed is None and kept_until(upload) >= since:
            # It may be what somebody is about to commit: the upload is open, and it goes with that, or has just ended,
            # and what completes it may still be at work.
            return False
        image = await self._repository.get(image_id)
        return image is None or original_key(image_id, image.content_type) != key

    async def _renditions(
        self, images: Mapping[bytes, object], leftovers: Iterable[ObjectInfo], before: dt.datetime
    ) -> AsyncIterator[Finding | Looked]:
        """Also say what of the parts of broken writes goes: those beside renditions that go, go with them."""
        unknown: dict[str, list[ObjectInfo]] = {}  # by image id
        async for info in self._objects.list(RENDITIONS):
            yield Looked(info.key)
            image_id = _rendered_id(info.key)
            if image_id is None:
                # It shares its directory with what is no concern of its: it goes alone.
                if info.modified_at < before:
                    yield _object("object without a record", info)
            elif UUID(image_id).bytes not in images:
                unknown.setdefault(image_id, []).append(info)
        parts: list[ObjectInfo] = []
        for info in leftovers:
            image_id = _rendered_id(info.key)
            is_unknown = image_id is not None and UUID(image_id).bytes not in images
            (unknown.setdefault(image_id, []) if image_id and is_unknown else parts).append(info)
        for image_id, infos in unknown.items():
            if all(info.modified_at < before for info in infos) and await self._repository.get(image_id) is None:
                detail = f"{len(infos)} object{'s' if len(infos) > 1 else ''}"
                size = sum(info.size for info in infos)
                yield Finding(kind=WHOLE, what=renditions_prefix(image_id), size=size, detail=detail)
        for info in parts:
            if info.modified_at < before:
                yield _object("part of a broken write", info)

    async def _is_lost(self, image_id: str) -> bool:
        image = await self._repository.get(image_id)
        if image is None:
            return False
        try:
            await self._objects.head(original_key(image_id, image.content_type))
        except ObjectNotFound:
            return await self._repository.get(image_id) is not None
        return False


def _is_of(key: str, images: Mapping[bytes, str | None]) -> bool:
    """Tell whether an object is the original of one of the images."""
    image_id = image_id_of(key)
    content_type = images.get(UUID(image_id).bytes) if is_id(image_id) else None
    return content_type is not None and original_key(image_id, content_type) == key


def _rendered_id(key: str) -> str | None:
    """Return the id of the image that a key is of a rendition of."""
    image_id = image_id_of(key)
    return image_id if is_id(image_id) and key.startswith(renditions_prefix(image_id)) else None


def _object(kind: Kind, info: ObjectInfo) -> Finding:
    detail = f"of {info.modified_at:%Y-%m-%dT%H:%M:%SZ}"
    return Finding(kind=kind, what=info.key, size=info.size, detail=detail)
