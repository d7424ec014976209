"""Where downloads go: nothing takes its place under its name before it is whole."""

import hashlib
import io
import re
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import httpx

from ..models.image import EXTENSION_OF, Image, default_filename
from .problems import unexpected

_LONGEST_NAME = 200  # bytes: file systems take 255
_SEPARATORS = re.compile(r"[/\\:]")


class Receiver:
    """Takes in a body, of which a broken connection may bring a part only, and the next attempt the rest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._skipped = 0
        self.received = 0
        self.answer: httpx.Response | None = None

    def headers(self) -> dict[str, str]:
        """Return what asks for the part that is missing, of the same bytes."""
        if not self.received or self.answer is None:
            return {}
        same = {"If-Range": self.answer.headers["etag"]} if "etag" in self.answer.headers else {}
        return {"Range": f"bytes={self.received}-", **same}

    def begin(self, answer: httpx.Response) -> None:
        """Take note of an answer. Raises UnexpectedAnswer if it does not go on where the one before ended."""
        is_rest = answer.status_code == 206
        if is_rest and not answer.headers.get("content-range", "").startswith(f"bytes {self.received}-"):
            raise unexpected(answer, "The storage sent another part of the file than was asked for.")
        if self.answer and self.answer.headers.get("etag") != answer.headers.get("etag"):
            raise unexpected(answer, "The file was replaced while it was downloaded.")
        self._skipped = 0 if is_rest else self.received
        self.answer = answer

    def write(self, chunk: bytes) -> None:
        if self._skipped:
            dropped = min(self._skipped, len(chunk))
            self._skipped -= dropped
            chunk = chunk[dropped:]
        self._file.write(chunk)
        self._digest.update(chunk)
        self.received += len(chunk)

    def verify(self, image: Image) -> None:
        """Raise UnexpectedAnswer if this is not an image's original, whole."""
        if (self.received, self._digest.hexdigest()) != (image.size, image.sha256):
            assert self.answer  # noqa: S101
            raise unexpected(
                self.answer,
                f"What came for image {image.image_id} are not its bytes: {self.received} of {image.size}, "
                f"with the SHA-256 {self._digest.hexdigest()} and not {image.sha256}.",
            )


class Target:
    """Where a download goes, and after it where it is: `path`, if it is a file of its own."""

    def __init__(self, target: Path | str | BinaryIO) -> None:
        self._target = Path(target) if isinstance(target, str | Path) else target
        self.path: Path | None = None
        if isinstance(self._target, Path) and not self._target.is_dir() and not self._target.parent.is_dir():
            raise FileNotFoundError(f"There is no directory {self._target.parent} for the download.")

    @contextmanager
    def open(self, image: Image) -> Iterator[Receiver]:
        """Take in an image, or a rendition of it. A file gets its name when the context ends, or else is removed.

        In a directory it has the image's name; raises FileExistsError if something has that already.
        """
        if not isinstance(self._target, Path):
            yield Receiver(self._target)
            return
        is_directory = self._target.is_dir()
        directory = self._target if is_directory else self._target.parent
        part = directory / f".{uuid.uuid4().hex}.part"
        try:
            with part.open("xb") as file:
                receiver = Receiver(file)
                yield receiver
            if is_directory:
                path = directory / safe_name(image, receiver.answer)
                path.touch(exist_ok=False)  # whoever named the image must not replace what is there
            else:
                path = self._target
            self.path = part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def safe_name(image: Image, answer: httpx.Response | None = None) -> str:
    """Return an image's name as that of a visible file in a directory, with the ending of what the answer brought."""
    name = _SEPARATORS.split(image.filename)[-1]
    name = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cf", "Cs")).strip().lstrip(".")
    name = name or default_filename(image.image_id, image.content_type)
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > 10:
        stem, dot, extension = name, "", ""
    content_type = answer.headers.get("content-type", "") if answer else image.content_type
    if content_type != image.content_type and content_type in EXTENSION_OF:
        dot, extension = ".", EXTENSION_OF[content_type]
    return _shortened(stem, _LONGEST_NAME) + dot + extension


def _shortened(text: str, length: int) -> str:
    return text.encode()[:length].decode(errors="ignore")


def in_memory() -> tuple[io.BytesIO, Receiver]:
    buffer = io.BytesIO()
    return buffer, Receiver(buffer)
