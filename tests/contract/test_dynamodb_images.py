"""DynamoDB as an ImageRepository, on the emulator, and what only it promises."""

import asyncio
import time
import uuid
from typing import Any

import msgspec
import pytest

from src.common.errors import OutcomeUnknown, StoreFailed, StoreUnavailable
from src.common.sigv4 import Credentials
from src.models.image import Image
from src.models.page import ImageQuery, Page
from src.models.usage import Quota
from src.repositories import dynamodb_counters, dynamodb_pages
from src.repositories.dynamodb_client import Table, open_table
from src.repositories.dynamodb_images import DynamoDbImageRepository
from src.repositories.dynamodb_items import pack, shard_of
from tests.contract.image_repository import ImageRepositoryContract
from tests.support.aws_process import CREDENTIALS, REGION
from tests.support.dynamodb import Place, by_key
from tests.support.emulator import Emulator
from tests.support.images import make_image, numbered_id, walk, whole_list

pytestmark = pytest.mark.anyio

ATTEMPT = "0" * 32


def items_of(image: Image) -> list[dict[str, Any]]:
    """Spell an image's items out, as the data model says."""
    user, shard, body = image.user_id, shard_of(image.image_id), {"B": pack(image)}
    partitions = [f"user#{user}", f"all#{shard}"]
    for tag in image.tags:
        escaped = tag.replace("%", "%25").replace("#", "%23")
        partitions += [f"user#{user}#tag#{escaped}", f"all#{shard}#tag#{escaped}"]
    keys = [(partition, image.image_id) for partition in partitions]
    keys.append((f"user#{user}#sha256", f"{image.sha256}#{image.image_id}"))
    entries = [{"pk": {"S": pk}, "sk": {"S": sk}, "image": body} for pk, sk in keys]
    key = {"pk": {"S": f"image#{image.image_id}"}, "sk": {"S": "image"}}
    return [{**key, "image": body, "guarded": {"BOOL": False}, "attempt": {"S": ATTEMPT}}, *entries]


class TestDynamoDbImages(ImageRepositoryContract[Place]):
    @pytest.fixture
    def place(self, emulator: Emulator) -> Place:
        return Place(emulator, emulator.new_table())

    async def open(self, place: Place) -> DynamoDbImageRepository:
        return place.repository()

    def seed(self, place: Place, *images: Image) -> None:
        client = place.emulator.client("dynamodb")
        for image in images:
            for item in items_of(image):
                client.put_item(TableName=place.name, Item=item)

    def entries(self, place: Place) -> dict[str, int]:
        items = place.items()
        return {"items": len(items), "records": sum(item["sk"]["S"] == "image" for item in items)}


class TestDynamoDbImagesOfQuotas(TestDynamoDbImages):
    """The same where users have a quota that none of it reaches."""

    async def open(self, place: Place) -> DynamoDbImageRepository:
        return DynamoDbImageRepository(place.table(), quota=Quota(images=1_000, bytes=10**15))


@pytest.fixture
def place(emulator: Emulator) -> Place:
    return Place(emulator, emulator.new_table())


