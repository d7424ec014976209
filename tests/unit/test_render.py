"""Renditions of every format, shape and orientation: the right part of the picture, upright, in the planned size."""

from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageOps

from src.common import payload as payload_module
from src.common.errors import UndecodableImage
from src.common.payload import SPOOL_LIMIT, Payload
from src.imaging.render import memory_of, render
from src.models.image import FORMATS as ORIGINALS
from src.models.rendition import ANCHORS
from tests.support.payloads import spooled
from tests.support.pictures import ENCODERS, ORIENTATION, animation, avif_of, encode, noise, pages, picture
from tests.support.renditions import FORMATS, color_at, near, planned, rendered, rendered_bytes

RED, GREEN, BLUE, YELLOW = (220, 30, 40), (30, 160, 60), (40, 60, 200), (230, 210, 40)
GREY = (128, 128, 128)
PLACES = [(0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8)]


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Return a picture with a colour in each quarter: red and green above blue and yellow."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height))
    image.paste(BLUE, (0, height // 2, width, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def stripes() -> Image.Image:
    """Return a picture that is red, green and blue from left to right."""
    image = Image.new("RGB", (90, 30), GREEN)
    image.paste(RED, (0, 0, 30, 30))
    image.paste(BLUE, (60, 0, 90, 30))
    return image


def spotted(spot: int) -> Image.Image:
    """Return a grey picture with something red in it, `spot` pixels from the left."""
    image = Image.new("RGB", (300, 100), GREY)
    image.paste(RED, (spot, 35, spot + 30, 65))
    return image


def looks_like(image: Image.Image, other: Image.Image) -> bool:
    return all(near(color_at(image, *place), color_at(other, *place), by=20) for place in PLACES)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("edge", [24, 64])
def test_from_every_format_to_every_format(name: str, format_: str, edge: int) -> None:
    assert looks_like(rendered(encode(quarters(), name), width=edge, format=format_), quarters())


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright(name: str, orientation: int) -> None:
    """As a viewer that heeds EXIF (or, in an AVIF, `irot` and `imir`) shows it, also where it is cut."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(quarters(), name, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    made = rendered(data, width=24)
    assert made.size == ((24, 32) if orientation >= 5 else (24, 18))
    assert looks_like(made, upright)
    assert looks_like(rendered(data, width=30, height=30), upright)
    assert looks_like(rendered(data, width=10, height=40, fit="fill"), upright)


def test_an_orientation_that_does_not_exist_turns_nothing() -> None:
    for orientation in (0, 9, 255, 65_535):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        assert looks_like(rendered(encode(quarters(), exif=exif), width=32), quarters())


@pytest.mark.parametrize(("position", "color"), [("left", RED), ("centre", GREEN), ("right", BLUE)])
@pytest.mark.parametrize("above", ["", "top-", "bottom-"])
def test_what_is_left_when_it_is_cut(above: str, position: str, color: tuple[int, int, int]) -> None:
    """Corners are as good as edges."""
    across = f"{above}{position}".removesuffix("-centre")  # top alone cuts nothing across: the middle is left
    upright = {"left": "top", "centre": "centre", "right": "bottom"}[position]
    data, tall = encode(stripes(), "png"), encode(stripes().transpose(Image.Transpose.ROTATE_270), "png")
    for edge in (30, 20):
        made = rendered(data, width=edge, height=edge, position=across)
        assert all(near(color_at(made, *place), color) for place in PLACES)
        made = rendered(tall, width=edge, height=edge, position=upright)
        assert all(near(color_at(made, *place), color) for place in PLACES)


@pytest.mark.parametrize("spot", [10, 135, 260])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK"])
def test_attention_finds_what_stands_out(spot: int, mode: str) -> None:
    data = encode(spotted(spot).convert(mode), "tiff")
    made = rendered(data, width=50, height=50, position="attention").convert("RGB")
    reds = sum(red - green > 80 for red, green, _ in zip(*[iter(made.tobytes())] * 3, strict=True))
    assert reds > 200  # of the spot's 225


@pytest.mark.parametrize("patch", [0, 200])
def test_entropy_finds_where_most_happens(patch: int) -> None:
    image = Image.new("L", (300, 100), 128)
    image.paste(Image.effect_noise((100, 100), 100), (patch, 0))
    made = rendered(encode(image, "png"), width=100, height=100, position="entropy").convert("L")
    assert len(set(made.tobytes())) > 100


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
@pytest.mark.parametrize("position", ["attention", "entropy"])
def test_smart_positions_take_every_kind_of_pixels(mode: str, position: str) -> None:
    image = Image.new(mode, (90, 40)) if mode == "I;16" else stripes().convert(mode)
    for format_ in FORMATS:
        rendered(encode(image, "png"), width=20, height=20, position=position, format=format_)


@pytest.mark.parametrize("position", ANCHORS)
@pytest.mark.parametrize("format_", FORMATS)
def test_where_on_the_canvas(format_: str, position: str) -> None:
    """Round it is transparent; in a JPEG, white."""
    data = encode(Image.new("RGB", (16, 16), RED), "png")
    made = rendered(data, width=48, height=64, fit="contain", position=position, format=format_)
    x, y = ANCHORS[position]  # type: ignore[index]
    middle = (x * 32 + 8) / 48, (y * 48 + 8) / 64
    outside = (0.02 if middle[0] > 0.4 else 0.98, 0.02 if middle[1] > 0.4 else 0.98)
    assert near(color_at(made, *middle), RED)
    if format_ == "jpeg":
        assert near(color_at(made, *outside), (255, 255, 255))
    else:
        assert color_at(made, *outside)[3] == 0
    if format_ == "png":
        left, top = int(x * 32), int(y * 48)
        assert made.getchannel("A").getbbox() == (left, top, left + 16, top + 16)


def test_each_fit() -> None:
    data = encode(stripes(), "png")
    filled = rendered(data, width=30, height=60, fit="fill", enlarge=True)
    assert near(color_at(filled, 0.1, 0.9), RED)
    assert near(color_at(filled, 0.9, 0.1), BLUE)
    covered = rendered(data, width=30, height=60, enlarge=True)
    assert all(near(color_at(covered, *place), GREEN) for place in PLACES)
    inside = rendered(data, width=60, height=60, fit="inside")
    assert inside.size == (60, 20)
    contained = rendered(data, width=60, height=60, fit="contain")
    assert contained.getchannel("A").getbbox() == (0, 20, 60, 40)
    assert near(color_at(contained, 0.1, 0.5), RED)


@pytest.mark.parametrize("size", [(1, 1), (1, 5_000), (5_000, 1)])
@pytest.mark.parametrize("name", ENCODERS)
def test_extreme_shapes(name: str, size: tuple[int, int]) -> None:
    data = picture(name, *size)
    for format_ in FORMATS:
        for fit in ("cover", "contain", "inside", "fill"):
            rendered(data, width=10, height=12, fit=fit, format=format_)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (40, 1)])
def test_enlarged(size: tuple[int, int]) -> None:
    for format_ in FORMATS:
        assert rendered(picture("png", *size), width=120, enlarge=True, format=format_).width == 120


def test_quality_counts() -> None:
    data = noise(100, 100)
    for format_ in ("jpeg", "webp", "avif"):
        sizes = [len(rendered_bytes(data, format=format_, quality=quality)) for quality in (1, 40, 90)]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[2] / 2


FIRSTS: dict[str, Any] = {
    "GIF": lambda: animation("gif"),
    "WebP": lambda: animation("webp"),
    "PNG": lambda: animation("png"),
    "pages": lambda: animation("tiff"),
    "pages of other sizes": lambda: pages((64, 48), (200, 10), (3, 5)),
}


@pytest.mark.parametrize("kind", FIRSTS)
@pytest.mark.parametrize("format_", ["jpeg", "png", "avif"])
def test_of_several_frames_the_first(kind: str, format_: str) -> None:
    data = FIRSTS[kind]()
    shown = Image.open(BytesIO(data)).convert("RGB")
    assert near(color_at(rendered(data, width=20, format=format_), 0.7, 0.7), color_at(shown, 0.7, 0.7))


def test_pages_that_halve() -> None:
    """A smaller page need not show the same as the first."""
    first, *others = [Image.new("RGB", (400 >> i, 300 >> i), color) for i, color in enumerate((RED, GREEN, BLUE))]
    data = encode(first, "tiff", save_all=True, append_images=others)
    for width in (200, 100, 50):
        assert near(color_at(rendered(data, width=width), 0.5, 0.5), RED)


def test_of_the_pictures_in_an_avif_the_one_that_viewers_show() -> None:
    data = avif_of(picture("avif", color=RED), picture("avif", color=BLUE), shown=2)
    record, rendition = planned(picture("avif"), width=32)
    made = Image.open(BytesIO(render(Payload.of(data), record.content_type, rendition)))
    assert near(color_at(made, 0.7, 0.7), BLUE)


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "gif"])
def test_from_a_file_as_from_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a large original goes through; and again, as the file is read from its beginning each time."""
    data = noise(1_200, 1_000, name, **({"quality": 98} if name == "jpeg" else {}))
    assert len(data) > SPOOL_LIMIT
    record, rendition = planned(data, width=50, height=50, position="attention")
    payload = spooled(data)
    from_file = [render(payload, record.content_type, rendition) for _ in range(2)]
    payload.close()
    monkeypatch.setattr(payload_module, "SPOOL_LIMIT", len(data))
    assert from_file == [rendered_bytes(data, width=50, height=50, position="attention")] * 2


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("width", [20, 150, 300])
def test_what_is_cut_short_is_an_error(name: str, width: int) -> None:
    """Never a picture that is grey from somewhere on, which would then be kept."""
    data = noise(300, 200, name)
    record, rendition = planned(data, width=width)
    for end in (len(data) // 3, len(data) - 60):
        with pytest.raises(UndecodableImage):
            render(Payload.of(data[:end]), record.content_type, rendition)


def test_what_is_no_picture_is_an_error() -> None:
    record, rendition = planned(picture())
    for data in (b"", b"\xff", b"nothing of a picture" * 100, b"<svg xmlns='http://www.w3.org/2000/svg'/>"):
        with pytest.raises(UndecodableImage):
            render(Payload.of(data), record.content_type, rendition)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("original", ORIGINALS, ids=lambda original: original.name)
def test_memory_is_known_for_every_pair_of_formats(original: Any, format_: str) -> None:
    """It grows with the original, and with what is made of it, and is never less than the decoded picture."""
    _, small = planned(picture("png"), width=10, format=format_)
    _, large = planned(picture("png"), width=60, format=format_)
    plain = memory_of(original.content_type, 64 * 48, 64, small)
    assert plain >= 3 * 64 * 48
    assert plain < memory_of(original.content_type, 64 * 48, 64, large)
    assert plain < memory_of(original.content_type, 640 * 48, 640, small)
    assert plain + 200_000_000 < memory_of(original.content_type, 65_000 * 1, 65_000, small)
