"""Objects as local files."""

import asyncio
import datetime as dt
import errno
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from obstore.store import LocalStore

from ..common.durable import sync
from ..common.errors import ObjectNotFound, StoreFailed
from ..common.payload import Payload
from .object_store import CHUNK, ObstoreObjectStore
from .ports import ObjectInfo

REMOVALS = 5  # of a directory to which others write
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)  # how file systems without hard links refuse one (link(2))

_TEMPORARY = re.compile(r"[^#]*#[0-9]+")  # the names of files that obstore takes for no objects


class LocalObjectStore(ObstoreObjectStore):
    """Files below a directory, which is made if need be. A key's extension tells its type: files have no attributes.

    obstore lists. It has no way to sync a file before it gets its name (as of 0.12), and its reads take twice the CPU
    of these.
    """

    def __init__(self, root: Path) -> None:
        store = LocalStore(root, mkdir=True)
        super().__init__(lambda: store)
        self._root = root
        self._directory = str(root)

    def _write(self, key: str, payload: Payload, content_type: str, durable: bool) -> None:
        path = self._path(key)
        with self._temporary(path, payload) as temporary:
            temporary.rename(path)
            if durable:
                self._sync_name(path)

    def _write_new(self, key: str, payload: Payload, content_type: str) -> bool:
        path = self._path(key)
        with self._temporary(path, payload) as temporary:
            is_new = _named(temporary, path)
            temporary.unlink(missing_ok=True)
            self._sync_name(path)  # whoever gave it that name may not have come so far yet
        return is_new

    @contextmanager
    def _temporary(self, path: Path, payload: Payload) -> Iterator[Path]:
        """Yield a file with the bytes, synced, that is beside `path` and removed if the context fails."""
        if not self._root.is_dir():  # an unmounted disk, say: it would be made anew, and what it held seem lost
            raise StoreFailed("The directory of the objects is gone.")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}#{secrets.randbits(64)}")  # as obstore names them, and never lists
        try:
            with temporary.open("xb") as file:
                _copy(payload, file)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        except BaseException:
            # What has its name stays: somebody else may have stored, and rely on, the same object meanwhile.
            with suppress(OSError):
                temporary.unlink()
            raise

    def _sync_name(self, path: Path) -> None:
        for directory in path.parents:
            sync(directory)
            if directory == self._root:
                break

    async def head(self, key: str) -> ObjectInfo:
        with self._translated(f"object {key}"):
            stat = os.stat(self._place(key))  # noqa: PTH116 - not in a thread, which takes longer to reach
            if not S_ISREG(stat.st_mode):
                raise FileNotFoundError(key)
        return _file_info(key, stat)

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        with self._translated(f"object {key}"):
            if start >= end:
                return
            with FileIO(self._place(key)) as file:
                while start < end:
                    size = min(CHUNK, end - start)
                    data = _in_memory(file, start, size)
                    if not data:
                        data = await asyncio.to_thread(os.pread, file.fileno(), size, start)
                    if not data:
                        return
                    yield data
                    start += len(data)

    async def fetch(self, key: str) -> Payload:
        with self._translated(f"object {key}"):
            file = self._path(key).open("rb")
        return Payload(file, os.fstat(file.fileno()).st_size)

    def _path(self, key: str) -> Path:
        """Raise FileNotFoundError for what is no key of ours, such as the temporary files of obstore."""
        if "#" in key:
            raise FileNotFoundError(key)
        return self._within(key)

    def _place(self, key: str) -> str:
        """Return the path as text, which is had in a tenth of the time."""
        if "#" in key or not _is_within(key):
            raise FileNotFoundError(key)
        return f"{self._directory}/{key}"

    def _within(self, key: str) -> Path:
        """Raise FileNotFoundError for what may lead out of the root."""
        if not _is_within(key):
            raise FileNotFoundError(key)
        return self._root / key

    async def leftovers(self) -> AsyncIterator[ObjectInfo]:
        with self._translated("directory of objects"):
            for path in await asyncio.to_thread(_temporary_files, self._root):
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    if S_ISREG(stat.st_mode):
                        yield _file_info(path.relative_to(self._root).as_posix(), stat)

    async def delete(self, key: str) -> None:
        # obstore would not touch temporary files.
        try:
            with self._translated(f"object {key}"):
                await asyncio.to_thread(self._within(key).unlink)
        except ObjectNotFound:
            return

    async def delete_below(self, prefix: str) -> None:
        """Also delete the directory itself, and what was left of writes that broke off."""
        with self._translated(f"object below {prefix}"):
            await asyncio.to_thread(_remove_tree, self._root / prefix)

    async def ping(self) -> None:
        if not self._root.is_dir():  # a listing would only be empty
            raise StoreFailed("The directory of the objects is gone.")
        await super().ping()


def _is_within(key: str) -> bool:
    return "\0" not in key and {"", ".", ".."}.isdisjoint(key.split("/"))


def _in_memory(file: FileIO, start: int, size: int) -> bytes:
    """Return what the system need not wait for the disk for, so that no thread has to."""
    data = bytearray(size)
    try:
        return bytes(memoryview(data)[: os.preadv(file.fileno(), [data], start, os.RWF_NOWAIT)])
    except (OSError, AttributeError):  # none of it, or the system does not know the flag
        return b""


def _temporary_files(root: Path) -> list[Path]:
    return [
        Path(directory, name)
        for directory, _, names in os.walk(root, onerror=_raise_unless_missing)
        for name in names
        if _TEMPORARY.fullmatch(name)
    ]


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _remove_tree(directory: Path) -> None:
    for attempts_left in reversed(range(REMOVALS)):
        try:
            shutil.rmtree(directory, onexc=_ignore_missing)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not attempts_left:  # something was written to it meanwhile
                raise
        else:
            return


def _ignore_missing(_function: object, _path: str, error: BaseException) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _named(temporary: Path, path: Path) -> bool:
    """Give a file its name, if no other has it, and tell so."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _moved(temporary, path)
    return True


def _moved(temporary: Path, path: Path) -> bool:
    """Do the same where there are no hard links, as on exFAT: one at a time looks, and renames."""
    import fcntl  # not on Windows

    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)  # until it is closed, or the process dies
        if path.exists():
            return False
        temporary.rename(path)
    finally:
        os.close(directory)
    return True


def _copy(payload: Payload, file: BinaryIO) -> None:
    content = payload.content()
    if isinstance(content, bytes):
        file.write(content)
    else:
        shutil.copyfileobj(content, file, CHUNK)


def _file_info(key: str, stat: os.stat_result) -> ObjectInfo:
    # The tag that obstore gives a file, since its listings have it too.
    etag = f'"{stat.st_ino:x}-{stat.st_mtime_ns // 1000:x}-{stat.st_size:x}"'
    return ObjectInfo(key, stat.st_size, etag, dt.datetime.fromtimestamp(int(stat.st_mtime), dt.UTC))
