"""Animations: a GIF or WebP goes on moving in a WebP, frame by frame as it did."""

from typing import Any

import pytest
from PIL import Image

from src.common.errors import UndecodableImage
from src.common.payload import Payload
from src.imaging.render import render
from src.imaging.vips import pyvips
from tests.support.pictures import ORIENTATION, animation, encode
from tests.support.renditions import color_at, frames_of, near, planned, rendered, rendered_bytes

RED, GREEN, BLUE, YELLOW = (220, 30, 40), (30, 160, 60), (40, 60, 200), (230, 210, 40)
LEFT = [RED, GREEN, BLUE]
RIGHT = [YELLOW, (200, 60, 200), (60, 200, 200)]
MOVING = ["gif", "webp"]
DURATIONS = [100, 250, 70]  # milliseconds


def moving(frames: list[Image.Image], name: str, **options: Any) -> bytes:
    values = {"duration": DURATIONS, "loop": 0} | options
    return encode(frames[0], name, save_all=True, append_images=frames[1:], **values)


def split(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (60, 30), left)
    image.paste(right, (30, 0, 60, 30))
    return image


def turning(name: str, **options: Any) -> bytes:
    """Return an animation whose frames have the colours of LEFT and RIGHT. No two look alike, as those become one."""
    return moving([split(*colors) for colors in zip(LEFT, RIGHT, strict=True)], name, **options)


def durations_of(image: Image.Image) -> list[int]:
    found = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        found.append(image.info["duration"])
    return found


