"""SQLite as an ImageRepository, and how it is opened."""

import asyncio
import itertools
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from src.common.errors import ConfigurationError
from src.models.image import Image
from src.models.page import ImageQuery, Page
from src.models.usage import Usage
from src.repositories import sqlite_schema
from src.repositories.sqlite_claims import SqliteClaimRepository
from src.repositories.sqlite_database import SqliteDatabase
from src.repositories.sqlite_images import SqliteImageRepository
from src.repositories.sqlite_schema import MIGRATIONS
from src.repositories.sqlite_uploads import SqliteUploadRepository
from tests.contract.image_repository import ImageRepositoryContract, tag_counts
from tests.support.images import make_image, whole_list
from tests.support.server import ROOT
from tests.support.sqlite import contents, entries, seed
from tests.support.stores import make_claim, make_upload

pytestmark = pytest.mark.anyio


FULL = 2  # PRAGMA synchronous, as SQLite reports it


class TestSqliteImages(ImageRepositoryContract[Path]):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "images.sqlite3"

    async def open(self, place: Path) -> SqliteImageRepository:
        return SqliteImageRepository(SqliteDatabase(place))

    def seed(self, place: Path, *images: Image) -> None:
        seed(place, *images)

    def entries(self, place: Path) -> dict[str, int]:
        return entries(place)


# Opening


async def on_both_connections(repository: SqliteImageRepository, statement: str) -> list[object]:
    def job(connection: sqlite3.Connection) -> object:
        return connection.execute(statement).fetchone()[0]

    return [job(repository._reader), await repository._database.write(job)]


async def test_every_commit_is_synced(repository: SqliteImageRepository) -> None:
    """Both connections write ahead, and wait for the disk at every commit."""
    assert await on_both_connections(repository, "PRAGMA journal_mode") == ["wal", "wal"]
    assert await on_both_connections(repository, "PRAGMA synchronous") == [FULL, FULL]


async def test_a_new_database_is_of_the_newest_version(repository: SqliteImageRepository, place: Path) -> None:
    """`user_version` is the number of migrations that were applied."""
    assert await on_both_connections(repository, "PRAGMA user_version") == [len(MIGRATIONS)] * 2
    assert entries(place) == {}


