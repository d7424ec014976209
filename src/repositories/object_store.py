"""Object stores through obstore, and S3."""

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from mmap import ACCESS_READ, mmap
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from ..common.errors import ObjectNotFound, ServiceError, StoreError, StoreFailed, StoreUnavailable
from ..common.payload import Payload, spool
from .aws_credentials import CredentialSource
from .ports import ObjectInfo

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore as Store
    from obstore.store import S3Config, S3Credential

CHUNK = 256 * 1024  # bytes a reader gets at a time

# A request to S3 always ends, whatever happens, within some seconds.
CONNECT_TIMEOUT = dt.timedelta(seconds=1)
LARGE = 32 * 1024 * 1024  # bytes; what is larger is sent in one request with PATIENCE
PATIENCE = dt.timedelta(seconds=60)
TIMEOUT = dt.timedelta(seconds=5)  # for one attempt; 10 MiB take well under one second within a region
MAX_RETRIES = 2  # with jitter
RETRY_TIMEOUT = dt.timedelta(seconds=6)
CREDENTIALS_KEPT = dt.timedelta(minutes=1)  # then they are asked for anew

_REFUSAL = re.compile(r"status code: (301|4(?!08|09|29)\d\d)|redirect")


class ObstoreObjectStore:
    """An ObjectStore over any obstore store."""

    _other_error: type[StoreError] = StoreFailed  # what obstore has no class for

    def __init__(self, connect: "Callable[[], Store]") -> None:
        """Connect when the store is first needed: the first answer of a Lambda function is often a list."""
        self._connect = connect

    @cached_property
    def _store(self) -> "Store":
        return self._connect()

    def _store_for(self, size: int) -> "Store":
        """Return what is to send so many bytes in one request."""
        return self._store

    async def put(self, key: str, payload: Payload, *, content_type: str, durable: bool = True) -> None:
        with self._translated(f"object {key}", missing=StoreFailed):
            await asyncio.to_thread(self._write, key, payload, content_type, durable)

    def _write(self, key: str, payload: Payload, content_type: str, durable: bool) -> None:
        obstore.put(self._store, key, payload.content(), attributes={"Content-Type": content_type})

    async def create(self, key: str, payload: Payload, *, content_type: str) -> bool:
        """Store the object unless there is one. On S3 it is a single request."""
        with self._translated(f"object {key}", missing=StoreFailed):
            return await asyncio.to_thread(self._write_new, key, payload, content_type)

    def _write_new(self, key: str, payload: Payload, content_type: str) -> bool:
        attributes = {"Content-Type": content_type}
        try:
            obstore.put(self._store_for(payload.size), key, _mapped(payload), attributes=attributes, mode="create")
        except AlreadyExistsError:
            return False
        return True

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

        def connect(timeout: dt.timedelta = TIMEOUT) -> S3Store:
            return S3Store(
                config=options,
                credential_provider=provided,
                client_options={"connect_timeout": CONNECT_TIMEOUT, "timeout": timeout, "allow_http": True},
                retry_config={"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT},
            )

        super().__init__(connect)
        self._connect_patiently = partial(connect, PATIENCE)

    @cached_property
    def _patient(self) -> "Store":
        return self._connect_patiently()

    def _store_for(self, size: int) -> "Store":
        return self._store if size <= LARGE else self._patient


def _mapped(payload: Payload) -> bytes | mmap:
    """Return the content, a file as mapped memory: to send it at once, obstore would read all of it into its own."""
    content = payload.content()
    return content if isinstance(content, bytes) else mmap(content.fileno(), 0, access=ACCESS_READ)


def _info(meta: "ObjectMeta") -> ObjectInfo:
    etag = (meta["e_tag"] or "").strip('"')
    return ObjectInfo(meta["path"], meta["size"], f'"{etag}"', meta["last_modified"].replace(microsecond=0))
