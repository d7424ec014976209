"""Damaged pictures: a sequence without end that depends on its seeds and numbers alone, so that each can be had again.

Most mutations leave the picture's structure whole enough to get past the first checks: they hit headers and lengths
rather than pixels, move whole parts, and set right afterwards what a decoder checks before it looks any further.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

MOST_BYTES = 64 * 1024  # of a mutant, whatever was put into it
BYTES = (0x00, 0xFF, 0x7F, 0x80)
INTEGERS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)
INTEGER_FORMATS = {1: ("B",), 2: ("<H", ">H"), 4: ("<I", ">I"), 8: ("<Q", ">Q")}
HEADER = 64  # bytes


class Seed(NamedTuple):
    """A whole picture, and where its parts begin, which are worth hitting."""

    data: bytes
    marks: tuple[int, ...]

    @classmethod
    def of(cls, name: str, data: bytes) -> "Seed":
        return cls(data, tuple(sorted({0, len(data), *_MARKS[name](data)})))


def mutant(name: str, seeds: Sequence[Seed], number: int, *, series: int = 1) -> bytes:
    """Return mutant `number` of a series of damaged pictures of a format. The same arguments give the same bytes."""
    chance = Random(f"{series} {name} {number}")
    seed = chance.choice(seeds)
    data = bytearray(seed.data)
    if chance.random() < 0.3:
        chance.choice(_OF_PARTS)(data, seed.marks, seeds, chance)
    count = chance.choice((0, 1, 1, 1, 2, 2, 3, 5, 12))
    for _ in range(max(count, 1) if data == seed.data else count):
        chance.choice(_OF_BYTES)(data, seed.marks, seeds, chance)
    del data[MOST_BYTES:]
    if chance.random() < 0.8:
        start, end = _SIGNATURES[name]
        data[start:end] = seed.data[start:end]
    if (mend := _MENDS.get(name)) and chance.random() < 0.75:
        mend(data)
    return bytes(data)


def _spot(data: bytearray, marks: Sequence[int], chance: Random) -> int:
    """Return a place in the data: behind the beginning of a part, in the header, or anywhere."""
    size = len(data)
    if not size:
        return 0
    kind = chance.random()
    if kind < 0.4:
        spot = chance.choice(marks) + chance.randrange(24)
    elif kind < 0.7:
        spot = chance.randrange(HEADER)
    else:
        spot = chance.randrange(size)
    return spot % size


def _flip_bits(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    if data:
        data[_spot(data, marks, chance)] ^= 1 << chance.randrange(8)


def _set_byte(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    if data:
        data[_spot(data, marks, chance)] = chance.choice((*BYTES, chance.randrange(256)))


def _set_integer(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    """Change a length, size, count or offset, if one is there: to what overflows, or to a little more or less."""
    width = chance.choice((1, 2, 2, 4, 4, 4, 8))
    form = chance.choice(INTEGER_FORMATS[width])
    spot = _spot(data, marks, chance)
    if spot + width > len(data):
        return
    (value,) = struct.unpack_from(form, data, spot)
    kind = chance.random()
    if kind < 0.4:
        value = chance.choice(INTEGERS)
    elif kind < 0.8:
        value += chance.choice((-16, -4, -2, -1, 1, 2, 4, 16))
    elif kind < 0.9:
        value = len(data) + chance.randrange(-16, 17)
    else:
        value = value * 2 if chance.random() < 0.5 else value // 2
    struct.pack_into(form, data, spot, value % (1 << 8 * width))


def _delete(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    start = _spot(data, marks, chance)
    del data[start : start + chance.choice((1, 2, 4, 8, 64))]


def _duplicate(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    start = _spot(data, marks, chance)
    piece = data[start : start + chance.choice((1, 2, 4, 16, 64, 256))]
    to = start if chance.random() < 0.5 else _spot(data, marks, chance)
    data[to:to] = piece * chance.choice((1, 1, 1, 8))


def _insert(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    spot = _spot(data, marks, chance)
    length = chance.choice((1, 1, 2, 4, 8, 64, 1_024))
    data[spot:spot] = chance.randbytes(length) if chance.random() < 0.5 else bytes([chance.choice(BYTES)]) * length


def _overwrite(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    """Copy some bytes over others: an offset where a count is due, say."""
    length = chance.choice((1, 2, 4, 8, 12, 32))
    start, to = _spot(data, marks, chance), _spot(data, marks, chance)
    piece = data[start : start + length]
    data[to : to + len(piece)] = piece


def _truncate(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    del data[_spot(data, marks, chance) :]


def _splice(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    """Go on as another picture of the format does, from about the same place or from anywhere in it."""
    other = chance.choice(seeds).data
    spot = _spot(data, marks, chance)
    data[spot:] = other[spot if chance.random() < 0.5 else chance.randrange(len(other)) :]


def _delete_part(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    start, end = chance.choice(list(pairwise(marks)))
    del data[start:end]


def _duplicate_part(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    start, end = chance.choice(list(pairwise(marks)))
    to = chance.choice(marks)
    data[to:to] = data[start:end] * chance.choice((1, 1, 2, 16))


def _swap_parts(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    (start, end), (other_start, other_end) = sorted(chance.choices(list(pairwise(marks)), k=2))
    if end <= other_start:
        data[start:other_end] = data[other_start:other_end] + data[end:other_start] + data[start:end]


def _take_part(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    """Put in, or in the place of another, a part of another picture of the format."""
    other = chance.choice(seeds)
    start, end = chance.choice(list(pairwise(other.marks)))
    to, until = chance.choice(list(pairwise(marks)))
    data[to : chance.choice((to, until))] = other.data[start:end]


def _splice_parts(data: bytearray, marks: Sequence[int], seeds: Sequence[Seed], chance: Random) -> None:
    other = chance.choice(seeds)
    data[chance.choice(marks) :] = other.data[chance.choice(other.marks) :]


type _Mutator = Callable[[bytearray, Sequence[int], Sequence[Seed], Random], None]
# What hits single values comes more often than what shifts all that follows: that rarely gets past the header.
_OF_BYTES: tuple[_Mutator, ...] = (
    *(_flip_bits,) * 4,
    *(_set_byte,) * 4,
    *(_set_integer,) * 5,
    *(_overwrite,) * 2,
    _delete,
    _duplicate,
    _insert,
    _truncate,
    _splice,
)
_OF_PARTS: tuple[_Mutator, ...] = (_delete_part, _duplicate_part, _swap_parts, _take_part, _splice_parts)


# Where a file says of which format it is. What does not, is refused at once.
_SIGNATURES = {"jpeg": (0, 3), "png": (0, 8), "webp": (0, 12), "gif": (0, 6), "avif": (4, 12), "tiff": (0, 4)}


def _mend_png(data: bytearray) -> None:
    """Set right the checksums of all chunks, as far as they can be told apart."""
    for start, end in pairwise((*_png_marks(data), len(data))):
        if end - start >= 12:
            struct.pack_into(">I", data, end - 4, zlib.crc32(data[start + 4 : end - 4]))


def _mend_riff(data: bytearray) -> None:
    """Set right how long the file says that it is."""
    if len(data) >= 12:
        struct.pack_into("<I", data, 4, len(data) - 8)


_MENDS: dict[str, Callable[[bytearray], None]] = {"png": _mend_png, "webp": _mend_riff}


def _png_marks(data: bytes | bytearray) -> list[int]:
    position, marks = 8, []
    while position + 8 <= len(data):
        marks.append(position)
        (length,) = struct.unpack_from(">I", data, position)
        position += 12 + length
    return marks


def _webp_marks(data: bytes) -> Iterator[int]:
    position = 12
    while position + 8 <= len(data):
        yield position
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"ANMF":
            yield position + 24  # the frame's own parts
        position += 8 + length + length % 2


def _jpeg_marks(data: bytes) -> Iterator[int]:
    """Yield where the segments begin, and behind the last the pixels."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        yield position
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    yield position


