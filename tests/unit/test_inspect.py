"""What a picture is: format, size as displayed, frames and placeholder, of every format that is accepted."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO

import pytest
from PIL import Image, ImageOps, PngImagePlugin

from src.common import payload as payload_module
from src.common.errors import TooManyPixels, UndecodableImage
from src.common.payload import SPOOL_LIMIT, Payload
from src.imaging.inspect import Inspector
from src.models.image import CONTENT_TYPE_OF, FORMAT_BY_NAME, MAX_FRAMES, Picture
from tests.support.payloads import spooled
from tests.support.pictures import ENCODERS, animation, canvas, encode, noise, pages, picture, turned

INSPECTOR = Inspector(max_pixels=50_000_000)
TURNED = ["jpeg", "png", "webp", "tiff", "avif"]  # GIF has no orientation
WHITE = (255, 255, 255)


def inspect(data: bytes) -> Picture:
    with closing(Payload.of(data)) as payload:
        return INSPECTOR.inspect(payload)


def opened_placeholder(found: Picture) -> Image.Image:
    prefix = "data:image/webp;base64,"
    assert found.placeholder.startswith(prefix)
    image = Image.open(BytesIO(base64.b64decode(found.placeholder.removeprefix(prefix), validate=True)))
    assert image.format == "WEBP"
    return image


def white_corner(image: Image.Image) -> tuple[str, str]:
    """Return the corner that is the whitest."""
    image = image.convert("L")
    right, bottom = image.width - 1, image.height - 1
    corners = {
        (v, h): image.getpixel((x, y))
        for v, y in (("top", 0), ("bottom", bottom))
        for h, x in (("left", 0), ("right", right))
    }
    return max(corners, key=lambda corner: corners[corner])


def test_every_format_is_tried() -> None:
    assert set(ENCODERS) == set(FORMAT_BY_NAME)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(("width", "height"), [(64, 48), (1, 1), (10_000, 1), (1, 10_000), (17, 33), (300, 200)])
def test_every_format_and_shape(name: str, width: int, height: int) -> None:
    found = inspect(picture(name, width, height))
    assert found.content_type == FORMAT_BY_NAME[name].content_type == CONTENT_TYPE_OF[FORMAT_BY_NAME[name].extension]
    assert (found.width, found.height, found.frames) == (width, height, 1)


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_and_placeholder_are_as_displayed(name: str, orientation: int) -> None:
    """The white corner is where a viewer that heeds EXIF would show it."""
    data = turned(name, orientation)
    displayed = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    found = inspect(data)
    assert (found.width, found.height) == displayed.size == ((48, 64) if orientation >= 5 else (64, 48))
    small = opened_placeholder(found)
    assert small.size == ((12, 16) if orientation >= 5 else (16, 12))
    assert white_corner(small) == white_corner(displayed)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65_535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    found = inspect(turned("jpeg", orientation))
    assert (found.width, found.height) == (64, 48)


@pytest.mark.parametrize("shape", [(64, 48), (1, 1), (16, 16), (17, 17), (10_000, 1), (31, 1000), (500, 499)])
def test_a_placeholder_is_tiny_and_in_shape(shape: tuple[int, int]) -> None:
    """At most 16 x 16 and a kilobyte, in the picture's proportions as far as whole pixels go."""
    found = inspect(encode(Image.effect_noise(shape, 100).convert("RGB"), "png"))
    width, height = opened_placeholder(found).size
    assert max(width, height) <= 16
    assert len(found.placeholder) < 1024
    factor = max(shape) / max(width, height)
    assert abs(width - shape[0] / factor) <= 1
    assert abs(height - shape[1] / factor) <= 1


def test_every_line_counts_the_same() -> None:
    """Of a picture with fewer lines than are averaged, too."""
    image = Image.new("L", (320, 2))
    image.paste(255, (0, 1, 320, 2))
    assert inspect(encode(image, "png")).color in ("#7f7f7f", "#808080")


@pytest.mark.parametrize("keyword", ["Créateur", "\x80\xff"])
def test_text_in_a_png(keyword: str) -> None:
    """Its keywords are Latin-1 (PNG specification, 11.3.3), and need not be UTF-8."""
    text = PngImagePlugin.PngInfo()
    text.add_text(keyword, "Zoë")
    assert inspect(encode(canvas(), "png", pnginfo=text)).width == 64


