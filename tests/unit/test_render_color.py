"""The colours of renditions: as a viewer shows the original's, in sRGB, without a profile; and transparency."""

import struct
import tracemalloc
from io import BytesIO

import pytest
from PIL import Image, ImageCms

from src.common.payload import Payload
from src.imaging import colour
from src.imaging.render import render
from src.imaging.vips import pyvips
from tests.support.pictures import encode, picture
from tests.support.profiles import ADOBE_RGB, DISPLAY_P3, SRGB, gamma, grey_profile, rgb_profile, srgb_curve
from tests.support.renditions import FORMATS, color_at, near, planned, rendered, rendered_bytes

PATCH = (200, 100, 50)
ADOBE = rgb_profile(ADOBE_RGB, gamma(563 / 256), "Adobe RGB (1998)")
P3 = rgb_profile(DISPLAY_P3, srgb_curve, "Display P3")
PLAIN = rgb_profile(SRGB, srgb_curve, "sRGB IEC61966-2.1")
# What PATCH is in sRGB, according to LittleCMS.
PROFILES = {
    "Adobe RGB": (ADOBE, (227, 100, 42)),
    "Display P3": (P3, (215, 93, 31)),
    "sRGB": (PLAIN, PATCH),
    "sRGB by another name": (rgb_profile(SRGB, srgb_curve, "c2"), PATCH),
    # As GIMP and Krita attach, and Elle Stone's profiles: sRGB's primaries, and its name, but light as it adds up.
    "linear sRGB": (rgb_profile(SRGB, gamma(1), "GIMP built-in Linear sRGB"), (229, 168, 122)),
    "sRGB's primaries only": (rgb_profile(SRGB, gamma(1), "linear"), (229, 168, 122)),
    "sRGB's name only": (rgb_profile(ADOBE_RGB, gamma(563 / 256), "not sRGB"), (227, 100, 42)),
}
PROFILED = ["jpeg", "png", "webp", "avif", "tiff"]  # GIF holds none


def patch(mode: str = "RGB", color: int | tuple[int, ...] = PATCH) -> Image.Image:
    return Image.new(mode, (64, 48), color)


def half(mode: str = "RGBA", color: tuple[int, ...] = (*PATCH, 255)) -> Image.Image:
    """Return a picture of which the right half is transparent."""
    image = Image.new(mode, (64, 48))
    image.paste(color, (0, 0, 32, 48))
    return image


def png_of_16_bits(*color: int, profile: bytes | None = None) -> bytes:
    """Return a PNG of one colour, made with libvips: Pillow writes no colours of 16 bits."""
    image = (pyvips.Image.black(64, 48, bands=len(color)) + list(color)).cast("ushort")
    image = image.copy(interpretation="rgb16" if len(color) > 2 else "grey16")
    if profile is not None:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return bytes(image.pngsave_buffer(bitdepth=16))


def middle(data: bytes, format_: str = "png") -> tuple[int, ...]:
    return color_at(rendered(data, width=32, format=format_), 0.5, 0.5)


@pytest.mark.parametrize("name", PROFILED)
@pytest.mark.parametrize("profile", PROFILES)
def test_colours_of_a_profile_become_srgb(profile: str, name: str) -> None:
    data, color = PROFILES[profile]
    assert near(middle(encode(patch(), name, icc_profile=data)), color, by=6)


@pytest.mark.parametrize("format_", FORMATS)
def test_colours_are_srgb_in_every_format(format_: str) -> None:
    assert near(middle(encode(patch(), "png", icc_profile=ADOBE), format_), (227, 100, 42), by=6)


@pytest.mark.parametrize("asked", [{"height": 20}, {"height": 20, "position": "attention"}, {"fit": "contain"}])
def test_colours_of_what_is_cut_or_on_a_canvas(asked: dict[str, object]) -> None:
    made = rendered(encode(patch(), "png", icc_profile=P3), **{"width": 40, "height": 40, **asked})
    assert near(color_at(made, 0.5, 0.5), (215, 93, 31), by=2)


def test_a_profile_of_srgb_changes_no_pixel() -> None:
    image = Image.effect_noise((64, 48), 60).convert("RGB")
    plain = rendered_bytes(encode(image, "png"), width=32)
    by_formula = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # its curve, not by a table
    for profile in (PLAIN, by_formula):
        assert rendered_bytes(encode(image, "png", icc_profile=profile), width=32) == plain


