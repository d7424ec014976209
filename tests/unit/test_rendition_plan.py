"""From what was asked for to what is made: sizes, normal forms and keys."""

import re
from itertools import combinations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from src.models.image import FORMATS, Image, image_id_of
from src.models.rendition import (
    ANCHORS,
    MAX_EDGE,
    Rendition,
    RenditionRequest,
    rendition_key,
    renditions_prefix,
)
from src.services.rendition_plan import negotiated_format, plan
from tests.support.images import make_image

FITS = ["cover", "contain", "inside", "fill"]
Size = tuple[int, int]
SIZES: list[tuple[Size, str, int | None, int | None, bool, Size, Size]] = [
    # The picture, fit, width, height, enlarge; to what it is scaled, and the result.
    ((640, 480), "cover", 320, 320, False, (427, 320), (320, 320)),
    ((640, 480), "cover", 200, 50, False, (200, 150), (200, 50)),
    ((640, 480), "cover", 50, 200, False, (267, 200), (50, 200)),
    ((640, 480), "cover", 320, 240, False, (320, 240), (320, 240)),
    ((640, 480), "cover", 1280, 480, False, (640, 480), (640, 240)),
    ((640, 480), "cover", 1280, 480, True, (1280, 960), (1280, 480)),
    ((640, 480), "cover", 1000, 1000, False, (640, 480), (480, 480)),
    ((640, 480), "cover", 1000, 1000, True, (1333, 1000), (1000, 1000)),
    ((640, 480), "cover", 100, 960, False, (640, 480), (50, 480)),
    ((640, 480), "contain", 320, 320, False, (320, 240), (320, 320)),
    ((640, 480), "contain", 4096, 100, False, (133, 100), (4096, 100)),
    ((640, 480), "contain", 1000, 1000, False, (640, 480), (1000, 1000)),
    ((640, 480), "contain", 1000, 1000, True, (1000, 750), (1000, 1000)),
    ((640, 480), "inside", 320, 320, False, (320, 240), (320, 240)),
    ((640, 480), "inside", 300, 100, False, (133, 100), (133, 100)),
    ((640, 480), "inside", 100, 300, False, (100, 75), (100, 75)),
    ((640, 480), "inside", 1000, 1000, False, (640, 480), (640, 480)),
    ((640, 480), "inside", 1000, 1000, True, (1000, 750), (1000, 750)),
    ((640, 480), "fill", 100, 300, False, (100, 300), (100, 300)),
    ((640, 480), "fill", 1000, 300, False, (640, 300), (640, 300)),
    ((640, 480), "fill", 1000, 1000, False, (640, 480), (640, 480)),
    ((640, 480), "fill", 1000, 300, True, (1000, 300), (1000, 300)),
    *[((640, 480), fit, 320, None, False, (320, 240), (320, 240)) for fit in FITS],
    *[((640, 480), fit, None, 240, False, (320, 240), (320, 240)) for fit in FITS],
    *[((640, 480), fit, 1000, None, False, (640, 480), (640, 480)) for fit in FITS],
    *[((640, 480), fit, 1000, None, True, (1000, 750), (1000, 750)) for fit in FITS],
    *[((640, 480), fit, None, None, enlarge, (640, 480), (640, 480)) for fit in FITS for enlarge in (False, True)],
    ((640, 480), "cover", None, 4096, True, (4096, 3072), (4096, 3072)),
    ((10_000, 5_000), "cover", None, None, False, (4096, 2048), (4096, 2048)),
    ((10_000, 5_000), "cover", None, 4_000, False, (4096, 2048), (4096, 2048)),
    ((5_000, 10_000), "cover", 4_000, None, True, (2048, 4096), (2048, 4096)),
    ((5_000, 1), "inside", 100, 100, False, (100, 1), (100, 1)),
    ((5_000, 1), "contain", 10, 10, False, (10, 1), (10, 10)),
    ((5_000, 1), "cover", 100, 100, False, (5_000, 1), (1, 1)),
    ((1, 5_000), "fill", 10, 10, False, (1, 10), (1, 10)),
    ((1, 1), "cover", 4096, 4096, False, (1, 1), (1, 1)),
]