async def test_an_add_writes_what_the_data_model_says(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.repositories.dynamodb_images.uuid.uuid4", lambda: uuid.UUID(ATTEMPT))
    image = make_image(tags=("cat", "a#b%"))
    await place.repository().add(image)
    assert place.items() == sorted(items_of(image), key=by_key)


async def test_a_replace_writes_what_the_data_model_says(place: Place) -> None:
    """The same as if the image had been added so, by an attempt of its own."""
    repository = place.repository()
    image = await repository.add(make_image(tags=("cat", "a#b%")))
    changed = msgspec.structs.replace(image, tags=("a#b%", "dog"), version=2)
    (attempt,) = [item["attempt"] for item in place.items() if "attempt" in item]
    assert await repository.replace(image, changed)
    (another,) = [item["attempt"] for item in place.items() if "attempt" in item]
    assert another != attempt
    wanted = [{**item, "attempt": another} if "attempt" in item else item for item in items_of(changed)]
    assert place.items() == sorted(wanted, key=by_key)


@pytest.mark.parametrize("error", [StoreUnavailable("busy"), RuntimeError("unforeseen"), None], ids=str)
async def test_a_counter_that_fails_fails_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    """The image is committed: whoever added it must not take its bytes back. Nor does it wait for long."""

    async def fail(*_: object) -> None:
        if error is not None:
            raise error
        await asyncio.sleep(10)

    monkeypatch.setattr(Table, "increase", fail)
    monkeypatch.setattr(dynamodb_counters, "TIME", 0.1)
    repository, image = place.repository(), make_image(tags=("cat",))
    started = time.monotonic()
    assert await repository.add(image) == image
    assert await repository.get(image.image_id) == image
    assert await repository.remove(image.image_id) == image
    assert time.monotonic() - started < 5
    assert [record.levelname for record in caplog.records if "counter" in record.message]


async def test_counters_that_cannot_be_read_fail_no_list(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = place.repository()
    image = await repository.add(make_image(tags=("cat", "dog")))

    async def fail(*_: object) -> None:
        raise StoreUnavailable("busy")

    monkeypatch.setattr(Table, "get", fail)
    assert await repository.list(ImageQuery(tags=("dog", "cat"))) == Page((image,), None)


@pytest.mark.parametrize("user_id", ["ann", None])
async def test_the_rarest_tag_is_walked(place: Place, monkeypatch: pytest.MonkeyPatch, user_id: str | None) -> None:
    """However the tags are put: the one image that has both is on the first page, within a budget for few."""
    monkeypatch.setattr(dynamodb_pages, "READ_BUDGET", 1)
    repository = place.repository()
    images = [make_image(image_id=numbered_id(i, 0), user_id="ann", tags=("common",)) for i in range(1, 40)]
    both = make_image(image_id=numbered_id(0, 0), user_id="ann", tags=("common", "rare"))
    await asyncio.gather(*(repository.add(image) for image in [both, *images]))
    for tags in (("common", "rare"), ("rare", "common")):
        page = await repository.list(ImageQuery(user_id=user_id, tags=tags, limit=1))
        assert page.images == (both,)


@pytest.mark.parametrize("mode", ["all", "any"])
async def test_a_page_ends_within_its_budget(place: Place, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Two common tags that never meet: each page is empty and goes on, until the list is over."""
    monkeypatch.setattr(dynamodb_pages, "READ_BUDGET", 5)
    repository = place.repository()
    for number in range(14):
        tags = ("cat",) if number % 2 else ("dog",)
        await repository.add(make_image(image_id=numbered_id(number, 0), tags=tags))
    last = await repository.add(make_image(image_id=numbered_id(0, 1), tags=("cat", "dog", "x")))
    exclude = () if mode == "all" else ("nobody",)
    query = ImageQuery(tags=("cat", "dog"), tag_mode=mode, exclude_tags=exclude, limit=4)
    pages = await walk(repository, query)
    assert all(len(page.images) <= 4 for page in pages)
    found = [image for page in pages for image in page.images]
    assert found == await whole_list(repository, msgspec.structs.replace(query, limit=100))
    assert (last in found) is True
    assert len(found) == (1 if mode == "all" else 15)


async def test_a_table_that_is_missing(emulator: Emulator) -> None:
    repository = Place(emulator, "no-such-table").repository()
    with pytest.raises(StoreFailed):
        await repository.get(numbered_id(0, 0))
    with pytest.raises(StoreFailed):
        await repository.add(make_image())


async def test_credentials_that_are_wrong(place: Place) -> None:
    repository = place.repository(credentials=Credentials("AKIAIOSFODNN7EXAMPLE", "wrong"))
    with pytest.raises(StoreFailed):
        await repository.ping()


async def test_a_table_that_does_not_answer() -> None:
    """Nobody listens there: a read says to try again, a write that it may have happened."""
    table = open_table("table", region=REGION, endpoint="http://127.0.0.1:9", credentials=lambda: CREDENTIALS)
    repository = DynamoDbImageRepository(table)
    with pytest.raises(StoreUnavailable) as caught:
        await repository.get(numbered_id(0, 0))
    assert not isinstance(caught.value, OutcomeUnknown)
    with pytest.raises(OutcomeUnknown):
        await repository.add(make_image())


async def test_pages_of_the_largest_records(place: Place) -> None:
    """More than the megabyte that DynamoDB reads at a time: none is left out."""
    repository = place.repository()
    images = [make_image(image_id=numbered_id(i, 0), description="\U0001f304" * 2_000) for i in range(150)]
    for start in range(0, len(images), 25):
        await asyncio.gather(*(repository.add(image) for image in images[start : start + 25]))
    for query in (ImageQuery(limit=100), ImageQuery(user_id="ann", limit=100, exclude_tags=("nobody",))):
        assert await whole_list(repository, query) == images[::-1]


async def test_a_page_takes_few_queries(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little of what is read matches: what is read at a time grows, and the budget bounds it."""
    repository = place.repository()
    for number in range(120):
        await repository.add(make_image(image_id=numbered_id(number, 0), tags=("a", "b", "c")))
    between, limits = Table.between, []

    async def counted(*arguments: Any, limit: int, **options: Any) -> Any:
        limits.append(limit)
        return await between(*arguments, limit=limit, **options)

    monkeypatch.setattr(Table, "between", counted)
    query = ImageQuery(user_id="ann", tags=("a", "b", "c"), tag_mode="any", exclude_tags=("c",), limit=1)
    page = await repository.list(query)
    assert page.images == ()
    assert len(limits) <= 30
    assert sum(limits) <= 2 * dynamodb_pages.READ_BUDGET


async def test_of_lookups_none_goes_on_when_one_has_failed() -> None:
    """In Lambda it would in the next invocation."""
    at_work: set[str] = set()

    class Failing(Table):
        def __init__(self) -> None:
            pass

        async def between(self, _pk: str, low: str, *_: Any, **__: Any) -> tuple[list[Any], bool]:
            at_work.add(low)
            try:
                await asyncio.sleep(0)
                if len(at_work) > 2:
                    raise StoreUnavailable("not now")
                await asyncio.Event().wait()
            finally:
                at_work.discard(low)
            raise AssertionError

    with pytest.raises(StoreUnavailable):
        await DynamoDbImageRepository(Failing()).find_by_checksum("ann", [f"{number:064x}" for number in range(20)])
    assert at_work == set()
