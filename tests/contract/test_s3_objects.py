"""S3 as an ObjectStore, on the emulator, and where nobody answers."""

import asyncio
import datetime as dt
import socket
import time

import pytest

from src.common.errors import StoreUnavailable
from src.common.payload import Payload
from src.repositories import object_store
from src.repositories.object_store import CONNECT_TIMEOUT, RETRY_TIMEOUT, TIMEOUT, S3ObjectStore
from tests.contract.object_store import KEY, put, read
from tests.contract.s3_objects import Bucket, S3ObjectsContract
from tests.support.aws_process import CREDENTIALS, REGION
from tests.support.emulator import Emulator


class TestS3Objects(S3ObjectsContract):
    @pytest.fixture
    def place(self, emulator: Emulator) -> Bucket:
        return Bucket(emulator, emulator.new_bucket())


@pytest.mark.anyio
async def test_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and is silent: every call ends, in as long as its attempts and pauses may take."""
    monkeypatch.setattr(object_store, "TIMEOUT", dt.timedelta(seconds=0.2))
    monkeypatch.setattr(object_store, "RETRY_TIMEOUT", dt.timedelta(seconds=0.2))
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = S3ObjectStore("bucket", region=REGION, endpoint=url, credentials=lambda: CREDENTIALS)
        started = time.monotonic()
        calls = (
            put(store, KEY, Payload.of(b"data")),
            put(store, KEY, Payload.of(bytes(6 * 1024 * 1024))),  # in several parts
            store.create(KEY, Payload.of(b"data"), content_type="image/png"),
            store.head(KEY),
            read(store, KEY, 0, 4),
            store.delete(KEY),
            store.ping(),
        )
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - started < 5
    assert [type(error) for error in errors] == [StoreUnavailable] * len(calls)


def test_a_store_that_hangs_leaves_time_to_say_so() -> None:
    """The last attempt begins within the time for retries; all that has to fit into the time of a function."""
    assert (RETRY_TIMEOUT + TIMEOUT + CONNECT_TIMEOUT).total_seconds() < 29 / 2


@pytest.mark.anyio
async def test_what_is_large_gets_more_time(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    """One request for all of it: what would end any other is too soon for it."""
    monkeypatch.setattr(object_store, "TIMEOUT", dt.timedelta(microseconds=1))
    monkeypatch.setattr(object_store, "RETRY_TIMEOUT", dt.timedelta(seconds=0.1))
    monkeypatch.setattr(object_store, "LARGE", 100)
    store = S3ObjectStore(emulator.new_bucket(), region=REGION, endpoint=emulator.url, credentials=lambda: CREDENTIALS)
    with pytest.raises(StoreUnavailable):
        await store.create(f"{KEY}.small", Payload.of(bytes(100)), content_type="image/png")
    assert await store.create(KEY, Payload.of(bytes(101)), content_type="image/png")
    assert not await store.create(KEY, Payload.of(bytes(101)), content_type="image/png")


@pytest.mark.anyio
async def test_a_store_that_does_not_answer() -> None:
    """Nobody listens there: the request ends, and says to try again."""
    store = S3ObjectStore("bucket", region=REGION, endpoint="http://127.0.0.1:9", credentials=lambda: CREDENTIALS)
    with pytest.raises(StoreUnavailable):
        await store.head(KEY)
