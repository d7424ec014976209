"""Walks through the containers of pictures without decoding: whether one is whole, and how many frames it has.

libvips says nothing when the last frames of an animation are cut off, and takes minutes to count the frames of files
that are made for that; a walk over lengths sees both at once.

Sources: GIF89a specification; PNG specification (third edition), 5; RFC 9649 (WebP), 2; ISO/IEC 14496-12 (boxes);
TIFF 6.0, 2, and the BigTIFF design.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import IO

from ..models.image import MAX_FRAMES, MAX_PAGES


class BrokenContainer(Exception):
    """The file ends too early, or its parts do not fit together."""


class TooManyFrames(Exception):
    """The file has more than `most` frames (or pages). They were not counted to the end."""

    def __init__(self, most: int) -> None:
        super().__init__(f"more than {most} frames")
        self.most = most


def count_frames(name: str, file: IO[bytes], size: int) -> int | None:
    """Walk through a file to its end and return how many frames it has; None where only the decoder knows.

    Raises BrokenContainer or TooManyFrames.
    """
    walk = _WALKS.get(name)
    if walk is None:
        return None
    file.seek(0)
    try:
        return walk(file, size)
    except (struct.error, IndexError) as error:
        raise BrokenContainer from error


def _gif(file: IO[bytes], size: int) -> int:
    flags = file.read(13)[10]
    _skip_color_table(file, flags)
    frames = 0
    while (kind := file.read(1)) != b"\x3b":
        if kind == b"\x2c":
            frames = _counted(frames)
            flags = file.read(9)[8]
            _skip_color_table(file, flags)
            file.read(1)  # LZW minimum code size
        elif kind == b"\x21":
            file.read(1)  # label
        else:
            raise BrokenContainer
        while length := file.read(1)[0]:
            file.seek(length, 1)
    return frames


def _skip_color_table(file: IO[bytes], flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << (flags & 0x07) + 1, 1)


def _png(file: IO[bytes], size: int) -> int:
    file.seek(8)
    kind = b""
    frames = 0
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"fcTL":
            frames = _counted(frames)
        if file.seek(length + 4, 1) > size:
            raise BrokenContainer
    return max(frames, 1)


def _webp(file: IO[bytes], size: int) -> int:
    _, length = struct.unpack("<4sI", file.read(8))
    end = 8 + length
    if end > size:
        raise BrokenContainer
    position = 12
    frames = 0
    while position + 8 <= end:
        file.seek(position)
        kind, length = struct.unpack("<4sI", file.read(8))
        position += 8 + length + length % 2
        if kind == b"ANMF":
            frames = _counted(frames)
    return max(frames, 1)


_TO_SAMPLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz")
_TO_SIZES = (b"meta", b"iprp", b"ipco", b"ispe")
_MOST_EDGE = 100_000_000  # pixels, that libvips can think of; of more, GLib complains on standard error


def _avif(file: IO[bytes], size: int) -> int | None:
    """Return how many frames the longest track has; None without a track."""
    for contents in _boxes(file, 0, size, _TO_SIZES):
        file.seek(contents + 4)
        if max(struct.unpack(">II", file.read(8))) > _MOST_EDGE:
            raise BrokenContainer
    most = 0
    for contents in _boxes(file, 0, size, _TO_SAMPLES):
        file.seek(contents + 8)
        (samples,) = struct.unpack(">I", file.read(4))
        if samples > MAX_FRAMES:
            raise TooManyFrames(MAX_FRAMES)
        most = max(most, samples)
    return most or None


def _boxes(file: IO[bytes], start: int, end: int, path: Sequence[bytes]) -> Iterator[int]:
    """Yield where the contents of the boxes begin that are in boxes of these kinds, one in the other."""
    position = start
    while position < end:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        elif length == 0:
            length = end - position
        contents, position = file.tell(), position + length
        if length < 8 or position > end:
            raise BrokenContainer
        if kind != path[0]:
            continue
        if len(path) == 1:
            yield contents
        else:
            yield from _boxes(file, contents + 4 * (kind == b"meta"), position, path[1:])


def _tiff(file: IO[bytes], size: int) -> int:
    order = "<" if file.read(2) == b"II" else ">"
    (version,) = struct.unpack(f"{order}H", file.read(2))
    offset_format, count_format, entry_size, first = ("I", "H", 12, 4) if version == 42 else ("Q", "Q", 20, 8)
    file.seek(first)
    pages = 0
    while True:
        (offset,) = struct.unpack(order + offset_format, file.read(struct.calcsize(offset_format)))
        if offset == 0:
            return pages
        # Counting also ends a chain that bites its own tail.
        pages = _counted(pages, MAX_PAGES)
        if offset > size:  # of 64 bits, it may be further than any file can be sought to
            raise BrokenContainer
        file.seek(offset)
        (entries,) = struct.unpack(order + count_format, file.read(struct.calcsize(count_format)))
        following = file.tell() + entries * entry_size
        if following > size:
            raise BrokenContainer
        file.seek(following)


def _counted(frames: int, most: int = MAX_FRAMES) -> int:
    if frames == most:
        raise TooManyFrames(most)
    return frames + 1


_WALKS = {"gif": _gif, "png": _png, "webp": _webp, "avif": _avif, "tiff": _tiff}
