"""The three bodies of an upload (multipart form, JSON, the picture itself) -> NewImage."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from typing import IO

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..common.errors import FieldError, InvalidRequest, RequestTimeout, UnsupportedRequestBody
from ..common.payload import SPOOL_LIMIT, Payload, decode_base64, spool
from ..models.image import NewImage
from .body_limits import OVERHEAD, BodyLimits
from .parameters import Reader, query_values
from .schemas import UploadFields

MAX_FIELDS = 64
IDLE_TIMEOUT = 20  # seconds that a client may keep silent in the middle of a body
MAX_FILES = 2  # one too many, to say so

_fields = Reader(UploadFields)
_FILE = frozenset({"file"})
_JSON_ONLY = frozenset({"image_data", "content_type"})
_WANTS_BYTES = "wants a picture, got nothing"
_LENGTH = re.compile(r"[0-9]{1,18}")


@asynccontextmanager
async def new_image(request: Request, *, limits: BodyLimits, cpu: Executor) -> AsyncIterator[NewImage]:
    """Read the upload in a request, with heavy work on `cpu`; what was spooled is gone when the context ends.

    Raises InvalidRequest, PayloadTooLarge or UnsupportedRequestBody.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedRequestBody(f"Content-Encoding is {encoding}; wants the body as it is.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        read = _multipart(request, limits)
    elif media_type == "application/json":
        read = _json(request, limits, cpu)
    elif media_type.startswith("image/"):
        read = _raw(request, limits)
    else:
        raise UnsupportedRequestBody(
            f"Content-Type is {media_type or 'missing'}; wants multipart/form-data, application/json or image/*."
        )
    async with read as new:
        yield new


@asynccontextmanager
async def _multipart(request: Request, limits: BodyLimits) -> AsyncIterator[NewImage]:
    parser = _FormParser(
        request.headers,
        _bounded(request, limits, limits.binary),
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
        yield _assembled(Payload(file.file, file.size or 0), fields)
    finally:
        await form.close()


class _FormParser(MultiPartParser):
    """Starlette's parser, which takes a form that breaks off for a whole one."""

    spool_max_size = SPOOL_LIMIT
    is_whole = False

    def on_end(self) -> None:
        self.is_whole = True

    async def parse_whole(self) -> FormData:
        """Raise InvalidRequest for what is no form, or not all of one."""
        try:
            return await self._parsed()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
            raise

    async def _parsed(self) -> FormData:
        try:
            form = await self.parse()
        except MultiPartException as error:
            raise InvalidRequest.field("body", f"wants a multipart form as of RFC 7578: {error.message}") from None
        except (KeyError, ValueError):
            raise InvalidRequest.field("body", "wants a multipart form as of RFC 7578") from None
        if not self.is_whole:
            raise InvalidRequest.field("body", "wants a multipart form to its last boundary")
        return form


def _uploaded_file(form: FormData) -> tuple[UploadFile | None, list[FieldError]]:
    """Return the picture's part, or what is wrong with it."""
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    errors = [
        FieldError(name, 'wants text here: the picture goes in the part "file"') for name, _ in files if name != "file"
    ]
    if not files or any(isinstance(value, str) for value in form.getlist("file")):
        errors.append(FieldError("file", "wants a part with a file name that holds the picture"))
    elif len(files) > 1 and not errors:
        errors.append(FieldError("file", "wants one picture, got several"))
    elif not errors and not files[0][1].size:
        errors.append(FieldError("file", _WANTS_BYTES))
    return (files[0][1] if files else None), errors


@asynccontextmanager
async def _json(request: Request, limits: BodyLimits, cpu: Executor) -> AsyncIterator[NewImage]:
    async with _spooled(request, limits, limits.json) as body:
        # On the threads for heavy work: a body and what is made of it are some fifty megabytes at the worst, so few
        # may be taken apart at a time.
        content, payload, errors = await asyncio.get_running_loop().run_in_executor(cpu, _decoded_json, body)
    try:
        values = query_values(request)
        for name, value in content.items():
            if value is not None:
                values.setdefault(name, []).append(value)
        yield _assembled(payload, _fields.read(values, besides=_JSON_ONLY, errors=errors))
    finally:
        payload.close()


def _decoded_json(body: Payload) -> tuple[dict[str, object], Payload, list[FieldError]]:
    """Return a JSON upload's fields, and the picture out of it or what is wrong with it."""
    try:
        content = msgspec.json.decode(body.open().read(), type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest.field("body", f"wants a JSON object: {error}") from None
    errors = []
    if not isinstance(content.pop("content_type", None), str | None):
        errors.append(FieldError("content_type", "wants text"))
    data = b""
    try:
        data = _decoded_picture(content.pop("image_data", None))
    except ValueError as error:
        errors.append(FieldError("image_data", str(error)))
    return content, Payload.of(data), errors


def _decoded_picture(image_data: object) -> bytes:
    data = decode_base64(image_data) if isinstance(image_data, str) else None
    if data is None:
        raise ValueError("wants the picture in base64, or as a base64 data URI")
    if not data:
        raise ValueError(_WANTS_BYTES)
    return data


@asynccontextmanager
async def _raw(request: Request, limits: BodyLimits) -> AsyncIterator[NewImage]:
    fields = _fields.read(query_values(request))
    async with _spooled(request, limits, limits.binary) as payload:
        if payload.size == 0:
            raise InvalidRequest.field("body", _WANTS_BYTES)
        yield _assembled(payload, fields)


@asynccontextmanager
async def _spooled(request: Request, limits: BodyLimits, limit: int) -> AsyncIterator[Payload]:
    with spool() as file:
        size = 0
        async for chunk in _bounded(request, limits, limit):
            size += len(chunk)
            await _write(file, chunk, on_disk=size > SPOOL_LIMIT)
        yield Payload(file, size)


async def _write(file: IO[bytes], chunk: bytes, *, on_disk: bool) -> None:
    if on_disk:
        await run_in_threadpool(file.write, chunk)
    else:
        file.write(chunk)


async def _bounded(request: Request, limits: BodyLimits, limit: int) -> AsyncGenerator[bytes]:
    """Yield the body, and raise PayloadTooLarge as soon as it is known to be over `limit` bytes."""
    declared = request.headers.get("content-length", "")
    if _LENGTH.fullmatch(declared) and int(declared) > limit:
        raise limits.exceeded(limit)
    size = 0
    chunks = aiter(request.stream())
    while (chunk := await _next(chunks)) is not None:
        size += len(chunk)
        if size > limit:
            raise limits.exceeded(limit)
        yield chunk


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(IDLE_TIMEOUT):
            return await anext(chunks, None)
    except TimeoutError:
        raise RequestTimeout(f"Nothing more of the body came for {IDLE_TIMEOUT} seconds.") from None


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
