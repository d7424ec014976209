"""What the log says of each request, and what it keeps to itself."""

import base64
import datetime as dt
import json
import logging
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from src.common.logging import JsonFormatter
from tests.support.pictures import noise, picture
from tests.support.server import Server, wait_until

DESCRIPTION = "Aunt Edna's surprise party"
SECRET = "the password is swordfish"


@pytest.fixture(scope="module")
def logging_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose log is written by the tests of this module only."""
    with Server(tmp_path_factory.mktemp("logs") / "data") as server:
        yield server


def lines_of(server: Server) -> list[dict[str, Any]]:
    """Return all log lines; each must be a JSON object with what every line has."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    for line in lines:
        moment = dt.datetime.fromisoformat(line["time"])
        assert line["time"].endswith("Z")
        assert abs(dt.datetime.now(dt.UTC) - moment) < dt.timedelta(hours=1)
        assert line["level"] in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        assert isinstance(line["message"], str)
    return lines


def request_line(server: Server, answer: httpx.Response) -> dict[str, Any]:
    """Return the one line that tells of the request. It is written when the answer is on its way already."""

    def found() -> list[dict[str, Any]]:
        wanted = ("request", answer.headers["x-request-id"])
        return [line for line in lines_of(server) if (line["message"], line.get("request_id")) == wanted]

    wait_until(found)
    (line,) = found()
    return line


def upload(server: Server, **options: Any) -> httpx.Response:
    answer = server.http.post(
        "/images", **(options or {"content": picture("png"), "headers": {"Content-Type": "image/png"}})
    )
    assert answer.status_code == 201, answer.text
    return answer


def check_request_line(server: Server, answer: httpx.Response, route: str | None, **fields: object) -> None:
    line = request_line(server, answer)
    assert line["level"] == "INFO"
    assert (line["method"], line["route"], line["status"]) == (answer.request.method, route, answer.status_code)
    assert isinstance(line["duration_ms"], int | float)
    assert 0 <= line["duration_ms"] < 60_000
    assert {name: line[name] for name in ("image_id",) if name in line} == fields


def test_each_request_is_one_line(logging_server: Server) -> None:
    """The route is the pattern, so that lines can be counted by it; the image's id stands beside it."""
    http = logging_server.http
    uploaded = upload(logging_server)
    image_id = uploaded.json()["image_id"]
    check_request_line(logging_server, uploaded, "/images", image_id=image_id)
    check_request_line(logging_server, http.get("/images", params={"limit": 1}), "/images")
    got = http.get(f"/images/{image_id}")
    check_request_line(logging_server, got, "/images/{image_id}", image_id=image_id)
    served = http.get(got.json()["url"])
    check_request_line(logging_server, served, "/objects/{key:path}", image_id=image_id)
    check_request_line(logging_server, http.get("/images", params={"limit": "no"}), "/images")
    check_request_line(logging_server, http.get("/healthz"), "/healthz")
    deleted = http.delete(f"/images/{image_id}")
    check_request_line(logging_server, deleted, "/images/{image_id}", image_id=image_id)
    again = http.delete(f"/images/{image_id}")
    assert again.status_code == 404
    check_request_line(logging_server, again, "/images/{image_id}", image_id=image_id)


def test_path_of_no_route_is_not_logged(logging_server: Server) -> None:
    """What somebody puts into a path that is not ours may be anything."""
    answer = logging_server.http.get("/swordfish/of/somebody")
    assert answer.status_code == 404
    check_request_line(logging_server, answer, None)
    assert "swordfish" not in logging_server.log.read_text()


def test_lines_of_one_request_share_its_id(logging_server: Server) -> None:
    answer = upload(logging_server)
    request_line(logging_server, answer)
    lines = [line for line in lines_of(logging_server) if line.get("request_id") == answer.headers["x-request-id"]]
    assert [line["message"] for line in lines] == ["image uploaded", "request"]
    assert lines[0]["image_id"] == answer.json()["image_id"]


@pytest.mark.parametrize("given", ["a", "0190-trace.id_7", "x" * 64])
def test_request_id_is_taken_over(given: str, logging_server: Server) -> None:
    """The caller's id is answered, logged, and told in a problem."""
    answer = logging_server.http.get("/images/none", headers={"X-Request-Id": given})
    assert answer.status_code == 404
    assert answer.headers["x-request-id"] == given
    assert answer.json()["request_id"] == given
    assert request_line(logging_server, answer)["request_id"] == given


@pytest.mark.parametrize(
    "given",
    [b"two words", b"x" * 65, "grün".encode(), b"\xff", b"", b'","level":"ERROR', b"a\tb", b"<script>"],
    ids=repr,
)
def test_unfit_request_id_is_replaced(given: bytes, logging_server: Server) -> None:
    answer = logging_server.http.get("/healthz", headers=[(b"X-Request-Id", given)])
    assert answer.status_code == 200
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert request_line(logging_server, answer)["level"] == "INFO"
    assert given == b"" or given not in logging_server.log.read_bytes()


