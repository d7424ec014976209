"""Lists against a model in plain Python: whatever is asked for, page by page, and whatever changes meanwhile."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.models.image import Image
from src.models.page import ImageQuery
from src.models.usage import TagQuery
from src.repositories import dynamodb_pages, sqlite_images
from src.repositories.dynamodb_client import open_table
from src.repositories.dynamodb_images import DynamoDbImageRepository
from src.repositories.sqlite_database import SqliteDatabase
from src.repositories.sqlite_images import SqliteImageRepository
from tests.contract.image_repository import walk_tags
from tests.support.aws_process import CREDENTIALS, REGION
from tests.support.emulator import Emulator
from tests.support.images import MILLISECOND, NOON, expected, make_image, matches, numbered_id, walk

USERS = ("ann", "bob")
TAGS = ("cat", "dog", "sun")
SPAN = 6  # milliseconds in which all images are made, so that many share one
BUDGETS = (1, 2, 5, 2_000)  # index entries that a page may look at

deterministic = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], max_examples=120
)


def some_tags(**options: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from((*TAGS, *TAGS, "nobody")), **options).map(tuple)


@st.composite
def libraries(draw: st.DrawFn, most: int = 14) -> list[Image]:
    """Draw images of few users, tags and moments, in the order of their ids."""
    drawn = st.tuples(
        st.integers(0, SPAN), st.sampled_from(USERS), st.lists(st.sampled_from(TAGS), unique=True).map(tuple)
    )
    return sorted(
        (
            make_image(image_id=numbered_id(millisecond, number), user_id=user_id, tags=tags)
            for number, (millisecond, user_id, tags) in enumerate(draw(st.lists(drawn, max_size=most)))
        ),
        key=lambda image: image.image_id,
    )


# Moments before, between, at and after the images. Most queries leave most out, else they would find nothing.
nothing = st.none()
moments = nothing | nothing | st.integers(-2, 2 * SPAN + 4).map(lambda halves: NOON + halves * MILLISECOND / 2)
queries = st.builds(
    ImageQuery,
    user_id=st.sampled_from((None, None, *USERS, "nobody")),
    tags=st.just(()) | some_tags(max_size=4),
    tag_mode=st.sampled_from(("all", "any")),
    exclude_tags=st.just(()) | some_tags(min_size=2, max_size=3),
    created_after=moments,
    created_before=moments,
    order=st.sampled_from(("newest", "oldest")),
    limit=st.integers(1, 5),
    after=nothing | nothing | st.builds(numbered_id, st.integers(-1, SPAN + 1), st.integers(0, 15)),
)


type Check = Callable[[SqliteImageRepository], Awaitable[None]]
type RunCheck = Callable[[int, Check], None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunCheck]:
    """Run a check with a budget on an empty repository. It is the same one each time, since to make one costs most."""
    with asyncio.Runner() as runner:
        repository = SqliteImageRepository(SqliteDatabase(tmp_path_factory.mktemp("pages") / "images.sqlite3"))

        def clear(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM images")
            connection.execute("DELETE FROM image_tags")

        async def run_check(check: Check) -> None:
            await repository._database.write(clear)
            await check(repository)

        def run(budget: int, check: Check) -> None:
            with patch.object(sqlite_images, "READ_BUDGET", budget):
                runner.run(run_check(check))

        yield run
        runner.run(repository.close())


@deterministic
@given(
    images=libraries(),
    asked=st.lists(queries, min_size=4, max_size=12),
    budget=st.sampled_from(BUDGETS),
)
def test_pages_list_every_match_once(run: RunCheck, images: list[Image], asked: list[ImageQuery], budget: int) -> None:
    """Pages of any size, of any query, from any cursor, are together exactly the matches, in order."""

    async def check(repository: SqliteImageRepository) -> None:
        await asyncio.gather(*(repository.add(image) for image in images))
        for query in asked:
            pages = await walk(repository, query)
            assert [image for page in pages for image in page.images] == expected(images, query), query

    run(budget, check)


@settings(deterministic, max_examples=40)
@given(images=libraries(), asked=st.lists(queries, min_size=3, max_size=6), budget=st.sampled_from(BUDGETS))
def test_both_homes_agree(
    run: RunCheck, emulator: Emulator, images: list[Image], asked: list[ImageQuery], budget: int
) -> None:
    """The same images and queries: together the pages of each are the same, of images and of tags."""
    table = open_table(emulator.new_table(), region=REGION, endpoint=emulator.url, credentials=lambda: CREDENTIALS)
    other = DynamoDbImageRepository(table)

    async def check(repository: SqliteImageRepository) -> None:
        for image in images:
            await repository.add(image)
            await other.add(image)
        for query in asked:
            for each in (repository, other):
                pages = await walk(each, query)
                assert [image for page in pages for image in page.images] == expected(images, query), query
            tags = TagQuery(user_id=query.user_id, limit=query.limit)
            assert await walk_tags(other, tags) == await walk_tags(repository, tags)
            assert await other.usage(query.user_id) == await repository.usage(query.user_id)

    with patch.object(dynamodb_pages, "READ_BUDGET", budget):
        run(budget, check)


changes = st.lists(st.lists(st.tuples(st.sampled_from(("add", "remove")), st.integers(0, 30)), max_size=4), max_size=8)


@deterministic
@given(images=libraries(), more=libraries(), query=queries, changes=changes, budget=st.sampled_from(BUDGETS))
def test_pages_while_images_come_and_go(
    run: RunCheck,
    images: list[Image],
    more: list[Image],
    query: ImageQuery,
    changes: list[list[tuple[str, int]]],
    budget: int,
) -> None:
    """What is there during the whole walk is listed exactly once, and nothing that does not match is listed.

    The order is strict, whatever is added and removed between the pages, before or behind the cursor.
    """
    # Numbers of their own, so that an image can be added among the others.
    more = [
        make_image(image_id=numbered_id(i % SPAN, 100 + i), user_id=image.user_id, tags=image.tags)
        for i, image in enumerate(more)
    ]

    async def check(repository: SqliteImageRepository) -> None:
        await asyncio.gather(*(repository.add(image) for image in images))
        present = {image.image_id: image for image in images}
        ever, throughout, waiting = dict(present), dict(present), list(more)

        async def change(what: str, number: int) -> None:
            if what == "add" and waiting:
                image = waiting.pop(number % len(waiting))
                present[image.image_id] = ever[image.image_id] = await repository.add(image)
            elif what == "remove" and present:
                image_id = sorted(present)[number % len(present)]
                removed = await repository.remove(image_id)
                assert removed == present.pop(image_id)
                throughout.pop(image_id, None)

        listed: list[Image] = []
        after, turn = query.after, 0
        while True:
            page = await repository.list(msgspec.structs.replace(query, after=after))
            assert len(page.images) <= query.limit
            listed.extend(page.images)
            if page.after is None:
                break
            after = page.after
            for what, number in changes[turn] if turn < len(changes) else ():
                await change(what, number)
            turn += 1
            assert turn < 100, "the list does not end"

        assert listed == expected(listed, query), "out of order, twice or no match"
        assert len({image.image_id for image in listed}) == len(listed)
        assert all(ever[image.image_id] == image and matches(image, query) for image in listed)
        found = {image.image_id for image in listed}
        assert [image for image in expected(throughout.values(), query) if image.image_id not in found] == []

    run(budget, check)


def test_the_model_itself() -> None:
    """The model that the other tests compare with is right about a list that can be checked by eye."""
    images = [
        make_image(image_id=numbered_id(0, 0), user_id="ann", tags=("cat",)),
        make_image(image_id=numbered_id(1, 1), user_id="bob", tags=("cat", "sun")),
        make_image(image_id=numbered_id(2, 2), user_id="ann", tags=("dog", "sun")),
        make_image(image_id=numbered_id(2, 3), user_id="ann", tags=()),
    ]

    def found(**options: object) -> list[int]:
        return [images.index(image) for image in expected(images, ImageQuery(**options))]

    assert found() == [3, 2, 1, 0]
    assert found(order="oldest") == [0, 1, 2, 3]
    assert found(user_id="ann", exclude_tags=("dog",)) == [3, 0]
    assert found(tags=("cat", "sun")) == [1]
    assert found(tags=("cat", "dog"), tag_mode="any") == [2, 1, 0]
    assert found(created_after=NOON + MILLISECOND) == [3, 2, 1]
    assert found(created_before=NOON + MILLISECOND) == [0]
    assert found(after=images[2].image_id) == [1, 0]
    assert found(after=images[2].image_id, order="oldest") == [3]
