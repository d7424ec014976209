"""An OpenID Connect provider's JWKS document over HTTP, which can go wrong in every way."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

type Answer = Callable[[BaseHTTPRequestHandler], None]


class Provider:
    """A context that serves `keys`, or whatever else `answer` does, at `url`. `requests` counts."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.answer: Answer = self.serve_keys
        self.requests = 0
        self.ended = threading.Event()  # for an answer that hangs
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.requests += 1
                provider.answer(self)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        class Http(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Keep quiet: a client that gives up is what some tests are about."""

        self._handler, self._http = Handler, Http
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def __enter__(self) -> "Provider":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.stop()

    def start(self) -> None:
        """Answer, after a stop at the same address."""
        self._server = self._http(("127.0.0.1", self._port), self._handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/.well-known/jwks.json"

    def serve_keys(self, handler: BaseHTTPRequestHandler) -> None:
        respond(handler, json.dumps({"keys": self.keys}).encode())


def respond(handler: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
