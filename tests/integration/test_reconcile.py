"""Reconciliation over real stores, in both homes: what no record refers to goes, what a record refers to stays."""

import asyncio
import datetime as dt
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from src.bootstrap import Services, build_services
from src.common.config import Settings
from src.common.errors import ImageNotFound, StoreFailed
from src.common.ids import new_id
from src.common.payload import Payload
from src.models.finding import LOST, Finding
from src.models.image import Image, NewImage, original_key
from src.models.page import ImageQuery
from src.models.rendition import RenditionRequest, renditions_prefix
from src.models.upload import NewUpload, Upload, incoming_key
from src.services.reconciler import Reconciler
from tests.support.aws_process import REGION
from tests.support.emulator import Emulator
from tests.support.images import id_at
from tests.support.pictures import picture

pytestmark = pytest.mark.anyio

HOUR = dt.timedelta(hours=1)
DATA = picture("png")


class Home:
    """The services, and what is stored by no code of theirs."""

    def __init__(self, settings: Settings, emulator: Emulator | None) -> None:
        self.settings = settings
        self.services: Services = build_services(settings)
        self._s3: Any = emulator.client("s3") if emulator else None
        self.files = settings.data_dir / "objects"

    @property
    def is_local(self) -> bool:
        return self._s3 is None

    def seed(self, *keys: str, data: bytes = b"data") -> None:
        for key in keys:
            if self.is_local:
                (self.files / key).parent.mkdir(parents=True, exist_ok=True)
                (self.files / key).write_bytes(data)
            else:
                self._s3.put_object(Bucket=self.settings.bucket_name, Key=key, Body=data)

    def remove(self, key: str) -> None:
        if self.is_local:
            (self.files / key).unlink()
        else:
            self._s3.delete_object(Bucket=self.settings.bucket_name, Key=key)

    def stored(self) -> set[str]:
        """Return everything that is stored; of files also those that are no objects, and empty directories."""
        if self.is_local:
            paths = self.files.rglob("*")
            found = (path for path in paths if path.is_file() or (len(path.parts) > 2 and not any(path.iterdir())))
            return {path.relative_to(self.files).as_posix() for path in found}
        listed = self._s3.list_objects_v2(Bucket=self.settings.bucket_name).get("Contents", [])
        return {entry["Key"] for entry in listed}

    async def upload(self, data: bytes = DATA) -> Image:
        return (await self.services.images.upload(NewImage(payload=Payload.of(data)))).image

    async def upload_with_renditions(self) -> Image:
        image = await self.upload()
        for width in (8, 16):
            await self.services.renditions.ensure(image, RenditionRequest(width=width, format="webp"))
        return image

    async def declare(self) -> Upload:
        return await self.services.uploads.declare(NewUpload(content_type="image/png", size=len(DATA)))

    async def find(self, before: dt.datetime) -> list[Finding]:
        return [each async for each in self.services.reconciler.find(before) if isinstance(each, Finding)]

    async def reconcile(self, before: dt.datetime | None = None) -> dict[str, str]:
        """Mend what is found, and check that it is just what is found by only looking. Return it, with its kinds."""
        before = before or later()
        stored = self.stored()
        planned = await self.find(before)
        assert self.stored() == stored
        done: list[Finding] = []
        async for each in self.services.reconciler.find(before):
            if isinstance(each, Finding):
                done.append(each)
                await self.services.reconciler.mend(each)
        assert [finding.what for finding in done] == [finding.what for finding in planned]
        left = [finding for finding in await self.find(before) if finding.kind != LOST]
        assert left == []
        found = {finding.what: finding.kind for finding in done}
        assert len(found) == len(done), "found twice"
        return found


def later() -> dt.datetime:
    """Return a moment before which everything is old."""
    return dt.datetime.now(dt.UTC) + HOUR


def earlier() -> dt.datetime:
    """Return a moment since which everything is young."""
    return dt.datetime.now(dt.UTC) - HOUR


