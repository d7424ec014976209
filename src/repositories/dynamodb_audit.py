"""Whether the items of the DynamoDB table agree with its own records.

A scan does not see the table at one moment: what looks wrong is looked at once more before it is reported. And a mend
depends on what was seen: where somebody has changed that since, it does nothing.
"""

import asyncio
import datetime as dt
import hashlib
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable

import msgspec

from ..common.ids import created_at, is_id
from ..models.finding import Finding
from ..models.image import Image
from .dynamodb_client import (
    ATTEMPTS,
    CONNECT_TIMEOUT,
    CROWDED_ATTEMPTS,
    READ_TIMEOUT,
    SCAN_PAGE,
    ConditionFailed,
    Table,
)
from .dynamodb_counters import TIME, additions, counted_partition, is_usage
from .dynamodb_items import Item, Key, checksum_range, entry_keys, guard_key, record_key, unpack

# Seconds after which a commit has certainly reached its counters, or never will: it may be told of late, and then
# count for TIME, and an addition that was given up may still be on its way.
SETTLE = ATTEMPTS * (CONNECT_TIMEOUT + READ_TIMEOUT) + TIME + CONNECT_TIMEOUT + READ_TIMEOUT + 1.5
ROUNDS = 3  # in which a counter is looked at

log = logging.getLogger(__name__)

type Names = tuple[str, str]