def test_a_placeholder_keeps_transparency() -> None:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((220, 30, 40, 255), (0, 0, 32, 64))
    small = opened_placeholder(inspect(encode(image, "png"))).convert("RGBA")
    assert small.getpixel((2, 8))[3] == 255
    assert small.getpixel((13, 8))[3] == 0


@pytest.mark.parametrize("name", ["gif", "webp", "tiff"])
@pytest.mark.parametrize("frames", [2, 7])
def test_frames_are_counted(name: str, frames: int) -> None:
    """Those of an animation, and the pages of a TIFF; the size is that of one."""
    found = inspect(animation(name, frames))
    assert (found.width, found.height, found.frames) == (40, 30, frames)


def test_pages_of_different_sizes() -> None:
    """The size is the first one's, which is what viewers show."""
    found = inspect(pages((64, 48), (200, 10), (3, 5)))
    assert (found.width, found.height, found.frames) == (64, 48, 3)


def test_the_pixels_of_all_pages_count() -> None:
    data = pages((10, 10), (100, 100), (20, 10))
    assert Inspector(max_pixels=10_300).inspect(Payload.of(data)).frames == 3
    with pytest.raises(TooManyPixels, match="10300 pixels"):
        Inspector(max_pixels=10_299).inspect(Payload.of(data))


def test_the_most_frames() -> None:
    assert inspect(animation("gif", MAX_FRAMES, 2, 2)).frames == MAX_FRAMES


VARIANTS = {
    "progressive JPEG": lambda: noise(150, 130, "jpeg", progressive=True),
    "JPEG with restart markers": lambda: noise(150, 130, "jpeg", restart_marker_rows=1),
    "lossless WebP": lambda: noise(60, 50, "webp", lossless=True),
    "deflated TIFF": lambda: noise(60, 50, "tiff", compression="tiff_deflate"),
    "uncompressed TIFF": lambda: noise(60, 50, "tiff", compression=None),
    "TIFF of JPEG": lambda: noise(60, 50, "tiff", compression="jpeg"),
    "interlaced GIF": lambda: noise(60, 50, "gif", interlace=1),
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_variants_of_formats(kind: str) -> None:
    data = VARIANTS[kind]()
    found = inspect(data)
    assert (found.width, found.height) == Image.open(BytesIO(data)).size


EITHER_WAY = {f"{name} animation": animation(name) for name in ("gif", "webp", "tiff")} | {
    f"{name} of 300 x 200": picture(name, 300, 200) for name in ENCODERS
}


@pytest.mark.parametrize("kind", EITHER_WAY)
def test_from_a_file_as_from_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload's whereabouts make no difference; a file is read from its beginning each time."""
    data = EITHER_WAY[kind]
    from_memory = inspect(data)
    monkeypatch.setattr(payload_module, "SPOOL_LIMIT", 0)
    payload = spooled(data)
    assert not isinstance(payload.content(), bytes)
    assert INSPECTOR.inspect(payload) == from_memory
    assert payload.open().read() == data
    payload.close()


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "gif"])
def test_more_than_a_mebibyte(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a real upload of that size goes through."""
    data = noise(1_200, 1_000, name, **({"quality": 98} if name == "jpeg" else {}))
    assert len(data) > SPOOL_LIMIT
    payload = spooled(data)
    from_file = INSPECTOR.inspect(payload)
    payload.close()
    monkeypatch.setattr(payload_module, "SPOOL_LIMIT", len(data))
    assert inspect(data) == from_file


@pytest.mark.timeout(30)
def test_threads_share_a_small_budget() -> None:
    """Sixteen at once, of which any one alone may take all that is allowed: they wait, and none forever."""
    pictures = [
        picture("png", 100, 100),
        picture("png", 60, 100),
        animation("gif", 5, 40, 50),
        turned("jpeg", 6, 100, 80),
    ] * 4
    inspector = Inspector(max_pixels=10_000)
    alone = [inspect(data) for data in pictures]
    with ThreadPoolExecutor(16) as threads:
        for _ in range(3):
            assert list(threads.map(lambda data: inspector.inspect(Payload.of(data)), pictures)) == alone


def test_a_refusal_gives_its_share_back() -> None:
    """Else a few bad uploads would stop the service."""
    inspector = Inspector(max_pixels=64 * 48)
    whole = picture("jpeg")
    for _ in range(5):
        with pytest.raises(UndecodableImage):
            inspector.inspect(Payload.of(whole[:-100]))
    started = time.monotonic()
    assert inspector.inspect(Payload.of(whole)).width == 64
    assert time.monotonic() - started < 5
