"""`/images/{image_id}/content`: the way to an image's bytes that never changes. And how any answer gets such a link."""

from operator import attrgetter

from starlette.requests import Request
from starlette.responses import Response

from ..models.caller import READ, Caller
from ..models.image import Image
from ..models.link import Link
from ..models.rendition import RenditionFormat, RenditionRequest
from ..models.wire import Problem
from ..services.rendition_plan import negotiated_format
from .admission import needs_link_or
from .answers import NO_STORE, origin_of, services_of
from .descriptions import IMAGE_ID, STORE_PROBLEMS, described
from .parameters import Reader, query_values
from .queries import ContentParameters, ImageParameters, RenditionParameters

_FORWARDED = (*RenditionParameters.__struct_fields__, "download")

_of_rendition = attrgetter(*RenditionParameters.__struct_fields__)
_NO_RENDITION = (None,) * len(RenditionParameters.__struct_fields__)

_content_parameters = Reader(ContentParameters)


@described(
    query=ContentParameters,
    answers={
        302: (None, "`Location` is a signed URL of the bytes"),
        400: Problem,
        403: Problem,
        404: Problem,
        **STORE_PROBLEMS,
    },
    tags=("images",),
    path_parameters=IMAGE_ID,
    operation_id="get_content",
)
@needs_link_or(READ)
async def get_content(request: Request, caller: Caller | None) -> Response:
    """Go to an image's bytes, or to those of a rendition.

    For an `img` element: the address stays, and leads to a new signed URL each time.
    """
    services = services_of(request)
    image_id = request.path_params["image_id"]
    values = query_values(request)
    parameters = _content_parameters.read(values)
    ends = owner = None
    if caller:
        owner = caller.owner
    else:
        ends = await services.contents.verify(image_id, {name: str(value) for name, (value,) in values.items()})
    image = await services.images.get(image_id, owner=owner)
    rendition = await _rendition(request, image, parameters)
    # What one user's token opens is not for the next one in the same browser.
    is_for_all = caller is None or services.authentication.is_open
    link = services.links.link(
        image,
        origin=origin_of(request),
        rendition=rendition,
        expires_in=parameters.expires_in,
        not_after=ends,
        download=parameters.download,
    )
    return Response(
        status_code=302,
        headers={
            "Location": link.url,
            # Whoever follows a cached answer still has the other half of the link's life.
            "Cache-Control": f"private, max-age={link.life // 2}" if is_for_all else NO_STORE,
            **varies(parameters),
        },
    )


async def link_for(request: Request, image: Image, parameters: ImageParameters) -> Link:
    """Return a link to the original, or to the rendition that the parameters describe, which is made if need be.

    It leads straight to the bytes, or if such a link would end too early by way of `/images/{image_id}/content`.
    """
    services, origin = services_of(request), origin_of(request)
    rendition = await _rendition(request, image, parameters)
    if services.links.can_last(parameters.expires_in):
        return services.links.link(
            image,
            origin=origin,
            rendition=rendition,
            expires_in=parameters.expires_in,
            download=parameters.download,
        )
    # A format that was chosen for this request is what the link leads to, whatever its follower accepts.
    named: dict[str, str] = {"format": _asked_format(request, image, parameters)} if rendition else {}
    named |= {name: _spelt(value) for name in _FORWARDED if (value := getattr(parameters, name)) and name not in named}
    expires_at = services.links.end_of(parameters.expires_in)
    return await services.contents.link(image.image_id, named, origin=origin, expires_at=expires_at)


async def _rendition(request: Request, image: Image, parameters: ImageParameters) -> str | None:
    """Return the key of the rendition, if it is one that is asked for."""
    if not _is_rendition(parameters):
        return None
    return await services_of(request).renditions.ensure(image, _rendition_request(request, image, parameters))


def _spelt(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def varies(parameters: RenditionParameters) -> dict[str, str]:
    """Return the header that says what, besides the URL, the answer depends on."""
    return {"Vary": "Accept"} if _is_rendition(parameters) and parameters.format in (None, "auto") else {}


def _is_rendition(parameters: RenditionParameters) -> bool:
    return _of_rendition(parameters) != _NO_RENDITION


def _rendition_request(request: Request, image: Image, parameters: RenditionParameters) -> RenditionRequest:
    return RenditionRequest(
        width=parameters.width,
        height=parameters.height,
        fit=parameters.fit or "cover",
        position=parameters.position or "centre",
        enlarge=bool(parameters.enlarge),
        format=_asked_format(request, image, parameters),
        quality=parameters.quality,
    )


def _asked_format(request: Request, image: Image, parameters: RenditionParameters) -> RenditionFormat:
    if parameters.format is None or parameters.format == "auto":
        return negotiated_format(image, request.headers.get("accept", ""))
    return parameters.format
