"""The three bodies of an upload (multipart form, JSON, the picture itself) -> NewImage."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..common.errors import InvalidRequest, PayloadTooLarge, UnsupportedRequestBody
from ..common.payload import SPOOL_LIMIT, Payload, decode_base64, spool
from ..models.image import NewImage
from .parameters import Reader, query_values
from .schemas import UploadFields

# Beside the picture: the other fields, in the worst encoding, and the multipart boundaries.
OVERHEAD = 64 * 1024
MAX_FIELDS = 64

_fields = Reader(UploadFields)
_JSON_ONLY = frozenset({"image_data", "content_type"})


def max_body_size(max_image_size: int) -> int:
    return max_image_size + OVERHEAD


def max_json_body_size(max_image_size: int) -> int:
    """Base64 makes four characters of three bytes, and line breaks every 76th or 64th."""
    return max_image_size * 4 // 3 + max_image_size // 32 + OVERHEAD


@asynccontextmanager
async def new_image(request: Request, *, max_image_size: int) -> AsyncIterator[NewImage]:
    """Read the upload in a request; what was spooled is gone when the context ends.

    Raises InvalidRequest, PayloadTooLarge or UnsupportedRequestBody.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        read = _multipart(request, max_image_size)
    elif media_type == "application/json":
        read = _json(request, max_image_size)
    elif media_type.startswith("image/"):
        read = _raw(request, max_image_size)
    else:
        raise UnsupportedRequestBody(
            f"Content-Type is {media_type or 'missing'}; wants multipart/form-data, application/json or image/*."
        )
    async with read as new:
        yield new


@asynccontextmanager
async def _multipart(request: Request, max_image_size: int) -> AsyncIterator[NewImage]:
    chunks = _bounded(request, max_body_size(max_image_size))
    parser = MultiPartParser(request.headers, chunks, max_files=1, max_fields=MAX_FIELDS, max_part_size=OVERHEAD)
    parser.spool_max_size = SPOOL_LIMIT
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest.field("body", f"wants a multipart form as of RFC 7578: {error.message}") from None
    except (KeyError, ValueError) as error:
        raise InvalidRequest.field("body", "wants a multipart form as of RFC 7578") from error
    try:
        file = _uploaded_file(form)
        values = query_values(request)
        for name, value in form.multi_items():
            if isinstance(value, str):
                values.setdefault(name, []).append(value)
        if file.filename and "filename" not in values:
            values["filename"] = [file.filename]
        yield _assembled(Payload(file.file, file.size or 0), _fields.read(values))
    finally:
        await form.close()


def _uploaded_file(form: FormData) -> UploadFile:
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "file":
                raise InvalidRequest.field(name, 'wants text here: the picture goes in the part "file"')
            return value
    raise InvalidRequest.field("file", "wants a part with a file name that holds the picture")


@asynccontextmanager
async def _json(request: Request, max_image_size: int) -> AsyncIterator[NewImage]:
    body = bytearray()
    async for chunk in _bounded(request, max_json_body_size(max_image_size)):
        body += chunk
    try:
        content = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest.field("body", f"wants a JSON object: {error}") from None
    del body
    values = query_values(request)
    for name, value in content.items():
        if value is not None and name not in _JSON_ONLY:
            values.setdefault(name, []).append(value)
    # What is in the query is text, so numbers are taken as text too.
    fields = _fields.read(values, strict=not request.url.query)
    image_data, content_type = content.get("image_data"), content.get("content_type")
    if content_type is not None and not isinstance(content_type, str):
        raise InvalidRequest.field("content_type", "wants text")
    if not isinstance(image_data, str):
        raise InvalidRequest.field("image_data", "wants the picture in base64, or as a base64 data URI")
    try:
        data = await run_in_threadpool(decode_base64, image_data)
    except ValueError as error:
        raise InvalidRequest.field("image_data", str(error)) from None
    yield _assembled(Payload.of(data), fields)


@asynccontextmanager
async def _raw(request: Request, max_image_size: int) -> AsyncIterator[NewImage]:
    fields = _fields.read(query_values(request))
    with spool() as file:
        size = 0
        async for chunk in _bounded(request, max_body_size(max_image_size)):
            size += len(chunk)
            await _write(file, chunk, on_disk=size > SPOOL_LIMIT)
        yield _assembled(Payload(file, size), fields)


async def _write(file: IO[bytes], chunk: bytes, *, on_disk: bool) -> None:
    if on_disk:
        await run_in_threadpool(file.write, chunk)
    else:
        file.write(chunk)


async def _bounded(request: Request, most: int) -> AsyncGenerator[bytes]:
    """Yield the body, and raise PayloadTooLarge as soon as it is known to be over `most` bytes."""
    declared = request.headers.get("content-length", "")
    too_large = PayloadTooLarge(f"The request body has more than {most} bytes.")
    if declared.isdigit() and int(declared) > most:
        raise too_large
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise too_large
        yield chunk


def _assembled(payload: Payload, fields: UploadFields) -> NewImage:
    return NewImage(
        payload=payload,
        user_id=fields.user_id,
        filename=fields.filename,
        tags=fields.tags,
        description=fields.description,
        width=fields.width,
        height=fields.height,
        return_duplicate=fields.on_duplicate == "return",
    )
