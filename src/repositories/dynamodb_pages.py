"""Pages of images in DynamoDB: a few strongly consistent Queries of the partitions that list them, merged."""

import asyncio
import math
from collections import deque
from collections.abc import Sequence

from ..common.ids import first_id_at
from ..models.image import Image
from ..models.page import ImageQuery
from .dynamodb_client import Table
from .dynamodb_items import listing, unpack

READ_BUDGET = 500  # entries, of some 300 bytes each, after which a page reads no further
MAX_SHARE = 128  # entries that are read of one partition at a time
_BEFORE_ALL, _AFTER_ALL = "0", "g"  # ids are in hex digits


class Merged:
    """The images that some partitions list, in order and each once. Partitions are read as far as needed."""

    def __init__(self, table: Table, query: ImageQuery, low: str, high: str) -> None:
        tags = query.tags[:1] if query.tag_mode == "all" else query.tags
        partitions = [partition for tag in tags or (None,) for partition in listing(query.user_id, tag)]
        self._newest = query.order == "newest"
        # One more than the page, to see whether the list goes on. Several partitions share that as chance has it: with
        # two and a half standard deviations to spare hardly any needs a second Query, and for a page of 20 each is one
        # unit (4 KB) as a rule.
        share = query.limit + 1
        if len(partitions) > 1:
            share = min(share, math.ceil(share / len(partitions) + 2.5 * math.sqrt(share / len(partitions))))
        self._streams = [_Stream(table, partition, low, high, self._newest, share) for partition in partitions]
        self._last_id: str | None = None
        self._entries_read = 0
        self.is_over_budget = False

    async def next(self) -> Image | None:
        """Return the next image; None at the end of the list, or when to go on would take reading over the budget."""
        while True:
            empty = [stream for stream in self._streams if not stream.read and not stream.is_at_end]
            if empty:
                if self._entries_read >= READ_BUDGET:
                    self.is_over_budget = True
                    return None
                self._entries_read += await _fill(empty)
            self._streams = [stream for stream in self._streams if stream.read]
            if not self._streams:
                return None
            pick = max if self._newest else min
            image_id, packed = pick(self._streams, key=lambda stream: stream.read[0][0]).read.popleft()
            if image_id != self._last_id:  # several tags may list the same image
                self._last_id = image_id
                return unpack(packed)


class _Stream:
    """One partition, read page by page. `read` holds the ids and packed images that were read and not yet taken."""

    def __init__(self, table: Table, partition: str, low: str, high: str, newest: bool, share: int) -> None:
        self.read: deque[tuple[str, bytes]] = deque()
        self._table = table
        self._partition = partition
        self._low = low
        self._high = high
        self._newest = newest
        self._share = share
        self.is_at_end = False

    async def fill(self) -> int:
        """Read on, twice as much each time, and return how many entries that were."""
        items, more = await self._table.between(
            self._partition, self._low, self._high, forward=not self._newest, limit=self._share
        )
        self._share = min(2 * self._share, MAX_SHARE)
        self.read.extend((item["sk"], item["image"]) for item in items)
        if items:
            if self._newest:
                self._high = _just_below(items[-1]["sk"])
            else:
                self._low = _just_above(items[-1]["sk"])
        self.is_at_end = not more or self._low > self._high
        return len(items)


async def _fill(streams: Sequence[_Stream]) -> int:
    """Read all of them on at once. If one fails the others are not left running."""
    try:
        async with asyncio.TaskGroup() as group:
            fills = [group.create_task(stream.fill()) for stream in streams]
    except ExceptionGroup as failures:
        failure = failures.exceptions[0]
    else:
        return sum(fill.result() for fill in fills)
    raise failure  # outside of the handler and without `from`: it has a cause of its own


def bounds(query: ImageQuery) -> tuple[str, str] | None:
    """Return the least and the greatest id (or text between ids) that the query allows; None if nothing does."""
    low, high = _BEFORE_ALL, _AFTER_ALL
    if query.created_after is not None:
        low = first_id_at(query.created_after)
    if query.created_before is not None:
        high = first_id_at(query.created_before)  # shorter than an id, so itself none
    if query.after is not None:
        if query.order == "newest":
            high = min(high, _just_below(query.after))
        else:
            low = max(low, _just_above(query.after))
    return (low, high) if low <= high else None


def _just_above(image_id: str) -> str:
    """Return a text between an id and the next one."""
    return f"{image_id}!"


def _just_below(image_id: str) -> str:
    """Return a text between an id and the one before it."""
    return f"{image_id[:-1]}{chr(ord(image_id[-1]) - 1)}~"
