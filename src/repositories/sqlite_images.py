"""Records in SQLite, with keyset pages."""

import heapq
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import groupby
from operator import itemgetter

import msgspec

from ..common.ids import first_id_at
from ..common.validation import LAST_CHARACTER
from ..models.claim import Claim, Outcome
from ..models.image import Image
from ..models.page import EncodedImages, ImageQuery, Page
from ..models.usage import UNLIMITED, Quota, TagCount, TagPage, TagQuery, Usage
from .sqlite_claims import finish
from .sqlite_database import SqliteDatabase, reading
from .sqlite_uploads import complete

READ_BUDGET = 2_000  # entries that one page may look at, in each index that it walks

CHECKSUM_STATEMENT = "SELECT image_id FROM images WHERE user_id = ? AND sha256 = ? ORDER BY image_id LIMIT 1"
COUNT_STATEMENT = "SELECT images FROM tag_counts WHERE user_id = ? AND tag = ?"
TAG_STATEMENT = "SELECT tag, images FROM tag_counts WHERE user_id = ? AND tag {} ? AND tag < ? ORDER BY tag LIMIT ?"

_decode = msgspec.json.Decoder(Image).decode
_encode = msgspec.json.encode


class SqliteImageRepository:
    def __init__(self, database: SqliteDatabase, *, quota: Quota = UNLIMITED) -> None:
        self._database = database
        self._reader = database.reader
        self._quota = quota

    async def add(
        self, image: Image, *, return_duplicate: bool = False, completes: bool = False, claim: Claim | None = None
    ) -> Image:
        def job(connection: sqlite3.Connection) -> Image:
            found = _find_duplicate(connection, image) if return_duplicate else None
            committed = found or image
            if completes:  # first: an upload that is completed already has its record
                complete(connection, image.image_id, committed.image_id, image.sha256)
            if claim:
                finish(connection, claim, _encode(Outcome(committed, found is None)))
            if found is None:
                refusal = self._quota.refusal(_usage(connection, image.user_id), image.size)
                _insert(connection, image)  # first: an id that is taken is refused as that
                if refusal:
                    raise refusal
            return committed

        return await self._database.write(job)

    async def replace(self, old: Image, new: Image) -> bool:
        def job(connection: sqlite3.Connection) -> bool:
            if _find(connection, old.image_id) != old:
                return False
            connection.execute("UPDATE images SET record = ? WHERE image_id = ?", (_encode(new).decode(), new.image_id))
            _remove_tags(connection, old, set(old.tags) - set(new.tags))
            _add_tags(connection, new, set(new.tags) - set(old.tags))
            return True

        return await self._database.write(job)

    async def get(self, image_id: str) -> Image | None:
        with reading():
            return _find(self._reader, image_id)

    async def remove(self, image_id: str, *, owner: str | None = None) -> Image | None:
        def job(connection: sqlite3.Connection) -> Image | None:
            image = _find(connection, image_id)
            if image is None or owner not in (None, image.user_id):
                return None
            _delete(connection, image)
            return image

        return await self._database.write(job)

    async def list(self, query: ImageQuery) -> Page:
        if query.tag_mode == "all" and len(query.tags) > 1:
            query = msgspec.structs.replace(query, tags=self._rarest_first(query))
        tags = query.tags[:1] if query.tag_mode == "all" else query.tags
        statements = [list_statement(query, tag) for tag in tags or (None,)]
        if len(statements) == 1 and len(query.tags) <= 1 and not query.exclude_tags:
            return self._walked(query.limit, *statements[0])
        return self._filtered(query, statements)

    def _walked(self, limit: int, statement: str, values: Mapping[str, str | int]) -> Page:
        """Return a page of which each image in the index is one."""
        with reading():
            rows = self._reader.execute(statement, {**values, "most": limit + 1}).fetchall()
        images = EncodedImages([record for _, record in rows[:limit]])
        return Page(images, rows[limit - 1][0] if len(rows) > limit else None)

    def _filtered(self, query: ImageQuery, statements: Sequence[tuple[str, Mapping[str, str | int]]]) -> Page:
        images: list[Image] = []
        looked_at = 0
        last_id: str | None = None
        with closing(self._candidates(query, statements)) as candidates:
            for image_id, record in candidates:
                if len(images) == query.limit or looked_at == READ_BUDGET:
                    return Page(tuple(images), last_id)
                looked_at += 1
                last_id = image_id
                if record is not None:
                    images.append(_decode(record))
        return Page(tuple(images), None)

    def _candidates(
        self, query: ImageQuery, statements: Sequence[tuple[str, Mapping[str, str | int]]]
    ) -> Generator[tuple[str, str | None]]:
        """Yield, lazily and in order, ids that may match, each with its record if it does."""
        # Closed at the end: a statement that is left half read would keep the connection in the past.
        with reading(), ExitStack() as stack:
            rows = [stack.enter_context(closing(self._reader.execute(*statement))) for statement in statements]
            if len(rows) == 1:
                yield from rows[0]
            else:
                merged = heapq.merge(*rows, key=itemgetter(0), reverse=query.order == "newest")
                yield from (next(same) for _, same in groupby(merged, key=itemgetter(0)))

    def _rarest_first(self, query: ImageQuery) -> tuple[str, ...]:
        """Order the tags by how many images have them: the first one's index is walked."""

        def count(tag: str) -> int:
            row = self._reader.execute(COUNT_STATEMENT, (query.user_id or "", tag)).fetchone()
            return row[0] if row else 0

        with reading():
            return tuple(sorted(query.tags, key=count))

    async def tags(self, query: TagQuery) -> TagPage:
        # One bound each way, as for images.
        after = query.after if query.after is not None and query.after >= query.prefix else None
        values = (
            query.user_id or "",
            query.prefix if after is None else after,
            query.prefix + LAST_CHARACTER,
            query.limit + 1,
        )
        with reading():
            rows = self._reader.execute(TAG_STATEMENT.format(">=" if after is None else ">"), values).fetchall()
        counts = tuple(TagCount(*row) for row in rows[: query.limit])
        return TagPage(counts, counts[-1].tag if len(rows) > query.limit else None)

    async def usage(self, user_id: str | None) -> Usage:
        with reading():
            return _usage(self._reader, user_id or "")

    async def find_by_checksum(self, user_id: str, checksums: Sequence[str]) -> Mapping[str, str]:
        with reading():
            rows = [(each, self._reader.execute(CHECKSUM_STATEMENT, (user_id, each)).fetchone()) for each in checksums]
        return {sha256: row[0] for sha256, row in rows if row}

    async def ping(self) -> None:
        with reading():
            self._reader.execute("SELECT 1 FROM images LIMIT 1").fetchone()

    async def close(self) -> None:
        self._database.close()


