"""Whether the stores do what the service asks of them. What is written for that is removed again."""

import datetime as dt
import io
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import parsedate_to_datetime

import httpx

from ..bootstrap import Services
from ..common.errors import ServiceError, StoreFailed
from ..common.ids import created_at, new_id
from ..common.payload import Payload
from ..common.sizes import in_words
from ..models.check import Check
from ..models.claim import Claim
from ..models.image import Image
from ..models.page import ImageQuery
from ..models.upload import INCOMING

PROBE = b"image-service doctor"
PROBE_TYPE = "image/png"  # forms are for pictures; nobody looks
PATIENCE = 10  # seconds
SKEW = dt.timedelta(minutes=1)  # AWS refuses what is signed a quarter of an hour off; links end that much early or late
_OBJECTS_ADVICE = (
    "BUCKET_NAME, AWS_DEFAULT_REGION and AWS_ENDPOINT_URL(_S3) want a bucket that exists, and the credentials want "
    "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on it"
)
_METADATA_ADVICE = (
    "TABLE_NAME, AWS_DEFAULT_REGION and AWS_ENDPOINT_URL(_DYNAMODB) want a table with the keys pk and sk, both "
    "strings, and the credentials want dynamodb:GetItem, PutItem, UpdateItem, DeleteItem and Query on it"
)
_LOCAL_ADVICE = "look at the disk of DATA_DIR, and at who may write there"
_LINK_ADVICE = (
    "clients follow such links: S3_PUBLIC_ENDPOINT wants the address under which they reach the bucket, and proxies "
    "before it must leave Host, path and query as they are"
)


async def metadata(services: Services) -> Check:
    """Read, write and remove an entry."""

    async def use() -> str:
        now = dt.datetime.now(dt.UTC)
        claim = Claim(
            scope="doctor",
            key=uuid.uuid4().hex,
            fingerprint="",
            token=uuid.uuid4().hex,
            locked_until=now + dt.timedelta(minutes=1),
            expires_at=now + dt.timedelta(minutes=1),
        )
        await services.repository.ping()
        await services.claims.take(claim)
        await services.claims.release(claim)
        usage = await services.repository.usage(None)
        return f"reads and writes; {usage.images:,} images, {in_words(usage.bytes)}"

    return await _tried("records", use, _LOCAL_ADVICE if services.settings.storage == "local" else _METADATA_ADVICE)


async def objects(services: Services) -> AsyncIterator[Check]:
    """Store, read and remove an object; where clients go to the bucket themselves, as they do."""
    image_id = new_id()
    key = f"{INCOMING}{image_id[-2:]}/{image_id}.png"
    is_local = services.settings.storage == "local"

    async def use() -> str:
        await services.objects.put(key, Payload(io.BytesIO(PROBE), len(PROBE)), content_type=PROBE_TYPE)
        payload = await services.objects.fetch(key)
        try:
            if payload.content() != PROBE:
                raise StoreFailed("The object came back with other bytes.")
        finally:
            payload.close()
        await services.objects.ping()
        return "stores, reads and lists"

    try:
        stored = await _tried("objects", use, _LOCAL_ADVICE if is_local else _OBJECTS_ADVICE)
        yield stored
        if stored.status == "ok" and not is_local:
            async for check in _as_clients(services, key, image_id):
                yield check
    finally:
        await _tried("objects", lambda: _removed(services, key), "")


async def newest(services: Services) -> Check:
    """Compare the clock with the newest image: ids are made of the time, and so is the order of lists."""
    ahead = dt.timedelta()

    async def look() -> str:
        nonlocal ahead
        page = await services.repository.list(ImageQuery(limit=1))
        if page.images:
            ahead = created_at(page.images[0].image_id) - dt.datetime.now(dt.UTC)
        return "is not behind the newest image"

    check = await _tried("clock", look, "look at the records first")
    if ahead <= SKEW:
        return check
    return Check(
        name="clock",
        status="warning",
        detail=f"the newest image is {ahead} ahead of this machine's clock: new ones are listed after it",
        advice="set the clock, by NTP",
    )


async def _removed(services: Services, key: str) -> str:
    await services.objects.delete(key)
    return ""


async def _as_clients(services: Services, key: str, image_id: str) -> AsyncIterator[Check]:
    """Follow a signed link and send a signed form, and read the store's clock from the answer."""
    origin = "http://localhost"
    moments: list[dt.datetime] = []

    async def follow() -> str:
        link = services.links.link(_image(image_id), origin=origin, rendition=key)
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            answer = await http.get(link.url)
        if "date" in answer.headers:
            moments.append(parsedate_to_datetime(answer.headers["date"]))
        if answer.status_code != 200 or answer.content != PROBE:
            raise StoreFailed(f"GET {answer.url.copy_with(query=None)} answered {answer.status_code}: {_code(answer)}")
        return f"lead to {answer.url.host}, and work"

    async def send() -> str:
        end = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
        form = services.links.form(key, content_type=PROBE_TYPE, size=len(PROBE), origin=origin, expires_at=end)
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            answer = await http.post(form.url, data=form.fields, files={"file": ("probe", PROBE)})
        if not answer.is_success:
            raise StoreFailed(f"POST {form.url} answered {answer.status_code}: {_code(answer)}")
        return f"lead to {answer.url.host}, and work"

    yield await _tried("signed links", follow, _LINK_ADVICE)
    yield await _tried("forms of direct uploads", send, _LINK_ADVICE)
    for moment in moments:
        skew = abs(dt.datetime.now(dt.UTC) - moment)
        yield Check(
            name="clock",
            status="ok" if skew <= SKEW else "failed",
            detail=f"differs from the bucket's by {skew.total_seconds():.0f} s",
            advice=None if skew <= SKEW else "set this machine's clock, by NTP: signatures and links are made of it",
        )


async def _tried(name: str, use: Callable[[], Awaitable[str]], advice: str) -> Check:
    try:
        return Check(name=name, status="ok", detail=await use())
    except (ServiceError, httpx.HTTPError) as error:
        return Check(name=name, status="failed", detail=_reason(error), advice=advice)


def _reason(error: BaseException) -> str:
    """Say what failed, and what the store said of it."""
    words = str(error) or type(error).__name__
    cause = str(error.__cause__).strip().partition("\n")[0] if error.__cause__ else ""
    return f"{words} ({cause})" if cause else words


def _code(answer: httpx.Response) -> str:
    """Return the code of S3's error document."""
    return answer.text.partition("<Code>")[2].partition("</Code>")[0] or answer.reason_phrase


def _image(image_id: str) -> Image:
    now = dt.datetime.now(dt.UTC)
    return Image(
        image_id=image_id,
        user_id="doctor",
        filename="probe.png",
        content_type=PROBE_TYPE,
        size=len(PROBE),
        width=1,
        height=1,
        frames=1,
        tags=(),
        description="",
        sha256="",
        color="#000000",
        placeholder="",
        created_at=now,
        updated_at=now,
        version=1,
    )
