"""A few tiny pictures of every format, which between them have what the format can have. Always the same bytes."""

import re
from io import BytesIO
from random import Random
from typing import Any

from PIL import Image, ImageCms, PngImagePlugin

from src.imaging.vips import pyvips
from tests.support.pictures import ORIENTATION, animation, avif_of, encode, pages, picture, tiff_of
from tests.support.profiles import grey_profile


def specimens(name: str) -> dict[str, bytes]:
    """Return pictures of a format by what is special about them."""
    return _SPECIMENS[name]()


def _speckled(mode: str = "RGB", width: int = 16, height: int = 12) -> Image.Image:
    """Return a picture that is the same each time, and hardly compresses."""
    noise = Random(1).randbytes(4 * width * height)
    return Image.frombytes("RGBA", (width, height), noise).convert(mode)


def _plain(mode: str = "RGB", width: int = 24, height: int = 20) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).convert(mode)


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010F] = "a maker"
    return exif


def _profile() -> bytes:
    """Return a small profile that is not taken for sRGB, and so is used."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)  # when it was made
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))


def _lab() -> bytes:
    """Return a TIFF in CIELAB, with 16 bits: of 8, libvips reads none."""
    black = pyvips.Image.black(16, 12, bands=3).copy(interpretation="srgb")
    return bytes(black.colourspace("labs").tiffsave_buffer())


def _frames(mode: str = "RGB") -> dict[str, Any]:
    frames = [_speckled(mode, 8, 8), _plain(mode, 8, 8), _speckled(mode, 8, 8).rotate(90)]
    return {"save_all": True, "append_images": frames, "duration": 40}


def _by_vips(image: Image.Image, save: str, **options: Any) -> bytes:
    found = pyvips.Image.new_from_memory(image.tobytes(), *image.size, len(image.getbands()), "uchar")
    return bytes(getattr(found.copy(interpretation="srgb" if found.bands > 2 else "b-w"), save)(**options))


def _jpegs() -> dict[str, bytes]:
    return {
        "plain": encode(_plain(), quality=50),
        "speckled": encode(_speckled(), quality=90, subsampling=0),
        "larger": encode(_plain("RGB", 64, 48), optimize=True),
        "grey": encode(_plain("L")),
        "CMYK": encode(_plain("CMYK")),
        "progressive": encode(_speckled("RGB", 24, 24), progressive=True),
        "progressive grey": encode(_plain("L"), progressive=True, optimize=True),
        "restarts": encode(_speckled("RGB", 32, 24), restart_marker_rows=1),
        "turned": encode(_plain(), exif=_exif()),
        "profile": encode(_plain(), icc_profile=_profile()),
        "grey profile": encode(_plain("L"), icc_profile=grey_profile(lambda value: value)),
        "comment": encode(_plain(), comment=b"a comment", dpi=(72, 72)),
    }


def _pngs() -> dict[str, bytes]:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "text")
    text.add_text("Title", "compressed", zip=True)
    text.add_itxt("Author", "somebody", "en", "Author")
    return {
        "plain": encode(_plain(), "png"),
        "speckled": encode(_speckled(), "png"),
        "uncompressed": encode(_speckled("RGB", 8, 8), "png", compress_level=0),
        "alpha": encode(_speckled("RGBA"), "png"),
        "grey": encode(_plain("L"), "png"),
        "grey alpha": encode(_speckled("LA"), "png"),
        "palette": encode(_speckled("P"), "png"),
        "transparent palette": encode(_plain("P"), "png", transparency=bytes(range(256))),
        "transparent color": encode(_plain(), "png", transparency=(0, 0, 0)),
        "two colors": encode(_plain("1"), "png"),
        "16 bits": encode(_plain("I;16"), "png"),
        "interlaced": _by_vips(_speckled(), "pngsave_buffer", interlace=True),
        "interlaced palette": _by_vips(_speckled(), "pngsave_buffer", interlace=True, palette=True),
        "text": encode(_plain(), "png", pnginfo=text, dpi=(72, 72)),
        "turned": encode(_plain(), "png", exif=_exif()),
        "profile": encode(_plain(), "png", icc_profile=_profile()),
        "grey profile": encode(_plain("L"), "png", icc_profile=grey_profile(lambda value: value)),
        "animation": encode(_speckled("RGBA", 8, 8), "png", **_frames("RGBA")),
    }


def _webps() -> dict[str, bytes]:
    return {
        "plain": encode(_plain(), "webp"),
        "speckled": encode(_speckled(), "webp"),
        "alpha": encode(_speckled("RGBA"), "webp"),
        "lossless": encode(_speckled(), "webp", lossless=True),
        "lossless alpha": encode(_speckled("RGBA"), "webp", lossless=True),
        "lossless palette": encode(_plain(), "webp", lossless=True),
        "turned": encode(_plain(), "webp", exif=_exif()),
        "profile": encode(_plain(), "webp", icc_profile=_profile()),
        "XMP": encode(_plain(), "webp", xmp=b"<x:xmpmeta/>"),
        "animation": encode(_speckled("RGB", 8, 8), "webp", **_frames()),
        "animation, alpha": encode(_speckled("RGBA", 8, 8), "webp", **_frames("RGBA"), loop=2),
        "animation, lossless": encode(_speckled("RGBA", 8, 8), "webp", **_frames("RGBA"), lossless=True),
        "animation, turned": encode(_speckled("RGB", 8, 8), "webp", **_frames(), exif=_exif()),
        "animation, larger": animation("webp"),
    }


def _gifs() -> dict[str, bytes]:
    return {
        "plain": encode(_plain("P"), "gif"),
        "speckled": encode(_speckled("P"), "gif"),
        "two colors": encode(_plain("1"), "gif"),
        "larger": picture("gif"),
        "not interlaced": encode(_plain("P"), "gif", interlace=False),
        "transparent": encode(_speckled("RGBA"), "gif"),
        "comment": encode(_plain("P"), "gif", comment=b"a comment"),
        "animation": encode(_speckled("P", 8, 8), "gif", **_frames("P"), loop=0),
        "animation, transparent": encode(_speckled("RGBA", 8, 8), "gif", **_frames("RGBA"), disposal=2),
        "animation, put back": encode(_speckled("P", 8, 8), "gif", **_frames("P"), disposal=3),
        "animation, larger": animation("gif"),
        "by libvips": _by_vips(_speckled(), "gifsave_buffer", interlace=True),
    }


def _timeless(avif: bytes) -> bytes:
    """Take out when an animation was made (ISO/IEC 14496-12, 8.2.2, 8.3.2 and 8.4.2)."""
    data = bytearray(avif)
    for found in re.finditer(b"mvhd|tkhd|mdhd", avif):
        times = 16 if data[found.end()] == 1 else 8  # bytes, by the version of the box
        data[found.end() + 4 : found.end() + 4 + times] = bytes(times)
    return bytes(data)


def _avifs() -> dict[str, bytes]:
    return {
        "plain": encode(_plain(), "avif"),
        "speckled": encode(_speckled(), "avif"),
        "larger": picture("avif"),
        "alpha": encode(_speckled("RGBA"), "avif"),
        "grey": encode(_plain("L"), "avif"),
        "4:4:4": encode(_speckled(), "avif", subsampling="4:4:4"),
        "turned": encode(_plain(), "avif", exif=_exif()),
        "profile": encode(_plain(), "avif", icc_profile=_profile()),
        "animation": _timeless(encode(_speckled("RGB", 8, 8), "avif", **_frames())),
        "animation, alpha": _timeless(encode(_speckled("RGBA", 8, 8), "avif", **_frames("RGBA"))),
        "several": avif_of(picture("avif", 16, 16), picture("avif", 24, 16), shown=2),
        "by libvips": _by_vips(_speckled(), "heifsave_buffer", compression="av1", effort=0),
        "10 bits": _by_vips(_speckled(), "heifsave_buffer", compression="av1", bitdepth=10, effort=0),
        "lossless": _by_vips(_speckled(), "heifsave_buffer", compression="av1", lossless=True, effort=0),
    }


def _tiffs() -> dict[str, bytes]:
    big = BytesIO()
    _speckled().save(big, "TIFF", big_tiff=True)
    most = {"tile": True, "tile_width": 16, "tile_height": 16}
    return {
        "plain": encode(_plain(), "tiff", compression=None),
        "LZW": encode(_speckled(), "tiff"),
        "deflate": encode(_speckled("RGBA"), "tiff", compression="tiff_adobe_deflate"),
        "packbits": encode(_plain("L"), "tiff", compression="packbits"),
        "JPEG": encode(_plain(), "tiff", compression="jpeg"),
        "fax": encode(_plain("1"), "tiff", compression="group4"),
        "old fax": encode(_plain("1"), "tiff", compression="group3"),
        "two colors": encode(_plain("1"), "tiff", compression=None),
        "palette": encode(_plain("P"), "tiff", compression=None),
        "CMYK": encode(_plain("CMYK"), "tiff", compression=None),
        "YCbCr": encode(_plain("YCbCr"), "tiff", compression=None),
        "LAB": _lab(),
        "16 bits": encode(_plain("I;16"), "tiff", compression=None),
        "floats": encode(_plain("F"), "tiff", compression=None),
        "grey alpha": encode(_speckled("LA"), "tiff", compression=None),
        "turned": encode(_plain(), "tiff", exif=_exif()),
        "profile": encode(_plain(), "tiff", icc_profile=_profile()),
        "pages": pages((16, 12), (8, 8), (12, 16)),
        "many pages": tiff_of([(8, 8)] * 6),
        "BigTIFF": big.getvalue(),
        "big-endian": encode(_plain("I;16B"), "tiff", compression=None),
        "tiles": _by_vips(
            _speckled("RGB", 40, 24), "tiffsave_buffer", compression="lzw", predictor="horizontal", **most
        ),
        "tiles of JPEG": _by_vips(_speckled("RGB", 40, 24), "tiffsave_buffer", compression="jpeg", **most),
        "pyramid": _by_vips(_plain("RGB", 40, 24), "tiffsave_buffer", pyramid=True, subifd=True, **most),
        "WebP": _by_vips(_plain(), "tiffsave_buffer", compression="webp"),
    }


_SPECIMENS = {"jpeg": _jpegs, "png": _pngs, "webp": _webps, "gif": _gifs, "avif": _avifs, "tiff": _tiffs}
