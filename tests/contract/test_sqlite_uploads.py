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
from tests.support.stores import MINUTE, SECOND, Stores, StoresContract, make_claim, make_upload, upload_of_age

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
        """As it last was; what is kept stays, and what has been declared anew since it was looked at."""
        ages = (KEPT + MINUTE, KEPT + SECOND, KEPT - MINUTE, MINUTE)
        old, older, young, younger = (upload_of_age(age) for age in ages)
        oldest = upload_of_age(KEPT + 2 * MINUTE)
        for upload in (young, old, younger, older, oldest):
            await stores.uploads.declare(upload)
        await stores.uploads.pin(young.image_id, ONE)
        expired = await stores.uploads.expired()
        assert sorted(expired, key=lambda upload: upload.image_id) == [oldest, old, older]
        again = make_upload(image_id=oldest.image_id)
        await stores.uploads.declare(again)
        await stores.uploads.forget([*expired, young])
        assert await stores.uploads.expired() == []
        kept = {young.image_id, younger.image_id, oldest.image_id}
        assert {image_id for image_id, *_ in contents(place)["uploads"]} == kept
        assert await stores.uploads.get(oldest.image_id) == again
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
