"""The repositories of one place together, as a service has them, and what is put into them."""

import datetime as dt
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from src.common.ids import new_id
from src.models.claim import Claim
from src.models.upload import FORM_LIFE, Upload
from src.repositories.ports import ClaimRepository, ImageRepository, UploadRepository
from tests.support.images import id_at

DAY = dt.timedelta(days=1)
MINUTE = dt.timedelta(minutes=1)
SECOND = dt.timedelta(seconds=1)


class Stores(NamedTuple):
    images: ImageRepository
    uploads: UploadRepository
    claims: ClaimRepository


class StoresContract[Place](ABC):
    """How a suite gets at a place and its repositories. A subclass also has a fixture `place`, new for each test."""

    @abstractmethod
    async def open(self, place: Place) -> Stores:
        """Open the repositories. A place may be opened several times at once; closing `images` closes all of them."""

    @abstractmethod
    def contents(self, place: Place) -> object:
        """Return all that is stored, counters too, without any code of the adapter's."""

    @pytest.fixture
    async def stores(self, place: Place) -> AsyncIterator[Stores]:
        stores = await self.open(place)
        yield stores
        await stores.images.close()

    @pytest.fixture
    async def others(self, place: Place, stores: Stores) -> AsyncIterator[Stores]:
        """The same place, opened a second time, as by another process."""
        others = await self.open(place)
        yield others
        await others.images.close()


def this_second() -> dt.datetime:
    """Return the time in whole seconds, which is all that DynamoDB's adapter keeps of it."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def make_upload(**overrides: Any) -> Upload:
    """Return an upload as it would have been declared just now."""
    values: dict[str, Any] = {
        "image_id": new_id(),
        "content_type": "image/jpeg",
        "size": 48_213,
        "expires_at": this_second() + 60 * MINUTE,
    }
    return Upload(**values | overrides)


def upload_of_age(age: dt.timedelta, **overrides: Any) -> Upload:
    """Return an upload as it would have been declared some time ago."""
    moment = this_second() - age
    return make_upload(image_id=id_at(moment), expires_at=moment + FORM_LIFE, **overrides)


def make_claim(**overrides: Any) -> Claim:
    """Return a claim of a request that has just come, all of the same key but each with a token of its own."""
    now = this_second()
    values: dict[str, Any] = {
        "scope": "ann",
        "key": "a key",
        "fingerprint": "f" * 64,
        "token": uuid.uuid4().hex,
        "locked_until": now + MINUTE,
        "expires_at": now + DAY,
    }
    return Claim(**values | overrides)
