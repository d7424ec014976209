"""An export: a folder with the originals, and a file that says of each what the service knows of it.

    export.json                        that it is one, and of which images
    metadata.jsonl                     a line for each image: its record, as the API gives it; the oldest first
    originals/ac/<image_id>.jpg        its bytes, under the key that they have in the service

`metadata.jsonl` is put in its place when all that it names is on the disk: where it stands, the export is whole.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..common.ids import is_id
from ..models.image import EXTENSION_OF, ORIGINALS, Image, original_key

MARK = "export.json"
METADATA = "metadata.jsonl"
UNFINISHED = "metadata.jsonl.part"
FORMAT = "image-service-export-1"

_decode = msgspec.json.Decoder(Image).decode
_encode = msgspec.json.encode


class NotAnExport(Exception):
    """The folder can't be used as one; `str(error)` says why."""


class Mark(msgspec.Struct, frozen=True):
    """What an export is, and which images it has: what was asked for, as JSON."""

    format: str
    images: dict[str, Any]


class Archive:
    """The folder of an export."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @staticmethod
    def is_at(root: Path) -> bool:
        return (root / MARK).exists()

    @contextmanager
    def begun(self, images: Mapping[str, Any]) -> Iterator[None]:
        """Make the folder, for these images. Within the context nobody else writes to it.

        Raises NotAnExport if there is something else in it, or an export of other images; or OSError.
        """
        wanted = msgspec.json.decode(_encode(Mark(FORMAT, dict(images))), type=Mark)  # as it comes back
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.is_at(self.root):
            if any(self.root.iterdir()):
                raise NotAnExport(f"{self.root}: wants to be empty, or an export that is to be brought up to date")
            (self.root / MARK).write_bytes(_encode(wanted) + b"\n")
        with (self.root / MARK).open("r+b") as mark:
            try:
                _lock(mark)
            except BlockingIOError:
                raise NotAnExport(f"{self.root}: another export is at it") from None
            if self._mark().images != wanted.images:
                raise NotAnExport(f"{self.root}: has an export of other images; choose another folder for these")
            for left in (self.root / ORIGINALS).glob("*/.*.part"):
                left.unlink()  # of one that was killed
            yield

    def _mark(self) -> Mark:
        try:
            mark = msgspec.json.decode((self.root / MARK).read_bytes(), type=Mark)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise NotAnExport(f"{self.root}: {MARK} is not that of an export") from None
        if mark.format != FORMAT:
            raise NotAnExport(f"{self.root}: is an export of the format {mark.format}, wants {FORMAT}")
        return mark

    def path_of(self, image: Image) -> Path:
        """Return where the image's bytes are. Only for a record of which `is_sound` is true."""
        return self.root / original_key(image.image_id, image.content_type)

    def has(self, image: Image) -> bool:
        """Tell whether the image's own bytes are there."""
        path = self.path_of(image)
        try:
            if path.stat().st_size != image.size:
                return False
            return sha256_of(path) == image.sha256
        except FileNotFoundError:
            return False

    def records(self) -> Iterator[Image | str]:
        """Yield each record, or what is wrong with a line. Raises NotAnExport if the export broke off, or OSError."""
        self._mark()
        if not (self.root / METADATA).exists():
            raise NotAnExport(f"{self.root}: is an export that broke off; run it again first")
        with (self.root / METADATA).open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    image = _decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    yield f"line {number} is no record: {error}"
                    continue
                yield image if is_sound(image) else f"line {number} has an image_id or content_type that there is not"


class Writer:
    """Writes the records of an export, in order. A context, which leaves the former ones unless `finish` is called."""

    def __init__(self, archive: Archive) -> None:
        self._root = archive.root

    def __enter__(self) -> "Writer":
        self._file = (self._root / UNFINISHED).open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, image: Image) -> None:
        self._file.write(_encode(image) + b"\n")

    def finish(self) -> None:
        """Put the records in their place, when they and all files are on the disk."""
        self._file.flush()
        _sync()  # one for all of them, in place of one for each
        (self._root / UNFINISHED).replace(self._root / METADATA)
        _sync()


def sha256_of(path: Path) -> str:
    """Raise OSError for a file that can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock(file: BinaryIO) -> None:
    """Keep everybody else from locking the file until it is closed, or raise BlockingIOError."""
    try:
        import fcntl
    except ImportError:  # on Windows, where nobody is kept out
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync() -> None:
    if hasattr(os, "sync"):  # not on Windows
        os.sync()


def is_sound(image: Image) -> bool:
    """Tell whether paths may be made of the record: it may come from anywhere."""
    return is_id(image.image_id) and image.content_type in EXTENSION_OF
