"""Both clients against the service: the blocking one over a connection, the asynchronous one in this process."""

import asyncio
import datetime as dt
import gzip
import hashlib
import io
import os
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

import src
from src import AsyncClient, Client, errors
from src.bootstrap import build_services
from src.common.config import Settings
from src.handlers.app import create_app
from tests.support.clients import KINDS, as_async
from tests.support.emulator import Emulator
from tests.support.homes import home_app
from tests.support.pictures import noise, picture
from tests.support.server import Server
from tests.support.tokens import AUTH, SECRET, token

pytestmark = pytest.mark.anyio

DATA = picture("png")


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, server: Server, app: Starlette) -> AsyncIterator[AsyncClient]:
    if request.param == "blocking":
        client = as_async(Client(server.url))
    else:
        client = AsyncClient("http://testserver", transport=httpx.ASGITransport(app))
    async with aclosing(client):
        yield client


@pytest.fixture
def user() -> str:
    """Somebody who has nothing yet: the server is shared."""
    return f"u-{uuid.uuid4().hex}"


def pipe_of(data: bytes) -> int:
    """Return the end to read of a pipe with some bytes in it."""
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return read


async def test_an_upload_is_what_was_said(client: AsyncClient, user: str, tmp_path: Path) -> None:
    path = tmp_path / 'a "cät".png'
    path.write_bytes(DATA)
    image = await client.upload(path, user_id=user, tags=["Cat", "b"], description="Süß", width=64, height=48)
    assert (image.user_id, image.filename, image.tags) == (user, path.name, ("cat", "b"))
    assert (image.description, image.size, image.sha256) == ("Süß", len(DATA), hashlib.sha256(DATA).hexdigest())
    assert image.is_new
    again = await client.upload(str(path), user_id=user, on_duplicate="return")
    assert (again.image_id, again.is_new) == (image.image_id, False)


@pytest.mark.parametrize("direct", [False, True])
async def test_every_kind_of_file(client: AsyncClient, user: str, direct: bool, tmp_path: Path) -> None:
    """A path, bytes, an open file from where it stands, one whose descriptor tells another size, and a pipe."""
    path = tmp_path / "a.png"
    path.write_bytes(DATA)
    later = io.BytesIO(b"before" + DATA)
    later.seek(6)
    read, another = (pipe_of(DATA) for _ in range(2))
    with (
        path.open("rb") as opened,
        gzip.open(io.BytesIO(gzip.compress(DATA))) as compressed,
        os.fdopen(read, "rb") as pipe,
    ):
        for file in (path, str(path), DATA, opened, later, compressed, pipe, f"/dev/fd/{another}"):
            image = await client.upload(file, user_id=user, direct=direct)  # type: ignore[arg-type]
            assert image.sha256 == hashlib.sha256(DATA).hexdigest()
        assert not opened.closed
    os.close(another)
    assert {i.filename == "a.png" async for i in client.images(user_id=user)} == {True, False}


@pytest.mark.parametrize("direct", [False, True])
async def test_what_has_no_name_gets_the_service_s(
    client: AsyncClient, user: str, direct: bool, tmp_path: Path
) -> None:
    """Bytes, a name that an image may not have, what only stands for one, and none on purpose."""
    hostile, given, standard = tmp_path / "new\nline.png", tmp_path / "a.png", io.BytesIO(DATA)
    hostile.write_bytes(DATA)
    given.write_bytes(DATA)
    standard.name = "<stdin>"  # type: ignore[attr-defined]
    for file, said in ((DATA, {}), (hostile, {}), (standard, {}), (given, {"filename": ""})):
        image = await client.upload(file, user_id=user, direct=direct, description="x", tags=["a"], **said)  # type: ignore[arg-type]
        assert image.filename == f"{image.image_id}.png"
        assert (image.description, image.tags) == ("x", ("a",))
    assert (await client.upload(DATA, user_id=user, direct=direct, filename="b.png")).filename == "b.png"


