"""Payloads for tests: in memory, in a file, and such whose reading stops or fails on the way."""

import random
import threading
from io import BytesIO

from src.common.payload import Payload, spool

PART = 5 * 1024 * 1024  # bytes that the stores are sent at a time


def some_bytes(size: int) -> bytes:
    """Return bytes in which no two places look alike, the same each time."""
    return random.Random(size).randbytes(size)


def buffered(data: bytes) -> Payload:
    """Return a payload whose file is in memory, however large."""
    return Payload(BytesIO(data), len(data))


def spooled(data: bytes) -> Payload:
    """Return a payload as an upload makes it: in a file once it is over a mebibyte."""
    file = spool()
    file.write(data)
    return Payload(file, len(data))


class BrokenFile(BytesIO):
    """A file that can't be read to its end."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= PART:
            raise OSError(5, "Input/output error")
        return super().read(size)


class GatedFile(BytesIO):
    """A file of which the first part can be read, and the rest only once `opened` is set."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reached = threading.Event()
        self.opened = threading.Event()

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= PART:
            self.reached.set()
            assert self.opened.wait(20)
        return super().read(size)