class DynamoDbAudit:
    def __init__(self, table: Table, *, settle: float = SETTLE) -> None:
        self._table = table
        self._settle = settle

    async def records(self) -> AsyncIterator[Image]:
        async for item in self._table.scan():
            if _is_record(item):
                yield unpack(item["image"])

    async def findings(self, before: dt.datetime) -> AsyncIterator[Finding]:
        survey = _Survey()
        async for item in self._table.scan():
            survey.expect(item)
        async for item in self._table.scan():
            survey.compare(item)
        doubtful: dict[str, set[str]] = {}  # by partition, the entries whose word counters can't take
        async for key, odd in self._odd_entries(survey, before):
            doubtful.setdefault(key["pk"], set()).add(key["sk"])
            if odd:
                yield odd
        for names in survey.odd_guards:
            if not await self._is_guarded(key := _key_of(names)) and await self._table.get(key):
                yield Finding(kind="entry without a record", what=names[1], detail=names[0], handle=key)
        for names, image_id in survey.guards.items():
            if finding := await self._missing(image_id, _key_of(names), before):
                yield finding
        async for finding in self._wrong_counters(survey.odd_counters(), doubtful):
            yield finding

    async def _odd_entries(self, survey: "_Survey", before: dt.datetime) -> AsyncIterator[tuple[Key, Finding | None]]:
        """Yield what looked wrong, and what it is if it is wrong indeed and old enough."""
        for key in survey.odd_entries:
            yield key, await self._odd_entry(key, before)
        for image_id, number in survey.missing.items():
            record = await self._table.get(record_key(image_id)) if number else None
            for key in entry_keys(unpack(record["image"])) if record else ():
                yield key, await self._missing(image_id, key, before)

    async def _odd_entry(self, key: Key, before: dt.datetime) -> Finding | None:
        image_id = _id_of(key)
        if is_id(image_id) and created_at(image_id) >= before:
            return None
        record, entry = await self._together(image_id, key)
        if entry is None:
            return None
        detail = f"{key['pk']} {key['sk']}"
        if record is None:
            mend = [
                self._table.check(record_key(image_id), "attribute_not_exists(pk)"),
                self._table.delete(key, *_is("image", entry["image"])),
            ]
            return Finding(kind="entry without a record", what=image_id, detail=detail, handle=mend)
        image = unpack(record["image"])
        is_wanted = key in entry_keys(image)
        if (is_wanted and entry["image"] == record["image"]) or image.updated_at >= before:
            return None
        mend = [
            self._table.check(record_key(image_id), *_is("image", record["image"])),
            self._table.put({**key, "image": record["image"]}) if is_wanted else self._table.delete(key),
        ]
        return Finding(kind="entry that is out of date", what=image_id, detail=detail, handle=mend)

    async def _missing(self, image_id: str, key: Key, before: dt.datetime) -> Finding | None:
        """Look whether an image lacks an entry that it wants, or its checksum guard."""
        record, entry = await self._together(image_id, key)
        if record is None or entry is not None:
            return None
        image = unpack(record["image"])
        is_guard = record["guarded"] and key == guard_key(image)
        if not (is_guard or key in entry_keys(image)) or image.updated_at >= before:
            return None
        item = {**key} if is_guard else {**key, "image": record["image"]}
        mend = [
            self._table.check(record_key(image_id), *_is("image", record["image"])),
            self._table.put(item, "attribute_not_exists(pk)"),
        ]
        detail = f"{key['pk']} {key['sk']}"
        return Finding(kind="entry that is missing", what=image_id, detail=detail, handle=mend)

    async def _together(self, image_id: str, key: Key) -> tuple[Item | None, Item | None]:
        """Return a record and an entry as they were at one moment; no entry, and no record, if there was none such.

        A record changes with its entries. If it does so just now it is younger than anybody's grace period; unless it
        is restored, with the times that it had: then it may see half of a commit, and to mend that does nothing.
        """
        record = await self._table.get(record_key(image_id))
        entry = await self._table.get(key)
        return (record, entry) if record == await self._table.get(record_key(image_id)) else (None, None)

    async def _is_guarded(self, key: Key) -> bool:
        """Tell whether an image was added as the only one with the checksum, or there are too many to look at."""
        low, high = checksum_range(key["sk"])
        entries, more = await self._table.between(key["pk"], low, high, forward=True, limit=SCAN_PAGE)
        records = [await self._table.get(record_key(_id_of(_key(entry)))) for entry in entries]
        return more or any(record and record["guarded"] for record in records)

    async def _wrong_counters(self, keys: Iterable[Key], doubtful: dict[str, set[str]]) -> AsyncIterator[Finding]:
        """Yield counters that are wrong and have come to rest: a moment's difference is what is just being added.

        Those that don't come to rest, since others add to them all the time, are left.
        """
        unsettled = list(keys)
        for _ in range(ROUNDS):
            measures = [(key, await self._measure(key, doubtful)) for key in unsettled]
            measures = [(key, measure) for key, measure in measures if measure is None or measure.drift]
            if not measures:
                return
            await asyncio.sleep(self._settle)
            unsettled = []
            for key, measure in measures:
                if measure is None or await self._measure(key, doubtful) != measure:
                    unsettled.append(key)
                    continue
                detail = ", ".join(f"{-number:+} {name}" for name, number in measure.drift.items())
                what = f"{key['pk']} {key['sk']}"
                yield Finding(kind="wrong counter", what=what, detail=detail, handle=[self._recount(key, measure)])
        for key in unsettled:
            log.warning("a counter keeps changing: it may be wrong", extra={"counter": f"{key['pk']} {key['sk']}"})

    async def _measure(self, key: Key, doubtful: dict[str, set[str]]) -> "_Measure | None":
        """Count what a counter counts; None if others add to it meanwhile."""
        partition = counted_partition(key)
        asked = doubtful.get(partition, set())
        counted = await self._table.get(key)
        images = size = 0
        ids = hashlib.blake2b()
        async for image in self._listed(partition, asked):
            images += 1
            size += image.size
            ids.update(image.image_id.encode())
        if await self._table.get(key) != counted:
            return None
        true = {"images": images, "bytes": size} if is_usage(key) else {"images": images}
        return _Measure(dict(counted) if counted else {}, true, ids.digest())

    async def _listed(self, partition: str, doubtful: Collection[str]) -> AsyncIterator[Image]:
        """Yield what a partition lists; for the images in doubt, what their records say that it does."""
        async for item in self._table.partition(partition):
            if item["sk"] not in doubtful:
                yield unpack(item["image"])
        for image_id in sorted(doubtful):
            record = await self._table.get(record_key(image_id))
            if record and {"pk": partition, "sk": image_id} in entry_keys(image := unpack(record["image"])):
                yield image

    def _recount(self, key: Key, measure: "_Measure") -> Item:
        """Return the operation that corrects a counter, if it is as it was measured."""
        names = [name for name in ("images", "bytes") if name in measure.counted]
        condition = " AND ".join(f"{name} = :{name}" for name in names) or "attribute_not_exists(pk)"
        values = {f":{name}": measure.counted[name] for name in names} or None
        if not measure.true["images"]:
            return self._table.delete(key, condition, values)
        return self._table.put({**key, **measure.true}, condition, values)

    async def mend(self, finding: Finding) -> None:
        try:
            if isinstance(finding.handle, dict):
                await self._remove_guard(finding.handle)
            else:
                await self._table.write(finding.handle, attempts=CROWDED_ATTEMPTS)  # it may be a busy counter
        except ConditionFailed:
            return  # somebody has changed it since

    async def _remove_guard(self, key: Key) -> None:
        """Remove a guard if no image has it. While it is there, none gets it: so it is marked, to know it again."""
        mark = {":mark": uuid.uuid4().hex}
        await self._table.write([self._table.update(key, "SET mark = :mark", "attribute_exists(pk)", mark)])
        if not await self._is_guarded(key):
            await self._table.write([self._table.delete(key, "mark = :mark", mark)])


