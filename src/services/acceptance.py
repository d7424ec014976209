"""What every way in ends with: the picture is verified, gets the record that it is to have, and is taken note of."""

import logging

from ..common.errors import DimensionsMismatch, FieldError
from ..common.ids import created_at
from ..common.metrics import UPLOAD_BYTES, UPLOADS, Metrics
from ..models.caller import ANONYMOUS
from ..models.image import Image, NewImage, Picture, default_filename
from .inspection import InspectionService

log = logging.getLogger(__name__)


async def accepted(new: NewImage, image_id: str, inspection: InspectionService) -> Image:
    """Return the record for an upload. Raises what `InspectionService.inspect` does, or DimensionsMismatch."""
    picture, sha256 = await inspection.inspect(new.payload)
    _check_stated_size(new, picture)
    moment = created_at(image_id)
    return Image(
        image_id=image_id,
        user_id=new.user_id or ANONYMOUS,
        filename=new.filename or default_filename(image_id, picture.content_type),
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


def note_upload(image: Image, metrics: Metrics) -> None:
    """Say that an image is committed."""
    log.info("image uploaded", extra={"image_id": image.image_id, "size": image.size})
    metrics.count(UPLOADS)
    metrics.count(UPLOAD_BYTES, amount=image.size)


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
