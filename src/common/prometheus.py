"""Metrics for Prometheus: of this process, or of all processes of a server, which share what they count.

A process shares what it counts a tenth of a second later, not with every count; if it is killed, no more than this is
lost.
"""

import asyncio
import logging
import os
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any

import msgspec
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .errors import StoreUnavailable
from .metrics import BUCKETS, BUILD, METRICS, Complaint, Labels, Metric
from .snapshots import Counts, Key, SharedCounts

log = logging.getLogger(__name__)

DELAY = 0.1  # seconds
_NAMESPACE = "image_service"  # of the library's metrics of processes
_BOUNDS = (*map(floatToGoString, BUCKETS), "+Inf")
_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
_VERSION = re.compile(r"version=([^;]*)")
_VERSIONS = frozenset({"0.0.1", "0.0.4", "1.0.0"})  # of the formats


class PrometheusMetrics:
    is_on = True

    def __init__(self, *, build: Labels, shared: SharedCounts | None = None) -> None:
        """`build` says what it is that runs. What is not `shared` is told of this process alone."""
        self._build = build
        self._shared = shared
        self._values: dict[Key, float] = defaultdict(float)
        self._histograms: dict[Key, list[float]] = {}
        self._is_due = shared is None  # for good: nobody waits for it
        self._complaint = Complaint(log, "what is counted can't be shared with the other server processes")
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
        # In a thread: some file systems take milliseconds to replace a file.
        loop = asyncio.get_running_loop()
        loop.call_later(DELAY, loop.run_in_executor, None, self.publish)
        self._is_due = True

    def publish(self) -> None:
        """Share what was counted by now. What fails is tried again with the next count."""
        if (shared := self._shared) is None:
            return
        self._is_due = False
        try:
            shared.write(self._counts)
            self._complaint.settle()
        except OSError:
            self._complaint.make()

    @property
    def _counts(self) -> Counts:
        return Counts(self._values, self._histograms)

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics of all processes in the format that is asked for, and its media type.

        Raises StoreUnavailable if those of the others can't be had.
        """
        encode, media_type = choose_encoder(_known(accept))
        own = self._counts.plus()  # they change while a thread looks at them
        return await asyncio.to_thread(lambda: encode(self._told(own))), media_type

    def _told(self, own: Counts) -> Collector:
        self.publish()  # what is told here must not be missing where somebody asks next
        try:
            others = self._shared.of_others() if self._shared else []
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreUnavailable("What the other server processes have counted can't be read.") from error
        pids = [os.getpid(), *(each.pid for each in others if each.pid)]
        return _Told(own.plus(*(each.counts for each in others)), self._build, pids)

    def close(self) -> None:
        self.publish()
        self._shared, self._is_due = None, True


def _known(accept: str) -> str:
    """Leave out the formats whose version is not known: the library would take any version for numbers."""
    formats = accept.split(",")
    return ",".join(each for each in formats if {*map(str.rstrip, _VERSION.findall(each))} <= _VERSIONS)


class _Told(Collector):
    """Families of what is counted, and of what the library knows of the processes."""

    def __init__(self, counts: Counts, build: Labels, pids: Iterable[int]) -> None:
        self._counts = counts
        self._build = build
        self._pids = pids

    def collect(self) -> Iterator[Family]:
        families: dict[str, Any] = {
            each.name: _FAMILIES[each.kind](each.name, each.help, labels=each.labels) for each in METRICS
        }
        for (name, labels), value in self._counts.values.items():
            families[name].add_metric(labels, value)
        for (name, labels), (*buckets, total) in self._counts.histograms.items():
            families[name].add_metric(labels, [*zip(_BOUNDS, accumulate(buckets), strict=True)], total)
        families[BUILD.name].add_metric(self._build, 1)
        yield from (family for family in families.values() if family.samples)
        yield from _of_processes(self._pids)


def _of_processes(pids: Iterable[int]) -> Iterable[Family]:
    families: dict[str, Family] = {}
    for pid in sorted(pids):
        for found in ProcessCollector(_NAMESPACE, partial(str, pid), registry=None).collect():
            family = families.setdefault(found.name, Family(found.name, found.documentation, found.type))
            for sample in found.samples:
                family.add_sample(sample.name, {"pid": str(pid)}, sample.value)
    return families.values()
