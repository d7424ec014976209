"""Finding, changing and deleting images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import batched
from typing import Any, Unpack

import msgspec
from msgspec import UNSET, UnsetType

from ..common import validation
from ..common.errors import ImageNotFound, PreconditionFailed
from ..models.image import Deletion, Image, default_filename
from ..models.wire import Cursor, Deletions, ImageList, LinkedImage, ListedImage
from .answers import plain
from .flow import Batch, Batches, Flow
from .parameters import Filters, Rendition
from .query import tags_of
from .session import Session, image_path, read

_MOST_DELETIONS = 100  # in one request


def images(session: Session, *, page_size: int = 100, **filters: Unpack[Filters]) -> Batches[ListedImage]:
    """Iterate over the images, or those that the filters let through, asking for a page whenever it is needed.

    With `include_urls` each has `url`, `thumbnail_url` and `expires_at`.
    """

    def batch(after: str | None) -> Flow[Batch[ListedImage]]:
        last_key = None if after is None else Cursor(after)
        listed = yield from page(session, limit=page_size, last_key=last_key, **filters)
        return Batch(listed.images, listed.last_key.image_id if listed.last_key else None)

    return batch


def page(
    session: Session, *, limit: int = 20, last_key: Cursor | None = None, **filters: Unpack[Filters]
) -> Flow[ImageList]:
    """Return one page of the list; its `last_key`, until that is None, gets the next one.

    A page may hold fewer images than `limit` before the list is over.
    """
    include = "urls" if filters.pop("include_urls", False) else None
    query: dict[str, Any] = {**filters, "limit": limit, "include": include, "last_key": cursor_text(last_key)}
    return read((yield from session.ask("GET", "/images", query=query)), ImageList)


def cursor_text(last_key: msgspec.Struct | None) -> str | None:
    return None if last_key is None else msgspec.json.encode(last_key).decode()


def get(
    session: Session,
    image_id: str,
    *,
    download: bool = False,
    expires_in: int | None = None,
    **rendition: Unpack[Rendition],
) -> Flow[LinkedImage]:
    """Return an image with a link to its bytes, or to a rendition of it, that works for `expires_in` seconds.

    With `download` the link saves the file instead of showing it. Raises ImageNotFound.
    """
    query: dict[str, Any] = {**rendition, "download": download or None, "expires_in": expires_in}
    return read((yield from session.ask("GET", image_path(image_id), query=query)), LinkedImage)


def update(
    session: Session,
    image_id: str,
    *,
    tags: Sequence[str] | UnsetType | None = UNSET,
    description: str | UnsetType | None = UNSET,
    filename: str | UnsetType | None = UNSET,
    if_match: Image | str | None = None,
) -> Flow[Image]:
    """Change what is given of an image, and return it as it is then; None stands for the default.

    With `if_match`, an image as it was read or an ETag, it is changed only if it is still that one. Without, it is not
    asked again after an attempt that may have changed it. Raises ImageNotFound or PreconditionFailed.
    """
    given = {"tags": tags, "description": description, "filename": filename}
    patch: dict[str, Any] = {name: value for name, value in given.items() if value is not UNSET}
    if patch.get("tags") is not None:
        patch["tags"] = tags_of("tags", patch["tags"])
    headers = {"Content-Type": "application/merge-patch+json"}
    if if_match is not None:
        headers["If-Match"] = _etag(if_match)
    answer = yield from session.ask_or_find_done(
        "PATCH",
        image_path(image_id),
        done=PreconditionFailed,
        is_safe=if_match not in (None, "*"),  # else what somebody else has changed meanwhile would be overwritten
        headers=headers,
        content=msgspec.json.encode(patch),
    )
    if answer:
        return read(answer, Image)
    # It is another one than it was: perhaps since the attempt before has changed it.
    image = plain((yield from get(session, image_id)))
    if not _has(image, patch):
        raise PreconditionFailed("The image is not the one that If-Match names: it has been changed meanwhile.")
    return image


def _etag(image: Image | str) -> str:
    return image if isinstance(image, str) else f'"{image.image_id}.{image.version}"'


def _has(image: Image, patch: Mapping[str, Any]) -> bool:
    """Tell whether an image is as a patch makes it."""
    default = {"tags": [], "description": "", "filename": default_filename(image.image_id, image.content_type)}
    normal: Mapping[str, Callable[[Any], object]] = {
        "tags": validation.normal_tags,
        "description": validation.normal_description,
        "filename": validation.normal_filename,
    }
    wanted = {name: default[name] if value is None else value for name, value in patch.items()}
    return all(getattr(image, name) == normal[name](value) for name, value in wanted.items())


def delete(session: Session, image_id: str) -> Flow[None]:
    """Delete an image. Raises ImageNotFound."""
    yield from session.ask_or_find_done("DELETE", image_path(image_id), done=ImageNotFound)


def delete_all(session: Session, image_ids: Iterable[str]) -> Batches[Deletion]:
    """Delete images, any number of them, each by itself: iterate over what came of each.

    A hundred are deleted whenever the first of them is asked for; what is not iterated over stays. One that is repeated
    within a hundred counts once.
    """
    hundreds = batched(image_ids, _MOST_DELETIONS)

    def batch(_: str | None) -> Flow[Batch[Deletion]]:
        some = next(hundreds, None)
        if some is None:
            return Batch((), None)
        answer = yield from session.ask("POST", "/images/delete", json={"image_ids": some})
        return Batch(read(answer, Deletions).results, some[-1])

    return batch
