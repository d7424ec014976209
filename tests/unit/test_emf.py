"""Lines for CloudWatch, by the rules of its embedded metric format."""

import json
import time
from typing import Any

import pytest

from src.common.emf import MOST_VALUES, EmfMetrics
from src.common.metrics import RENDITIONS_RUNNING, REQUEST_DURATION, REQUESTS, STORE_CALLS, STORE_DURATION, UPLOADS
from tests.support.emf import checked

LIST = ("metadata", "images.list")


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def metrics(lines: list[str]) -> EmfMetrics:
    return EmfMetrics(lines.append)


def flushed(metrics: EmfMetrics, lines: list[str]) -> list[dict[str, Any]]:
    lines.clear()
    metrics.flush()
    return [checked(line) for line in lines]


def test_a_line(metrics: EmfMetrics, lines: list[str]) -> None:
    metrics.count(REQUESTS, ("GET", "/images", "200"))
    (line,) = flushed(metrics, lines)
    assert abs(line["_aws"].pop("Timestamp") - time.time() * 1000) < 60_000
    assert line == {
        "_aws": {
            "CloudWatchMetrics": [
                {
                    "Namespace": "ImageService",
                    "Dimensions": [["method", "route", "status"]],
                    "Metrics": [{"Name": "image_service_http_requests_total", "Unit": "Count"}],
                }
            ]
        },
        "method": "GET",
        "route": "/images",
        "status": "200",
        "image_service_http_requests_total": 1.0,
    }


def test_one_for_each_set_of_dimensions(metrics: EmfMetrics, lines: list[str]) -> None:
    for outcome in ("ok", "ok", "store_failed"):
        metrics.count(STORE_CALLS, (*LIST, outcome))
        metrics.observe(STORE_DURATION, LIST, 0.5)
    metrics.observe(REQUEST_DURATION, ("GET", "/images"), 1.5)
    metrics.count(UPLOADS)
    found = flushed(metrics, lines)
    assert len(found) == 5
    by_outcome = {line["outcome"]: line[STORE_CALLS.name] for line in found if "outcome" in line}
    assert by_outcome == {"ok": 2.0, "store_failed": 1.0}
    assert [line[STORE_DURATION.name] for line in found if STORE_DURATION.name in line] == [[0.5, 0.5, 0.5]]
    assert [line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] for line in found if UPLOADS.name in line] == [[[]]]


def test_metrics_with_the_same_dimensions_share_a_line(metrics: EmfMetrics, lines: list[str]) -> None:
    metrics.count(UPLOADS)
    with_gauge = EmfMetrics(lines.append)
    with_gauge.count(UPLOADS, amount=2)
    with_gauge.shift(RENDITIONS_RUNNING, 1)
    with_gauge.shift(RENDITIONS_RUNNING, -1)
    (line,) = flushed(with_gauge, lines)
    assert (line[UPLOADS.name], line[RENDITIONS_RUNNING.name]) == (2.0, [1.0, 0.0])


def test_more_values_than_a_line_may_have(metrics: EmfMetrics, lines: list[str]) -> None:
    values = [float(number) for number in range(2 * MOST_VALUES + 1)]
    for value in values:
        metrics.observe(STORE_DURATION, LIST, value)
    found = [line[STORE_DURATION.name] for line in flushed(metrics, lines)]
    assert sorted(map(len, found)) == [1, MOST_VALUES, MOST_VALUES]
    assert sorted(value for each in found for value in each) == values


def test_each_flush_has_what_came_since_the_last(metrics: EmfMetrics, lines: list[str]) -> None:
    metrics.count(UPLOADS)
    metrics.count(REQUESTS, ("GET", "/", "200"), 0)  # nothing to pay for
    assert len(flushed(metrics, lines)) == 1
    assert flushed(metrics, lines) == []
    metrics.count(UPLOADS)
    assert [line[UPLOADS.name] for line in flushed(metrics, lines)] == [1.0]


@pytest.mark.parametrize("error", [OSError("nobody reads"), ValueError("closed"), RuntimeError("whatever")])
def test_lines_that_cannot_be_written_are_lost(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """And nothing else is: whoever flushes has an answer to give. The log says so once."""

    def refuse(line: str) -> None:
        raise error

    metrics = EmfMetrics(refuse)
    for _ in range(3):
        metrics.count(UPLOADS)
        metrics.flush()
    metrics.close()
    assert [record.message for record in caplog.records] == ["metrics can't be written"]


def test_the_check_can_fail(metrics: EmfMetrics, lines: list[str]) -> None:
    metrics.observe(STORE_DURATION, LIST, 0.5)
    (line,) = flushed(metrics, lines)
    for change in ({"store": 1}, {"operation": ""}, {STORE_DURATION.name: [0.0] * 101}, {STORE_DURATION.name: "1"}):
        with pytest.raises(AssertionError):
            checked(json.dumps(line | change))
