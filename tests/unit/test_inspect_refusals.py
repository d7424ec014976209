"""What is refused: other files, cut-off and damaged pictures, bombs, and pages in disguise; never with a crash."""

import random
import struct
import time
from collections.abc import Callable
from contextlib import closing, suppress
from io import BytesIO

import pytest
from PIL import Image, ImageFile

from src.common.errors import ActiveContent, ServiceError, TooManyPixels, UndecodableImage, UnsupportedImageFormat
from src.common.payload import SPOOL_LIMIT, Payload
from src.imaging.inspect import Inspector
from src.imaging.sniff import sniff
from src.models.image import FORMAT_BY_NAME, LONGEST_EDGE, MAX_FRAMES, MAX_PAGES, Picture
from tests.support.pictures import (
    ENCODERS,
    animation,
    avif_of,
    canvas,
    encode,
    noise,
    picture,
    png_bomb,
    tiff_of,
    turned,
)

INSPECTOR = Inspector(max_pixels=2_000_000)
PAGE = b"<html><script>alert(1)</script></html>"
XMP = (
    b'http://ns.adobe.com/xap/1.0/\0<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>A walk</dc:title>'
    b'</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)

WHOLE = {name: noise(100, 80, name) for name in ENCODERS} | {
    "flat jpeg": picture("jpeg", 400, 300),
    "progressive jpeg": noise(160, 140, "jpeg", progressive=True),
    "large jpeg": noise(300, 200, "jpeg"),
    "lossless webp": noise(60, 50, "webp", lossless=True),
    "uncompressed tiff": noise(60, 50, "tiff", compression=None),
    "tiff of jpeg": noise(60, 50, "tiff", compression="jpeg"),
    "tiff of several pages": animation("tiff", 5),
    "animated gif": animation("gif", 5),
    "animated webp": animation("webp", 5),
    "animated png": animation("png", 5),
    "avif sequence": animation("avif", 5),
}


def inspect(data: bytes) -> Picture:
    with closing(Payload.of(data)) as payload:
        return INSPECTOR.inspect(payload)


def is_refused(data: bytes) -> bool:
    try:
        inspect(data)
    except (UndecodableImage, UnsupportedImageFormat):
        return True
    return False


def frames_by_pillow(data: bytes) -> int:
    """Decode everything with another decoder, which raises if anything is missing."""
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    with Image.open(BytesIO(data)) as image:
        for frame in range(image.n_frames if hasattr(image, "n_frames") else 1):
            image.seek(frame)
            image.load()
        return frame + 1


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """Put a segment behind the first two bytes of a JPEG."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, 2 + len(data)) + data + jpeg[2:]


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_pictures_are_accepted(kind: str) -> None:
    """What the tests below cut off and damage."""
    assert inspect(WHOLE[kind])


@pytest.mark.parametrize("kind", WHOLE)
def test_a_cut_off_picture_is_refused(kind: str) -> None:
    """Wherever an upload broke off. An animation that lost frames is cut off too."""
    data = WHOLE[kind]
    cuts = {len(data) * percent // 100 for percent in range(5, 100, 5)}
    assert [cut for cut in sorted(cuts) if not is_refused(data[:cut])] == []


@pytest.mark.parametrize("subsampling", [0, 2], ids=["4:4:4", "4:2:0"])
@pytest.mark.parametrize("height", [296, 300, 302, 450, 451])
def test_the_last_lines_of_a_jpeg_count(height: int, subsampling: int) -> None:
    """Whatever its height: the decoder's shortcut must not leave out the lines that do not fill a block."""
    data = noise(400, height, "jpeg", subsampling=subsampling)
    assert inspect(data).height == height
    assert [lost for lost in (3_000, 1_500, 800) if not is_refused(data[:-lost])] == []


@pytest.mark.parametrize(("name", "frames"), [("png", 5), ("avif", 5)])
def test_frames_that_are_not_decoded_are_counted(name: str, frames: int) -> None:
    """The decoder shows the first frame of an animated PNG or AVIF; the pixels of all count."""
    payload = Payload.of(animation(name, frames, 40, 30))
    assert INSPECTOR.inspect(payload).frames == frames
    with pytest.raises(TooManyPixels, match=f"{frames * 1200} pixels"):
        Inspector(max_pixels=frames * 1_200 - 1).inspect(payload)


def test_boxes_in_boxes_without_end() -> None:
    """A file of boxes that hold each other is walked, not climbed into."""
    nested = b""
    for _ in range(5_000):
        nested = struct.pack(">I4s", 8 + len(nested), b"moov") + nested
    assert is_refused(picture("avif")[:32] + nested)


@pytest.mark.parametrize("kind", WHOLE)
def test_a_picture_that_lost_its_last_bytes(kind: str) -> None:
    """What is accepted nevertheless has lost nothing: another decoder still reads all of it."""
    data = WHOLE[kind]
    accepted = [data[:-lost] for lost in range(1, 80) if not is_refused(data[:-lost])]
    assert len(accepted) <= 12  # a PNG's last chunk says only that the file is over
    for cut in accepted:
        assert frames_by_pillow(cut) == frames_by_pillow(data)


@pytest.mark.parametrize("name", ENCODERS)
def test_only_a_header_is_not_enough(name: str) -> None:
    data = WHOLE[name]
    for length in (0, 1, 3, 8, 12, 16, 32):
        assert is_refused(data[:length])
        assert is_refused(data[:length] + bytes(1000))


def mutants(data: bytes, *, count: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            mutant[chance.randrange(len(mutant))] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        if chance.random() < 0.1:
            start, end = sorted(chance.sample(range(len(mutant)), 2))
            del mutant[start:end]
        made.append(bytes(mutant))
    return made


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", [*ENCODERS, "animated gif", "animated webp", "tiff of several pages", "avif sequence"])
def test_a_damaged_picture_is_measured_or_refused(kind: str, seed: int) -> None:
    """A few hundred damaged ones of each format: no other error, no crash, and nothing that takes long."""
    name = kind.split()[-1] if kind.startswith("animated") else kind.split()[0]
    small = WHOLE[kind] if " " in kind else noise(16, 12, name)
    for mutant in mutants(small, count=200, seed=seed):
        started = time.perf_counter()
        try:
            found = inspect(mutant)
        except ServiceError:
            continue
        finally:
            assert time.perf_counter() - started < 5
        assert found.content_type == FORMAT_BY_NAME[name].content_type
        assert 1 <= found.width * found.height * found.frames <= 2_000_000
        assert len(found.color) == 7
        assert len(found.placeholder) < 1_500


@pytest.mark.parametrize("edge", [7_072, 16_384, 30_000])
def test_a_bomb_is_refused_by_its_header(edge: int) -> None:
    """A few kilobytes that decode to up to 900 million pixels: refused before they are."""
    data = png_bomb(edge, edge)
    started = time.process_time()
    with pytest.raises(TooManyPixels, match=f"{edge * edge} pixels"), closing(Payload.of(data)) as payload:
        Inspector(max_pixels=50_000_000).inspect(payload)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("shape", [(LONGEST_EDGE, 760), (760, LONGEST_EDGE)], ids=["wide", "tall"])
def test_long_pictures_cost_little(shape: tuple[int, int]) -> None:
    """However long, a picture takes about as long as any other with as many pixels."""
    started = time.process_time()
    assert Inspector(max_pixels=50_000_000).inspect(Payload.of(png_bomb(*shape))).width == shape[0]
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "data",
    [
        png_bomb(LONGEST_EDGE + 1, 1),
        png_bomb(1, LONGEST_EDGE + 1),
        tiff_of([(1, 1), (LONGEST_EDGE + 1, 1)]),
        tiff_of([(1, LONGEST_EDGE + 1), (1, 1)]),
    ],
    ids=["wide", "tall", "a wide page", "a tall page"],
)
def test_the_longest_edge(data: bytes) -> None:
    with pytest.raises(TooManyPixels, match="edge of 65536 pixels; at most 65535"), closing(Payload.of(data)) as it:
        INSPECTOR.inspect(it)


@pytest.mark.parametrize("value", [1 << 40, 1 << 60, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("padding", [0, SPOOL_LIMIT], ids=["in memory", "in a file"])
def test_a_bigtiff_that_leads_nowhere(padding: int, value: int) -> None:
    """Its offsets and counts have 64 bits: more than any file can be sought to."""
    head = b"II+\0\x08\0\0\0"
    assert is_refused(head + struct.pack("<QQ", value, 0) + bytes(padding))
    assert is_refused(head + struct.pack("<QQ", 16, value) + bytes(padding))


def test_an_error_that_cites_what_is_no_text() -> None:
    """It must not stay behind, and be what all that comes after it fails at."""
    whole = turned("avif", 6)
    assert whole.count(b"irot") == 1
    for _ in range(2):
        with pytest.raises(UndecodableImage):
            inspect(whole.replace(b"irot", b"iro\xe8"))
        assert inspect(whole).width == 48


@pytest.mark.parametrize("name", ENCODERS)
def test_the_most_pixels(name: str) -> None:
    """Exactly as many as allowed are accepted, one fewer allowed is too few."""
    payload = Payload.of(picture(name, 64, 48))
    assert Inspector(max_pixels=64 * 48).inspect(payload).width == 64
    with pytest.raises(TooManyPixels, match=r"3072 pixels \(64 x 48, 1 frames\); at most 3071"):
        Inspector(max_pixels=64 * 48 - 1).inspect(payload)


@pytest.mark.parametrize("name", ["gif", "webp", "tiff"])
def test_the_pixels_of_all_frames_count(name: str) -> None:
    payload = Payload.of(animation(name, 3))
    assert Inspector(max_pixels=3 * 40 * 30).inspect(payload).frames == 3
    with pytest.raises(TooManyPixels, match="3600 pixels"):
        Inspector(max_pixels=3 * 40 * 30 - 1).inspect(payload)


def animated_gif(frames: int) -> bytes:
    return animation("gif", frames, 2, 2)


def paged_tiff(pages: int) -> bytes:
    return tiff_of([(2, 2)] * pages)


@pytest.mark.parametrize(("make", "most"), [(animated_gif, MAX_FRAMES), (paged_tiff, MAX_PAGES)], ids=["gif", "tiff"])
def test_the_most_frames(make: Callable[[int], bytes], most: int) -> None:
    assert inspect(make(most)).frames == most
    with pytest.raises(TooManyPixels, match=f"more than {most} frames"):
        inspect(make(most + 1))


def test_the_pixels_of_all_pictures_in_an_avif_count() -> None:
    """A tiny one in front must not hide large ones that are decoded after it."""
    data = avif_of(picture("avif", 16, 16), picture("avif", 100, 100))
    assert Inspector(max_pixels=10_256).inspect(Payload.of(data)).frames == 2
    with pytest.raises(TooManyPixels):
        Inspector(max_pixels=10_255).inspect(Payload.of(data))


@pytest.mark.parametrize("shown", [1, 2])
def test_every_picture_in_an_avif_is_decoded(shown: int) -> None:
    """Whichever of them is shown, and gives the size."""
    small, large = picture("avif", 16, 16), picture("avif", 100, 50)
    broken = small[:-60] + bytes(60)
    assert inspect(avif_of(small, large, shown=shown)).width == (16 if shown == 1 else 100)
    for files in ((broken, large), (large, broken)):
        assert is_refused(avif_of(*files, shown=shown))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("uneven", [False, True], ids=["alike", "of different sizes"])
def test_many_pages_cost_little(uneven: bool) -> None:
    """Some dozens of kilobytes must not keep a processor busy, whether they are accepted or refused."""
    data = tiff_of([(2, 2 + i % 2 * uneven) for i in range(400)])
    started = time.process_time()
    with suppress(TooManyPixels):
        assert inspect(data).frames == 400
    assert time.process_time() - started < 1


def other_format(name: str) -> bytes:
    buffer = BytesIO()
    canvas().save(buffer, format=name)
    return buffer.getvalue()


HEIC = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        PAGE,
        b"<!DOCTYPE html><html></html>",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
        b"%PDF-1.7\n",
        b"PK\x03\x04" + bytes(100),
        b"\x7fELF" + bytes(100),
        other_format("BMP"),
        other_format("ICO"),
        other_format("PPM"),
        HEIC + picture("avif")[32:],
        struct.pack(">I", 24) + b"ftypmp42\0\0\0\0isommp42" + bytes(100),
        # "avif" where the minor version stands, and behind the end of the box: no brand.
        struct.pack(">I", 20) + b"ftypheicavifmif1avif" + bytes(100),
        b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(40),
        b"II*\x01" + bytes(100),
    ],
    ids=lambda data: repr(data[:16]),
)
def test_what_is_no_picture_of_these_formats(data: bytes) -> None:
    assert sniff(Payload.of(data)) is None
    with pytest.raises(UnsupportedImageFormat, match="JPEG, PNG, WEBP, GIF, AVIF, TIFF"):
        inspect(data)


@pytest.mark.parametrize("brand", [b"avif", b"avis", b"mif1"])
def test_an_avif_by_any_of_its_brands(brand: bytes) -> None:
    """The major brand, or a compatible one."""
    data = picture("avif")
    assert data[4:12] == b"ftypavif"
    assert inspect(data[:8] + brand + data[12:]).content_type == "image/avif"


@pytest.mark.parametrize("name", ENCODERS)
def test_every_format_is_known_by_its_bytes(name: str) -> None:
    assert sniff(Payload.of(picture(name))) == name


def test_both_byte_orders_of_tiff() -> None:
    for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        assert sniff(Payload.of(start + bytes(100))) == "tiff"
        assert is_refused(start + bytes(100))


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a<script>alert(1)</script>",
        b"GIF89a/*" + PAGE,
        picture("png") + PAGE,
        picture("gif") + b"<svg onload=alert(1)>",
        picture("tiff") + b"\n<!DOCTYPE  HTML>",
        with_segment(picture("jpeg"), 0xFE, b"<script>alert(1)</script>"),
        with_segment(picture("jpeg"), 0xFE, b"<ScRiPt\tsrc=//evil.example>"),
        with_segment(picture("jpeg"), 0xFE, b"<iframe/src=//evil.example>"),
        with_segment(picture("jpeg"), 0xFE, b"<body onload=alert(1)>"),
    ],
    ids=lambda data: repr(data[:6] + data[-24:]),
)
def test_a_page_in_disguise_is_refused(data: bytes) -> None:
    """A valid picture that a browser which guesses types might run."""
    with pytest.raises(ActiveContent):
        inspect(data)


@pytest.mark.parametrize(
    "data",
    [
        with_segment(picture("jpeg"), 0xE1, XMP),
        with_segment(picture("jpeg"), 0xFE, b"a < b, <htmlike> and <b>bold</b>, 1<2"),
        encode(canvas(), "png", dpi=(300, 300)),
        picture("png") + bytes(100),
        picture("jpeg") + b"\r\n",
    ],
    ids=["XMP metadata", "angle brackets", "resolution", "zeros at the end", "a line break at the end"],
)
def test_what_is_no_page_is_accepted(data: bytes) -> None:
    assert inspect(data)
