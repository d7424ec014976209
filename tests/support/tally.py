"""What the fault suite has tried and found, over all its tests."""

import threading
from collections import Counter
from typing import Literal

type What = Literal["points", "images", "lost", "doubled", "half-visible", "left"]


class Tally:
    """Counts, which tests add to from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[What] = Counter()

    def add(self, what: What, count: int = 1) -> None:
        with self._lock:
            self._counts[what] += count

    def counts(self) -> dict[What, int]:
        return dict(self._counts)

    def __str__(self) -> str:
        counts = self._counts
        return (
            f"fault suite: {counts['points']} points tried, {counts['images']} acknowledged images checked, "
            f"{counts['lost']} lost, {counts['doubled']} doubled, {counts['half-visible']} half-visible, "
            f"{counts['left']} left after reconcile"
        )

    def __bool__(self) -> bool:
        return bool(self._counts)


TALLY = Tally()
