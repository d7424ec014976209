"""Renditions, as a pipeline of steps: shrunk while it is decoded, upright, cut, in sRGB, on its canvas, encoded."""

import traceback
from collections.abc import Callable
from typing import cast

from ..common.errors import UndecodableImage
from ..common.payload import Payload
from ..models.rendition import ANCHORS, Anchor, Rendition
from .colour import to_srgb
from .vips import JPEG_SHRINKS, orientation_of, pyvips, source_of

# Bytes a pixel that the hungriest pictures of a format take to decode (25 megapixels), or to encode (4096 x 4096, and
# quality 100), with what cutting and transparency add.
_DECODER_BYTES = {"image/jpeg": 8, "image/png": 8, "image/webp": 8, "image/gif": 4, "image/avif": 16, "image/tiff": 8}
_ENCODER_BYTES = {"jpeg": 4, "png": 8, "webp": 10, "avif": 36}
# What is wider takes more than its pixels do: libvips holds hundreds of lines, with transparency as floats.
_ORDINARY_EDGE = 10_000  # pixels
_COLUMN_BYTES = 5_000

_LOADERS = {"image/tiff": pyvips.Image.tiffload_source, "image/avif": pyvips.Image.heifload_source}

# Encoders' effort. WebP's 2 takes half the time of its default 4, for a twenty-fifth more bytes.
_WEBP_EFFORT = 2
_AVIF_EFFORT = 2
_LARGE_AVIF_EFFORT = 0  # 1.3 s for 4096 x 4096 instead of 6, and 3 % more bytes
_LARGE = 1_000_000  # pixels


def memory_of(content_type: str, pixels: int, longest_edge: int, rendition: Rendition) -> int:
    """Return about how many bytes it takes to make a rendition of an original with so many pixels in all frames."""
    return (
        pixels * _DECODER_BYTES[content_type]
        + max(0, longest_edge - _ORDINARY_EDGE) * _COLUMN_BYTES
        + rendition.pixels * _ENCODER_BYTES[rendition.format]
    )


def render(payload: Payload, content_type: str, rendition: Rendition) -> bytes:
    """Make a rendition of a verified picture.

    Raises UndecodableImage if it can't be decoded (any more: verified pictures can), or the rendition not be encoded.
    """
    try:
        return _rendered(payload, content_type, rendition)
    except pyvips.Error as error:
        traceback.clear_frames(error.__traceback__)  # they hold the picture
        raise UndecodableImage(f"There is no {rendition.format} to be made of the bytes.") from error


def _rendered(payload: Payload, content_type: str, rendition: Rendition) -> bytes:
    image = _scaled(payload, content_type, rendition)
    if rendition.width < rendition.scaled_width or rendition.height < rendition.scaled_height:
        image = _cut(image, rendition)
    image = to_srgb(image)
    if rendition.width > rendition.scaled_width or rendition.height > rendition.scaled_height:
        image = _on_canvas(image, rendition)
    return _encoded(image, rendition)


def _scaled(payload: Payload, content_type: str, rendition: Rendition) -> pyvips.Image:
    """Decode, scale and turn upright."""
    width, height = rendition.scaled_width, rendition.scaled_height
    if content_type == "image/jpeg":
        return _jpeg(payload, width, height)
    if load := _LOADERS.get(content_type):
        # thumbnail_source would take pages that halve, or a thumbnail in the file, for the same picture.
        page = load(source_of(payload), access="sequential", fail_on="error")
        turned = content_type == "image/avif"  # by libheif
        return page.thumbnail_image(width, height=height, size="force", no_rotate=turned)
    if rendition.frames > 1:
        return _animation(payload, width, height)
    options = "[fail_on=error]"  # the loader's: thumbnail_source's own does not reach it (libvips 8.18)
    return pyvips.Image.thumbnail_source(source_of(payload), width, height=height, size="force", option_string=options)


