"""What every ImageRepository promises. A backend's own file says only how to open one and how to go behind its back."""

import asyncio
import datetime as dt
import itertools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping

import msgspec
import pytest

from src.common.errors import StoreFailed
from src.common.ids import new_id
from src.models.image import Image
from src.models.page import ImageQuery, Page
from src.models.usage import TagCount, TagPage, TagQuery, Usage
from src.repositories.ports import ImageRepository
from tests.support.images import MILLISECOND, NOON, expected, id_at, make_image, walk, whole_list

SECOND = dt.timedelta(seconds=1)

EVERY_FIELD = make_image(
    user_id="auth0|5f.A+b@example.org:x-y_z",
    filename='Übung "zwei" \\ 写真 🌄.jpeg',
    content_type="image/webp",
    size=5_368_709_121,
    width=65_535,
    height=1,
    frames=2_000,
    tags=("zoo", "ärger", "写真", "🌄", "it's", 'a "quoted" tag', "50%", "a#b", "all"),
    description="Zeile 1\nZeile 2\t\u2028 <b>&amp;</b> ' \" \\ \u0000 é e\u0301",
    sha256="0f" * 32,
    color="#ffffff",
    created_at=NOON,
    updated_at=NOON + 1_234 * MILLISECOND,
    version=7,
)
LARGEST = make_image(
    user_id="u" * 128,
    filename="ü" * 255,
    tags=tuple(f"{i:02}{'漢' * 62}" for i in range(20)),
    description="漢" * 2_000,
    placeholder="data:image/webp;base64," + "A" * 2_000,
)
PLAINEST = make_image(tags=(), description="", filename="x")

GALLERY = tuple(
    make_image(image_id=id_at(NOON + i * SECOND), user_id=user_id, tags=tags)
    for i, (user_id, tags) in enumerate(
        [
            ("ann", ("cat", "sun")),
            ("bob", ("cat",)),
            ("ann", ()),
            ("ann", ("dog", "sun")),
            ("bob", ("cat", "dog", "sun")),
            ("ann", ("cat",)),
            ("cat", ("ann",)),
            ("ann", ("cat", "dog")),
            ("bob", ("sun",)),
            ("ann", ("cat", "sun", "dog")),
        ]
    )
)
MIDDLE = GALLERY[5]
QUERIES = {
    "everything": ImageQuery(),
    "one user": ImageQuery(user_id="ann"),
    "one tag": ImageQuery(tags=("cat",)),
    "all tags": ImageQuery(tags=("cat", "sun")),
    "all of three tags": ImageQuery(tags=("sun", "cat", "dog")),
    "any tag": ImageQuery(tags=("dog", "sun"), tag_mode="any"),
    "any of one tag": ImageQuery(tags=("dog",), tag_mode="any"),
    "without a tag": ImageQuery(exclude_tags=("cat",)),
    "without two tags": ImageQuery(exclude_tags=("cat", "ann")),
    "a user's tag": ImageQuery(user_id="ann", tags=("cat",)),
    "a user's any": ImageQuery(user_id="bob", tags=("cat", "sun"), tag_mode="any"),
    "from a moment": ImageQuery(created_after=NOON + 3 * SECOND),
    "until a moment": ImageQuery(created_before=NOON + 7 * SECOND),
    "a range": ImageQuery(created_after=NOON + 2 * SECOND, created_before=NOON + 8 * SECOND),
    "everything at once": ImageQuery(
        user_id="ann",
        tags=("cat", "dog"),
        tag_mode="any",
        exclude_tags=("sun",),
        created_after=NOON + SECOND,
        created_before=NOON + 9 * SECOND,
    ),
    "tags in a range": ImageQuery(
        tags=("cat", "sun"), exclude_tags=("dog",), created_after=NOON, created_before=NOON + 9 * SECOND
    ),
}


COUNTED = (
    make_image(user_id="ann", tags=("cat", "dog"), size=1),
    make_image(user_id="ann", tags=("cat", "a#b"), size=5_000_000_000),
    make_image(user_id="ann", tags=(), size=10),
    make_image(user_id="bob", tags=("cat", "写真"), size=100),
)

TAG_SETS: tuple[tuple[str, ...], ...] = ((), ("cat", "a#b"), ("a#b", "写真", "50%"))


def changed(image: Image, **values: object) -> Image:
    """Return the image's next version, a moment later."""
    moment = image.updated_at + MILLISECOND
    return msgspec.structs.replace(image, **{"version": image.version + 1, "updated_at": moment, **values})


async def walk_tags(repository: ImageRepository, query: TagQuery) -> list[TagCount]:
    """Return what all pages of tags hold, one after the other."""
    found: list[TagCount] = []
    while True:
        page = await repository.tags(query)
        found += page.tags
        assert len(page.tags) <= query.limit
        if page.after is None:
            return found
        query = msgspec.structs.replace(query, after=page.after)


async def tag_counts(repository: ImageRepository, user_id: str | None = None) -> dict[str, int]:
    return {found.tag: found.count for found in await walk_tags(repository, TagQuery(user_id=user_id))}