WAYS: dict[str, dict[str, Any]] = {
    "inside": {"width": 30},
    "as it is": {},
    "enlarged": {"width": 90, "enlarge": True},
    "distorted": {"width": 17, "height": 13, "fit": "fill"},
    "cut": {"width": 29, "height": 20, "position": "left"},
    "cut below": {"width": 60, "height": 9, "position": "bottom"},
    "by attention": {"width": 25, "height": 20, "position": "attention"},
    "by entropy": {"width": 25, "height": 20, "position": "entropy"},
    "on a canvas": {"width": 40, "height": 40, "fit": "contain"},
    "on a wide canvas": {"width": 80, "height": 15, "fit": "contain", "position": "right"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MOVING)
def test_frames_and_durations_are_kept(name: str, way: str) -> None:
    made = rendered(turning(name), format="webp", **WAYS[way])
    assert durations_of(made) == DURATIONS
    assert made.info["loop"] == 0  # forever


@pytest.mark.parametrize(("name", "loop", "plays"), [("webp", 1, 1), ("webp", 7, 7), ("gif", 1, 2), ("gif", 6, 7)])
def test_how_often_it_plays(name: str, loop: int, plays: int) -> None:
    """A GIF says how often it is repeated, a WebP how often it is shown."""
    assert rendered(turning(name, loop=loop), width=30, format="webp").info["loop"] == plays


def test_a_gif_that_says_nothing_of_repeats_plays_once() -> None:
    assert rendered(turning("gif", loop=None), width=30, format="webp").info["loop"] == 1


@pytest.mark.parametrize("name", MOVING)
def test_each_frame_is_its_own(name: str) -> None:
    for way in ("inside", "as it is", "enlarged", "distorted"):
        made = rendered(turning(name), format="webp", **WAYS[way])
        for frame, left, right in zip(frames_of(made), LEFT, RIGHT, strict=True):
            assert near(color_at(frame, 0.2, 0.5), left, by=25)
            assert near(color_at(frame, 0.8, 0.5), right, by=25)


@pytest.mark.parametrize("name", MOVING)
def test_each_frame_is_cut(name: str) -> None:
    for position, colors in (("left", LEFT), ("right", RIGHT)):
        made = rendered(turning(name), width=24, height=24, position=position, format="webp")
        for frame, color in zip(frames_of(made), colors, strict=True):
            assert all(near(color_at(frame, *place), color, by=25) for place in [(0.2, 0.1), (0.8, 0.9)])


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize(("position", "top"), [("top", 0), ("centre", 10), ("bottom", 20)])
def test_each_frame_is_laid_on_the_canvas(name: str, position: str, top: int) -> None:
    """Transparent where it is empty, which Pillow does not see in a file whose pixels are all opaque; libvips does."""
    asked: dict[str, Any] = {"width": 40, "height": 40, "fit": "contain", "position": position, "format": "webp"}
    rendered(turning(name), **asked)
    made = pyvips.Image.new_from_buffer(rendered_bytes(turning(name), **asked), "n=-1").pagesplit()
    for frame, left, right in zip(made, LEFT, RIGHT, strict=True):
        rows = [y for y in range(40) if frame.getpoint(20, y)[3] == 255]
        assert rows == [*range(top, top + 20)]
        assert near(tuple(frame.getpoint(6, top + 10)), left, by=25)
        assert near(tuple(frame.getpoint(33, top + 10)), right, by=25)


@pytest.mark.parametrize("position", ["attention", "entropy"])
@pytest.mark.parametrize("name", MOVING)
def test_what_attention_found_in_the_first_frame_is_cut_from_all(name: str, position: str) -> None:
    """What moves must not make the picture jump."""
    frames = []
    for grey, left in ((128, 150), (116, 100), (140, 10)):
        image = Image.new("RGB", (200, 50), (grey, grey, grey))
        image.paste(Image.effect_noise((30, 30), 200).convert("RGB"), (left, 10))
        image.paste(RED, (left + 8, 18, left + 22, 32))
        frames.append(image)
    made = rendered(moving(frames, name), width=50, height=50, position=position, format="webp")
    reds = [sum(near(color, RED, by=60) for color in _colors(frame)) for frame in frames_of(made)]
    assert reds[0] > 80
    assert reds[2] == 0


def _colors(image: Image.Image) -> list[tuple[int, ...]]:
    return [*zip(*[iter(image.tobytes())] * 4, strict=True)]


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("size", [(41, 31), (100, 7), (33, 251)])
def test_odd_sizes(name: str, size: tuple[int, int]) -> None:
    """Where frames are shrunk while they are decoded, each must come out in a whole number of lines."""
    data = animation(name, 3, *size)
    for width, height in ((1, 1), (5, 3), (17, 19), (33, 7), (20, 40)):
        for fit in ("cover", "contain", "inside", "fill"):
            rendered(data, width=width, height=height, fit=fit, format="webp")


@pytest.mark.parametrize("name", MOVING)
def test_transparency_moves_along(name: str) -> None:
    frames = []
    for number in range(3):
        image = Image.new("RGBA", (60, 30), (0, 0, 0, 0))
        image.paste((*RED, 255), (20 * number, 0, 20 * number + 20, 30))
        frames.append(image)
    made = rendered(
        moving(frames, name, disposal=2) if name == "gif" else moving(frames, name), width=30, format="webp"
    )
    for number, frame in enumerate(frames_of(made)):
        shown = [color_at(frame, x, 0.5)[3] for x in (0.17, 0.5, 0.83)]
        assert shown == [255 if place == number else 0 for place in range(3)]


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("format_", ["jpeg", "png", "avif"])
def test_the_first_frame_elsewhere(name: str, format_: str) -> None:
    for way in ("inside", "cut", "by attention", "on a canvas"):
        made = rendered(turning(name), format=format_, **WAYS[way])
        assert near(color_at(made, 0.2, 0.5), RED, by=25) or way == "by attention"


@pytest.mark.parametrize("orientation", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("fit", ["inside", "cover", "contain"])
def test_a_turned_animation(orientation: int, fit: str) -> None:
    """A WebP has EXIF, too: each frame is turned, and they stay in their order."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    made = rendered(turning("webp", exif=exif), width=30, height=30, fit=fit, format="webp")
    assert durations_of(made) == DURATIONS
    # Where red, green or blue is then, of a picture that has them on its left.
    place = {2: (0.9, 0.5), 3: (0.9, 0.5), 4: (0.1, 0.5), 6: (0.5, 0.1), 8: (0.5, 0.9)}[orientation]
    for frame, color in zip(frames_of(made), LEFT, strict=True):
        assert near(color_at(frame, *place), color, by=25)


@pytest.mark.parametrize("format_", ["webp", "png"])
@pytest.mark.parametrize("name", MOVING)
def test_an_animation_that_is_cut_short_is_an_error(name: str, format_: str) -> None:
    frames = [Image.effect_noise((60, 30), 100).convert("RGB") for _ in range(3)]
    data = moving(frames, name)
    record, rendition = planned(data, width=30, format=format_)
    with pytest.raises(UndecodableImage):
        render(Payload.of(data[: len(data) // 5]), record.content_type, rendition)
