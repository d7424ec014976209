"""The memory that decoders and encoders share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

BYTES_PER_ALLOWED_PIXEL = 6  # the hungriest picture that is allowed wants more, and has it alone


class MemoryBudget:
    """A semaphore with weights: holders have `total` bytes between them, and one that wants more has it alone."""

    def __init__(self, total: int) -> None:
        self._total = self._left = total
        self._changed = threading.Condition()
        self._first = threading.Lock()  # whoever waits for much is not overtaken for ever

    @classmethod
    def for_pictures(cls, max_pixels: int) -> "MemoryBudget":
        return cls(max_pixels * BYTES_PER_ALLOWED_PIXEL)

    @contextmanager
    def reserved(self, weight: int) -> Iterator[None]:
        """Wait until so many bytes are left, and hold them."""
        weight = min(weight, self._total)
        with self._first, self._changed:
            self._changed.wait_for(lambda: self._left >= weight)
            self._left -= weight
        try:
            yield
        finally:
            with self._changed:
                self._left += weight
                self._changed.notify_all()