def _jpeg(payload: Payload, width: int, height: int) -> pyvips.Image:
    """Let the decoder shrink as far as it can, where libvips' own thumbnail leaves half of it to be done.

    That takes a tenth to a half off, and is what Pillow's draft mode does, too: against the whole picture, shrunk, the
    difference is below that of a JPEG's own quality of 80.
    """
    image = pyvips.Image.jpegload_source(source_of(payload), access="sequential", fail_on="error")
    orientation = orientation_of(image)
    if orientation >= 5:
        width, height = height, width
    for by in JPEG_SHRINKS:
        if image.width >= by * width and image.height >= by * height:
            image = pyvips.Image.jpegload_source(source_of(payload), access="sequential", fail_on="error", shrink=by)
            break
    if (image.width, image.height) != (width, height):
        image = image.resize(width / image.width, vscale=height / image.height)
    return image if orientation == 1 else image.copy_memory().autorot()


def _animation(payload: Payload, width: int, height: int) -> pyvips.Image:
    """Scale all frames, which stand above one another; each must be turned by itself."""
    orientation = orientation_of(pyvips.Image.new_from_source(source_of(payload), "", access="sequential"))
    if orientation >= 5:
        width, height = height, width
    frames = pyvips.Image.thumbnail_source(
        source_of(payload),
        width,
        height=height,
        size="force",
        no_rotate=True,
        option_string="[n=-1,fail_on=error]",
    )
    return frames if orientation == 1 else _of_each_frame(frames, lambda frame: frame.autorot())


def _cut(image: pyvips.Image, rendition: Rendition) -> pyvips.Image:
    width, height = rendition.width, rendition.height
    if rendition.position in ("attention", "entropy"):
        image = image.copy_memory()
        first = image.crop(0, 0, image.width, rendition.scaled_height)  # of an animation; it must not jump
        found = first.smartcrop(width, height, interesting=rendition.position)
        left, top = -found.xoffset, -found.yoffset
    else:
        left, top = _offset(rendition)
    return _of_each_frame(image, lambda frame: frame.crop(left, top, width, height))


def _on_canvas(image: pyvips.Image, rendition: Rendition) -> pyvips.Image:
    if not image.hasalpha() and rendition.format != "jpeg":
        image = image.bandjoin(255)  # so that the canvas is transparent
    background = [0 if image.hasalpha() else 255] * image.bands
    left, top = _offset(rendition)
    width, height = rendition.width, rendition.height
    return _of_each_frame(
        image, lambda frame: frame.embed(left, top, width, height, extend="background", background=background)
    )


def _offset(rendition: Rendition) -> tuple[int, int]:
    """Return how far the result, or on a canvas the picture, is from the other's left and top."""
    x, y = ANCHORS[cast(Anchor, rendition.position)]
    across, down = rendition.scaled_width - rendition.width, rendition.scaled_height - rendition.height
    return round(abs(across) * x), round(abs(down) * y)


def _of_each_frame(image: pyvips.Image, step: Callable[[pyvips.Image], pyvips.Image]) -> pyvips.Image:
    if image.get_n_pages() == 1:
        return step(image)
    first, *others = (step(frame) for frame in image.copy_memory().pagesplit())
    return first.pagejoin(others)


def _encoded(image: pyvips.Image, rendition: Rendition) -> bytes:
    options: dict[str, object] = {"keep": "none"}  # of metadata: places, above all, and cameras
    if rendition.quality is not None:
        options["Q"] = rendition.quality
    if rendition.format == "jpeg":
        if image.hasalpha():
            image = image.flatten(background=255)
        data = image.jpegsave_buffer(**options)
    elif rendition.format == "png":
        data = image.pngsave_buffer(**options)
    elif rendition.format == "webp":
        data = image.webpsave_buffer(effort=_WEBP_EFFORT, **options)
    else:
        effort = _AVIF_EFFORT if image.width * image.height <= _LARGE else _LARGE_AVIF_EFFORT
        data = image.heifsave_buffer(compression="av1", effort=effort, **options)
    return bytes(data)
