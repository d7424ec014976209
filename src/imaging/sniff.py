"""Which format some bytes are of, by the signatures that the formats' specifications give."""

import re

from ..common.payload import Payload

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

# Where the WHATWG's MIME sniffing standard looks for a page (1,445 bytes), and where one is easily appended.
_HTML_REACH = 2_048
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|script|iframe|svg)[\s>/]", re.IGNORECASE)


def sniff(payload: Payload) -> str | None:
    """Return the name of the accepted format that the bytes begin as."""
    head, _ = payload.ends(256)
    for name, signature in _SIGNATURES:
        if signature.match(head):
            return name
    if match := _FTYP.match(head):
        end = int.from_bytes(match["length"]) - 8
        brands = match["brands"][: max(end, 0)]
        if _AVIF_BRANDS & {brands[i : i + 4] for i in range(0, len(brands), 4) if i != 4}:
            return "avif"
    return None


def hides_html(payload: Payload) -> bool:
    """Tell whether a browser that guesses types might take the file for a page that runs scripts."""
    return any(_HTML.search(end) for end in payload.ends(_HTML_REACH))
