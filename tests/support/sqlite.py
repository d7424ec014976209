"""SQLite databases for tests, and what is in them by plain SQL."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from src.models.image import Image

COUNTERS = {"tag_counts", "usage"}


def seed(path: Path, *images: Image) -> None:
    """Write images with plain SQL."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO images (image_id, user_id, sha256, record) VALUES (?, ?, ?, ?)",
            [(i.image_id, i.user_id, i.sha256, msgspec.json.encode(i).decode()) for i in images],
        )
        connection.executemany(
            "INSERT INTO image_tags (tag, image_id, user_id) VALUES (?, ?, ?)",
            [(tag, i.image_id, i.user_id) for i in images for tag in i.tags],
        )


def entries(path: Path) -> dict[str, int]:
    """Count the rows of every table but those of counters."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        names = {name for (name,) in tables} - COUNTERS
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
