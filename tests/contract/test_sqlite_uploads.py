"""SQLite as an UploadRepository and a ClaimRepository, and what is removed from it."""

from pathlib import Path

import msgspec
import pytest

from src.models.upload import KEPT
from src.repositories.sqlite_claims import SqliteClaimRepository
from src.repositories.sqlite_database import SqliteDatabase
from src.repositories.sqlite_images import SqliteImageRepository
from src.repositories.sqlite_uploads import SqliteUploadRepository
from tests.contract.claim_repository import RESULT, ClaimRepositoryContract, expired, with_result
from tests.contract.upload_repository import ONE, UploadRepositoryContract
from tests.support.sqlite import contents
from tests.support.stores import MINUTE, SECOND, Stores, StoresContract, make_claim, upload_of_age

pytestmark = pytest.mark.anyio


class OnSqlite(StoresContract[Path]):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "images.sqlite3"

    async def open(self, place: Path) -> Stores:
        database = SqliteDatabase(place)
        return Stores(
            SqliteImageRepository(database), SqliteUploadRepository(database), SqliteClaimRepository(database)
        )

    def contents(self, place: Path) -> object:
        return contents(place)


class TestSqliteUploads(OnSqlite, UploadRepositoryContract[Path]):
    async def test_what_is_no_longer_kept_is_removed(self, stores: Stores, place: Path) -> None:
        """And returned as it last was; what is kept stays."""
        ages = (KEPT + MINUTE, KEPT + SECOND, KEPT - MINUTE, MINUTE)
        old, older, young, younger = (upload_of_age(age) for age in ages)
        for upload in (young, old, younger, older):
            await stores.uploads.declare(upload)
        await stores.uploads.pin(young.image_id, ONE)
        assert sorted(await stores.uploads.remove_expired(), key=lambda upload: upload.image_id) == [old, older]
        assert await stores.uploads.remove_expired() == []
        assert {image_id for image_id, *_ in contents(place)["uploads"]} == {young.image_id, younger.image_id}
        assert await stores.uploads.get(young.image_id) == msgspec.structs.replace(young, sha256=ONE)


class TestSqliteClaims(OnSqlite, ClaimRepositoryContract[Path]):
    async def test_orphans_are_released(self, stores: Stores) -> None:
        """Keys without a result are free at once, whoever has them; a result stays."""
        claims = {key: make_claim(key=key) for key in ("finished", "dead", "dead, too")}
        for claim in claims.values():
            await stores.claims.take(claim)
        await stores.claims.finish(claims["finished"], RESULT)
        await stores.claims.release_orphans()
        for key, claim in claims.items():
            new = make_claim(key=key)
            assert await stores.claims.take(new) == (with_result(claim) if key == "finished" else new)

    async def test_what_has_expired_is_removed(self, stores: Stores, place: Path) -> None:
        """With a result or without; what has not expired stays, with a result or without."""
        for key in ("finished", "running"):
            for claim in (expired(key=f"{key}, expired"), make_claim(key=key)):
                await stores.claims.take(claim)
                if key == "finished":
                    await stores.claims.finish(claim, RESULT)
        await stores.claims.remove_expired()
        assert {key for _, key, *_ in contents(place)["claims"]} == {"finished", "running"}
