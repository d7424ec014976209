"""Forms at S3 (on the emulator) and at our own `/objects/`: a client can't tell them apart."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from src.bootstrap import build_services
from src.common.config import Settings
from src.common.sigv4 import Credentials
from src.handlers.app import create_app
from src.models.link import Form
from src.services.link_service import LinkService, utc_now
from tests.support.api import stored_files
from tests.support.aws_process import CREDENTIALS, REGION
from tests.support.emulator import Emulator
from tests.support.forms import ATTEMPTS, DATA, KEY, Attempt, body_of, post

pytestmark = pytest.mark.anyio


class Home(NamedTuple):
    """Where forms are posted to; `stored` returns the objects by key."""

    client: httpx.AsyncClient
    links: LinkService
    bucket: str
    stored: Callable[[], Mapping[str, bytes]]

    def form(self, *, size: int = len(DATA), life: int = 600) -> Form:
        expires_at = utc_now() + dt.timedelta(seconds=life)
        return self.links.form(
            KEY, content_type="image/png", size=size, origin="http://testserver", expires_at=expires_at
        )

    async def post(self, attempt: Attempt) -> httpx.Response:
        form = self.form()
        fields = [(name, self.bucket if value == "BUCKET" else value) for name, value in attempt.change(form.fields)]
        return await self.client.post(form.url, **body_of(fields, attempt.data, file=attempt.file))


def links_to(emulator: Emulator, bucket: str, credentials: Credentials = CREDENTIALS) -> LinkService:
    return LinkService(
        signer=lambda: credentials,
        region=REGION,
        default_life=600,
        public_endpoint=emulator.url,
        objects_path=f"/{bucket}/",
        bucket=bucket,
    )


@pytest.fixture
async def s3(emulator: Emulator) -> AsyncIterator[Home]:
    bucket, client = emulator.new_bucket(), emulator.client("s3")

    def stored() -> Mapping[str, bytes]:
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
        return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    async with httpx.AsyncClient() as http:
        yield Home(http, links_to(emulator, bucket), bucket, stored)


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Home]:
    settings = Settings.from_environment({"DATA_DIR": str(tmp_path / "data")})
    services = build_services(settings)

    def stored() -> Mapping[str, bytes]:
        root = settings.data_dir / "objects"
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in stored_files(settings)}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(services))) as http:
        yield Home(http, services.links, "objects", stored)
    await services.close()


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
async def test_both_homes_answer_alike(embedded: Home, s3: Home, attempt: Attempt) -> None:
    """The same form, right or wrong, gets the same status; and what is refused leaves nothing behind."""
    for home in (embedded, s3):
        answer = await home.post(attempt)
        assert answer.status_code == attempt.status, (home.bucket, answer.text)
        assert home.stored() == ({KEY: DATA} if attempt.status == 204 else {})


async def test_an_expired_form(embedded: Home, s3: Home) -> None:
    for home in (embedded, s3):
        assert (await post(home.client, home.form(life=-1))).status_code == 403
        assert home.stored() == {}


async def test_what_is_sent_again_replaces_the_first(embedded: Home, s3: Home) -> None:
    for home in (embedded, s3):
        form = home.form()
        for data in (DATA, DATA[::-1]):
            answer = await post(home.client, form, data)
            assert (answer.status_code, answer.content) == (204, b"")
            assert home.stored() == {KEY: data}


async def test_the_answer_names_the_object(embedded: Home, s3: Home) -> None:
    for home in (embedded, s3):
        answer = await post(home.client, home.form())
        assert answer.headers["etag"].strip('"')
        assert answer.headers["location"].replace("%2F", "/").endswith(f"/{KEY}")


async def test_an_object_has_the_type_that_was_signed(emulator: Emulator, s3: Home) -> None:
    """Not the one that the file's part names: that is the client's word."""
    await s3.post(ATTEMPTS["a file of another type"])
    assert emulator.client("s3").head_object(Bucket=s3.bucket, Key=KEY)["ContentType"] == "image/png"


async def test_temporary_credentials(emulator: Emulator, s3: Home) -> None:
    given = emulator.client("sts").get_session_token()["Credentials"]
    credentials = Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    home = s3._replace(links=links_to(emulator, s3.bucket, credentials))
    form = home.form()
    assert form.fields["x-amz-security-token"] == given["SessionToken"]
    assert (await post(s3.client, form)).status_code == 204
    assert s3.stored() == {KEY: DATA}
    token = form.fields.pop("x-amz-security-token")
    assert (await post(s3.client, form)).status_code in (400, 403)
    form.fields["x-amz-security-token"] = token[:-1]
    assert (await post(s3.client, form)).status_code in (400, 403)
