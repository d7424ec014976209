"""The `/uploads` routes: files that go straight to storage."""

import datetime as dt

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from ..common.errors import FieldError, InvalidRequest
from ..models.caller import ADMIN, READ, WRITE, Caller
from ..models.claim import Outcome
from ..models.image import Image
from ..models.upload import NewUpload, Upload, incoming_key
from ..models.wire import Problem, UploadAnswer, UploadForm
from ..services.idempotency import fingerprint_of, fingerprint_of_upload
from .admission import needs, upload_slot
from .answers import (
    NO_STORE,
    body_limits_of,
    idempotency_key,
    image_response,
    json_response,
    origin_of,
    prefix_of,
    services_of,
)
from .bodies import json_object
from .descriptions import IMAGE_ID, POST_PROBLEMS, STORE_PROBLEMS, described
from .fields import IdempotencyHeader, NewUploadFields, details
from .parameters import Reader, no_parameters, query_values

_fields = Reader(NewUploadFields)


@described(
    headers=IdempotencyHeader,
    json=NewUploadFields,
    answers={
        201: UploadAnswer,
        **POST_PROBLEMS,
    },
    tags=("uploads",),
    operation_id="declare_upload",
)
@needs(WRITE)
async def declare_upload(request: Request, caller: Caller) -> Response:
    """Declare a file that is then sent straight to storage, however large, and get the form to send it with.

    Post a multipart form with `upload.fields`, and then the file as the part `file`, to `upload.url`; then complete
    the upload. Until that is done there is no image, and what is never completed vanishes.

    With `image_id`, which takes `images:admin`, the image gets that id, and so keeps its identity when it moves from
    one service to another, or comes back. The same declaration may be repeated, and then goes on.
    """
    no_parameters.read(query_values(request))
    services, key = services_of(request), idempotency_key(request)
    content = await json_object(request, limits=body_limits_of(request))
    fields = _fields.read_object({name: value for name, value in content.items() if value is not None})
    _check_restored(fields, caller)
    new = NewUpload(**details(fields, caller))
    upload = await services.idempotency.run(
        key,
        fingerprint_of_upload(new),
        lambda claim: services.uploads.declare(new, claim=claim),
        result=Upload,
        scope=caller.namespace,
    )
    request.state.image_id = upload.image_id
    is_received = upload.version is not None and await services.uploads.is_received(upload)  # an earlier time
    headers = {"Location": f"{prefix_of(request)}/uploads/{upload.image_id}", "Cache-Control": NO_STORE}
    return json_response(_answer(request, upload, is_received=is_received), status=201, headers=headers)


def _check_restored(fields: NewUploadFields, caller: Caller) -> None:
    """Raise InsufficientScope or InvalidRequest if not all may be said of an image that was elsewhere before."""
    if fields.image_id is not None:
        caller.require(ADMIN)
        return
    alone = [name for name in ("version", "updated_at") if getattr(fields, name) is not None]
    if alone:
        raise InvalidRequest.of(*(FieldError(name, "wants an image_id beside it") for name in alone))


@described(
    answers={200: UploadAnswer, 400: Problem, 404: Problem, **STORE_PROBLEMS},
    tags=("uploads",),
    path_parameters=IMAGE_ID,
    operation_id="get_upload",
)
@needs(READ)
async def get_upload(request: Request, caller: Caller) -> Response:
    """Tell how far an upload is, for as long as it is kept: a day."""
    no_parameters.read(query_values(request))
    uploads = services_of(request).uploads
    upload = await uploads.get(request.path_params["image_id"], owner=caller.owner)
    is_received = upload.completed is None and await uploads.is_received(upload)
    # Whoever has the form may send bytes.
    answer = _answer(request, upload, is_received=is_received, has_form=caller.may(WRITE))
    return json_response(answer, headers={"Cache-Control": NO_STORE})


@described(
    answers={204: None, 400: Problem, 404: Problem, 409: Problem, **STORE_PROBLEMS},
    tags=("uploads",),
    path_parameters=IMAGE_ID,
    operation_id="cancel_upload",
)
@needs(WRITE)
async def cancel_upload(request: Request, caller: Caller) -> Response:
    """Forget an upload that is not completed, and what was sent of it."""
    no_parameters.read(query_values(request))
    await services_of(request).uploads.cancel(request.path_params["image_id"], owner=caller.owner)
    return Response(status_code=204)


@described(
    headers=IdempotencyHeader,
    answers={
        201: Image,
        200: (
            Image,
            "it is completed already, or `on_duplicate=return` found the owner's image of the same bytes",
        ),
        404: Problem,
        **POST_PROBLEMS,
    },
    tags=("uploads",),
    path_parameters=IMAGE_ID,
    operation_id="complete_upload",
)
@needs(WRITE)
async def complete_upload(request: Request, caller: Caller) -> Response:
    """Make an image of what was sent: it is verified as every upload is, and has to be what was declared.

    What is not acceptable is deleted; another file may be sent as long as the form lives.
    """
    no_parameters.read(query_values(request))
    services, image_id = services_of(request), request.path_params["image_id"]
    with upload_slot(request, caller):
        outcome = await services.idempotency.run(
            idempotency_key(request),
            fingerprint_of("complete_upload", image_id),
            lambda claim: services.uploads.complete(image_id, owner=caller.owner, claim=claim),
            result=Outcome,
            scope=caller.namespace,
        )
    return image_response(request, outcome)


def _answer(request: Request, upload: Upload, *, is_received: bool, has_form: bool = True) -> UploadAnswer:
    form, expires_at = None, upload.expires_at
    if has_form and upload.completed is None and upload.expires_at > dt.datetime.now(dt.UTC):
        form = services_of(request).links.form(
            incoming_key(upload),
            content_type=upload.content_type,
            size=upload.size,
            origin=origin_of(request),
            expires_at=upload.expires_at,
        )
        expires_at = form.expires_at
    status = "received" if is_received else "waiting"
    return UploadAnswer(
        image_id=upload.image_id,
        status="completed" if upload.completed else status,  # type: ignore[arg-type]
        content_type=upload.content_type,
        size=upload.size,
        upload=UploadForm(method="POST", url=form.url, fields=form.fields) if form else UNSET,
        expires_at=expires_at,
        completed_as=upload.completed or UNSET,
    )
