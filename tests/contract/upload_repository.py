"""What every UploadRepository promises, alone and together with the ImageRepository that completes uploads."""

import asyncio
from collections import Counter

import msgspec
import pytest

from src.common.ids import new_id
from src.models.image import Image
from src.models.page import ImageQuery, Page
from src.models.upload import KEPT, Upload
from src.models.usage import Usage
from src.repositories.ports import UploadExists, UploadNotOpen
from tests.contract.claim_repository import outcome
from tests.contract.image_repository import tag_counts
from tests.support.images import id_at, make_image
from tests.support.stores import (
    MINUTE,
    SECOND,
    Stores,
    StoresContract,
    make_claim,
    make_upload,
    this_second,
    upload_of_age,
)

FULLEST = make_upload(
    content_type="image/webp",
    size=5_368_709_121,
    user_id="auth0|5f.A+b@example.org:x-y_z",
    filename='Übung "zwei" \\ 写真 🌄.jpeg',
    tags=tuple(f"{i:02}{'漢' * 62}" for i in range(20)),
    description="漢" * 1_990 + "\n\t\u2028 <b>' \" \\ \u0000 e\u0301",
    width=65_535,
    height=1,
    sha256="0f" * 32,
    return_duplicate=True,
)
ONE, TWO = "11" * 32, "22" * 32


def image_of(upload: Upload, **overrides: object) -> Image:
    """Return the image that the upload is to become."""
    return make_image(image_id=upload.image_id, **{"tags": ("cat",), "size": 10, **overrides})


async def result_of(*calls: object) -> list[object]:
    return await asyncio.gather(*calls, return_exceptions=True)  # type: ignore[call-overload, no-any-return]


async def not_open(stores: Stores, state: str) -> Upload:
    """Return an upload that can't be completed, because of its state."""
    age = KEPT + SECOND if state == "expired" else SECOND
    upload = upload_of_age(age)
    if state != "never declared":
        await stores.uploads.declare(upload)
    if state == "cancelled":
        await stores.uploads.cancel(upload.image_id)
    if state in ("completed", "completed and its image removed"):
        await stores.images.add(image_of(upload), completes=True)
    if state == "completed and its image removed":
        await stores.images.remove(upload.image_id)
    return upload


STATES = ["never declared", "cancelled", "completed", "completed and its image removed", "expired"]


