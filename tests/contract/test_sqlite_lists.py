"""Lists from SQLite: each walks an index, and costs the same wherever it is."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from src.common.errors import StoreFailed
from src.models.page import ImageQuery, Page
from src.repositories import sqlite_images
from src.repositories.sqlite_images import (
    CHECKSUM_STATEMENT,
    COUNT_STATEMENT,
    TAG_STATEMENT,
    SqliteImageRepository,
    list_statement,
)
from tests.support.images import MILLISECOND, NOON, make_image, numbered_id, walk
from tests.support.sqlite import seed

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize("user_id", ["ann", None])
async def test_the_rarest_tag_is_walked(
    repository: SqliteImageRepository, place: Path, monkeypatch: pytest.MonkeyPatch, user_id: str | None
) -> None:
    """However the tags are put: the one image that has both is on the first page, within a budget for few."""
    monkeypatch.setattr(sqlite_images, "READ_BUDGET", 2)
    both = make_image(image_id=numbered_id(0, 0), user_id="ann", tags=("common", "rare"))
    seed(place, both, *(make_image(image_id=numbered_id(i, 0), user_id="ann", tags=("common",)) for i in range(1, 99)))
    for tags in (("common", "rare"), ("rare", "common")):
        assert await repository.list(ImageQuery(user_id=user_id, tags=tags)) == Page((both,), None)


@pytest.mark.parametrize("statement", [COUNT_STATEMENT, TAG_STATEMENT.format(">"), TAG_STATEMENT.format(">=")])
async def test_counts_are_looked_up(repository: SqliteImageRepository, statement: str) -> None:
    """By an index, and in its order."""
    rows = repository._reader.execute(f"EXPLAIN QUERY PLAN {statement}", ("a",) * statement.count("?")).fetchall()
    (detail,) = [detail for *_, detail in rows]
    assert detail.startswith("SEARCH tag_counts USING PRIMARY KEY (user_id=? AND tag")


async def test_checksums_are_looked_up(repository: SqliteImageRepository) -> None:
    """In an index that says it all, and in its order."""
    rows = repository._reader.execute(f"EXPLAIN QUERY PLAN {CHECKSUM_STATEMENT}", ("a", "b")).fetchall()
    (detail,) = [detail for *_, detail in rows]
    assert detail == "SEARCH images USING COVERING INDEX images_by_checksum (user_id=? AND sha256=?)"


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
        await repository._database.write(lambda connection, handler=handler: counting(connection, handler))
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
