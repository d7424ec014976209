"""`/images/{image_id}/content`: the way to an image's bytes that never changes. And how any answer gets such a link."""

import datetime as dt

from spectree import Response as Answers
from starlette.requests import Request
from starlette.responses import Response

from ..models.image import Image
from ..models.link import Link
from ..models.rendition import RenditionRequest
from ..services.rendition_plan import negotiated_format
from .answers import origin_of, services_of
from .openapi import IMAGE_ID, STORE_PROBLEMS, spec
from .parameters import Reader, query_values
from .queries import ContentParameters, ImageParameters, RenditionParameters
from .schemas import Problem

_content_parameters = Reader(ContentParameters)


@spec.validate(
    query=ContentParameters,
    resp=Answers(
        HTTP_302=(None, "`Location` is a signed URL of the bytes"),
        HTTP_400=Problem,
        HTTP_403=Problem,
        HTTP_404=Problem,
        **STORE_PROBLEMS,
    ),
    tags=("images",),
    path_parameter_descriptions=IMAGE_ID,
    operation_id="get_content",
    skip_validation=True,
)
async def get_content(request: Request) -> Response:
    """Go to an image's bytes, or to those of a rendition.

    For an `img` element: the address stays, and leads to a new signed URL each time.
    """
    services = services_of(request)
    image_id = request.path_params["image_id"]
    values = query_values(request)
    parameters = _content_parameters.read(values)
    ends = None
    if parameters.signature is not None or parameters.expires is not None:
        ends = await services.contents.verify(image_id, {name: str(value) for name, (value,) in values.items()})
    image = await services.images.get(image_id)
    link = await link_for(request, image, parameters, not_after=ends)
    return Response(
        status_code=302,
        headers={
            "Location": link.url,
            # Whoever follows a cached answer still has the other half of the link's life.
            "Cache-Control": f"private, max-age={link.life // 2}",
            **varies(parameters),
        },
    )


async def link_for(
    request: Request, image: Image, parameters: ImageParameters, *, not_after: dt.datetime | None = None
) -> Link:
    """Return a link to the original, or to the rendition that the parameters describe, which is made if need be."""
    services = services_of(request)
    rendition = None
    if _is_rendition(parameters):
        rendition = await services.renditions.ensure(image, _rendition_request(request, image, parameters))
    return services.links.link(
        image,
        origin=origin_of(request),
        rendition=rendition,
        expires_in=parameters.expires_in,
        not_after=not_after,
        download=parameters.download,
    )


def varies(parameters: RenditionParameters) -> dict[str, str]:
    """Return the header that says what, besides the URL, the answer depends on."""
    return {"Vary": "Accept"} if _is_rendition(parameters) and parameters.format in (None, "auto") else {}


def _is_rendition(parameters: RenditionParameters) -> bool:
    return any(getattr(parameters, name) is not None for name in RenditionParameters.__struct_fields__)


def _rendition_request(request: Request, image: Image, parameters: RenditionParameters) -> RenditionRequest:
    asked = parameters.format
    if asked is None or asked == "auto":
        asked = negotiated_format(image, request.headers.get("accept", ""))
    return RenditionRequest(
        width=parameters.width,
        height=parameters.height,
        fit=parameters.fit or "cover",
        position=parameters.position or "centre",
        enlarge=bool(parameters.enlarge),
        format=asked,
        quality=parameters.quality,
    )