class UploadRepositoryContract[Place](StoresContract[Place]):
    """The suite. `Place` is where a backend keeps its records: a path, or the name of a table."""

    pytestmark = pytest.mark.anyio

    # Declared

    @pytest.mark.parametrize("upload", [FULLEST, make_upload()], ids=["fullest", "plainest"])
    async def test_every_field_comes_back(self, stores: Stores, others: Stores, upload: Upload) -> None:
        await stores.uploads.declare(upload)
        assert await stores.uploads.get(upload.image_id) == upload
        assert await others.uploads.get(upload.image_id) == upload

    async def test_an_unknown_id_is_none(self, stores: Stores) -> None:
        upload = make_upload()
        await stores.uploads.declare(upload)
        for unknown in (new_id(), upload.image_id[:-1], upload.image_id.upper(), ""):
            assert await stores.uploads.get(unknown) is None
            assert await stores.uploads.pin(unknown, ONE) is False
            assert await stores.uploads.cancel(unknown) is False
        assert await stores.uploads.get(upload.image_id) == upload

    async def test_an_upload_is_no_image(self, stores: Stores) -> None:
        """Until it is completed nothing of it is seen among the images; nor is an image an upload."""
        upload = make_upload(user_id="ann", tags=("cat",))
        await stores.uploads.declare(upload)
        assert await stores.images.get(upload.image_id) is None
        assert await stores.images.remove(upload.image_id) is None
        assert await stores.images.list(ImageQuery()) == Page((), None)
        assert await stores.images.usage(None) == Usage(0, 0)
        image = await stores.images.add(make_image())
        assert await stores.uploads.get(image.image_id) is None
        assert await stores.uploads.cancel(image.image_id) is False

    async def test_an_id_is_declared_once(self, stores: Stores, place: Place) -> None:
        """Another upload with it is refused, and the first one stays."""
        upload = make_upload()
        await stores.uploads.declare(upload)
        before = self.contents(place)
        with pytest.raises(UploadExists):
            await stores.uploads.declare(make_upload(image_id=upload.image_id, size=1))
        assert self.contents(place) == before

    # Declared again

    @pytest.mark.parametrize("state", [*STATES, "open", "pinned"])
    async def test_an_upload_is_replaced_by_who_knows_it(self, stores: Stores, others: Stores, state: str) -> None:
        """Whatever became of it: what is declared then is all there is, and open."""
        upload = await not_open(stores, state)
        if state == "pinned":
            await stores.uploads.pin(upload.image_id, ONE)
        known = await stores.uploads.get(upload.image_id)
        assert (known is None) is (state in ("never declared", "cancelled", "expired"))
        new = make_upload(image_id=upload.image_id, size=1, sha256=TWO)
        await others.uploads.declare(new, replaces=known)
        assert await stores.uploads.get(upload.image_id) == new
        assert await stores.uploads.pin(upload.image_id, ONE) is False
        assert await stores.uploads.pin(upload.image_id, TWO) is True

    async def test_only_what_is_known_is_replaced(self, stores: Stores, place: Place) -> None:
        """Not what has been declared, pinned, completed or cancelled since it was read."""
        first = make_upload()
        again = make_upload(image_id=first.image_id, size=1)

        async def is_refused(replaces: Upload | None) -> None:
            before = self.contents(place)
            with pytest.raises(UploadExists):
                await stores.uploads.declare(again, replaces=replaces)
            assert self.contents(place) == before

        await is_refused(first)
        await stores.uploads.declare(first)
        await is_refused(None)
        await stores.uploads.pin(first.image_id, ONE)
        pinned = msgspec.structs.replace(first, sha256=ONE)
        for wrong in (None, first, again, msgspec.structs.replace(pinned, sha256=TWO)):
            await is_refused(wrong)
        await stores.images.add(image_of(first, sha256=ONE), completes=True)
        await is_refused(pinned)
        await stores.uploads.declare(again, replaces=msgspec.structs.replace(pinned, completed=first.image_id))
        await stores.uploads.cancel(first.image_id)
        await is_refused(again)

    async def test_the_same_that_another_request_has_declared(self, stores: Stores, others: Stores) -> None:
        """It is not this one's declaration, whose claim has no result yet: it is made in place of that one."""
        claim, upload = make_claim(), make_upload()
        await stores.claims.take(claim)
        await others.uploads.declare(upload)
        with pytest.raises(UploadExists):
            await stores.uploads.declare(upload, claim=claim)
        await stores.uploads.declare(upload, replaces=upload, claim=claim)
        assert await outcome(stores, Upload) == upload

    async def test_of_ten_that_declare_an_id_at_once_one_does(self, stores: Stores, others: Stores) -> None:
        """For the first time, and in place of another one."""
        known: Upload | None = None
        for size in (1, 101):
            both = (stores.uploads, others.uploads)
            uploads = [make_upload(image_id=FULLEST.image_id, size=size + number) for number in range(10)]
            results = await result_of(
                *(both[i % 2].declare(upload, replaces=known) for i, upload in enumerate(uploads))
            )
            assert Counter(map(type, results)) == {type(None): 1, UploadExists: 9}
            known = await stores.uploads.get(FULLEST.image_id)
            assert known == uploads[results.index(None)]

    async def test_it_ends_a_day_after_it_was_declared(self, stores: Stores) -> None:
        """However old its id is."""
        old = id_at(this_second() - 1_000 * KEPT)
        upload = make_upload(image_id=old)
        await stores.uploads.declare(upload)
        assert await stores.uploads.get(old) == upload
        image = image_of(upload)
        assert await stores.images.add(image, completes=True) == image

    async def test_what_has_ended_may_still_be_looked_at(self, stores: Stores) -> None:
        """As long as it is stored: who has begun to complete it may not know yet."""
        for state in ("expired", "open"):
            upload = await not_open(stores, state)
            assert await stores.uploads.get(upload.image_id, ended=True) == upload
        assert await stores.uploads.get(new_id(), ended=True) is None

    # Kept for a day

    async def test_after_a_day_it_is_as_good_as_not_there(self, stores: Stores, place: Place) -> None:
        """Whether the store has removed it yet or not."""
        upload = await not_open(stores, "expired")
        before = self.contents(place)
        assert await stores.uploads.get(upload.image_id) is None
        assert await stores.uploads.pin(upload.image_id, ONE) is False
        assert await stores.uploads.cancel(upload.image_id) is False
        with pytest.raises(UploadNotOpen):
            await stores.images.add(image_of(upload), completes=True)
        assert self.contents(place) == before

    async def test_within_the_day_it_is_open(self, stores: Stores) -> None:
        uploads = [upload_of_age(KEPT - MINUTE) for _ in range(2)]
        for upload in uploads:
            await stores.uploads.declare(upload)
            assert await stores.uploads.get(upload.image_id) == upload
            assert await stores.uploads.pin(upload.image_id, ONE) is True
        assert await stores.uploads.cancel(uploads[0].image_id) is True
        image = image_of(uploads[1], sha256=ONE)
        assert await stores.images.add(image, completes=True) == image

    # Pinned

    @pytest.mark.parametrize("declared", [None, ONE], ids=["pinned", "declared"])
    async def test_the_first_checksum_counts(self, stores: Stores, others: Stores, declared: str | None) -> None:
        """The same may be fixed again, another one not; nothing else of the upload changes."""
        upload = make_upload(sha256=declared)
        await stores.uploads.declare(upload)
        if declared is None:
            assert await stores.uploads.pin(upload.image_id, ONE) is True
        for _ in range(2):
            assert await others.uploads.pin(upload.image_id, TWO) is False
            assert await others.uploads.pin(upload.image_id, ONE) is True
            assert await stores.uploads.get(upload.image_id) == msgspec.structs.replace(upload, sha256=ONE)

    @pytest.mark.parametrize("state", STATES)
    async def test_only_an_open_upload_is_pinned(self, stores: Stores, place: Place, state: str) -> None:
        upload = await not_open(stores, state)
        before = self.contents(place)
        assert await stores.uploads.pin(upload.image_id, ONE) is False
        assert self.contents(place) == before

    async def test_of_ten_checksums_at_once_one_is_fixed(self, stores: Stores, others: Stores) -> None:
        upload = make_upload()
        await stores.uploads.declare(upload)
        checksums = [f"{number:064x}" for number in range(10)]
        both = (stores.uploads, others.uploads)
        pinned = await asyncio.gather(*(both[i % 2].pin(upload.image_id, sha256) for i, sha256 in enumerate(checksums)))
        assert sorted(pinned) == [False] * 9 + [True]
        found = await stores.uploads.get(upload.image_id)
        assert found is not None
        assert found.sha256 == checksums[pinned.index(True)]

    # Cancelled

    async def test_a_cancelled_upload_is_gone(self, stores: Stores, place: Place) -> None:
        """Pinned or not; nothing is left of it, and it can be cancelled but once."""
        before = self.contents(place)
        for checksum in (None, ONE):
            upload = make_upload()
            await stores.uploads.declare(upload)
            if checksum:
                await stores.uploads.pin(upload.image_id, checksum)
            assert await stores.uploads.cancel(upload.image_id) is True
            assert await stores.uploads.cancel(upload.image_id) is False
            assert await stores.uploads.get(upload.image_id) is None
            assert self.contents(place) == before

    async def test_a_completed_upload_is_not_cancelled(self, stores: Stores) -> None:
        upload = await not_open(stores, "completed")
        assert await stores.uploads.cancel(upload.image_id) is False
        assert await stores.images.get(upload.image_id) == image_of(upload)

    async def test_it_is_cancelled_or_completed(self, stores: Stores, others: Stores, place: Place) -> None:
        """At once: then one of both has happened, and the other was refused."""
        before = self.contents(place)
        for _ in range(10):
            upload = make_upload()
            await stores.uploads.declare(upload)
            added, is_cancelled = await result_of(
                stores.images.add(image_of(upload), completes=True), others.uploads.cancel(upload.image_id)
            )
            if is_cancelled:
                assert isinstance(added, UploadNotOpen)
                assert self.contents(place) == before
            else:
                assert added == image_of(upload)
                await stores.images.remove(upload.image_id)
                before = self.contents(place)  # with an upload that is completed

    # Completed

    async def test_to_add_completes(self, stores: Stores, others: Stores) -> None:
        """Record, lists, counts and the upload's end are one commit; what was pinned stays."""
        upload = make_upload(size=10)
        await stores.uploads.declare(upload)
        await stores.uploads.pin(upload.image_id, ONE)
        image = image_of(upload, sha256=ONE)
        assert await stores.images.add(image, completes=True) == image
        assert await others.uploads.get(upload.image_id) == msgspec.structs.replace(
            upload, sha256=ONE, completed=upload.image_id
        )
        assert await others.images.get(upload.image_id) == image
        assert await others.images.list(ImageQuery(tags=("cat",))) == Page((image,), None)
        assert await others.images.usage("ann") == await others.images.usage(None) == Usage(1, 10)
        assert await tag_counts(others.images) == {"cat": 1}

    @pytest.mark.parametrize("return_duplicate", [False, True], ids=["store", "return"])
    @pytest.mark.parametrize("state", STATES)
    async def test_only_an_open_upload_is_completed(
        self, stores: Stores, place: Place, state: str, return_duplicate: bool
    ) -> None:
        """Else nothing at all is written: no record, nothing in any list, no count."""
        upload = await not_open(stores, state)
        before = self.contents(place)
        with pytest.raises(UploadNotOpen):
            await stores.images.add(image_of(upload), completes=True, return_duplicate=return_duplicate)
        assert self.contents(place) == before

    @pytest.mark.parametrize("return_duplicate", [False, True], ids=["store", "return"])
    async def test_an_upload_of_other_bytes_is_not_completed(
        self, stores: Stores, place: Place, return_duplicate: bool
    ) -> None:
        """As it is when it was cancelled and declared anew since its bytes were looked at."""
        upload = make_upload(sha256=ONE)
        await stores.uploads.declare(upload)
        before = self.contents(place)
        image = image_of(upload, sha256=TWO)
        with pytest.raises(UploadNotOpen):
            await stores.images.add(image, completes=True, return_duplicate=return_duplicate)
        assert self.contents(place) == before

    async def test_a_duplicate_completes_no_upload_that_is_not_open(self, stores: Stores, place: Place) -> None:
        upload = await not_open(stores, "cancelled")
        await stores.images.add(make_image(sha256=ONE))
        before = self.contents(place)
        with pytest.raises(UploadNotOpen):
            await stores.images.add(image_of(upload, sha256=ONE), completes=True, return_duplicate=True)
        assert self.contents(place) == before

    @pytest.mark.parametrize("return_duplicate", [False, True], ids=["store", "return"])
    async def test_of_ten_completions_at_once_one_commits(
        self, stores: Stores, others: Stores, return_duplicate: bool
    ) -> None:
        """The others are told that the upload is not open, and count nothing."""
        upload = make_upload()
        await stores.uploads.declare(upload)
        image = image_of(upload)
        both = (stores.images, others.images)
        results = await result_of(
            *(both[i % 2].add(image, completes=True, return_duplicate=return_duplicate) for i in range(10))
        )
        assert Counter(map(type, results)) == {Image: 1, UploadNotOpen: 9}
        assert image in results
        assert await stores.images.list(ImageQuery()) == Page((image,), None)
        assert await stores.images.usage(None) == await stores.images.usage("ann") == Usage(1, 10)
        assert await tag_counts(stores.images) == {"cat": 1}

    async def test_a_duplicate_completes_as_the_older_image(self, stores: Stores) -> None:
        older = await stores.images.add(make_image(sha256=ONE, size=10, tags=("dog",)))
        upload = make_upload()
        await stores.uploads.declare(upload)
        image = image_of(upload, sha256=ONE)
        assert await stores.images.add(image, completes=True, return_duplicate=True) == older
        found = await stores.uploads.get(upload.image_id)
        assert found == msgspec.structs.replace(upload, completed=older.image_id)
        assert await stores.images.get(upload.image_id) is None
        assert await stores.images.usage("ann") == Usage(1, 10)
        assert await tag_counts(stores.images) == {"dog": 1}

    async def test_ten_uploads_of_the_same_bytes_at_once(self, stores: Stores, others: Stores, place: Place) -> None:
        """One becomes an image, and all of them are completed as that one."""
        uploads = [make_upload() for _ in range(10)]
        for upload in uploads:
            await stores.uploads.declare(upload)
        both = (stores.images, others.images)
        images = await asyncio.gather(
            *(
                both[i % 2].add(image_of(upload, sha256=ONE), completes=True, return_duplicate=True)
                for i, upload in enumerate(uploads)
            )
        )
        assert images == [images[0]] * 10
        assert await stores.images.list(ImageQuery()) == Page((images[0],), None)
        for upload in uploads:
            found = await stores.uploads.get(upload.image_id)
            assert found == msgspec.structs.replace(upload, completed=images[0].image_id)
        assert await stores.images.usage(None) == Usage(1, 10)
        assert await tag_counts(stores.images) == {"cat": 1}
        await stores.images.remove(images[0].image_id)
        assert await stores.images.usage(None) == Usage(0, 0)
        assert await tag_counts(stores.images) == {}
