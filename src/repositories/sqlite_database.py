"""One SQLite database: WAL, every commit fsynced.

Reads run on the event loop itself: a page is some twenty index look-ups (tens of microseconds), less than handing it
to a thread costs. Writes wait for the disk and have a thread of their own.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from ..common.errors import StoreFailed
from .sqlite_schema import migrate
from .sqlite_writer import Job, SqliteWriter

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


@contextmanager
def reading() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreFailed("The database failed.") from error
