"""Uploads and deletions on real stores that fail, hang, answer late or lose their caller, at each step.

Whatever happens: where there is a record, there is its object, byte for byte.
"""

import asyncio
import hashlib
import sqlite3
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import (
    DimensionsMismatch,
    ImageNotFound,
    OutcomeUnknown,
    PayloadTooLarge,
    ServiceError,
    StoreFailed,
    StoreUnavailable,
    TooManyPixels,
    UnacceptableImage,
    UnsupportedImageFormat,
)
from src.common.payload import Payload
from src.imaging.memory import MemoryBudget
from src.models.image import Image, NewImage, original_key
from src.models.page import ImageQuery
from src.repositories import local_objects, sqlite_database
from src.repositories.local_objects import LocalObjectStore
from src.repositories.sqlite_database import SqliteDatabase
from src.repositories.sqlite_images import SqliteImageRepository
from src.services.image_service import ImageService
from src.services.inspection import InspectionService
from src.services.room import Room
from tests.support.faults import Fault, Faulty, When
from tests.support.images import whole_list
from tests.support.pictures import picture

pytestmark = pytest.mark.anyio

PICTURE = picture("png")


class Home:
    """A service on stores that can be made to fail, and the stores themselves."""

    def __init__(self, directory: Path, cpu: ThreadPoolExecutor) -> None:
        self.database = directory / "images.sqlite3"
        self.files = directory / "objects"
        self.records = SqliteImageRepository(SqliteDatabase(self.database))
        self.calls: list[str] = []
        self.faulty_records = Faulty(self.records, self.calls)
        self.faulty_objects = Faulty(LocalObjectStore(self.files), self.calls)
        self.service = ImageService(
            repository=self.faulty_records,  # type: ignore[arg-type]
            objects=self.faulty_objects,  # type: ignore[arg-type]
            inspection=InspectionService(
                max_size=100_000, max_pixels=1_000_000, memory=MemoryBudget.for_pictures(1_000_000), cpu=cpu
            ),
            room=Room(self.records),
        )

    async def upload(self, data: bytes = PICTURE, **fields: Any) -> tuple[Image, bool]:
        outcome = await self.service.upload(NewImage(payload=Payload.of(data), tags=("cat",), **fields))
        return outcome.image, outcome.is_new

    async def images(self) -> list[Image]:
        return await whole_list(self.records, ImageQuery())

    def objects(self) -> dict[str, bytes]:
        paths = [path for path in self.files.rglob("*") if path.is_file()]
        return {path.relative_to(self.files).as_posix(): path.read_bytes() for path in paths}

    async def check(self, *, images: int, objects: int | None = None) -> None:
        """Check the invariant, that there are so many images, and so many objects unless more may be left behind.

        Then that the stores still work.
        """
        await self._check(images, objects)
        self.heal()
        another, new = await self.upload(picture("png", color=(1, 2, 3)), user_id="another")
        assert new
        await self._check(images + 1, None if objects is None else objects + 1)
        await self.service.delete(another.image_id, owner=None)
        await self._check(images, objects)

    async def _check(self, images: int, objects: int | None) -> None:
        stored = self.objects()
        listed = await self.images()
        for image in listed:
            data = stored[original_key(image.image_id, image.content_type)]
            assert len(data) == image.size
            assert hashlib.sha256(data).hexdigest() == image.sha256
            assert await self.records.get(image.image_id) == image
        assert await whole_list(self.records, ImageQuery(tags=("cat",))) == listed
        assert len(listed) == images
        assert len(stored) == objects if objects is not None else len(stored) >= images

    def heal(self) -> None:
        self.faulty_records.faults.clear()
        self.faulty_objects.faults.clear()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the writer wait for other processes but shortly."""
    monkeypatch.setattr(sqlite_database, "BUSY_TIMEOUT", 0.5)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    with ThreadPoolExecutor(1) as cpu:
        home = Home(tmp_path, cpu)
        yield home
        await home.records.close()


def an_error(kind: type[Exception]) -> Exception:
    return kind("as the test wants it")


REFUSALS = [StoreFailed, StoreUnavailable, RuntimeError]  # of which nobody can take a success
UNSURE = [*REFUSALS, OutcomeUnknown]


# Uploads


async def test_an_upload_stores_the_object_first(home: Home) -> None:
    """The object is stored before the record is committed: nothing else happens in an upload that succeeds."""
    image, new = await home.upload()
    assert new
    assert home.calls == ["put", "add"]
    assert home.objects() == {original_key(image.image_id, "image/png"): PICTURE}
    await home.check(images=1, objects=1)


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"data": b"no picture at all"}, UnsupportedImageFormat),
        ({"data": PICTURE[:-40]}, UnacceptableImage),
        ({"data": b""}, UnsupportedImageFormat),
        ({"data": PICTURE + bytes(100_000)}, PayloadTooLarge),
        ({"data": picture("png", 2_000, 1_000)}, TooManyPixels),
        ({"width": 63}, DimensionsMismatch),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_refused_picture_reaches_no_store(
    home: Home, fields: dict[str, Any], refusal: type[ServiceError]
) -> None:
    """What is not accepted is refused before anything is stored."""
    with pytest.raises(refusal):
        await home.upload(**fields)
    assert home.calls == []
    await home.check(images=0, objects=0)


@pytest.mark.parametrize("kind", UNSURE)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_object_is_not_stored(home: Home, when: When, kind: type[Exception]) -> None:
    """If `put` fails, having written or not, its error is raised, and neither object nor record is there."""
    error = an_error(kind)
    home.faulty_objects.faults["put"] = Fault(when, error)
    with pytest.raises(kind) as caught:
        await home.upload()
    assert caught.value is error
    assert "add" not in home.calls
    await home.check(images=0, objects=0)


@pytest.mark.parametrize("kind", REFUSALS)
async def test_the_record_is_not_written(home: Home, kind: type[Exception]) -> None:
    """If `add` fails, its error is raised, and the object is deleted again."""
    error = an_error(kind)
    home.faulty_records.faults["add"] = Fault("before", error)
    with pytest.raises(kind) as caught:
        await home.upload()
    assert caught.value is error
    assert home.calls == ["put", "add", "delete"]
    await home.check(images=0, objects=0)


async def test_the_record_may_be_written(home: Home) -> None:
    """If nobody can say whether `add` happened, the object stays: here it has happened, and the image is whole."""
    error = an_error(OutcomeUnknown)
    home.faulty_records.faults["add"] = Fault("after", error)
    with pytest.raises(OutcomeUnknown) as caught:
        await home.upload()
    assert caught.value is error
    (image,) = await home.images()
    assert home.objects() == {original_key(image.image_id, "image/png"): PICTURE}
    home.heal()
    assert await home.upload(return_duplicate=True) == (image, False)
    await home.check(images=1, objects=1)


async def test_the_record_may_not_be_written(home: Home) -> None:
    """If nobody can say whether `add` happened, and it has not, there is no image."""
    home.faulty_records.faults["add"] = Fault("before", an_error(OutcomeUnknown))
    with pytest.raises(OutcomeUnknown):
        await home.upload()
    await home.check(images=0)


@pytest.mark.parametrize("rollback", [StoreFailed, StoreUnavailable, OutcomeUnknown])
@pytest.mark.parametrize(("step", "when"), [("put", "after"), ("add", "before")])
@pytest.mark.parametrize("kind", REFUSALS)
async def test_neither_the_step_nor_its_rollback_works(
    home: Home, step: str, when: When, kind: type[Exception], rollback: type[Exception]
) -> None:
    """If the object can't be deleted either, the first error is raised, and there is still no image."""
    error = an_error(kind)
    store = home.faulty_objects if step == "put" else home.faulty_records
    store.faults[step] = Fault(when, error)
    home.faulty_objects.faults["delete"] = Fault("before", an_error(rollback))
    with pytest.raises(kind) as caught:
        await home.upload()
    assert caught.value is error
    assert home.calls[-1] == "delete"
    await home.check(images=0, objects=1)


