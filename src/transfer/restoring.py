"""Importing an export: every image as it was, with its id, owner, times and version."""

from collections.abc import Iterable, Iterator
from functools import partial

import msgspec

from ..client import Client
from ..common.errors import ImageExists, ServiceError
from ..models.image import Image
from .archives import Archive
from .parallel import in_order
from .results import Result, refused

# What is measured of the bytes: another version may measure in another way.
_MEASURED = frozenset({"width", "height", "frames", "color", "placeholder"})


def restore(
    client: Client, archive: Archive, records: Iterable[Image | str], *, as_new: bool = False, jobs: int
) -> Iterator[Result]:
    """Upload the images that are not there yet, and yield what came of each, in order.

    With `as_new` they get ids and times of their own, as in any upload, unless their owner has the same bytes already.
    Raises the ServiceError that all further images would meet.
    """
    yield from in_order(partial(_one, client, archive, as_new=as_new), records, jobs=jobs)


def _one(client: Client, archive: Archive, record: Image | str, *, as_new: bool) -> Result:
    if isinstance(record, str):
        return Result(path="metadata.jsonl", status="refused", code="invalid_record", detail=record)
    path = archive.path_of(record)
    result = Result(
        path=path.relative_to(archive.root).as_posix(), status="present", size=record.size, image_id=record.image_id
    )
    try:
        if as_new:
            image = client.upload(
                path,
                user_id=record.user_id,
                filename=record.filename,
                tags=record.tags,
                description=record.description,
                on_duplicate="return",
            )
            status = "uploaded" if image.is_new else "present"
            return msgspec.structs.replace(result, status=status, image_id=image.image_id)
        image = client.restore(record, path)
        return msgspec.structs.replace(result, status="restored" if image.is_new else "present")
    except ImageExists:
        return _compared(client, record, result)
    except (ServiceError, OSError, ValueError) as error:
        return msgspec.structs.replace(refused(result.path, record.size, error), image_id=record.image_id)


def _compared(client: Client, record: Image, result: Result) -> Result:
    """Say how what is there differs from what is in the export, if it does."""
    there = client.get(record.image_id)
    differing = [
        name
        for name in Image.__struct_fields__
        if name not in _MEASURED and getattr(there, name) != getattr(record, name)
    ]
    if there.sha256 != record.sha256:
        return msgspec.structs.replace(
            result, status="refused", code=ImageExists.code, detail="another picture has its id"
        )
    if differing:
        return msgspec.structs.replace(result, detail=f"is there with another {', '.join(differing)}: it stays so")
    return result
