"""Object stores through obstore: local files today, S3 with the same calls."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from ..common.errors import ObjectNotFound, StoreFailed
from ..common.payload import Payload
from .ports import ObjectInfo

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore as Store

CHUNK = 256 * 1024  # bytes a reader gets at a time


class ObstoreObjectStore:
    """An ObjectStore over any obstore store. `make_durable(key)` runs after a write and before it is acknowledged."""

    def __init__(self, store: "Store", *, make_durable: Callable[[str], None] = lambda _: None) -> None:
        self._store = store
        self._make_durable = make_durable

    async def put(self, key: str, payload: Payload, *, content_type: str) -> None:
        def write() -> None:
            with _translated(key):
                obstore.put(self._store, key, payload.content(), attributes=self._attributes(content_type))
                self._make_durable(key)

        await asyncio.to_thread(write)

    def _attributes(self, content_type: str) -> dict[str, str] | None:
        # Files have no attributes; there the key's extension tells the type.
        return None if isinstance(self._store, LocalStore) else {"Content-Type": content_type}

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


def open_local_store(directory: Path) -> ObstoreObjectStore:
    """Keep objects as files below `directory`, which is made if need be."""
    store = LocalStore(directory, mkdir=True)
    return ObstoreObjectStore(store, make_durable=lambda key: _sync(directory, key))


def _sync(root: Path, key: str) -> None:
    """Force a file, its name and the names of the directories above it to the disk.

    obstore writes to a temporary file and renames it, and its Python binding does not reach object_store's fsync
    option (as of 0.12). Syncing after the rename is as good here: before it, no record refers to the key.
    """
    path = root / key
    _fsync(path)
    for directory in path.parents:
        _fsync(directory)
        if directory == root:
            break


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
