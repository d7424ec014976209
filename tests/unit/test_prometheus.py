"""Metrics of several processes, put together as one answer."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as families

from src.common.metrics import BUCKETS, RENDITIONS_RUNNING, REQUEST_DURATION, REQUESTS, UPLOADS
from src.common.prometheus import DELAY, PrometheusMetrics, forget

pytestmark = pytest.mark.anyio

BUILD = ("0.1.0", "3.12.1", "local")
ROUTE = ("GET", "/images")
ALIVE = os.getpid()
DEAD = 2**22 + 1  # more than any pid


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[PrometheusMetrics]:
    metrics = PrometheusMetrics(tmp_path, build=BUILD)
    yield metrics
    metrics.close()


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], PrometheusMetrics]]:
    """Return what makes the metrics that a process with a pid would have."""
    made = []

    def make(pid: int) -> PrometheusMetrics:
        monkeypatch.setattr(os, "getpid", lambda: pid)
        metrics = PrometheusMetrics(tmp_path, build=BUILD)
        made.append(metrics)
        metrics.count(UPLOADS)
        metrics.shift(RENDITIONS_RUNNING, 1)
        metrics.observe(REQUEST_DURATION, ROUTE, 0.03)
        metrics.publish()
        return metrics

    yield make
    for metrics in made:
        metrics.close()


async def told(metrics: PrometheusMetrics, accept: str = "") -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    body, media_type = await metrics.exposition(accept)
    parse = openmetrics if "openmetrics" in media_type else families
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


NONE: frozenset[tuple[str, str]] = frozenset()


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=1.0.0"])
async def test_one_process(empty: PrometheusMetrics, accept: str) -> None:
    metrics = empty
    for status, times in (("200", 2), ("404", 1)):
        for _ in range(times):
            metrics.count(REQUESTS, (*ROUTE, status))
    for seconds in (0.0001, BUCKETS[0], 0.04, 100.0):
        metrics.observe(REQUEST_DURATION, ROUTE, seconds)
    found = await told(metrics, accept)
    route = frozenset({"method": "GET", "route": "/images"}.items())
    assert found[REQUESTS.name, route | {("status", "200")}] == 2
    assert found[REQUESTS.name, route | {("status", "404")}] == 1
    buckets = {dict(labels)["le"]: value for (name, labels), value in found.items() if name.endswith("_bucket")}
    expected = {bound: sum(s <= bound for s in (0.0001, BUCKETS[0], 0.04, 100.0)) for bound in BUCKETS}
    assert {float(bound): value for bound, value in buckets.items()} == expected | {float("inf"): 4}
    assert found[f"{REQUEST_DURATION.name}_count", route] == 4
    assert found[f"{REQUEST_DURATION.name}_sum", route] == pytest.approx(100.0403)
    build = frozenset({"version": "0.1.0", "python": "3.12.1", "storage": "local"}.items())
    assert found["image_service_build_info", build] == 1
    memory = "image_service_process_resident_memory_bytes", frozenset({("pid", str(os.getpid()))})
    assert found[memory] > 1_000_000


async def test_several_add_up(process: Callable[[int], PrometheusMetrics]) -> None:
    first, second = process(1), process(2)
    for metrics in (first, second):
        found = await told(metrics)
        assert found[UPLOADS.name, NONE] == 2
        assert found[RENDITIONS_RUNNING.name, NONE] == 2
        assert found[f"{REQUEST_DURATION.name}_count", frozenset({("method", "GET"), ("route", "/images")})] == 2
        assert [value for (name, _), value in found.items() if name == "image_service_build_info"] == [1]


async def test_what_a_dead_one_counted_stays_and_its_gauges_go(
    tmp_path: Path, process: Callable[[int], PrometheusMetrics]
) -> None:
    process(DEAD)
    metrics = process(ALIVE)
    forget(tmp_path, DEAD)
    found = await told(metrics)
    assert found[UPLOADS.name, NONE] == 2
    assert found[RENDITIONS_RUNNING.name, NONE] == 1
    assert not [labels for _, labels in found if ("pid", str(DEAD)) in labels]


async def test_the_others_see_it_soon(process: Callable[[int], PrometheusMetrics]) -> None:
    first, second = process(1), process(2)
    for count in (3, 4):  # and again after it was told
        second.count(UPLOADS)
        async with asyncio.timeout(DELAY + 10):
            while (await told(first))[UPLOADS.name, NONE] != count:
                await asyncio.sleep(0.01)


async def test_what_is_closed_is_told(process: Callable[[int], PrometheusMetrics]) -> None:
    first, second = process(1), process(2)
    second.count(UPLOADS)
    second.close()
    assert (await told(first))[UPLOADS.name, NONE] == 3
