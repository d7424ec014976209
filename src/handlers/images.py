"""The `/images` routes."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..models.caller import READ, WRITE, Caller
from ..models.claim import Outcome
from ..models.image import Image
from ..models.page import ImageQuery
from ..models.wire import Cursor, ImageList, LinkedImage, ListedImage, Problem
from ..services.idempotency import fingerprint_of_image
from .admission import needs, upload_slot
from .answers import (
    NO_STORE,
    body_limits_of,
    etag_of,
    idempotency_key,
    image_response,
    json_response,
    matches_etag,
    next_link,
    origin_of,
    services_of,
)
from .bodies import new_image
from .content import link_for, varies
from .descriptions import IMAGE_ID, POST_PROBLEMS, STORE_PROBLEMS, described
from .fields import IdempotencyHeader, JsonUpload, MultipartUpload, NoneMatchHeader, UploadFields
from .parameters import Reader, query_values
from .queries import ImageParameters, ListParameters

_PLAIN = ImageParameters()

_list_parameters = Reader(ListParameters)
_image_parameters = Reader(ImageParameters)


@described(
    query=UploadFields,
    headers=IdempotencyHeader,
    form=MultipartUpload,
    json=JsonUpload,
    answers={
        201: Image,
        200: (Image, "on_duplicate=return found the owner's image of the same bytes"),
        **POST_PROBLEMS,
    },
    tags=("images",),
    operation_id="upload_image",
)
@needs(WRITE)
async def upload(request: Request, caller: Caller) -> Response:
    """Upload an image.

    The picture comes as the part `file` of a form, in base64 in a JSON object, or as the body itself with the fields
    in the query. What it is is found out from its bytes; what is not acceptable is refused and leaves nothing behind.
    """
    services, key = services_of(request), idempotency_key(request)
    with upload_slot(request, caller):
        async with new_image(request, caller, limits=body_limits_of(request), cpu=services.cpu) as new:
            fingerprint = await fingerprint_of_image(new) if key else ""
            outcome = await services.idempotency.run(
                key,
                fingerprint,
                lambda claim: services.images.upload(new, claim=claim),
                result=Outcome,
                scope=caller.namespace,
            )
    return image_response(request, outcome)


@described(
    query=ListParameters,
    answers={200: ImageList, 400: Problem, **STORE_PROBLEMS},
    tags=("images",),
    operation_id="list_images",
)
@needs(READ)
async def list_images(request: Request, caller: Caller) -> Response:
    """List images, filtered, page by page.

    Pass a page's `last_key` on to get the next one, until it is null. A page may hold fewer images than `limit` before
    the list is over. With `include=urls` each image also has `url`, `thumbnail_url` and `expires_at`.
    """
    parameters = _list_parameters.read(query_values(request))
    page = await services_of(request).images.list(_query(parameters), owner=caller.owner)
    images: Sequence[Image] = page.images
    last_key = None if page.after is None else Cursor(page.after)
    headers = next_link(request, "/images", last_key)
    if "urls" in parameters.include:
        headers["Cache-Control"] = NO_STORE
        images = [await _listed(request, image, parameters.thumbnail_size) for image in images]
    # As ImageList describes it.
    body = {"images": images, "count": len(images), "last_key": last_key}
    return json_response(body, headers=headers)


@described(
    query=ImageParameters,
    headers=NoneMatchHeader,
    answers={200: LinkedImage, 304: None, 400: Problem, 404: Problem, **STORE_PROBLEMS},
    tags=("images",),
    path_parameters=IMAGE_ID,
    operation_id="get_image",
)
@needs(READ)
async def get_image(request: Request, caller: Caller) -> Response:
    """Get an image and a link to its bytes, or to a rendition."""
    parameters = _image_parameters.read(query_values(request))
    image = await services_of(request).images.get(request.path_params["image_id"], owner=caller.owner)
    etag = etag_of(image)
    headers = {"ETag": etag, "Cache-Control": NO_STORE, **varies(parameters)}
    if matches_etag(request, etag):
        return Response(status_code=304, headers=headers)
    link = await link_for(request, image, parameters)
    body = LinkedImage(**msgspec.structs.asdict(image), url=link.url, expires_at=link.expires_at)
    return json_response(body, headers=headers)


def _query(parameters: ListParameters) -> ImageQuery:
    return ImageQuery(
        user_id=parameters.user_id,
        tags=parameters.tags,
        tag_mode=parameters.tag_mode,
        exclude_tags=parameters.exclude_tags,
        created_after=parameters.created_after,
        created_before=parameters.created_before,
        order=parameters.order,
        limit=parameters.limit,
        after=parameters.last_key,
    )


async def _listed(request: Request, image: Image, thumbnail_size: int) -> ListedImage:
    link = await link_for(request, image, _PLAIN)
    rendition = {"width": str(thumbnail_size), "height": str(thumbnail_size), "fit": "inside"}
    # Made when it is first looked at.
    thumbnail = await services_of(request).contents.link(
        image.image_id, rendition, origin=origin_of(request), expires_at=link.expires_at
    )
    return ListedImage(
        **msgspec.structs.asdict(image), url=link.url, thumbnail_url=thumbnail.url, expires_at=link.expires_at
    )
