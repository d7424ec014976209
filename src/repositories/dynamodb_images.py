"""Records in DynamoDB: every write one transaction, every page a few strongly consistent Queries, never a Scan."""

import asyncio
import math
import uuid
from collections import deque
from collections.abc import Sequence

import msgspec

from ..common.errors import StoreFailed, StoreUnavailable
from ..common.ids import first_id_at
from ..models.claim import Claim, Outcome
from ..models.image import Image
from ..models.page import ImageQuery, Page
from ..models.usage import TagPage, TagQuery, Usage
from .dynamodb_claims import DynamoDbClaimRepository, finished
from .dynamodb_client import ConditionFailed, Table
from .dynamodb_counters import Counters
from .dynamodb_items import Item, checksums, entry_keys, guard_key, listing, pack, record_key, unpack
from .dynamodb_uploads import DynamoDbUploadRepository, completed
from .ports import ClaimLost, UploadNotOpen

READ_BUDGET = 500  # entries, of some 300 bytes each, after which a page reads no further
MAX_SHARE = 128  # entries that are read of one partition at a time
ATTEMPTS = 5  # when somebody else is at the same image
_BEFORE_ALL, _AFTER_ALL = "0", "g"  # ids are in hex digits


class DynamoDbImageRepository:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._counters = Counters(table)
        self._uploads = DynamoDbUploadRepository(table)
        self._claims = DynamoDbClaimRepository(table)

    async def add(
        self, image: Image, *, return_duplicate: bool = False, completes: bool = False, claim: Claim | None = None
    ) -> Image:
        attempt = uuid.uuid4().hex
        for _ in range(ATTEMPTS):
            duplicate = await self._oldest_duplicate(image) if return_duplicate else None
            committed = duplicate or image
            operations = [] if duplicate else self._puts(image, guarded=return_duplicate, attempt=attempt)
            if completes:
                operations.append(completed(self._table, image.image_id, committed.image_id))
            if claim:
                outcome = Outcome(committed, duplicate is None)
                operations.append(finished(self._table, claim, msgspec.json.encode(outcome)))
            try:
                if operations:
                    await self._table.write(operations)
            except ConditionFailed as error:
                record = await self._table.get(record_key(image.image_id))
                if record is None or record.get("attempt") != attempt:
                    await self._check_hold(image, completes, claim)
                    if not return_duplicate:
                        raise StoreFailed(f"There is an image {image.image_id} already.") from error
                    continue  # another upload of the same bytes has just won: it is found now
                # else an attempt before had been answered too late
            if duplicate is None:
                await self._counters.count((image, 1))
            return committed
        raise StoreUnavailable("Too many uploads of the same bytes at once.")

    async def _check_hold(self, image: Image, completes: bool, claim: Claim | None) -> None:
        """Raise ClaimLost or UploadNotOpen if that is why nothing could be committed."""
        if claim and not await self._claims.holds(claim):
            raise ClaimLost(claim.key)
        if completes:
            upload = await self._uploads.get(image.image_id)
            if upload is None or upload.completed:
                raise UploadNotOpen(image.image_id)

    def _puts(self, image: Image, *, guarded: bool, attempt: str) -> list[Item]:
        packed = pack(image)
        record = {**record_key(image.image_id), "image": packed, "guarded": guarded, "attempt": attempt}
        puts = [self._table.put(record, "attribute_not_exists(pk)")]
        puts += [self._table.put({**key, "image": packed}) for key in entry_keys(image)]
        if guarded:
            puts.append(self._table.put({**guard_key(image)}, "attribute_not_exists(pk)"))
        return puts

    async def replace(self, old: Image, new: Image) -> bool:
        item = await self._table.get(record_key(old.image_id))
        if item is None or unpack(item["image"]) != old:
            return False
        packed = pack(new)
        keys = entry_keys(new)
        attempt = uuid.uuid4().hex
        operations = [self._table.put({**item, "image": packed, "attempt": attempt}, *_unchanged(item))]
        operations += [self._table.put({**key, "image": packed}) for key in keys]
        operations += [self._table.delete(key) for key in entry_keys(old) if key not in keys]
        try:
            await self._table.write(operations)
        except ConditionFailed:
            # Changed or gone since it was read; or by ourselves, when an attempt before had been answered too late.
            record = await self._table.get(record_key(old.image_id))
            if record is None or record.get("attempt") != attempt:
                return False
        await self._counters.count((old, -1), (new, 1))
        return True

    async def _oldest_duplicate(self, image: Image) -> Image | None:
        items, _ = await self._table.between(
            checksums(image.user_id), f"{image.sha256}#", f"{image.sha256}#{_AFTER_ALL}", forward=True, limit=1
        )
        return unpack(items[0]["image"]) if items else None

    async def get(self, image_id: str) -> Image | None:
        item = await self._table.get(record_key(image_id))
        return unpack(item["image"]) if item else None

    async def remove(self, image_id: str) -> Image | None:
        for _ in range(ATTEMPTS):
            item = await self._table.get(record_key(image_id))
            if item is None:
                return None
            image = unpack(item["image"])
            keys = [*entry_keys(image), *([guard_key(image)] if item["guarded"] else [])]
            deletes = [self._table.delete(record_key(image_id), *_unchanged(item))]
            deletes += [self._table.delete(key) for key in keys]
            try:
                await self._table.write(deletes)
            except ConditionFailed:
                continue  # it has changed, or is gone, since it was read
            await self._counters.count((image, -1))
            return image
        raise StoreUnavailable("The image keeps changing.")

    async def list(self, query: ImageQuery) -> Page:
        bounds = _bounds(query)
        if bounds is None:
            return Page((), None)
        if query.tag_mode == "all" and len(query.tags) > 1:
            tags = await self._counters.rarest_first(query.user_id, query.tags)
            query = msgspec.structs.replace(query, tags=tags)
        candidates = _Merged(self._table, query, *bounds)
        images: list[Image] = []
        last_id: str | None = None
        while (candidate := await candidates.next()) is not None:
            if len(images) == query.limit:
                return Page(tuple(images), last_id)
            last_id = candidate.image_id
            if _matches(candidate, query):
                images.append(candidate)
        return Page(tuple(images), last_id if candidates.is_over_budget else None)

    async def tags(self, query: TagQuery) -> TagPage:
        return await self._counters.tags(query)

    async def usage(self, user_id: str | None) -> Usage:
        return await self._counters.usage(user_id)

    async def ping(self) -> None:
        await self._table.get({"pk": "ping", "sk": "ping"})

    async def close(self) -> None:
        return


def _unchanged(item: Item) -> tuple[str, Item]:
    """Return the condition, and its values, that the image is as it was read: else its entries are others by now."""
    return "image = :image", {":image": item["image"]}


class _Merged:
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


def _bounds(query: ImageQuery) -> tuple[str, str] | None:
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


def _matches(image: Image, query: ImageQuery) -> bool:
    tags = set(image.tags)
    if tags & set(query.exclude_tags):
        return False
    return query.tag_mode == "any" or tags >= set(query.tags)
