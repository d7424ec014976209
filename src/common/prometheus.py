"""Metrics for Prometheus, of all processes of a server, by the files of prometheus_client's multiprocess mode.

Each process has files of its own in a directory that they share, and whichever is asked answers for all. What a
process counts goes to its files a tenth of a second later, not with every count: it takes a fourth of the time, and a
process that is killed loses no more than this.
"""

import asyncio
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .metrics import BUCKETS, BUILD, METRICS, Labels, Metric

DELAY = 0.1  # seconds
_NAMESPACE = "image_service"  # of the library's metrics of processes
_BOUNDS = (*map(floatToGoString, BUCKETS), "+Inf")
# How gauges of several processes are put together; those of dead ones go, as "live" says.
_MODES = {BUILD.name: "livemax"}
_SUM_MODE = "livesum"


class PrometheusMetrics:
    is_on = True

    def __init__(self, directory: Path, *, build: Labels) -> None:
        """Use a directory that is there, and in which nothing else is; `build` says what it is that runs."""
        self._directory = directory
        self._pid = os.getpid()
        self._metrics = {metric.name: metric for metric in METRICS}
        self._values: dict[tuple[str, Labels], float] = defaultdict(float)
        self._histograms: dict[tuple[str, Labels], list[float]] = {}
        self._published: dict[str, float] = {}
        self._keys: dict[tuple[str, Labels], list[str]] = {}
        self._files: dict[str, MmapedDict] = {}
        self._is_due = False
        self._registry = CollectorRegistry()
        MultiProcessCollector(self._registry, str(directory))  # type: ignore[no-untyped-call]
        self._registry.register(_Processes(directory))
        self._values[BUILD.name, build] = 1
        self.publish()

    def count(self, metric: Metric, labels: Labels = (), amount: float = 1) -> None:
        self._values[metric.name, labels] += amount
        if not self._is_due:
            self._come_due()

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        key = metric.name, labels
        histogram = self._histograms.get(key)
        if histogram is None:
            histogram = self._histograms[key] = [0.0] * (len(_BOUNDS) + 1)
        histogram[bisect_left(BUCKETS, value)] += 1
        histogram[-1] += value
        if not self._is_due:
            self._come_due()

    def shift(self, metric: Metric, amount: float, labels: Labels = ()) -> None:
        self.count(metric, labels, amount)

    def _come_due(self) -> None:
        self._is_due = True
        asyncio.get_running_loop().call_later(DELAY, self.publish)

    def publish(self) -> None:
        """Write to this process's files what has changed."""
        self._is_due = False
        for key, value in self._values.items():
            self._write(key, (value,))
        for key, values in self._histograms.items():
            self._write(key, values)

    def _write(self, key: tuple[str, Labels], values: Iterable[float]) -> None:
        metric = self._metrics[key[0]]
        names = self._keys.get(key)
        if names is None:
            names = self._keys[key] = _samples(metric, key[1])
        for name, value in zip(names, values, strict=True):
            if self._published.get(name) != value:
                self._published[name] = value
                self._file(metric).write_value(name, value, 0.0)  # type: ignore[no-untyped-call]

    def _file(self, metric: Metric) -> MmapedDict:
        kind = f"gauge_{_MODES.get(metric.name, _SUM_MODE)}" if metric.kind == "gauge" else metric.kind
        if kind not in self._files:
            path = self._directory / f"{kind}_{self._pid}.db"
            self._files[kind] = MmapedDict(str(path))  # type: ignore[no-untyped-call]
        return self._files[kind]

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics of all processes in the format that is asked for, and its media type."""
        self.publish()
        encode, media_type = choose_encoder(accept)
        return await asyncio.to_thread(encode, self._registry), media_type

    def close(self) -> None:
        self.publish()
        for file in self._files.values():
            file.close()  # type: ignore[no-untyped-call]
        self._files.clear()


def _samples(metric: Metric, labels: Labels) -> list[str]:
    """Return the library's keys of what a metric has in its file: one, or those of the buckets and the sum."""

    def key(family: str, name: str, names: Labels, values: Labels) -> str:
        return mmap_key(family, name, list(names), list(values), metric.help)

    if metric.kind == "histogram":
        buckets = [
            key(metric.name, f"{metric.name}_bucket", (*metric.labels, "le"), (*labels, bound)) for bound in _BOUNDS
        ]
        return [*buckets, key(metric.name, f"{metric.name}_sum", metric.labels, labels)]
    return [key(metric.name.removesuffix("_total"), metric.name, metric.labels, labels)]


def forget(directory: Path, pid: int) -> None:
    """Drop the gauges of a process that has ended. What it has counted stays."""
    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]


class _Processes(Collector):
    """The library's metrics of a process, for each that lives: those have said what they are."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Family]:
        families: dict[str, Family] = {}
        for path in sorted(self._directory.glob(f"gauge_{_MODES[BUILD.name]}_*.db")):
            pid = path.stem.rpartition("_")[2]
            for found in ProcessCollector(_NAMESPACE, partial(str, pid), registry=None).collect():
                family = families.setdefault(found.name, Family(found.name, found.documentation, found.type))
                for sample in found.samples:
                    family.add_sample(sample.name, {"pid": pid}, sample.value)
        return families.values()
