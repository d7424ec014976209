"""S3 as an ObjectStore, on the emulator, and what only it promises."""

from typing import NamedTuple

import pytest

from src.common.errors import StoreError, StoreFailed, StoreUnavailable
from src.common.payload import Payload
from src.common.sigv4 import Credentials
from src.repositories.object_store import S3ObjectStore
from tests.contract.object_store import KEY, ObjectStoreContract, put
from tests.support.emulator import REGION, Emulator

pytestmark = pytest.mark.anyio

CREDENTIALS = Credentials("test", "test")


class Bucket(NamedTuple):
    emulator: Emulator
    name: str

    def store(self, *, credentials: Credentials = CREDENTIALS) -> S3ObjectStore:
        return S3ObjectStore(self.name, region=REGION, endpoint=self.emulator.url, credentials=credentials)


@pytest.fixture
def place(emulator: Emulator) -> Bucket:
    return Bucket(emulator, emulator.new_bucket())


class TestS3Objects(ObjectStoreContract[Bucket]):
    @pytest.fixture
    def place(self, emulator: Emulator) -> Bucket:
        return Bucket(emulator, emulator.new_bucket())

    def make(self, place: Bucket) -> S3ObjectStore:
        return place.store()

    def seed(self, place: Bucket, key: str, data: bytes) -> None:
        place.emulator.client("s3").put_object(Bucket=place.name, Key=key, Body=data)

    def stored(self, place: Bucket) -> dict[str, bytes]:
        s3 = place.emulator.client("s3")
        keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=place.name).get("Contents", [])]
        return {key: s3.get_object(Bucket=place.name, Key=key)["Body"].read() for key in keys}


async def test_an_object_has_its_content_type(place: Bucket) -> None:
    """S3 serves what was put: whoever follows a link gets the type that was measured."""
    await put(place.store(), KEY, Payload.of(b"data"))
    head = place.emulator.client("s3").head_object(Bucket=place.name, Key=KEY)
    assert head["ContentType"] == "image/jpeg"


async def test_a_bucket_that_is_missing(emulator: Emulator) -> None:
    store = Bucket(emulator, "no-such-bucket").store()
    with pytest.raises(StoreFailed):
        await put(store, KEY, Payload.of(b"data"))
    with pytest.raises(StoreError):
        await store.ping()


async def test_credentials_that_are_wrong(place: Bucket) -> None:
    store = place.store(credentials=Credentials("AKIAIOSFODNN7EXAMPLE", "wrong"))
    with pytest.raises(StoreFailed):
        await put(store, KEY, Payload.of(b"data"))


async def test_a_store_that_does_not_answer() -> None:
    """Nobody listens there: the request ends, and says to try again."""
    store = S3ObjectStore("bucket", region=REGION, endpoint="http://127.0.0.1:9", credentials=CREDENTIALS)
    with pytest.raises(StoreUnavailable):
        await store.head(KEY)
