"""Counts of images by tag, and of images and bytes, per user and of all.

They are added to after the transaction that they count, since a counter in it would make every two uploads of a user
wait for each other. One that was missed stays missed.

Where users have a quota, this can't be: then the usage of the owner alone is part of the transaction, which depends on
it. Uploads of different users still don't wait for each other.

| item | pk | sk |
| --- | --- | --- |
| tag | `user#<u>#tags`, `all#<shard>#tags` | `<tag>` |
| usage | `user#<u>#usage`, `all#<shard>#usage` | `usage` |
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from ..common.errors import StoreError
from ..common.validation import LAST_CHARACTER
from ..models.image import Image
from ..models.usage import UNLIMITED, Quota, TagCount, TagPage, TagQuery, Usage
from .dynamodb_client import ConditionFailed, Table
from .dynamodb_items import Item, Key, escaped, listing, shard_of

log = logging.getLogger(__name__)

TIME = 1.5  # seconds that an upload or a delete waits for its counters
AT_ONCE = 8

_USAGE = "usage"
_ADD = "ADD images :images, bytes :bytes"


class Counters:
    def __init__(self, table: Table, *, quota: Quota = UNLIMITED) -> None:
        self._table = table
        self._quota = quota
        self._has_quota = quota != UNLIMITED

    def added(self, image: Image) -> list[Item]:
        """Return what belongs into the transaction that adds an image: nothing, if users have no quota."""
        if not self._has_quota:
            return []
        values = {":images": 1, ":bytes": image.size}
        bounds = []
        if self._quota.images is not None:
            bounds.append("images < :most")
            values[":most"] = self._quota.images
        if self._quota.bytes is not None:
            bounds.append("bytes <= :room")
            values[":room"] = self._quota.bytes - image.size
        condition = " AND ".join(bounds)
        if self._quota.allows(Usage(0, 0), image.size):  # else it is too large even for who has nothing
            condition = f"attribute_not_exists(images) OR ({condition})"
        return [self._table.update(_usage_of(image), _ADD, condition, values)]

    async def removed(self, image: Image) -> list[Item]:
        """Return what belongs into the transaction that removes an image: nothing, if users have no quota.

        A counter that was too low, say since it was missed before there was a quota, does not fall below nothing.
        """
        if not self._has_quota:
            return []
        key = _usage_of(image)
        counter = await self._table.get(key)
        if counter is None or int(counter["images"]) <= 1:
            return [self._table.delete(key, "attribute_not_exists(images) OR images <= :one", {":one": 1})]
        values = {":images": -1, ":bytes": -image.size, ":one": 1}
        return [self._table.update(key, _ADD, "images > :one", values)]

    async def count(self, *changes: tuple[Image, int]) -> None:
        """Add images (1), or take them away (-1), within TIME. What fails is logged: the images are committed.

        What was part of the transaction is not counted again.
        """
        own = [_usage_of(image) for image, _ in changes] if self._has_quota else []
        at_once = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.timeout(TIME), asyncio.TaskGroup() as group:
                for key, amounts in _summed(changes):
                    if key not in own:
                        group.create_task(self._add(key, amounts, at_once=at_once))
        except (TimeoutError, asyncio.CancelledError) as error:
            ids = sorted({image.image_id for image, _ in changes})
            log.warning("not all counters of an image were reached", extra={"image_ids": ids})
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _add(self, key: Key, amounts: dict[str, int], *, at_once: asyncio.Semaphore) -> None:
        try:
            async with at_once:
                numbers = await self._table.increase(key, amounts)
                if numbers["images"] <= 0:
                    with suppress(ConditionFailed):  # somebody has just added to it
                        await self._table.delete_empty(key, "images")
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


def _summed(changes: Iterable[tuple[Image, int]]) -> Iterator[tuple[Key, dict[str, int]]]:
    """Yield what all changes together add to which counters, but for nothing."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    for image, sign in changes:
        for key, amounts in additions(image, sign):
            sums.setdefault((key["pk"], key["sk"]), Counter()).update(amounts)
    for (pk, sk), sum_ in sums.items():
        if any(sum_.values()):
            yield {"pk": pk, "sk": sk}, dict(sum_)


def _usage_of(image: Image) -> Key:
    """Return the counter of its owner's images and bytes."""
    (partition,) = listing(image.user_id, None)
    return {"pk": f"{partition}#usage", "sk": _USAGE}


def is_usage(counter: Key) -> bool:
    """Tell whether it counts images and bytes, and not the images that have a tag."""
    return counter["pk"].endswith(f"#{_USAGE}")


def counted_partition(counter: Key) -> str:
    """Return the partition whose entries a counter counts."""
    partition = counter["pk"].rpartition("#")[0]
    return partition if is_usage(counter) else f"{partition}#tag#{escaped(counter['sk'])}"


def additions(image: Image, sign: int) -> Iterator[tuple[Key, dict[str, int]]]:
    """Yield what an image adds to which counters, or with -1 takes away."""
    shard = shard_of(image.image_id)
    for user_id in (image.user_id, None):
        (partition,) = listing(user_id, None, shard)
        yield {"pk": f"{partition}#usage", "sk": _USAGE}, {"images": sign, "bytes": sign * image.size}
        for tag in image.tags:
            yield {"pk": f"{partition}#tags", "sk": tag}, {"images": sign}
