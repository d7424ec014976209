"""SQLite as an ImageRepository whose users have a quota."""

from pathlib import Path

from src.models.usage import Quota
from src.repositories.sqlite_claims import SqliteClaimRepository
from src.repositories.sqlite_database import SqliteDatabase
from src.repositories.sqlite_images import SqliteImageRepository
from src.repositories.sqlite_uploads import SqliteUploadRepository
from tests.contract.quotas import QuotaContract
from tests.support.sqlite import contents
from tests.support.stores import Stores


class TestSqliteQuotas(QuotaContract[Path]):
    async def open(self, place: Path, quota: Quota) -> Stores:
        database = SqliteDatabase(place)
        return Stores(
            SqliteImageRepository(database, quota=quota),
            SqliteUploadRepository(database),
            SqliteClaimRepository(database),
        )

    def contents(self, place: Path) -> object:
        return contents(place)
