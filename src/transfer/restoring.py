"""Importing an export: every image as it was, with its id, owner, times and version."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

import msgspec

from ..client import Client
from ..common.errors import ImageExists, ServiceError
from ..models.image import Image
from .archives import METADATA, Archive
from .parallel import in_order
from .results import Result, Status, refused, result_of

# What is measured of the bytes: another version may measure in another way.
_MEASURED = frozenset({"width", "height", "frames", "color", "placeholder"})
_COMPARED = tuple(name for name in Image.__struct_fields__ if name not in _MEASURED)


def restore(
    client: Client, archive: Archive, records: Iterable[Image | str], *, replace: bool = False, jobs: int
) -> Iterator[Result]:
    """Upload the images that are not there yet, and yield what came of each, in order.

    One that is there and is another one by now stays as it is; or it is replaced, if just what is said of it differs.
    Raises the ServiceError that all further images would meet.
    """

    def one(record: Image, result: Result) -> Result:
        path = archive.path_of(record)
        try:
            image = client.restore(record, path)
        except ImageExists:
            there = client.get(record.image_id)
            differing = [name for name in _COMPARED if getattr(there, name) != getattr(record, name)]
            if not differing:
                return result
            if not replace or there.sha256 != record.sha256:
                what = f"is there with another {', '.join(differing)}"
                return msgspec.structs.replace(result, status="refused", code=ImageExists.code, detail=what)
            client.delete(record.image_id)
            try:
                image = client.restore(record, path)
            except BaseException:
                with suppress(ServiceError):
                    client.restore(there, path)  # as it was, rather than not at all
                raise
        return msgspec.structs.replace(result, status="restored" if image.is_new else "present")

    yield from in_order(partial(_told, client, one), records, jobs=jobs)


def import_as_new(client: Client, archive: Archive, records: Iterable[Image | str], *, jobs: int) -> Iterator[Result]:
    """Do as `restore` does, but with new ids and times, unless an image's owner has the same bytes already."""

    def one(record: Image, result: Result) -> Result:
        path = archive.path_of(record)
        if not archive.has(record):
            path.stat()  # which says so if it is not there
            raise ValueError(f"is not the file of image {record.image_id}")
        image = client.upload(
            path,
            user_id=record.user_id,
            filename=record.filename,
            tags=record.tags,
            description=record.description,
            on_duplicate="return",
        )
        status: Status = "uploaded" if image.is_new else "present"
        return msgspec.structs.replace(result, status=status, image_id=image.image_id)

    yield from in_order(partial(_told, client, one), records, jobs=jobs)


def _told(client: Client, one: Callable[[Image, Result], Result], record: Image | str) -> Result:
    """Import one record, and say what came of it."""
    if isinstance(record, str):
        return Result(path=METADATA, status="refused", code="invalid_record", detail=record)
    result = result_of(record)
    try:
        return one(record, result)
    except (ServiceError, OSError, ValueError) as error:
        return refused(client, result, error)