class ImageRepositoryContract[Place](ABC):
    """The suite. `Place` is where a backend keeps its records: a path, or the name of a table.

    A subclass also has a fixture `place`, a new and empty one for each test.
    """

    pytestmark = pytest.mark.anyio

    @abstractmethod
    async def open(self, place: Place) -> ImageRepository:
        """Open a repository. A place may be opened several times, at once and one after the other."""

    @abstractmethod
    def seed(self, place: Place, *images: Image) -> None:
        """Write what belongs to the images without any code of the adapter's."""

    @abstractmethod
    def entries(self, place: Place) -> Mapping[str, int]:
        """Count what is stored, by kind, without any code of the adapter's. Counters of use do not count."""

    # What is counted

    async def test_nothing_is_counted_yet(self, repository: ImageRepository) -> None:
        for user_id in (None, "ann"):
            assert await repository.usage(user_id) == Usage(0, 0)
            assert await repository.tags(TagQuery(user_id=user_id)) == TagPage((), None)

    async def test_images_are_counted(self, repository: ImageRepository, other: ImageRepository) -> None:
        """Each once, by its owner and among all, from when it is added until it is removed."""
        for image in COUNTED:
            await repository.add(image)
        assert await other.usage(None) == Usage(4, 5_000_000_111)
        assert await other.usage("ann") == Usage(3, 5_000_000_011)
        assert await other.usage("bob") == Usage(1, 100)
        assert await tag_counts(other) == {"a#b": 1, "cat": 3, "dog": 1, "写真": 1}
        assert await tag_counts(other, user_id="ann") == {"a#b": 1, "cat": 2, "dog": 1}
        assert await tag_counts(other, user_id="nobody") == {}
        for image in COUNTED[1:]:
            await other.remove(image.image_id)
            assert await other.remove(image.image_id) is None
        assert await repository.usage(None) == await repository.usage("ann") == Usage(1, 1)
        assert await repository.usage("bob") == Usage(0, 0)
        assert await tag_counts(repository) == {"cat": 1, "dog": 1}
        assert await tag_counts(repository, user_id="bob") == {}

    async def test_a_duplicate_is_not_counted(self, repository: ImageRepository) -> None:
        image = await repository.add(make_image(user_id="ann", tags=("cat",)), return_duplicate=True)
        await repository.add(make_image(user_id="ann", tags=("cat",), sha256=image.sha256), return_duplicate=True)
        assert await repository.usage("ann") == Usage(1, image.size)
        assert await tag_counts(repository) == {"cat": 1}

    async def test_many_at_once_are_all_counted(self, repository: ImageRepository) -> None:
        images = [make_image(user_id="ann", tags=("cat", f"t{number % 3}"), size=2) for number in range(30)]
        await asyncio.gather(*(repository.add(image) for image in images))
        assert await repository.usage("ann") == await repository.usage(None) == Usage(30, 60)
        assert await tag_counts(repository) == {"cat": 30, "t0": 10, "t1": 10, "t2": 10}

    async def test_pages_of_tags(self, repository: ImageRepository) -> None:
        """In order and each once, whatever the page's size; a cursor may name a tag that nobody has any more."""
        names = sorted(["cat", "catalogue", "cats", "ca", "dog", "écat", "zebra", "c", "d"])
        for number, name in enumerate(names):
            for _ in range(number % 3 + 1):
                await repository.add(make_image(user_id="ann", tags=(name,)))
        expected = [TagCount(name, number % 3 + 1) for number, name in enumerate(names)]
        for user_id in (None, "ann"):
            for limit in (1, 2, 4, 100):
                query = TagQuery(user_id=user_id, limit=limit)
                assert await walk_tags(repository, query) == expected
            query = TagQuery(user_id=user_id, prefix="cat", limit=2)
            assert [found.tag for found in await walk_tags(repository, query)] == ["cat", "catalogue", "cats"]
            for after, tags in (("a", ["c"]), ("c", ["ca"]), ("cab", ["cat"]), ("zebra", ["écat"]), ("ü", [])):
                page = await repository.tags(TagQuery(user_id=user_id, limit=1, after=after))
                assert [found.tag for found in page.tags] == tags
            page = await repository.tags(TagQuery(user_id=user_id, prefix="d", after="cat", limit=5))
            assert [found.tag for found in page.tags] == ["d", "dog"]
            for nothing in (TagQuery(prefix="x"), TagQuery(prefix="d", after="zebra"), TagQuery(after="\U0010fffe")):
                page = await repository.tags(msgspec.structs.replace(nothing, user_id=user_id))
                assert page == TagPage((), None)

    async def test_tags_that_nobody_has_any_more_are_no_pages(self, repository: ImageRepository) -> None:
        images = [make_image(user_id="ann", tags=(f"t{number}",)) for number in range(9)]
        for image in images:
            await repository.add(image)
        for image in images[:-1]:
            await repository.remove(image.image_id)
        for user_id in (None, "ann"):
            page = await repository.tags(TagQuery(user_id=user_id, limit=2))
            assert page == TagPage((TagCount("t8", 1),), None)

    @pytest.fixture
    async def repository(self, place: Place) -> AsyncIterator[ImageRepository]:
        repository = await self.open(place)
        yield repository
        await repository.close()

    @pytest.fixture
    async def other(self, place: Place, repository: ImageRepository) -> AsyncIterator[ImageRepository]:
        """The same records, opened a second time, as by another process."""
        other = await self.open(place)
        yield other
        await other.close()

    @pytest.fixture
    def gallery(self, place: Place, repository: ImageRepository) -> tuple[Image, ...]:
        self.seed(place, *GALLERY)
        return GALLERY

    # One image

    @pytest.mark.parametrize("image", [EVERY_FIELD, LARGEST, PLAINEST], ids=["every field", "largest", "plainest"])
    async def test_every_field_comes_back(self, repository: ImageRepository, image: Image) -> None:
        """What is added is what `add`, `get`, `list` and `remove` return, to the last field."""
        assert await repository.add(image) == image
        assert await repository.get(image.image_id) == image
        assert await repository.list(ImageQuery()) == Page((image,), None)
        assert await repository.remove(image.image_id) == image

    async def test_an_unknown_id_is_none(self, repository: ImageRepository) -> None:
        """`get` and `remove` return None for an id that is not there, however much it looks like one that is."""
        image = await repository.add(make_image())
        for unknown in (new_id(), image.image_id[:-1], image.image_id.upper(), image.image_id + "0", ""):
            if unknown != image.image_id:
                assert await repository.get(unknown) is None
                assert await repository.remove(unknown) is None
        assert await repository.get(image.image_id) == image

    async def test_a_removed_image_is_gone(self, repository: ImageRepository) -> None:
        """After `remove` an image can't be read, listed or removed again."""
        image = await repository.add(make_image(tags=("cat", "sun")))
        assert await repository.remove(image.image_id) == image
        assert await repository.get(image.image_id) is None
        assert await repository.remove(image.image_id) is None
        for query in (ImageQuery(), ImageQuery(user_id="ann"), ImageQuery(tags=("sun",))):
            assert await repository.list(query) == Page((), None)

    async def test_remove_leaves_nothing_behind(self, repository: ImageRepository, place: Place) -> None:
        """`remove` takes everything that `add` wrote, and nothing of another image."""
        stays = await repository.add(make_image(tags=("cat", "sun")))
        before = self.entries(place)
        for image in (make_image(tags=("cat", "sun")), EVERY_FIELD, LARGEST, PLAINEST):
            await repository.add(image)
            assert self.entries(place) != before
            await repository.remove(image.image_id)
            assert self.entries(place) == before
        assert await whole_list(repository, ImageQuery(tags=("cat",))) == [stays]

    async def test_of_many_removals_one_finds_the_image(self, repository: ImageRepository) -> None:
        """Of several calls at once, exactly one is told what it removed."""
        image = await repository.add(make_image(tags=("cat",)))
        removed = await asyncio.gather(*(repository.remove(image.image_id) for _ in range(10)))
        assert [found for found in removed if found] == [image]

    async def test_only_an_owners_image_is_removed(self, repository: ImageRepository, place: Place) -> None:
        """Where the owner is named: anybody else's is as good as not there, and stays as it is."""
        images = [await repository.add(make_image(user_id=user_id, tags=("cat",))) for user_id in ("ann", "bob")]
        before = self.entries(place)
        for image, owner in itertools.product(images, ("ann", "bob", "an", "Ann", "")):
            if owner != image.user_id:
                assert await repository.remove(image.image_id, owner=owner) is None
        assert await repository.remove(new_id(), owner="ann") is None
        assert self.entries(place) == before
        assert await tag_counts(repository) == {"cat": 2}
        assert await whole_list(repository, ImageQuery(order="oldest")) == images
        for image in images:
            assert await repository.remove(image.image_id, owner=image.user_id) == image
            assert await repository.remove(image.image_id, owner=image.user_id) is None
            assert await repository.get(image.image_id) is None

    async def test_what_was_acknowledged_outlives_the_repository(self, place: Place) -> None:
        """An image that was added, or removed, is so after closing and opening again."""
        first = await self.open(place)
        stays, goes = make_image(tags=("cat",)), make_image(tags=("cat",))
        await first.add(stays)
        await first.add(goes)
        await first.remove(goes.image_id)
        await first.close()
        second = await self.open(place)
        try:
            assert await second.get(stays.image_id) == stays
            assert await second.get(goes.image_id) is None
            assert await second.list(ImageQuery(tags=("cat",))) == Page((stays,), None)
        finally:
            await second.close()

    async def test_everybody_sees_a_write_that_returned(
        self, repository: ImageRepository, other: ImageRepository
    ) -> None:
        """Every read that begins after a write returned sees it, through whichever repository."""
        for _ in range(5):
            image = make_image(tags=("cat",))
            await repository.add(image)
            assert await other.get(image.image_id) == image
            assert await other.list(ImageQuery(tags=("cat",))) == Page((image,), None)
            await other.remove(image.image_id)
            assert await repository.get(image.image_id) is None
            assert await repository.list(ImageQuery(tags=("cat",))) == Page((), None)

    async def test_what_others_wrote_is_understood(self, repository: ImageRepository, place: Place) -> None:
        """The stored form is as documented: what is written by other means is found, listed and removed."""
        empty = self.entries(place)
        self.seed(place, EVERY_FIELD)
        assert await repository.get(EVERY_FIELD.image_id) == EVERY_FIELD
        query = ImageQuery(user_id=EVERY_FIELD.user_id, tags=("写真", "🌄"))
        assert await repository.list(query) == Page((EVERY_FIELD,), None)
        assert await repository.add(make_image(user_id=EVERY_FIELD.user_id, sha256="0f" * 32), return_duplicate=True)
        assert await repository.list(query) == Page((EVERY_FIELD,), None)
        await repository.remove(EVERY_FIELD.image_id)
        assert self.entries(place) == empty

    async def test_what_is_written_is_as_others_write_it(self, repository: ImageRepository, place: Place) -> None:
        """`add` stores exactly the entries that belong to an image."""
        await repository.add(EVERY_FIELD)
        added = self.entries(place)
        await repository.remove(EVERY_FIELD.image_id)
        self.seed(place, EVERY_FIELD)
        assert self.entries(place) == added

    async def test_a_failed_add_leaves_nothing(self, repository: ImageRepository, place: Place) -> None:
        """An id that is taken is refused with StoreFailed; no half of the new image is stored or listed."""
        image = await repository.add(make_image(tags=("cat",)))
        before = self.entries(place)
        with pytest.raises(StoreFailed):
            await repository.add(make_image(image_id=image.image_id, user_id="bob", tags=("dog",), filename="other"))
        assert self.entries(place) == before
        assert await repository.get(image.image_id) == image
        for query in (ImageQuery(user_id="bob"), ImageQuery(tags=("dog",)), ImageQuery(user_id="bob", tags=("dog",))):
            assert await repository.list(query) == Page((), None)
        assert await repository.list(ImageQuery()) == Page((image,), None)

    async def test_many_at_once(self, repository: ImageRepository) -> None:
        """Writes that run together all happen."""
        images = [make_image(tags=("cat", f"tag{i % 3}")) for i in range(40)]
        assert await asyncio.gather(*(repository.add(image) for image in images)) == images
        goes = images[::2]
        assert await asyncio.gather(*(repository.remove(image.image_id) for image in goes)) == goes
        assert await whole_list(repository, ImageQuery(tags=("cat",), order="oldest")) == images[1::2]

    async def test_ping_answers(self, repository: ImageRepository) -> None:
        """`ping` returns, with and without records."""
        assert await repository.ping() is None  # type: ignore[func-returns-value]
        await repository.add(make_image())
        assert await repository.ping() is None  # type: ignore[func-returns-value]

    # Changed

    async def test_a_replaced_image_is_listed_as_it_is_now(self, repository: ImageRepository, place: Place) -> None:
        """By all, its owner and each of its tags; a tag that it lost lists it no more, and what is others' stays."""
        image = await repository.add(make_image(user_id="ann", tags=("cat", "sun"), size=5))
        bobs = await repository.add(make_image(user_id="bob", tags=("cat", "sun"), size=7))
        new = changed(image, tags=("sun", "dog"), description="other", filename="other.jpg")
        assert await repository.replace(image, new) is True
        assert await repository.get(image.image_id) == new
        for tags, listed in (((), [bobs, new]), (("sun",), [bobs, new]), (("dog",), [new]), (("cat",), [bobs])):
            assert await whole_list(repository, ImageQuery(tags=tags)) == listed
            own = [found for found in listed if found == new]
            assert await whole_list(repository, ImageQuery(user_id="ann", tags=tags)) == own
        assert await whole_list(repository, ImageQuery(user_id="bob", tags=("cat",))) == [bobs]
        assert await whole_list(repository, ImageQuery(user_id="bob", tags=("dog",))) == []
        assert await tag_counts(repository) == {"cat": 1, "dog": 1, "sun": 2}
        assert await tag_counts(repository, user_id="ann") == {"dog": 1, "sun": 1}
        assert await tag_counts(repository, user_id="bob") == {"cat": 1, "sun": 1}
        assert await repository.usage("ann") == Usage(1, 5)
        assert await repository.usage(None) == Usage(2, 12)

    async def test_what_is_replaced_is_as_if_added_so(self, repository: ImageRepository, place: Place) -> None:
        """The same entries, whatever it was before."""
        await repository.add(make_image(tags=("cat",)))
        empty = self.entries(place)
        states = [changed(EVERY_FIELD, tags=tags, description=f"{tags}") for tags in TAG_SETS]
        for before, after in itertools.permutations(states, 2):
            await repository.add(after)
            wanted = self.entries(place)
            await repository.remove(after.image_id)
            await repository.add(before)
            assert await repository.replace(before, after) is True
            assert self.entries(place) == wanted
            assert set(await tag_counts(repository, user_id=after.user_id)) == set(after.tags)
            assert await repository.remove(after.image_id) == after
            assert self.entries(place) == empty
        assert await tag_counts(repository) == {"cat": 1}

    async def test_the_largest_image_is_replaced(self, repository: ImageRepository, place: Place) -> None:
        """Twenty long tags by twenty others."""
        empty = self.entries(place)
        new = changed(LARGEST, tags=tuple(tag[::-1] for tag in LARGEST.tags), description="字" * 2_000)
        assert not set(new.tags) & set(LARGEST.tags)
        await repository.add(LARGEST)
        assert await repository.replace(LARGEST, new) is True
        assert await tag_counts(repository) == dict.fromkeys(sorted(new.tags), 1)
        for tag in (new.tags[0], new.tags[-1]):
            assert await whole_list(repository, ImageQuery(tags=(tag,))) == [new]
        for tag in (LARGEST.tags[0], LARGEST.tags[-1]):
            assert await whole_list(repository, ImageQuery(tags=(tag,))) == []
        assert await repository.remove(new.image_id) == new
        assert self.entries(place) == empty

    async def test_only_what_is_still_there_is_replaced(
        self, repository: ImageRepository, other: ImageRepository, place: Place
    ) -> None:
        """If the record is another by now, in whichever field, or gone, nothing is written."""
        image = await repository.add(make_image(tags=("cat",)))
        now = changed(image, tags=("cat", "sun"))
        assert await other.replace(image, now) is True
        before = self.entries(place)
        for old in (image, changed(now), msgspec.structs.replace(now, description="x")):
            assert await repository.replace(old, changed(old, tags=("dog",))) is False
        assert self.entries(place) == before
        assert await repository.get(image.image_id) == now
        await repository.remove(image.image_id)
        before = self.entries(place)
        assert await repository.replace(now, changed(now, tags=("dog",))) is False
        assert self.entries(place) == before
        assert await tag_counts(repository) == {}
        assert await repository.usage(None) == Usage(0, 0)

    @pytest.mark.parametrize("same", [False, True], ids=["different", "the same"])
    async def test_of_ten_replaces_at_once_one_happens(
        self, repository: ImageRepository, other: ImageRepository, same: bool
    ) -> None:
        """Also if all of them want the same; it is counted once."""
        image = await repository.add(make_image(tags=("cat", "sun"), size=5))
        wanted = [changed(image, tags=("sun", "dog" if same else f"t{number}")) for number in range(10)]
        replaced = await asyncio.gather(
            *((repository, other)[i % 2].replace(image, new) for i, new in enumerate(wanted))
        )
        assert sorted(replaced) == [False] * 9 + [True]
        new = wanted[replaced.index(True)]
        assert await repository.get(image.image_id) == new
        assert await repository.list(ImageQuery(tags=("sun",))) == Page((new,), None)
        assert (
            await tag_counts(repository)
            == await tag_counts(repository, user_id="ann")
            == dict.fromkeys(sorted(new.tags), 1)
        )
        assert await repository.usage("ann") == Usage(1, 5)

    @pytest.mark.parametrize("return_duplicate", [False, True], ids=["store", "return"])
    async def test_an_image_is_removed_while_it_is_replaced(
        self, repository: ImageRepository, other: ImageRepository, place: Place, return_duplicate: bool
    ) -> None:
        """Whichever comes first, in the end nothing of it is left, and nobody is told of another image."""
        before = self.entries(place)
        for number in range(10):
            image = await repository.add(make_image(tags=("cat", "sun")), return_duplicate=return_duplicate)
            new = changed(image, tags=("dog", f"t{number}"))
            replaced, removed = await asyncio.gather(repository.replace(image, new), other.remove(image.image_id))
            assert removed == (new if replaced else image)
            assert self.entries(place) == before
        assert await tag_counts(repository) == {}
        assert await repository.usage(None) == Usage(0, 0)

    async def test_a_replaced_image_is_still_a_duplicate(self, repository: ImageRepository, place: Place) -> None:
        """As it is now, for those that ask for it; and goes without a trace."""
        before = self.entries(place)
        image = await repository.add(make_image(tags=("cat",)), return_duplicate=True)
        new = changed(image, tags=("dog",))
        assert await repository.replace(image, new) is True
        assert await repository.add(make_image(sha256=image.sha256), return_duplicate=True) == new
        assert await repository.remove(image.image_id) == new
        assert self.entries(place) == before
        again = make_image(sha256=image.sha256)
        assert await repository.add(again, return_duplicate=True) == again

    # Duplicates

    async def test_a_duplicate_is_returned_and_nothing_written(self, repository: ImageRepository, place: Place) -> None:
        """With `return_duplicate`, the owner's image of the same bytes is returned as it is."""
        image = await repository.add(make_image(tags=("cat",)), return_duplicate=True)
        before = self.entries(place)
        again = make_image(sha256=image.sha256, tags=("dog",), filename="other.jpg")
        assert await repository.add(again, return_duplicate=True) == image
        assert self.entries(place) == before
        assert await repository.get(again.image_id) is None
        assert await repository.list(ImageQuery(tags=("dog",))) == Page((), None)

    async def test_what_is_no_duplicate_is_added(self, repository: ImageRepository) -> None:
        """Another owner's image, other bytes, or not asking for it: then a new record is made."""
        image = await repository.add(make_image())
        for new, return_duplicate in (
            (make_image(user_id="bob", sha256=image.sha256), True),
            (make_image(user_id="an", sha256=image.sha256), True),
            (make_image(sha256=image.sha256[:-1] + ("0" if image.sha256[-1] != "0" else "1")), True),
            (make_image(sha256=image.sha256), False),
        ):
            assert await repository.add(new, return_duplicate=return_duplicate) == new
            assert await repository.get(new.image_id) == new

    async def test_a_removed_image_is_no_duplicate(self, repository: ImageRepository) -> None:
        """Once the duplicate is removed, the same bytes make a new record, which is then the duplicate."""
        image = await repository.add(make_image(), return_duplicate=True)
        await repository.remove(image.image_id)
        again = make_image(sha256=image.sha256)
        assert await repository.add(again, return_duplicate=True) == again
        assert await repository.add(make_image(sha256=image.sha256), return_duplicate=True) == again

    @pytest.mark.parametrize("removed", [0, 1])
    async def test_a_duplicate_is_found_while_one_exists(self, repository: ImageRepository, removed: int) -> None:
        """Of two images with the same bytes, whichever is removed, the other is still a duplicate."""
        images = [make_image(sha256="ab" * 32) for _ in range(2)]
        for image in images:
            await repository.add(image)
        await repository.remove(images[removed].image_id)
        found = await repository.add(make_image(sha256="ab" * 32), return_duplicate=True)
        assert found == images[1 - removed]

    async def test_of_ten_duplicates_at_once_one_is_written(
        self, repository: ImageRepository, other: ImageRepository, place: Place
    ) -> None:
        """However many ask at once, through whichever repository, exactly one record is made, and all are given it."""
        images = [make_image(sha256="ab" * 32, tags=("cat",)) for _ in range(10)]
        added = await asyncio.gather(
            *(
                (repository, other)[i % 2].add(image, return_duplicate=True)
                for i, image in enumerate(images)  # every second one elsewhere
            )
        )
        assert added[0] in images
        assert added == [added[0]] * 10
        assert await repository.list(ImageQuery()) == Page((added[0],), None)
        entries = self.entries(place)
        await repository.remove(added[0].image_id)
        await repository.add(added[0], return_duplicate=True)
        assert self.entries(place) == entries

    async def test_the_same_bytes_of_ten_owners_at_once(self, repository: ImageRepository) -> None:
        """Owners don't share duplicates, even at once."""
        images = [make_image(sha256="ab" * 32, user_id=f"user{i}") for i in range(10)]
        assert await asyncio.gather(*(repository.add(image, return_duplicate=True) for image in images)) == images

    # By checksum

    async def test_the_oldest_image_of_each_checksum(self, repository: ImageRepository) -> None:
        """Of that user alone, as a duplicate would find it; of more checksums than are looked up at once."""
        one, two, other = ("ab" * 32, "cd" * 32, "ef" * 32)
        images = [
            make_image(image_id=id_at(NOON + number * SECOND), user_id=user_id, sha256=sha256)
            for number, (user_id, sha256) in enumerate([("ann", one), ("ann", two), ("ann", one), ("bob", other)])
        ]
        for image in reversed(images):
            await repository.add(image)
        unknown = [f"{number:064x}" for number in range(48)]
        found = await repository.find_by_checksum("ann", [other, two, *unknown, one])
        assert found == {one: images[0].image_id, two: images[1].image_id}
        assert await repository.add(make_image(sha256=one), return_duplicate=True) == images[0]
        assert await repository.find_by_checksum("bob", [one, other]) == {other: images[3].image_id}
        assert await repository.find_by_checksum("an", [one]) == {}
        assert await repository.find_by_checksum("ann", [one[:-1], ""]) == {}
        assert await repository.find_by_checksum("ann", []) == {}
        await repository.remove(images[0].image_id)
        assert await repository.find_by_checksum("ann", [one]) == {one: images[2].image_id}

    async def test_a_guard_is_no_image(self, repository: ImageRepository) -> None:
        """What was added as the only one with its bytes is found once, and not when it is removed."""
        image = await repository.add(make_image(), return_duplicate=True)
        assert await repository.find_by_checksum("ann", [image.sha256]) == {image.sha256: image.image_id}
        await repository.remove(image.image_id)
        assert await repository.find_by_checksum("ann", [image.sha256]) == {}

    # Lists

    async def test_an_empty_list(self, repository: ImageRepository) -> None:
        """Where there is nothing, every list is over at once."""
        for query in QUERIES.values():
            assert await repository.list(query) == Page((), None)

    async def test_order(self, repository: ImageRepository, gallery: tuple[Image, ...]) -> None:
        """The newest image stands first, unless the oldest is asked for."""
        assert await whole_list(repository, ImageQuery()) == list(reversed(gallery))
        assert await whole_list(repository, ImageQuery(order="oldest")) == list(gallery)

    async def test_of_one_user(self, repository: ImageRepository, gallery: tuple[Image, ...]) -> None:
        """A user's list has that user's images, and an unknown one's none."""
        bobs = [gallery[1], gallery[4], gallery[8]]
        assert await whole_list(repository, ImageQuery(user_id="bob", order="oldest")) == bobs
        for unknown in ("bo", "bobb", "BOB", "dog", "%", "*"):
            assert await whole_list(repository, ImageQuery(user_id=unknown)) == []

    async def test_with_all_tags(self, repository: ImageRepository, gallery: tuple[Image, ...]) -> None:
        """`all` wants every tag, whichever is named first."""
        found = [gallery[0], gallery[4], gallery[9]]
        for tags in (("cat", "sun"), ("sun", "cat"), ("cat", "sun", "cat")):
            assert await whole_list(repository, ImageQuery(tags=tags, order="oldest")) == found

    async def test_with_any_tag(self, repository: ImageRepository, gallery: tuple[Image, ...]) -> None:
        """`any` wants one of the tags; an image with several of them is listed once."""
        found = [gallery[i] for i in (0, 3, 4, 7, 8, 9)]
        for tags in (("dog", "sun"), ("sun", "dog"), ("sun", "dog", "sun")):
            query = ImageQuery(tags=tags, tag_mode="any", order="oldest")
            assert await whole_list(repository, query) == found

    async def test_without_tags(self, repository: ImageRepository, gallery: tuple[Image, ...]) -> None:
        """`exclude_tags` leaves out what has one of them; images without tags stay."""
        query = ImageQuery(exclude_tags=("cat", "dog"), order="oldest")
        assert await whole_list(repository, query) == [gallery[2], gallery[6], gallery[8]]

    async def test_a_tag_that_nobody_has(self, repository: ImageRepository, gallery: tuple[Image, ...]) -> None:
        """`all` finds nothing with it, `any` the rest, and excluding it changes nothing."""
        for tags in (("nobody",), ("nobody", "cat"), ("cat", "nobody")):
            assert await whole_list(repository, ImageQuery(tags=tags)) == []
        query = ImageQuery(tags=("nobody", "ann"), tag_mode="any")
        assert await whole_list(repository, query) == [gallery[6]]
        assert await whole_list(repository, ImageQuery(exclude_tags=("nobody",))) == list(reversed(gallery))

    async def test_a_tag_both_wanted_and_excluded(
        self, repository: ImageRepository, gallery: tuple[Image, ...]
    ) -> None:
        """To exclude a tag wins over asking for it."""
        assert await whole_list(repository, ImageQuery(tags=("cat",), exclude_tags=("cat",))) == []
        query = ImageQuery(tags=("cat", "sun"), tag_mode="any", exclude_tags=("cat",), order="oldest")
        assert await whole_list(repository, query) == [gallery[3], gallery[8]]

    async def test_tags_and_users_are_taken_literally(self, repository: ImageRepository) -> None:
        """No character of a tag or a user id has a meaning to the store, and none are alike to it."""
        tags = (
            "a",
            "a#b",
            "a%",
            "%",
            "_",
            "*",
            "a'",
            'a"',
            "a\\",
            "a/b",
            "all",
            "image",
            "é",
            "e",
            "ß",
            "ss",
            "🌄",
            " ",
        )
        users = ("a", "a:b", "a|b", "a+b", "a.b", "a-b", "a_b", "a@b", "A", "all", "user")
        by_tag = {tag: await repository.add(make_image(tags=(tag,))) for tag in tags}
        by_user = {user: await repository.add(make_image(user_id=user)) for user in users}
        for tag, image in by_tag.items():
            assert await whole_list(repository, ImageQuery(tags=(tag,))) == [image]
            assert await whole_list(repository, ImageQuery(user_id="ann", tags=(tag,))) == [image]
        for user, image in by_user.items():
            assert await whole_list(repository, ImageQuery(user_id=user)) == [image]

    async def test_created_after_is_inclusive(self, repository: ImageRepository, gallery: tuple[Image, ...]) -> None:
        """An image made at the very millisecond is listed, one made before it is not."""
        query = ImageQuery(created_after=NOON + 5 * SECOND, order="oldest")
        assert await whole_list(repository, query) == list(gallery[5:])
        query = ImageQuery(created_after=NOON + 5 * SECOND + MILLISECOND, order="oldest")
        assert await whole_list(repository, query) == list(gallery[6:])

    async def test_created_before_is_exclusive(self, repository: ImageRepository, gallery: tuple[Image, ...]) -> None:
        """An image made at the very millisecond is not listed, one made before it is."""
        query = ImageQuery(created_before=NOON + 5 * SECOND, order="oldest")
        assert await whole_list(repository, query) == list(gallery[:5])
        query = ImageQuery(created_before=NOON + 5 * SECOND + MILLISECOND, order="oldest")
        assert await whole_list(repository, query) == list(gallery[:6])

    async def test_adjoining_ranges_share_and_miss_nothing(
        self, repository: ImageRepository, gallery: tuple[Image, ...]
    ) -> None:
        """Wherever a range is cut, also within a millisecond, its parts make the whole."""
        for cut in (NOON + 4 * SECOND, NOON + 4 * SECOND + dt.timedelta(microseconds=500), NOON - SECOND):
            for order in ("newest", "oldest"):
                later = await whole_list(repository, ImageQuery(created_after=cut, order=order))
                earlier = await whole_list(repository, ImageQuery(created_before=cut, order=order))
                parts = later + earlier if order == "newest" else earlier + later
                assert parts == expected(gallery, ImageQuery(order=order))

    async def test_moments_beyond_every_image(self, repository: ImageRepository, gallery: tuple[Image, ...]) -> None:
        """Years 1 and 9999 are moments, a range may be empty or upside down, and a time zone is understood."""
        first, last = dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)
        everything = list(reversed(gallery))
        assert await whole_list(repository, ImageQuery(created_after=first, created_before=last)) == everything
        assert await whole_list(repository, ImageQuery(created_after=last)) == []
        assert await whole_list(repository, ImageQuery(created_before=first)) == []
        moment = NOON + 5 * SECOND
        assert await whole_list(repository, ImageQuery(created_after=moment, created_before=moment)) == []
        assert await whole_list(repository, ImageQuery(created_after=moment + SECOND, created_before=moment)) == []
        elsewhere = moment.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30)))
        query = ImageQuery(created_after=elsewhere, created_before=elsewhere + SECOND)
        assert await whole_list(repository, query) == [gallery[5]]

    async def test_images_of_one_millisecond(self, repository: ImageRepository, place: Place) -> None:
        """Images made in the same millisecond are all listed, in one order and its reverse, page by page."""
        images = sorted((make_image(image_id=id_at(NOON)) for _ in range(7)), key=lambda image: image.image_id)
        self.seed(place, *images)
        query = ImageQuery(created_after=NOON, created_before=NOON + MILLISECOND, limit=2)
        assert await whole_list(repository, query) == images[::-1]
        assert await whole_list(repository, msgspec.structs.replace(query, order="oldest")) == images

    # Pages

    @pytest.mark.parametrize("order", ["newest", "oldest"])
    @pytest.mark.parametrize("name", QUERIES)
    async def test_pages_make_the_whole(
        self, repository: ImageRepository, gallery: tuple[Image, ...], name: str, order: str
    ) -> None:
        """Whatever is asked for, pages of any size together are every match once, in order."""
        for limit in (1, 2, 3, 100):
            query = msgspec.structs.replace(QUERIES[name], order=order, limit=limit)
            assert await whole_list(repository, query) == expected(gallery, query), query

    @pytest.mark.parametrize("order", ["newest", "oldest"])
    @pytest.mark.parametrize("name", QUERIES)
    async def test_a_list_begins_after_its_cursor(
        self, repository: ImageRepository, gallery: tuple[Image, ...], name: str, order: str
    ) -> None:
        """`after` may be the id of any image, of one that does not match, or one that nobody has."""
        never = [id_at(NOON + i * SECOND + dt.timedelta(milliseconds=500)) for i in (-1, 4, 10)]
        for after in (*(image.image_id for image in gallery), *never):
            query = msgspec.structs.replace(QUERIES[name], order=order, limit=3, after=after)
            assert await whole_list(repository, query) == expected(gallery, query), query

    async def test_a_full_last_page_is_followed_by_nothing(
        self, repository: ImageRepository, gallery: tuple[Image, ...]
    ) -> None:
        """If the matches fill the last page exactly, no image comes after it."""
        pages = await walk(repository, ImageQuery(limit=5))
        assert [len(page.images) for page in pages if page.images] == [5, 5]
        last = ImageQuery(after=gallery[0].image_id)
        assert await whole_list(repository, last) == []

    @pytest.mark.parametrize("order", ["newest", "oldest"])
    @pytest.mark.parametrize("filters", [{}, {"user_id": "ann"}, {"tags": ("cat",)}], ids=["all", "user", "tag"])
    async def test_a_cursor_outlives_its_image(
        self, repository: ImageRepository, gallery: tuple[Image, ...], order: str, filters: dict[str, object]
    ) -> None:
        """A list goes on behind an image that has been removed in the meantime."""
        query = ImageQuery(order=order, limit=2, **filters)
        first = await repository.list(query)
        assert first.after is not None
        for image in first.images:
            await repository.remove(image.image_id)
        rest = msgspec.structs.replace(query, after=first.after)
        found = [*first.images, *await whole_list(repository, rest)]
        assert found == expected(gallery, query)

    async def test_newer_images_do_not_move_the_pages(
        self, repository: ImageRepository, gallery: tuple[Image, ...]
    ) -> None:
        """What is uploaded during a walk from the newest is not in its further pages, but at the top of a new list."""
        query = ImageQuery(limit=4)
        first = await repository.list(query)
        assert first.after is not None
        new = await repository.add(make_image())
        rest = await whole_list(repository, msgspec.structs.replace(query, after=first.after))
        assert [*first.images, *rest] == expected(gallery, query)
        assert (await repository.list(ImageQuery(limit=1))).images == (new,)
