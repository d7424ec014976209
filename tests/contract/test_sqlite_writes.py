"""Writes to SQLite: whole or not at all, together where they wait together, and never for ever."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from src.common.errors import StoreError, StoreFailed, StoreUnavailable
from src.models.image import Image
from src.models.page import ImageQuery, Page
from src.repositories import sqlite_database
from src.repositories.sqlite_database import SqliteDatabase
from src.repositories.sqlite_images import SqliteImageRepository
from src.repositories.sqlite_writer import MOST_JOBS_A_COMMIT
from tests.support.images import make_image, numbered_id, whole_list
from tests.support.sqlite import entries

pytestmark = pytest.mark.anyio


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a repository wait for other processes but shortly."""
    monkeypatch.setattr(sqlite_database, "BUSY_TIMEOUT", 0.05)


@pytest.fixture
def other(repository: SqliteImageRepository, place: Path) -> Iterator[sqlite3.Connection]:
    """What another process has open."""
    with closing(sqlite3.connect(place, isolation_level=None)) as connection:
        yield connection


async def finished(writes: Iterable[asyncio.Task[Image]]) -> list[Image | BaseException]:
    """Return what became of the writes. A writer that lost one would else be waited for without end."""
    return await asyncio.wait_for(asyncio.gather(*writes, return_exceptions=True), 10)


@asynccontextmanager
async def held(repository: SqliteImageRepository) -> AsyncIterator[None]:
    """Keep the writer busy, so that what is written in the block waits together and becomes one batch."""
    busy, go_on = threading.Event(), threading.Event()

    def job(_: sqlite3.Connection) -> None:
        busy.set()
        assert go_on.wait(10)

    holding = asyncio.create_task(repository._database.write(job))
    assert await asyncio.to_thread(busy.wait, 10)
    try:
        yield
    finally:
        go_on.set()
        await holding


async def started(*writes: Coroutine[object, object, Image]) -> list[asyncio.Task[Image]]:
    """Start writes and return when each is in the writer's queue."""
    tasks = [asyncio.create_task(write) for write in writes]
    await asyncio.sleep(0)  # one turn of the loop: a write runs up to its queue without waiting
    return tasks


async def trace(repository: SqliteImageRepository) -> list[str]:
    """Return a list to which the writer's statements are added."""
    statements: list[str] = []
    await repository._database.write(lambda connection: connection.set_trace_callback(statements.append))
    return statements


