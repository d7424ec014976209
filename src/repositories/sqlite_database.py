"""One SQLite database: WAL, every commit fsynced.

Reads run on the event loop itself: a page is some twenty index look-ups (tens of microseconds), less than handing it
to a thread costs. Writes wait for the disk and have a thread of their own.
"""

import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path

from ..common.errors import StoreFailed
from .sqlite_schema import migrate
from .sqlite_writer import Job, SqliteWriter

CACHE = 16 * 1024  # KiB that a connection keeps of the file, where it needs that many
BUSY_TIMEOUT = 5  # seconds that a writer waits for another process


class SqliteDatabase:
    """A connection to read with, `reader`, and the thread that writes."""

    def __init__(self, path: Path) -> None:
        """Open the database at `path`, made and migrated if need be. Raises OSError or ConfigurationError."""
        self._path = path
        try:
            with ExitStack() as undo:
                self.reader = undo.enter_context(closing(self._connect()))
                migrate(self.reader)
                self._writer = SqliteWriter(self._connect())
                undo.pop_all()
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = {-CACHE}")
        return connection

    async def write[T](self, job: Job[T]) -> T:
        """Run a job wholly or not at all; it is on the disk when this returns. Raises what `SqliteWriter.run` does."""
        return await self._writer.run(job)

    def close(self) -> None:
        self._writer.close()
        self.reader.close()


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite's own timeout does not cover this, so of several that make a database all but one fail."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


class _Reading:
    """A class, since this is done for every read and a generator takes longer than some of them."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise StoreFailed("The database failed.") from error


_READING = _Reading()


def reading() -> _Reading:
    """Translate what SQLite raises."""
    return _READING