@pytest.mark.parametrize("direct", [False, True])
async def test_what_is_no_picture_is_refused(client: AsyncClient, user: str, direct: bool) -> None:
    with pytest.raises(errors.UnsupportedImageFormat):
        await client.upload(b"no picture", user_id=user, direct=direct)
    broken = DATA[:60]
    with pytest.raises(errors.UndecodableImage) as raised:
        await client.upload(broken, user_id=user, direct=direct)
    assert raised.value.status == 422
    assert raised.value.request_id
    assert (await client.usage(user)).images == 0


async def test_a_refused_direct_upload_is_cancelled(app: Starlette) -> None:
    paths: list[str] = []

    async def noted(request: httpx.Request) -> None:
        paths.append(f"{request.method} {request.url.path}")

    async with AsyncClient("http://testserver", transport=httpx.ASGITransport(app)) as client:
        client._http.event_hooks = {"request": [noted]}
        with pytest.raises(errors.UndecodableImage):
            await client.upload(DATA[:60], direct=True)
        assert [path.partition("/0")[0] for path in paths] == [
            "POST /uploads",
            "POST /objects/",
            "POST /uploads",
            "DELETE /uploads",
        ]
        with pytest.raises(errors.UploadNotFound):
            await client.get_upload(paths[-1].rpartition("/")[2])


async def test_large_files_go_straight_to_storage(client: AsyncClient, user: str) -> None:
    data = noise(1_700, 1_700, "png", compress_level=0)
    assert len(data) > 5 * 1024 * 1024
    image = await client.upload(data, user_id=user)
    with pytest.raises(errors.UploadCompleted):
        await client.cancel_upload(image.image_id)
    assert hashlib.sha256(await client.content(image.image_id)).hexdigest() == image.sha256


