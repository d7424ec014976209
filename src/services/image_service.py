"""Upload, read, list and delete images, in the order that keeps the invariant.

An image exists if and only if its record does. So the object is stored before the record is committed, and the record
is removed before the object: whatever fails or dies in between leaves at most an object that nobody can see.
"""

import logging

from ..common.errors import DimensionsMismatch, FieldError, ImageNotFound, OutcomeUnknown
from ..common.ids import created_at, is_id, new_id
from ..models.image import EXTENSION_OF, Image, NewImage, Picture, original_key
from ..models.page import ImageQuery, Page
from ..models.rendition import renditions_prefix
from ..models.usage import TagPage, TagQuery, Usage
from ..repositories.ports import ImageRepository, ObjectStore
from .garbage import discard
from .inspection import InspectionService

log = logging.getLogger(__name__)

ANONYMOUS = "anonymous"


class ImageService:
    def __init__(self, *, repository: ImageRepository, objects: ObjectStore, inspection: InspectionService) -> None:
        self._repository = repository
        self._objects = objects
        self._inspection = inspection

    async def upload(self, new: NewImage) -> tuple[Image, bool]:
        """Verify, store and commit an image; return it, and whether it is new.

        With `return_duplicate` the owner's existing image of the same bytes is returned instead, where there is one.
        Raises a ServiceError and leaves nothing behind if the picture is refused or a store fails.
        """
        picture, sha256 = await self._inspection.inspect(new.payload)
        _check_stated_size(new, picture)
        image = _record(new, picture, sha256)
        key = original_key(image.image_id, image.content_type)
        try:
            await self._objects.put(key, new.payload, content_type=image.content_type)
        except Exception:
            await discard(self._objects, key)
            raise
        try:
            committed = await self._repository.add(image, return_duplicate=new.return_duplicate)
        except OutcomeUnknown:
            raise  # the record may exist, and then its object must; if it doesn't, reconcile finds the object
        except Exception:
            await discard(self._objects, key)
            raise
        if committed.image_id != image.image_id:
            await discard(self._objects, key)
            log.info("upload is a duplicate", extra={"image_id": committed.image_id})
            return committed, False
        log.info("image uploaded", extra={"image_id": image.image_id, "size": image.size})
        return committed, True

    async def get(self, image_id: str) -> Image:
        """Raise ImageNotFound if there is no such image."""
        image = await self._repository.get(image_id) if is_id(image_id) else None
        if image is None:
            raise ImageNotFound(image_id)
        return image

    async def list(self, query: ImageQuery) -> Page:
        return await self._repository.list(query)

    async def tags(self, query: TagQuery) -> TagPage:
        return await self._repository.tags(query)

    async def usage(self, user_id: str | None) -> Usage:
        return await self._repository.usage(user_id)

    async def delete(self, image_id: str) -> None:
        """Raise ImageNotFound if there is no such image (any more)."""
        image = await self._repository.remove(image_id) if is_id(image_id) else None
        if image is None:
            raise ImageNotFound(image_id)
        await discard(self._objects, original_key(image.image_id, image.content_type))
        await discard(self._objects, renditions_prefix(image_id))
        log.info("image deleted", extra={"image_id": image_id})


def _check_stated_size(new: NewImage, picture: Picture) -> None:
    errors = tuple(
        FieldError(field, f"wants {measured}, which is what the picture has, got {stated}")
        for field, stated, measured in (("width", new.width, picture.width), ("height", new.height, picture.height))
        if stated is not None and stated != measured
    )
    if errors:
        raise DimensionsMismatch(
            f"The picture is {picture.width} x {picture.height} pixels as displayed.", errors=errors
        )


def _record(new: NewImage, picture: Picture, sha256: str) -> Image:
    image_id = new_id()
    moment = created_at(image_id)
    return Image(
        image_id=image_id,
        user_id=new.user_id or ANONYMOUS,
        filename=new.filename or f"{image_id}.{EXTENSION_OF[picture.content_type]}",
        content_type=picture.content_type,
        size=new.payload.size,
        width=picture.width,
        height=picture.height,
        frames=picture.frames,
        tags=new.tags,
        description=new.description,
        sha256=sha256,
        color=picture.color,
        placeholder=picture.placeholder,
        created_at=moment,
        updated_at=moment,
        version=1,
    )
