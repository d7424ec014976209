"""Request bodies as they come in: bounded, spooled, and forms taken apart."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any

from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..common.errors import FieldError, InvalidRequest, RequestTimeout, UnsupportedRequestBody
from ..common.payload import SPOOL_LIMIT, Payload, spool
from .body_limits import BodyLimits
from .parameters import shown_name

MAX_FIELDS = 64  # of a form
IDLE_TIMEOUT = 20  # seconds that a client may keep silent in the middle of a body
GRACE = 30  # seconds of waiting for a body, before its rate counts
MINIMUM_RATE = 8 * 1024  # bytes a second, on average

_LENGTH = re.compile(r"[0-9]{1,18}")


@asynccontextmanager
async def spooled(request: Request, limits: BodyLimits, limit: int) -> AsyncIterator[Payload]:
    with spool() as file:
        size = 0
        async for chunk in bounded(request, limits, limit):
            size += len(chunk)
            await _write(file, chunk, on_disk=size > SPOOL_LIMIT)
        yield Payload(file, size)


async def _write(file: IO[bytes], chunk: bytes, *, on_disk: bool) -> None:
    if on_disk:
        await run_in_threadpool(file.write, chunk)
    else:
        file.write(chunk)


async def bounded(request: Request, limits: BodyLimits, limit: int) -> AsyncGenerator[bytes]:
    """Yield the body. Raises PayloadTooLarge as soon as it is known to be over `limit` bytes, and RequestTimeout."""
    declared = request.headers.get("content-length", "")
    if _LENGTH.fullmatch(declared) and int(declared) > limit:
        raise limits.exceeded(limit)
    size = 0
    waited = 0.0  # for the client: that the service is slow itself is no fault of the body
    chunks = aiter(request.stream())
    while True:
        asked = time.monotonic()
        chunk = await _next(chunks, GRACE + size / MINIMUM_RATE - waited)
        if chunk is None:
            return
        waited += time.monotonic() - asked
        size += len(chunk)
        if size > limit:
            raise limits.exceeded(limit)
        yield chunk


async def _next(chunks: AsyncIterator[bytes], time_left: float) -> bytes | None:
    """Return the next piece of a body, None at its end. Raises RequestTimeout, but not if it is there already."""
    try:
        async with asyncio.timeout(min(IDLE_TIMEOUT, time_left)):
            return await anext(chunks, None)
    except TimeoutError:
        if time_left < IDLE_TIMEOUT:
            raise RequestTimeout(f"The body came in at less than {MINIMUM_RATE} bytes a second.") from None
        raise RequestTimeout(f"Nothing more of the body came for {IDLE_TIMEOUT} seconds.") from None


class FormParser(MultiPartParser):
    """Starlette's parser, which takes a form that breaks off for a whole one."""

    spool_max_size = SPOOL_LIMIT
    is_whole = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._errors: list[FieldError] = []

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None:  # else Starlette would take it for Latin-1, and keep what nobody wrote
            try:
                part.data.decode()
            except UnicodeDecodeError:
                self._errors.append(FieldError(shown_name(part.field_name), "wants text in UTF-8"))
        super().on_part_end()

    def on_end(self) -> None:
        self.is_whole = True

    async def parse_whole(self) -> FormData:
        """Raise InvalidRequest for what is no form, or not all of one, or not in UTF-8."""
        charset = parse_options_header(self.headers.get("content-type"))[1].get(b"charset", b"utf-8")
        if charset.lower() not in (b"utf-8", b"utf8", b"us-ascii"):
            # Some can spell what no JSON answer can.
            raise UnsupportedRequestBody("The form's charset is not UTF-8.")
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
        if self._errors:
            raise InvalidRequest.of(*self._errors)
        return form
