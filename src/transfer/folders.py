"""Importing a folder: every picture below it that its owner does not have yet.

What counts is the bytes. So an import that broke off is just begun again, and what is there already is not sent.
"""

import mimetypes
import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import batched
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..client import Client
from ..common.errors import QuotaExceeded, ServiceError
from ..models.image import CONTENT_TYPE_OF
from .archives import sha256_of
from .parallel import in_order
from .results import Result, Status, refused

BATCH = 50  # files whose checksums are asked for at once
# Pictures by their names, besides what Python's own table has: it does not have all of them, nor the service.
_EXTENSIONS = {*CONTENT_TYPE_OF, "jfif", "heic", "heif"}


class Found(NamedTuple):
    """A file: its `name` is the path below the folder, its size in bytes."""

    path: Path
    name: str
    size: int


class FolderOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the pictures of a folder are imported; without `user_id` they are the caller's."""

    user_id: str | None = None
    tags: Sequence[str] = ()
    tags_from_folders: bool = False
    dry_run: bool = False
    jobs: int = 4

    def tags_of(self, found: Found) -> tuple[str, ...]:
        folders = Path(found.name).parent.parts if self.tags_from_folders else ()
        return (*self.tags, *folders)


def scan(root: Path) -> tuple[list[Found], list[Result]]:
    """Return the files below a folder that look like pictures by their names, and what came of the others; by name.

    Hidden ones are left out.
    """
    pictures: list[Found] = []
    others: list[Result] = []

    def skip(path: Path, detail: str, *, size: int = 0, status: Status = "skipped", code: str | None = None) -> None:
        others.append(Result(path=_name(path, root), status=status, size=size, detail=detail, code=code))

    def unreadable(error: OSError) -> None:
        skip(Path(error.filename), error.strerror or str(error), status="refused", code="unreadable")

    for directory, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        for folder in folders:
            if (link := Path(directory, folder)).is_symlink():
                skip(link, "is a link to a folder, which is not followed")
        for name in names:
            if name.startswith("."):
                continue
            path = Path(directory, name)
            try:
                status = path.stat()
            except OSError as error:
                unreadable(error)
                continue
            if stat.S_ISREG(status.st_mode) and _is_picture(name):
                pictures.append(Found(path, _name(path, root), status.st_size))
            else:
                skip(path, "is no picture", size=status.st_size)
    return sorted(pictures, key=lambda found: found.name), sorted(others, key=lambda other: other.path)


def _is_picture(name: str) -> bool:
    """Tell whether a file looks like a picture by its name; those that are not accepted are to be told of, too."""
    extension = name.rpartition(".")[2].lower()
    return extension in _EXTENSIONS or (mimetypes.guess_type(name)[0] or "").startswith("image/")


def _name(path: Path, root: Path) -> str:
    """Return the path below the root as text that can be printed: a file's name may be of any bytes."""
    return os.fsencode(path.relative_to(root).as_posix()).decode(errors="replace")


def import_pictures(client: Client, pictures: Iterable[Found], options: FolderOptions) -> Iterator[Result]:
    """Upload what is not there yet, and yield what came of each file, in order.

    Raises the ServiceError that all further files would meet; whatever was yielded by then is done.
    """
    with closing(_steps(client, pictures, options)) as steps:
        yield from in_order(lambda step: step(), steps, jobs=options.jobs)


def _steps(client: Client, pictures: Iterable[Found], options: FolderOptions) -> Generator[Callable[[], Result]]:
    seen: dict[str, str] = {}  # by checksum, the first file that has it
    with closing(in_order(_hashed, pictures, jobs=options.jobs)) as hashed:
        for batch in batched(hashed, BATCH):
            new = dict.fromkeys(digest for _, digest in batch if isinstance(digest, str) and digest not in seen)
            there = client.checksums(list(new), user_id=options.user_id) if new else {}
            for found, digest in batch:
                result = Result(path=found.name, status="missing", size=found.size)
                if isinstance(digest, OSError):
                    result = refused(client, result, digest)
                elif digest in seen:
                    detail = f"has the same bytes as {seen[digest]}"
                    result = msgspec.structs.replace(result, status="repeated", detail=detail)
                elif image_id := there.get(digest):
                    result = msgspec.structs.replace(result, status="present", image_id=image_id)
                if isinstance(digest, str):
                    seen.setdefault(digest, found.name)
                if result.status == "missing" and not options.dry_run:
                    yield _upload(client, found, options, result)
                else:
                    yield _done(result)


def _hashed(found: Found) -> tuple[Found, str | OSError]:
    try:
        return found, sha256_of(found.path)
    except OSError as error:
        return found, error


def _done(result: Result) -> Callable[[], Result]:
    return lambda: result


def _upload(client: Client, found: Found, options: FolderOptions, result: Result) -> Callable[[], Result]:
    def upload() -> Result:
        try:
            # Whoever else uploads the same bytes meanwhile, such as a run that was killed and goes on in the server,
            # nothing is stored twice.
            image = client.upload(
                found.path, user_id=options.user_id, tags=options.tags_of(found), on_duplicate="return"
            )
        except QuotaExceeded:
            raise  # all of them have the same owner
        except (ServiceError, OSError, ValueError) as error:
            return refused(client, result, error)
        status: Status = "uploaded" if image.is_new else "present"
        return msgspec.structs.replace(result, status=status, image_id=image.image_id)

    return upload
