"""What a picture is, from its bytes alone: format, displayed size, frames, colour, placeholder.

Names and headers are never trusted. Nothing is decoded before its header says that it is small enough.
"""

import base64
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from ..common.errors import ActiveContent, TooManyPixels, UndecodableImage, UnsupportedImageFormat
from ..common.payload import Payload
from ..models.image import FORMAT_BY_NAME, FORMATS, LONGEST_EDGE, MAX_PAGES, Picture
from .colour import to_srgb
from .containers import BrokenContainer, TooManyFrames, count_frames
from .memory import MemoryBudget
from .sniff import hides_html, sniff
from .vips import JPEG_SHRINKS, has_field, orientation_of, pyvips, source_of

PLACEHOLDER_EDGE = 16  # pixels
# What a pixel's width takes, as measured with pictures that wide: libvips holds hundreds of lines, with transparency
# as floats.
_COLUMN_BYTES = 1_300
_TRANSPARENT_COLUMN_BYTES = 5_000

# Loaders by format. An explicit loader, since libvips' own guess would also try the ones we do not accept.
_LOADERS = {
    "jpeg": pyvips.Image.jpegload_source,
    "png": pyvips.Image.pngload_source,
    "webp": pyvips.Image.webpload_source,
    "gif": pyvips.Image.gifload_source,
    "avif": pyvips.Image.heifload_source,
    "tiff": pyvips.Image.tiffload_source,
}
_STACKED = {"gif", "webp"}  # animations whose frames libvips can put above one another, and read as one


class Header(msgspec.Struct, frozen=True):
    """What stands before the pixels: the size as stored, how many frames of it, and the pixels of all of them.

    `pages` are the frames that the decoder reads: of an animated PNG or AVIF, the first. `memory` is in bytes.
    """

    format: str
    width: int
    height: int
    pages: int
    frames: int
    pixels: int
    longest_edge: int
    orientation: int
    memory: int


class Inspector:
    """Verifies pictures. Safe to use from several threads, which together decode as much as `max_pixels` allow."""

    def __init__(self, *, max_pixels: int, memory: MemoryBudget | None = None) -> None:
        """Share `memory` with whoever else has it."""
        self._max_pixels = max_pixels
        self._memory = memory or MemoryBudget.for_pictures(max_pixels)

    def inspect(self, payload: Payload) -> Picture:
        """Measure the picture in `payload`.

        Raises UnsupportedImageFormat, UndecodableImage, TooManyPixels or ActiveContent.
        """
        name = sniff(payload)
        if name is None:
            raise UnsupportedImageFormat(
                f"The bytes are not a picture of an accepted format: {', '.join(f.name.upper() for f in FORMATS)}."
            )
        if hides_html(payload):
            raise ActiveContent("The file also reads as an HTML page; it is refused so that no browser runs it.")
        with _translated(name):
            header = _read_header(name, payload)
        if header.pixels > self._max_pixels:
            raise TooManyPixels(
                f"The picture has {header.pixels} pixels ({header.width} x {header.height}, {header.frames} frames); "
                f"at most {self._max_pixels} are accepted."
            )
        if header.longest_edge > LONGEST_EDGE:
            raise TooManyPixels(
                f"The picture has an edge of {header.longest_edge} pixels; at most {LONGEST_EDGE} are accepted."
            )
        with self._memory.reserved(header.memory), _translated(name):
            return _measure(header, payload)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except TooManyFrames as error:
        raise TooManyPixels(f"The picture has more than {error.most} frames; no more are accepted.") from None
    except (pyvips.Error, BrokenContainer) as error:
        # The error's frames hold the picture, and this generator is in a cycle with the error: both would stay.
        traceback.clear_frames(error.__traceback__)
        raise UndecodableImage(f"The file begins as {name.upper()} but cannot be decoded to its end.") from error


def _load(name: str, payload: Payload, **options: object) -> pyvips.Image:
    return _LOADERS[name](source_of(payload), access="sequential", fail_on="error", **options)


