"""DynamoDB as an ImageRepository whose users have a quota, on the emulator, and what only it promises."""

import asyncio
import datetime as dt
from collections import Counter
from typing import Any

import pytest
from pydynox import exceptions

from src.common.errors import QuotaExceeded, StoreUnavailable
from src.models.claim import Outcome
from src.models.image import Image
from src.models.page import ImageQuery, Page
from src.models.usage import Quota, Usage
from src.repositories import dynamodb_client
from src.repositories.dynamodb_audit import DynamoDbAudit
from src.repositories.dynamodb_client import Table
from src.repositories.dynamodb_images import DynamoDbImageRepository
from tests.contract.claim_repository import outcome
from tests.contract.image_repository import tag_counts
from tests.contract.quotas import ONE, QuotaContract
from tests.contract.upload_repository import image_of, result_of
from tests.support.dynamodb import LosingClient, Place, stores_of
from tests.support.emulator import Emulator
from tests.support.images import make_image
from tests.support.stores import Stores, make_claim, make_upload

pytestmark = pytest.mark.anyio

KEY = {"pk": {"S": "user#ann#usage"}, "sk": {"S": "usage"}}
FAR = Quota(images=1_000, bytes=10**12)


class TestDynamoDbQuotas(QuotaContract[Place]):
    @pytest.fixture
    def place(self, emulator: Emulator) -> Place:
        return Place(emulator, emulator.new_table())

    async def open(self, place: Place, quota: Quota) -> Stores:
        return within(quota, place.table())

    def contents(self, place: Place) -> object:
        return place.contents()


@pytest.fixture
def place(emulator: Emulator) -> Place:
    return Place(emulator, emulator.new_table())


def within(quota: Quota, table: Table) -> Stores:
    return stores_of(table)._replace(images=DynamoDbImageRepository(table, quota=quota))


def images_within(quota: Quota, place: Place) -> DynamoDbImageRepository:
    return DynamoDbImageRepository(place.table(), quota=quota)


def counted(place: Place) -> Usage | None:
    """Return what the user's counter says, if there is one."""
    item = place.emulator.client("dynamodb").get_item(TableName=place.name, Key=KEY).get("Item")
    return Usage(int(item["images"]["N"]), int(item["bytes"]["N"])) if item else None


def set_counter(place: Place, images: int, size: int) -> None:
    numbers = {"images": {"N": str(images)}, "bytes": {"N": str(size)}}
    place.emulator.client("dynamodb").put_item(TableName=place.name, Item=KEY | numbers)


async def reconcile(place: Place) -> list[str]:
    audit = DynamoDbAudit(place.table(), settle=0.05)
    found = []
    async for finding in audit.findings(dt.datetime(2100, 1, 1, tzinfo=dt.UTC)):
        found.append(f"{finding.what}: {finding.detail}")
        await audit.mend(finding)
    return found


# The counter


@pytest.mark.parametrize("quota", [FAR, Quota(images=1_000), Quota(bytes=10**12)], ids=str)
async def test_the_counter_is_exact(place: Place, quota: Quota) -> None:
    """After whatever happened at once; and the others are counted as ever, each once."""
    repositories = [images_within(quota, place) for _ in range(2)]
    images = [make_image(tags=("cat",), size=number) for number in range(30)]
    await asyncio.gather(*(repositories[i % 2].add(image) for i, image in enumerate(images)))
    assert counted(place) == Usage(30, sum(range(30)))
    more = [make_image(tags=("cat",), size=100) for _ in range(10)]
    await asyncio.gather(
        *(repositories[i % 2].remove(image.image_id) for i, image in enumerate(images)),
        *(repositories[i % 2].add(image) for i, image in enumerate(more)),
    )
    assert counted(place) == Usage(10, 1_000)
    assert await repositories[0].usage(None) == Usage(10, 1_000)
    assert await tag_counts(repositories[0]) == await tag_counts(repositories[0], user_id="ann") == {"cat": 10}
    await asyncio.gather(*(repositories[i % 2].remove(image.image_id) for i, image in enumerate(more)))
    assert place.contents() == []


