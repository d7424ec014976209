"""The SQLite schema, as numbered migrations. `PRAGMA user_version` is the number of the last one applied."""

import sqlite3
from collections.abc import Iterator

from ..common.errors import ConfigurationError

MIGRATION_TIME = 600_000  # milliseconds; to count a million images takes some four seconds

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
    """
    CREATE TABLE tag_counts (
        user_id TEXT NOT NULL,  -- '' counts the images of all
        tag     TEXT NOT NULL,
        images  INTEGER NOT NULL,
        PRIMARY KEY (user_id, tag)
    ) WITHOUT ROWID;
    CREATE TABLE usage (
        user_id TEXT NOT NULL PRIMARY KEY,  -- '' counts the images of all
        images  INTEGER NOT NULL,
        bytes   INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO tag_counts SELECT user_id, tag, count(*) FROM image_tags GROUP BY user_id, tag;
    INSERT INTO tag_counts SELECT '', tag, count(*) FROM image_tags GROUP BY tag;
    INSERT INTO usage SELECT user_id, count(*), sum(json_extract(record, '$.size')) FROM images GROUP BY user_id;
    INSERT INTO usage SELECT '', count(*), coalesce(sum(json_extract(record, '$.size')), 0) FROM images;
    CREATE TRIGGER count_tag AFTER INSERT ON image_tags BEGIN
        INSERT INTO tag_counts VALUES (NEW.user_id, NEW.tag, 1), ('', NEW.tag, 1)
            ON CONFLICT (user_id, tag) DO UPDATE SET images = images + 1;
    END;
    CREATE TRIGGER discount_tag AFTER DELETE ON image_tags BEGIN
        UPDATE tag_counts SET images = images - 1 WHERE user_id IN (OLD.user_id, '') AND tag = OLD.tag;
        DELETE FROM tag_counts WHERE user_id IN (OLD.user_id, '') AND tag = OLD.tag AND images = 0;
    END;
    CREATE TRIGGER count_image AFTER INSERT ON images BEGIN
        INSERT INTO usage
            VALUES (NEW.user_id, 1, json_extract(NEW.record, '$.size')), ('', 1, json_extract(NEW.record, '$.size'))
            ON CONFLICT (user_id) DO UPDATE SET images = images + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER discount_image AFTER DELETE ON images BEGIN
        UPDATE usage SET images = images - 1, bytes = bytes - json_extract(OLD.record, '$.size')
            WHERE user_id IN (OLD.user_id, '');
        DELETE FROM usage WHERE user_id = OLD.user_id AND images = 0;
    END;
    """,
    """
    CREATE TABLE uploads (
        image_id   TEXT NOT NULL PRIMARY KEY,
        kept_until REAL NOT NULL,  -- seconds since 1970, as are all times
        record     TEXT NOT NULL   -- the Upload as JSON
    ) WITHOUT ROWID;
    CREATE INDEX uploads_by_end ON uploads (kept_until);
    CREATE TABLE claims (
        scope        TEXT NOT NULL,
        key          TEXT NOT NULL,
        fingerprint  TEXT NOT NULL,
        token        TEXT NOT NULL,
        locked_until REAL NOT NULL,
        expires_at   REAL NOT NULL,
        result       BLOB,
        PRIMARY KEY (scope, key)
    ) WITHOUT ROWID;
    CREATE INDEX claims_by_end ON claims (expires_at);
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest version, one transaction each.

    Raises ConfigurationError if a newer release has written it.
    """
    (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute(f"PRAGMA busy_timeout = {MIGRATION_TIME}")  # another process may be at it
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
                connection.execute(f"PRAGMA busy_timeout = {patience}")
                return
            for statement in _statements(MIGRATIONS[version]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    """Take a script apart; `executescript` would commit before it."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):  # within a trigger a semicolon is not the end
            yield statement
            statement = ""
