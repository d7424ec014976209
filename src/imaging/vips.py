"""pyvips, set up for a server. Import it from here."""

import ctypes
import os
from typing import Any

from ..common.payload import Payload

# libvips reads it when it is loaded, and then says nothing of its warnings: what is refused is said by errors.
os.environ["VIPS_WARNING"] = "0"

import pyvips

# pyvips passes libvips' messages on to Python's logging. There the garbage collector may run, free a damaged picture,
# and so make libvips say something while it is saying something, at which GLib ends the process.
pyvips._remove_log_handler()


def _to_text(string: Any) -> str:
    return "" if string == pyvips.ffi.NULL else pyvips.ffi.string(string).decode(errors="replace")


# Errors cite what stands in the picture, which need not be UTF-8. pyvips would fail to read such an error, therefore
# never clear it, and fail at it again with each picture that comes after.
pyvips.error._to_string = _to_text

# A server sees each picture once, so libvips' cache of operations would only hold memory; and one thread a picture
# costs least CPU, where there are as many pictures at work as there are cores.
pyvips.cache_set_max(0)
pyvips.concurrency_set(1)

# What opens a file by its looks shall not find what nobody is let in with: SVG, PDF, ImageMagick's formats.
pyvips.operation_block_set("VipsForeignLoad", True)
for loader in ("Jpeg", "Png", "Webp", "Nsgif", "Heif", "Tiff"):
    pyvips.operation_block_set(f"VipsForeignLoad{loader}", False)

# glibc raises its threshold for mappings of their own as large blocks are freed, and then keeps what the decoders
# free; a fixed one (M_MMAP_THRESHOLD, bytes) gives it back. It took a tenth to a fourth off the peak.
if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
    mallopt(-3, 1024 * 1024)

__all__ = ["JPEG_SHRINKS", "has_field", "orientation_of", "pyvips", "source_of"]

JPEG_SHRINKS = (8, 4, 2)  # the decoder can leave out the pixels, not the bits, of a JPEG: every bit is still read


def source_of(payload: Payload) -> pyvips.Source:
    """Let libvips read a payload, which must outlive what is read from it."""
    content = payload.content()
    if isinstance(content, bytes):
        return pyvips.Source.new_from_memory(content)
    return pyvips.Source.new_from_descriptor(content.fileno())


def has_field(image: pyvips.Image, name: str) -> bool:
    """Tell whether a picture has some metadata.

    pyvips lists their names only if all are UTF-8; a PNG's own keywords, which libvips makes names of, are Latin-1.
    """
    return bool(image.get_typeof(name))


def orientation_of(image: pyvips.Image) -> int:
    """Return how a picture is to be turned (EXIF, 1 to 8)."""
    return int(image.get("orientation")) if has_field(image, "orientation") else 1
