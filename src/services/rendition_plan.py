"""From what was asked for to what is made: sizes, and which format an `Accept` header stands for."""

from ..models.image import FORMAT_BY_NAME, Image
from ..models.rendition import (
    ANCHORS,
    DEFAULT_QUALITY,
    MAX_EDGE,
    Position,
    Rendition,
    RenditionFormat,
    RenditionRequest,
)

# What a browser need not know, and so is only sent where `Accept` names it. WebP first: AVIF is smaller, and takes
# seven times as long to make.
MODERN: tuple[RenditionFormat, ...] = ("webp", "avif")
# As whom pictures of each format go out where nothing better is accepted. GIF: WebP keeps its frames and transparency.
_OWN_FORMAT: dict[str, RenditionFormat] = {
    "image/jpeg": "jpeg",
    "image/png": "png",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/gif": "webp",
    "image/tiff": "jpeg",
}


def plan(image: Image, request: RenditionRequest) -> Rendition:
    """Bring a request to its normal form, in which requests for the same rendition are equal."""
    scaled_width, scaled_height, width, height = _geometry(image, request)
    lossless = DEFAULT_QUALITY[request.format] is None
    return Rendition(
        scaled_width=scaled_width,
        scaled_height=scaled_height,
        width=width,
        height=height,
        position=_position(request.position, scaled_width - width, scaled_height - height),
        format=request.format,
        quality=None if lossless else request.quality or DEFAULT_QUALITY[request.format],
        frames=image.frames if request.format == "webp" and image.content_type in ("image/gif", "image/webp") else 1,
    )


def _position(position: Position, across: int, down: int) -> Position:
    """Bring a position to its normal form, where `across` and `down` pixels are to be cut off (or added, below 0)."""
    if position == "attention" or position == "entropy":
        return position if across > 0 or down > 0 else "centre"
    x, y = ANCHORS[position]
    anchor = (x if across else 0.5, y if down else 0.5)
    return next(name for name, value in ANCHORS.items() if value == anchor)


def _geometry(image: Image, request: RenditionRequest) -> tuple[int, int, int, int]:
    """Return the size that the picture is scaled to, and the size of the result."""
    fit = request.fit if request.width and request.height else "inside"
    width, height = request.width or MAX_EDGE, request.height or MAX_EDGE
    # What was left out is a bound, too, but nothing to grow to.
    most = float("inf") if request.enlarge and (request.width or request.height) else 1.0
    across, down = width / image.width, height / image.height
    if fit == "fill":
        scaled = _scaled(image, min(across, most), min(down, most))
        return *scaled, *scaled
    if fit == "cover":
        # A box that is too large is made smaller in its own shape, so that the page's layout holds.
        factor = max(across, down)
        if factor > most:
            width, height = max(1, round(width / factor)), max(1, round(height / factor))
            factor = most
        scaled_width, scaled_height = _scaled(image, factor, factor)
        return scaled_width, scaled_height, min(width, scaled_width), min(height, scaled_height)
    factor = min(across, down, most)
    scaled = _scaled(image, factor, factor)
    return (*scaled, width, height) if fit == "contain" else (*scaled, *scaled)


def _scaled(image: Image, across: float, down: float) -> tuple[int, int]:
    return max(1, round(image.width * across)), max(1, round(image.height * down))


def negotiated_format(image: Image, accept: str) -> RenditionFormat:
    """Choose the format for `format=auto` from an Accept header (RFC 9110, 12.5.1): the best of what is accepted.

    What nothing says is accepted is the original's own format, or the nearest that renditions have.
    """
    own = _OWN_FORMAT[image.content_type]
    qualities = _qualities(accept)

    def quality(name: RenditionFormat, *, named: bool) -> float:
        content_type = FORMAT_BY_NAME[name].content_type
        ranges = (content_type,) if named else (content_type, "image/*", "*/*")
        return next((qualities[range_] for range_ in ranges if range_ in qualities), 0.0)

    candidates = {name: quality(name, named=True) for name in MODERN}
    candidates[own] = quality(own, named=False)
    best = max(candidates, key=candidates.__getitem__)  # the first of equals
    if candidates[best]:
        return best
    return next((name for name in ("jpeg", "png") if quality(name, named=False)), own)


def _qualities(accept: str) -> dict[str, float]:
    qualities: dict[str, float] = {}
    for part in (accept.lower() or "*/*").split(","):
        range_, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        try:
            qualities[range_] = min(1.0, max(0.0, float(weight)))
        except ValueError:
            qualities[range_] = 1.0
    return qualities