async def test_what_a_body_may_not_have_goes_straight_to_storage(app: Starlette) -> None:
    """As on Lambda, where the service tells that bodies are smaller there."""
    sent: list[httpx.Request] = []
    inner = httpx.ASGITransport(app)

    class Small(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            sent.append(request)
            answer = await inner.handle_async_request(request)
            if request.url.path != "/limits":
                return answer
            content = {**(httpx.Response(200, content=await answer.aread()).json()), "max_body_size": 1_500_000}
            return httpx.Response(200, json=content)

    async with AsyncClient("http://testserver", transport=Small()) as client:
        await client.upload(noise(900, 600, compress_level=0))  # 1.6 MB
        await client.upload(noise(700, 500, compress_level=0))  # 1.05 MB
    assert [(r.method, r.url.path[:8]) for r in sent] == [
        ("GET", "/limits"),
        ("POST", "/uploads"),
        ("POST", "/objects"),
        ("POST", "/uploads"),
        ("POST", "/images"),
    ]


async def test_a_key_of_ones_own(client: AsyncClient, user: str) -> None:
    for direct in (False, True):
        key = str(uuid.uuid4())
        first = await client.upload(DATA, user_id=user, idempotency_key=key, direct=direct)
        assert await client.upload(DATA, user_id=user, idempotency_key=key, direct=direct) == first
        with pytest.raises(errors.IdempotencyKeyReused):
            await client.upload(picture("gif"), user_id=user, idempotency_key=key, direct=direct)
    assert (await client.usage(user)).images == 2


async def test_lists(client: AsyncClient, user: str) -> None:
    uploaded = [
        (await client.upload(DATA, user_id=user, tags=tags)).image_id for tags in (["a"], ["a", "b"], ["b", "c"], [])
    ]
    assert [i.image_id async for i in client.images(user_id=user, page_size=3)] == uploaded[::-1]
    assert [i.image_id async for i in client.images(user_id=user, order="oldest", page_size=1)] == uploaded
    either = client.images(user_id=user, tags=["a", "c"], tag_mode="any", exclude_tags=["b"])
    assert [i.image_id async for i in either] == uploaded[:1]
    end = dt.datetime.now(dt.timezone(dt.timedelta(hours=5))) + dt.timedelta(seconds=1)
    assert [i async for i in client.images(user_id=user, created_after=end)] == []
    assert len([i async for i in client.images(user_id=user, created_before=end)]) == 4
    first = await client.page(user_id=user, limit=3, include_urls=True, thumbnail_size=10)
    assert (first.count, isinstance(first.images[0].thumbnail_url, str)) == (3, True)
    rest = await client.page(user_id=user, limit=3, last_key=first.last_key)
    assert [i.image_id for i in rest.images] == uploaded[:1]
    assert [(t.tag, t.count) async for t in client.tags(user_id=user, page_size=1)] == [("a", 2), ("b", 2), ("c", 1)]
    assert [t.tag async for t in client.tags(user_id=user, prefix="b")] == ["b"]
    usage = await client.usage(user)
    assert (usage.images, usage.bytes) == (4, 4 * len(DATA))


async def test_a_link(client: AsyncClient, user: str) -> None:
    image = await client.upload(DATA, user_id=user)
    linked = await client.get(image.image_id, download=True, expires_in=60, width=10, format="webp", enlarge=False)
    assert ".webp?" in linked.url
    assert "attachment" in linked.url
    assert linked.expires_at < dt.datetime.now(dt.UTC) + dt.timedelta(seconds=70)


async def test_downloads(client: AsyncClient, user: str, tmp_path: Path) -> None:
    image = await client.upload(DATA, user_id=user, filename="a cät.png")
    assert await client.content(image.image_id) == DATA
    buffer = io.BytesIO()
    assert await client.download(image.image_id, buffer) is None
    assert buffer.getvalue() == DATA
    target = tmp_path / "x"
    target.write_text("old")
    assert await client.download(image.image_id, target) == target
    assert target.read_bytes() == DATA
    assert await client.download(image.image_id, str(tmp_path)) == tmp_path / "a cät.png"
    small = await client.download(image.image_id, tmp_path, width=10, format="jpeg")
    assert small == tmp_path / "a cät.jpg"
    assert small.read_bytes()[:3] == b"\xff\xd8\xff"
    with pytest.raises(FileExistsError):  # the name is not the caller's
        await client.download(image.image_id, tmp_path)
    with pytest.raises(FileNotFoundError):
        await client.download(image.image_id, tmp_path / "nowhere" / "x")
    with pytest.raises(errors.ImageNotFound):
        await client.download(str(uuid.uuid4()), tmp_path / "y")
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"x", "a cät.png", "a cät.jpg"}


async def test_changes(client: AsyncClient, user: str) -> None:
    image = await client.upload(DATA, user_id=user, filename="a.png", tags=["a"], description="x")
    changed = await client.update(image.image_id, tags=["B"], filename=None, if_match=image)
    assert (changed.tags, changed.description, changed.version) == (("b",), "x", 2)
    assert changed.filename == f"{image.image_id}.png"
    with pytest.raises(errors.PreconditionFailed):
        await client.update(image.image_id, description="y", if_match=image)
    assert (await client.update(image.image_id, description=None, tags=None)).description == ""


async def test_deletions(client: AsyncClient, user: str) -> None:
    ids = [(await client.upload(DATA, user_id=user)).image_id for _ in range(3)]
    await client.delete(ids[0])
    with pytest.raises(errors.ImageNotFound) as raised:
        await client.delete(ids[0])
    assert str(raised.value) == f"There is no image {ids[0]}."
    others = [str(uuid.uuid4()) for _ in range(150)]
    results = [result async for result in client.delete_all(id_ for id_ in [ids[1], *others, ids[2]])]
    assert len(results) == 152
    assert [r.image_id for r in results if r.status == "deleted"] == ids[1:]
    assert [result async for result in client.delete_all([])] == []


