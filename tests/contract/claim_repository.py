"""What every ClaimRepository promises, alone and together with those that commit a claim's result."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from src.models.claim import Claim, Outcome
from src.models.image import Image
from src.models.page import ImageQuery, Page
from src.models.upload import Upload
from src.models.usage import Usage
from src.repositories.ports import ClaimLost, UploadNotOpen
from tests.support.images import make_image
from tests.support.stores import SECOND, Stores, StoresContract, make_claim, make_upload, this_second

RESULT = b'{"a":"result"}'

# What could run together, or mean something to a store.
NAMES = [
    *(("a", "b#c"), ("a#b", "c"), ("a", "b%23c"), ("a%23b", "c"), ("a#b#c", "d"), ("a", "b"), ("b", "a")),
    *(
        ("A", "b"),
        ("a", "B"),
        ("a", "b "),
        ("a", " b"),
        ("a", "a#b%"),
        ("a", "a#b"),
        ("a", "%"),
        ("a", "#"),
        ("a", "_"),
    ),
    *(("a", "'"), ("a", '"'), ("a", "''"), ("a", "\\"), ("a", ";--"), ("it's", "b"), ("a", "sha256"), ("a", "usage")),
    *(("a", "x" * 255), ("a", "x" * 254 + "y"), ("a", "#" * 255), ("a", "%" * 255), ("a" * 128, "#" * 255)),
]


def dead(**overrides: object) -> Claim:
    """Return a claim whose request should have ended long ago."""
    return make_claim(locked_until=this_second() - SECOND, **overrides)


def expired(**overrides: object) -> Claim:
    return make_claim(expires_at=this_second() - SECOND, **overrides)


def with_result(claim: Claim, result: bytes = RESULT) -> Claim:
    return msgspec.structs.replace(claim, result=result)


async def lost(stores: Stores, how: str) -> Claim:
    """Return a claim that does not hold its key any more, or never did."""
    if how == "never taken":
        return make_claim()
    claim = dead()
    await stores.claims.take(claim)
    if how == "let go":
        await stores.claims.release(claim)
    else:
        await stores.claims.take(other := make_claim())
        if how == "taken over and finished":
            await stores.claims.finish(other, RESULT)
    return claim


LOST = ["never taken", "let go", "taken over", "taken over and finished"]


class ClaimRepositoryContract[Place](StoresContract[Place]):
    """The suite. `Place` is where a backend keeps its records: a path, or the name of a table."""

    pytestmark = pytest.mark.anyio

    # Taken

    async def test_a_free_key_is_taken(self, stores: Stores, others: Stores) -> None:
        """Whoever comes later is told who has it, and of what content."""
        claim = make_claim(fingerprint="1" * 64)
        assert await stores.claims.take(claim) == claim
        for claims in (stores.claims, others.claims):
            assert await claims.take(make_claim(fingerprint="2" * 64)) == claim

    async def test_a_key_of_the_dead_is_taken_over(self, stores: Stores, others: Stores) -> None:
        """By one; who had it can neither finish nor let it go then."""
        first, second, third = dead(), make_claim(fingerprint="2" * 64), make_claim()
        await stores.claims.take(first)
        assert await others.claims.take(second) == second
        with pytest.raises(ClaimLost):
            await stores.claims.finish(first, RESULT)
        await stores.claims.release(first)
        assert await stores.claims.take(third) == second
        await others.claims.finish(second, RESULT)
        assert await stores.claims.take(third) == with_result(second)

    async def test_a_result_stays_until_it_expires(self, stores: Stores) -> None:
        """However long ago its request should have ended."""
        claim = dead()
        await stores.claims.take(claim)
        await stores.claims.finish(claim, RESULT)
        for _ in range(2):
            assert await stores.claims.take(make_claim()) == with_result(claim)

    async def test_an_expired_key_is_free(self, stores: Stores) -> None:
        """With a result or without, which then is the new one's."""
        for key in ("with", "without"):
            old = expired(key=key)
            await stores.claims.take(old)
            if key == "with":
                await stores.claims.finish(old, RESULT)
            new = make_claim(key=key, fingerprint="2" * 64)
            assert await stores.claims.take(new) == new
            assert await stores.claims.take(make_claim(key=key)) == new
            with pytest.raises(ClaimLost):
                await stores.claims.finish(old, b"late")

    async def test_keys_are_taken_literally(self, stores: Stores) -> None:
        """No character has a meaning to the store, no two keys are alike to it, and callers share none."""
        claims = [make_claim(scope=scope, key=key) for scope, key in NAMES]
        for claim in claims:
            assert await stores.claims.take(claim) == claim
        for number, claim in enumerate(claims):
            await stores.claims.finish(claim, b"%d" % number)
        for number, claim in enumerate(claims):
            again = make_claim(scope=claim.scope, key=claim.key)
            assert await stores.claims.take(again) == with_result(claim, b"%d" % number)

    @pytest.mark.parametrize("before", ["nobody", "the dead", "an expired one"])
    async def test_of_ten_at_once_one_takes_it(self, stores: Stores, others: Stores, before: str) -> None:
        """And all of them are told which."""
        if before != "nobody":
            await stores.claims.take(dead() if before == "the dead" else expired())
        claims = [make_claim() for _ in range(10)]
        both = (stores.claims, others.claims)
        holders = await asyncio.gather(*(both[i % 2].take(claim) for i, claim in enumerate(claims)))
        assert holders[0] in claims
        assert holders == [holders[0]] * 10
        await stores.claims.finish(holders[0], RESULT)

    # Let go

    async def test_a_key_is_let_go(self, stores: Stores, place: Place) -> None:
        before = self.contents(place)
        claim = make_claim()
        await stores.claims.take(claim)
        await stores.claims.release(claim)
        assert self.contents(place) == before
        await stores.claims.release(claim)
        with pytest.raises(ClaimLost):
            await stores.claims.finish(claim, RESULT)
        other = make_claim()
        assert await stores.claims.take(other) == other

    async def test_only_who_has_it_lets_it_go(self, stores: Stores, place: Place) -> None:
        await stores.claims.take(make_claim())
        before = self.contents(place)
        for claim in (make_claim(), make_claim(scope="bob"), make_claim(key="another")):
            await stores.claims.release(claim)
            assert self.contents(place) == before

    async def test_a_result_is_not_let_go(self, stores: Stores) -> None:
        claim = make_claim()
        await stores.claims.take(claim)
        await stores.claims.finish(claim, RESULT)
        await stores.claims.release(claim)
        assert await stores.claims.take(make_claim()) == with_result(claim)

    # Results that are committed with something

    async def test_an_image_and_its_result_are_one_commit(self, stores: Stores, others: Stores) -> None:
        claim = make_claim()
        await stores.claims.take(claim)
        image = make_image(tags=("cat",), description='e\u0301 "\u0000" 漢')
        assert await stores.images.add(image, claim=claim) == image
        assert await others.images.get(image.image_id) == image
        assert await outcome(others, Outcome) == Outcome(image, True)

    async def test_an_upload_and_its_result_are_one_commit(self, stores: Stores, others: Stores) -> None:
        claim = make_claim()
        await stores.claims.take(claim)
        upload = make_upload(sha256="1f" * 32, user_id="ann", tags=("cat",), width=3)
        await stores.uploads.declare(upload, claim=claim)
        assert await others.uploads.get(upload.image_id) == upload
        assert await outcome(others, Upload) == upload

    async def test_a_duplicate_and_its_result(self, stores: Stores) -> None:
        """A result is recorded also where no record is written."""
        older = await stores.images.add(make_image())
        claim = make_claim()
        await stores.claims.take(claim)
        again = make_image(sha256=older.sha256)
        assert await stores.images.add(again, return_duplicate=True, claim=claim) == older
        assert await outcome(stores, Outcome) == Outcome(older, False)
        assert await stores.images.usage(None) == Usage(1, older.size)

    @pytest.mark.parametrize("duplicate", [False, True], ids=["new", "duplicate"])
    async def test_a_completion_and_its_result_are_one_commit(self, stores: Stores, duplicate: bool) -> None:
        upload, claim = make_upload(), make_claim()
        image = make_image(image_id=upload.image_id)
        older = await stores.images.add(make_image(sha256=image.sha256)) if duplicate else None
        await stores.uploads.declare(upload)
        await stores.claims.take(claim)
        committed = await stores.images.add(image, return_duplicate=True, completes=True, claim=claim)
        assert committed == (older or image)
        assert await outcome(stores, Outcome) == Outcome(committed, not duplicate)
        found = await stores.uploads.get(upload.image_id)
        assert found == msgspec.structs.replace(upload, completed=committed.image_id)

    @pytest.mark.parametrize("how", LOST)
    @pytest.mark.parametrize("what", ["image", "duplicate", "only one", "completion", "upload", "result"])
    async def test_who_has_lost_the_key_writes_nothing(self, stores: Stores, place: Place, what: str, how: str) -> None:
        """No record, nothing in any list, no count and no result."""
        claim, upload = await lost(stores, how), make_upload()
        image = make_image(image_id=upload.image_id, tags=("cat",))
        if what == "duplicate":
            await stores.images.add(make_image(sha256=image.sha256))
        if what == "completion":
            await stores.uploads.declare(upload)
        before = self.contents(place)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "image": lambda: stores.images.add(image, claim=claim),
            "duplicate": lambda: stores.images.add(image, return_duplicate=True, claim=claim),
            "only one": lambda: stores.images.add(image, return_duplicate=True, claim=claim),
            "completion": lambda: stores.images.add(image, completes=True, claim=claim),
            "upload": lambda: stores.uploads.declare(upload, claim=claim),
            "result": lambda: stores.claims.finish(claim, RESULT),
        }
        with pytest.raises(ClaimLost):
            await calls[what]()
        assert self.contents(place) == before

    async def test_an_upload_that_is_not_open_gives_no_result(self, stores: Stores, place: Place) -> None:
        claim = make_claim()
        await stores.claims.take(claim)
        before = self.contents(place)
        with pytest.raises(UploadNotOpen):
            await stores.images.add(make_image(), completes=True, claim=claim)
        assert self.contents(place) == before
        assert await stores.claims.take(make_claim()) == claim

    async def test_of_two_with_the_same_key_one_commits(self, stores: Stores, others: Stores) -> None:
        """The one that was given up for dead commits, or is too late: never are there two images."""
        for number in range(10):
            first, second = dead(key=f"{number}"), make_claim(key=f"{number}")
            images = [make_image(user_id=f"u{number}") for _ in range(2)]
            await stores.claims.take(first)

            async def take_over(second: Claim = second, image: Image = images[1]) -> object:
                holder = await others.claims.take(second)
                return await others.images.add(image, claim=second) if holder == second else holder

            done, taken = await asyncio.gather(
                stores.images.add(images[0], claim=first), take_over(), return_exceptions=True
            )
            committed = images[0] if done == images[0] else images[1]
            if committed == images[0]:
                assert isinstance(taken, Claim)
                assert taken.token == first.token
            else:
                assert isinstance(done, ClaimLost)
                assert taken == images[1]
            page = await stores.images.list(ImageQuery(user_id=f"u{number}"))
            assert page == Page((committed,), None)
            assert await outcome(stores, Outcome, key=f"{number}") == Outcome(committed, True)


async def outcome[T](stores: Stores, type_: type[T], **names: str) -> T:
    """Return the result that the key is found with by whoever comes now."""
    found = await stores.claims.take(make_claim(**names))
    assert found.result is not None
    return msgspec.json.decode(found.result, type=type_)
