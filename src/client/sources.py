"""Files to send: from wherever they come, they can be read from the beginning as often as it takes."""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from ..models.image import FORMAT_BY_NAME
from ..models.signature import REACH, format_of

type File = Path | str | bytes | BinaryIO

_SPOOLED = 256 * 1024  # bytes that are kept in memory of what can't be read twice
_CHUNK = 256 * 1024


class Source:
    """A file of `size` bytes, with the name that it has where it comes from, if any."""

    def __init__(self, file: IO[bytes], name: str | None) -> None:
        self._file = file
        self.name = name
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)

    def open(self) -> IO[bytes]:
        """Return the file, at its beginning."""
        self._file.seek(0)
        return self._file

    def content_type(self) -> str | None:
        """Return what the first bytes say; None if that is no picture of a format that is known."""
        name = format_of(self.open().read(REACH))
        return FORMAT_BY_NAME[name].content_type if name else None

    def sha256(self) -> str:
        digest = hashlib.sha256()
        file = self.open()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


@contextmanager
def source_of(file: File) -> Iterator[Source]:
    """Open a file for sending; what the caller had open stays so. Raises OSError or ValueError."""
    if isinstance(file, str | Path):
        path = Path(file)
        with path.open("rb") as opened:
            yield Source(opened, path.name)
    elif isinstance(file, bytes | bytearray | memoryview):
        yield Source(io.BytesIO(file), None)
    elif not hasattr(file, "read"):
        raise ValueError(f"file: wants a path, bytes or an open file, got {type(file).__name__}")
    elif isinstance(file, io.TextIOBase):
        raise ValueError("file: wants a file that is open in binary mode")
    elif _is_at_its_beginning(file):
        yield Source(file, _name_of(file))
    else:
        with tempfile.SpooledTemporaryFile(max_size=_SPOOLED) as copy:
            shutil.copyfileobj(file, copy, _CHUNK)
            yield Source(copy, _name_of(file))


def _is_at_its_beginning(file: BinaryIO) -> bool:
    """Tell whether the file can be read again, and is to be read from its first byte on."""
    try:
        return file.seekable() and file.tell() == 0
    except (AttributeError, OSError):
        return False


def _name_of(file: BinaryIO) -> str | None:
    name = getattr(file, "name", None)
    return Path(name).name or None if isinstance(name, str) else None