def list_statement(query: ImageQuery, tag: str | None) -> tuple[str, dict[str, str | int]]:
    """Return the SELECT that walks one index: the images with `tag` if given, of the user if the query names one.

    Each row is an id and, if the rest of the query holds, its record. Rows that don't match are returned too, so that
    the caller can count what was looked at.
    """
    newest = query.order == "newest"
    values: dict[str, str | int] = {"most": READ_BUDGET + 1}
    where = []
    if tag is not None:
        where.append("walked.tag = :tag")
        values["tag"] = tag
    if query.user_id is not None:
        where.append("walked.user_id = :user_id")
        values["user_id"] = query.user_id
    # One bound each way: of two, SQLite looks up the one and walks to the other, however far that is.
    lower = [] if query.created_after is None else [first_id_at(query.created_after)]
    upper = [] if query.created_before is None else [first_id_at(query.created_before)]
    if query.after is not None:
        (upper if newest else lower).append(query.after)
    if lower:
        where.append("walked.image_id > :lower")  # what first_id_at returns is no id, so it excludes none
        values["lower"] = max(lower)
    if upper:
        where.append("walked.image_id < :upper")
        values["upper"] = min(upper)
    conditions = []
    others = query.tags[1:] if query.tag_mode == "all" else ()
    for exists, names in (("EXISTS", others), ("NOT EXISTS", query.exclude_tags)):
        for name in names:
            parameter = f"tag{len(values)}"
            values[parameter] = name
            conditions.append(
                f"{exists} (SELECT 1 FROM image_tags t WHERE t.tag = :{parameter} AND t.image_id = walked.image_id)"
            )
    other_table = "(SELECT record FROM images i WHERE i.image_id = walked.image_id)"
    record = "walked.record" if tag is None else other_table
    if conditions:
        record = f"CASE WHEN {' AND '.join(conditions)} THEN {record} END"
    # Nothing of the request is in the text: it is put together from the constants above.
    statement = (
        f"SELECT walked.image_id, {record}"
        f" FROM {'images' if tag is None else 'image_tags'} walked"
        f"{' WHERE ' if where else ''}{' AND '.join(where)}"
        f" ORDER BY walked.image_id {'DESC' if newest else 'ASC'} LIMIT :most"
    )
    return statement, values


def _find(connection: sqlite3.Connection, image_id: str) -> Image | None:
    row = connection.execute("SELECT record FROM images WHERE image_id = ?", (image_id,)).fetchone()
    return _decode(row[0]) if row else None


def _find_duplicate(connection: sqlite3.Connection, image: Image) -> Image | None:
    row = connection.execute(
        "SELECT record FROM images WHERE user_id = ? AND sha256 = ? ORDER BY image_id LIMIT 1",
        (image.user_id, image.sha256),
    ).fetchone()
    return _decode(row[0]) if row else None


def _usage(connection: sqlite3.Connection, user_id: str) -> Usage:
    row = connection.execute("SELECT images, bytes FROM usage WHERE user_id = ?", (user_id,)).fetchone()
    return Usage(*row) if row else Usage(0, 0)


def _insert(connection: sqlite3.Connection, image: Image) -> None:
    connection.execute(
        "INSERT INTO images (image_id, user_id, sha256, record) VALUES (?, ?, ?, ?)",
        (image.image_id, image.user_id, image.sha256, _encode(image).decode()),
    )
    _add_tags(connection, image, image.tags)


def _add_tags(connection: sqlite3.Connection, image: Image, tags: Iterable[str]) -> None:
    connection.executemany(
        "INSERT INTO image_tags (tag, image_id, user_id) VALUES (?, ?, ?)",
        [(tag, image.image_id, image.user_id) for tag in tags],
    )


def _remove_tags(connection: sqlite3.Connection, image: Image, tags: Iterable[str]) -> None:
    connection.executemany(
        "DELETE FROM image_tags WHERE tag = ? AND image_id = ?", [(tag, image.image_id) for tag in tags]
    )


def _delete(connection: sqlite3.Connection, image: Image) -> None:
    connection.execute("DELETE FROM images WHERE image_id = ?", (image.image_id,))
    _remove_tags(connection, image, image.tags)
