"""Changing and deleting images."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from ..models.caller import WRITE, Caller
from ..models.image import Deletion, Image, ImagePatch
from ..models.wire import Deletions, Problem
from ..services.idempotency import fingerprint_of
from .admission import needs
from .answers import body_limits_of, etag_of, idempotency_key, is_wanted, json_response, services_of
from .bodies import JSON, json_object
from .descriptions import IMAGE_ID, MERGE_PATCH, POST_PROBLEMS, STORE_PROBLEMS, described
from .fields import DeleteFields, IdempotencyHeader, MatchHeader, PatchFields
from .parameters import Reader, no_parameters, query_values

_DEFAULTS: Mapping[str, tuple[str, ...] | str] = {"tags": (), "description": "", "filename": ""}

_patch_fields = Reader(PatchFields)
_delete_fields = Reader(DeleteFields)


@described(
    answers={204: None, 400: Problem, 404: Problem, **STORE_PROBLEMS},
    tags=("images",),
    path_parameters=IMAGE_ID,
    operation_id="delete_image",
)
@needs(WRITE)
async def delete_image(request: Request, caller: Caller) -> Response:
    """Delete an image and its bytes."""
    no_parameters.read(query_values(request))
    await services_of(request).images.delete(request.path_params["image_id"], owner=caller.owner)
    return Response(status_code=204)


@described(
    headers=MatchHeader,
    json=PatchFields,
    answers={
        200: Image,
        400: Problem,
        404: Problem,
        412: Problem,
        413: Problem,
        415: Problem,
        **STORE_PROBLEMS,
    },
    tags=("images",),
    path_parameters=IMAGE_ID,
    operation_id="update_image",
)
@needs(WRITE)
async def update_image(request: Request, caller: Caller) -> Response:
    """Change an image's tags, description or file name.

    The body is a JSON merge patch: what it does not name stays, and null stands for the default. With `If-Match` the
    image is changed only if it is still the one with that `ETag`.
    """
    no_parameters.read(query_values(request))
    content = await json_object(request, limits=body_limits_of(request), media_types=(MERGE_PATCH, JSON))
    image = await services_of(request).images.update(
        request.path_params["image_id"],
        _patch(content),
        is_wanted=lambda image: is_wanted(request, etag_of(image)),
        owner=caller.owner,
    )
    return json_response(image, headers={"ETag": etag_of(image)})


@described(
    headers=IdempotencyHeader,
    json=DeleteFields,
    answers={
        200: Deletions,
        **POST_PROBLEMS,
    },
    tags=("images",),
    operation_id="delete_images",
)
@needs(WRITE)
async def delete_images(request: Request, caller: Caller) -> Response:
    """Delete up to a hundred images and their bytes, each by itself, and tell what came of each."""
    no_parameters.read(query_values(request))
    services, key = services_of(request), idempotency_key(request)
    content = await json_object(request, limits=body_limits_of(request))
    fields = _delete_fields.read_object(content)
    image_ids = tuple(dict.fromkeys(fields.image_ids))
    results = await services.idempotency.run(
        key,
        fingerprint_of("delete_images", image_ids),
        lambda claim: services.images.delete_all(image_ids, owner=caller.owner),
        result=tuple[Deletion, ...],
        commits=False,
        is_final=lambda results: all(result.status != "failed" for result in results),
        scope=caller.namespace,
    )
    deleted = sum(result.status == "deleted" for result in results)
    return json_response(Deletions(results=results, deleted=deleted))


def _patch(content: Mapping[str, object]) -> ImagePatch:
    defaults = {name for name, value in content.items() if value is None and name in _DEFAULTS}
    fields = _patch_fields.read_object({name: value for name, value in content.items() if name not in defaults})
    named = {name: value for name, value in msgspec.structs.asdict(fields).items() if value is not UNSET}
    return ImagePatch(**named, **{name: _DEFAULTS[name] for name in defaults})  # type: ignore[arg-type]