def test_requests_without_an_id_get_different_ones(logging_server: Server) -> None:
    ids = {logging_server.http.get("/healthz").headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


def test_what_is_not_http_is_logged_as_json(logging_server: Server) -> None:
    """The HTTP server's own complaints are lines like ours."""
    with closing(socket.create_connection(("127.0.0.1", httpx.URL(logging_server.url).port or 80), timeout=10)) as peer:
        peer.sendall(b"swordfish\r\n\r\n")
        assert b" 400 " in peer.recv(1000)
    wait_until(lambda: any(line["level"] == "WARNING" for line in lines_of(logging_server)))
    assert "swordfish" not in logging_server.log.read_text()


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_secrets_stay_out(level: str, tmp_path: Path) -> None:
    """No signature, key, picture or description gets into the log, whatever happens and however much is logged."""
    data = noise(80, 60)
    encoded = base64.b64encode(data).decode()
    fields = {"description": DESCRIPTION, "user_id": "ann"}
    with Server(tmp_path / "data", environment={"LOG_LEVEL": level}) as server:
        http = server.http
        upload(server, files={"file": ("a.png", data)}, data=fields)
        upload(server, content=data, params=fields, headers={"Content-Type": "image/png"})
        image_id = upload(server, json={"image_data": encoded, **fields}).json()["image_id"]
        url = http.get(f"/images/{image_id}").json()["url"]
        (signature,) = parse_qs(urlsplit(url).query)["X-Amz-Signature"]
        tampered = url.replace(signature, signature[::-1])
        answers = [
            http.get(url),
            http.get(url, headers={"Range": "bytes=0-9"}),
            http.get(tampered),
            http.get(url.replace(image_id, image_id[::-1])),
            http.get("/images", params={"include": "urls", "X-Amz-Signature": signature}),
            http.post("/images", json={"image_data": encoded[:-5] + "*", **fields}),
            http.post("/images", json={"image_data": encoded, "height": 1, **fields}),
            http.post("/images", content=data[:-50], params=fields, headers={"Content-Type": "image/png"}),
            http.post("/images", json={"image_data": encoded, "unknown": DESCRIPTION}),
            http.delete(f"/images/{image_id}"),
            http.get(url),
        ]
        assert [answer.status_code for answer in answers] == [200, 206, 403, 403, 400, 400, 422, 422, 400, 204, 404]
        request_line(server, answers[-1])
        assert server.stop() == 0
    lines_of(server)
    log = server.log.read_text()
    key = (tmp_path / "data" / "url_signing_key").read_text()
    pieces = [encoded[i : i + 24] for i in range(0, len(encoded) - 24, 24)]
    for secret in (signature, signature[::-1], key, "Edna", "X-Amz-", *pieces):
        assert secret not in log


def test_level_leaves_out_what_is_less(tmp_path: Path) -> None:
    with Server(tmp_path / "data", environment={"LOG_LEVEL": "WARNING"}) as server:
        upload(server)
        assert server.stop() == 0
    assert lines_of(server) == []


def test_every_process_logs_json(tmp_path: Path) -> None:
    """With several workers, one of which dies, there is still nothing but whole JSON lines."""
    with Server(tmp_path / "data", "--workers", "2") as server:
        wait_until(lambda: len(server.workers()) == 2)
        dead = server.workers()[0]
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda: len(server.workers()) == 2 and dead not in server.workers())
        with httpx.Client(base_url=server.url) as http:
            request_line(server, http.get("/images"))
        assert server.stop() == 0
    assert any(line["message"] == "request" for line in lines_of(server))


@pytest.fixture
def broken(app: Starlette, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Break a method of the image service."""

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    return lambda method: monkeypatch.setattr(app.state.services.images, method, fail)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("broken_method", "method", "path"),
    [("list", "GET", "/images"), ("get", "GET", "/images/x"), ("delete", "DELETE", "/images/x")],
)
async def test_unexpected_error_is_told_to_the_log_only(
    broken_method: str,
    method: str,
    path: str,
    broken: Callable[[str], None],
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client gets a problem with the id to ask for; the log has the traceback under that id."""
    broken(broken_method)
    shown: list[dict[str, Any]] = []

    class Formatting(logging.Handler):
        # Within the request, since its id is taken from the context.
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(json.loads(JsonFormatter().format(record)))

    handler = Formatting()
    logging.getLogger("src").addHandler(handler)
    try:
        with caplog.at_level(logging.INFO):
            answer = await client.request(method, path, headers={"X-Request-Id": "this-one"})
    finally:
        logging.getLogger("src").removeHandler(handler)

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["request_id"]) == (500, "internal_error", "this-one")
    assert answer.headers["x-request-id"] == "this-one"
    assert "swordfish" not in answer.text
    assert "RuntimeError" not in answer.text

    error, request = shown
    assert (error["level"], request["message"], request["status"]) == ("ERROR", "request", 500)
    assert error["request_id"] == request["request_id"] == "this-one"
    assert error["traceback"].startswith("Traceback (most recent call last):")
    assert f"RuntimeError: {SECRET}" in error["traceback"]


@pytest.mark.parametrize("workers", [1, 2])
def test_it_goes_on_when_nobody_reads_the_log_any_more(tmp_path: Path, workers: int) -> None:
    """Whatever collected it has ended: that is no reason for the service to."""
    server = Server(tmp_path / "data", environment={"WORKERS": str(workers)})
    os.mkfifo(server.log)
    reader = os.open(server.log, os.O_RDONLY | os.O_NONBLOCK)
    with server:
        assert server.http.get("/images").status_code == 200
        os.close(reader)
        for _ in range(20):
            assert server.http.get("/images").status_code == 200
            assert server.http.post("/images", files={"file": ("a.png", picture("png"))}).status_code == 201
        assert server.stop() == 0
