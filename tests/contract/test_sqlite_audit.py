"""Whether SQLite's entries and counters agree with its records, and what only SQL can get wrong."""

import asyncio
import datetime as dt
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from src.models.image import Image
from src.repositories import sqlite_audit
from src.repositories.sqlite_audit import SqliteAudit
from src.repositories.sqlite_database import SqliteDatabase
from src.repositories.sqlite_images import SqliteImageRepository
from tests.contract.audit import NOW, AuditContract, Opened, assert_right, findings
from tests.support.images import NOON, id_at, make_image, numbered_id
from tests.support.sqlite import seed

pytestmark = pytest.mark.anyio


class Entry(NamedTuple):
    tag: str
    image_id: str
    user_id: str


class Counter(NamedTuple):
    user_id: str
    tag: str | None


@contextmanager
def unnoticed(place: Path) -> Iterator[sqlite3.Connection]:
    """Open the database so that no trigger runs."""
    with closing(sqlite3.connect(place)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            yield connection
            for _, sql in triggers:
                connection.execute(sql)


class TestSqliteAudit(AuditContract[Path, Entry, Counter]):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "images.sqlite3"

    async def open(self, place: Path) -> Opened:
        database = SqliteDatabase(place)
        return Opened(SqliteImageRepository(database), SqliteAudit(database))

    def entries(self, image: Image) -> list[Entry]:
        return [Entry(tag, image.image_id, image.user_id) for tag in image.tags]

    def counter(self, image: Image, tag: str | None, *, of_all: bool) -> Counter:
        return Counter("" if of_all else image.user_id, tag)

    # Its counters count whatever entries there are, however they came: so they do here.

    def put_entry(self, place: Path, entry: Entry) -> None:
        with closing(sqlite3.connect(place)) as connection, connection:
            connection.execute("INSERT OR IGNORE INTO image_tags VALUES (?, ?, ?)", entry)

    def remove_entry(self, place: Path, entry: Entry) -> None:
        with closing(sqlite3.connect(place)) as connection, connection:
            connection.execute("DELETE FROM image_tags WHERE tag = ? AND image_id = ? AND user_id = ?", entry)

    def remove_record(self, place: Path, image: Image) -> None:
        with unnoticed(place) as connection:
            connection.execute("DELETE FROM images WHERE image_id = ?", (image.image_id,))

    def add_to(self, place: Path, counter: Counter, *, images: int, size: int) -> None:
        with closing(sqlite3.connect(place)) as connection, connection:
            if counter.tag is None:
                connection.execute(
                    "INSERT INTO usage VALUES (?, ?, ?) ON CONFLICT (user_id)"
                    " DO UPDATE SET images = images + excluded.images, bytes = bytes + excluded.bytes",
                    (counter.user_id, images, size),
                )
            else:
                connection.execute(
                    "INSERT INTO tag_counts VALUES (?, ?, ?) ON CONFLICT (user_id, tag)"
                    " DO UPDATE SET images = images + excluded.images",
                    (*counter, images),
                )

    def remove_counter(self, place: Path, counter: Counter) -> None:
        with closing(sqlite3.connect(place)) as connection, connection:
            if counter.tag is None:
                connection.execute("DELETE FROM usage WHERE user_id = ?", (counter.user_id,))
            else:
                connection.execute("DELETE FROM tag_counts WHERE user_id = ? AND tag = ?", counter)

    async def test_an_entry_that_no_counter_noticed(self, place: Path, opened: Opened) -> None:
        """One that is missing, and one that is too many."""
        image = await opened.repository.add(make_image(tags=("cat", "dog")))
        stray = Entry("sea", id_at(NOON), "ann")
        with unnoticed(place) as connection:
            connection.execute("DELETE FROM image_tags WHERE tag = 'dog'")
            connection.execute("INSERT INTO image_tags VALUES (?, ?, ?)", stray)
        async for finding in opened.audit.findings(NOW):
            await opened.audit.mend(finding)
        assert await findings(opened.audit) == []
        await assert_right(opened.repository, [image])

    async def test_an_entry_of_another_user(self, place: Path, opened: Opened) -> None:
        """It is not the image's own, which is missing."""
        image = await opened.repository.add(make_image(user_id="ann", tags=("cat",)))
        with closing(sqlite3.connect(place)) as connection, connection:
            connection.execute("DELETE FROM image_tags")
            connection.execute("INSERT INTO image_tags VALUES ('cat', ?, 'bob')", (image.image_id,))
        assert await self.reconciled(opened.audit) == ["entry without a record", "entry that is missing"]
        await assert_right(opened.repository, [image])

    async def test_a_counter_of_no_images(self, place: Path, opened: Opened) -> None:
        """A tag that nobody has would else be listed."""
        self.add_to(place, Counter("ann", "sea"), images=0, size=0)
        self.add_to(place, Counter("ann", None), images=0, size=0)
        assert await self.reconciled(opened.audit) == ["wrong counter"] * 2


async def test_it_does_not_take_longer_than_there_is_to_look_at(place: Path) -> None:
    """Four times the images, users, tags and errors are some four times the steps, not sixteen times."""
    steps = [await steps_for(place.with_name(str(number)), number) for number in (100, 400)]
    assert steps[1] < 6 * steps[0]


async def steps_for(place: Path, number: int) -> int:
    """Count the steps of SQLite's that it takes to look at images and mend as many counters."""
    database = SqliteDatabase(place)
    seed(
        place, *(make_image(image_id=numbered_id(i, 0), user_id=f"u{i}", tags=("cat", f"t{i}")) for i in range(number))
    )
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute("UPDATE tag_counts SET images = images + 1 WHERE user_id <> ''")
        connection.execute("UPDATE usage SET images = images + 1")
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    await database.write(lambda connection: connection.set_progress_handler(count, 50))
    database.reader.set_progress_handler(count, 50)
    audit = SqliteAudit(database)
    found = [finding async for finding in audit.findings(dt.datetime.now(dt.UTC))]
    await asyncio.gather(*(audit.mend(finding) for finding in found))
    database.reader.set_progress_handler(None, 0)
    assert len(found) == 3 * number + 1
    assert await findings(audit) == []
    database.close()
    return steps


async def test_records_come_in_batches(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_audit, "BATCH", 7)
    database = SqliteDatabase(place)
    images = [make_image(image_id=numbered_id(i, 0)) for i in range(21)]
    seed(place, *images)
    assert [image async for image in SqliteAudit(database).records()] == images
    database.close()
