"""S3 as an ObjectStore, on SeaweedFS: what holds on two that share no code is S3, not one's own reading of it."""

import httpx
import pytest

from src.common.errors import StoreFailed
from src.common.payload import Payload
from tests.contract.object_store import KEY, put
from tests.contract.s3_objects import Bucket, S3ObjectsContract
from tests.support.aws_process import CREDENTIALS
from tests.support.images import make_image
from tests.support.seaweedfs import SeaweedFS


class TestSeaweedFSObjects(S3ObjectsContract):
    """The suite, and what the emulator does not check of its root credentials."""

    @pytest.fixture
    def place(self, seaweedfs: SeaweedFS) -> Bucket:
        return Bucket(seaweedfs, seaweedfs.new_bucket())

    async def test_a_secret_that_is_wrong(self, place: Bucket) -> None:
        """Each request is signed, not only accompanied by the id of a key that is known."""
        self.seed(place, KEY, b"data")
        store = place.store(credentials=CREDENTIALS._replace(secret_access_key="wrong"))
        with pytest.raises(StoreFailed):
            await put(store, KEY, Payload.of(b"other data"))
        with pytest.raises(StoreFailed):
            await store.head(KEY)
        with pytest.raises(StoreFailed):
            await store.delete(KEY)
        with pytest.raises(StoreFailed):
            await store.ping()
        assert self.stored(place) == {KEY: b"data"}

    async def test_a_link_without_its_signature_is_refused(self, place: Bucket) -> None:
        url, _, _ = (await place.link(make_image())).url.partition("&X-Amz-Signature=")
        assert httpx.get(url).status_code == 400