EDGES = st.none() | st.integers(1, MAX_EDGE)
REQUESTS = st.builds(
    RenditionRequest,
    width=EDGES,
    height=EDGES,
    fit=st.sampled_from(FITS),
    position=st.sampled_from([*ANCHORS, "attention", "entropy"]),
    enlarge=st.booleans(),
    format=st.sampled_from(["jpeg", "png", "webp", "avif"]),
    quality=st.none() | st.integers(1, 100),
)
PICTURE = make_image()


def asked(**overrides: Any) -> RenditionRequest:
    values: dict[str, Any] = {"format": "webp"}
    return RenditionRequest(**values | overrides)


def in_shape(size: Size, other: Size) -> bool:
    """Say whether two sizes have one aspect ratio, as far as whole pixels go."""
    (width, height), (other_width, other_height) = size, other
    return (
        min(abs(width - height * other_width / other_height), abs(height - width * other_height / other_width))
        <= 1 + 1e-9
    )


@pytest.mark.parametrize(("picture", "fit", "width", "height", "enlarge", "scaled", "result"), SIZES)
def test_sizes(
    picture: Size, fit: str, width: int | None, height: int | None, enlarge: bool, scaled: Size, result: Size
) -> None:
    image = make_image(width=picture[0], height=picture[1])
    found = plan(image, asked(fit=fit, width=width, height=height, enlarge=enlarge))
    assert (found.scaled_width, found.scaled_height) == scaled
    assert (found.width, found.height) == result


@given(st.integers(1, 20_000), st.integers(1, 20_000), REQUESTS)
@example(20_000, 1, asked(width=1, height=4096))
@example(3, 7, asked(width=4095, height=4096))
def test_what_every_size_keeps_to(width: int, height: int, request: RenditionRequest) -> None:
    found = plan(make_image(width=width, height=height), request)
    result, scaled = (found.width, found.height), (found.scaled_width, found.scaled_height)
    assert min(*result, *scaled) >= 1
    assert found.width <= (request.width or MAX_EDGE)
    assert found.height <= (request.height or MAX_EDGE)
    if not request.enlarge:
        assert found.scaled_width <= width
        assert found.scaled_height <= height
    cut = found.width < found.scaled_width or found.height < found.scaled_height
    filled_up = found.width > found.scaled_width or found.height > found.scaled_height
    assert not (cut and filled_up)
    if not request.width or not request.height or request.fit == "inside":
        assert result == scaled
        assert in_shape(result, (width, height))
        return
    box = (request.width, request.height)
    if request.fit == "contain" or request.enlarge or (box[0] <= width and box[1] <= height):
        assert result == box
    if request.fit == "cover":
        assert not filled_up
        assert in_shape(result, box)
        assert in_shape(scaled, (width, height))
    else:
        assert not cut


@given(REQUESTS, REQUESTS)
def test_keys_tell_renditions_apart(one: RenditionRequest, other: RenditionRequest) -> None:
    """Of one image: the key says all that a rendition is made by, and is fit for a path."""
    renditions = [plan(PICTURE, request) for request in (one, other)]
    keys = [rendition_key(PICTURE.image_id, rendition) for rendition in renditions]
    assert (keys[0] == keys[1]) == (renditions[0] == renditions[1])
    for key in keys:
        assert re.fullmatch(r"[a-z0-9./x-]+", key)
        assert key.startswith(renditions_prefix(PICTURE.image_id))
        assert ".." not in key
        assert image_id_of(key) == PICTURE.image_id


def test_what_a_key_looks_like() -> None:
    image_id = PICTURE.image_id
    found = plan(PICTURE, asked(width=320, height=320, position="top-left", format="jpeg"))
    assert rendition_key(image_id, found) == f"renditions/{image_id[-2:]}/{image_id}/427x320.320x320.left.q80.jpg"
    found = plan(PICTURE, asked(width=320, format="png"))
    assert rendition_key(image_id, found) == f"renditions/{image_id[-2:]}/{image_id}/320x240.png"


