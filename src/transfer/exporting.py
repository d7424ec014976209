"""Exporting: originals and records of a service into a folder, from which they can be imported without loss."""

from collections.abc import Iterable, Iterator
from functools import partial

import msgspec

from ..client import Client
from ..common.errors import ImageNotFound, ObjectNotFound, ServiceError
from ..models.image import Image
from .archives import Archive, Writer
from .parallel import in_order
from .results import Result, refused, result_of


def export(client: Client, archive: Archive, images: Iterable[Image], *, jobs: int) -> Iterator[Result]:
    """Download what is not there yet of the images, within `archive.begun`, and yield what came of each.

    An export that broke off, or is older, is brought up to date; files of images that are gone by now stay, without a
    record. Raises the ServiceError that all further images would meet, or OSError; then the former records are still
    there.
    """
    with Writer(archive) as records:
        for image, result in in_order(partial(_fetch, client, archive), images, jobs=jobs):
            if result.status in ("downloaded", "present"):
                records.add(image)
            yield result
        records.finish()


def _fetch(client: Client, archive: Archive, listed: Image) -> tuple[Image, Result]:
    # Without the links that it may have in the list.
    image = Image(**{name: getattr(listed, name) for name in Image.__struct_fields__})
    path, result = archive.path_of(image), result_of(image)
    if archive.has(image):
        return image, result
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            client.download(image.image_id, path)
        except ObjectNotFound:
            client.get(image.image_id)  # is it gone, too? Else the service has lost its bytes
            raise
    except ImageNotFound:
        return image, msgspec.structs.replace(result, status="missing", detail="was deleted meanwhile")
    except ServiceError as error:
        return image, refused(client, result, error)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    return image, msgspec.structs.replace(result, status="downloaded")
