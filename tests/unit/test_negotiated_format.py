"""Which format `format=auto` is, from the Accept headers that there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.services.rendition_plan import negotiated_format
from tests.support.images import make_image

ORIGINALS = ["jpeg", "png", "webp", "avif", "gif", "tiff"]
OWN = {"jpeg": "jpeg", "png": "png", "webp": "webp", "avif": "avif", "gif": "webp", "tiff": "jpeg"}
BROWSERS = {
    "Chrome": "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
    "Chrome, opened": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
    "Firefox": "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
    "Firefox 65": "image/webp,*/*",
    "Safari": "image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/png,image/svg+xml,"
    "image/*;q=0.8,*/*;q=0.5",
    "Safari 14": "image/webp,image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5",
}
NOTHING_SAID = {
    "none": "",
    "curl": "*/*",
    "any picture": "image/*",
    "Safari 13": "image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5",
}


def chosen(original: str, accept: str) -> str:
    return negotiated_format(make_image(content_type=f"image/{original}"), accept)


@pytest.mark.parametrize("original", ORIGINALS)
@pytest.mark.parametrize("browser", BROWSERS)
def test_browsers_get_webp(browser: str, original: str) -> None:
    """Where WebP and AVIF are as welcome, too: it is made in a fraction of the time."""
    assert chosen(original, BROWSERS[browser]) == "webp"


@pytest.mark.parametrize("original", ORIGINALS)
@pytest.mark.parametrize("client", ["none", "curl", "any picture"])
def test_who_names_neither_gets_what_the_original_is(client: str, original: str) -> None:
    assert chosen(original, NOTHING_SAID[client]) == OWN[original]


def test_a_browser_without_webp_gets_none() -> None:
    for original in ("jpeg", "tiff"):
        assert chosen(original, NOTHING_SAID["Safari 13"]) == "jpeg"
    assert chosen("png", NOTHING_SAID["Safari 13"]) == "png"


@pytest.mark.parametrize("original", ORIGINALS)
@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        ("image/avif", "avif"),
        ("image/webp", "webp"),
        ("image/jpeg", "jpeg"),
        ("image/png", "png"),
        ("image/png;q=0.1", "png"),
        ("image/avif,image/webp;q=0.9", "avif"),
        ("image/webp;q=0.5,image/avif;q=0.5", "webp"),
        ("image/avif;q=0.5,image/webp;q=0.5", "webp"),
        ("image/webp;q=0.5,image/avif;q=0.6", "avif"),
        ("image/webp;q=0,image/avif", "avif"),
        ("image/avif;q=0,image/webp;q=0.001", "webp"),
        ("IMAGE/WebP", "webp"),
        (" image/webp ; q=0.5 , image/avif ; Q=0.7 ", "avif"),
        ("image/webp;level=1;q=0.1,image/avif;q=0.2", "avif"),
        ("text/html, image/avif", "avif"),
    ],
)
def test_the_best_of_what_is_named(accept: str, format_: str, original: str) -> None:
    assert chosen(original, accept) == format_


@pytest.mark.parametrize(
    ("original", "accept", "format_"),
    [
        ("jpeg", "image/webp;q=0.5,image/jpeg", "jpeg"),
        ("jpeg", "image/webp;q=0.5,image/*;q=0.8", "jpeg"),
        ("jpeg", "image/webp;q=0.9,*/*;q=0.8", "webp"),
        ("jpeg", "image/webp;q=0.8,image/jpeg;q=0.8", "webp"),
        ("jpeg", "image/*;q=0.1,*/*;q=0.9,image/webp;q=0.5", "webp"),  # the more precise range counts
        ("jpeg", "image/jpeg;q=0.1,image/*;q=0.9,image/webp;q=0.5", "webp"),
        ("jpeg", "image/jpeg;q=0,*/*", "png"),
        ("png", "image/jpeg;q=0,*/*", "png"),
        ("png", "image/png;q=0,*/*", "jpeg"),
        ("webp", "image/webp;q=0,*/*", "jpeg"),
        ("webp", "image/webp;q=0,image/jpeg;q=0,image/*", "png"),
        ("gif", "image/webp;q=0,image/*", "jpeg"),
        ("avif", "image/avif;q=0,*/*;q=0.5", "jpeg"),
        ("avif", "image/avif;q=0.9,*/*;q=0.5", "avif"),
        ("avif", "image/png,*/*;q=0.5", "avif"),
        ("tiff", "image/tiff", "jpeg"),
        ("tiff", "image/tiff,image/png", "png"),
        ("gif", "image/gif", "webp"),
    ],
)
def test_named_and_not(original: str, accept: str, format_: str) -> None:
    assert chosen(original, accept) == format_


@pytest.mark.parametrize("original", ORIGINALS)
@pytest.mark.parametrize(
    "accept",
    ["text/html", "image/svg+xml", "*/*;q=0", ",,", ";;q=nan", " ", ";", "q=1", "/", "image", "☃", "\0", ",;," * 9],
)
def test_where_nothing_is_accepted_the_original_decides(accept: str, original: str) -> None:
    """Rather a picture than an error (RFC 9110, 12.5.1, allows both)."""
    assert chosen(original, accept) == OWN[original]


@pytest.mark.parametrize("weight", ["nan", "inf", "-inf", "-1", "2", "1e400", "", "x", "0x1", "1;q=0.1", "١"])
def test_no_weight_is_an_error(weight: str) -> None:
    assert chosen("jpeg", f"image/webp;q={weight}") in {"webp", "jpeg"}
    assert chosen("jpeg", f"image/webp;q={weight},image/avif;q=0.5,*/*;q=0.1") in {"webp", "avif"}


@given(
    st.sampled_from(ORIGINALS),
    st.lists(st.sampled_from([*"aq=;,.*/ 01-", "image/", "webp", "avif", "nan"]), max_size=30).map("".join) | st.text(),
)
def test_any_header_has_an_answer(original: str, accept: str) -> None:
    assert chosen(original, accept) in {"jpeg", "png", "webp", "avif"}
