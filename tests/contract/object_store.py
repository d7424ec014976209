"""What every ObjectStore promises. A backend's own file says only how to make one and how to go behind its back."""

import asyncio
import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.exceptions import GenericError

from src.common.errors import ObjectNotFound, StoreError
from src.common.payload import SPOOL_LIMIT, Payload
from src.repositories.ports import ObjectInfo, ObjectStore
from tests.support.payloads import PART, BrokenFile, GatedFile, buffered, some_bytes, spooled

KEY = "originals/ab/0190a6e2-0000-7000-8000-0000000000ab.jpg"
JPEG = "image/jpeg"
SIZES = {
    "one byte": 1,
    "64 KiB": 64 * 1024,
    "all that is kept in memory": SPOOL_LIMIT,
    "a byte more": SPOOL_LIMIT + 1,
    "a part": PART,
    "more than a part": PART + 1_000_001,
}


class ObjectStoreContract[Place](ABC):
    """The suite. `Place` is where a backend keeps its objects: a directory, or a bucket and how to reach it.

    A subclass also has a fixture `place`, a new and empty one for each test.
    """

    pytestmark = pytest.mark.anyio

    @abstractmethod
    def make(self, place: Place) -> ObjectStore:
        """Return a store of the objects in `place`."""

    @abstractmethod
    def seed(self, place: Place, key: str, data: bytes) -> None:
        """Store an object without any code of the adapter's."""

    @abstractmethod
    def stored(self, place: Place) -> Mapping[str, bytes]:
        """Return all that is stored, by key, also what is unfinished, without any code of the adapter's."""

    def break_reading(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the store fail in the middle of whatever is read from it next, as a lost connection does."""
        get = obstore.get_async

        async def get_half(*arguments: Any, **options: Any) -> "HalfAnAnswer":
            return HalfAnAnswer(await get(*arguments, **options))

        monkeypatch.setattr("src.repositories.object_store.obstore.get_async", get_half)

    @pytest.fixture
    def objects(self, place: Place) -> ObjectStore:
        return self.make(place)

    # Writing

    @pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
    @pytest.mark.parametrize("make_payload", [Payload.of, buffered, spooled])
    async def test_put_stores_the_bytes(
        self, objects: ObjectStore, place: Place, make_payload: Callable[[bytes], Payload], size: int
    ) -> None:
        """What was put is stored byte for byte, whatever was read of the payload before; it can be read again after."""
        data = some_bytes(size)
        with closing(make_payload(data)) as payload:
            payload.open().read(10)
            await objects.put(KEY, payload, content_type=JPEG)
            assert self.stored(place) == {KEY: data}
            assert payload.open().read() == data

    async def test_many_puts_at_once(self, objects: ObjectStore, place: Place) -> None:
        """Objects that are put together don't mix, also where they share new directories."""
        wanted = {f"originals/{i % 4:02x}/{i}.jpg": some_bytes(1_000 + i) for i in range(24)}
        await asyncio.gather(*(put(objects, key, Payload.of(data)) for key, data in wanted.items()))
        assert self.stored(place) == wanted

    async def test_nothing_is_visible_before_put_is_done(self, objects: ObjectStore) -> None:
        """While an object is being written there is nothing to list, measure or read; then all of it."""
        data = some_bytes(2 * PART + 1)
        file = GatedFile(data)
        writing = asyncio.create_task(put(objects, KEY, Payload(file, len(data))))
        try:
            assert await asyncio.to_thread(file.reached.wait, 10)
            assert await listed(objects, "originals/") == {}
            with pytest.raises(ObjectNotFound):
                await objects.head(KEY)
            with pytest.raises(ObjectNotFound):
                await read(objects, KEY, 0, 1)
            assert not writing.done()
        finally:
            file.opened.set()
            await writing
        assert list(await listed(objects, "originals/")) == [KEY]
        assert await read(objects, KEY, 0, len(data)) == data

    @pytest.mark.parametrize("size", [1, PART + 1])
    async def test_create_stores_what_is_not_there(self, objects: ObjectStore, place: Place, size: int) -> None:
        """Byte for byte; and what is there stays as it is."""
        data = some_bytes(size)
        assert await create(objects, KEY, Payload.of(data)) is True
        assert self.stored(place) == {KEY: data}
        for other in (Payload.of(data), Payload.of(b"other"), spooled(some_bytes(PART + 2))):
            assert await create(objects, KEY, other) is False
        assert self.stored(place) == {KEY: data}
        await objects.delete(KEY)
        assert await create(objects, KEY, Payload.of(b"other")) is True
        assert self.stored(place) == {KEY: b"other"}

    async def test_of_ten_that_create_an_object_at_once_one_does(self, objects: ObjectStore, place: Place) -> None:
        data = [some_bytes(70_000 + number) for number in range(10)]
        created = await asyncio.gather(*(create(objects, KEY, Payload.of(each)) for each in data))
        assert sorted(created) == [False] * 9 + [True]
        assert self.stored(place) == {KEY: data[created.index(True)]}

    async def test_a_failed_put_leaves_nothing(self, objects: ObjectStore, place: Place) -> None:
        """If the payload can't be read to its end, nothing is visible, nor any part left in the store."""
        size = 2 * PART + 1
        with pytest.raises(StoreError) as caught:
            await put(objects, KEY, Payload(BrokenFile(some_bytes(size)), size))
        assert caught.value.__cause__ is not None
        assert await listed(objects, "originals/") == {}
        with pytest.raises(ObjectNotFound):
            await objects.head(KEY)
        assert self.stored(place) == {}

    async def test_a_failed_put_can_be_repeated(self, objects: ObjectStore, place: Place) -> None:
        """After a failure the same key can be written."""
        data = some_bytes(2 * PART)
        with pytest.raises(StoreError):
            await put(objects, KEY, Payload(BrokenFile(data), len(data)))
        await put(objects, KEY, spooled(data))
        assert self.stored(place) == {KEY: data}

    # Reading

    async def test_head_tells_of_an_object(self, objects: ObjectStore, place: Place) -> None:
        """`head` says the size, a quoted etag and when it was written, the same each time."""
        self.seed(place, KEY, b"twelve bytes")
        info = await objects.head(KEY)
        assert (info.key, info.size) == (KEY, 12)
        assert len(info.etag) > 2
        assert info.etag[0] == info.etag[-1] == '"'
        assert '"' not in info.etag[1:-1]
        assert abs(dt.datetime.now(dt.UTC) - info.modified_at) < dt.timedelta(minutes=5)
        assert await objects.head(KEY) == info

    async def test_etags_tell_objects_apart(self, objects: ObjectStore) -> None:
        """Objects of different bytes have different etags, even of the same size."""
        for i in range(5):
            await put(objects, f"originals/ab/{i}.jpg", Payload.of(bytes([i]) * 100))
        assert len({info.etag for info in (await listed(objects, "originals/")).values()}) == 5

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            (0, 2_000_003),
            (0, 1),
            (2_000_002, 2_000_003),
            (1, 2_000_002),
            (262_143, 262_145),
            (262_144, 524_288),
            (999_999, 1_700_000),
            (0, 0),
            (17, 17),
            (2_000_003, 2_000_003),
        ],
    )
    async def test_read_yields_a_range(self, objects: ObjectStore, place: Place, start: int, end: int) -> None:
        """`read` yields the bytes from `start` to before `end`, no others, and never an empty piece."""
        data = some_bytes(2_000_003)
        self.seed(place, KEY, data)
        chunks = [chunk async for chunk in objects.read(KEY, start, end)]
        assert b"".join(chunks) == data[start:end]
        assert all(type(chunk) is bytes and chunk for chunk in chunks)

    async def test_read_holds_no_large_object_in_memory(self, objects: ObjectStore, place: Place) -> None:
        """A large object comes in pieces, and whoever has seen enough may stop."""
        data = some_bytes(8 * 1024 * 1024)
        self.seed(place, KEY, data)
        chunks = objects.read(KEY, 0, len(data))
        first = await anext(aiter(chunks))
        assert data.startswith(first)
        assert len(first) <= PART
        await chunks.aclose()  # type: ignore[attr-defined]
        assert await read(objects, KEY, 0, len(data)) == data

    async def test_what_is_not_there(self, objects: ObjectStore, place: Place) -> None:
        """`head` and `read` raise ObjectNotFound, also for what is only the beginning of a key."""
        self.seed(place, KEY, b"data")
        for missing in ("originals/ab/other.jpg", "elsewhere/ab.jpg", "originals/ab", "originals", f"{KEY}2", KEY[:-1]):
            with pytest.raises(ObjectNotFound):
                await objects.head(missing)
            with pytest.raises(ObjectNotFound):
                await read(objects, missing, 0, 4)

    @pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
    async def test_fetch_returns_the_bytes(self, objects: ObjectStore, place: Place, size: int) -> None:
        """A payload of all the bytes, to be read as often as one likes, in whichever way, and then closed."""
        data = some_bytes(size)
        self.seed(place, KEY, data)
        before = open_files()
        payload = await objects.fetch(KEY)
        with closing(payload):
            assert payload.size == size
            assert payload.open().read() == data
            content = payload.content()
            assert (content if isinstance(content, bytes) else content.read()) == data
            assert payload.ends(1) == (data[:1], data[-1:])
        assert open_files() == before

    async def test_what_was_fetched_outlives_the_object(self, objects: ObjectStore, place: Place) -> None:
        """Whoever has fetched an object has all of it, whatever happens to the object then."""
        data = some_bytes(2 * SPOOL_LIMIT)
        self.seed(place, KEY, data)
        with closing(await objects.fetch(KEY)) as payload:
            await objects.delete(KEY)
            assert payload.open().read() == data

    async def test_fetch_of_what_is_not_there(self, objects: ObjectStore, place: Place) -> None:
        """ObjectNotFound, also for what is only the beginning of a key."""
        self.seed(place, KEY, b"data")
        for missing in ("originals/ab/other.jpg", "elsewhere/ab.jpg", "originals/ab", "originals", f"{KEY}2", KEY[:-1]):
            with pytest.raises(ObjectNotFound):
                await objects.fetch(missing)

    async def test_a_fetch_that_breaks_off(
        self, objects: ObjectStore, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """StoreError, and no file of what had come by then is left open."""
        self.seed(place, KEY, some_bytes(3 * SPOOL_LIMIT))
        before = open_files()
        self.break_reading(place, monkeypatch)
        with pytest.raises(StoreError) as caught:
            await objects.fetch(KEY)
        assert caught.value.__cause__ is not None
        assert open_files() == before

    # Listing

    async def test_list_yields_what_is_below_a_prefix(self, objects: ObjectStore, place: Place) -> None:
        """`list` yields every object below the prefix, however deep, and none whose key only looks similar."""
        below = {f"originals/ab/{name}": name.encode() for name in ("1.jpg", "2.jpg", "deep/3.jpg", "deep/er/4.jpg")}
        others = ("originals/abc/5.jpg", "originals/a/6.jpg", "originals/ab.jpg", "renditions/ab/7.jpg")
        for key, data in below.items():
            self.seed(place, key, data)
        for key in others:
            self.seed(place, key, b"other")
        found = await listed(objects, "originals/ab/")
        assert {key: info.size for key, info in found.items()} == {key: len(data) for key, data in below.items()}
        assert set(await listed(objects, "originals/")) == {*below, *others[:3]}
        for key, info in found.items():
            assert await objects.head(key) == info

    async def test_list_of_nothing(self, objects: ObjectStore, place: Place) -> None:
        """Below a prefix that nothing has there is nothing; that is no error."""
        assert await listed(objects, "originals/") == {}
        self.seed(place, KEY, b"data")
        assert await listed(objects, "renditions/") == {}
        assert await listed(objects, "originals/a/") == {}
        assert await listed(objects, f"{KEY}/") == {}

    async def test_list_yields_more_than_a_page(self, objects: ObjectStore, place: Place) -> None:
        """A list has no end before the last object, however the store divides it."""
        keys = {f"originals/{i % 256:02x}/{i}.jpg" for i in range(1_100)}
        for key in keys:
            self.seed(place, key, b"x")
        found = [info.key async for info in objects.list("originals/")]
        assert len(found) == len(keys)
        assert set(found) == keys

    async def test_list_while_objects_come_and_go(self, objects: ObjectStore, place: Place) -> None:
        """What is there during the whole list is listed once, whatever else is deleted or written meanwhile."""
        stay = {f"originals/{i % 16:02x}/{i}.jpg" for i in range(200)}
        go = {f"originals/{i % 16:02x}/{i}.gone.jpg" for i in range(200)}
        for key in stay | go:
            self.seed(place, key, b"x")
        found = []
        async for info in objects.list("originals/"):
            found.append(info.key)
            if len(found) == 1:
                for key in go - {info.key}:
                    await objects.delete(key)
                await put(objects, "originals/ff/new.jpg", Payload.of(b"x"))
        assert len(found) == len(set(found))
        assert stay <= set(found) <= stay | go | {"originals/ff/new.jpg"}

    # Deleting

    async def test_delete_removes_the_object_and_no_other(self, objects: ObjectStore, place: Place) -> None:
        """A deleted object can't be measured, read or listed; its neighbours can."""
        other = "originals/ab/other.jpg"
        self.seed(place, KEY, b"data")
        self.seed(place, other, b"other")
        await objects.delete(KEY)
        assert self.stored(place) == {other: b"other"}
        assert list(await listed(objects, "originals/")) == [other]
        with pytest.raises(ObjectNotFound):
            await objects.head(KEY)
        with pytest.raises(ObjectNotFound):
            await read(objects, KEY, 0, 4)

    async def test_delete_may_be_repeated(self, objects: ObjectStore, place: Place) -> None:
        """To delete what is not there, or not any more, is no error; also where several do it at once."""
        await objects.delete("originals/nowhere/to/be/found.jpg")
        self.seed(place, KEY, b"data")
        await asyncio.gather(*(objects.delete(KEY) for _ in range(5)))
        await objects.delete(KEY)
        assert self.stored(place) == {}

    async def test_a_deleted_key_can_be_written_again(self, objects: ObjectStore, place: Place) -> None:
        """A key can be used again after its object was deleted."""
        await put(objects, KEY, Payload.of(b"first"))
        await objects.delete(KEY)
        await put(objects, KEY, Payload.of(b"second"))
        assert self.stored(place) == {KEY: b"second"}

    async def test_delete_below_removes_all_and_only_that(self, objects: ObjectStore, place: Place) -> None:
        """However deep it is; what only begins alike stays: ID1 is not ID10, and originals are no renditions."""
        below = [f"renditions/ab/ID1/{name}" for name in ("1x1.webp", "2x2.q80.webp", "3x3.png", "deep/er/4x4.png")]
        others = {
            f"{key}": key.encode()
            for key in (
                "renditions/ab/ID10/1x1.webp",
                "renditions/ab/ID/1x1.webp",
                "renditions/ab/ID1.webp",
                "renditions/a/ID1/1x1.webp",
                "originals/ab/ID1.jpg",
                "ID1/1x1.webp",
            )
        }
        for key in (*below, *others):
            self.seed(place, key, key.encode())
        await objects.delete_below("renditions/ab/ID1/")
        assert self.stored(place) == others
        assert await listed(objects, "renditions/ab/ID1/") == {}
        for key in below:
            with pytest.raises(ObjectNotFound):
                await objects.head(key)

    async def test_delete_below_where_there_is_nothing(self, objects: ObjectStore, place: Place) -> None:
        """That is no error, nor is it the second time, or when several do it at once."""
        await objects.delete_below("renditions/ab/ID1/")
        self.seed(place, KEY, b"data")
        self.seed(place, "renditions/ab/ID1/1x1.webp", b"data")
        for prefix in ("renditions/ab/", "renditions/ab/", "renditions/", "renditions/cd/", f"{KEY[:-4]}/"):
            await objects.delete_below(prefix)
        assert self.stored(place) == {KEY: b"data"}

    async def test_delete_below_of_many(self, objects: ObjectStore, place: Place) -> None:
        """All are gone, also where several delete them at once, and the keys can be written again."""
        keys = [f"renditions/ab/ID1/{i}x{i}.webp" for i in range(1, 31)]
        for key in keys:
            self.seed(place, key, b"data")
        await asyncio.gather(*(objects.delete_below("renditions/ab/ID1/") for _ in range(2)))
        assert self.stored(place) == {}
        await put(objects, keys[0], Payload.of(b"again"))
        assert self.stored(place) == {keys[0]: b"again"}

    async def test_whoever_writes_and_deletes_leaves_nothing(self, objects: ObjectStore, place: Place) -> None:
        """Of several that each write an object and then delete all, the last one leaves nothing, whoever it is."""

        async def write_and_delete(i: int) -> None:
            # Either may fail where the others delete. A write did not happen then, and whoever is last does not fail.
            with suppress(StoreError):
                await put(objects, f"renditions/ab/ID1/{i}x{i}.webp", Payload.of(bytes(1_000)))
                await objects.delete_below("renditions/ab/ID1/")

        await asyncio.gather(*(write_and_delete(i) for i in range(1, 7)))
        assert self.stored(place) == {}

    # What is left of writes that broke off

    async def test_nothing_is_left_over(self, objects: ObjectStore, place: Place) -> None:
        """Objects are no leftovers, whatever they are called, nor are writes that failed."""
        assert [info async for info in objects.leftovers()] == []
        for key in (KEY, "renditions/ab/ID1/1x1.webp", "incoming/ab/1", "originals/ab/name#", "originals/a#b/name#x1"):
            self.seed(place, key, b"data")
        with pytest.raises(StoreError):
            await put(objects, "originals/ab/2.jpg", Payload(BrokenFile(some_bytes(2 * PART)), 2 * PART))
        assert [info async for info in objects.leftovers()] == []

    @pytest.mark.parametrize("name", ["a b.jpg", "Ü 写真.jpg", "50%.jpg", "x%20y.jpg", "a#b.jpg", "~", ".hidden", "no"])
    async def test_what_is_listed_can_be_deleted(self, objects: ObjectStore, place: Place, name: str) -> None:
        """Also what nobody of us has stored there."""
        for key in (f"originals/ab/{name}", f"originals/ab/{name}2", f"originals/{name}3"):
            self.seed(place, key, b"data")
        keys = sorted(await listed(objects, "originals/"))
        assert len(keys) == 3
        await objects.delete(keys[0])
        assert sorted(await listed(objects, "originals/")) == keys[1:]
        assert len(self.stored(place)) == 2

    async def test_stores_of_one_place_agree(self, objects: ObjectStore, place: Place) -> None:
        """What one store wrote, another of the same place reads, lists and deletes."""
        other = self.make(place)
        await put(objects, KEY, Payload.of(b"data"))
        assert await read(other, KEY, 0, 4) == b"data"
        assert await other.head(KEY) == await objects.head(KEY)
        await other.delete(KEY)
        assert await listed(objects, "originals/") == {}

    async def test_ping_answers(self, objects: ObjectStore, place: Place) -> None:
        """`ping` returns, empty store or not, and leaves nothing in it."""
        await objects.ping()
        self.seed(place, KEY, b"data")
        await objects.ping()
        assert self.stored(place) == {KEY: b"data"}


class HalfAnAnswer:
    """An answer of obstore's whose connection is lost half-way."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def stream(self, **options: Any) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._answer.stream(**options):
            yield chunk
            size += len(chunk)
            if size > self._answer.meta["size"] // 2:
                raise GenericError("connection reset")


def open_files() -> set[tuple[str, str]]:
    """Return the files that this process has open, each with its descriptor."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # that of the listing itself
            continue
        if target.startswith("/") and not target.startswith(("/proc/", "/dev/")):
            found.add((entry.name, target))
    return found


async def put(objects: ObjectStore, key: str, payload: Payload) -> None:
    with closing(payload):
        await objects.put(key, payload, content_type=JPEG)


async def create(objects: ObjectStore, key: str, payload: Payload) -> bool:
    with closing(payload):
        return await objects.create(key, payload, content_type=JPEG)


async def listed(objects: ObjectStore, prefix: str) -> dict[str, ObjectInfo]:
    found = [info async for info in objects.list(prefix)]
    keys = [info.key for info in found]
    assert len(set(keys)) == len(keys), "listed twice"
    return dict(zip(keys, found, strict=True))


async def read(objects: ObjectStore, key: str, start: int, end: int) -> bytes:
    return b"".join([chunk async for chunk in objects.read(key, start, end)])
