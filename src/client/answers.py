"""Answers that say more than what is on the wire."""

import httpx
import msgspec

from ..models.image import Image
from .session import read


class UploadedImage(Image, frozen=True, kw_only=True):
    """An image that an upload came to: a new one, or one with the same bytes that was there already."""

    is_new: bool

    @classmethod
    def of(cls, answer: httpx.Response) -> "UploadedImage":
        return cls(**msgspec.structs.asdict(read(answer, Image)), is_new=answer.status_code == 201)


def plain(image: Image) -> Image:
    """Return the record alone, without what else an answer had."""
    return Image(**{name: getattr(image, name) for name in Image.__struct_fields__})
