"""What the application counts, as `/metrics` tells it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from src.bootstrap import build_services
from src.common import metrics as defined
from src.common.config import Settings
from src.common.errors import StoreFailed
from src.common.logging import request_id
from src.common.metrics import METRICS
from src.common.payload import Payload
from src.common.telemetry import Telemetry
from src.common.tracing import NoTracing
from src.handlers.app import create_app
from src.handlers.telemetry import METRICS_DIRECTORY, of_server
from src.repositories.sqlite_images import SqliteImageRepository
from tests.support.api import assert_problem, raw, uploaded
from tests.support.homes import HOMES, home_app
from tests.support.metrics import Counted, Scrape
from tests.support.pictures import picture
from tests.support.uploads import declaration, declared, receive

pytestmark = pytest.mark.anyio


@pytest.fixture(params=HOMES)
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Starlette]:
    async with home_app(request.param, tmp_path, lambda: request.getfixturevalue("emulator"), {}) as app:
        yield app


async def scrape(client: httpx.AsyncClient) -> Scrape:
    return Scrape(await client.get("/metrics"))


async def test_the_format(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"
    assert (await client.head("/metrics")).status_code == 200
    asked = {"Accept": "application/openmetrics-text;version=1.0.0"}
    assert (await client.get("/metrics", headers=asked)).text.endswith("# EOF\n")


async def test_requests(client: httpx.AsyncClient) -> None:
    image = await uploaded(client, data := picture("png"))
    path = f"/images/{image['image_id']}"
    sizes = [len((await client.get(path)).content) for _ in range(2)]
    await client.head(path)
    await client.get("/images/nobody")
    await client.get("/nowhere/at/all")
    await client.put(path)
    await client.request("BREW", "/coffee-1")
    await client.request("WHEN", "/coffee-2")
    found = await scrape(client)
    route = {"method": "GET", "route": "/images/{image_id}"}
    assert found.sum("image_service_http_requests_total", **route, status="200") == 2
    assert found.sum("image_service_http_requests_total", **route, status="404") == 1
    assert found.sum("image_service_http_requests_total", method="HEAD", route=route["route"], status="200") == 1
    assert found.sum("image_service_http_requests_total", method="GET", route="none", status="404") == 1
    assert found.sum("image_service_http_requests_total", method="PUT", status="405") == 1
    assert found.sum("image_service_http_requests_total", method="other", route="none", status="404") == 2
    assert found.sum("image_service_http_request_duration_seconds_count", **route) == 3
    assert 0 < found.sum("image_service_http_request_duration_seconds_sum", **route) < 60
    assert found.sum("image_service_http_request_bytes_total", route="/images", method="POST") == len(data)
    assert found.sum("image_service_http_response_bytes_total", **route) > sum(sizes)  # and the problem
    assert found.sum("image_service_http_response_bytes_total", method="HEAD") == 0


async def test_no_label_is_a_client_s(client: httpx.AsyncClient) -> None:
    image = await uploaded(client, user_id="somebody", tags="secret")
    for path in (f"/images/{image['image_id']}/content", "/images?user_id=somebody", "/docs/../x", "/gallery/a/b"):
        await client.get(path)
    text = (await client.get("/metrics")).text
    assert "/images/{image_id}/content" in text
    for word in ("somebody", "secret", image["image_id"], "gallery/a"):
        assert word not in text


async def test_uploads(app: Starlette, client: httpx.AsyncClient) -> None:
    data = picture("png")
    headers = {"Content-Type": "image/png", "Idempotency-Key": "once"}
    for _ in range(2):
        assert (await client.post("/images", content=data, headers=headers)).status_code == 201
    await client.post("/images?on_duplicate=return", **raw(data))  # there is one
    upload = await declared(client)
    await receive(app, upload)
    complete = f"/uploads/{upload['image_id']}/complete"
    assert [(await client.post(complete)).status_code for _ in range(2)] == [201, 200]
    for body in (b"no picture", b""):
        await client.post("/images", **raw(body))
    await client.post("/uploads", json=declaration(size=10**9))
    await client.post("/images/delete", json={"image_ids": []})  # no upload
    found = await scrape(client)
    assert found.sum("image_service_uploads_accepted_total") == 2
    assert found.sum("image_service_uploads_accepted_bytes_total") == len(data) + upload["size"]
    refused = {each["code"] for each in found.labels("image_service_uploads_refused_total")}
    assert refused == {"unsupported_image_format", "invalid_request", "payload_too_large"}
    assert found.sum("image_service_uploads_refused_total") == 3


async def test_renditions_and_stores(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await uploaded(client, picture("png"))
    content = f"/images/{image['image_id']}/content"
    for _ in range(2):  # the second one is there already
        assert (await client.get(content, params={"width": 8})).status_code == 302
    monkeypatch.setattr(app.state.services.renditions, "_most_waiting", 0)
    assert_problem(await client.get(content, params={"width": 9}), 503, "overloaded")
    found = await scrape(client)
    assert found.sum("image_service_renditions_total", outcome="ok") == 1
    assert found.sum("image_service_renditions_total", outcome="overloaded") == 1
    for gauge in ("image_service_renditions_waiting", "image_service_renditions_running"):
        assert found.labels(gauge) == [{}]
        assert found.sum(gauge) == 0
    calls = {"store": "objects", "operation": "head"}
    assert found.sum("image_service_store_calls_total", **calls, outcome="object_not_found") == 2
    assert found.sum("image_service_store_calls_total", **calls, outcome="ok") == 1
    assert found.sum("image_service_store_call_duration_seconds_count", **calls) == 3
    for store, operation in (("metadata", "images.add"), ("objects", "put"), ("objects", "list")):
        assert found.sum("image_service_store_calls_total", store=store, operation=operation, outcome="ok") > 0


async def test_every_metric_has_been_told_of_by_now(client: httpx.AsyncClient) -> None:
    image = await uploaded(client, picture("png"))
    await client.get(f"/images/{image['image_id']}/content", params={"width": 8})
    await client.post("/images", **raw(b"no picture"))
    found = await scrape(client)
    for metric in METRICS:
        name = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
        assert all(each.keys() == {*metric.labels} for each in found.labels(name)), metric
        assert found.labels(name), metric


async def test_the_queue_of_renditions(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two, one is made while the other one waits."""

    async def fail(key: str) -> Payload:
        raise StoreFailed("It broke.")

    metrics = Counted()
    services = build_services(settings, Telemetry(metrics=metrics))
    monkeypatch.setattr(services.renditions, "_at_once", asyncio.Semaphore(1))
    app = create_app(services)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        content = f"/images/{(await uploaded(http))['image_id']}/content"
        await asyncio.gather(*(http.get(content, params={"width": width}) for width in (8, 9)))
        monkeypatch.setattr(services.objects, "fetch", fail)
        await http.get(content, params={"width": 10})
        assert (await http.get("/metrics")).status_code == 404  # these are not told
    await services.close()
    assert metrics.highest[defined.RENDITIONS_RUNNING.name] == 1
    assert metrics.highest[defined.RENDITIONS_WAITING.name] in (1, 2)
    assert metrics.counts[defined.RENDITIONS.name, ("ok",)] == 2
    assert metrics.counts[defined.RENDITIONS.name, ("store_failed",)] == 1
    for gauge in (defined.RENDITIONS_RUNNING, defined.RENDITIONS_WAITING):
        assert metrics.counts[gauge.name, ()] == 0


