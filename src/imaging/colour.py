"""Colours as sRGB, which is what is shown where no profile is attached."""

import struct
from functools import lru_cache

from .vips import has_field, pyvips

# Of sRGB, adapted to D50 (IEC 61966-2-1; ICC.1:2022, 8.2.7), and how far off profiles that mean it are.
_SRGB_COLORANTS = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
_TOLERANCE = 0.002
_MIDDLE = 0.2140  # to which its tone curve takes a half
_MOST_BYTES = 64 * 1024  # of profiles that are looked into and remembered; those of sRGB have 3 KiB


def to_srgb(image: pyvips.Image) -> pyvips.Image:
    """Convert to 8 bits of sRGB or grey, from whatever the profile or the format says the colours are."""
    if has_field(image, "icc-profile-data"):
        profile = bytes(image.get("icc-profile-data"))
        if len(profile) > _MOST_BYTES or not _is_srgb(profile):
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
        middles = [_middle(profile, tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
    except (struct.error, KeyError, ValueError, TypeError, ArithmeticError):  # made to be broken, it may be
        return False
    return all(abs(middle - _MIDDLE) < 0.01 for middle in middles) and all(
        abs(found - wanted) < _TOLERANCE
        for name, values in _SRGB_COLORANTS.items()
        for found, wanted in zip(colorants[name], values, strict=True)
    )


def _middle(profile: bytes, offset: int) -> float:
    """Return to what a tone curve takes a half (ICC.1:2022, 10.6 and 10.18)."""
    if profile[offset : offset + 4] == b"curv":
        (count,) = struct.unpack_from(">I", profile, offset + 8)
        if count == 0:
            return 0.5
        if count == 1:
            return float(0.5 ** (struct.unpack_from(">H", profile, offset + 12)[0] / 256))
        return float(struct.unpack_from(">H", profile, offset + 12 + count // 2 * 2)[0] / 65_535)
    if profile[offset : offset + 4] != b"para":
        raise ValueError("no tone curve")
    (kind,) = struct.unpack_from(">H", profile, offset + 8)
    g, *rest = (
        value / 65_536
        for value in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind] if kind < 5 else 0}i", profile, offset + 12)
    )
    a, b = rest[:2] if rest else (1.0, 0.0)
    return float((a * 0.5 + b) ** g)
