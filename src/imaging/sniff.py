"""What some bytes look like, whatever they are called: a picture of which format, or a web page."""

import re

from ..common.payload import Payload
from ..models.signature import REACH, format_of

# Where the WHATWG's MIME sniffing standard looks for a page (1,445 bytes), and where one is easily appended.
_HTML_REACH = 2_048
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|script|iframe|svg)[\s>/]", re.IGNORECASE)


def sniff(payload: Payload) -> str | None:
    """Return the name of the accepted format that the bytes begin as."""
    head, _ = payload.ends(REACH)
    return format_of(head)


def hides_html(payload: Payload) -> bool:
    """Tell whether a browser that guesses types might take the file for a page that runs scripts."""
    return any(_HTML.search(end) for end in payload.ends(_HTML_REACH))
