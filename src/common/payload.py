"""The bytes of an upload on their way in: in memory while small, else in a temporary file without a name."""

import binascii
import hashlib
import os
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO

SPOOL_LIMIT = 256 * 1024  # bytes that a payload may hold in memory: a hundred come in at a time

_WHITESPACE = b" \t\n\r\f\v"


class Payload:
    """A finished body of `size` bytes. Whoever made it closes it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size
        self._bytes: bytes | None = None
        self._sha256: str | None = None

    @classmethod
    def of(cls, data: bytes) -> "Payload":
        """Keep small data in memory, and write large data to a temporary file."""
        if len(data) <= SPOOL_LIMIT:
            payload = cls(BytesIO(data), len(data))
            payload._bytes = data
            return payload
        file = spool()
        file.write(data)
        return cls(file, len(data))

    def open(self) -> IO[bytes]:
        """Return the file, at its beginning. There is one position: one reader at a time."""
        # By way of the end, since a buffered file may move within its buffer alone; but libvips, which reads by the
        # descriptor, has moved that.
        self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        return self._file

    def content(self) -> bytes | IO[bytes]:
        """Return the bytes where they are in memory anyway, else the file. The bytes live as long as the payload."""
        if self._bytes is None and self.size <= SPOOL_LIMIT:
            self._bytes = self.open().read()
        return self.open() if self._bytes is None else self._bytes

    def ends(self, length: int) -> tuple[bytes, bytes]:
        """Return the first and the last `length` bytes."""
        file = self.open()
        head = file.read(length)
        file.seek(max(0, self.size - length))
        return head, file.read(length)

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes in hex. It is computed once."""
        if self._sha256 is None:
            digest = hashlib.sha256()
            file = self.open()
            while chunk := file.read(SPOOL_LIMIT):
                digest.update(chunk)
            self._sha256 = digest.hexdigest()
        return self._sha256

    def close(self) -> None:
        self._file.close()


def spool() -> IO[bytes]:
    """Return a new file to write a payload to."""
    return SpooledTemporaryFile(max_size=SPOOL_LIMIT)


def decode_base64(text: str) -> bytes:
    """Decode RFC 4648 base64, or the payload of a base64 data URI (RFC 2397). Line breaks are allowed.

    Raises ValueError with what is wanted.
    """
    if text[:5].lower() == "data:":
        header, comma, text = text.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise ValueError("wants a data URI of the form data:image/...;base64,...")
    try:
        return _decoded(text)
    except ValueError:
        compact = text.encode().translate(None, _WHITESPACE)
    try:
        return _decoded(compact)
    except ValueError as error:
        raise ValueError("wants base64 (RFC 4648) or a base64 data URI") from error


def _decoded(text: str | bytes) -> bytes:
    return binascii.a2b_base64(text, strict_mode=True)  # base64.b64decode would make a copy of the text first
