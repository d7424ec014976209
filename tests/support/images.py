"""Records and lists of them for tests, and what a list must answer according to plain Python."""

import datetime as dt
import hashlib
import uuid
from collections.abc import Iterable
from typing import Any

import msgspec
import uuid_utils

from src.common.ids import created_at, new_id
from src.models.image import Image
from src.models.page import ImageQuery, Page
from src.repositories.ports import ImageRepository

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
NOON = dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC)  # a moment that is in the past of every clock
MILLISECOND = dt.timedelta(milliseconds=1)


def id_at(moment: dt.datetime) -> str:
    """Return an id made at `moment`. Ids of one millisecond are in no particular order."""
    return str(uuid_utils.uuid7(nanoseconds=(moment - EPOCH) // dt.timedelta(microseconds=1) * 1000))


def numbered_id(milliseconds: int, number: int) -> str:
    """Return the same id for the same arguments; those of one millisecond (since NOON) are in order of their number."""
    since_epoch = (NOON - EPOCH) // MILLISECOND + milliseconds
    return str(uuid.UUID(f"{since_epoch:012x}7{number:03x}8{number:015x}"))


def make_image(**overrides: Any) -> Image:
    """Return an image as a service would have recorded it, each with an id and a checksum of its own."""
    image_id = overrides.get("image_id") or new_id()
    moment = created_at(image_id)
    values: dict[str, Any] = {
        "image_id": image_id,
        "user_id": "ann",
        "filename": "a walk.jpg",
        "content_type": "image/jpeg",
        "size": 48_213,
        "width": 640,
        "height": 480,
        "frames": 1,
        "tags": (),
        "description": "",
        "sha256": hashlib.sha256(image_id.encode()).hexdigest(),
        "color": "#a0b1c2",
        "placeholder": "data:image/webp;base64,UklGRg==",
        "created_at": moment,
        "updated_at": moment,
        "version": 1,
    }
    return Image(**values | overrides)


def matches(image: Image, query: ImageQuery) -> bool:
    """Say whether the query asks for the image, wherever the list begins."""
    moment = created_at(image.image_id)
    agree = all if query.tag_mode == "all" else any
    return (
        query.user_id in (None, image.user_id)
        and (not query.tags or agree(tag in image.tags for tag in query.tags))
        and not set(query.exclude_tags) & set(image.tags)
        and (query.created_after is None or moment >= query.created_after)
        and (query.created_before is None or moment < query.created_before)
    )


def expected(images: Iterable[Image], query: ImageQuery) -> list[Image]:
    """Return the whole list, in order, from the first match after `query.after`."""
    newest = query.order == "newest"

    def is_further(image: Image) -> bool:
        return query.after is None or (image.image_id < query.after if newest else image.image_id > query.after)

    found = [image for image in images if matches(image, query) and is_further(image)]
    return sorted(found, key=lambda image: image.image_id, reverse=newest)


async def walk(repository: ImageRepository, query: ImageQuery, *, most_pages: int = 1_000) -> list[Page]:
    """Follow a list to its end, checking that it gets nearer to it with every page."""
    pages = [await repository.list(query)]
    while (after := pages[-1].after) is not None:
        assert len(pages) < most_pages, "the list does not end"
        previous = pages[-2].after if len(pages) > 1 else query.after
        if previous is not None:
            assert after < previous if query.order == "newest" else after > previous, "the cursor went back"
        pages.append(await repository.list(msgspec.structs.replace(query, after=after)))
    assert all(len(page.images) <= query.limit for page in pages)
    return pages


async def whole_list(repository: ImageRepository, query: ImageQuery) -> list[Image]:
    return [image for page in await walk(repository, query) for image in page.images]
