"""Payloads, in memory and in a file; and base64 as clients write it."""

import base64
import hashlib
import textwrap
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.common.payload import SPOOL_LIMIT, Payload, decode_base64
from tests.support.payloads import some_bytes, spooled

Maker = Callable[[bytes], Payload]


@pytest.fixture(params=[Payload.of, spooled], ids=["bytes", "spooled"])
def made(request: pytest.FixtureRequest) -> Iterator[Maker]:
    payloads: list[Payload] = []

    def make(data: bytes) -> Payload:
        payloads.append(request.param(data))
        return payloads[-1]

    yield make
    for payload in payloads:
        payload.close()


SIZES = [0, 1, 100, SPOOL_LIMIT - 1, SPOOL_LIMIT, SPOOL_LIMIT + 1, 3 * SPOOL_LIMIT + 5]


@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_comes_out(made: Maker, size: int) -> None:
    """In any order of looking at it, from the beginning each time."""
    data = some_bytes(size)
    payload = made(data)
    assert payload.size == size
    for _ in range(2):
        assert payload.open().read() == data
        assert payload.sha256() == hashlib.sha256(data).hexdigest()
        assert payload.ends(10) == (data[:10], data[-10:])
        content = payload.content()
        assert (content if isinstance(content, bytes) else content.read()) == data


@pytest.mark.parametrize("size", SIZES)
def test_only_large_content_is_a_file(made: Maker, size: int) -> None:
    """One with a descriptor that a C library can read from."""
    content = made(some_bytes(size)).content()
    if size <= SPOOL_LIMIT:
        assert isinstance(content, bytes)
    else:
        assert not isinstance(content, bytes)
        assert Path(f"/proc/self/fd/{content.fileno()}").exists()


def test_a_spooled_file_has_no_name_on_disk(made: Maker) -> None:
    """So nothing is left behind by a crash either."""
    content = made(some_bytes(2 * SPOOL_LIMIT)).content()
    assert not isinstance(content, bytes)
    assert str(Path(f"/proc/self/fd/{content.fileno()}").readlink()).endswith("(deleted)")


@pytest.mark.parametrize(
    ("data", "length", "ends"),
    [
        (b"", 4, (b"", b"")),
        (b"a", 4, (b"a", b"a")),
        (b"abcd", 4, (b"abcd", b"abcd")),
        (b"abcde", 4, (b"abcd", b"bcde")),
        (b"abcdefghij", 4, (b"abcd", b"ghij")),
    ],
)
def test_ends(made: Maker, data: bytes, length: int, ends: tuple[bytes, bytes]) -> None:
    """Of a payload that is shorter than asked for, both ends are all of it."""
    assert made(data).ends(length) == ends


def test_close_closes_the_file() -> None:
    file = BytesIO(b"x")
    Payload(file, 1).close()
    assert file.closed


@given(st.binary(max_size=300))
def test_base64_round_trip(data: bytes) -> None:
    """Plain, as a data URI, and broken into lines as PEM and MIME do."""
    text = base64.b64encode(data).decode()
    assert decode_base64(text) == data
    for type_ in ("", "image/png", "image/svg+xml;charset=utf-8", "whatever"):
        assert decode_base64(f"data:{type_};base64,{text}") == data
    for width, newline in ((64, "\n"), (76, "\r\n")):
        lines = newline.join(textwrap.wrap(text, width)) + newline
        assert decode_base64(lines) == decode_base64(f" \t{lines}") == data


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AA",
        "AAA",
        "AAAAA",
        "AA=",
        "AA===",
        "=AAA",
        "A=AA",
        "AA==AAAA",
        "-_-_",  # RFC 4648, section 5: another alphabet, and guessing it would hide a client's mistake
        "AAA*",
        "AAA\0",
        "AAAä",
        "ＡＡＡＡ",
        "<svg>",
        "https://example.com/a.png",
    ],
)
def test_what_is_no_base64(text: str) -> None:
    with pytest.raises(ValueError, match=r"^wants base64 \(RFC 4648\) or a base64 data URI$"):
        decode_base64(text)
    with pytest.raises(ValueError, match=r"^wants "):
        decode_base64(f"data:image/png;base64,{text}")


@pytest.mark.parametrize(
    "text", ["data:", "data:image/png", "data:image/png,AAAA", "data:image/png;base64", "data:;base32,AAAA"]
)
def test_what_is_no_base64_data_uri(text: str) -> None:
    with pytest.raises(ValueError, match=r"^wants a data URI of the form data:image/\.\.\.;base64,\.\.\.$"):
        decode_base64(text)


@given(st.text())
def test_any_text_is_decoded_or_refused(text: str) -> None:
    try:
        decoded = decode_base64(text)
    except ValueError as error:
        assert str(error).startswith("wants ")  # noqa: PT017 - the other outcome is checked too
    else:
        assert len(decoded) <= len(text)
