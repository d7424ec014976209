"""Whether DynamoDB's entries and counters agree with its records, and what only they can get wrong."""

import asyncio
from typing import Any, NamedTuple

import pytest

from src.common.errors import StoreUnavailable
from src.models.image import Image
from src.models.usage import Quota
from src.repositories import dynamodb_client
from src.repositories.dynamodb_audit import SETTLE, DynamoDbAudit
from src.repositories.dynamodb_client import Table, open_table
from src.repositories.dynamodb_images import DynamoDbImageRepository
from src.repositories.dynamodb_items import pack, shard_of
from tests.contract.audit import NOW, AuditContract, Opened, assert_right, changed, findings, furnish
from tests.support.aws_process import CREDENTIALS, REGION
from tests.support.emulator import Emulator
from tests.support.images import NOON, id_at, make_image

SETTLED = 0.05  # seconds in which the emulator has certainly counted


class Place(NamedTuple):
    emulator: Emulator
    name: str

    @property
    def dynamodb(self) -> Any:
        return self.emulator.client("dynamodb")

    def table(self) -> Table:
        return open_table(self.name, region=REGION, endpoint=self.emulator.url, credentials=lambda: CREDENTIALS)

    def put(self, item: dict[str, Any]) -> None:
        self.dynamodb.put_item(TableName=self.name, Item=item)

    def delete(self, pk: str, sk: str) -> None:
        self.dynamodb.delete_item(TableName=self.name, Key={"pk": {"S": pk}, "sk": {"S": sk}})

    def keys(self) -> set[tuple[str, str]]:
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=self.name)
        return {(item["pk"]["S"], item["sk"]["S"]) for page in pages for item in page["Items"]}


class Entry(NamedTuple):
    pk: str
    sk: str
    image: Image

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and (self.pk, self.sk) == (other.pk, other.sk)

    def __hash__(self) -> int:
        return hash((self.pk, self.sk))


class Counter(NamedTuple):
    pk: str
    sk: str


def escaped(text: str) -> str:
    return text.replace("%", "%25").replace("#", "%23")