async def test_it_is_counted_with_the_record(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """No counter that is reached afterwards, or not, has a say."""

    async def fail(*_: object) -> None:
        raise StoreUnavailable("busy")

    monkeypatch.setattr(Table, "increase", fail)
    images = images_within(Quota(images=2), place)
    there = [await images.add(make_image(size=10)) for _ in range(2)]
    with pytest.raises(QuotaExceeded):
        await images.add(make_image())
    assert counted(place) == Usage(2, 20)
    await images.remove(there[0].image_id)
    assert counted(place) == Usage(1, 10)
    await images.remove(there[1].image_id)
    assert counted(place) is None


async def test_without_a_quota_no_two_uploads_share_an_item(place: Place) -> None:
    written: list[str] = []

    class Noting(Table):
        def _operation(self, kind: str, what: Any, condition: str | None, values: Any) -> Any:
            written.append((what.get("item") or what["key"])["pk"])
            return super()._operation(kind, what, condition, values)

    table = Noting(place.table()._client, place.name)
    for repository in (DynamoDbImageRepository(table), DynamoDbImageRepository(table, quota=Quota())):
        image = await repository.add(make_image(tags=("cat",)))
        await repository.add(make_image())
        await repository.remove(image.image_id)
    assert written
    assert "user#ann#usage" not in written


@pytest.mark.parametrize(("images", "size"), [(None, 0), (1, 10), (0, 0), (-2, -20)], ids=str)
async def test_a_counter_that_is_too_low(place: Place, images: int | None, size: int) -> None:
    """It never falls below nothing, hinders no delete, and is right again once nothing is left, or by an audit."""
    repository = images_within(FAR, place)
    there = [await repository.add(make_image(size=10)) for _ in range(3)]
    if images is None:
        place.emulator.client("dynamodb").delete_item(TableName=place.name, Key=KEY)
    else:
        set_counter(place, images, size)
    await repository.remove(there.pop().image_id)
    assert counted(place) is None
    assert await reconcile(place) == ["user#ann#usage usage: -2 images, -20 bytes"]
    assert counted(place) == Usage(2, 20)
    set_counter(place, images or 0, size)
    for image in there:
        await repository.remove(image.image_id)
    assert place.contents() == []


async def test_a_counter_that_is_too_high(place: Place) -> None:
    """It hinders uploads, and nothing else, until an audit has mended it."""
    repository = images_within(Quota(images=5, bytes=1_000), place)
    there = [await repository.add(make_image(size=10)) for _ in range(2)]
    set_counter(place, 5, 50)
    with pytest.raises(QuotaExceeded, match="may have 5 images and has 5"):
        await repository.add(make_image())
    await repository.remove(there[0].image_id)
    assert counted(place) == Usage(4, 40)
    assert await reconcile(place) == ["user#ann#usage usage: +3 images, +30 bytes"]
    assert counted(place) == Usage(1, 10)
    results = await result_of(*(repository.add(make_image(size=10)) for _ in range(8)))
    assert Counter(map(type, results)) == {Image: 4, QuotaExceeded: 4}
    set_counter(place, 9, 90)
    for image in await images_of(repository):
        await repository.remove(image.image_id)
    assert counted(place) == Usage(4, 40)
    assert await reconcile(place) == ["user#ann#usage usage: +4 images, +40 bytes"]
    assert place.contents() == []


async def images_of(repository: DynamoDbImageRepository) -> tuple[Image, ...]:
    return (await repository.list(ImageQuery(user_id="ann", limit=100))).images


# Answers that got lost


@pytest.mark.parametrize("forgets", [False, True], ids=["known again", "forgotten"])
@pytest.mark.parametrize("return_duplicate", [False, True], ids=["store", "return"])
@pytest.mark.parametrize("completes", [False, True], ids=["new", "completed"])
async def test_an_add_whose_answer_was_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch, completes: bool, return_duplicate: bool, forgets: bool
) -> None:
    """It is counted once, though it has itself used the quota up."""
    monkeypatch.setattr(dynamodb_client, "PAUSE", 0.0)
    client = LosingClient(place.table(), forgets=forgets)
    losing = within(ONE, Table(lambda: client, place.name))  # type: ignore[arg-type, return-value]
    stores = within(ONE, place.table())
    upload, claim = make_upload(), make_claim()
    if completes:
        await stores.uploads.declare(upload)
    await stores.claims.take(claim)
    image = image_of(upload)
    added = await losing.images.add(image, return_duplicate=return_duplicate, completes=completes, claim=claim)
    assert added == image
    assert await outcome(stores, Outcome) == Outcome(image, True)
    assert counted(place) == await stores.images.usage(None) == Usage(1, 10)
    assert await stores.images.list(ImageQuery()) == Page((image,), None)
    with pytest.raises(QuotaExceeded):
        await losing.images.add(make_image())
    assert await stores.images.remove(image.image_id) == image
    assert counted(place) is None


