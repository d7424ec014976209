"""The key of links that is kept in the table: made once, by whoever needs it first, and the same for all."""

import asyncio
import socket
from typing import Any, NamedTuple

import pytest

from src.common.errors import OutcomeUnknown, StoreError, StoreUnavailable
from src.repositories.dynamodb_client import Table, open_table
from src.repositories.dynamodb_keys import StoredKeys
from tests.support.aws_process import CREDENTIALS, REGION
from tests.support.emulator import Emulator

pytestmark = pytest.mark.anyio


class Place(NamedTuple):
    emulator: Emulator
    name: str

    def table(self) -> Table:
        return open_table(self.name, region=REGION, endpoint=self.emulator.url, credentials=lambda: CREDENTIALS)

    def keys(self) -> StoredKeys:
        return StoredKeys(self.table())

    def items(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.emulator.client("dynamodb").scan(TableName=self.name)["Items"]
        return items


@pytest.fixture
def place(emulator: Emulator) -> Place:
    return Place(emulator, emulator.new_table())


async def test_a_key_is_made_once(place: Place) -> None:
    """It is what the data model says, long enough not to be guessed, and stays."""
    keys = place.keys()
    (key,) = await keys()
    assert len(key.encode()) >= 32
    assert place.items() == [{"pk": {"S": "keys"}, "sk": {"S": "url_signing"}, "key": {"S": key}}]
    assert await keys() == (key,)
    assert len(place.items()) == 1


async def test_another_one_reads_it(place: Place) -> None:
    assert await place.keys()() == await place.keys()()


async def test_places_have_keys_of_their_own(place: Place, emulator: Emulator) -> None:
    assert await place.keys()() != await Place(emulator, emulator.new_table()).keys()()


@pytest.mark.parametrize("shared", [True, False], ids=["in one process", "in several"])
async def test_many_at_once_agree(place: Place, shared: bool) -> None:
    """Whoever comes first; nobody goes on with a key that was not kept."""
    table = place.table()
    keys = [StoredKeys(table)] * 8 if shared else [place.keys() for _ in range(8)]
    found = await asyncio.gather(*(each() for each in keys))
    assert len(set(found)) == 1
    assert [item["key"]["S"] for item in place.items()] == list(found[0])
    assert await place.keys()() == found[0]


async def test_somebody_was_faster(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading that there is none and writing one: the other's key counts."""
    read, write = Table.get, Table.write
    faster: list[tuple[str, ...]] = []

    async def wait_and_write(self: Table, writes: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Table, "write", write)
            faster.append(await place.keys()())
        await write(self, writes)

    monkeypatch.setattr(Table, "write", wait_and_write)
    assert await place.keys()() == faster[0]
    monkeypatch.setattr(Table, "get", read)
    assert await place.keys()() == faster[0]


async def test_it_is_read_but_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of many links asks the table for it no more than one link does."""
    keys = place.keys()
    first = await keys()

    async def fail(*_: object) -> None:
        raise StoreUnavailable("busy")

    monkeypatch.setattr(Table, "get", fail)
    monkeypatch.setattr(Table, "write", fail)
    assert await keys() == first


@pytest.mark.parametrize("step", ["get", "write"])
async def test_a_store_that_fails(place: Place, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The error is the store's, nothing is kept of it, and the next call makes the key."""
    keys = place.keys()

    async def fail(*_: object) -> None:
        raise StoreUnavailable("busy")

    with monkeypatch.context() as patch:
        patch.setattr(Table, step, fail)
        with pytest.raises(StoreUnavailable):
            await keys()
    assert place.items() == []
    (key,) = await keys()
    assert [item["key"]["S"] for item in place.items()] == [key]


async def test_a_write_of_which_nobody_knows(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call fails; if the key was written after all, it is the key from then on."""
    keys, write = place.keys(), Table.write

    async def lose_the_answer(self: Table, writes: Any) -> None:
        await write(self, writes)
        raise OutcomeUnknown("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Table, "write", lose_the_answer)
        with pytest.raises(OutcomeUnknown):
            await keys()
    (item,) = place.items()
    assert await keys() == (item["key"]["S"],) == await place.keys()()


async def test_no_table(emulator: Emulator) -> None:
    with pytest.raises(StoreError):
        await Place(emulator, "no-such-table").keys()()


async def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    table = open_table("table", region=REGION, endpoint=url, credentials=lambda: CREDENTIALS)
    with pytest.raises(StoreUnavailable):
        await StoredKeys(table)()