def _read_header(name: str, payload: Payload) -> Header:
    counted = count_frames(name, payload.open(), payload.size)
    image = _load(name, payload)
    pages = image.get("n-pages") if has_field(image, "n-pages") else 1
    frames = max(counted or 1, pages)
    pixels = image.width * image.height * frames
    sizes = [(image.width, image.height)]
    if pages > 1 and name not in _STACKED:
        if pages > MAX_PAGES:
            raise TooManyFrames(MAX_PAGES)
        loaded = (_load(name, payload, page=page) for page in range(pages))
        sizes = [(page.width, page.height) for page in loaded]
        pixels = sum(width * height for width, height in sizes)
    return Header(
        format=name,
        width=image.width,
        height=image.height,
        pages=pages,
        frames=frames,
        pixels=pixels,
        longest_edge=max(map(max, sizes)),
        # libheif has turned the picture already.
        orientation=1 if name == "avif" else orientation_of(image),
        memory=pixels * _decoder_bytes(name, image, interlaced=has_field(image, "interlaced"))
        + image.width * (_TRANSPARENT_COLUMN_BYTES if image.hasalpha() else _COLUMN_BYTES),
    )


def _decoder_bytes(name: str, image: pyvips.Image, *, interlaced: bool) -> int:
    """Return about how many bytes a pixel the decoder holds at once, as measured with pictures of 50 megapixels."""
    bands: int = image.bands
    depth = 1 if image.format == "uchar" else 2
    if name == "jpeg":
        return 2 * bands if interlaced else 1
    if name == "png":
        return bands * depth if interlaced else 1
    return {"webp": 8, "gif": 4, "avif": 15, "tiff": bands * depth}[name]


def _measure(header: Header, payload: Payload) -> Picture:
    _read_further_frames(header, payload)
    small = _upright(_miniature(_first_frame(header, payload)), header.orientation)
    turned = header.orientation >= 5
    return Picture(
        content_type=FORMAT_BY_NAME[header.format].content_type,
        width=header.height if turned else header.width,
        height=header.width if turned else header.height,
        frames=header.frames,
        color=_dominant_color(small),
        placeholder=_data_uri(small),
    )


def _read_further_frames(header: Header, payload: Payload) -> None:
    """Decode what the shown frame does not show, only to see that it can be."""
    if header.pages == 1:
        return
    if header.format in _STACKED:
        _load(header.format, payload, n=-1).avg()
        return
    # All of them: the one that an AVIF shows need not be the first.
    for page in range(header.pages):
        _load(header.format, payload, page=page).avg()


def _first_frame(header: Header, payload: Payload) -> pyvips.Image:
    if header.format != "jpeg":
        return _load(header.format, payload)
    # libvips rounds the shrunk height down, and does not read the lines that this leaves out.
    edge = min(header.width, header.height)
    fits = (by for by in JPEG_SHRINKS if header.height % by == 0 and edge >= by * PLACEHOLDER_EDGE)
    return _load(header.format, payload, shrink=next(fits, 1))


def _miniature(image: pyvips.Image) -> pyvips.Image:
    """Average the picture into at most 16 x 16 pixels of sRGB, reading every line of it."""
    factor = -(-max(image.width, image.height) // PLACEHOLDER_EDGE)
    # libvips repeats the last line until it has as many as there are to average: a hundred thousand times, say.
    across, down = min(factor, image.width), min(factor, image.height)
    if image.hasalpha():
        image = image.premultiply().shrink(across, down, ceil=True).unpremultiply().rint()
    else:
        image = image.shrink(across, down, ceil=True)
    image = to_srgb(image.copy_memory())
    return image if image.interpretation == "srgb" else image.colourspace("srgb")  # of grey, too


def _upright(image: pyvips.Image, orientation: int) -> pyvips.Image:
    if orientation == 1:
        return image
    image = image.copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image.autorot().copy_memory()


def _dominant_color(image: pyvips.Image) -> str:
    """Return the mean of the fullest of 16 x 16 x 16 bins, of what is not transparent, as #rrggbb."""
    bands, data = image.bands, bytes(image.write_to_memory())
    colors = list(zip(data[0::bands], data[1::bands], data[2::bands], strict=True))
    if bands == 4:
        colors = [color for color, alpha in zip(colors, data[3::4], strict=True) if alpha >= 128]
    if not colors:
        return "#ffffff"
    bins = [(red >> 4, green >> 4, blue >> 4) for red, green, blue in colors]
    ((fullest, count),) = Counter(bins).most_common(1)
    members = [color for color, bin_ in zip(colors, bins, strict=True) if bin_ == fullest]
    return "#" + "".join(f"{round(sum(channel) / count):02x}" for channel in zip(*members, strict=True))


def _data_uri(image: pyvips.Image) -> str:
    webp = image.webpsave_buffer(Q=40, effort=2, keep="none")
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"
