"""The three bodies of an upload (multipart form, JSON, the picture itself) -> NewImage."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from ..common.errors import FieldError, InvalidRequest, UnsupportedRequestBody
from ..common.payload import Payload, decode_base64
from ..models.caller import Caller
from ..models.image import NewImage
from .body_limits import OVERHEAD, BodyLimits
from .fields import UploadFields, details
from .parameters import Reader, query_values, shown_name
from .request_bodies import MAX_FIELDS, FormParser, bounded, spooled

MAX_FILES = 2  # one too many, to say so

_fields = Reader(UploadFields)
_FILE = frozenset({"file"})
_JSON_ONLY = frozenset({"image_data", "content_type"})
JSON = "application/json"
_WANTS_BYTES = "wants a picture, got nothing"

# A body and what is made of it are some thirty megabytes at the worst; and the interpreter does it one by one anyway.
_one_at_a_time = threading.Lock()


@asynccontextmanager
async def new_image(request: Request, caller: Caller, *, limits: BodyLimits, cpu: Executor) -> AsyncIterator[NewImage]:
    """Read the upload in a request, with heavy work on `cpu`; what was spooled is gone when the context ends.

    Raises InvalidRequest, InsufficientScope, PayloadTooLarge or UnsupportedRequestBody.
    """
    media_type = _media_type(request)
    if media_type == "multipart/form-data":
        read = _multipart(request, caller, limits)
    elif media_type == JSON:
        read = _json(request, caller, limits, cpu)
    elif media_type.startswith("image/"):
        read = _raw(request, caller, limits)
    else:
        raise UnsupportedRequestBody(
            f"Content-Type is {media_type or 'missing'}; wants multipart/form-data, application/json or image/*."
        )
    async with read as new:
        yield new


def _media_type(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedRequestBody(f"Content-Encoding is {encoding}; wants the body as it is.")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def json_object(
    request: Request, *, limits: BodyLimits, media_types: Sequence[str] = (JSON,)
) -> dict[str, object]:
    """Read a small JSON object. Raises InvalidRequest, PayloadTooLarge or UnsupportedRequestBody."""
    media_type = _media_type(request)
    if media_type not in media_types:
        raise UnsupportedRequestBody(f"Content-Type is {media_type or 'missing'}; wants {' or '.join(media_types)}.")
    async with spooled(request, limits, OVERHEAD) as body:
        return _decoded_object(body)


@asynccontextmanager
async def _multipart(request: Request, caller: Caller, limits: BodyLimits) -> AsyncIterator[NewImage]:
    parser = FormParser(
        request.headers,
        bounded(request, limits, limits.binary),
        max_files=MAX_FILES,
        max_fields=MAX_FIELDS,
        max_part_size=OVERHEAD,
    )
    form = await parser.parse_whole()
    try:
        values = query_values(request)
        for name, value in form.multi_items():
            if isinstance(value, str) and value and name != "file":  # HTML forms send every field, empty ones too
                values.setdefault(name, []).append(value)
        file, errors = _uploaded_file(form)
        if file and file.filename and "filename" not in values:
            values["filename"] = [file.filename]
        fields = _fields.read(values, besides=_FILE, errors=errors)
        assert file is not None  # noqa: S101 - else there was an error
        yield NewImage(payload=Payload(file.file, file.size or 0), **details(fields, caller))
    finally:
        await form.close()


def _uploaded_file(form: FormData) -> tuple[UploadFile | None, list[FieldError]]:
    """Return the picture's part, or what is wrong with it."""
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    errors = [
        FieldError(shown_name(name), 'wants text here: the picture goes in the part "file"')
        for name, _ in files
        if name != "file"
    ]
    if not files or any(isinstance(value, str) for value in form.getlist("file")):
        errors.append(FieldError("file", "wants a part with a file name that holds the picture"))
    elif len(files) > 1 and not errors:
        errors.append(FieldError("file", "wants one picture, got several"))
    elif not errors and not files[0][1].size:
        errors.append(FieldError("file", _WANTS_BYTES))
    return (files[0][1] if files else None), errors


@asynccontextmanager
async def _json(request: Request, caller: Caller, limits: BodyLimits, cpu: Executor) -> AsyncIterator[NewImage]:
    async with spooled(request, limits, limits.json) as body:
        # On the threads for heavy work, since it takes a tenth of a second at the worst.
        content, payload, errors = await asyncio.get_running_loop().run_in_executor(cpu, _decoded_json, body)
    try:
        values = query_values(request)
        for name, value in content.items():
            if value is not None:
                values.setdefault(name, []).append(value)
        fields = _fields.read(values, besides=_JSON_ONLY, errors=errors)
        yield NewImage(payload=payload, **details(fields, caller))
    finally:
        payload.close()


def _decoded_json(body: Payload) -> tuple[dict[str, object], Payload, list[FieldError]]:
    """Return a JSON upload's fields, and the picture out of it or what is wrong with it."""
    errors = []
    data = b""
    with _one_at_a_time:
        content = _decoded_object(body)
        if not isinstance(content.pop("content_type", None), str | None):
            errors.append(FieldError("content_type", "wants text"))
        try:
            data = _decoded_picture(content.pop("image_data", None))
        except ValueError as error:
            errors.append(FieldError("image_data", str(error)))
        return content, Payload.of(data), errors


def _decoded_object(body: Payload) -> dict[str, object]:
    try:
        return msgspec.json.decode(body.open().read(), type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest.field("body", f"wants a JSON object: {error}") from None


def _decoded_picture(image_data: object) -> bytes:
    data = decode_base64(image_data) if isinstance(image_data, str) else None
    if data is None:
        raise ValueError("wants the picture in base64, or as a base64 data URI")
    if not data:
        raise ValueError(_WANTS_BYTES)
    return data


@asynccontextmanager
async def _raw(request: Request, caller: Caller, limits: BodyLimits) -> AsyncIterator[NewImage]:
    fields = _fields.read(query_values(request))
    async with spooled(request, limits, limits.binary) as payload:
        if payload.size == 0:
            raise InvalidRequest.field("body", _WANTS_BYTES)
        yield NewImage(payload=payload, **details(fields, caller))
