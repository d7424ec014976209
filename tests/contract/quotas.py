"""What every ImageRepository promises of a quota. A backend's own file says only how to open one."""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest

from src.common.errors import QuotaExceeded, StoreFailed
from src.common.ids import new_id
from src.models.image import Image
from src.models.page import ImageQuery
from src.models.usage import UNLIMITED, Quota, Usage
from src.repositories.ports import ClaimLost, ImageRepository, UploadNotOpen
from tests.contract.upload_repository import STATES, image_of, not_open, result_of
from tests.support.images import MILLISECOND, make_image, whole_list
from tests.support.stores import Stores, make_claim, make_upload

type Opening = Callable[[Quota], Awaitable[Stores]]

MOST = 5  # images that a user may have
ONE = Quota(images=1)
FULL = "11" * 32  # the checksum of the image that uses a quota of one up


def changed(image: Image) -> Image:
    return msgspec.structs.replace(
        image, tags=("dog",), description="x" * 500, version=2, updated_at=image.updated_at + MILLISECOND
    )


async def fill(images: ImageRepository) -> Image:
    """Use a quota of one image up."""
    return await images.add(make_image(sha256=FULL, size=10))


class QuotaContract[Place](ABC):
    """The suite. `Place` is where a backend keeps its records: a path, or the name of a table.

    A subclass also has a fixture `place`, a new and empty one for each test.
    """

    pytestmark = pytest.mark.anyio

    @abstractmethod
    async def open(self, place: Place, quota: Quota) -> Stores:
        """Open the repositories. A place may be opened several times at once; closing `images` closes all of them."""

    @abstractmethod
    def contents(self, place: Place) -> object:
        """Return all that is stored, counters too, without any code of the adapter's."""

    @pytest.fixture
    async def opening(self, place: Place) -> AsyncIterator[Opening]:
        opened: list[Stores] = []

        async def open_(quota: Quota) -> Stores:
            opened.append(await self.open(place, quota))
            return opened[-1]

        yield open_
        for stores in opened:
            await stores.images.close()

    # Many at once

    @pytest.mark.parametrize(
        "quota",
        [Quota(images=MOST), Quota(bytes=10 * MOST), Quota(bytes=10 * MOST + 9), Quota(images=MOST, bytes=10 * MOST)],
        ids=["images", "bytes", "bytes, not a multiple", "both"],
    )
    async def test_no_more_are_added_than_may_be(self, opening: Opening, place: Place, quota: Quota) -> None:
        """However many at once, through whichever repository; and of what is refused nothing is stored."""
        both = [(await opening(quota)).images for _ in range(2)]
        before = self.contents(place)
        images = [make_image(tags=("cat",), size=10) for _ in range(3 * MOST)]
        results = await result_of(*(both[i % 2].add(image) for i, image in enumerate(images)))
        assert Counter(map(type, results)) == {Image: MOST, QuotaExceeded: 2 * MOST}
        added = [image for image in images if image in results]
        assert await both[0].usage("ann") == await both[0].usage(None) == Usage(MOST, 10 * MOST)
        assert await whole_list(both[1], ImageQuery(tags=("cat",), order="oldest")) == added
        for image in added:
            assert await both[1].remove(image.image_id) == image
        assert self.contents(place) == before

    async def test_of_different_sizes_as_many_as_fit(self, opening: Opening) -> None:
        images = (await opening(Quota(bytes=1_000))).images
        wanted = [make_image(size=10 + 37 * number) for number in range(20)]
        results = await result_of(*(images.add(image) for image in wanted))
        used = sum(image.size for image in wanted if image in results)
        assert await images.usage("ann") == Usage(sum(isinstance(result, Image) for result in results), used)
        assert used <= 1_000
        assert all(image.size + used > 1_000 for image in wanted if image not in results)
        assert {type(result) for result in results} == {Image, QuotaExceeded}

    async def test_while_images_come_and_go(self, opening: Opening, place: Place) -> None:
        """Never are there more; and whatever happens at once, what is counted is what is there."""
        stores = [await opening(Quota(images=2)) for _ in range(2)]
        before = self.contents(place)
        alive: set[str] = set()
        most = 0

        async def work(images: ImageRepository) -> int:
            nonlocal most
            added = 0
            for _ in range(6):
                image = make_image(size=10)
                try:
                    await images.add(image)
                except QuotaExceeded:
                    continue
                alive.add(image.image_id)
                most = max(most, len(alive))
                added += 1
                await asyncio.sleep(0)
                alive.remove(image.image_id)
                assert await images.remove(image.image_id) == image
            return added

        added = await asyncio.gather(*(work(stores[i % 2].images) for i in range(6)))
        assert sum(added) >= 2
        assert most <= 2
        assert self.contents(place) == before

    async def test_the_same_bytes_ten_times_at_once(self, opening: Opening) -> None:
        """With room for one: all are given the one that is made."""
        both = [(await opening(ONE)).images for _ in range(2)]
        images = [make_image(sha256=FULL, size=10) for _ in range(10)]
        added = await asyncio.gather(*(both[i % 2].add(image, return_duplicate=True) for i, image in enumerate(images)))
        assert added[0] in images
        assert added == [added[0]] * 10
        assert await both[0].usage("ann") == Usage(1, 10)
        assert await whole_list(both[0], ImageQuery()) == [added[0]]

    async def test_ten_removals_at_once_make_room_for_one(self, opening: Opening) -> None:
        images = (await opening(Quota(images=2))).images
        goes = await fill(images)
        await images.add(make_image(size=10))
        await asyncio.gather(*(images.remove(goes.image_id) for _ in range(10)))
        results = await result_of(*(images.add(make_image(size=10)) for _ in range(5)))
        assert Counter(map(type, results)) == {Image: 1, QuotaExceeded: 4}
        assert await images.usage("ann") == Usage(2, 20)

    # One after the other

    @pytest.mark.parametrize("quota", [Quota(images=3), Quota(bytes=30)], ids=["images", "bytes"])
    async def test_what_is_removed_makes_room(self, opening: Opening, quota: Quota) -> None:
        """For as much as it was, no more."""
        images = (await opening(quota)).images
        there = [await images.add(make_image(size=10)) for _ in range(3)]
        for image in there:
            with pytest.raises(QuotaExceeded):
                await images.add(make_image(size=10))
            await images.remove(image.image_id)
            assert await images.remove(image.image_id) is None
            assert await images.remove(there[-1].image_id, owner="bob") is None
            await images.add(make_image(size=10))
        with pytest.raises(QuotaExceeded):
            await images.add(make_image(size=10))
        assert await images.usage("ann") == Usage(3, 30)

    async def test_other_users_are_not_concerned(self, opening: Opening) -> None:
        images = (await opening(ONE)).images
        await fill(images)
        for user_id in ("bob", "an", "ann#", "Ann"):
            await images.add(make_image(user_id=user_id))
            with pytest.raises(QuotaExceeded):
                await images.add(make_image(user_id=user_id))
        assert (await images.usage(None)).images == 5

    @pytest.mark.parametrize(
        ("quota", "detail"),
        [
            (Quota(images=2, bytes=500), "The owner may have 2 images and has 2; this would be 1 more."),
            (Quota(images=9, bytes=123), "The owner may have 123 bytes and has 120; this would be 4 more."),
        ],
        ids=["images", "bytes"],
    )
    async def test_it_says_what_is_used_up(self, opening: Opening, quota: Quota, detail: str) -> None:
        images = (await opening(quota)).images
        for size in (100, 20):
            await images.add(make_image(size=size))
        with pytest.raises(QuotaExceeded) as caught:
            await images.add(make_image(size=4))
        assert caught.value.detail == detail

    @pytest.mark.parametrize("return_duplicate", [False, True], ids=["store", "return"])
    @pytest.mark.parametrize("quota", [Quota(images=0), Quota(bytes=9), Quota(images=1, bytes=0)], ids=str)
    async def test_one_that_is_too_much_by_itself(
        self, opening: Opening, place: Place, quota: Quota, return_duplicate: bool
    ) -> None:
        """Also for a user who has nothing yet."""
        images = (await opening(quota)).images
        before = self.contents(place)
        with pytest.raises(QuotaExceeded):
            await images.add(make_image(size=10), return_duplicate=return_duplicate)
        assert self.contents(place) == before

    async def test_one_that_just_fits(self, opening: Opening) -> None:
        images = (await opening(Quota(images=1, bytes=10))).images
        image = make_image(size=10)
        assert await images.add(image) == image

    async def test_what_was_there_before_the_quota(self, opening: Opening, place: Place) -> None:
        """It counts, and may be more than allowed: then it can be changed and removed, and nothing added."""
        unlimited = (await opening(UNLIMITED)).images
        before = self.contents(place)
        there = [await unlimited.add(make_image(size=10, tags=("cat",))) for _ in range(3)]
        images = (await opening(Quota(images=2, bytes=1_000))).images
        assert await images.replace(there[0], changed(there[0])) is True
        for image in there[:2]:
            with pytest.raises(QuotaExceeded):
                await images.add(make_image())
            assert await images.remove(image.image_id)
        there.append(await images.add(make_image(size=10)))
        await unlimited.add(more := make_image(size=10))
        with pytest.raises(QuotaExceeded):
            await images.add(make_image())
        assert await images.usage("ann") == Usage(3, 30)
        for image in (there[2], more):
            await images.remove(image.image_id)
        await unlimited.remove(there[3].image_id)
        assert self.contents(place) == before

    async def test_to_change_needs_no_room(self, opening: Opening) -> None:
        images = (await opening(Quota(images=1, bytes=10))).images
        image = await fill(images)
        assert await images.replace(image, changed(image)) is True
        assert await images.usage("ann") == Usage(1, 10)

    async def test_a_failed_add_uses_nothing(self, opening: Opening) -> None:
        """An id that is taken is refused as such, whether there is room or not."""
        images = (await opening(Quota(images=2))).images
        image = await fill(images)
        for _ in range(3):
            with pytest.raises(StoreFailed):
                await images.add(make_image(image_id=image.image_id))
        assert await images.usage("ann") == Usage(1, 10)
        await images.add(make_image())
        with pytest.raises(QuotaExceeded):
            await images.add(make_image())
        with pytest.raises(StoreFailed):
            await images.add(make_image(image_id=image.image_id))

    # Together with duplicates, uploads and claims

    async def test_a_duplicate_needs_no_room(self, opening: Opening, place: Place) -> None:
        """Unless it is to be stored; and what is none is refused as ever."""
        images = (await opening(ONE)).images
        image = await fill(images)
        before = self.contents(place)
        assert await images.add(make_image(sha256=FULL), return_duplicate=True) == image
        for new, return_duplicate in ((make_image(sha256=FULL), False), (make_image(), True)):
            with pytest.raises(QuotaExceeded):
                await images.add(new, return_duplicate=return_duplicate)
        assert self.contents(place) == before

    @pytest.mark.parametrize("return_duplicate", [False, True], ids=["store", "return"])
    async def test_a_refused_upload_stays_open(self, opening: Opening, place: Place, return_duplicate: bool) -> None:
        """And its claim held: once there is room it is completed with the same."""
        stores = await opening(ONE)
        image = await fill(stores.images)
        upload, claim = make_upload(), make_claim()
        await stores.uploads.declare(upload)
        await stores.claims.take(claim)
        before = self.contents(place)
        new = image_of(upload)
        for held in (None, claim):
            for completes in (False, True):
                with pytest.raises(QuotaExceeded):
                    await stores.images.add(new, completes=completes, claim=held, return_duplicate=return_duplicate)
        assert self.contents(place) == before
        assert await stores.claims.take(make_claim()) == claim
        await stores.images.remove(image.image_id)
        assert await stores.images.add(new, completes=True, claim=claim, return_duplicate=return_duplicate) == new
        found = await stores.uploads.get(upload.image_id)
        assert found is not None
        assert found.completed == upload.image_id
        assert (await stores.claims.take(make_claim())).result is not None

    async def test_an_upload_completes_as_a_duplicate_without_room(self, opening: Opening) -> None:
        stores = await opening(ONE)
        image = await fill(stores.images)
        upload, claim = make_upload(), make_claim()
        await stores.uploads.declare(upload)
        await stores.claims.take(claim)
        new = image_of(upload, sha256=FULL)
        assert await stores.images.add(new, return_duplicate=True, completes=True, claim=claim) == image
        found = await stores.uploads.get(upload.image_id)
        assert found is not None
        assert found.completed == image.image_id
        assert await stores.images.usage("ann") == Usage(1, 10)

    @pytest.mark.parametrize("quota", [ONE, Quota(images=9)], ids=["used up", "room"])
    @pytest.mark.parametrize("state", [state for state in STATES if state != "completed"])
    async def test_an_upload_that_is_not_open(self, opening: Opening, place: Place, state: str, quota: Quota) -> None:
        """That is what is told, whether there is room or not."""
        upload = await not_open(await opening(UNLIMITED), state)
        stores = await opening(quota)
        await fill(stores.images)
        before = self.contents(place)
        with pytest.raises(UploadNotOpen):
            await stores.images.add(image_of(upload), completes=True)
        assert self.contents(place) == before

    @pytest.mark.parametrize("quota", [ONE, Quota(images=9)], ids=["used up", "room"])
    async def test_a_claim_that_is_lost(self, opening: Opening, place: Place, quota: Quota) -> None:
        stores = await opening(quota)
        await fill(stores.images)
        await stores.claims.take(make_claim())
        before = self.contents(place)
        with pytest.raises(ClaimLost):
            await stores.images.add(make_image(image_id=new_id()), claim=make_claim())
        assert self.contents(place) == before