@pytest.fixture(params=["local", "aws"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "local":
        return Settings.from_environment({"DATA_DIR": str(tmp_path / "data")})
    emulator: Emulator = request.getfixturevalue("emulator")
    return Settings.from_environment(
        {**emulator.home(), "DATA_DIR": str(tmp_path / "data"), "AWS_DEFAULT_REGION": REGION}
    )


@pytest.fixture
async def home(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[Home]:
    home = Home(settings, request.getfixturevalue("emulator") if settings.storage == "aws" else None)
    yield home
    await home.services.close()


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Home]:
    """The embedded home alone."""
    home = Home(Settings.from_environment({"DATA_DIR": str(tmp_path / "data")}), None)
    yield home
    await home.services.close()


async def test_nothing_is_wrong(home: Home) -> None:
    """Neither where there is nothing, nor with images, renditions, and uploads in every state."""
    assert await home.reconcile() == {}
    image = await home.upload_with_renditions()
    await home.services.images.delete((await home.upload_with_renditions()).image_id, owner=None)
    opened, sent, done, cancelled = [await home.declare() for _ in range(4)]
    home.seed(incoming_key(sent), incoming_key(done), data=DATA)
    await home.services.uploads.complete(done.image_id, owner=None)
    await home.services.uploads.cancel(cancelled.image_id, owner=None)
    kept = home.stored()
    assert {original_key(image.image_id, "image/png"), incoming_key(sent)} < kept
    assert await home.reconcile() == {}
    assert home.stored() == kept
    home.seed(incoming_key(opened), data=DATA)
    for upload in (sent, opened):
        assert await home.services.uploads.complete(upload.image_id, owner=None)


async def test_originals_without_a_record(home: Home) -> None:
    """Those of no image, those of another type or place than the image's, and what is no original at all."""
    image = await home.upload()
    kept = home.stored()
    strays = [
        original_key(new_id(), "image/png"),
        original_key(image.image_id, "image/jpeg"),
        original_key(image.image_id, "image/png").replace("originals/", "originals/x"),
        f"originals/{image.image_id}.png",
        f"{original_key(image.image_id, 'image/png')}.png",
        "originals/ab/notes.txt",
        "originals/notes 50% Ü.txt",
        "originals/ab/cd/ef/gh.png",
    ]
    home.seed(*strays)
    assert await home.reconcile() == dict.fromkeys(strays, "object without a record")
    assert home.stored() - {"originals/ab/cd/ef", "originals/ab"} >= kept
    assert not set(strays) & home.stored()
    assert (await home.services.objects.head(original_key(image.image_id, "image/png"))).size == len(DATA)


async def test_renditions_without_a_record(home: Home) -> None:
    """All of an unknown image at once; nothing that lies beside those of an image takes these with it."""
    image = await home.upload_with_renditions()
    kept = home.stored()
    unknown = [renditions_prefix(f"{new_id()[:-2]}{image.image_id[-2:]}"), renditions_prefix(new_id())]
    strays = [
        "renditions/a.webp",
        f"renditions/{image.image_id[-2:]}/a.webp",
        f"renditions/{image.image_id[-2:]}/junk/a.webp",
        f"renditions/x{image.image_id[-2:]}/{image.image_id}/1x1.webp",
    ]
    home.seed(*(f"{prefix}{name}.webp" for prefix in unknown for name in ("1x1", "2x2", "deep/3x3")), *strays)
    expected = dict.fromkeys(unknown, "renditions without a record") | dict.fromkeys(strays, "object without a record")
    assert await home.reconcile() == expected
    assert {key for key in home.stored() if key.startswith(renditions_prefix(image.image_id))} <= kept
    assert kept <= home.stored()
    assert not any(key.startswith(tuple(unknown)) for key in home.stored())
    if home.is_local:
        assert not any((home.files / prefix).exists() for prefix in unknown)


async def test_the_size_of_what_goes(home: Home) -> None:
    prefix = renditions_prefix(new_id())
    home.seed(f"{prefix}1x1.webp", data=bytes(100))
    home.seed(f"{prefix}2x2.webp", data=bytes(11))
    home.seed("originals/ab/x", data=bytes(5))
    sizes = {finding.what: (finding.size, finding.detail) for finding in await home.find(later())}
    assert sizes[prefix] == (111, "2 objects")
    assert sizes["originals/ab/x"][0] == 5


async def test_bytes_without_an_upload(home: Home) -> None:
    """Of no upload, one that is over, or another type. What an open upload waits for is left, its original too."""
    opened, done, cancelled = [await home.declare() for _ in range(3)]
    home.seed(incoming_key(done), data=DATA)
    await home.services.uploads.complete(done.image_id, owner=None)
    await home.services.uploads.cancel(cancelled.image_id, owner=None)
    original = original_key(opened.image_id, "image/png")
    home.seed(incoming_key(opened), original, data=DATA)
    kept = home.stored()
    strays = [
        incoming_key(done),
        incoming_key(cancelled),
        incoming_key(opened).replace(".png", ".jpg"),
        incoming_key(opened).replace("incoming/", "incoming/x"),
        incoming_key(msgspec.structs.replace(opened, image_id=new_id())),
        "incoming/ab/junk",
        "incoming/junk",
    ]
    orphan = original_key(cancelled.image_id, "image/png")
    home.seed(*strays, orphan)
    expected = {orphan: "object without a record"} | dict.fromkeys(strays, "bytes without an upload")
    assert await home.reconcile() == expected
    assert kept <= home.stored()
    assert (await home.services.uploads.complete(opened.image_id, owner=None)).image.image_id == opened.image_id


async def test_an_upload_that_is_over(home: Home) -> None:
    """What came of it, and was never committed, goes once it is no longer kept."""
    upload = await home.declare()
    home.seed(incoming_key(upload), original_key(upload.image_id, "image/png"), data=DATA)
    old = msgspec.structs.replace(upload, image_id=id_at(dt.datetime.now(dt.UTC) - 25 * HOUR))
    strays = {incoming_key(old), original_key(old.image_id, "image/png")}
    home.seed(*strays, data=DATA)
    assert set(await home.reconcile()) == strays


async def test_what_is_young_is_left(home: Home) -> None:
    prefix = renditions_prefix(new_id())
    strays = [original_key(new_id(), "image/png"), f"{prefix}1x1.webp", "incoming/ab/junk", "originals/junk"]
    home.seed(*strays, "renditions/junk")
    stored = home.stored()
    assert await home.reconcile(earlier()) == {}
    assert home.stored() == stored
    assert set(await home.reconcile(later())) == {*strays, "renditions/junk", prefix} - {f"{prefix}1x1.webp"}


async def test_a_record_without_its_object(home: Home) -> None:
    """It is told each time, and left, its renditions too: what nobody can make again nobody shall forget."""
    image, other = await home.upload_with_renditions(), await home.upload()
    home.remove(original_key(image.image_id, "image/png"))
    stored = home.stored()
    for before in (later(), earlier()):
        assert await home.reconcile(before) == {image.image_id: LOST}
    assert home.stored() == stored
    assert await home.services.images.get(image.image_id, owner=None) == image
    await home.services.images.delete(image.image_id, owner=None)
    assert await home.reconcile() == {}
    assert await home.services.images.get(other.image_id, owner=None) == other


async def test_a_record_that_comes_meanwhile(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that had none when they were listed are not touched, however old: nor their renditions."""
    upload = await home.declare()
    home.seed(incoming_key(upload), original_key(upload.image_id, "image/png"), data=DATA)
    listed = type(home.services.objects).list
    images: list[Image] = []

    async def list_and_complete(self: Any, prefix: str) -> AsyncIterator[Any]:
        infos = [info async for info in listed(self, prefix)]
        if prefix == "originals/":
            images.append((await home.services.uploads.complete(upload.image_id, owner=None)).image)
            images.append(await home.upload_with_renditions())
            infos = [info async for info in listed(self, prefix)]
        for info in infos:
            yield info

    with monkeypatch.context() as patch:
        patch.setattr(type(home.services.objects), "list", list_and_complete)
        assert await home.find(later()) == []
    assert len(images) == 2
    assert await home.reconcile() == {}


async def test_an_upload_that_is_completed_between_two_looks(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of its records is looked at first: its original, of a completion that broke off, is an image's now."""
    upload = await home.declare()
    home.seed(incoming_key(upload), original_key(upload.image_id, "image/png"), data=DATA)
    uploads, repository = home.services.reconciler._uploads, home.services.reconciler._repository
    calls = 0

    def completing(get: Any) -> Any:
        async def get_and_complete(image_id: str, **options: Any) -> Any:
            nonlocal calls
            found = await get(image_id, **options)
            calls += 1
            if calls == 1:
                monkeypatch.undo()
                await home.services.uploads.complete(upload.image_id, owner=None)
            return found

        return get_and_complete

    monkeypatch.setattr(uploads, "get", completing(uploads.get))
    monkeypatch.setattr(repository, "get", completing(repository.get))
    async for each in home.services.reconciler.find(later()):
        if isinstance(each, Finding):
            await home.services.reconciler.mend(each)
    image = await home.services.images.get(upload.image_id, owner=None)
    assert calls == 1
    assert (await home.services.objects.head(original_key(image.image_id, "image/png"))).size == len(DATA)


async def test_an_image_that_is_deleted_meanwhile(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not lost."""
    image = await home.upload()
    head = type(home.services.objects).head

    async def delete_first(self: Any, key: str) -> Any:
        await home.services.images.delete(image.image_id, owner=None)
        return await head(self, key)

    home.remove(original_key(image.image_id, "image/png"))
    monkeypatch.setattr(type(home.services.objects), "head", delete_first)
    assert await home.find(later()) == []


# What only files have


def set_age(path: Path, age: dt.timedelta) -> None:
    moment = (dt.datetime.now(dt.UTC) - age).timestamp()
    os.utime(path, (moment, moment))


async def test_the_grace_period_is_that_of_the_files(files: Home) -> None:
    """A directory of renditions goes when all in it is old enough, parts of broken writes too."""
    old, young = original_key(new_id(), "image/png"), original_key(new_id(), "image/png")
    prefixes = [renditions_prefix(new_id()) for _ in range(4)]
    keys = [old, young, *(f"{prefix}1x1.webp" for prefix in prefixes), f"{prefixes[0]}2x2.webp"]
    parts = [f"{prefixes[1]}2x2.webp#17", f"{prefixes[2]}2x2.webp#18", f"{old}#19", f"{young}#20"]
    files.seed(*keys, *parts)
    for key in (*keys, *parts):
        set_age(files.files / key, 2 * HOUR)
    for key in (young, f"{young}#20", f"{prefixes[0]}2x2.webp", f"{prefixes[1]}2x2.webp#17"):
        set_age(files.files / key, HOUR - dt.timedelta(minutes=1))
    found = await files.reconcile(earlier())
    assert found == {
        old: "object without a record",
        prefixes[2]: "renditions without a record",
        prefixes[3]: "renditions without a record",
        f"{old}#19": "part of a broken write",
    }
    assert {young, f"{young}#20", f"{prefixes[0]}2x2.webp", f"{prefixes[1]}2x2.webp#17"} <= files.stored()


async def test_parts_of_broken_writes(files: Home) -> None:
    """They go wherever they lie, also beside what belongs to an image; a directory that holds nothing else, too."""
    image = await files.upload_with_renditions()
    kept = files.stored()
    prefix = renditions_prefix(new_id())
    parts = [
        f"{original_key(image.image_id, 'image/png')}#12",
        f"{renditions_prefix(image.image_id)}9x9.webp#3",
        "incoming/ab/x.png#4",
        "x#5",
    ]
    files.seed(*parts, f"{prefix}1x1.webp#6")
    expected = dict.fromkeys(parts, "part of a broken write") | {prefix: "renditions without a record"}
    assert await files.reconcile() == expected
    assert {key for key in files.stored() if "." in key} == kept


async def test_a_database_that_fails_is_no_reason_to_delete(files: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can't read the records knows of no orphans."""
    await files.upload_with_renditions()
    stored = files.stored()
    with closing(sqlite3.connect(files.settings.data_dir / "images.sqlite3")) as connection:
        connection.execute("ALTER TABLE images RENAME TO away")
    with pytest.raises(StoreFailed):
        await files.reconcile()
    assert files.stored() == stored


async def test_while_the_service_runs(files: Home) -> None:
    """With a short grace period, over and over: whatever belongs to an image stays, and nothing is lost."""
    services, others = files.services, build_services(files.settings)
    reconciler: Reconciler = others.reconciler
    alive: set[str] = set()
    is_over = asyncio.Event()
    made = 0

    async def work(number: int) -> None:
        nonlocal made
        while not is_over.is_set():
            if number % 2:
                upload = await files.declare()
                await asyncio.to_thread(files.seed, incoming_key(upload), data=DATA)
                image = (await services.uploads.complete(upload.image_id, owner=None)).image
            else:
                image = await files.upload()
            await services.renditions.ensure(image, RenditionRequest(width=8, format="webp"))
            alive.add(image.image_id)
            made += 1
            if made % 3 == 0:
                alive.remove(image.image_id)
                await services.images.delete(image.image_id, owner=None)
                with pytest.raises(ImageNotFound):
                    await services.images.get(image.image_id, owner=None)

    async def reconcile() -> None:
        files.seed(f"originals/ab/junk{made}", f"renditions/junk{made}#1")
        before = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(seconds=2)
        async for each in reconciler.find(before):
            if isinstance(each, Finding):
                assert each.kind != LOST
                assert not any(image_id in each.what for image_id in alive)
                await reconciler.mend(each)

    workers = [asyncio.create_task(work(number)) for number in range(4)]
    end = asyncio.get_running_loop().time() + 5
    while asyncio.get_running_loop().time() < end:
        await reconcile()
    is_over.set()
    await asyncio.gather(*workers)
    await others.close()
    assert len(alive) > 10
    listed: list[Image] = []
    query = ImageQuery(limit=100)
    while True:
        page = await services.images.list(query, owner=None)
        listed += page.images
        if page.after is None:
            break
        query = msgspec.structs.replace(query, after=page.after)
    assert {image.image_id for image in listed} == alive
    for image in listed:
        assert (files.files / original_key(image.image_id, "image/png")).read_bytes() == DATA
        assert len(list((files.files / renditions_prefix(image.image_id)).iterdir())) == 1
    assert all("junk" in what for what in await files.reconcile())
