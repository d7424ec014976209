"""Metrics of several processes, put together as one answer."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as families

from src.common.errors import StoreUnavailable
from src.common.metrics import BUCKETS, RENDITIONS_RUNNING, REQUEST_DURATION, REQUESTS, UPLOADS
from src.common.prometheus import DELAY, PrometheusMetrics
from src.common.snapshots import Remains, SharedCounts, discard

pytestmark = pytest.mark.anyio

BUILD = ("0.1.0", "3.12.1", "local")
ROUTE = ("GET", "/images")
NO_PID = 2**22 + 1  # more than any

type Process = Callable[[str], PrometheusMetrics]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


@pytest.fixture
def process(directory: Path) -> Process:
    """Return what makes the metrics that a process would have, which has counted something."""

    def make(name: str, *, pid: int = NO_PID) -> PrometheusMetrics:
        metrics = PrometheusMetrics(build=BUILD, shared=SharedCounts(directory, name=name, pid=pid))
        metrics._is_due = True  # nothing is shared but on demand
        metrics.count(UPLOADS)
        metrics.shift(RENDITIONS_RUNNING, 1)
        metrics.observe(REQUEST_DURATION, ROUTE, 0.03)
        metrics.publish()
        return metrics

    return make


async def told(metrics: PrometheusMetrics, accept: str = "") -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    body, media_type = await metrics.exposition(accept)
    parse = openmetrics if "openmetrics" in media_type else families
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


NONE: frozenset[tuple[str, str]] = frozenset()
COUNT = f"{REQUEST_DURATION.name}_count", frozenset({("method", "GET"), ("route", "/images")})


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=1.0.0"])
async def test_one_process(accept: str) -> None:
    metrics = PrometheusMetrics(build=BUILD)
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


@pytest.mark.parametrize(
    "version", ["abc", "x.y", "", "1", "99.0.0", "1.0.0 x", "1.0.0.0", "0x1", "١.٠.٠", "1.0.0;version=abc"]
)
@pytest.mark.parametrize("media_type", ["application/openmetrics-text", "text/plain"])
async def test_a_format_that_is_not_known_is_not_asked_for(media_type: str, version: str) -> None:
    metrics = PrometheusMetrics(build=BUILD)
    default = (await metrics.exposition(""))[1]
    assert (await metrics.exposition(f"{media_type}; version={version}"))[1] == default
    both = f"{media_type};version={version};q=0.9,application/openmetrics-text;version=1.0.0 ;q=0.1"
    assert (await metrics.exposition(both))[1].startswith("application/openmetrics-text; version=1.0.0;")


async def test_several_add_up(process: Process) -> None:
    first, second = process("1"), process("2")
    for metrics in (first, second):
        found = await told(metrics)
        assert found[UPLOADS.name, NONE] == 2
        assert found[RENDITIONS_RUNNING.name, NONE] == 2
        assert found[COUNT] == 2
        assert [value for (name, _), value in found.items() if name == "image_service_build_info"] == [1]


async def test_a_scrape_is_seen_by_the_next_one(process: Process) -> None:
    """Wherever that one goes: a counter that went down would be taken for a new one."""
    first, second = process("1"), process("2")
    first.count(UPLOADS)
    assert (await told(first))[UPLOADS.name, NONE] == 3
    assert (await told(second))[UPLOADS.name, NONE] == 3


async def test_the_others_see_it_soon(process: Process) -> None:
    first, second = process("1"), process("2")
    for count in (3, 4):  # and again after it was told
        second.count(UPLOADS)
        async with asyncio.timeout(DELAY + 10):
            while (await told(first))[UPLOADS.name, NONE] != count:
                await asyncio.sleep(0.01)


async def test_what_is_closed_is_told(process: Process) -> None:
    first, second = process("1"), process("2")
    second.count(UPLOADS)
    second.close()
    assert (await told(first))[UPLOADS.name, NONE] == 3


def test_a_count_without_a_loop_does_not_keep_later_ones_back(process: Process) -> None:
    metrics = process("1")
    with pytest.raises(RuntimeError):
        metrics.count(UPLOADS)

    async def count_and_wait() -> float:
        metrics.count(UPLOADS)
        other = process("2")
        async with asyncio.timeout(DELAY + 10):
            while (found := (await told(other))[UPLOADS.name, NONE]) == 2:
                await asyncio.sleep(0.01)
        return found

    assert asyncio.run(count_and_wait()) == 4


async def test_what_dead_ones_counted_stays_and_their_gauges_go(directory: Path, process: Process) -> None:
    metrics = process("alive")
    remains = Remains(directory)
    for number in range(3):
        process(f"dead-{number}", pid=os.getppid())
        (directory / f"dead-{number}.tmp").touch()  # it was killed while it wrote
        assert (await told(metrics))[UPLOADS.name, NONE] == number + 2
        remains.take({"alive"})
        found = await told(metrics)
        assert found[UPLOADS.name, NONE] == number + 2
        assert found[COUNT] == number + 2
        assert found[RENDITIONS_RUNNING.name, NONE] == 1
        assert not [labels for _, labels in found if ("pid", str(os.getppid())) in labels]
        assert len(list(directory.iterdir())) == 2


async def test_a_dead_one_is_never_told_twice(
    directory: Path, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its file is still there when it is told of among the dead."""
    metrics = process("alive")
    process("dead-1")
    remains = Remains(directory)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        for _ in range(2):
            remains.take({"alive"})
            assert (await told(metrics))[UPLOADS.name, NONE] == 2
    remains.take({"alive"})
    assert (await told(metrics))[UPLOADS.name, NONE] == 2
    assert not (directory / "dead-1.counts").exists()


async def test_a_directory_that_is_cleaned_away(
    directory: Path, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no answer that something is missing from; and soon it is there again, with what the dead had counted."""
    metrics, remains = process("alive"), Remains(directory)
    process("dead-1")
    remains.take({"alive"})
    discard(directory)
    assert list(directory.parent.iterdir()) == []
    metrics.count(UPLOADS)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await metrics.exposition("")
    assert len(errors(caplog)) == 1
    remains.take({"alive"})
    assert (await told(metrics))[UPLOADS.name, NONE] == 3
    discard(directory)
    metrics.publish()
    assert len(errors(caplog)) == 2  # that is another time


async def test_a_full_disk(
    directory: Path, process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A count succeeds, the log has it once, and as soon as there is room all is told."""
    metrics, other, remains = process("alive"), process("other"), Remains(directory)
    process("dead-1")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        for _ in range(3):
            metrics.count(UPLOADS)
            metrics.publish()
            remains.take({"alive", "other"})
        assert (await told(metrics))[UPLOADS.name, NONE] == 6
        assert (await told(other))[UPLOADS.name, NONE] == 3
        assert list(directory.glob("*.tmp")) == []
    assert len(errors(caplog)) == 3  # of each of them, and of the parent
    remains.take({"alive", "other"})
    metrics.publish()
    assert (await told(other))[UPLOADS.name, NONE] == 6


def refuse(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.ERROR]


async def test_no_link_is_followed(directory: Path, tmp_path: Path, process: Process) -> None:
    """That somebody else might put where files of a directory for all are written."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (directory / "alive.tmp").symlink_to(victim)
    process("alive")
    assert victim.read_text() == "precious"
    assert [path.name for path in directory.iterdir()] == ["alive.counts"]
