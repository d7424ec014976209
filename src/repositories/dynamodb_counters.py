"""Counts of images by tag, and of images and bytes, per user and of all.

They are added to after the transaction that they count, since a counter in it would make every two uploads of a user
wait for each other. One that was missed stays missed.

| item | pk | sk |
| --- | --- | --- |
| tag | `user#<u>#tags`, `all#<shard>#tags` | `<tag>` |
| usage | `user#<u>#usage`, `all#<shard>#usage` | `usage` |
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence

from ..common.errors import StoreError
from ..common.validation import LAST_CHARACTER
from ..models.image import Image
from ..models.usage import TagCount, TagPage, TagQuery, Usage
from .dynamodb_client import ConditionFailed, Table
from .dynamodb_items import Key, listing, shard_of

log = logging.getLogger(__name__)

TIME = 1.5  # seconds that an upload or a delete waits for its counters
AT_ONCE = 8

_USAGE = "usage"


class Counters:
    def __init__(self, table: Table) -> None:
        self._table = table

    async def count(self, image: Image, sign: int) -> None:
        """Add an image (1), or take it away (-1), within TIME. What fails is logged: the image itself is committed."""
        at_once = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.timeout(TIME), asyncio.TaskGroup() as group:
                for key, amounts in additions(image, sign):
                    group.create_task(self._add(key, amounts, at_once=at_once))
        except (TimeoutError, asyncio.CancelledError) as error:
            log.warning("not all counters of an image were reached", extra={"image_id": image.image_id})
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _add(self, key: Key, amounts: dict[str, int], *, at_once: asyncio.Semaphore) -> None:
        try:
            async with at_once:
                numbers = await self._table.increase(key, amounts)
                if numbers["images"] <= 0:
                    await self._table.delete_empty(key, "images")
        except ConditionFailed:
            return  # somebody has just added to it
        except Exception:  # whatever it is, it must not undo what is counted
            log.warning("a counter is wrong", extra={"counter": f"{key['pk']} {key['sk']}"}, exc_info=True)

    async def tags(self, query: TagQuery) -> TagPage:
        low = query.prefix or "\0" if query.after is None else max(query.prefix, f"{query.after}\0")
        high = f"{query.prefix}{LAST_CHARACTER}"
        if low > high:  # DynamoDB would call that an error
            return TagPage((), None)
        partitions = [f"{partition}#tags" for partition in listing(query.user_id, None)]
        reads = await asyncio.gather(
            *(
                self._table.between(partition, low, high, forward=True, limit=query.limit + 1)
                for partition in partitions
            )
        )
        counts: Counter[str] = Counter()
        for items, _ in reads:
            for item in items:
                counts[item["sk"]] += int(item["images"])
        # Beyond the least of their ends, not all of the shards have been read.
        ends = [items[-1]["sk"] for items, more in reads if more and items]
        whole = sorted(tag for tag in counts if not ends or tag <= min(ends))
        page = whole[: query.limit]
        is_over = not ends and len(whole) <= query.limit
        found = tuple(TagCount(tag, counts[tag]) for tag in page if counts[tag] > 0)
        return TagPage(found, None if is_over else page[-1])

    async def rarest_first(self, user_id: str | None, tags: Sequence[str]) -> tuple[str, ...]:
        """Order tags by how many images have them. Of all users' images one shard is looked at: it is a fair sample.

        If the counters can't be read the order stays: any is right, this one is quicker.
        """
        partition = f"{listing(user_id, None)[0]}#tags"
        try:
            items = await asyncio.gather(*(self._table.get({"pk": partition, "sk": tag}) for tag in tags))
        except StoreError:
            log.warning("the counters of tags could not be read", exc_info=True)
            return tuple(tags)
        counts = {tag: int(item["images"]) if item else 0 for tag, item in zip(tags, items, strict=True)}
        return tuple(sorted(tags, key=counts.__getitem__))

    async def usage(self, user_id: str | None) -> Usage:
        keys = [{"pk": f"{partition}#usage", "sk": _USAGE} for partition in listing(user_id, None)]
        items = [item for item in await asyncio.gather(*(self._table.get(key) for key in keys)) if item]
        images, size = (sum(int(item[name]) for item in items) for name in ("images", "bytes"))
        return Usage(max(0, images), max(0, size))


def additions(image: Image, sign: int) -> Iterator[tuple[Key, dict[str, int]]]:
    """Yield what an image adds to which counters, or with -1 takes away."""
    shard = shard_of(image.image_id)
    for user_id in (image.user_id, None):
        (partition,) = listing(user_id, None, shard)
        yield {"pk": f"{partition}#usage", "sk": _USAGE}, {"images": sign, "bytes": sign * image.size}
        for tag in image.tags:
            yield {"pk": f"{partition}#tags", "sk": tag}, {"images": sign}
