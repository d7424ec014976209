"""Whether the SQLite database agrees with its own records."""

import datetime as dt
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from ..common.ids import first_id_at
from ..models.finding import Finding, Kind
from ..models.image import Image
from .sqlite_database import SqliteDatabase, reading

BATCH = 1_000
ALL = "all users"

_decode = msgspec.json.Decoder(Image).decode

_TAGS = "(SELECT i.image_id, i.user_id, t.value AS tag FROM images i, json_each(i.record, '$.tags') t)"

_ENTRIES_TOO_MANY = f"""
    SELECT tag, image_id, user_id FROM image_tags e WHERE image_id < :before
    AND NOT EXISTS (SELECT 1 FROM {_TAGS} t WHERE t.image_id = e.image_id AND t.tag = e.tag AND t.user_id = e.user_id)
"""
_ENTRIES_MISSING = f"""
    SELECT tag, image_id, user_id FROM {_TAGS} t WHERE image_id < :before AND NOT EXISTS (
        SELECT 1 FROM image_tags e WHERE e.tag = t.tag AND e.image_id = t.image_id AND e.user_id = t.user_id
    )
"""
# Of entries, as triggers count them: when an entry is mended its counters change with it. Not a FULL JOIN, for which
# SQLite compares each counter with each.
_WRONG_TAG_COUNTS = """
    SELECT user_id, tag, coalesce(max(counted), 0), coalesce(max(entries), 0) FROM (
        SELECT user_id, tag, images AS counted, NULL AS entries FROM tag_counts
        UNION ALL SELECT user_id, tag, NULL, count(*) FROM image_tags GROUP BY user_id, tag
        UNION ALL SELECT '', tag, NULL, count(*) FROM image_tags GROUP BY tag
    ) GROUP BY user_id, tag HAVING max(counted) IS NOT max(entries)
"""
_WRONG_USAGE = """
    SELECT user_id, coalesce(max(counted), 0), coalesce(max(counted_bytes), 0),
        coalesce(max(records), 0), coalesce(max(record_bytes), 0) FROM (
        SELECT user_id, images AS counted, bytes AS counted_bytes, NULL AS records, NULL AS record_bytes FROM usage
        UNION ALL SELECT user_id, NULL, NULL, count(*), sum(json_extract(record, '$.size')) FROM images GROUP BY user_id
        UNION ALL SELECT '', NULL, NULL, count(*), coalesce(sum(json_extract(record, '$.size')), 0) FROM images
    ) GROUP BY user_id HAVING max(counted) IS NOT max(records) OR max(counted_bytes) IS NOT max(record_bytes)
"""
_FORGET_TAG = "DELETE FROM tag_counts WHERE user_id = :user_id AND tag = :tag"
_FORGET_USAGE = "DELETE FROM usage WHERE user_id = :user_id"
_RECOUNT_TAG = """
    INSERT INTO tag_counts SELECT :user_id, :tag, count(*) FROM image_tags
    WHERE user_id = :user_id AND tag = :tag HAVING count(*) > 0
"""
_RECOUNT_TAG_OF_ALL = (
    "INSERT INTO tag_counts SELECT '', :tag, count(*) FROM image_tags WHERE tag = :tag HAVING count(*) > 0"
)
_RECOUNT_USAGE = """
    INSERT INTO usage SELECT :user_id, count(*), sum(json_extract(record, '$.size')) FROM images
    WHERE user_id = :user_id HAVING count(*) > 0
"""
_RECOUNT_USAGE_OF_ALL = """
    INSERT INTO usage SELECT '', count(*), coalesce(sum(json_extract(record, '$.size')), 0) FROM images
"""
_MENDS: Mapping[str, tuple[str, ...]] = {
    "too many": ("DELETE FROM image_tags WHERE tag = :tag AND image_id = :image_id",),
    "missing": ("INSERT OR IGNORE INTO image_tags (tag, image_id, user_id) VALUES (:tag, :image_id, :user_id)",),
    "tag": (_FORGET_TAG, _RECOUNT_TAG),
    "tag of all": (_FORGET_TAG, _RECOUNT_TAG_OF_ALL),
    "usage": (_FORGET_USAGE, _RECOUNT_USAGE),
    "usage of all": (_FORGET_USAGE, _RECOUNT_USAGE_OF_ALL),
}
_STILL_SO = {
    "too many": f"{_ENTRIES_TOO_MANY} AND e.tag = :tag AND e.image_id = :image_id",
    "missing": f"{_ENTRIES_MISSING} AND t.tag = :tag AND t.image_id = :image_id",
}


class SqliteAudit:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def records(self) -> AsyncIterator[Image]:
        statement = "SELECT image_id, record FROM images WHERE image_id > ? ORDER BY 1 LIMIT ?"
        last = ""
        while rows := self._rows(statement, (last, BATCH)):
            for _, record in rows:
                yield _decode(record)
            last = rows[-1][0]

    async def findings(self, before: dt.datetime) -> AsyncIterator[Finding]:
        bound = first_id_at(before)
        entries: tuple[tuple[Kind, str, str], ...] = (
            ("entry without a record", "too many", _ENTRIES_TOO_MANY),
            ("entry that is missing", "missing", _ENTRIES_MISSING),
        )
        for kind, mend, statement in entries:
            for tag, image_id, user_id in self._rows(statement, {"before": bound}):
                values = {"tag": tag, "image_id": image_id, "user_id": user_id, "before": bound}
                yield Finding(kind=kind, what=image_id, detail=f"tag {tag!r} of {user_id}", handle=(mend, values))
        for user_id, tag, counted, true in self._rows(_WRONG_TAG_COUNTS):
            yield Finding(
                kind="wrong counter",
                what=f"tag {tag!r} of {user_id or ALL}",
                detail=f"{counted - true:+} images",
                handle=("tag" if user_id else "tag of all", {"user_id": user_id, "tag": tag}),
            )
        for user_id, images, size, true_images, true_size in self._rows(_WRONG_USAGE):
            yield Finding(
                kind="wrong counter",
                what=f"usage of {user_id or ALL}",
                detail=f"{images - true_images:+} images, {size - true_size:+} bytes",
                handle=("usage" if user_id else "usage of all", {"user_id": user_id}),
            )

    async def mend(self, finding: Finding) -> None:
        mend, values = finding.handle

        def job(connection: sqlite3.Connection) -> None:
            if mend in _STILL_SO and not connection.execute(_STILL_SO[mend], values).fetchone():
                return
            for statement in _MENDS[mend]:
                connection.execute(statement, values)

        await self._database.write(job)

    def _rows(self, statement: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        with reading():
            return self._database.reader.execute(statement, values).fetchall()
