"""A stage of API Gateway as an HTTP server: `python -m tests.support.stage` has the Lambda handler behind it.

As there, what is not below the stage is refused before anything of ours sees it.
"""

import asyncio
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tests.support.gateway import STAGE, GatewayTransport, rest_event

COMMAND = (sys.executable, "-m", "tests.support.stage")
# What is about the connection to us, and not about the answer.
_HOP_BY_HOP = {"connection", "content-length", "date", "server", "transfer-encoding"}


def main() -> None:
    from src.handlers.image_handler import lambda_handler

    loop = asyncio.get_event_loop()
    transport = GatewayTransport(lambda_handler, rest_event)
    one_at_a_time = threading.Lock()  # as a function does it; of these there is one

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = self._ask(content)
            self.send_response(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.content)

        do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = do_OPTIONS = handle_any  # noqa: N815

        def _ask(self, content: bytes) -> httpx.Response:
            path = self.path.partition("?")[0]
            if path != f"/{STAGE}" and not path.startswith(f"/{STAGE}/"):
                return httpx.Response(403, json={"message": "Missing Authentication Token"})
            url = f"http://{self.headers['Host']}{self.path}"
            request = httpx.Request(self.command, url, headers=self.headers.items(), content=content)
            with one_at_a_time:
                asyncio.set_event_loop(loop)  # of the thread that this connection has
                return transport.handle_request(request)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Handler) as server:
        print(f"Image Service is ready at http://127.0.0.1:{server.server_port}/{STAGE}", flush=True)  # noqa: T201
        os.dup2(2, 1)  # what the function prints is its log, too, and nobody reads further lines here
        server.serve_forever()


if __name__ == "__main__":
    main()