SAME: list[list[dict[str, Any]]] = [
    [{"width": 320}, {"height": 240}, {"width": 320, "height": 320, "fit": "inside"}, {"width": 320, "fit": "contain"}],
    [{"width": 320, "height": 240, "fit": fit} for fit in FITS],
    [{}, {"width": 640}, {"width": 4096}, {"enlarge": True}, {"width": 4096, "height": 4096, "fit": "inside"}],
    [{"width": 320, "position": position} for position in [*ANCHORS, "attention", "entropy"]],
    [{"width": 90, "height": 90, "fit": "fill", "position": position} for position in ["centre", "left", "attention"]],
    # Only the sides are cut, or only above and below is anything added.
    [{"width": 90, "height": 90, "position": position} for position in ["centre", "top", "bottom"]],
    [{"width": 90, "height": 90, "position": position} for position in ["left", "top-left", "bottom-left"]],
    [{"width": 90, "height": 30, "position": position} for position in ["bottom", "bottom-right", "bottom-left"]],
    [
        {"width": 90, "height": 90, "fit": "contain", "position": position}
        for position in ["centre", "left", "right", "attention", "entropy"]
    ],
    [{"width": 90, "height": 90, "fit": "contain", "position": position} for position in ["top", "top-right"]],
    [{"width": 1000, "height": 1000}, {"width": 480, "height": 480}, {"width": 2000, "height": 2000}],
    [{"width": 320}, {"width": 320, "quality": 80}, {"width": 320, "enlarge": True}],
    [{"format": "jpeg"}, {"format": "jpeg", "quality": 80}],
    [{"format": "avif"}, {"format": "avif", "quality": 50}],
    [{"format": "png"}, {"format": "png", "quality": 1}, {"format": "png", "quality": 100}],
]


@pytest.mark.parametrize("requests", SAME)
def test_requests_for_the_same_are_equal(requests: list[dict[str, Any]]) -> None:
    first, *others = (plan(PICTURE, asked(**request)) for request in requests)
    for other in others:
        assert other == first
        assert rendition_key(PICTURE.image_id, other) == rendition_key(PICTURE.image_id, first)


def test_requests_for_something_else_are_not() -> None:
    square = {"width": 90, "height": 90}
    requests: list[dict[str, Any]] = [
        *({**square, "position": position} for position in ["centre", "left", "right", "attention", "entropy"]),
        *({**square, "fit": "contain", "position": position} for position in ["centre", "top", "bottom"]),
        *({**square, "fit": fit} for fit in ["inside", "fill"]),
        *({**square, "quality": quality} for quality in [1, 79, 81, 100]),
        *({**square, "format": format_} for format_ in ["jpeg", "png", "avif"]),
        {"width": 1000, "height": 1000},
        {"width": 1000, "height": 1000, "enlarge": True},
    ]
    keys = [rendition_key(PICTURE.image_id, plan(PICTURE, asked(**request))) for request in requests]
    for one, other in combinations(range(len(keys)), 2):
        assert keys[one] != keys[other], (requests[one], requests[other])


def test_renditions_of_two_images_are_two() -> None:
    found = plan(PICTURE, asked(width=90))
    assert rendition_key(PICTURE.image_id, found) != rendition_key(make_image().image_id, found)


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("original", FORMATS, ids=lambda original: original.name)
def test_what_stays_an_animation(original: Any, format_: str) -> None:
    image: Image = make_image(content_type=original.content_type, frames=7)
    moves = format_ == "webp" and original.name in ("gif", "webp")
    assert plan(image, asked(format=format_)).frames == (7 if moves else 1)


def test_the_most_pixels_of_any_step() -> None:
    image = make_image(content_type="image/gif", frames=7)

    def pixels(**overrides: Any) -> int:
        found: Rendition = plan(image, asked(**overrides))
        return found.pixels

    assert pixels(width=320, height=320) == 7 * 427 * 320  # before it is cut
    assert pixels(width=320, height=320, fit="contain") == 7 * 320 * 320  # with its canvas
    assert pixels(width=320, format="png") == 320 * 240


def test_every_original_has_a_format_for_auto() -> None:
    for original in FORMATS:
        assert negotiated_format(make_image(content_type=original.content_type), "") in {"jpeg", "png", "webp", "avif"}