async def test_the_writer_refuses_the_record(home: Home) -> None:
    """If the database itself refuses the record, nothing of the upload is left."""
    with closing(sqlite3.connect(home.database)) as connection:
        connection.execute("CREATE TRIGGER refuse BEFORE INSERT ON image_tags BEGIN SELECT RAISE(FAIL, 'no'); END")
    with pytest.raises(StoreFailed):
        await home.upload()
    assert (await home.images(), home.objects()) == ([], {})
    with closing(sqlite3.connect(home.database)) as connection:
        connection.execute("DROP TRIGGER refuse")
    await home.check(images=0, objects=0)


# Duplicates


@pytest.mark.parametrize("kind", [None, StoreFailed, StoreUnavailable, OutcomeUnknown])
async def test_the_object_of_a_duplicate(home: Home, kind: type[Exception] | None) -> None:
    """A duplicate leaves the existing image as it is, whether its own object can be deleted or not."""
    image, _ = await home.upload()
    if kind:
        home.faulty_objects.faults["delete"] = Fault("before", an_error(kind))
    assert await home.upload(return_duplicate=True) == (image, False)
    assert await home.images() == [image]
    await home.check(images=1, objects=2 if kind else 1)


async def test_a_duplicate_that_was_not_reported(home: Home) -> None:
    """If the answer is lost, the image that was there before is still whole."""
    image, _ = await home.upload()
    home.faulty_records.faults["add"] = Fault("after", an_error(OutcomeUnknown))
    with pytest.raises(OutcomeUnknown):
        await home.upload(return_duplicate=True)
    assert await home.images() == [image]
    await home.check(images=1)


