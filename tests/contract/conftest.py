"""Let the suites explain a failed assertion as the test files do; and the SQLite that three files are about."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from src.repositories.sqlite_database import SqliteDatabase
from src.repositories.sqlite_images import SqliteImageRepository

pytest.register_assert_rewrite(
    "tests.contract.audit",
    "tests.contract.claim_repository",
    "tests.contract.image_repository",
    "tests.contract.object_store",
    "tests.contract.quotas",
    "tests.contract.s3_objects",
    "tests.contract.upload_repository",
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return where a database is. The suites of other stores have places of their own."""
    return tmp_path / "images.sqlite3"


@pytest.fixture
async def repository(place: Path) -> AsyncIterator[SqliteImageRepository]:
    repository = SqliteImageRepository(SqliteDatabase(place))
    yield repository
    await repository.close()
