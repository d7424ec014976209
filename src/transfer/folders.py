"""Importing a folder: every picture below it that its owner does not have yet.

What counts is the bytes. So an import that broke off is just begun again, and what is there already is not sent.
"""

import hashlib
import mimetypes
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import batched
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..client import Client
from ..common.errors import ServiceError
from ..models.image import CONTENT_TYPE_OF
from .parallel import in_order
from .results import Result, refused

BATCH = 50  # files whose checksums are asked for at once


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

    Hidden ones are left out, and links to folders are not followed.
    """
    pictures: list[Found] = []
    others: list[Result] = []

    def unreadable(error: OSError) -> None:
        others.append(refused(_name(Path(error.filename), root), 0, error))

    for directory, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        for name in names:
            path = Path(directory, name)
            if name.startswith(".") or not path.is_file():
                continue
            found = Found(path, _name(path, root), path.stat().st_size)
            if _is_picture(name):
                pictures.append(found)
            else:
                others.append(Result(path=found.name, status="skipped", size=found.size, detail="is no picture"))
    return sorted(pictures, key=lambda found: found.name), sorted(others, key=lambda other: other.path)


def _is_picture(name: str) -> bool:
    """Tell whether a file looks like a picture by its name; those that are not accepted are to be told of, too."""
    extension = name.rpartition(".")[2].lower()
    return extension in CONTENT_TYPE_OF or (mimetypes.guess_type(name)[0] or "").startswith("image/")


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
    for batch in batched(in_order(_hashed, pictures, jobs=options.jobs), BATCH):
        sums = [digest for _, digest in batch if isinstance(digest, str) and digest not in seen]
        there = client.checksums(list(dict.fromkeys(sums)), user_id=options.user_id) if sums else {}
        for found, digest in batch:
            if isinstance(digest, OSError):
                yield _done(refused(found.name, found.size, digest))
            elif first := seen.get(digest):
                detail = f"has the same bytes as {first}"
                yield _done(Result(path=found.name, status="repeated", size=found.size, detail=detail))
            else:
                seen[digest] = found.name
                image_id = there.get(digest)
                if image_id or options.dry_run:
                    status = "present" if image_id else "missing"
                    yield _done(Result(path=found.name, status=status, size=found.size, image_id=image_id))  # type: ignore[arg-type]
                else:
                    yield _upload(client, found, options)


def _hashed(found: Found) -> tuple[Found, str | OSError]:
    try:
        with found.path.open("rb") as file:
            return found, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return found, error


def _done(result: Result) -> Callable[[], Result]:
    return lambda: result


def _upload(client: Client, found: Found, options: FolderOptions) -> Callable[[], Result]:
    def upload() -> Result:
        try:
            # Whoever else uploads the same bytes meanwhile, such as a run that was killed and goes on in the server,
            # nothing is stored twice.
            image = client.upload(
                found.path, user_id=options.user_id, tags=options.tags_of(found), on_duplicate="return"
            )
        except (ServiceError, OSError, ValueError) as error:
            return refused(found.name, found.size, error)
        status = "uploaded" if image.is_new else "present"
        return Result(path=found.name, status=status, size=found.size, image_id=image.image_id)  # type: ignore[arg-type]

    return upload
