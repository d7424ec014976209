"""Object stores through obstore: local files today, S3 with the same calls."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from ..common.durable import sync
from ..common.errors import ObjectNotFound, StoreFailed
from ..common.payload import Payload
from .ports import ObjectInfo

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore as Store

CHUNK = 256 * 1024  # bytes a reader gets at a time


class ObstoreObjectStore:
    """An ObjectStore over any obstore store."""

    def __init__(self, store: "Store") -> None:
        self._store = store

    async def put(self, key: str, payload: Payload, *, content_type: str) -> None:
        try:
            await asyncio.to_thread(self._write, key, payload, content_type)
        except (BaseError, OSError) as error:
            raise StoreFailed("The object store failed.") from error

    def _write(self, key: str, payload: Payload, content_type: str) -> None:
        obstore.put(self._store, key, payload.content(), attributes={"Content-Type": content_type})

    async def head(self, key: str) -> ObjectInfo:
        with _translated(key):
            meta = await obstore.head_async(self._store, key)
        return _info(meta)

    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        if start >= end:
            return
        with _translated(key):
            result = await obstore.get_async(self._store, key, options={"range": (start, end)})
            async for chunk in result.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        with _translated(prefix):
            async for batch in obstore.list(self._store, prefix.rstrip("/")):
                for meta in batch:
                    yield _info(meta)

    async def delete(self, key: str) -> None:
        try:
            with _translated(key):
                await obstore.delete_async(self._store, key)
        except ObjectNotFound:
            return  # files say so, S3 does not

    async def ping(self) -> None:
        with _translated("the store"):
            await anext(aiter(obstore.list(self._store, "readyz")), None)


class LocalObjectStore(ObstoreObjectStore):
    """Files below a directory, which is made if need be. A key's extension tells its type: files have no attributes.

    obstore writes to a temporary file and renames it, and its Python binding does not reach object_store's fsync
    option (as of 0.12). Syncing after the rename is as good here: before it, no record refers to the key.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(LocalStore(root, mkdir=True))
        self._root = root

    def _write(self, key: str, payload: Payload, content_type: str) -> None:
        path = self._root / key
        try:
            obstore.put(self._store, key, payload.content())
            sync(path)
            for directory in path.parents:
                sync(directory)
                if directory == self._root:
                    break
        except (BaseError, OSError):
            # Also what obstore was writing to, `<name>#<number>`: it is not always tidied up, and never listed.
            for leftover in (path, *path.parent.glob(f"{path.name}#*")):
                with suppress(OSError):
                    leftover.unlink()
            raise

    async def ping(self) -> None:
        if not self._root.is_dir():  # a listing would only be empty
            raise StoreFailed("The directory of the objects is gone.")
        await super().ping()


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ObjectNotFound(f"There is no object {key}.") from error
    except (BaseError, OSError) as error:
        raise StoreFailed("The object store failed.") from error


def _info(meta: "ObjectMeta") -> ObjectInfo:
    etag = (meta["e_tag"] or "").strip('"')
    return ObjectInfo(meta["path"], meta["size"], f'"{etag}"', meta["last_modified"])
