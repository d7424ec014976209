"""One thread that writes to SQLite, so that writes that wait for the disk together share one fsync."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from ..common.errors import StoreFailed, StoreUnavailable

log = logging.getLogger(__name__)

MOST_JOBS_A_COMMIT = 64

type Job[T] = Callable[[sqlite3.Connection], T]


class SqliteWriter:
    """Runs jobs in order, each wholly or not at all, and answers when they are on the disk (group commit)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take over a connection, which it closes in the end."""
        self._connection = connection
        self._jobs: SimpleQueue[tuple[Job[Any], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def run[T](self, job: Job[T]) -> T:
        """Raise StoreFailed or StoreUnavailable if the job was not committed, or what the job itself raised."""
        if not self._thread.is_alive():
            raise StoreUnavailable("The database is closed.")
        future: Future[T] = Future()
        self._jobs.put((job, future))
        # Shielded: a job in the queue can't be called back, so a caller that goes away must not seem to cancel it.
        outcome = asyncio.wrap_future(future)
        outcome.add_done_callback(_looked_at)
        return await asyncio.shield(outcome)

    def close(self) -> None:
        """Finish the jobs in the queue."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            _commit(self._connection, batch)
        self._connection.close()

    def _next_batch(self) -> list[tuple[Job[Any], Future[Any]]]:
        batch = []
        entry = self._jobs.get()
        while entry is not None:
            batch.append(entry)
            if self._jobs.empty() or len(batch) == MOST_JOBS_A_COMMIT:
                return batch
            entry = self._jobs.get()
        if batch:
            self._jobs.put(None)
        return batch


def _looked_at(outcome: asyncio.Future[Any]) -> None:
    """Take note of a failure whose caller has gone, of which asyncio would complain that nobody did."""
    if not outcome.cancelled():
        outcome.exception()


def _commit(connection: sqlite3.Connection, batch: list[tuple[Job[Any], Future[Any]]]) -> None:
    # Told only when the commit is done, failures too: one may come of what a job before it in the batch has written.
    results: list[tuple[Future[Any], Any, Exception | None]] = []
    try:
        connection.execute("BEGIN IMMEDIATE")
        for job, future in batch:
            connection.execute("SAVEPOINT job")
            try:
                results.append((future, job(connection), None))
            except Exception as error:
                connection.execute("ROLLBACK TO job")
                results.append((future, None, _translated(error)))
            connection.execute("RELEASE job")
        connection.execute("COMMIT")
    except Exception as error:  # whatever it is: if the thread ended, later writes would wait for ever
        # COMMIT either happens or SQLite rolls back, so nothing of the batch is in the database.
        with suppress(sqlite3.Error):
            connection.rollback()
        for _, future in batch:
            future.set_exception(_translated(error))
        return
    for future, result, failure in results:
        if failure:
            future.set_exception(failure)
        else:
            future.set_result(result)


def _translated(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        translated: Exception = StoreUnavailable("The database is busy.")
    else:
        translated = StoreFailed("The database failed.")
    translated.__cause__ = error
    return translated
