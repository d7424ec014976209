"""A client that costs next to nothing, for tests that send thousands of requests: one connection, kept alive."""

import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit


class RawAnswer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class RawClient:
    """A context. Raises ConnectionError if the server ends the connection, or says that it will."""

    def __init__(self, url: str, *, timeout: float = 60) -> None:
        address = urlsplit(url)
        self._head = f"HTTP/1.1\r\nHost: {address.netloc}\r\n"
        self._socket = socket.create_connection((address.hostname, address.port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def get(self, target: str) -> RawAnswer:
        return self._request(f"GET {target} {self._head}\r\n".encode())

    def post(self, target: str, body: bytes, content_type: str) -> RawAnswer:
        fields = f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        return self._request(f"POST {target} {self._head}{fields}\r\n".encode() + body)

    def _request(self, request: bytes) -> RawAnswer:
        self._socket.sendall(request)
        status = self._line().split(b" ", 2)[1]
        headers = {}
        while line := self._line().rstrip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers["content-length"])
        body = self._file.read(length)
        if len(body) < length or headers.get("connection") == "close":
            raise ConnectionError("the server ended the connection")
        return RawAnswer(int(status), headers, body)

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError("the server ended the connection")
        return line
