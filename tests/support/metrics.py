"""Metrics that a test can look at, and the application's own as Prometheus reads them."""

from collections import Counter
from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from src.common.metrics import Labels, Metric, NoMetrics


class Counted(NoMetrics):
    """Keeps what it is told."""

    is_on = True

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Labels]] = Counter()
        self.values: list[tuple[str, Labels, float]] = []
        self.highest: Counter[str] = Counter()  # of each gauge

    def count(self, metric: Metric, labels: Labels = (), amount: float = 1) -> None:
        self.counts[metric.name, labels] += amount  # type: ignore[assignment]

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        self.values.append((metric.name, labels, value))

    def shift(self, metric: Metric, amount: float, labels: Labels = ()) -> None:
        self.count(metric, labels, amount)
        self.highest[metric.name] = max(self.highest[metric.name], self.counts[metric.name, labels])


class Scrape:
    """What an answer of `/metrics` says."""

    def __init__(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        self._samples = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        """Add up the samples that have these labels, and perhaps others."""
        return sum(value for each, found, value in self._samples if each == name and labels.items() <= found.items())

    def labels(self, name: str) -> list[Mapping[str, str]]:
        return [found for each, found, _ in self._samples if each == name]