async def test_a_database_of_a_newer_release_is_refused(place: Path) -> None:
    """A database that a newer release wrote stops the start with one clear line, and is left as it is."""
    await SqliteImageRepository(SqliteDatabase(place)).close()
    newer = len(MIGRATIONS) + 1
    with closing(sqlite3.connect(place)) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(ConfigurationError, match=rf"^DATA_DIR: got a database of version {newer}, wants at most .*$"):
        SqliteImageRepository(SqliteDatabase(place))
    with closing(sqlite3.connect(place)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (newer,)


async def test_an_older_database_is_migrated(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails changes nothing and stops the start; one that succeeds keeps what was stored."""
    first = SqliteImageRepository(SqliteDatabase(place))
    image = await first.add(make_image(tags=("cat",)))
    await first.close()
    added = "CREATE TABLE added (a TEXT); INSERT INTO added SELECT image_id FROM images"
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*MIGRATIONS, f"{added}; SELECT * FROM nowhere"))
    with pytest.raises(OSError, match=r"images\.sqlite3: no such table: nowhere"):
        SqliteImageRepository(SqliteDatabase(place))
    assert entries(place) == {"images": 1, "image_tags": 1}
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*MIGRATIONS, added))
    second = SqliteImageRepository(SqliteDatabase(place))
    assert await on_both_connections(second, "PRAGMA user_version") == [len(MIGRATIONS) + 1] * 2
    assert await second.get(image.image_id) == image
    assert await second.list(ImageQuery(tags=("cat",))) == Page((image,), None)
    await second.close()
    assert entries(place) == {"images": 1, "image_tags": 1, "added": 1}


async def test_what_was_stored_before_there_were_counts_is_counted(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_schema, "MIGRATIONS", MIGRATIONS[:1])
        await SqliteImageRepository(SqliteDatabase(place)).close()
    images = [make_image(user_id=user_id, tags=("cat", user_id), size=10) for user_id in ("ann", "ann", "bob")]
    seed(place, *images)
    repository = SqliteImageRepository(SqliteDatabase(place))
    assert await repository.usage(None) == Usage(3, 30)
    assert await repository.usage("ann") == Usage(2, 20)
    assert await tag_counts(repository) == {"ann": 2, "bob": 1, "cat": 3}
    assert await tag_counts(repository, user_id="bob") == {"bob": 1, "cat": 1}
    await repository.remove(images[2].image_id)
    assert await tag_counts(repository) == {"ann": 2, "cat": 2}
    await repository.close()


async def test_what_was_stored_before_there_were_uploads_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images, lists and counts stay; there are no uploads and no idempotency keys yet, but room for them."""
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_schema, "MIGRATIONS", MIGRATIONS[:2])
        SqliteDatabase(place).close()
    images = [make_image(user_id=user_id, tags=("cat", user_id), size=10) for user_id in ("ann", "bob")]
    seed(place, *images)
    before = contents(place)
    assert set(before) == {"images", "image_tags", "tag_counts", "usage"}
    database = SqliteDatabase(place)
    try:
        assert contents(place) == {**before, "uploads": [], "claims": []}
        repository, uploads = SqliteImageRepository(database), SqliteUploadRepository(database)
        assert await whole_list(repository, ImageQuery(tags=("cat",), order="oldest")) == images
        await SqliteClaimRepository(database).take(claim := make_claim())
        await uploads.declare(upload := make_upload(), claim=claim)
        assert await uploads.get(upload.image_id) == upload
        assert await repository.remove(images[0].image_id) == images[0]
        assert await repository.usage(None) == await repository.usage("bob") == Usage(1, 10)
        assert await tag_counts(repository) == {"bob": 1, "cat": 1}
    finally:
        database.close()


@pytest.mark.parametrize("make", ["a directory", "no database", "nowhere"])
async def test_what_cannot_be_opened_is_an_oserror(place: Path, make: str) -> None:
    """A path that can't be opened, or holds something else, is an OSError that names it."""
    if make == "a directory":
        place.mkdir()
    elif make == "no database":
        place.write_bytes(b"This is a text, and was one all the time. " * 100)
    else:
        place = place.parent / "no" / "images.sqlite3"
    with pytest.raises(OSError, match=rf"^{place}: "):
        SqliteImageRepository(SqliteDatabase(place))


async def test_threads_open_a_new_database_at_once(tmp_path: Path) -> None:
    """However many open a database that does not exist yet, all of them get it."""
    for attempt in range(40):
        place = tmp_path / f"{attempt}.sqlite3"
        barrier = threading.Barrier(6)

        def open_one(place: Path = place, barrier: threading.Barrier = barrier) -> SqliteImageRepository:
            barrier.wait()
            return SqliteImageRepository(SqliteDatabase(place))

        opened = await asyncio.gather(*(asyncio.to_thread(open_one) for _ in range(6)), return_exceptions=True)
        for repository in opened:
            if isinstance(repository, SqliteImageRepository):
                await repository.close()
        assert all(isinstance(repository, SqliteImageRepository) for repository in opened), opened


def test_processes_open_a_new_database_at_once(place: Path) -> None:
    """Several processes that start together all get the new database, and can write to it."""
    program = (
        "import asyncio, sys, pathlib\n"
        "from src.repositories.sqlite_database import SqliteDatabase\n"
        "from src.repositories.sqlite_images import SqliteImageRepository\n"
        "from tests.support.images import make_image\n"
        "async def main():\n"
        "    repository = SqliteImageRepository(SqliteDatabase(pathlib.Path(sys.argv[1])))\n"
        "    await repository.add(make_image(tags=('cat',)))\n"
        "    await repository.close()\n"
        "print('ready', flush=True); sys.stdin.read()\n"
        "asyncio.run(main())\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(place)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"  # type: ignore[union-attr]
    for process in processes:
        process.stdin.close()  # type: ignore[union-attr]
        process.stdin = None
    errors = [process.communicate(timeout=30)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    assert entries(place) == {"images": 4, "image_tags": 4}


async def test_a_new_database_that_another_process_is_making(place: Path) -> None:
    """Whoever finds the new database locked waits for it. SQLite's own timeout does not cover the change to WAL."""
    with closing(sqlite3.connect(place, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE other (a)")
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.2, other.execute, ["ROLLBACK"])
        release.start()
        try:
            repository = SqliteImageRepository(SqliteDatabase(place))
        finally:
            release.join()
    await repository.add(make_image())
    await repository.close()
    assert entries(place)["images"] == 1


async def test_a_writer_that_cannot_be_opened(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the second connection can't be made, the repository isn't either; it does not hang at the first write."""
    connect, calls = sqlite3.connect, itertools.count(1)

    def connect_once(*arguments: object, **options: object) -> sqlite3.Connection:
        if next(calls) > 1:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(sqlite3, "connect", connect_once)
    with pytest.raises(OSError, match="unable to open database file"):
        SqliteImageRepository(SqliteDatabase(place))
