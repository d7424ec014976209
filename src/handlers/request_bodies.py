"""Request bodies as they come in: bounded, spooled, and forms taken apart."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..common.errors import InvalidRequest, RequestTimeout
from ..common.payload import SPOOL_LIMIT, Payload, spool
from .body_limits import BodyLimits

IDLE_TIMEOUT = 20  # seconds that a client may keep silent in the middle of a body

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


class FormParser(MultiPartParser):
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
