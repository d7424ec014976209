"""Colours as sRGB, which is what is shown where no profile is attached."""

import struct
from functools import lru_cache

from .vips import pyvips

# Of sRGB, adapted to D50 (IEC 61966-2-1; ICC.1:2022, 8.2.7), and how far off profiles that mean it are.
_SRGB_COLORANTS = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
_TOLERANCE = 0.002


def to_srgb(image: pyvips.Image) -> pyvips.Image:
    """Convert to 8 bits of sRGB or grey, from whatever the profile or the format says the colours are."""
    if "icc-profile-data" in image.get_fields() and not _is_srgb(bytes(image.get("icc-profile-data"))):
        image = _converted(image)
    if image.interpretation not in ("srgb", "b-w"):
        image = image.colourspace("srgb")
    return image.cast("uchar") if image.format != "uchar" else image


def _converted(image: pyvips.Image) -> pyvips.Image:
    image = image.copy_memory()  # a broken profile shows when it is used
    try:
        return image.icc_transform("srgb", embedded=True).copy_memory()
    except pyvips.Error:
        return image  # browsers, too, show a picture whose profile is broken


@lru_cache(maxsize=64)
def _is_srgb(profile: bytes) -> bool:
    """Tell whether a profile is sRGB's, so that there is nothing to convert, which takes longer than to shrink.

    Its primaries are those of sRGB, and it says so in its name: others have the primaries, and another tone curve.
    """
    if b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile:
        return False
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        tags = {name: offset for name, offset, _ in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count])}
        colorants = {
            name: [value / 65_536 for value in struct.unpack_from(">3i", profile, tags[name] + 8)]
            for name in _SRGB_COLORANTS
        }
    except (struct.error, KeyError):
        return False
    return all(
        abs(found - wanted) < _TOLERANCE
        for name, values in _SRGB_COLORANTS.items()
        for found, wanted in zip(colorants[name], values, strict=True)
    )