class TestDynamoDbAudit(AuditContract[Place, Entry, Counter]):
    @pytest.fixture
    def place(self, emulator: Emulator) -> Place:
        return Place(emulator, emulator.new_table())

    async def open(self, place: Place) -> Opened:
        table = place.table()
        return Opened(DynamoDbImageRepository(table), DynamoDbAudit(table, settle=SETTLED))

    def entries(self, image: Image) -> list[Entry]:
        user, shard = f"user#{escaped(image.user_id)}", f"all#{shard_of(image.image_id)}"
        partitions = [user, shard, *(f"{owner}#tag#{escaped(tag)}" for owner in (user, shard) for tag in image.tags)]
        keys = [(partition, image.image_id) for partition in partitions]
        return [Entry(*key, image) for key in (*keys, (f"{user}#sha256", f"{image.sha256}#{image.image_id}"))]

    def counter(self, image: Image, tag: str | None, *, of_all: bool) -> Counter:
        owner = f"all#{shard_of(image.image_id)}" if of_all else f"user#{escaped(image.user_id)}"
        return Counter(f"{owner}#usage", "usage") if tag is None else Counter(f"{owner}#tags", tag)

    def put_entry(self, place: Place, entry: Entry) -> None:
        place.put({"pk": {"S": entry.pk}, "sk": {"S": entry.sk}, "image": {"B": pack(entry.image)}})

    def remove_entry(self, place: Place, entry: Entry) -> None:
        place.delete(entry.pk, entry.sk)

    def remove_record(self, place: Place, image: Image) -> None:
        place.delete(f"image#{image.image_id}", "image")

    def add_to(self, place: Place, counter: Counter, *, images: int, size: int) -> None:
        amounts = {"images": images, "bytes": size} if counter.sk == "usage" and "#usage" in counter.pk else None
        place.dynamodb.update_item(
            TableName=place.name,
            Key={"pk": {"S": counter.pk}, "sk": {"S": counter.sk}},
            UpdateExpression="ADD " + ", ".join(f"#{name} :{name}" for name in amounts or {"images": images}),
            ExpressionAttributeNames={f"#{name}": name for name in amounts or {"images": images}},
            ExpressionAttributeValues={
                f":{name}": {"N": str(amount)} for name, amount in (amounts or {"images": images}).items()
            },
        )

    def remove_counter(self, place: Place, counter: Counter) -> None:
        place.delete(*counter)

    async def test_entries_of_an_old_version(self, place: Place, opened: Opened) -> None:
        """Each entry carries the whole image: one that carries an older one shows it."""
        images = await furnish(opened.repository)
        old = images[0]
        images[0] = changed(old, description="at the sea")
        assert await opened.repository.replace(old, images[0])
        for entry in self.entries(old):
            self.put_entry(place, entry)
            assert await self.reconciled(opened.audit) == ["entry that is out of date"]
        await assert_right(opened.repository, images)

    async def test_an_entry_of_another_image(self, place: Place, opened: Opened) -> None:
        images = await furnish(opened.repository)
        entry = self.entries(images[0])[0]
        self.put_entry(place, entry._replace(image=images[1]))
        assert await self.reconciled(opened.audit) == ["entry that is out of date"]
        await assert_right(opened.repository, images)

    async def test_more_than_a_page(self, place: Place, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dynamodb_client, "SCAN_PAGE", 7)
        images = await furnish(opened.repository)
        images += [await opened.repository.add(make_image(user_id="ann", tags=("cat",))) for _ in range(16)]
        assert await findings(opened.audit) == []
        self.remove_entry(place, self.entries(images[-1])[0])
        for of_all in (False, True):
            self.add_to(place, self.counter(images[-1], "cat", of_all=of_all), images=1, size=0)
        kinds = await self.reconciled(opened.audit)
        assert kinds == ["entry that is missing", "wrong counter", "wrong counter"]
        await assert_right(opened.repository, images)

    async def test_an_image_that_changes_between_two_looks(
        self, place: Place, opened: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An entry that its record wanted a moment ago is not missing."""
        image = await opened.repository.add(make_image(tags=("cat", "dog")))
        for entry in set(self.entries(image)) - set(self.entries(changed(image, tags=("dog",)))):
            self.remove_entry(place, entry)
        get = Table.get

        async def change_and_get(self: Table, key: dict[str, str]) -> Any:
            if key["pk"] == "user#ann#tag#cat":
                monkeypatch.undo()
                assert await opened.repository.replace(image, changed(image, tags=("dog",)))
            return await get(self, key)

        monkeypatch.setattr(Table, "get", change_and_get)
        assert await findings(opened.audit) == []
        assert Table.get is get

    # Checksum guards

    async def test_a_guard_of_no_image(self, place: Place, opened: Opened) -> None:
        """It goes, and the bytes can be added again; also where an image has them that was added without one."""
        image = make_image()
        other = await opened.repository.add(make_image(user_id="bob"))
        for stray in (image, other):
            place.put({"pk": {"S": f"user#{stray.user_id}#sha256"}, "sk": {"S": stray.sha256}})
            assert await self.reconciled(opened.audit) == ["entry without a record"]
            everything = place.keys()
            assert (f"user#{stray.user_id}#sha256", stray.sha256) not in everything
        assert await opened.repository.add(image, return_duplicate=True) == image

    async def test_a_guard_that_is_missing(self, place: Place, opened: Opened) -> None:
        image = await opened.repository.add(make_image(), return_duplicate=True)
        everything = place.keys()
        place.delete("user#ann#sha256", image.sha256)
        assert await self.reconciled(opened.audit) == ["entry that is missing"]
        assert place.keys() == everything

    async def test_a_guard_that_an_image_gets(self, place: Place, opened: Opened) -> None:
        """Between finding and mending the stray one went, and an image of the same bytes was added."""
        image = make_image()
        place.put({"pk": {"S": "user#ann#sha256"}, "sk": {"S": image.sha256}})
        (finding,) = await findings(opened.audit)
        place.delete("user#ann#sha256", image.sha256)
        await opened.repository.add(image, return_duplicate=True)
        everything = place.keys()
        await opened.audit.mend(finding)
        assert place.keys() == everything
        assert await findings(opened.audit) == []

    async def test_other_items_are_none_of_its_business(self, place: Place, opened: Opened) -> None:
        """Whatever they are called: keys, uploads and idempotency keys."""
        for pk, sk in (
            ("keys", "url_signing"),
            ("idem#POST /images#sha256", "claim"),
            ("idem#POST /images#tags", "claim"),
            ("idem#POST /images#usage", "claim"),
            (f"upload#{id_at(NOON)}", "upload"),
        ):
            place.put({"pk": {"S": pk}, "sk": {"S": sk}, "expires_at": {"N": "1"}})
        assert await findings(opened.audit) == []

    # Counters

    async def test_what_is_about_to_be_counted(
        self, place: Place, opened: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An image whose counters come a moment after its record is not found."""
        increase = Table.increase

        async def late(*arguments: Any) -> Any:
            await asyncio.sleep(SETTLED)
            return await increase(*arguments)

        monkeypatch.setattr(Table, "increase", late)
        adding = asyncio.create_task(opened.repository.add(make_image(tags=("cat",))))
        while not place.keys():
            await asyncio.sleep(0.005)
        audit = DynamoDbAudit(place.table(), settle=3 * SETTLED)
        assert await findings(audit) == []
        await adding

    async def test_a_counter_that_never_rests(
        self, place: Place, opened: Opened, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is left, and the log says so: what others add meanwhile could be taken for what is wrong."""
        await furnish(opened.repository)
        image = make_image(user_id="busy", tags=("sea",))
        counter = self.counter(image, "sea", of_all=False)
        self.add_to(place, counter, images=5, size=0)
        is_over = asyncio.Event()

        async def go_on() -> None:
            table = place.table()
            while not is_over.is_set():
                await table.increase({"pk": counter.pk, "sk": counter.sk}, {"images": 1})

        going = asyncio.create_task(go_on())
        assert await findings(opened.audit) == []
        is_over.set()
        await going
        assert [record.__dict__["counter"] for record in caplog.records] == [" ".join(counter)]
        assert await self.reconciled(opened.audit) == ["wrong counter"]

    async def test_uploads_that_nobody_counted(
        self, place: Place, opened: Opened, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As when the counters could not be reached, or the process died."""

        async def fail(*_: object) -> None:
            raise StoreUnavailable("busy")

        images = await furnish(opened.repository)
        with monkeypatch.context() as patch:
            patch.setattr(Table, "increase", fail)
            images += [await opened.repository.add(make_image(tags=("cat", "new"))) for _ in range(3)]
            await opened.repository.remove(images.pop(0).image_id)
        assert set(await self.reconciled(opened.audit)) == {"wrong counter"}
        await assert_right(opened.repository, images)


class TestDynamoDbAuditOfQuotas(TestDynamoDbAudit):
    """The same where users have a quota, and the usage of each is part of what is committed."""

    async def open(self, place: Place) -> Opened:
        table = place.table()
        quota = Quota(images=1_000, bytes=10**15)
        return Opened(DynamoDbImageRepository(table, quota=quota), DynamoDbAudit(table, settle=SETTLED))


@pytest.mark.anyio
async def test_two_at_once_count_once(emulator: Emulator) -> None:
    place = Place(emulator, emulator.new_table())
    suite = TestDynamoDbAudit()
    first, second = await suite.open(place), await suite.open(place)
    images = await furnish(first.repository)
    suite.add_to(place, suite.counter(images[0], "cat", of_all=True), images=4, size=0)
    found = await asyncio.gather(findings(first.audit), findings(second.audit))
    await asyncio.gather(*(audit.mend(one) for (_, audit), (one,) in zip((first, second), found, strict=True)))
    await assert_right(first.repository, images)
    assert [finding async for finding in first.audit.findings(NOW)] == []


def test_a_counter_has_settled() -> None:
    """The last attempt of a commit, and of what counts it, has come by then."""
    answer = dynamodb_client.CONNECT_TIMEOUT + dynamodb_client.READ_TIMEOUT
    assert dynamodb_client.ATTEMPTS * answer + 1.5 + answer < SETTLE
