"""An export: a folder with the originals, and a file that says of each what the service knows of it.

    metadata.jsonl                     a line for each image: its record, as the API gives it; the oldest first
    originals/ac/<image_id>.jpg        its bytes, under the key that they have in the service

`metadata.jsonl` is put in its place when all that it names is on the disk: where it stands, the export is whole.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..common.ids import is_id
from ..models.image import EXTENSION_OF, Image, original_key

METADATA = "metadata.jsonl"
UNFINISHED = "metadata.jsonl.part"

_decode = msgspec.json.Decoder(Image).decode
_encode = msgspec.json.encode


class NotAnExport(Exception):
    """The folder can't be used as one; `str(error)` says why."""


class Archive:
    """The folder of an export."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @staticmethod
    def is_at(root: Path) -> bool:
        return (root / METADATA).exists() or (root / UNFINISHED).exists()

    def begin(self) -> None:
        """Make the folder. Raises NotAnExport if there is something else in it, or OSError."""
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.is_at(self.root) and any(self.root.iterdir()):
            raise NotAnExport(f"{self.root} wants to be empty, or an export that is to be brought up to date")
        (self.root / UNFINISHED).touch()

    def path_of(self, image: Image) -> Path:
        """Return where the image's bytes are. Only for a record of which `is_sound` is true."""
        return self.root / original_key(image.image_id, image.content_type)

    def has(self, image: Image) -> bool:
        """Tell whether the image's own bytes are there."""
        path = self.path_of(image)
        try:
            if path.stat().st_size != image.size:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == image.sha256
        except FileNotFoundError:
            return False

    def records(self) -> Iterator[Image | str]:
        """Yield each record, or what is wrong with a line. Raises NotAnExport if the export broke off, or OSError."""
        if not (self.root / METADATA).exists():
            raise NotAnExport(f"{self.root} is an export that broke off: run it again first")
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
        self._archive = archive

    def __enter__(self) -> "Writer":
        self._file = (self._archive.root / UNFINISHED).open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, image: Image) -> None:
        self._file.write(_encode(image) + b"\n")

    def finish(self) -> None:
        """Put the records in their place, when they and all files are on the disk."""
        self._file.flush()
        os.sync()  # one for all of them, in place of one for each
        root = self._archive.root
        (root / UNFINISHED).replace(root / METADATA)
        os.sync()


def is_sound(image: Image) -> bool:
    """Tell whether paths may be made of the record: it may come from anywhere."""
    return is_id(image.image_id) and image.content_type in EXTENSION_OF
