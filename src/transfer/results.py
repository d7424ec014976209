"""What came of one file of many."""

from typing import Literal

import msgspec

from ..client.errors import ServiceUnreachable, UnexpectedAnswer
from ..common.errors import (
    InsufficientScope,
    KeysUnavailable,
    LimitReached,
    QuotaExceeded,
    ServiceError,
    StoreUnavailable,
    Unauthenticated,
)

type Status = Literal["uploaded", "restored", "downloaded", "present", "repeated", "missing", "skipped", "refused"]

MOVED: frozenset[Status] = frozenset({"uploaded", "restored", "downloaded"})

# What all other files would meet as well.
_FOR_ALL = (
    InsufficientScope,
    KeysUnavailable,
    LimitReached,
    QuotaExceeded,
    ServiceUnreachable,
    StoreUnavailable,
    Unauthenticated,
)


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


def refused(path: str, size: int, error: ServiceError | OSError | ValueError) -> Result:
    """Return what came of a file that was refused. Raises the error once more if all others would meet it too."""
    if isinstance(error, OSError):
        return Result(path=path, status="refused", size=size, code="unreadable", detail=error.strerror or str(error))
    if isinstance(error, ValueError):  # it changed while it was read, or is not what its record says
        return Result(path=path, status="refused", size=size, code="changed", detail=str(error))
    if isinstance(error, _FOR_ALL) or (isinstance(error, UnexpectedAnswer) and (error.status or 0) >= 500):
        raise error
    return Result(path=path, status="refused", size=size, code=error.code, detail=error.detail)