async def test_waiting_writes_share_a_commit(repository: SqliteImageRepository, place: Path) -> None:
    """What waits for the writer is committed together, sixty-four at a time."""
    images = [make_image(tags=("cat",)) for _ in range(200)]
    statements = await trace(repository)
    async with held(repository):
        writes = await started(*(repository.add(image) for image in images))
        statements.clear()
    assert await finished(writes) == images
    assert statements.count("COMMIT") == 1 + -(-len(images) // MOST_JOBS_A_COMMIT)
    assert entries(place) == {"images": 200, "image_tags": 200}


async def test_one_failure_does_not_spoil_its_batch(repository: SqliteImageRepository, place: Path) -> None:
    """A write that is refused fails alone; what was written with it, before and after, is committed."""
    taken = await repository.add(make_image())
    images = [make_image(tags=("cat",)) for _ in range(10)]
    images[4] = make_image(image_id=taken.image_id, user_id="bob", tags=("dog",))
    statements = await trace(repository)
    async with held(repository):
        writes = await started(*(repository.add(image) for image in images))
    answers = await finished(writes)
    assert statements.count("COMMIT") <= 3
    assert isinstance(answers.pop(4), StoreFailed)
    del images[4]
    assert answers == images
    assert await whole_list(repository, ImageQuery(order="oldest")) == [taken, *images]
    assert entries(place) == {"images": 10, "image_tags": 9}


async def test_an_image_is_written_wholly_or_not(repository: SqliteImageRepository, place: Path) -> None:
    """If a tag can't be written, neither is the record."""
    image = make_image(tags=("cat", "dog"))
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute("INSERT INTO image_tags VALUES ('dog', ?, 'bob')", (image.image_id,))
    with pytest.raises(StoreFailed) as caught:
        await repository.add(image)
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert entries(place) == {"image_tags": 1}


async def test_a_database_that_stays_locked(
    impatient: None, repository: SqliteImageRepository, other: sqlite3.Connection, place: Path
) -> None:
    """After the timeout a write fails with StoreUnavailable and did not happen; then the writer goes on."""
    seen = await repository.add(make_image())
    refused = [make_image(tags=("cat",)) for _ in range(3)]
    other.execute("BEGIN IMMEDIATE")
    answers = await finished(await started(*(repository.add(image) for image in refused)))
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3  # not OutcomeUnknown
    with pytest.raises(StoreUnavailable):
        await repository.remove(seen.image_id)
    assert await repository.list(ImageQuery()) == Page((seen,), None)  # who only reads does not wait
    other.execute("ROLLBACK")
    assert await repository.add(refused[0]) == refused[0]
    assert await repository.remove(seen.image_id) == seen
    assert entries(place) == {"images": 1, "image_tags": 1}


async def test_a_database_that_is_locked_for_a_moment(
    repository: SqliteImageRepository, other: sqlite3.Connection
) -> None:
    """A write waits for another process, and happens."""
    begun = threading.Event()
    await repository._database.write(
        lambda connection: connection.set_trace_callback(lambda text: begun.set() if text.startswith("BEGIN") else None)
    )
    other.execute("BEGIN IMMEDIATE")
    image = make_image()
    (write,) = await started(repository.add(image))
    assert await asyncio.to_thread(begun.wait, 10)
    assert not write.done()
    other.execute("ROLLBACK")
    assert await finished([write]) == [image]
    assert await repository.get(image.image_id) == image


async def test_a_commit_that_fails(repository: SqliteImageRepository, place: Path) -> None:
    """If the commit itself fails, so does everything in it, nothing of it is written, and the writer goes on."""
    with closing(sqlite3.connect(place)) as connection:
        # A deferred constraint is looked at when the transaction is committed, and leaves it open.
        connection.execute("CREATE TABLE parents (id PRIMARY KEY)")
        connection.execute("CREATE TABLE children (id REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
        connection.execute(
            "CREATE TRIGGER spoil AFTER INSERT ON images WHEN NEW.user_id = 'eve'"
            " BEGIN INSERT INTO children VALUES (1); END"
        )
    connections: list[sqlite3.Connection] = []
    await repository._database.write(connections.append)
    connections[0].execute("PRAGMA foreign_keys = ON")  # between two transactions, where alone it has an effect
    images = [make_image(user_id="eve" if i == 1 else "ann", tags=("cat",)) for i in range(3)]
    async with held(repository):
        writes = await started(*(repository.add(image) for image in images))
    assert [type(answer) for answer in await finished(writes)] == [StoreFailed] * 3
    assert await repository.list(ImageQuery()) == Page((), None)
    assert await repository.add(images[0]) == images[0]
    assert entries(place) == {"images": 1, "image_tags": 1}


async def test_a_full_disk(repository: SqliteImageRepository, place: Path) -> None:
    """A write for which there is no room fails and did not happen; what was acknowledged beside it did."""

    def allow(pages: int) -> Callable[[sqlite3.Connection], None]:
        return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").close()

    await repository.add(make_image())
    await repository._database.write(allow(1))  # SQLite raises it to the pages that there are
    images = [make_image(description="x" * (50_000 if i == 3 else 1)) for i in range(6)]
    async with held(repository):
        writes = await started(*(repository.add(image) for image in images))
    answers = await finished(writes)
    assert isinstance(answers[3], StoreFailed)
    for image, answer in zip(images, answers, strict=True):
        assert isinstance(answer, StoreError) or answer == image
        assert await repository.get(image.image_id) == (image if answer == image else None)
    await repository._database.write(allow(100_000))
    assert await repository.add(images[3]) == images[3]


async def test_who_goes_away_calls_nothing_back(repository: SqliteImageRepository) -> None:
    """A write whose caller is cancelled while it waits still happens, and the writer goes on."""
    images = [make_image() for _ in range(3)]
    async with held(repository):
        writes = await started(*(repository.add(image) for image in images))
        writes[1].cancel()
        await asyncio.wait(writes[1:2])
    first, cancelled, third = await finished(writes)
    assert (first, third) == (images[0], images[2])
    assert isinstance(cancelled, asyncio.CancelledError)
    assert await whole_list(repository, ImageQuery(order="oldest")) == images


async def test_closing_finishes_what_waits(repository: SqliteImageRepository, place: Path) -> None:
    """`close` comes after the writes that were asked for before it."""
    images = [make_image() for _ in range(100)]
    writes = await started(*(repository.add(image) for image in images))
    await repository.close()
    assert await finished(writes) == images
    assert entries(place)["images"] == 100


async def test_a_write_after_closing(place: Path) -> None:
    """Who writes to a repository that is closed is told so, and does not wait for ever."""
    repository = SqliteImageRepository(SqliteDatabase(place))
    await repository.close()
    for write in await started(repository.add(make_image()), repository.remove(numbered_id(0, 0))):
        (answer,) = await finished([write])
        assert isinstance(answer, StoreUnavailable)
