"""The SQLite schema, as numbered migrations. `PRAGMA user_version` is the number of the last one applied."""

import sqlite3

from ..common.errors import ConfigurationError

# A migration that has been released is never edited: a change is a new one at the end.
MIGRATIONS = (
    """
    CREATE TABLE images (
        image_id TEXT NOT NULL PRIMARY KEY,
        user_id  TEXT NOT NULL,
        sha256   TEXT NOT NULL,
        record   TEXT NOT NULL  -- the Image as JSON
    );
    CREATE INDEX images_by_user ON images (user_id, image_id);
    CREATE INDEX images_by_checksum ON images (user_id, sha256, image_id);
    CREATE TABLE image_tags (
        tag      TEXT NOT NULL,
        image_id TEXT NOT NULL,
        user_id  TEXT NOT NULL,
        PRIMARY KEY (tag, image_id)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX image_tags_by_user ON image_tags (user_id, tag, image_id);
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest version, one transaction each.

    Raises ConfigurationError if a newer release has written it.
    """
    while True:
        # Several processes may start at once: whoever gets the write lock looks again at what is left to do.
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise ConfigurationError(
                    f"DATA_DIR: got a database of version {version}, wants at most {len(MIGRATIONS)}: "
                    "a newer release has written it"
                )
            if version == len(MIGRATIONS):
                return
            for statement in MIGRATIONS[version].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
