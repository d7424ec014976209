"""Files to send: from wherever they come, they can be read from the beginning as often as it takes."""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from ..common.validation import normal_filename
from ..models.image import FORMAT_BY_NAME
from ..models.signature import REACH, format_of

type File = Path | str | bytes | BinaryIO

_SPOOLED = 256 * 1024  # bytes that are kept in memory of what can't be read twice
_CHUNK = 256 * 1024


class _NoName(str):
    """An empty text that httpx does not leave out, as it does others."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


NO_NAME = _NoName()  # of a file in a form, as browsers write it: what has no such parameter is a field and not a file


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Seekable(_Readable, Protocol):
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...


class Source:
    """A file from where it stands, as httpx reads files; with the name that it has where it comes from, if any.

    It has no descriptor to be asked for a size: that of a compressed file is another one.
    """

    def __init__(self, file: _Seekable, name: str | None) -> None:
        self._file = file
        self._start = file.tell()
        self.name = name
        self.size = self.seek(0, os.SEEK_END)
        self.seek(0)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset if whence else self._start + offset, whence) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start

    def content_type(self) -> str | None:
        """Return what the first bytes say; None if that is no picture of a format that is known."""
        self.seek(0)
        name = format_of(self.read(REACH))
        return FORMAT_BY_NAME[name].content_type if name else None

    def sha256(self) -> str:
        digest = hashlib.sha256()
        self.seek(0)
        while chunk := self.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


@contextmanager
def opened(file: File) -> Iterator[Callable[[], Source]]:
    """Open a file for sending, and return what makes a source of it, which may take as long as to read it.

    What the caller had open stays so. Raises OSError or ValueError.
    """
    if isinstance(file, str | Path):
        with Path(file).open("rb") as own, opened(own) as prepared:
            yield prepared
    elif isinstance(file, bytes | bytearray | memoryview):
        yield lambda: Source(io.BytesIO(file), None)
    elif isinstance(file, io.TextIOBase):
        raise ValueError("file: wants one that is open in binary mode")  # noqa: TRY004 - as for any other value
    elif not hasattr(file, "read"):
        raise ValueError(f"file: wants a path, bytes or an open file, got {type(file).__name__}")
    elif _is_seekable(file):
        yield lambda: Source(file, _name_of(file))
    else:
        with tempfile.SpooledTemporaryFile(max_size=_SPOOLED) as copy:

            def copied() -> Source:
                shutil.copyfileobj(file, copy, _CHUNK)
                copy.seek(0)
                return Source(copy, _name_of(file))

            yield copied


def _is_seekable(file: BinaryIO) -> bool:
    try:
        return file.seekable() and file.tell() >= 0
    except (AttributeError, OSError):
        return False


def _name_of(file: BinaryIO) -> str | None:
    name = getattr(file, "name", None)
    if not isinstance(name, str) or (name.startswith("<") and name.endswith(">")):  # as that of standard input
        return None
    return _usable_name(Path(name).name)


def _usable_name(name: str) -> str | None:
    """Return a name that an image may have; of another one, which nobody chose for it, None."""
    try:
        return normal_filename(name)
    except ValueError:
        return None