async def test_ten_duplicates_at_once(home: Home) -> None:
    """Of several uploads of the same bytes at once one is the image, and the objects of the others are deleted."""
    uploads = await asyncio.gather(*(home.upload(return_duplicate=True) for _ in range(10)))
    assert sorted(new for _, new in uploads) == [False] * 9 + [True]
    assert len({image.image_id for image, _ in uploads}) == 1
    await home.check(images=1, objects=1)


# Cancelled uploads


@pytest.mark.parametrize(
    ("step", "when", "images"), [("put", "before", 0), ("put", "after", 0), ("add", "before", 0), ("add", "after", 1)]
)
async def test_an_upload_is_cancelled(home: Home, step: str, when: When, images: int) -> None:
    """Whoever gives up while a store hangs leaves an image that is whole, or none."""
    fault = Fault(when)
    store = home.faulty_objects if step == "put" else home.faulty_records
    store.faults[step] = fault
    await cancel(home.upload(), fault)
    await home.check(images=images)


async def test_an_upload_is_cancelled_while_its_object_is_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that writes goes on without its caller; whatever it still does, there is no image."""
    write, reached, go_on, done = local_objects._copy, asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait_and_write(*arguments: Any) -> None:
        loop.call_soon_threadsafe(reached.set)
        assert go_on.wait(10)
        try:
            write(*arguments)
        finally:
            done.set()

    monkeypatch.setattr(local_objects, "_copy", wait_and_write)
    payload = Payload.of(PICTURE)
    upload = asyncio.create_task(home.service.upload(NewImage(payload=payload, tags=("cat",))))
    await reached.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    payload.close()
    go_on.set()
    assert await asyncio.to_thread(done.wait, 10)
    assert set(home.objects().values()) <= {PICTURE}
    await home.check(images=0)


async def test_an_upload_is_cancelled_and_its_record_written(home: Home) -> None:
    """The writer goes on without its caller: as it commits after all, the object is there too."""
    with closing(sqlite3.connect(home.database, isolation_level=None)) as other:
        await cancel_while_locked(home, other)
        other.execute("ROLLBACK")
    await home.records.remove("nothing")  # comes after what the writer has to do
    await home.check(images=1, objects=1)


async def test_an_upload_is_cancelled_and_its_record_refused(impatient: None, home: Home) -> None:
    """The writer goes on without its caller: as it can't commit, there is no image."""
    with closing(sqlite3.connect(home.database, isolation_level=None)) as other:
        await cancel_while_locked(home, other)
        with pytest.raises(StoreUnavailable):
            await home.records.remove("nothing")  # comes after what the writer has to do
        other.execute("ROLLBACK")
    await home.check(images=0)


async def cancel_while_locked(home: Home, other: sqlite3.Connection) -> None:
    """Lock the database and cancel an upload while its commit waits for that."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def tell(statement: str) -> None:
        if statement.startswith("BEGIN"):
            loop.call_soon_threadsafe(begun.set)

    await home.records._database.write(lambda connection: connection.set_trace_callback(tell))
    other.execute("BEGIN IMMEDIATE")
    upload = asyncio.create_task(home.upload())
    await begun.wait()
    assert not upload.done()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload


async def cancel(operation: Any, fault: Fault) -> None:
    """Start an operation, and cancel it when it hangs."""
    task = asyncio.create_task(operation)
    reached = asyncio.create_task(fault.reached.wait())
    await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Deletions


async def test_a_deletion_removes_the_record_first(home: Home) -> None:
    """The record goes before the object, and nothing is left; to delete again is ImageNotFound."""
    image, _ = await home.upload()
    home.calls.clear()
    await home.service.delete(image.image_id, owner=None)
    assert home.calls == ["remove", "delete", "delete_below"]
    with pytest.raises(ImageNotFound):
        await home.service.delete(image.image_id, owner=None)
    assert home.calls == ["remove", "delete", "delete_below", "remove"]
    await home.check(images=0, objects=0)


@pytest.mark.parametrize("kind", [StoreFailed, StoreUnavailable, OutcomeUnknown])
@pytest.mark.parametrize(("when", "objects"), [("before", 1), ("after", 0)])
async def test_the_object_is_not_deleted(home: Home, when: When, objects: int, kind: type[Exception]) -> None:
    """If the object can't be deleted, the deletion has succeeded all the same: the record is gone."""
    image, _ = await home.upload()
    home.faulty_objects.faults["delete"] = Fault(when, an_error(kind))
    await home.service.delete(image.image_id, owner=None)
    with pytest.raises(ImageNotFound):
        await home.service.get(image.image_id, owner=None)
    with pytest.raises(ImageNotFound):
        await home.service.delete(image.image_id, owner=None)
    await home.check(images=0, objects=objects)


