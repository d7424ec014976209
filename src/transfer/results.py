"""What came of one file of many."""

from typing import Literal

import msgspec

from ..client import Client
from ..client.errors import ServiceUnreachable, UnexpectedAnswer
from ..common.errors import (
    InsufficientScope,
    KeysUnavailable,
    LimitReached,
    ServiceError,
    StoreUnavailable,
    Unauthenticated,
)
from ..models.image import Image, original_key

type Status = Literal["uploaded", "restored", "downloaded", "present", "repeated", "missing", "skipped", "refused"]

MOVED: frozenset[Status] = frozenset({"uploaded", "restored", "downloaded"})

# What all other files would meet as well.
_FOR_ALL = (InsufficientScope, KeysUnavailable, LimitReached, Unauthenticated)
# What may be the fault of this file, or of the service.
_OUTAGES = (ServiceUnreachable, StoreUnavailable, UnexpectedAnswer)


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a file: `path` below the folder, `size` in bytes, and what is wrong or to be known of it.

    `repeated` is a file whose bytes stand in the folder twice, `missing` one that is not there yet (and stays so, in a
    dry run) or not any more, `skipped` one that is no picture.
    """

    path: str
    status: Status
    size: int = 0
    image_id: str | None = None
    code: str | None = None
    detail: str | None = None


def result_of(image: Image) -> Result:
    """Return the result of an image in an export that is there, with its file and in the service."""
    path = original_key(image.image_id, image.content_type)
    return Result(path=path, status="present", size=image.size, image_id=image.image_id)


def refused(client: Client, result: Result, error: ServiceError | OSError | ValueError) -> Result:
    """Return what came of a file by this error. Raises the error once more if all others would meet it too."""
    if isinstance(error, OSError):
        return _refused(result, "unreadable", error.strerror or str(error))
    if isinstance(error, ValueError):  # it changed while it was read, or is not what its record says
        return _refused(result, "changed", str(error))
    if isinstance(error, _FOR_ALL) or (isinstance(error, _OUTAGES) and not _is_ready(client)):
        raise error
    return _refused(result, error.code, error.detail)


def _refused(result: Result, code: str, detail: str) -> Result:
    return msgspec.structs.replace(result, status="refused", code=code, detail=detail)


def _is_ready(client: Client) -> bool:
    try:
        client.ready()
    except ServiceError:
        return False
    return True
