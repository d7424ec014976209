"""Idempotency keys in SQLite."""

import datetime as dt
import sqlite3

from ..models.claim import Claim
from .ports import ClaimLost
from .sqlite_database import SqliteDatabase

_COLUMNS = "scope, key, fingerprint, token, locked_until, expires_at, result"


class SqliteClaimRepository:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def take(self, claim: Claim) -> Claim:
        def job(connection: sqlite3.Connection) -> Claim:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM claims WHERE scope = ? AND key = ?", (claim.scope, claim.key)
            ).fetchone()
            now = dt.datetime.now(dt.UTC)
            if (
                row
                and (holder := _claim(*row)).expires_at > now
                and (holder.result is not None or holder.locked_until > now)
            ):
                return holder
            connection.execute(
                f"INSERT OR REPLACE INTO claims ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (
                    claim.scope,
                    claim.key,
                    claim.fingerprint,
                    claim.token,
                    claim.locked_until.timestamp(),
                    claim.expires_at.timestamp(),
                ),
            )
            return claim

        return await self._database.write(job)

    async def finish(self, claim: Claim, result: bytes) -> None:
        await self._database.write(lambda connection: finish(connection, claim, result))

    async def release(self, claim: Claim) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM claims WHERE scope = ? AND key = ? AND token = ? AND result IS NULL",
                (claim.scope, claim.key, claim.token),
            )

        await self._database.write(job)

    async def release_orphans(self) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM claims WHERE result IS NULL")

        await self._database.write(job)

    async def remove_expired(self) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM claims WHERE expires_at <= ?", (dt.datetime.now(dt.UTC).timestamp(),))

        await self._database.write(job)


def finish(connection: sqlite3.Connection, claim: Claim, result: bytes) -> None:
    """Record what the request with this claim came to. Raises ClaimLost."""
    done = connection.execute(
        "UPDATE claims SET result = ? WHERE scope = ? AND key = ? AND token = ?",
        (result, claim.scope, claim.key, claim.token),
    )
    if done.rowcount != 1:
        raise ClaimLost(claim.key)


def _claim(
    scope: str, key: str, fingerprint: str, token: str, locked_until: float, expires_at: float, result: bytes | None
) -> Claim:
    return Claim(
        scope=scope,
        key=key,
        fingerprint=fingerprint,
        token=token,
        locked_until=dt.datetime.fromtimestamp(locked_until, dt.UTC),
        expires_at=dt.datetime.fromtimestamp(expires_at, dt.UTC),
        result=result,
    )
