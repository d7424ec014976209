"""Declared uploads in SQLite."""

import datetime as dt
import sqlite3
from collections.abc import Sequence

import msgspec

from ..models.claim import Claim
from ..models.upload import Upload, kept_until
from .ports import UploadExists, UploadNotOpen
from .sqlite_claims import finish
from .sqlite_database import SqliteDatabase, reading

_decode = msgspec.json.Decoder(Upload).decode
_encode = msgspec.json.encode


class SqliteUploadRepository:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def declare(self, upload: Upload, *, replaces: Upload | None = None, claim: Claim | None = None) -> None:
        def job(connection: sqlite3.Connection) -> None:
            if _find(connection, upload.image_id) != replaces:
                raise UploadExists(upload.image_id)
            connection.execute(
                "INSERT OR REPLACE INTO uploads (image_id, kept_until, record) VALUES (?, ?, ?)",
                (upload.image_id, kept_until(upload).timestamp(), _encode(upload).decode()),
            )
            if claim:
                finish(connection, claim, _encode(upload))

        await self._database.write(job)

    async def get(self, image_id: str, *, ended: bool = False) -> Upload | None:
        with reading():
            return _find(self._database.reader, image_id, at=0 if ended else None)

    async def pin(self, image_id: str, sha256: str) -> bool:
        def job(connection: sqlite3.Connection) -> bool:
            upload = _find(connection, image_id)
            if upload is None or upload.completed or upload.sha256 not in (None, sha256):
                return False
            if upload.sha256 is None:
                _update(connection, msgspec.structs.replace(upload, sha256=sha256))
            return True

        return await self._database.write(job)

    async def cancel(self, image_id: str) -> bool:
        def job(connection: sqlite3.Connection) -> bool:
            upload = _find(connection, image_id)
            if upload is None or upload.completed:
                return False
            _remove(connection, image_id)
            return True

        return await self._database.write(job)

    async def expired(self) -> list[Upload]:
        with reading():
            rows = self._database.reader.execute("SELECT record FROM uploads WHERE kept_until <= ?", (_now(),))
            return [_decode(record) for (record,) in rows.fetchall()]

    async def forget(self, uploads: Sequence[Upload]) -> None:
        def job(connection: sqlite3.Connection) -> None:
            for upload in uploads:
                if _find(connection, upload.image_id, at=0) == upload:
                    _remove(connection, upload.image_id)

        await self._database.write(job)


def complete(connection: sqlite3.Connection, image_id: str, completed: str, sha256: str) -> None:
    """Mark an open upload as completed with these bytes. Raises UploadNotOpen."""
    upload = _find(connection, image_id)
    if upload is None or upload.completed or upload.sha256 not in (None, sha256):
        raise UploadNotOpen(image_id)
    _update(connection, msgspec.structs.replace(upload, completed=completed))


def _find(connection: sqlite3.Connection, image_id: str, *, at: float | None = None) -> Upload | None:
    """Return the upload if it is kept at a moment, by default now."""
    row = connection.execute(
        "SELECT record FROM uploads WHERE image_id = ? AND kept_until > ?", (image_id, _now() if at is None else at)
    ).fetchone()
    return _decode(row[0]) if row else None


def _update(connection: sqlite3.Connection, upload: Upload) -> None:
    connection.execute("UPDATE uploads SET record = ? WHERE image_id = ?", (_encode(upload).decode(), upload.image_id))


def _remove(connection: sqlite3.Connection, image_id: str) -> None:
    connection.execute("DELETE FROM uploads WHERE image_id = ?", (image_id,))


def _now() -> float:
    return dt.datetime.now(dt.UTC).timestamp()
