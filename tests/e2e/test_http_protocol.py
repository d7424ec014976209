"""What comes in that is no HTTP, or too much of it."""

import json
import socket
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.server import Server


def answer_to(server: Server, *pieces: bytes) -> bytes:
    """Send bytes as they are, as long as they are taken, and return all that comes back."""
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        with suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
        answer = b""
        with suppress(ConnectionResetError):
            while data := connection.recv(65_536):
                answer += data
    return answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET /images?tags=caf\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"hello\r\n\r\n",
        b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["raw é", "garbage", "no method"],
)
def test_what_is_no_http_is_told_so(server: Server, head: bytes) -> None:
    """As a problem with a request id, too, and a word on the commonest mistake."""
    answer = answer_to(server, head)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    headers, _, body = answer.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert problem["code"] == "invalid_request"
    assert "percent-encoded" in problem["detail"]
    assert f"x-request-id: {problem['request_id']}".encode() in headers.lower()
    assert server.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("what", ["header", "headers", "url"])
def test_a_head_without_end(tmp_path: Path, what: str) -> None:
    """It is not collected until the memory is full."""
    start = {"header": b"GET / HTTP/1.1\r\nX-A: ", "headers": b"GET / HTTP/1.1\r\n", "url": b"GET /"}[what]
    line = {"header": b"a" * 1_000_000, "headers": b"X-A: a\r\n" * 100_000, "url": b"a" * 1_000_000}[what]
    with Server(tmp_path / "data") as server:
        before = server.rss()
        answer = answer_to(server, start, *[line] * 100)
        assert server.peak_rss() < before + 30_000_000
        assert server.http.get("/healthz").status_code == 200
    # Whoever is still sending when the connection is closed may not get to read the answer.
    assert not answer or answer.startswith(b"HTTP/1.1 431 ")
    assert '"status":431' in server.log.read_text()