@pytest.mark.parametrize("name", PROFILED)
@pytest.mark.parametrize(
    "broken",
    [
        b"nothing of a profile" * 20,
        ADOBE[:200],
        ADOBE[:-3_000],
        b"\0",
        ADOBE[:128] + b"\xff" * 4 + ADOBE[132:],
        PLAIN[:200],
        PLAIN[:128] + b"\xff" * 4 + PLAIN[132:],
        PLAIN.replace(b"XYZ\0", b"none"),
        b"sRGB",
        grey_profile(srgb_curve),
    ],
    ids=[
        "nonsense",
        "cut",
        "cut late",
        "a byte",
        "tags",
        "cut sRGB",
        "tags of sRGB",
        "no colours",
        "a name",
        "of grey",
    ],
)
def test_a_broken_profile_is_none(name: str, broken: bytes) -> None:
    assert near(middle(encode(patch(), name, icc_profile=broken)), PATCH, by=6)


def test_large_profiles_are_not_kept() -> None:
    """A profile may have 16 megabytes, and each upload one of its own."""
    uploads = [encode(patch(), "jpeg", icc_profile=PLAIN + bytes([i]) * 2_000_000) for i in range(4)]
    tracemalloc.start()
    for data in uploads:
        middle(data)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2_000_000


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif", "gif", "tiff"])
@pytest.mark.parametrize("format_", FORMATS)
def test_grey(name: str, format_: str) -> None:
    assert near(middle(encode(patch("L", 128), name), format_), (128, 128, 128), by=4)


@pytest.mark.parametrize("format_", FORMATS)
def test_grey_with_a_profile(format_: str) -> None:
    """With light as it adds up, 128 of 255 are displayed as 188."""
    linear = grey_profile(gamma(1))
    assert near(middle(encode(patch("L", 128), "jpeg", icc_profile=linear), format_), (188, 188, 188), by=3)
    assert near(middle(encode(patch("L", 128), "png", icc_profile=linear), format_), (188, 188, 188), by=3)
    assert near(middle(png_of_16_bits(32_896, profile=linear), format_), (188, 188, 188), by=3)
    assert near(middle(encode(patch("L", 128), "jpeg", icc_profile=ADOBE), format_), (128, 128, 128), by=3)


@pytest.mark.parametrize("name", ["jpeg", "tiff"])
@pytest.mark.parametrize("format_", FORMATS)
def test_cmyk(name: str, format_: str) -> None:
    """Inks, not lights: about red, and white where there is no ink."""
    red, green, blue, alpha = middle(encode(patch("CMYK", (0, 255, 255, 0)), name), format_)
    assert red > 180
    assert max(green, blue) < 90
    assert alpha == 255
    assert near(middle(encode(patch("CMYK", (0, 0, 0, 0)), name), format_), (255, 255, 255), by=4)


def test_cmyk_with_a_profile_that_is_not_of_cmyk() -> None:
    data = encode(patch("CMYK", (0, 255, 255, 0)), "jpeg")
    assert middle(encode(patch("CMYK", (0, 255, 255, 0)), "jpeg", icc_profile=ADOBE)) == middle(data)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    ("data", "color"),
    [
        (png_of_16_bits(40_000), (156, 156, 156)),
        (png_of_16_bits(51_400, 25_700, 12_850), PATCH),
        (png_of_16_bits(51_400, 25_700, 12_850, profile=ADOBE), (227, 100, 42)),
        (encode(Image.new("I;16", (64, 48), 40_000), "png"), (156, 156, 156)),
        (encode(Image.new("I;16", (64, 48), 40_000), "tiff", compression=None), (156, 156, 156)),
        (encode(Image.new("1", (64, 48), 1), "png"), (255, 255, 255)),
        (encode(Image.new("1", (64, 48), 0), "tiff", compression=None), (0, 0, 0)),
        (encode(patch().quantize(4), "png"), PATCH),
    ],
    ids=["grey", "RGB", "RGB with a profile", "Pillow's grey", "TIFF", "one bit", "one bit TIFF", "palette"],
)
def test_other_depths(data: bytes, color: tuple[int, int, int], format_: str) -> None:
    assert near(middle(data, format_), color, by=6)


