"""SQLite as an ImageRepository, and what only it promises: durability, one writer, pages of bounded cost."""

import asyncio
import itertools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest

from src.common.errors import ConfigurationError, StoreError, StoreFailed, StoreUnavailable
from src.models.image import Image
from src.models.page import ImageQuery, Page
from src.repositories import sqlite_images, sqlite_schema
from src.repositories.sqlite_images import SqliteImageRepository, list_statement
from src.repositories.sqlite_schema import MIGRATIONS
from src.repositories.sqlite_writer import MOST_JOBS_A_COMMIT
from tests.contract.image_repository import ImageRepositoryContract
from tests.support.images import MILLISECOND, NOON, make_image, numbered_id, walk, whole_list
from tests.support.server import ROOT

pytestmark = pytest.mark.anyio

FULL = 2  # PRAGMA synchronous, as SQLite reports it


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "images.sqlite3"


@pytest.fixture
async def repository(place: Path) -> AsyncIterator[SqliteImageRepository]:
    repository = SqliteImageRepository(place)
    yield repository
    await repository.close()


def seed(path: Path, *images: Image) -> None:
    """Write images with plain SQL."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO images (image_id, user_id, sha256, record) VALUES (?, ?, ?, ?)",
            [(i.image_id, i.user_id, i.sha256, msgspec.json.encode(i).decode()) for i in images],
        )
        connection.executemany(
            "INSERT INTO image_tags (tag, image_id, user_id) VALUES (?, ?, ?)",
            [(tag, i.image_id, i.user_id) for i in images for tag in i.tags],
        )


def entries(path: Path) -> dict[str, int]:
    """Count the rows of every table."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in tables}


class TestSqliteImages(ImageRepositoryContract[Path]):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "images.sqlite3"

    async def open(self, place: Path) -> SqliteImageRepository:
        return SqliteImageRepository(place)

    def seed(self, place: Path, *images: Image) -> None:
        seed(place, *images)

    def entries(self, place: Path) -> dict[str, int]:
        return entries(place)


# Opening


async def on_both_connections(repository: SqliteImageRepository, statement: str) -> list[object]:
    def job(connection: sqlite3.Connection) -> object:
        return connection.execute(statement).fetchone()[0]

    return [job(repository._reader), await repository._writer.run(job)]


async def test_every_commit_is_synced(repository: SqliteImageRepository) -> None:
    """Both connections write ahead, and wait for the disk at every commit."""
    assert await on_both_connections(repository, "PRAGMA journal_mode") == ["wal", "wal"]
    assert await on_both_connections(repository, "PRAGMA synchronous") == [FULL, FULL]


async def test_a_new_database_is_of_the_newest_version(repository: SqliteImageRepository, place: Path) -> None:
    """`user_version` is the number of migrations that were applied."""
    assert await on_both_connections(repository, "PRAGMA user_version") == [len(MIGRATIONS)] * 2
    assert entries(place) == {"images": 0, "image_tags": 0}


