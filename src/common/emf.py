"""Metrics for CloudWatch, as lines of a Lambda function's log in its embedded metric format (EMF).

Source: AWS, "Specification: Embedded metric format". prometheus_client, which takes long to load, is not needed here.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import batched

import msgspec

from .metrics import Complaint, Labels, Metric

log = logging.getLogger(__name__)

NAMESPACE = "ImageService"
MOST_VALUES = 100  # of one metric in a line

type Values = dict[Metric, float | list[float]]


class EmfMetrics:
    """Collects what is measured, until it is flushed: once per invocation."""

    is_on = True

    def __init__(self, write: Callable[[str], object]) -> None:
        """`write` gets one line at a time."""
        self._write = write
        self._complaint = Complaint(log, "metrics can't be written")
        self._sums: dict[tuple[Metric, Labels], float] = defaultdict(float)
        self._values: dict[tuple[Metric, Labels], list[float]] = defaultdict(list)
        self._gauges: dict[tuple[Metric, Labels], float] = defaultdict(float)

    def count(self, metric: Metric, labels: Labels = (), amount: float = 1) -> None:
        self._sums[metric, labels] += amount

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        self._values[metric, labels].append(value)

    def shift(self, metric: Metric, amount: float, labels: Labels = ()) -> None:
        self._gauges[metric, labels] += amount
        self._values[metric, labels].append(self._gauges[metric, labels])

    def flush(self) -> None:
        """Write what came since the last time, a line for each set of dimensions. What can't be written is lost."""
        try:
            self._flush()
            self._complaint.settle()
        except Exception:
            self._complaint.make()

    def _flush(self) -> None:
        sums, self._sums = self._sums, defaultdict(float)
        values, self._values = self._values, defaultdict(list)
        lines: dict[tuple[Labels, Labels], Values] = defaultdict(dict)
        for (metric, labels), total in sums.items():
            if total:
                lines[metric.labels, labels][metric] = total
        for (metric, labels), all_values in values.items():
            first, *rest = (list(batch) for batch in batched(all_values, MOST_VALUES))
            lines[metric.labels, labels][metric] = first
            for batch in rest:
                self._write(_line(metric.labels, labels, {metric: batch}))
        for (names, labels), of_metrics in lines.items():
            self._write(_line(names, labels, of_metrics))

    def close(self) -> None:
        self.flush()


def _line(names: Labels, labels: Labels, values: Values) -> str:
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [names],
        "Metrics": [{"Name": metric.name, "Unit": metric.unit} for metric in values],
    }
    line = {
        "_aws": {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]},
        **dict(zip(names, labels, strict=True)),
        **{metric.name: value for metric, value in values.items()},
    }
    return msgspec.json.encode(line).decode()