@pytest.mark.parametrize(
    ("data", "color"),
    [
        (png_of_16_bits(51_400, 25_700, 12_850, 32_896), PATCH),
        (png_of_16_bits(51_400, 25_700, 12_850, 32_896, profile=P3), (215, 93, 31)),
        (png_of_16_bits(40_000, 32_896), (156, 156, 156)),
        (encode(patch("RGBA", (*PATCH, 128)), "png"), PATCH),
        (encode(patch("RGBA", (*PATCH, 128)), "png", icc_profile=P3), (215, 93, 31)),
        (encode(patch("LA", (90, 128)), "png"), (90, 90, 90)),
        (encode(patch("RGBA", (*PATCH, 128)), "tiff"), PATCH),
        (encode(patch("RGBA", (*PATCH, 128)), "webp"), PATCH),
        (encode(patch("RGBA", (*PATCH, 128)), "avif"), PATCH),
    ],
    ids=["16 bits", "16 bits, P3", "16 bits of grey", "8 bits", "P3", "grey", "TIFF", "WebP", "AVIF"],
)
def test_half_transparent(data: bytes, color: tuple[int, int, int]) -> None:
    """Kept where the format has it, and mixed with white in a JPEG."""
    for format_ in ("png", "webp", "avif"):
        assert near(middle(data, format_), (*color, 128), by=8)
    mixed = tuple(round(value * 128 / 255 + 127) for value in color)
    assert near(middle(data, "jpeg"), mixed, by=6)


TRANSPARENT = {
    **{name: (half(), name, PATCH) for name in ("png", "webp", "avif", "gif", "tiff")},
    "palette": (half().quantize(8), "png", PATCH),
    "grey PNG": (half("LA", (90, 255)), "png", (90, 90, 90)),
    "grey TIFF": (half("LA", (90, 255)), "tiff", (90, 90, 90)),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
@pytest.mark.parametrize("format_", FORMATS)
def test_transparent_parts(kind: str, format_: str) -> None:
    """They stay so where the format has it, and are white in a JPEG."""
    image, name, color = TRANSPARENT[kind]
    data = encode(image, name)
    assert kind != "palette" or b"tRNS" in data
    made = rendered(data, width=32, format=format_)
    assert near(color_at(made, 0.2, 0.5), color)
    if format_ == "jpeg":
        assert near(color_at(made, 0.8, 0.5), (255, 255, 255))
    else:
        assert color_at(made, 0.8, 0.5)[3] == 0


def test_what_is_transparent_does_not_bleed() -> None:
    """The colour that hides in it must not show at the edge."""
    image = Image.new("RGBA", (64, 48), (0, 255, 0, 0))
    image.paste((*PATCH, 255), (0, 0, 31, 48))
    made = rendered(encode(image, "png"), width=10)
    for x in range(10):
        red, green, _, alpha = made.convert("RGBA").getpixel((x, 4))
        assert alpha < 16 or red > green


def test_a_picture_with_a_gain_map() -> None:
    """What a phone takes in HDR is shown as those who know nothing of it show it."""
    light = (
        pyvips.Image.black(64, 48)
        .bandjoin([0, 0])
        .linear(1, [1.5, 0.2, 0.1])
        .cast("float")
        .copy(interpretation="scrgb")
    )
    data = bytes(light.uhdrsave_buffer())
    record, rendition = planned(picture("jpeg"), width=32, format="png")
    made = Image.open(BytesIO(render(Payload.of(data), record.content_type, rendition)))
    assert near(color_at(made, 0.5, 0.5), (204, 81, 56), by=4)


@pytest.mark.parametrize("curve", [(-1.0, 1.0, -0.5, 1.0, 0.0), (0.5, -1.0, 0.0, 1.0, 0.0)], ids=["pole", "complex"])
def test_a_tone_curve_that_has_no_value_is_not_srgb(curve: tuple[float, ...]) -> None:
    """A profile may be made so that its curve can't be computed; that is nobody's error but its own."""
    numbers = b"".join(struct.pack(">i", round(number * 65_536)) for number in curve)
    tag = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + numbers
    colorants = {
        b"rXYZ": (0.4361, 0.2225, 0.0139),
        b"gXYZ": (0.3851, 0.7169, 0.0971),
        b"bXYZ": (0.1431, 0.0606, 0.7141),
    }
    parts = {
        name: b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65_536) for v in xyz))
        for name, xyz in colorants.items()
    }
    parts |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tag)
    table, data, offset = b"", b"", 132 + 12 * len(parts)
    for name, part in parts.items():
        table += struct.pack(">4sII", name, offset + len(data), len(part))
        data += part
    profile = b"sRGB".ljust(128, b"\0") + struct.pack(">I", len(parts)) + table + data
    assert not colour._is_srgb(profile)
