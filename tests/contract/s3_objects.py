"""What S3 as an ObjectStore promises beyond the contract, on whatever speaks S3: types, refusals and links."""

import datetime as dt
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from src.common.errors import StoreError, StoreFailed
from src.common.payload import Payload
from src.common.sigv4 import Credentials
from src.models.image import Image, original_key
from src.models.link import Link
from src.repositories.object_store import S3ObjectStore
from src.services.link_service import LinkService, content_disposition, utc_now
from tests.contract.object_store import JPEG, KEY, ObjectStoreContract, put
from tests.support.aws_process import CREDENTIALS, REGION, AwsProcess
from tests.support.images import make_image
from tests.support.payloads import some_bytes

DATA = some_bytes(300_000)
LIFE = 600  # seconds


class Bucket(NamedTuple):
    process: AwsProcess
    name: str

    @property
    def s3(self) -> Any:
        return self.process.client("s3")

    def store(self, *, credentials: Credentials = CREDENTIALS) -> S3ObjectStore:
        return S3ObjectStore(self.name, region=REGION, endpoint=self.process.url, credentials=lambda: credentials)

    async def link(
        self,
        image: Image,
        *,
        now: Callable[[], dt.datetime] = utc_now,
        credentials: Credentials = CREDENTIALS,
    ) -> Link:
        """Store the original of `image`, and return a link to download it."""
        await put(self.store(), original_key(image.image_id, image.content_type), Payload.of(DATA))
        links = LinkService(
            signer=lambda: credentials,
            region=REGION,
            default_life=LIFE,
            public_endpoint=self.process.url,
            objects_path=f"/{self.name}/",
            now=now,
        )
        return links.link(image, origin="http://unused.example.com", download=True)


class S3ObjectsContract(ObjectStoreContract[Bucket]):
    """The suite, and what only S3 promises. A subclass says which S3 `place` is in."""

    def make(self, place: Bucket) -> S3ObjectStore:
        return place.store()

    def seed(self, place: Bucket, key: str, data: bytes) -> None:
        place.s3.put_object(Bucket=place.name, Key=key, Body=data)

    def stored(self, place: Bucket) -> dict[str, bytes]:
        objects = place.s3.list_objects_v2(Bucket=place.name).get("Contents", [])
        found = {entry["Key"]: place.s3.get_object(Bucket=place.name, Key=entry["Key"]) for entry in objects}
        uploads = place.s3.list_multipart_uploads(Bucket=place.name).get("Uploads", [])
        unfinished = {f"{upload['Key']} (upload {upload['UploadId']})": b"" for upload in uploads}
        return {key: answer["Body"].read() for key, answer in found.items()} | unfinished

    async def test_an_object_has_its_content_type(self, place: Bucket) -> None:
        """S3 serves what was put: whoever follows a link gets the type that was measured."""
        await put(place.store(), KEY, Payload.of(b"data"))
        assert place.s3.head_object(Bucket=place.name, Key=KEY)["ContentType"] == JPEG

    async def test_a_bucket_that_is_missing(self, place: Bucket) -> None:
        store = place._replace(name="no-such-bucket").store()
        with pytest.raises(StoreFailed):
            await put(store, KEY, Payload.of(b"data"))
        with pytest.raises(StoreError):
            await store.ping()

    async def test_credentials_that_are_wrong(self, place: Bucket) -> None:
        """They are refused, not taken for a store that is down or an object that is missing."""
        store = place.store(credentials=Credentials("AKIAIOSFODNN7EXAMPLE", "wrong"))
        with pytest.raises(StoreFailed):
            await put(store, KEY, Payload.of(b"data"))
        with pytest.raises(StoreFailed):
            await store.head(KEY)
        assert self.stored(place) == {}

    # Links

    @pytest.mark.parametrize("filename", ["a walk.jpg", "100% Übung & €+;=.jpg", 'a"b\\c.jpg'])
    async def test_a_link_serves_the_object(self, place: Bucket, filename: str) -> None:
        """The bytes, the type that was measured, and the name as it was signed."""
        link = await place.link(make_image(filename=filename))
        answer = httpx.get(link.url)
        assert (answer.status_code, answer.content) == (200, DATA)
        assert answer.headers["content-type"] == JPEG
        assert answer.headers["content-disposition"] == content_disposition("attachment", filename)

    async def test_a_link_serves_a_range(self, place: Bucket) -> None:
        link = await place.link(make_image())
        answer = httpx.get(link.url, headers={"Range": "bytes=1000-1999"})
        assert (answer.status_code, answer.content) == (206, DATA[1_000:2_000])

    async def test_a_changed_link_is_refused(self, place: Bucket) -> None:
        """Another object, name, life or signature than was signed."""
        image, other = make_image(), make_image()
        url, others = (await place.link(image)).url, (await place.link(other)).url
        signature = url[-64:]
        changed = [
            url.replace(image.image_id, other.image_id).replace(f"/{image.image_id[-2:]}/", f"/{other.image_id[-2:]}/"),
            url.replace("attachment", "inline"),
            url.replace(f"X-Amz-Expires={LIFE}", f"X-Amz-Expires={LIFE + 1}"),
            url.replace(signature, others[-64:]),
            url.partition("?")[0],
        ]
        assert [httpx.get(link).status_code for link in changed] == [403] * len(changed)

    async def test_a_link_of_wrong_credentials_is_refused(self, place: Bucket) -> None:
        link = await place.link(make_image(), credentials=CREDENTIALS._replace(secret_access_key="wrong"))
        assert httpx.get(link.url).status_code == 403

    @pytest.mark.parametrize(("age", "status"), [(LIFE - 60, 200), (LIFE + 1, 403)])
    async def test_a_link_that_is_old(self, place: Bucket, age: int, status: int) -> None:
        """It works as long as it says, and no longer."""
        link = await place.link(make_image(), now=lambda: utc_now() - dt.timedelta(seconds=age))
        assert httpx.get(link.url).status_code == status

    async def test_a_link_works_with_curl(self, place: Bucket, tmp_path: Path) -> None:
        """It is sent as it was written, and what it leads to is saved under its own name."""
        link = await place.link(make_image(filename="a walk (1).jpg"))
        subprocess.run(["curl", "-qfsSOJ", link.url], cwd=tmp_path, check=True, timeout=20)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a walk (1).jpg": DATA}