async def test_a_server_that_does_not_count(tmp_path: Path) -> None:
    settings = Settings.from_environment({"DATA_DIR": str(tmp_path / "data"), "METRICS": "off"})
    services = build_services(settings, of_server(settings, {METRICS_DIRECTORY: str(tmp_path)}))
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert_problem(await http.get("/metrics"), 404, "route_not_found")
    await services.close()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


async def test_a_crafted_accept_is_answered(client: httpx.AsyncClient) -> None:
    for accept in ("application/openmetrics-text; version=abc", "text/plain; version=x"):
        answer = await client.get("/metrics", headers={"Accept": accept})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/plain")


async def test_what_others_counted_is_not_left_out(tmp_path: Path) -> None:
    settings = Settings.from_environment({"DATA_DIR": str(tmp_path / "data")})
    services = build_services(settings, of_server(settings, {METRICS_DIRECTORY: str(tmp_path / "gone")}))
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/tags")).status_code == 200
        assert_problem(await http.get("/metrics"), 503, "store_unavailable")
    await services.close()


async def test_a_request_that_cannot_be_counted_is_answered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the id of one is not left for what comes after it."""

    def fail(metric: defined.Metric, *_: object) -> None:
        if metric is defined.REQUEST_DURATION:
            raise ZeroDivisionError

    metrics = Counted()
    services = build_services(settings, Telemetry(metrics=metrics))
    monkeypatch.setattr(metrics, "observe", fail)
    app = create_app(services)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        for _ in range(2):
            assert (await http.get("/tags")).status_code == 200
            assert request_id.get() is None
    await services.close()
    assert [each.message for each in caplog.records if each.levelname == "ERROR"] == ["a request can't be counted"]


async def test_the_tracer_is_closed_whatever_else_fails(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tracer(NoTracing):
        is_on = True
        is_closed = False

        def close(self) -> None:
            self.is_closed = True

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    for broken in (Counted, SqliteImageRepository):
        tracer = Tracer()
        services = build_services(settings, Telemetry(metrics=Counted(), tracing=tracer))
        with monkeypatch.context() as patch:
            patch.setattr(broken, "close", fail)
            with pytest.raises(ZeroDivisionError):
                await services.close()
        assert tracer.is_closed
        if broken is SqliteImageRepository:
            await services.repository.close()
