"""Object stores through obstore: local files, and S3."""

import asyncio
import datetime as dt
import errno
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, S3Store

from ..common.durable import sync
from ..common.errors import ObjectNotFound, ServiceError, StoreError, StoreFailed, StoreUnavailable
from ..common.payload import Payload, spool
from .aws_credentials import CredentialSource
from .ports import ObjectInfo

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore as Store
    from obstore.store import S3Config, S3Credential

CHUNK = 256 * 1024  # bytes a reader gets at a time
REMOVALS = 5  # of a directory to which others write

# A request to S3 always ends, whatever happens, within some seconds.
CONNECT_TIMEOUT = dt.timedelta(seconds=1)
TIMEOUT = dt.timedelta(seconds=5)  # for one attempt; 10 MiB take well under one second within a region
MAX_RETRIES = 2  # with jitter
RETRY_TIMEOUT = dt.timedelta(seconds=6)
CREDENTIALS_KEPT = dt.timedelta(minutes=1)  # then they are asked for anew

_TEMPORARY = re.compile(r"[^#]*#[0-9]+")  # the names of files that obstore takes for no objects
_REFUSAL = re.compile(r"status code: (301|4(?!08|09|29)\d\d)|redirect")


class ObstoreObjectStore:
    """An ObjectStore over any obstore store."""

    _other_error: type[StoreError] = StoreFailed  # what obstore has no class for

    def __init__(self, store: "Store") -> None:
        self._store = store

    async def put(self, key: str, payload: Payload, *, content_type: str, durable: bool = True) -> None:
        with self._translated(f"object {key}", missing=StoreFailed):
            await asyncio.to_thread(self._write, key, payload, content_type, durable)

    def _write(self, key: str, payload: Payload, content_type: str, durable: bool) -> None:
        obstore.put(self._store, key, payload.content(), attributes={"Content-Type": content_type})

    @contextmanager
    def _translated(self, what: str, *, missing: type[ServiceError] = ObjectNotFound) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError) as error:
            raise missing(f"There is no {what}.") from error
        except (OSError, PermissionDeniedError, UnauthenticatedError) as error:
            raise StoreFailed("The object store refused or broke.") from error
        except BaseError as error:
            # A refusal that obstore has no class for (a wrong region, an expired token) is only in the message.
            kind = StoreFailed if _REFUSAL.search(str(error)) else self._other_error
            raise kind("The object store failed.") from error

    async def head(self, key: str) -> ObjectInfo:
        with self._translated(f"object {key}"):
            meta = await obstore.head_async(self._store, key)
        return _info(meta)

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        if start >= end:
            return
        with self._translated(f"object {key}"):
            result = await obstore.get_async(self._store, key, options={"range": (start, end)})
            async for chunk in result.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    async def fetch(self, key: str) -> Payload:
        file, size = spool(), 0
        try:
            with self._translated(f"object {key}"):
                result = await obstore.get_async(self._store, key)
                async for chunk in result.stream(min_chunk_size=CHUNK):
                    file.write(chunk)
                    size += len(chunk)
        except BaseException:
            file.close()
            raise
        return Payload(file, size)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        with self._translated(f"object below {prefix}"):
            async for batch in obstore.list(self._store, prefix.rstrip("/")):
                for meta in batch:
                    yield _info(meta)

    async def leftovers(self) -> AsyncIterator[ObjectInfo]:
        """Yield nothing: S3 shows no parts of objects, and the bucket's lifecycle removes those it hides."""
        return
        yield

    async def delete(self, key: str) -> None:
        try:
            with self._translated(f"object {key}"):
                await obstore.delete_async(self._store, key)
        except ObjectNotFound:
            return  # files say so, S3 does not

    async def delete_below(self, prefix: str) -> None:
        keys = [info.key async for info in self.list(prefix)]
        if keys:
            with self._translated(f"object below {prefix}"):
                await obstore.delete_async(self._store, keys)

    async def ping(self) -> None:
        with self._translated("store", missing=StoreFailed):
            await anext(aiter(obstore.list(self._store, "readyz")), None)


