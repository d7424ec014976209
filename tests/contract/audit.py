"""What every Audit promises. A backend's own file says only how to open one and how to damage what it looks at."""

import asyncio
import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from src.models.finding import Finding
from src.models.image import Image
from src.models.page import ImageQuery
from src.models.usage import Usage
from src.repositories.ports import Audit, ImageRepository
from tests.contract.image_repository import tag_counts
from tests.support.images import MILLISECOND, NOON, expected, id_at, make_image, whole_list

ODD_TAGS = ("a#b%", "50%", "写真", "all", "usage", "it's")
NOW = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)  # before which everything is old
MOST = 20  # images, of those that are left alone
TOO_MANY = {"entry without a record", "entry that is out of date"}


class Opened(NamedTuple):
    repository: ImageRepository
    audit: Audit


def changed(image: Image, **fields: Any) -> Image:
    """Return the image as a patch makes it."""
    moment = image.updated_at + MILLISECOND
    return msgspec.structs.replace(image, updated_at=moment, version=image.version + 1, **fields)


async def furnish(repository: ImageRepository) -> list[Image]:
    """Store what has had some history, and return the images that there are then, by id."""
    images = [
        make_image(image_id=id_at(NOON + number * MILLISECOND), user_id=user_id, tags=tags, size=10 + number)
        for number, (user_id, tags) in enumerate(
            [("ann", ("cat", "sun")), ("bob", ("cat",)), ("ann", ()), ("cat#1%", ODD_TAGS), ("eve", ("gone",))]
        )
    ]
    for image in images:
        await repository.add(image, return_duplicate=image.user_id != "bob")
    again = make_image(user_id="ann", tags=("cat",), sha256=images[0].sha256)
    assert await repository.add(again, return_duplicate=True) == images[0]
    other = changed(images[2], tags=("sun", "dog"), description="at the lake")
    assert await repository.replace(images[2], other)
    assert await repository.remove(images[4].image_id)
    return [*images[:2], other, images[3]]


async def assert_right(repository: ImageRepository, images: Iterable[Image]) -> None:
    """Check all that can be asked about images against the images themselves."""
    everything = list(images)
    for user_id in {None, "nobody", *(image.user_id for image in everything)}:
        theirs = [image for image in everything if user_id in (None, image.user_id)]
        tags = {tag: sum(tag in image.tags for image in theirs) for image in theirs for tag in image.tags}
        assert await tag_counts(repository, user_id=user_id) == tags
        assert await repository.usage(user_id) == Usage(len(theirs), sum(image.size for image in theirs))
        for query in (ImageQuery(user_id=user_id), *(ImageQuery(user_id=user_id, tags=(tag,)) for tag in tags)):
            assert await whole_list(repository, query) == expected(everything, query)


