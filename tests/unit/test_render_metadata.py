"""What else a file says is in no rendition: where it was taken, by whom, with what, and how it was called."""

import struct
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from tests.support.pictures import ORIENTATION, canvas, encode
from tests.support.profiles import ADOBE_RGB, gamma, rgb_profile
from tests.support.renditions import FORMATS, rendered, rendered_bytes

SECRET = "Rue de la Paix"
XMP = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><place>{SECRET}</place></x:xmpmeta>'.encode()
PROFILE = rgb_profile(ADOBE_RGB, gamma(2.2), SECRET)
TELLTALE = [SECRET.encode(), b"Exif", b"xmpmeta", b"ns.adobe.com", b"Photoshop", b"8BIM", b"acsp", b"ICC"]


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x010E] = SECRET  # ImageDescription
    made[ORIENTATION] = 1
    made[0x8825] = {1: "N", 2: (48.0, 52.0, 7.0), 3: "E", 4: (2.0, 19.0, 53.0), 29: SECRET}  # GPS
    return made


def jpeg() -> bytes:
    data = encode(canvas(), "jpeg", exif=exif(), xmp=XMP, icc_profile=PROFILE, comment=SECRET.encode())
    caption = b"\x1c\x02\x78" + struct.pack(">H", len(SECRET)) + SECRET.encode()  # IPTC 2:120
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(caption)) + caption + bytes(len(caption) % 2)
    segment = b"Photoshop 3.0\0" + resource
    return data[:2] + b"\xff\xed" + struct.pack(">H", 2 + len(segment)) + segment + data[2:]


def png(**options: Any) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", SECRET)
    text.add_text("Comment", SECRET, zip=True)
    text.add_itxt("Author", SECRET, lang="fr")
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return encode(canvas(), "png", pnginfo=text, exif=exif(), icc_profile=PROFILE, **options)


def webp(**options: Any) -> bytes:
    return encode(canvas(), "webp", exif=exif(), xmp=XMP, icc_profile=PROFILE, **options)


def tiff() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x010E] = tags[0x013B] = tags[0x0110] = SECRET  # description, artist, model
    tags[700] = XMP
    tags.tagtype[700] = 1
    tags[33723] = SECRET.encode()  # IPTC
    tags.tagtype[33723] = 7
    return encode(canvas(), "tiff", tiffinfo=tags, icc_profile=PROFILE)


MORE = [canvas(color=(20, 200, 20)), canvas(color=(20, 20, 200))]
SOURCES = {
    "JPEG": jpeg(),
    "PNG": png(),
    "animated PNG": png(save_all=True, append_images=MORE),
    "WebP": webp(),
    "animated WebP": webp(save_all=True, append_images=MORE),
    "AVIF": encode(canvas(), "avif", exif=exif(), xmp=XMP, icc_profile=PROFILE),
    "TIFF": tiff(),
    "GIF": encode(canvas(), "gif", comment=SECRET.encode()),
    "animated GIF": encode(canvas(), "gif", comment=SECRET.encode(), save_all=True, append_images=MORE),
}
WAYS: list[dict[str, Any]] = [
    {},
    {"width": 32},
    {"width": 20, "height": 20},
    {"width": 70, "height": 90, "fit": "contain"},
]


@pytest.mark.parametrize("kind", SOURCES)
def test_the_originals_hold_it(kind: str) -> None:
    """Else there would be nothing to find."""
    data = SOURCES[kind]
    assert SECRET.encode() in data
    if "GIF" not in kind:
        image = Image.open(BytesIO(data))
        assert image.info["icc_profile"] == PROFILE
        assert b"xmpmeta" in data
        if kind != "TIFF":
            assert image.getexif().get_ifd(0x8825)[29] == SECRET


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("format_", FORMATS)
def test_no_rendition_does(kind: str, format_: str) -> None:
    for way in WAYS:
        rendered(SOURCES[kind], format=format_, **way)  # looks for what Pillow knows of
        data = rendered_bytes(SOURCES[kind], format=format_, **way)
        assert [telltale for telltale in TELLTALE if telltale in data] == []


def test_two_originals_that_differ_in_metadata_only_look_the_same() -> None:
    plain = encode(canvas(), "png")
    told = encode(canvas(), "png", exif=exif(), dpi=(300, 300))
    for format_ in FORMATS:
        assert rendered(told, width=32, format=format_).tobytes() == rendered(plain, width=32, format=format_).tobytes()