@pytest.mark.parametrize("kind", UNSURE)
async def test_the_record_is_not_removed(home: Home, kind: type[Exception]) -> None:
    """If the record can't be removed, the error is raised and the image is entirely intact."""
    image, _ = await home.upload()
    error = an_error(kind)
    home.faulty_records.faults["remove"] = Fault("before", error)
    with pytest.raises(kind) as caught:
        await home.service.delete(image.image_id, owner=None)
    assert caught.value is error
    assert "delete" not in home.calls
    assert await home.service.get(image.image_id, owner=None) == image
    await home.check(images=1, objects=1)


async def test_the_record_may_be_removed(home: Home) -> None:
    """If nobody can say whether the record was removed, and it was, there is no image; to try again says so."""
    image, _ = await home.upload()
    home.faulty_records.faults["remove"] = Fault("after", an_error(OutcomeUnknown))
    with pytest.raises(OutcomeUnknown):
        await home.service.delete(image.image_id, owner=None)
    home.heal()
    with pytest.raises(ImageNotFound):
        await home.service.delete(image.image_id, owner=None)
    await home.check(images=0)


@pytest.mark.parametrize(
    ("step", "when", "images"),
    [("remove", "before", 1), ("remove", "after", 0), ("delete", "before", 0), ("delete", "after", 0)],
)
async def test_a_deletion_is_cancelled(home: Home, step: str, when: When, images: int) -> None:
    """Whoever gives up while a store hangs leaves an image that is whole, or none."""
    image, _ = await home.upload()
    fault = Fault(when)
    store = home.faulty_objects if step == "delete" else home.faulty_records
    store.faults[step] = fault
    await cancel(home.service.delete(image.image_id, owner=None), fault)
    await home.check(images=images)


async def test_ten_deletions_at_once(home: Home) -> None:
    """Of several deletions of one image at once, one succeeds and the others find nothing."""
    image, _ = await home.upload()
    answers = await asyncio.gather(
        *(home.service.delete(image.image_id, owner=None) for _ in range(10)), return_exceptions=True
    )
    assert answers.count(None) == 1
    assert sum(isinstance(answer, ImageNotFound) for answer in answers) == 9
    await home.check(images=0, objects=0)


# Many at once


@pytest.mark.parametrize(("step", "when"), [("put", "before"), ("put", "after"), ("add", "before")])
async def test_some_of_many_uploads_fail(home: Home, step: str, when: When) -> None:
    """Of uploads that run together, those that were acknowledged are whole, and the others are not there."""
    store = home.faulty_objects if step == "put" else home.faulty_records
    store.faults[step] = Fault(when, an_error(StoreFailed), every=3)
    uploads = (home.upload(picture("png", color=(i, 0, 0))) for i in range(12))
    answers = await asyncio.gather(*uploads, return_exceptions=True)
    assert sum(isinstance(answer, StoreFailed) for answer in answers) == 4
    done = {answer[0].image_id for answer in answers if isinstance(answer, tuple)}
    assert {image.image_id for image in await home.images()} == done
    await home.check(images=8, objects=8)


async def test_some_of_many_deletions_fail(home: Home) -> None:
    """Of deletions that run together, those that failed leave their image intact, and the others nothing."""
    images = [(await home.upload(picture("png", color=(i, 0, 0))))[0] for i in range(12)]
    home.faulty_records.faults["remove"] = Fault("before", an_error(StoreUnavailable), every=3)
    deletions = (home.service.delete(image.image_id, owner=None) for image in images)
    answers = await asyncio.gather(*deletions, return_exceptions=True)
    left = [image for image, answer in zip(images, answers, strict=True) if isinstance(answer, StoreUnavailable)]
    assert len(left) == 4
    assert await whole_list(home.records, ImageQuery(order="oldest")) == left
    await home.check(images=4, objects=4)
