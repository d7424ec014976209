"""What one caller may ask for at a time. Every server process counts for itself."""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from throttled.asyncio import RateLimiterType, Throttled, per_sec, store

from ..common.errors import TooManyRequests, TooManyUploads

MOST_CALLERS = 10_000  # that are remembered; of more, whoever has been silent for the longest is forgotten


class RequestRate:
    """A token bucket for each caller."""

    def __init__(self, rate: int, burst: int) -> None:
        """Allow `rate` requests a second in the long run, and `burst` at once."""
        self._rate = rate
        self._buckets = Throttled(
            using=RateLimiterType.TOKEN_BUCKET.value,
            quota=per_sec(rate, burst=burst),
            store=store.MemoryStore(options={"MAX_SIZE": MOST_CALLERS}),
        )

    async def charge(self, caller: str) -> None:
        """Take note of a request. Raises TooManyRequests."""
        result = await self._buckets.limit(caller)
        if result.limited:
            raise TooManyRequests(
                f"You may make {self._rate} requests a second.", max(1, math.ceil(result.state.retry_after))
            )


class UploadSlots:
    """How many uploads of each caller are under way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def taken(self, caller: str) -> Iterator[None]:
        """Take one for as long as the context lasts. Raises TooManyUploads."""
        if self._under_way[caller] >= self._most:
            raise TooManyUploads(f"You may have {self._most} uploads under way.")
        self._under_way[caller] += 1
        try:
            yield
        finally:
            self._under_way[caller] -= 1
            if not self._under_way[caller]:
                del self._under_way[caller]