async def test_a_declared_upload(client: AsyncClient, user: str) -> None:
    """For somebody else to send."""
    declared = await client.declare_upload(content_type="image/png", size=len(DATA), user_id=user, tags=["a"])
    with pytest.raises(errors.UploadIncomplete):
        await client.complete_upload(declared.image_id)
    assert (await client.get_upload(declared.image_id)).status == "waiting"
    await client.cancel_upload(declared.image_id)
    with pytest.raises(errors.UploadNotFound):
        await client.get_upload(declared.image_id)


async def test_what_the_service_says_of_itself(client: AsyncClient) -> None:
    assert (await client.health()).status == "ok"
    assert (await client.ready()).status == "ready"
    limits = await client.limits()
    assert limits.max_page_limit == 100
    assert await client.limits() is limits


async def test_a_mistake_names_its_field(client: AsyncClient) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        await client.page(limit=0)
    assert [error.field for error in raised.value.errors] == ["limit"]
    with pytest.raises(errors.InvalidRequest, match="colour: is not known here"):
        await client.upload(DATA, colour="red")  # type: ignore[call-arg]


async def test_one_token_per_client(tmp_path: Path) -> None:
    services = build_services(Settings.from_environment({"DATA_DIR": str(tmp_path / "data"), **AUTH}))
    transport = httpx.ASGITransport(create_app(services))
    async with AsyncClient("http://testserver", token=token("ann"), transport=transport) as ann:
        image = await ann.upload(DATA, direct=True)
        assert image.user_id == "ann"
        assert await ann.content(image.image_id) == DATA
    async with AsyncClient("http://testserver", transport=transport) as nobody:
        with pytest.raises(errors.TokenMissing):
            await nobody.get(image.image_id)
    async with AsyncClient("http://testserver", token=token("bob", "images:read"), transport=transport) as reader:
        with pytest.raises(errors.InsufficientScope) as raised:
            await reader.upload(DATA)
        assert raised.value.scope == "images:write"
    await services.close()


def test_threads_that_share_a_client_get_through_a_limit(tmp_path: Path) -> None:
    """However many of them are refused at a time: with one retry, each would be over after the second refusal."""
    limit = {"RATE_LIMIT": "4", "RATE_BURST": "4", "AUTH_SECRET": SECRET}
    with (
        Server(tmp_path / "data", environment=limit) as server,
        Client(server.url, token=token("ann"), retries=1) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        assert {usage.images for usage in threads.map(lambda _: client.usage(), range(12))} == {0}


async def test_below_a_path_prefix(app: Starlette) -> None:
    transport = httpx.ASGITransport(app, root_path="/dev")
    async with AsyncClient("http://testserver/dev/", transport=transport) as client:
        image = await client.upload(DATA, direct=True)
        assert await client.content(image.image_id) == DATA
        assert [i.image_id async for i in client.images()] == [image.image_id]


async def test_straight_to_s3(emulator: Emulator, tmp_path: Path) -> None:
    async with home_app("aws", tmp_path, lambda: emulator, {}) as app:
        service, network = httpx.ASGITransport(app), httpx.AsyncHTTPTransport()

        class Routes(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                is_service = request.url.host == "testserver"
                assert ("authorization" in request.headers) == is_service
                transport: Any = service if is_service else network
                return await transport.handle_async_request(request)  # type: ignore[no-any-return]

        async with network, AsyncClient("http://testserver", token="secret", transport=Routes()) as client:
            image = await client.upload(DATA, direct=True)
            assert await client.content(image.image_id) == DATA


async def test_many_at_once(app: Starlette) -> None:
    async with AsyncClient("http://testserver", transport=httpx.ASGITransport(app)) as client:
        images = await asyncio.gather(*(client.upload(DATA) for _ in range(5)))
        assert len({image.image_id for image in images}) == 5


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError):
        src.nothing  # noqa: B018
