"""The dominant colour: of whatever colour space, as a viewer would show it."""

import struct
from contextlib import closing

import pytest
from PIL import Image, ImageCms

from src.common.payload import Payload
from src.imaging.inspect import Inspector
from tests.support.pictures import ENCODERS, RED, canvas, encode, noise

INSPECTOR = Inspector(max_pixels=50_000_000)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
PROFILED = ["jpeg", "png", "webp", "avif", "tiff"]  # GIF holds none


def color_of(data: bytes) -> tuple[int, int, int]:
    with closing(Payload.of(data)) as payload:
        color = INSPECTOR.inspect(payload).color
    assert len(color) == 7
    assert color[0] == "#"
    assert color == color.lower()
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def near(color: tuple[int, int, int], other: tuple[int, int, int], *, by: int = 4) -> bool:
    return all(abs(a - b) <= by for a, b in zip(color, other, strict=True))


def with_swapped_primaries(profile: bytes) -> bytes:
    """Return the profile with its red and blue primaries exchanged: what it calls red is blue (ICC.1, 7.3)."""
    (count,) = struct.unpack_from(">I", profile, 128)
    table = bytearray(profile[132 : 132 + 12 * count])
    for i in range(0, len(table), 12):
        name = bytes(table[i : i + 4])
        table[i : i + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return profile[:132] + bytes(table) + profile[132 + 12 * count :]


@pytest.mark.parametrize("name", ENCODERS)
def test_a_mostly_red_picture_is_red(name: str) -> None:
    assert near(color_of(encode(canvas(), name)), RED)


@pytest.mark.parametrize("name", ["png", "webp", "avif", "tiff", "gif"])
def test_what_is_transparent_does_not_count(name: str) -> None:
    """Whatever colour hides in it, and however much of the picture it is."""
    image = Image.new("RGBA", (64, 48), (0, 255, 0, 0))
    image.paste((*RED, 255), (0, 0, 12, 12))
    assert near(color_of(encode(image, name)), RED, by=6)


def test_a_picture_of_nothing_is_white() -> None:
    assert color_of(encode(Image.new("RGBA", (64, 48), (0, 255, 0, 0)), "png")) == (255, 255, 255)


@pytest.mark.parametrize("name", ENCODERS)
def test_greyscale(name: str) -> None:
    assert near(color_of(encode(Image.new("L", (60, 40), 128), name)), (128, 128, 128))


@pytest.mark.parametrize(
    ("image", "name", "color"),
    [
        (Image.new("LA", (60, 40), (90, 255)), "png", (90, 90, 90)),
        (Image.new("I;16", (60, 40), 40_000), "png", (156, 156, 156)),
        (Image.new("I;16", (60, 40), 40_000), "tiff", (156, 156, 156)),
        (canvas().quantize(4), "png", RED),
        (Image.new("1", (60, 40), 1), "png", (255, 255, 255)),
        (Image.new("1", (60, 40), 0), "png", (0, 0, 0)),
        (Image.new("1", (60, 40), 0), "tiff", (0, 0, 0)),
    ],
    ids=["grey with alpha", "16-bit PNG", "16-bit TIFF", "palette", "one bit white", "one bit black", "one bit TIFF"],
)
def test_other_kinds_of_pixels(image: Image.Image, name: str, color: tuple[int, int, int]) -> None:
    options = {"compression": None} if name == "tiff" else {}
    assert near(color_of(encode(image, name, **options)), color)


@pytest.mark.parametrize("name", ["jpeg", "tiff"])
def test_cmyk(name: str) -> None:
    """Inks, not lights: reddish, though how red depends on the press."""
    red, green, blue = color_of(encode(canvas().convert("CMYK"), name))
    assert red > 150
    assert max(green, blue) < 100


@pytest.mark.parametrize("name", PROFILED)
def test_a_profile_is_heeded(name: str) -> None:
    """With primaries exchanged, what is stored as red is displayed as blue."""
    red, green, blue = color_of(encode(canvas(), name, icc_profile=with_swapped_primaries(SRGB)))
    assert blue > 180
    assert max(red, green) < 90


@pytest.mark.parametrize("name", PROFILED)
@pytest.mark.parametrize(
    "profile",
    [SRGB, LAB, b"nothing of a profile" * 20, SRGB[:200], SRGB[:-100], b"\0"],
    ids=["sRGB", "of another colour space", "nonsense", "cut short", "cut at its end", "one byte"],
)
def test_a_broken_or_odd_profile_does_not_refuse_the_picture(name: str, profile: bytes) -> None:
    """Browsers show such a picture too, as if it had none."""
    assert near(color_of(encode(canvas(), name, icc_profile=profile)), RED, by=12)


def test_a_profile_for_colours_on_a_grey_picture() -> None:
    assert near(color_of(encode(Image.new("L", (60, 40), 128), "png", icc_profile=SRGB)), (128, 128, 128))


def test_the_fullest_colour_wins_over_the_mean() -> None:
    """Of two thirds blue and one third yellow, the mean would be a grey that nobody sees in it."""
    image = Image.new("RGB", (90, 60), (20, 40, 220))
    image.paste((240, 230, 20), (0, 0, 30, 60))
    assert near(color_of(encode(image, "png")), (20, 40, 220))


def test_noise_has_some_colour() -> None:
    assert near(color_of(noise(160, 160)), (128, 128, 128), by=30)
