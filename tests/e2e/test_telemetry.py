"""What a server of several processes tells of itself: metrics that outlive a process, and spans to a collector."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import httpx

from tests.support.metrics import Scrape
from tests.support.otlp import Collector
from tests.support.pictures import picture
from tests.support.server import Server, wait_until

REQUESTS = "image_service_http_requests_total"
RSS = "image_service_process_resident_memory_bytes"
CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CLOSE = {"Connection": "close"}
PARENT = f"00-{CALLER[0]}-{CALLER[1]}-01"


def scrape(server: Server) -> Scrape:
    return Scrape(server.http.get("/metrics", headers=CLOSE))


def ask(server: Server, times: int) -> None:
    for _ in range(times):  # each by a connection of its own, so that every process gets some
        assert server.http.get("/tags", headers=CLOSE).status_code == 200


def test_metrics_of_several_processes(tmp_path: Path) -> None:
    """They are one answer, keep what a killed process has counted, and leave nothing behind."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    environment = {"WORKERS": "2", "TMPDIR": str(scratch)}
    with Server(tmp_path / "data", environment=environment) as server:
        wait_until(lambda: counting(server) == pids(server), seconds=20)
        ask(server, 20)
        refused_before_it_is_a_request(server)
        wait_until(lambda: scrape(server).sum(REQUESTS, route="/tags", status="200") == 20)
        wait_until(lambda: scrape(server).sum(REQUESTS, method="other", route="none", status="400") == 1)
        killed = server.workers()[0]
        os.kill(killed, signal.SIGKILL)
        # All are there again, and nothing is left of the gauges of the one that is not.
        wait_until(lambda: killed not in pids(server) and counting(server) == pids(server), seconds=20)
        ask(server, 20)
        wait_until(lambda: scrape(server).sum(REQUESTS, route="/tags", status="200") == 40)
        assert scrape(server).sum("image_service_build_info") == 1
        (directory,) = scratch.iterdir()
        assert len(list(directory.glob("*.counts"))) == 3  # two that live, and all that are dead
        assert f'"message":"a server process died","pid":{killed},"exit_code":-9' in server.log.read_text()
        assert server.stop() == 0
    assert list(scratch.iterdir()) == []


def pids(server: Server) -> set[int]:
    """Return those of the server processes, of which there are two unless one has just ended."""
    found = set(server.workers())
    return found if len(found) == 2 else set()


def counting(server: Server) -> set[int]:
    """Return the pids that the metrics tell of."""
    try:
        return {int(each["pid"]) for each in scrape(server).labels(RSS)}
    except httpx.TransportError:  # of the one that was killed
        return {0}


def test_metrics_of_one_process(server: Server) -> None:
    asked = scrape(server).sum(REQUESTS, route="/tags", status="200")
    ask(server, 1)
    assert scrape(server).sum(REQUESTS, route="/tags", status="200") == asked + 1
    assert [each["pid"] for each in scrape(server).labels(RSS)] == [str(server.process.pid)]


def refused_before_it_is_a_request(server: Server) -> None:
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(b"this is no HTTP\r\n\r\n")
        assert b"x-request-id" in connection.recv(10_000).lower()


def test_spans(tmp_path: Path) -> None:
    """They make one tree with the caller's, agree with the log, and are handed over before the server ends."""
    with Collector() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "WORKERS": "2"}
        with Server(tmp_path / "data", environment=environment) as server:
            headers = {"traceparent": PARENT, "tracestate": "vendor=1", "Content-Type": "image/png"}
            image_id = server.http.post("/images", content=picture("png"), headers=headers).json()["image_id"]
            server.http.get(f"/images/{image_id}/content", params={"width": 8})
            server.http.get("/nowhere")
            for path in (server.data_dir / "objects" / "originals").rglob("*.png"):
                path.unlink()
            assert server.http.get(f"/images/{image_id}/content", params={"width": 9}).status_code == 502
            assert server.stop() == 0
    upload = collector.one("POST /images")
    assert (upload.trace_id, upload.parent_id, upload.trace_state) == (*CALLER, "vendor=1")
    assert (upload.service, upload.is_server, upload.is_error) == ("image-service", True, False)
    assert upload.attributes == {
        "http.request.method": "POST",
        "http.route": "/images",
        "http.response.status_code": 201,
        "url.scheme": "http",
    }
    assert collector.parts_of(upload) == ["metadata images.add", "objects put", "verify picture"]
    shown = collector.one("GET /images/{image_id}/content", http__response__status_code=302)
    assert shown.parent_id == ""
    assert collector.parts_of(shown) == ["make rendition", "metadata images.get", "objects head"]
    made = next(each for each in collector.spans if each.parent_id == shown.span_id and each.name == "make rendition")
    assert collector.parts_of(made) == ["metadata images.get", "objects fetch", "objects list", "objects put"]
    assert not made.is_error
    assert collector.one("GET", http__response__status_code=404).is_error is False
    failed = collector.one("GET /images/{image_id}/content", http__response__status_code=502)
    assert failed.is_error
    (broken,) = (each for each in collector.spans if each.parent_id == failed.span_id and each.name == "make rendition")
    assert (broken.is_error, broken.attributes["error.type"]) == (True, "store_failed")
    fetch = next(each for each in collector.spans if each.parent_id == broken.span_id and each.name == "objects fetch")
    assert (fetch.is_error, fetch.attributes["error.type"]) == (False, "object_not_found")
    assert all(each.trace_id for each in collector.spans)
    lines: list[dict[str, Any]] = [json.loads(line) for line in server.log.read_text().splitlines()]
    by_span = {line["span_id"]: line for line in lines if line.get("message") == "request"}
    assert by_span.keys() == {each.span_id for each in collector.spans if each.is_server}
    assert all(by_span[each.span_id]["trace_id"] == each.trace_id for each in collector.spans if each.is_server)
    uploaded = [line for line in lines if line["message"] == "image uploaded"]
    ids = {"trace_id": upload.trace_id, "span_id": upload.span_id, "parent_span_id": upload.parent_id}
    assert [{name: line.get(name) for name in ids} for line in uploaded] == [ids]
    assert image_id not in str([(each.name, each.attributes) for each in collector.spans])
