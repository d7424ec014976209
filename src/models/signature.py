"""Which format some bytes are of, by the signatures that the formats' specifications give."""

import re

REACH = 256  # bytes from the beginning that tell it

_SIGNATURES = (
    ("jpeg", re.compile(rb"\xff\xd8\xff")),
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("gif", re.compile(rb"GIF8[79]a")),
    ("webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("tiff", re.compile(rb"II[*+]\0|MM\0[*+]")),  # + is BigTIFF
)
# An ISO BMFF file (AVIF specification, section 6): a brand of AVIF as the major one or among the compatible ones.
_FTYP = re.compile(rb"(?P<length>.{4})ftyp(?P<brands>.*)", re.DOTALL)
_AVIF_BRANDS = {b"avif", b"avis"}


def format_of(head: bytes) -> str | None:
    """Return the name of the accepted format that a file begins as, from its first REACH bytes."""
    for name, signature in _SIGNATURES:
        if signature.match(head):
            return name
    if match := _FTYP.match(head):
        end = int.from_bytes(match["length"]) - 8
        brands = match["brands"][: max(end, 0)]
        if _AVIF_BRANDS & {brands[i : i + 4] for i in range(0, len(brands), 4) if i != 4}:
            return "avif"
    return None