class AuditContract[Place, Entry, Counter](ABC):
    """The suite. `Entry` and `Counter` are what names one to the backend.

    A subclass also has a fixture `place`, a new and empty one for each test.
    """

    pytestmark = pytest.mark.anyio

    @abstractmethod
    async def open(self, place: Place) -> Opened: ...

    @abstractmethod
    def entries(self, image: Image) -> Sequence[Entry]:
        """Name each entry of an image but its record."""

    @abstractmethod
    def counter(self, image: Image, tag: str | None, *, of_all: bool) -> Counter:
        """Name the counter of the owner's (or all) images with a tag, or of the owner's images and bytes."""

    @abstractmethod
    def put_entry(self, place: Place, entry: Entry) -> None: ...

    @abstractmethod
    def remove_entry(self, place: Place, entry: Entry) -> None:
        """Remove an entry, and no counter notices."""

    @abstractmethod
    def remove_record(self, place: Place, image: Image) -> None: ...

    @abstractmethod
    def add_to(self, place: Place, counter: Counter, *, images: int, size: int) -> None:
        """Add to a counter, which is made if need be; of tags it counts only images."""

    @abstractmethod
    def remove_counter(self, place: Place, counter: Counter) -> None: ...

    @pytest.fixture
    async def opened(self, place: Place) -> AsyncIterator[Opened]:
        opened = await self.open(place)
        yield opened
        await opened.repository.close()

    @pytest.fixture
    def audit(self, opened: Opened) -> Audit:
        return opened.audit

    @pytest.fixture
    def repository(self, opened: Opened) -> ImageRepository:
        return opened.repository

    async def reconciled(self, audit: Audit) -> list[str]:
        """Mend everything, check that only looking finds just that, that nothing is left, and return the kinds."""
        planned = await findings(audit)
        done = []
        async for finding in audit.findings(NOW):
            done.append(finding)
            await audit.mend(finding)
        assert told(done) == told(planned)
        assert len(set(told(done))) == len(done), "found twice"
        assert await findings(audit) == []
        return [finding.kind for finding in done]

    # What is right

    async def test_an_empty_store(self, audit: Audit) -> None:
        assert await findings(audit) == []
        assert [image async for image in audit.records()] == []

    async def test_what_is_right_is_not_found(self, repository: ImageRepository, audit: Audit) -> None:
        images = await furnish(repository)
        assert await findings(audit) == []
        for image in images:
            assert await repository.remove(image.image_id)
        assert await findings(audit) == []

    async def test_records_are_all_images(self, repository: ImageRepository, audit: Audit) -> None:
        images = await furnish(repository)
        images += [await repository.add(make_image(tags=("cat",))) for _ in range(3)]
        found = [image async for image in audit.records()]
        assert sorted(found, key=lambda image: image.image_id) == sorted(images, key=lambda image: image.image_id)

    # Entries

    async def test_a_missing_entry(self, repository: ImageRepository, audit: Audit, place: Place) -> None:
        images = await furnish(repository)
        for entry in self.entries(images[0]):
            self.remove_entry(place, entry)
            assert await self.reconciled(audit) == ["entry that is missing"]
        entries = self.entries(images[-1])
        for entry in entries:
            self.remove_entry(place, entry)
        assert await self.reconciled(audit) == ["entry that is missing"] * len(entries)
        await assert_right(repository, images)

    async def test_an_entry_without_a_record(self, repository: ImageRepository, audit: Audit, place: Place) -> None:
        images = await furnish(repository)
        for entry in self.entries(make_image(image_id=id_at(NOON), user_id="a#", tags=("cat", "50%"))):
            self.put_entry(place, entry)
            assert await self.reconciled(audit) == ["entry without a record"]
        await assert_right(repository, images)

    async def test_an_entry_of_a_tag_that_was_taken_away(
        self, repository: ImageRepository, audit: Audit, place: Place
    ) -> None:
        images = await furnish(repository)
        old = images[0]
        images[0] = changed(old, tags=("sun", "sea"))
        assert await repository.replace(old, images[0])
        stale = [entry for entry in self.entries(old) if entry not in self.entries(images[0])]
        assert stale
        for entry in stale:
            self.put_entry(place, entry)
        kinds = await self.reconciled(audit)
        assert len(kinds) == len(stale)
        assert set(kinds) <= TOO_MANY
        await assert_right(repository, images)

    async def test_a_record_that_vanished(self, repository: ImageRepository, audit: Audit, place: Place) -> None:
        """Its entries go, and nothing counts it any more."""
        images = await furnish(repository)
        for image in (images[0], images[-1]):
            self.remove_record(place, image)
            images.remove(image)
            kinds = await self.reconciled(audit)
            assert kinds.count("entry without a record") >= len(self.entries(image))
            assert set(kinds) == {"entry without a record", "wrong counter"}
        await assert_right(repository, images)

    async def test_what_is_young_is_left(self, repository: ImageRepository, audit: Audit, place: Place) -> None:
        """Missing or too many: whoever is at it may be about to put it right."""
        image = await repository.add(make_image(image_id=id_at(NOON), tags=("cat", "sun")))
        other = make_image(image_id=id_at(NOON), tags=("sea",))
        self.remove_entry(place, self.entries(image)[1])
        self.put_entry(place, self.entries(other)[0])
        for before in (NOON - dt.timedelta(hours=1), NOON):
            assert await findings(audit, before) == []
        found = await findings(audit, NOON + MILLISECOND)
        assert [finding.kind for finding in found] == ["entry without a record", "entry that is missing"]

    # Counters

    @pytest.mark.parametrize("of_all", [False, True])
    @pytest.mark.parametrize("tag", [None, "cat", "a#b%", "usage"])
    async def test_a_wrong_counter(
        self, repository: ImageRepository, audit: Audit, place: Place, tag: str | None, of_all: bool
    ) -> None:
        """Too high, too low, below nothing, and missing."""
        images = await furnish(repository)
        image = next(image for image in images if tag is None or tag in image.tags)
        counter = self.counter(image, tag, of_all=of_all)
        for change in (1, -1_000):
            self.add_to(place, counter, images=change, size=-change)
            assert await self.reconciled(audit) == ["wrong counter"]
        self.remove_counter(place, counter)
        assert await self.reconciled(audit) == ["wrong counter"]
        await assert_right(repository, images)

    async def test_wrong_bytes(self, repository: ImageRepository, audit: Audit, place: Place) -> None:
        images = await furnish(repository)
        for of_all in (False, True):
            for size in (7, -5_000_000_000):
                self.add_to(place, self.counter(images[0], None, of_all=of_all), images=0, size=size)
                assert await self.reconciled(audit) == ["wrong counter"]
        await assert_right(repository, images)

    async def test_a_counter_of_nobody(self, repository: ImageRepository, audit: Audit, place: Place) -> None:
        images = await furnish(repository)
        nobody = make_image(user_id="nobody", tags=("x#y",))
        self.add_to(place, self.counter(nobody, None, of_all=False), images=3, size=5)
        self.add_to(place, self.counter(nobody, "x#y", of_all=False), images=3, size=0)
        self.add_to(place, self.counter(nobody, "x#y", of_all=True), images=-3, size=0)
        assert await self.reconciled(audit) == ["wrong counter"] * 3
        await assert_right(repository, images)

    async def test_counters_of_entries_that_are_wrong_too(
        self, repository: ImageRepository, audit: Audit, place: Place
    ) -> None:
        """Whatever is wrong together, what is only told is what is then done."""
        images = await furnish(repository)
        image = images[0]
        lost = make_image(image_id=id_at(NOON), user_id="ann", tags=("cat", "sun"))
        for entry in self.entries(image):
            self.remove_entry(place, entry)
        for entry in self.entries(lost):
            self.put_entry(place, entry)
        for tag in (None, "cat"):
            for of_all in (False, True):
                self.add_to(place, self.counter(image, tag, of_all=of_all), images=-1, size=-3)
        kinds = await self.reconciled(audit)
        assert kinds.count("entry that is missing") == len(self.entries(image))
        assert kinds.count("entry without a record") == len(self.entries(lost))
        await assert_right(repository, images)

    # What happens meanwhile

    async def test_what_comes_right_by_itself(self, repository: ImageRepository, audit: Audit, place: Place) -> None:
        """To mend it then changes nothing; nor does it to mend twice."""
        images = await furnish(repository)
        entry = self.entries(images[0])[0]
        other = make_image(image_id=id_at(NOON), user_id="bob", tags=("sea",))
        counters = [self.counter(images[0], tag, of_all=of_all) for tag in (None, "cat") for of_all in (False, True)]
        self.remove_entry(place, entry)
        for stray in self.entries(other):
            self.put_entry(place, stray)
        for counter in counters:
            self.add_to(place, counter, images=1, size=1)
        found = await findings(audit)
        assert len(found) >= 1 + len(self.entries(other)) + len(counters)
        self.put_entry(place, entry)
        for stray in self.entries(other):
            self.remove_entry(place, stray)
        images.append(await repository.add(other))
        for counter in counters:
            self.add_to(place, counter, images=-1, size=-1)
        for finding in [*found, *found]:
            await audit.mend(finding)
        assert await findings(audit) == []
        await assert_right(repository, images)

    async def test_what_is_deleted_before_it_is_mended(
        self, repository: ImageRepository, audit: Audit, place: Place
    ) -> None:
        images = await furnish(repository)
        for entry in self.entries(images[0]):
            self.remove_entry(place, entry)
        found = await findings(audit)
        assert {finding.kind for finding in found} == {"entry that is missing"}
        await repository.remove(images[0].image_id)
        for finding in found:
            await audit.mend(finding)
        await self.reconciled(audit)
        await assert_right(repository, images[1:])

    async def test_while_others_are_at_work(self, repository: ImageRepository, audit: Audit, place: Place) -> None:
        """Nothing right is damaged, nothing right is found, and what was wrong before is mended."""
        images = await furnish(repository)
        alive = {image.image_id: image for image in images}

        async def work(number: int) -> None:
            while len(alive) < MOST:
                image = make_image(user_id=f"user{number % 2}", tags=("cat", f"t{number % 3}"), size=number)
                await repository.add(image, return_duplicate=bool(number % 2))
                other = changed(image, tags=("dog", "t1"))
                assert await repository.replace(image, other)
                alive[image.image_id] = other
                await asyncio.sleep(0)
                if number % 3:
                    del alive[image.image_id]
                    assert await repository.remove(image.image_id)

        workers = [asyncio.create_task(work(number)) for number in range(4)]
        before = dt.datetime.now(dt.UTC)
        wrong: list[str] = []
        rounds = 0
        while rounds < 2 or len(alive) < MOST:
            rounds += 1
            self.remove_entry(place, self.entries(images[0])[rounds % 2])
            async for finding in audit.findings(before):
                wrong.append(finding.kind)
                await audit.mend(finding)
        await asyncio.gather(*workers)
        assert wrong == ["entry that is missing"] * rounds
        assert await findings(audit) == []
        await assert_right(repository, alive.values())


async def findings(audit: Audit, before: dt.datetime = NOW) -> list[Finding]:
    return [finding async for finding in audit.findings(before)]


def told(findings: Iterable[Finding]) -> list[tuple[str, str, str]]:
    """Return what is told of findings, in the order of no store."""
    return sorted((finding.kind, finding.what, finding.detail) for finding in findings)