class _Measure(msgspec.Struct, frozen=True):
    """A counter as it was found, what it has to count, and which images those are."""

    counted: Item
    true: dict[str, int]
    ids: bytes

    @property
    def drift(self) -> dict[str, int]:
        """By how much the counter is short."""
        drift = {name: self.true.get(name, 0) - int(self.counted.get(name, 0)) for name in ("images", "bytes")}
        return {name: number for name, number in drift.items() if number}


class _Survey(msgspec.Struct):
    """What the records want there to be, and what there is instead."""

    records: dict[str, int] = {}  # by id, the hash of the image, which each of its entries carries whole
    missing: Counter[str] = msgspec.field(default_factory=Counter)
    guards: dict[Names, str] = {}  # those that are missing, with the id of the image that has it
    odd_entries: list[Key] = []
    odd_guards: list[Names] = []
    expected: dict[Names, Counter[str]] = {}
    counted: dict[Names, Counter[str]] = {}

    def expect(self, item: Item) -> None:
        if not _is_record(item):
            return
        image = unpack(item["image"])
        self.records[image.image_id] = hash(item["image"])
        self.missing[image.image_id] = len(entry_keys(image))
        if item["guarded"]:
            self.guards[_names(guard_key(image))] = image.image_id
        for key, amounts in additions(image, 1):
            self.expected.setdefault(_names(key), Counter()).update(amounts)

    def compare(self, item: Item) -> None:
        if _is_entry(item):
            image_id, key = _id_of(_key(item)), _key(item)
            if self.records.get(image_id) == hash(item["image"]) and key in entry_keys(unpack(item["image"])):
                self.missing[image_id] -= 1
            else:
                self.odd_entries.append(key)
        elif _is_guard(item):
            if self.guards.pop(_names(item), None) is None:
                self.odd_guards.append(_names(item))
        elif _is_counter(item):
            self.counted[_names(item)] = Counter({name: int(item.get(name, 0)) for name in ("images", "bytes")})

    def odd_counters(self) -> list[Key]:
        names = sorted(self.expected.keys() | self.counted.keys())
        return [_key_of(n) for n in names if self.expected.get(n, Counter()) != self.counted.get(n, Counter())]


def _is(name: str, value: object) -> tuple[str, Item]:
    return f"{name} = :{name}", {f":{name}": value}


def _key(item: Item) -> Key:
    return {"pk": item["pk"], "sk": item["sk"]}


def _key_of(names: Names) -> Key:
    return {"pk": names[0], "sk": names[1]}


def _names(item: Item) -> Names:
    return item["pk"], item["sk"]


def _id_of(entry: Key) -> str:
    return entry["sk"].rpartition("#")[2]


def _is_record(item: Item) -> bool:
    return item["sk"] == "image" and "image" in item


def _is_entry(item: Item) -> bool:
    return "image" in item and not _is_record(item)


def _is_guard(item: Item) -> bool:
    return item["pk"].startswith("user#") and item["pk"].endswith("#sha256") and "image" not in item


def _is_counter(item: Item) -> bool:
    return item["pk"].endswith(("#tags", "#usage")) and "images" in item
