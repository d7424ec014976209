"""Files as an ObjectStore, and what only they promise: synced to the disk, and nothing left lying about."""

import asyncio
import datetime as dt
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from src.common.errors import ObjectNotFound, StoreError, StoreFailed
from src.common.payload import Payload
from src.repositories import local_objects
from src.repositories.local_objects import LocalObjectStore
from src.repositories.object_store import ObstoreObjectStore
from tests.contract.object_store import KEY, ObjectStoreContract, create, listed, put, read
from tests.support.payloads import PART, BrokenFile, some_bytes, spooled

pytestmark = pytest.mark.anyio


@pytest.fixture
def tmp_path(disk: Path) -> Iterator[Path]:
    with TemporaryDirectory(dir=disk) as directory:
        yield Path(directory)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def objects(place: Path) -> ObstoreObjectStore:
    return LocalObjectStore(place)


def files(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory, hidden and temporary ones too."""
    paths = (path for path in directory.rglob("*") if not path.is_dir())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


class TestLocalObjects(ObjectStoreContract[Path]):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        return tmp_path / "objects"

    def make(self, place: Path) -> ObstoreObjectStore:
        return LocalObjectStore(place)

    def seed(self, place: Path, key: str, data: bytes) -> None:
        path = place / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def stored(self, place: Path) -> dict[str, bytes]:
        return files(place)

    def break_reading(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (place / KEY).unlink()
        (place / KEY).symlink_to(place / KEY)  # too many levels of symbolic links


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Record what is forced to the disk, in order, and that it is there by then."""
    paths: list[Path] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        fsync(descriptor)
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", record)
    return paths


@pytest.mark.parametrize("size", [1, PART + 1])
async def test_an_object_is_on_the_disk_before_it_is_acknowledged(
    objects: ObstoreObjectStore, place: Path, synced: list[Path], size: int
) -> None:
    """The file before it gets its name, then its name and that of each directory up to the root."""
    await put(objects, KEY, spooled(some_bytes(size)))
    path = place / KEY
    assert synced[0].name.startswith(f"{path.name}#")
    assert synced[1:] == [path.parent, path.parent.parent, place]


async def test_what_is_there_is_on_the_disk_too(objects: ObstoreObjectStore, place: Path, synced: list[Path]) -> None:
    """Whether it was just created, or by somebody who may not have come so far: who is told so relies on it."""
    path = place / KEY
    for data in (b"data", b"other"):
        synced.clear()
        await create(objects, KEY, Payload.of(data))
        assert synced[0].name.startswith(f"{path.name}#")
        assert synced[1:] == [path.parent, path.parent.parent, place]
    assert files(place) == {KEY: b"data"}


async def test_create_without_hard_links(
    objects: ObstoreObjectStore, place: Path, synced: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on exFAT: one of many stores, and what it stored is on the disk and stays."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    data = [some_bytes(PART + number) for number in range(10)]
    created = await asyncio.gather(*(create(objects, KEY, Payload.of(each)) for each in data))
    assert sorted(created) == [False] * 9 + [True]
    assert files(place) == {KEY: data[created.index(True)]}
    assert synced[-1] == place
    assert await create(objects, KEY, Payload.of(b"late")) is False
    assert files(place) == {KEY: data[created.index(True)]}


async def test_a_link_that_fails(objects: ObstoreObjectStore, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is broken is none without links."""

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "hardlink_to", fail)
    with pytest.raises(StoreFailed):
        await create(objects, KEY, Payload.of(b"data"))
    assert files(place) == {}


async def test_what_cannot_be_synced_was_not_stored(
    objects: ObstoreObjectStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk fails when it is asked to keep the object, `put` fails, and then it did not happen."""

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreFailed) as caught:
        await put(objects, KEY, Payload.of(b"data"))
    assert isinstance(caught.value.__cause__, OSError)
    assert files(place) == {}


async def test_an_object_that_vanishes_before_it_is_synced(
    objects: ObstoreObjectStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is gone when it shall be synced is a store that failed, not an object that somebody asked for."""
    write = local_objects._copy

    def write_and_lose(*arguments: Any) -> None:
        write(*arguments)
        shutil.rmtree(place)

    monkeypatch.setattr(local_objects, "_copy", write_and_lose)
    with pytest.raises(StoreFailed):
        await put(objects, KEY, Payload.of(b"data"))


@pytest.mark.parametrize("in_the_way", ["originals", "originals/ab"])
@pytest.mark.parametrize("size", [4, 2 * PART])
async def test_a_file_where_a_directory_should_be(
    objects: ObstoreObjectStore, place: Path, in_the_way: str, size: int
) -> None:
    """A path that can't be made is StoreFailed, and no temporary file is left anywhere."""
    (place / in_the_way).parent.mkdir(parents=True, exist_ok=True)
    (place / in_the_way).write_bytes(b"in the way")
    with pytest.raises(StoreFailed):
        await put(objects, KEY, spooled(some_bytes(size)))
    assert files(place.parent) == {f"objects/{in_the_way}": b"in the way"}


async def test_a_directory_where_the_file_should_be(objects: ObstoreObjectStore, place: Path) -> None:
    """An object whose name is taken by a directory is StoreFailed, and no temporary file is left anywhere."""
    (place / KEY).mkdir(parents=True)
    for payload in (Payload.of(b"data"), spooled(some_bytes(2 * PART))):
        with pytest.raises(StoreFailed):
            await put(objects, KEY, payload)
        assert list(files(place.parent)) == []


async def test_a_payload_that_breaks_leaves_no_temporary_file(objects: ObstoreObjectStore, place: Path) -> None:
    """However far a put came before it failed, beside the objects there is nothing."""
    await put(objects, "originals/ab/neighbour.jpg", Payload.of(b"data"))
    for size in (PART + 1, 3 * PART):
        with pytest.raises(StoreFailed):
            await put(objects, KEY, Payload(BrokenFile(some_bytes(size)), size))
        assert files(place.parent) == {"objects/originals/ab/neighbour.jpg": b"data"}


async def test_unfinished_files_are_no_objects(objects: ObstoreObjectStore, place: Path) -> None:
    """What a process that died left of a put is not listed. obstore names it like the object, and a number."""
    (place / KEY).parent.mkdir(parents=True)
    (place / f"{KEY}#1").write_bytes(b"half")
    assert await listed(objects, "originals/") == {}
    with pytest.raises(ObjectNotFound):
        await objects.head(KEY)
    await put(objects, KEY, Payload.of(b"whole"))
    assert list(await listed(objects, "originals/")) == [KEY]
    assert await read(objects, KEY, 0, 5) == b"whole"


async def test_leftovers_are_temporary_files(objects: ObstoreObjectStore, place: Path) -> None:
    """Wherever they lie: what no listing shows, and nothing else. To delete one leaves the object of that name."""
    left = {f"{KEY}#1", "originals/ab/cd/x.png#18446744073709551615", "renditions/ab/ID1/1x1.webp#20", "incoming/a#3"}
    others = {KEY, f"{KEY}#", f"{KEY}#12a", f"{KEY}#1#2", "originals/dir#1/x.jpg", "originals/ab/x#y"}
    for key in (*left, *others):
        (place / key).parent.mkdir(parents=True, exist_ok=True)
        (place / key).write_bytes(b"half")
    (place / "originals" / "empty#5").mkdir()
    os.utime(place / f"{KEY}#1", (1_000, 1_000))
    found = {info.key: info async for info in objects.leftovers()}
    assert set(found) == left
    assert found[f"{KEY}#1"].modified_at == dt.datetime.fromtimestamp(1_000, dt.UTC)
    assert {info.size for info in found.values()} == {4}
    assert {*await listed(objects, "originals/"), *await listed(objects, "incoming/")} == others
    for key in found:
        await objects.delete(key)
        await objects.delete(key)
    assert set(files(place)) == others
    assert [info async for info in objects.leftovers()] == []


async def test_a_write_that_is_killed_is_left_over(
    objects: ObstoreObjectStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name that a write gives its temporary file is one that is found."""
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # nobody tidies up after a process that was killed
        with pytest.raises(StoreFailed):
            await put(objects, KEY, Payload(BrokenFile(some_bytes(2 * PART)), 2 * PART))
    assert len(files(place)) == 1
    (info,) = [info async for info in objects.leftovers()]
    await objects.delete(info.key)
    assert files(place) == {}


async def test_leftovers_while_directories_vanish(
    objects: ObstoreObjectStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories of renditions go while it is looked for them; what the system refuses is an error, though."""
    for directory in ("a", "b"):
        (place / directory).mkdir()
        (place / directory / "x#1").write_bytes(b"half")
    scandir = os.scandir

    def vanish(path: str) -> Any:
        if path == str(place / "a"):
            shutil.rmtree(path, ignore_errors=True)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanish)
    assert [info.key async for info in objects.leftovers()] == ["b/x#1"]
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StoreFailed):
        assert [info async for info in objects.leftovers()]


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


async def test_delete_of_what_is_no_file(objects: ObstoreObjectStore, place: Path) -> None:
    """A directory is no object, nor is anything below a file."""
    await put(objects, KEY, Payload.of(b"data"))
    await objects.delete("originals/ab")
    with suppress(StoreError):
        await objects.delete(f"{KEY}/deeper")
    assert files(place) == {KEY: b"data"}


async def test_a_delete_that_is_refused(
    objects: ObstoreObjectStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(objects, KEY, Payload.of(b"data"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(StoreFailed) as caught:
            await objects.delete(KEY)
    assert isinstance(caught.value.__cause__, PermissionError)
    await objects.delete(KEY)
    assert files(place) == {}


@pytest.mark.parametrize(
    "key",
    [
        "../secret.jpg",
        "originals/../../secret.jpg",
        "/{outside}",
        "%2e%2e/secret.jpg",
        "{outside}",
        "./../secret.jpg",
        "originals//../../secret.jpg",
        "..",
    ],
)
async def test_no_key_leads_out_of_the_directory(objects: ObstoreObjectStore, place: Path, key: str) -> None:
    """Whatever a key is, nothing outside the store is written, read or deleted. It may be refused in any words."""
    outside = place.parent / "secret.jpg"
    outside.write_bytes(b"secret")
    key = key.format(outside=outside)
    with suppress(Exception):
        await put(objects, key, Payload.of(b"public"))
    found = b""
    with suppress(Exception):
        found = await read(objects, key, 0, 6)
    assert found != b"secret"
    with suppress(Exception):
        await objects.delete(key)
    assert outside.read_bytes() == b"secret"
    assert set(place.parent.iterdir()) == {place, outside}


async def test_a_directory_that_vanished(objects: ObstoreObjectStore, place: Path) -> None:
    """If the directory is lost, reading says in our words that the object is not there or the store has failed."""
    await put(objects, KEY, Payload.of(b"data"))
    shutil.rmtree(place)
    with pytest.raises((ObjectNotFound, StoreFailed)):
        await objects.head(KEY)
    with pytest.raises((ObjectNotFound, StoreFailed)):
        await read(objects, KEY, 0, 4)


async def test_ping_misses_a_directory_that_vanished(objects: ObstoreObjectStore, place: Path) -> None:
    """A store whose directory is lost (a disk that is not mounted any more) does not claim to be ready."""
    shutil.rmtree(place)
    with pytest.raises(StoreError):
        await objects.ping()


async def test_a_file_instead_of_the_directory(objects: ObstoreObjectStore, place: Path) -> None:
    """If the directory is a file now, every operation is StoreFailed, not an error of the system's."""
    shutil.rmtree(place)
    place.write_bytes(b"")
    for operation in (
        put(objects, KEY, Payload.of(b"data")),
        put(objects, KEY, spooled(some_bytes(2 * PART))),
        objects.head(KEY),
        read(objects, KEY, 0, 4),
        listed(objects, "originals/"),
        objects.delete(KEY),
        objects.ping(),
    ):
        with pytest.raises(StoreFailed):
            await operation


BELOW = "renditions/ab/ID1/"


async def test_delete_below_leaves_no_directory(objects: ObstoreObjectStore, place: Path) -> None:
    """Nor what was left of writes that broke off; what others share stays."""
    for key in ("1x1.webp", "2x2.webp"):
        await put(objects, BELOW + key, Payload.of(b"data"))
    (place / BELOW / "3x3.webp#1").write_bytes(b"half")
    await objects.delete_below(BELOW)
    assert [path.relative_to(place).as_posix() for path in sorted(place.rglob("*"))] == ["renditions", "renditions/ab"]
    await put(objects, f"{BELOW}1x1.webp", Payload.of(b"again"))
    assert files(place) == {f"{BELOW}1x1.webp": b"again"}


async def test_delete_below_finds_only_what_was_left_of_a_write(objects: ObstoreObjectStore, place: Path) -> None:
    (place / BELOW).mkdir(parents=True)
    (place / BELOW / "3x3.webp#1").write_bytes(b"half")
    await objects.delete_below(BELOW)
    assert not (place / BELOW).exists()


async def test_delete_below_where_it_is_not_allowed(
    objects: ObstoreObjectStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the system refuses is StoreFailed; once it is allowed it can be repeated."""
    await put(objects, f"{BELOW}1x1.webp", Payload.of(b"data"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(StoreFailed) as caught:
            await objects.delete_below(BELOW)
    assert isinstance(caught.value.__cause__, PermissionError)
    await objects.delete_below(BELOW)
    assert files(place) == {}


async def test_delete_below_while_files_vanish(
    objects: ObstoreObjectStore, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that another one deleted (or that a write renamed) meanwhile is no reason to leave the others."""
    for i in range(1, 6):
        await put(objects, f"{BELOW}{i}x{i}.webp", Payload.of(b"data"))
    unlink, calls = os.unlink, 0

    def find_it_gone(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        unlink(*arguments, **options)
        if calls == 1:
            unlink(*arguments, **options)

    monkeypatch.setattr(os, "unlink", find_it_gone)
    await objects.delete_below(BELOW)
    assert files(place) == {}


async def test_a_file_instead_of_the_directory_of_renditions(objects: ObstoreObjectStore, place: Path) -> None:
    """Reading and deleting is StoreFailed where the root is no directory any more."""
    shutil.rmtree(place)
    place.write_bytes(b"")
    for operation in (objects.fetch(KEY), objects.delete_below(BELOW)):
        with pytest.raises(StoreFailed):
            await operation


@pytest.mark.parametrize("in_memory", ["nothing", "a part", "unknown flag", "unknown call"])
async def test_what_has_to_be_waited_for(
    objects: ObstoreObjectStore, monkeypatch: pytest.MonkeyPatch, in_memory: str
) -> None:
    """Of a file some may be in memory, or none, or the system does not say: a thread reads the rest."""
    data = some_bytes(3 * 256 * 1024 + 17)
    await put(objects, KEY, Payload.of(data))
    waited: list[int] = []
    pread, preadv = os.pread, os.preadv

    def slow(descriptor: int, size: int, start: int) -> bytes:
        waited.append(start)
        return pread(descriptor, size, start)

    def fast(descriptor: int, buffers: list[bytearray], start: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        if in_memory == "a part" and start < 300_000:
            return preadv(descriptor, [memoryview(buffers[0])[:100_000]], start, flags)
        raise BlockingIOError if in_memory in ("nothing", "a part") else OSError(errno.EOPNOTSUPP, "no such flag")

    monkeypatch.setattr(os, "pread", slow)
    monkeypatch.setattr(os, "preadv", fast)
    if in_memory == "unknown call":
        monkeypatch.delattr(os, "preadv")
    assert await read(objects, KEY, 10, len(data)) == data[10:]
    assert waited
    assert (waited[0] == 10) == (in_memory != "a part")
