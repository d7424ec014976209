"""Connections on which next to nothing happens are ended, whatever they were in the middle of."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from src.handlers.http_protocol import BoundedHttpProtocol

pytestmark = pytest.mark.anyio

TIMEOUT = 0.3  # seconds
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.handlers.http_protocol.HEAD_TIMEOUT", TIMEOUT)
    monkeypatch.setattr("src.handlers.http_protocol.STALL_TIMEOUT", TIMEOUT)


def asgi(handle: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (await handle(Request(scope, receive)))(scope, receive, send)

    return app


async def hello(_request: Request) -> Response:
    """Answer without a look at the body."""
    return PlainTextResponse("hello")


@asynccontextmanager
async def connected(app: ASGIApp) -> AsyncIterator[Streams]:
    config = uvicorn.Config(app, log_config=None, access_log=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: BoundedHttpProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    yield reader, writer
    writer.close()
    server.close()
    await asyncio.gather(*state.tasks)


async def answer_to(streams: Streams, at_once: bytes, *, then: bytes = b"") -> bytes:
    """Send bytes at once, then one again and again, until the server closes the connection; return what it said."""
    reader, writer = streams

    async def trickle() -> None:
        with suppress(OSError):
            while then:
                await asyncio.sleep(TIMEOUT / 10)
                writer.write(then)
                await writer.drain()

    writer.write(at_once)
    task = asyncio.create_task(trickle())
    answer = b""
    try:
        async with asyncio.timeout(10 * TIMEOUT):
            with suppress(ConnectionResetError):
                while data := await reader.read(65_536):
                    answer += data
    finally:
        task.cancel()
    return answer


@pytest.mark.parametrize(
    ("at_once", "then", "statuses"),
    [
        (b"", b"", []),
        (GET[:20], b"", [408]),
        (GET[:20], b"x", [408]),
        (b"\r\n", b"\r\n", [408]),
        (GET, b"\r\n", [200, 408]),
        (GET + GET[:20], b"x", [200, 408]),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x", [200]),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"", [200]),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", [200]),
    ],
    ids=[
        "nothing",
        "half a head",
        "a head byte by byte",
        "line breaks",
        "line breaks after an answer",
        "a second head byte by byte",
        "a body that is answered, byte by byte",
        "half a body that is answered",
        "a body without end that is answered",
    ],
)
async def test_a_request_that_does_not_arrive(at_once: bytes, then: bytes, statuses: list[int]) -> None:
    async with connected(asgi(hello)) as streams:
        answer = await answer_to(streams, at_once, then=then)
    assert [int(rest[:3]) for rest in answer.split(b"HTTP/1.1 ")[1:]] == statuses
    assert (b'"code":"request_timeout"' in answer) == (408 in statuses)


async def test_a_body_that_ends_after_its_answer() -> None:
    """The connection is not kept for ever, though there is no more silence after an answer."""
    async with connected(asgi(hello)) as streams:
        streams[1].write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        await streams[0].readuntil(b"hello")
        assert await answer_to(streams, b"abc") == b""


async def test_a_request_may_be_at_work_for_longer() -> None:
    async def slow(_request: Request) -> Response:
        await asyncio.sleep(2 * TIMEOUT)
        return PlainTextResponse("hello", headers={"Connection": "close"})

    async with connected(asgi(slow)) as streams:
        answer = await answer_to(streams, GET + GET[:20], then=b"x")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"hello")


async def test_a_client_that_takes_no_answer() -> None:
    """What is sent to it is let go."""
    ended = asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def endless(_request: Request) -> Response:
        return StreamingResponse(chunks())

    async with connected(asgi(endless)) as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(10 * TIMEOUT):
            await ended.wait()