async def test_a_database_of_a_newer_release_is_refused(place: Path) -> None:
    """A database that a newer release wrote stops the start with one clear line, and is left as it is."""
    await SqliteImageRepository(place).close()
    newer = len(MIGRATIONS) + 1
    with closing(sqlite3.connect(place)) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(ConfigurationError, match=rf"^DATA_DIR: got a database of version {newer}, wants at most .*$"):
        SqliteImageRepository(place)
    with closing(sqlite3.connect(place)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (newer,)


async def test_an_older_database_is_migrated(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails changes nothing and stops the start; one that succeeds keeps what was stored."""
    first = SqliteImageRepository(place)
    image = await first.add(make_image(tags=("cat",)))
    await first.close()
    added = "CREATE TABLE added (a TEXT); INSERT INTO added SELECT image_id FROM images"
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*MIGRATIONS, f"{added}; SELECT * FROM nowhere"))
    with pytest.raises(OSError, match=r"images\.sqlite3: no such table: nowhere"):
        SqliteImageRepository(place)
    assert entries(place) == {"images": 1, "image_tags": 1}
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*MIGRATIONS, added))
    second = SqliteImageRepository(place)
    assert await on_both_connections(second, "PRAGMA user_version") == [len(MIGRATIONS) + 1] * 2
    assert await second.get(image.image_id) == image
    assert await second.list(ImageQuery(tags=("cat",))) == Page((image,), None)
    await second.close()
    assert entries(place) == {"images": 1, "image_tags": 1, "added": 1}


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
        SqliteImageRepository(place)


async def test_threads_open_a_new_database_at_once(tmp_path: Path) -> None:
    """However many open a database that does not exist yet, all of them get it."""
    for attempt in range(40):
        place = tmp_path / f"{attempt}.sqlite3"
        barrier = threading.Barrier(6)

        def open_one(place: Path = place, barrier: threading.Barrier = barrier) -> SqliteImageRepository:
            barrier.wait()
            return SqliteImageRepository(place)

        opened = await asyncio.gather(*(asyncio.to_thread(open_one) for _ in range(6)), return_exceptions=True)
        for repository in opened:
            if isinstance(repository, SqliteImageRepository):
                await repository.close()
        assert all(isinstance(repository, SqliteImageRepository) for repository in opened), opened


def test_processes_open_a_new_database_at_once(place: Path) -> None:
    """Several processes that start together all get the new database, and can write to it."""
    program = (
        "import asyncio, sys, pathlib\n"
        "from src.repositories.sqlite_images import SqliteImageRepository\n"
        "from tests.support.images import make_image\n"
        "async def main():\n"
        "    repository = SqliteImageRepository(pathlib.Path(sys.argv[1]))\n"
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
            repository = SqliteImageRepository(place)
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
        SqliteImageRepository(place)


# Reading


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> int:
    """Make the budget of a page small."""
    monkeypatch.setattr(sqlite_images, "READ_BUDGET", 50)
    return 50


def steps(repository: SqliteImageRepository) -> Callable[[], int]:
    """Count SQLite's own steps from now on: its measure of work, the same on every machine."""
    count = itertools.count()
    repository._reader.set_progress_handler(lambda: next(count) < 0, 1)
    return lambda: next(count)


def every_shape(**filters: object) -> Iterator[ImageQuery]:
    """Yield a query of every shape that `list_statement` tells apart."""
    for order, mode, exclude, created_after, created_before, after in itertools.product(
        ("newest", "oldest"),
        ("all", "any"),
        ((), ("sun",), ("sun", "moon")),
        (None, NOON),
        (None, NOON + 3_000 * MILLISECOND),
        (None, numbered_id(1_500, 0)),
    ):
        yield ImageQuery(
            order=order,
            tag_mode=mode,
            exclude_tags=exclude,
            created_after=created_after,
            created_before=created_before,
            after=after,
            limit=20,
            **filters,
        )


FILTERS = [
    {"user_id": user_id, "tags": tags}
    for user_id, tags in itertools.product((None, "ann"), ((), ("cat",), ("cat", "dog"), ("cat", "dog", "moon")))
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
async def test_every_list_walks_an_index(repository: SqliteImageRepository, filters: dict[str, object]) -> None:
    """No list sorts, and each finds its place in an index by every condition that narrows it."""
    for query in every_shape(**filters):
        for tag in query.tags or (None,):
            statement, values = list_statement(query, tag)
            rows = repository._reader.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            plan = [detail for *_, detail in rows]
            walked, *others = [detail for detail in plan if not detail.startswith("CORRELATED SCALAR SUBQUERY")]
            assert " walked " in walked
            narrowed = [
                *(["user_id=?"] if query.user_id else []),
                *(["tag=?"] if tag else []),
                *(["image_id>?"] if query.created_after or (query.after and query.order == "oldest") else []),
                *(["image_id<?"] if query.created_before or (query.after and query.order == "newest") else []),
            ]
            if narrowed:
                assert walked.startswith("SEARCH "), (query, plan)
                assert all(condition in walked for condition in narrowed), (query, plan)
            else:
                assert walked.startswith("SCAN walked USING INDEX "), (query, plan)
            for detail in others:
                assert detail.startswith("SEARCH "), (query, plan)
                assert "image_id=?" in detail, (query, plan)


@pytest.mark.parametrize("filters", FILTERS, ids=str)
async def test_a_page_costs_the_same_wherever_it_is(
    repository: SqliteImageRepository, place: Path, filters: dict[str, object]
) -> None:
    """A page costs no more among 3,000 images than among 30, nor at the end of a list than at its beginning.

    Nine images in ten are another user's.
    """
    images = [
        make_image(image_id=numbered_id(i, 0), user_id="bob" if i % 10 else "ann", tags=("cat", "dog", "moon"))
        for i in range(3_000)
    ]
    few = [image for image in images if image.user_id == "ann"][:30]
    seed(place, *few)
    shapes = [query for query in every_shape(**filters) if query.after is None and "moon" not in query.exclude_tags]
    costs = [await cost(repository, query) for query in shapes]
    seed(place, *(image for image in images if image not in few))
    for query, cost_of_few in zip(shapes, costs, strict=True):
        beginning, end = (300, 2_700) if query.order == "oldest" else (2_700, 300)
        for after in (None, numbered_id(beginning, 0), numbered_id(end, 0)):
            cost_of_many = await cost(repository, msgspec.structs.replace(query, after=after))
            assert cost_of_many <= 1.2 * cost_of_few + 100, (query, after)


async def cost(repository: SqliteImageRepository, query: ImageQuery) -> int:
    taken = steps(repository)
    page = await repository.list(query)
    repository._reader.set_progress_handler(None, 1)
    assert len(page.images) == query.limit
    return taken()


async def test_a_write_costs_the_same_among_many(repository: SqliteImageRepository, place: Path) -> None:
    """To add, to find a duplicate, to get and to remove takes no more steps among 3,000 images than among 30."""
    images = [make_image(image_id=numbered_id(i, 0), tags=("cat",)) for i in range(3_000)]
    seed(place, *images[:30])
    few = await cost_of_writes(repository)
    seed(place, *images[30:])
    assert await cost_of_writes(repository) <= 1.2 * few


async def cost_of_writes(repository: SqliteImageRepository) -> int:
    """Add an image, a duplicate of it, get it and remove it, and count SQLite's steps."""
    count = itertools.count()

    def counting(connection: sqlite3.Connection, handler: Callable[[], bool] | None) -> None:
        connection.set_progress_handler(handler, 1)

    for handler in (lambda: next(count) < 0, None):
        counting(repository._reader, handler)
        await repository._writer.run(lambda connection, handler=handler: counting(connection, handler))
        if handler:
            image = await repository.add(make_image(tags=("cat",)), return_duplicate=True)
            assert await repository.add(make_image(sha256=image.sha256), return_duplicate=True) == image
            assert await repository.get(image.image_id) == image
            assert await repository.remove(image.image_id) == image
    return next(count)


async def test_the_end_of_a_list_is_known_at_once(repository: SqliteImageRepository, place: Path) -> None:
    """A page that takes the last match says that the list is over."""
    seed(place, *(make_image(image_id=numbered_id(i, 0), tags=("cat",)) for i in range(4)))
    for filters in ({}, {"user_id": "ann"}, {"tags": ("cat",)}):
        pages = await walk(repository, ImageQuery(limit=2, **filters))
        assert [len(page.images) for page in pages] == [2, 2]


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("user_id", [None, "ann"])
async def test_tags_that_never_meet(
    repository: SqliteImageRepository, place: Path, budget: int, order: str, user_id: str | None
) -> None:
    """Two common tags with one image in common, the last: pages stay small, and following them finds it."""
    images = [make_image(image_id=numbered_id(i, 0), tags=(("cat", "dog")[i % 2],)) for i in range(1, 401)]
    both = make_image(image_id=numbered_id(0 if order == "newest" else 401, 0), tags=("cat", "dog"))
    seed(place, both, *images)
    query = ImageQuery(tags=("cat", "dog"), order=order, user_id=user_id)
    pages = await check_budget(repository, query, budget)
    assert len(pages) == 1 + 200 // budget
    assert [page.images for page in pages] == [()] * (len(pages) - 1) + [(both,)]


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize(
    "filters",
    [
        {"exclude_tags": ("cat",)},
        {"exclude_tags": ("dog", "cat"), "user_id": "ann"},
        {"tags": ("dog", "sun"), "tag_mode": "any", "exclude_tags": ("cat",)},
        {"tags": ("dog", "sun", "dog"), "tag_mode": "any", "exclude_tags": ("cat",), "user_id": "ann"},
        {"tags": ("dog",), "exclude_tags": ("cat",)},
        {"tags": ("dog", "dog"), "exclude_tags": ("cat", "cat"), "created_after": NOON},
    ],
    ids=str,
)
async def test_nothing_matches_for_long(
    repository: SqliteImageRepository, place: Path, budget: int, order: str, filters: dict[str, object]
) -> None:
    """However many images are passed over, a page ends within its budget, and the list ends."""
    passed_over = [make_image(image_id=numbered_id(i, 0), tags=("cat", "dog", "sun")) for i in range(1, 301)]
    match = make_image(
        image_id=numbered_id(0 if order == "newest" else 301, 0), tags=("dog", "sun") if "tags" in filters else ()
    )
    seed(place, match, *passed_over)
    pages = await check_budget(repository, ImageQuery(order=order, **filters), budget)
    assert len(pages) == 1 + 300 // budget
    assert [page.images for page in pages] == [()] * (len(pages) - 1) + [(match,)]


async def check_budget(repository: SqliteImageRepository, query: ImageQuery, budget: int) -> list[Page]:
    """Walk a list and check that each page was worth at most so many look-ups, a few steps each."""
    pages = await walk(repository, query)
    most = 60 * (1 + len(query.tags) + len(query.exclude_tags)) * (budget + 1)
    for after in (None, *(page.after for page in pages[:-1])):
        taken = steps(repository)
        await repository.list(msgspec.structs.replace(query, after=after))
        assert taken() <= most
    return pages


async def test_a_match_within_the_budget_ends_no_page(
    repository: SqliteImageRepository, place: Path, budget: int
) -> None:
    """A page is full before its budget is spent where matches are common, and the pages miss none."""
    images = [make_image(image_id=numbered_id(i, 0), tags=("cat",)[: i % 2]) for i in range(200)]
    seed(place, *images)
    pages = await walk(repository, ImageQuery(exclude_tags=("cat",), limit=20))
    assert [len(page.images) for page in pages] == [20] * 5
    pages = await walk(repository, ImageQuery(exclude_tags=("cat",), limit=40))
    assert [len(page.images) for page in pages] == [25] * 4


@pytest.mark.parametrize("filters", [{}, {"tags": ("cat",)}, {"tags": ("cat", "dog"), "tag_mode": "any"}], ids=str)
async def test_a_page_does_not_hold_the_past(
    repository: SqliteImageRepository, place: Path, filters: dict[str, object]
) -> None:
    """A page that ended before the matches did does not keep later reads from seeing later writes."""
    seed(place, *(make_image(image_id=numbered_id(i, 0), tags=("cat", "dog")) for i in range(3)))
    query = ImageQuery(limit=1, **filters)
    assert len((await repository.list(query)).images) == 1
    new = make_image(image_id=numbered_id(9, 0), tags=("cat", "dog"))
    seed(place, new)
    assert await repository.list(query) == Page((new,), new.image_id)
    with closing(sqlite3.connect(place)) as connection:
        # All of the log can be taken over into the database only if nobody reads an old state of it.
        busy, logged, taken = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert (busy, logged, taken) == (0, 0, 0)


async def test_a_read_that_fails_is_a_store_error(repository: SqliteImageRepository, place: Path) -> None:
    """A database that lost its tables fails in our words, for each way of reading it."""
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("DROP TABLE images")
    for read in (
        repository.get(numbered_id(0, 0)),
        repository.list(ImageQuery()),
        repository.list(ImageQuery(tags=("cat", "dog"), tag_mode="any")),
        repository.ping(),
    ):
        with pytest.raises(StoreFailed) as caught:
            await read
        assert isinstance(caught.value.__cause__, sqlite3.Error)


# Writing


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a repository wait for other processes but shortly."""
    monkeypatch.setattr(sqlite_images, "BUSY_TIMEOUT", 0.05)


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

    holding = asyncio.create_task(repository._writer.run(job))
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
    await repository._writer.run(lambda connection: connection.set_trace_callback(statements.append))
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
    assert entries(place) == {"images": 0, "image_tags": 1}


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
    await repository._writer.run(
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
    await repository._writer.run(connections.append)
    connections[0].execute("PRAGMA foreign_keys = ON")  # between two transactions, where alone it has an effect
    images = [make_image(user_id="eve" if i == 1 else "ann", tags=("cat",)) for i in range(3)]
    async with held(repository):
        writes = await started(*(repository.add(image) for image in images))
    assert [type(answer) for answer in await finished(writes)] == [StoreFailed] * 3
    assert await repository.list(ImageQuery()) == Page((), None)
    assert await repository.add(images[0]) == images[0]
    assert entries(place) == {"images": 1, "image_tags": 1, "parents": 0, "children": 0}


async def test_a_full_disk(repository: SqliteImageRepository, place: Path) -> None:
    """A write for which there is no room fails and did not happen; what was acknowledged beside it did."""

    def allow(pages: int) -> Callable[[sqlite3.Connection], None]:
        return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").close()

    await repository.add(make_image())
    await repository._writer.run(allow(1))  # SQLite raises it to the pages that there are
    images = [make_image(description="x" * (50_000 if i == 3 else 1)) for i in range(6)]
    async with held(repository):
        writes = await started(*(repository.add(image) for image in images))
    answers = await finished(writes)
    assert isinstance(answers[3], StoreFailed)
    for image, answer in zip(images, answers, strict=True):
        assert isinstance(answer, StoreError) or answer == image
        assert await repository.get(image.image_id) == (image if answer == image else None)
    await repository._writer.run(allow(100_000))
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
    repository = SqliteImageRepository(place)
    await repository.close()
    for write in await started(repository.add(make_image()), repository.remove(numbered_id(0, 0))):
        (answer,) = await finished([write])
        assert isinstance(answer, StoreUnavailable)
