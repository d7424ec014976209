"""SQLite databases for tests, and what is in them by plain SQL."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

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


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every table."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: sorted(connection.execute(f"SELECT * FROM {name}")) for (name,) in tables}


def entries(path: Path) -> dict[str, int]:
    """Count the rows of every table that has any, but for those of counters."""
    return {name: len(rows) for name, rows in contents(path).items() if rows and name not in COUNTERS}