def _gif_marks(data: bytes) -> Iterator[int]:
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while position < len(data):
        yield position
        if data[position] == 0x2C:
            flags = data[position + 9]
            position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            position += 2
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1


_BOXES_OF_BOXES = {b"meta": 12, b"iprp": 8, b"ipco": 8, b"iinf": 14, b"moov": 8, b"trak": 8, b"mdia": 8, b"minf": 8}


def _avif_marks(data: bytes, start: int = 0, end: int | None = None) -> Iterator[int]:
    while start + 8 <= (end or len(data)):
        yield start
        length, kind = struct.unpack_from(">I4s", data, start)
        if before := _BOXES_OF_BOXES.get(kind):
            yield from _avif_marks(data, start + before, start + length)
        start += max(length, 8)


def _tiff_marks(data: bytes) -> Iterator[int]:
    """Yield where directories, their entries, and what these lead to begin."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    offset, count, entry = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    (position,) = struct.unpack_from(order + offset, data, 8 if is_big else 4)
    while 0 < position < len(data):
        yield position
        (entries,) = struct.unpack_from(order + count, data, position)
        position += struct.calcsize(count)
        for _ in range(entries):
            yield position
            (leads_to,) = struct.unpack_from(order + offset, data, position + entry - struct.calcsize(offset))
            if leads_to < len(data):
                yield leads_to
            position += entry
        (position,) = struct.unpack_from(order + offset, data, position)


_MARKS: dict[str, Callable[[bytes], Iterator[int] | list[int]]] = {
    "jpeg": _jpeg_marks,
    "png": _png_marks,
    "webp": _webp_marks,
    "gif": _gif_marks,
    "avif": _avif_marks,
    "tiff": _tiff_marks,
}
