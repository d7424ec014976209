"""Records in DynamoDB: every write one transaction, every page a few Queries, never a Scan."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence

import msgspec

from ..common.errors import StoreFailed, StoreUnavailable
from ..models.claim import Claim, Outcome
from ..models.image import Image
from ..models.page import ImageQuery, Page
from ..models.usage import UNLIMITED, Quota, TagPage, TagQuery, Usage
from .dynamodb_claims import DynamoDbClaimRepository, finished
from .dynamodb_client import ATTEMPTS, CROWDED_ATTEMPTS, ConditionFailed, Table
from .dynamodb_counters import Counters
from .dynamodb_items import Item, checksum_range, checksums, entry_keys, guard_key, pack, record_key, unpack
from .dynamodb_pages import Merged, bounds
from .dynamodb_uploads import DynamoDbUploadRepository, completed
from .ports import ClaimLost, UploadNotOpen

ROUNDS = 5  # when somebody else is at the same image
CROWDED_ROUNDS = 16  # or at anything of the same user
QUERIES_AT_ONCE = 8  # for checksums


class DynamoDbImageRepository:
    def __init__(self, table: Table, *, quota: Quota = UNLIMITED) -> None:
        self._table = table
        self._quota = quota
        self._has_quota = quota != UNLIMITED
        # With a quota, all that add and remove images of a user are at the same counter.
        self._attempts, self._rounds = (CROWDED_ATTEMPTS, CROWDED_ROUNDS) if self._has_quota else (ATTEMPTS, ROUNDS)
        self._counters = Counters(table, quota=quota)
        self._uploads = DynamoDbUploadRepository(table)
        self._claims = DynamoDbClaimRepository(table)

    async def add(
        self, image: Image, *, return_duplicate: bool = False, completes: bool = False, claim: Claim | None = None
    ) -> Image:
        attempt = uuid.uuid4().hex
        for _ in range(self._rounds):
            duplicate = await self._oldest_duplicate(image) if return_duplicate else None
            committed = duplicate or image
            operations = [] if duplicate else self._puts(image, guarded=return_duplicate, attempt=attempt)
            if completes:
                operations.append(completed(self._table, image.image_id, committed.image_id, image.sha256))
            if claim:
                outcome = Outcome(committed, duplicate is None)
                operations.append(finished(self._table, claim, msgspec.json.encode(outcome)))
            try:
                if operations:
                    await self._table.write(operations, attempts=self._attempts)
            except ConditionFailed as error:
                record = await self._table.get(record_key(image.image_id))
                if not _is_ours(record, attempt):
                    await self._check_hold(image, completes, claim)
                    if not return_duplicate and (record or not self._has_quota):
                        raise StoreFailed(f"There is an image {image.image_id} already.") from error
                    if self._has_quota:
                        await self._check_quota(image, return_duplicate)
                    continue  # another upload of the same bytes has just won, and is found now; or there is room now
            if duplicate is None:
                await self._counters.count((image, 1))
            return committed
        raise StoreUnavailable("Too many uploads of the same bytes, or of the same user, at once.")

    async def _check_hold(self, image: Image, completes: bool, claim: Claim | None) -> None:
        """Raise ClaimLost or UploadNotOpen if that is why nothing could be committed."""
        if claim and not await self._claims.holds(claim):
            raise ClaimLost(claim.key)
        if completes:
            upload = await self._uploads.get(image.image_id)
            if upload is None or upload.completed or upload.sha256 not in (None, image.sha256):
                raise UploadNotOpen(image.image_id)

    async def _check_quota(self, image: Image, return_duplicate: bool) -> None:
        """Raise QuotaExceeded if that is why nothing could be committed."""
        refusal = self._quota.refusal(await self._counters.usage(image.user_id), image.size)
        # Looked for afterwards: what has just taken the last room may be the same bytes.
        if refusal and not (return_duplicate and await self._oldest_duplicate(image)):
            raise refusal

    def _puts(self, image: Image, *, guarded: bool, attempt: str) -> list[Item]:
        packed = pack(image)
        record = {**record_key(image.image_id), "image": packed, "guarded": guarded, "attempt": attempt}
        puts = [self._table.put(record, "attribute_not_exists(pk)")]
        puts += [self._table.put({**key, "image": packed}) for key in entry_keys(image)]
        if guarded:
            puts.append(self._table.put({**guard_key(image)}, "attribute_not_exists(pk)"))
        return [*puts, *self._counters.added(image)]

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
            if not _is_ours(await self._table.get(record_key(old.image_id)), attempt):
                return False  # it has changed, or is gone, since it was read
        await self._counters.count((old, -1), (new, 1))
        return True

    async def _oldest_duplicate(self, image: Image) -> Image | None:
        item = await self._oldest_entry(image.user_id, image.sha256)
        return unpack(item["image"]) if item else None

    async def _oldest_entry(self, user_id: str, sha256: str) -> Item | None:
        """Return the checksum entry of the user's oldest image with these bytes."""
        low, high = checksum_range(sha256)
        items, _ = await self._table.between(checksums(user_id), low, high, forward=True, limit=1)
        return items[0] if items else None

    async def get(self, image_id: str) -> Image | None:
        item = await self._table.get(record_key(image_id))
        return unpack(item["image"]) if item else None

    async def remove(self, image_id: str, *, owner: str | None = None) -> Image | None:
        for _ in range(self._rounds):
            item = await self._table.get(record_key(image_id))
            if item is None:
                return None
            image = unpack(item["image"])
            if owner not in (None, image.user_id):
                return None
            keys = [*entry_keys(image), *([guard_key(image)] if item["guarded"] else [])]
            deletes = [self._table.delete(record_key(image_id), *_unchanged(item))]
            deletes += [self._table.delete(key) for key in keys]
            deletes += await self._counters.removed(image)
            try:
                await self._table.write(deletes, attempts=self._attempts)
            except ConditionFailed:
                continue  # it has changed, or is gone, since it was read; or the counter of its owner has
            await self._counters.count((image, -1))
            return image
        raise StoreUnavailable("The image, or how many its owner has, keeps changing.")

    async def list(self, query: ImageQuery) -> Page:
        span = bounds(query)
        if span is None:
            return Page((), None)
        if query.tag_mode == "all" and len(query.tags) > 1:
            tags = await self._counters.rarest_first(query.user_id, query.tags)
            query = msgspec.structs.replace(query, tags=tags)
        candidates = Merged(self._table, query, *span)
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

    async def find_by_checksum(self, user_id: str, checksums: Sequence[str]) -> Mapping[str, str]:
        at_once = asyncio.Semaphore(QUERIES_AT_ONCE)

        async def find(sha256: str) -> Item | None:
            async with at_once:
                return await self._oldest_entry(user_id, sha256)

        try:
            async with asyncio.TaskGroup() as group:  # none goes on when one has failed
                finding = {sha256: group.create_task(find(sha256)) for sha256 in checksums}
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        entries = {sha256: task.result() for sha256, task in finding.items()}
        return {sha256: unpack(entry["image"]).image_id for sha256, entry in entries.items() if entry}

    async def ping(self) -> None:
        await self._table.get({"pk": "ping", "sk": "ping"})

    async def close(self) -> None:
        return


def _is_ours(record: Item | None, attempt: str) -> bool:
    """Tell whether the record is what this attempt wrote, whose first answer came too late."""
    return record is not None and record.get("attempt") == attempt


def _unchanged(item: Item) -> tuple[str, Item]:
    """Return the condition, and its values, that the image is as it was read: else its entries are others by now."""
    return "image = :image", {":image": item["image"]}


def _matches(image: Image, query: ImageQuery) -> bool:
    tags = set(image.tags)
    if tags & set(query.exclude_tags):
        return False
    return query.tag_mode == "any" or tags >= set(query.tags)