async def test_a_removal_whose_answer_was_lost(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_client, "PAUSE", 0.0)
    client = LosingClient(place.table(), forgets=False)
    losing = within(FAR, Table(lambda: client, place.name))  # type: ignore[arg-type, return-value]
    images = images_within(FAR, place)
    for left in (1, 0):
        image = await images.add(make_image(size=10))
        if left:
            await images.add(make_image(size=7))
        assert await losing.images.remove(image.image_id) == image
        assert counted(place) == Usage(1, 7) if left else Usage(2, 17)


# Many at the same counter


class ConflictingClient:
    """A table's client that is slow and refuses transactions as DynamoDB does while another has one of their items."""

    def __init__(self, table: Table, *, seconds: float) -> None:
        self._client = table._client()
        self._seconds = seconds
        self._busy: set[tuple[str, str]] = set()
        self.conflicts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def transact_write(self, operations: list[Any], *, client_request_token: str) -> None:
        keys = {(key["pk"], key["sk"]) for key in (op.get("item") or op["key"] for op in operations)}
        if keys & self._busy:
            self.conflicts += 1
            raise exceptions.TransactionCanceledException("reasons [None, TransactionConflict]")
        self._busy |= keys
        try:
            await asyncio.sleep(self._seconds)
            await self._client.transact_write(operations, client_request_token=client_request_token)
        finally:
            self._busy -= keys


async def test_twenty_uploads_of_a_user_at_once(place: Place) -> None:
    """DynamoDB refuses all but one at a time: each is tried again until it is its turn."""
    client = ConflictingClient(place.table(), seconds=0.02)
    table = Table(lambda: client, place.name)  # type: ignore[arg-type, return-value]
    repository = DynamoDbImageRepository(table, quota=Quota(images=20))
    images = [make_image(size=10) for _ in range(20)]
    assert await asyncio.gather(*(repository.add(image) for image in images)) == images
    assert client.conflicts >= 19
    assert counted(place) == Usage(20, 200)
    with pytest.raises(QuotaExceeded):
        await repository.add(make_image())
    removed = await asyncio.gather(*(repository.remove(image.image_id) for image in images))
    assert removed == images
    assert place.contents() == []


async def test_a_counter_that_is_never_free(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it says to try again later, and nothing has happened."""
    monkeypatch.setattr(dynamodb_client, "PAUSE", 0.0)
    client = ConflictingClient(place.table(), seconds=0)
    client._busy.add(("user#ann#usage", "usage"))
    table = Table(lambda: client, place.name)  # type: ignore[arg-type, return-value]
    repository = DynamoDbImageRepository(table, quota=FAR)
    with pytest.raises(StoreUnavailable) as caught:
        await repository.add(make_image())
    assert type(caught.value) is StoreUnavailable
    assert client.conflicts == dynamodb_client.CROWDED_ATTEMPTS
    assert place.contents() == []
    bobs = await repository.add(make_image(user_id="bob"))
    assert await repository.usage("bob") == Usage(1, bobs.size)