class LocalObjectStore(ObstoreObjectStore):
    """Files below a directory, which is made if need be. A key's extension tells its type: files have no attributes.

    obstore lists. It has no way to sync a file before it gets its name (as of 0.12), and its reads take twice the CPU
    of these.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(LocalStore(root, mkdir=True))
        self._root = root

    def _write(self, key: str, payload: Payload, content_type: str, durable: bool) -> None:
        path = self._path(key)
        if not self._root.is_dir():  # an unmounted disk, say: it would be made anew, and what it held seem lost
            raise StoreFailed("The directory of the objects is gone.")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}#{secrets.randbits(64)}")  # as obstore names them, and never lists
        ours = temporary
        try:
            with temporary.open("xb") as file:
                _copy(payload, file)
                file.flush()
                os.fsync(file.fileno())
            ours = temporary.rename(path)
            for directory in path.parents if durable else ():
                sync(directory)
                if directory == self._root:
                    break
        except BaseException:
            with suppress(OSError):
                ours.unlink()
            raise

    async def head(self, key: str) -> ObjectInfo:
        with self._translated(f"object {key}"):
            stat = self._path(key).stat()  # not in a thread, which takes longer to reach
            if not S_ISREG(stat.st_mode):
                raise FileNotFoundError(key)
        modified_at = dt.datetime.fromtimestamp(int(stat.st_mtime), dt.UTC)
        return ObjectInfo(key, stat.st_size, _file_etag(stat), modified_at)

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        if start >= end:
            return
        with self._translated(f"object {key}"):
            file, data = await asyncio.to_thread(self._begin, key, start, end)
            with file:
                while data:
                    yield data
                    start += len(data)
                    data = await asyncio.to_thread(file.read, min(CHUNK, end - start)) if start < end else b""

    def _begin(self, key: str, start: int, end: int) -> tuple[BinaryIO, bytes]:
        file = self._path(key).open("rb", buffering=0)
        file.seek(start)
        return file, file.read(min(CHUNK, end - start))

    async def fetch(self, key: str) -> Payload:
        with self._translated(f"object {key}"):
            file = self._path(key).open("rb")
        return Payload(file, os.fstat(file.fileno()).st_size)

    def _path(self, key: str) -> Path:
        """Raise FileNotFoundError for what is no key of ours, such as the temporary files of obstore."""
        if "#" in key:
            raise FileNotFoundError(key)
        return self._within(key)

    def _within(self, key: str) -> Path:
        """Raise FileNotFoundError for what may lead out of the root."""
        if "\0" in key or {"", ".", ".."} & set(key.split("/")):
            raise FileNotFoundError(key)
        return self._root / key

    async def leftovers(self) -> AsyncIterator[ObjectInfo]:
        with self._translated("directory of objects"):
            for path in await asyncio.to_thread(_temporary_files, self._root):
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    if S_ISREG(stat.st_mode):
                        modified_at = dt.datetime.fromtimestamp(int(stat.st_mtime), dt.UTC)
                        key = path.relative_to(self._root).as_posix()
                        yield ObjectInfo(key, stat.st_size, _file_etag(stat), modified_at)

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


class S3ObjectStore(ObstoreObjectStore):
    """Objects in a bucket of S3, or of a store that speaks its language."""

    _other_error = StoreUnavailable  # what is left after the retries: time-outs, lost connections, 5xx

    def __init__(self, bucket: str, *, region: str, endpoint: str | None, credentials: CredentialSource) -> None:
        """Reach the bucket at AWS, or path-style at `endpoint`."""
        options: S3Config = {"bucket": bucket, "region": region}
        if endpoint is not None:
            options |= {"endpoint": endpoint, "virtual_hosted_style_request": False}

        # A provider, since obstore would mix what stands in the environment into credentials that are options.
        def provided() -> "S3Credential":
            current = credentials()
            return {
                "access_key_id": current.access_key_id,
                "secret_access_key": current.secret_access_key,
                "token": current.session_token,
                "expires_at": dt.datetime.now(dt.UTC) + CREDENTIALS_KEPT,
            }

        store = S3Store(
            config=options,
            credential_provider=provided,
            client_options={"connect_timeout": CONNECT_TIMEOUT, "timeout": TIMEOUT, "allow_http": True},
            retry_config={"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT},
        )
        super().__init__(store)


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


def _copy(payload: Payload, file: BinaryIO) -> None:
    content = payload.content()
    if isinstance(content, bytes):
        file.write(content)
    else:
        shutil.copyfileobj(content, file, CHUNK)


def _info(meta: "ObjectMeta") -> ObjectInfo:
    etag = (meta["e_tag"] or "").strip('"')
    return ObjectInfo(meta["path"], meta["size"], f'"{etag}"', meta["last_modified"].replace(microsecond=0))


def _file_etag(stat: os.stat_result) -> str:
    """Write the tag that obstore gives a file, since its listings have it too."""
    return f'"{stat.st_ino:x}-{stat.st_mtime_ns // 1000:x}-{stat.st_size:x}"'
