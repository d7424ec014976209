"""DynamoDB as an UploadRepository and a ClaimRepository, on the emulator, and what only it promises."""

import datetime as dt
import re
from typing import Any

import botocore.exceptions
import msgspec
import pytest

from src.models.claim import Outcome
from src.models.page import ImageQuery, Page
from src.models.upload import FORM_LIFE, KEPT, Upload
from src.models.usage import Quota, Usage
from src.repositories import dynamodb_client
from src.repositories.dynamodb_audit import DynamoDbAudit
from src.repositories.dynamodb_client import Table
from src.repositories.dynamodb_images import DynamoDbImageRepository
from src.repositories.ports import UploadNotOpen
from tests.contract.claim_repository import RESULT, ClaimRepositoryContract, dead, outcome, with_result
from tests.contract.image_repository import tag_counts
from tests.contract.upload_repository import ONE, UploadRepositoryContract, image_of, not_open
from tests.support.dynamodb import LosingClient, Place, stores_of
from tests.support.emulator import Emulator
from tests.support.images import make_image
from tests.support.stores import Stores, StoresContract, make_claim, make_upload

pytestmark = pytest.mark.anyio


class OnDynamoDb(StoresContract[Place]):
    @pytest.fixture
    def place(self, emulator: Emulator) -> Place:
        return Place(emulator, emulator.new_table())

    async def open(self, place: Place) -> Stores:
        return stores_of(place.table())

    def contents(self, place: Place) -> object:
        return place.contents()


class TestDynamoDbUploads(OnDynamoDb, UploadRepositoryContract[Place]):
    pass


class TestDynamoDbClaims(OnDynamoDb, ClaimRepositoryContract[Place]):
    pass


@pytest.fixture
def place(emulator: Emulator) -> Place:
    return Place(emulator, emulator.new_table())


@pytest.fixture
def stores(place: Place) -> Stores:
    return stores_of(place.table())


async def test_an_upload_is_written_as_the_data_model_says(stores: Stores, place: Place) -> None:
    """One item, whose end TTL knows: whole seconds since 1970, as a number. What changes has its own attributes."""
    upload = make_upload(sha256=ONE)
    await stores.uploads.declare(upload)
    end = upload.expires_at - FORM_LIFE + KEPT
    item = {
        "pk": {"S": f"upload#{upload.image_id}"},
        "sk": {"S": "upload"},
        "upload": {"B": msgspec.msgpack.encode(upload)},
        "expires_at": {"N": str(int(end.timestamp()))},
        "sha256": {"S": ONE},
    }
    assert place.contents() == [item]
    await stores.images.add(image_of(upload, sha256=ONE), completes=True)
    assert {**item, "completed": {"S": upload.image_id}} in place.contents()


async def test_a_claim_is_written_as_the_data_model_says(stores: Stores, place: Place) -> None:
    claim = make_claim(scope="a#%", key="b#c")
    await stores.claims.take(claim)
    item = {
        "pk": {"S": "idem#a%23%25#b%23c"},
        "sk": {"S": "claim"},
        "fingerprint": {"S": claim.fingerprint},
        "holder": {"S": claim.token},
        "locked_until": {"N": str(int(claim.locked_until.timestamp()))},
        "expires_at": {"N": str(int(claim.expires_at.timestamp()))},
    }
    assert place.contents() == [item]
    await stores.claims.finish(claim, RESULT)
    assert place.contents() == [{**item, "outcome": {"B": RESULT}}]


async def test_the_table_removes_by_itself(stores: Stores, place: Place) -> None:
    """So nothing else does; and keys of others, who may be at work, are not let go."""
    upload = await not_open(stores, "expired")
    await stores.claims.take(dead())
    before = place.contents()
    assert await stores.uploads.expired() == []
    await stores.uploads.forget([upload])
    await stores.claims.remove_expired()
    await stores.claims.release_orphans()
    assert place.contents() == before


@pytest.mark.parametrize("name", ["sha256", "tags", "usage", "image"])
async def test_a_key_is_not_taken_for_something_else(stores: Stores, place: Place, name: str) -> None:
    """By an audit, to which such names mean something."""
    await stores.claims.take(claim := make_claim(scope="user", key=name))
    await stores.claims.take(make_claim(scope=name, key=name))
    await stores.uploads.declare(make_upload())
    audit = DynamoDbAudit(place.table(), settle=0)
    assert [finding async for finding in audit.findings(dt.datetime.now(dt.UTC))] == []
    assert [image async for image in audit.records()] == []
    await stores.claims.finish(claim, RESULT)


async def test_largest_changes_are_one_transaction(stores: Stores, place: Place) -> None:
    """Twenty tags to twenty others, and a completion with its result: less than the hundred items that may be."""
    tags = [tuple(f"{set_}{number}" for number in range(20)) for set_ in "ab"]
    upload, claim = make_upload(), make_claim()
    await stores.uploads.declare(upload)
    await stores.claims.take(claim)
    image = make_image(image_id=upload.image_id, tags=tags[0])
    sizes: list[int] = []

    class Counting(Table):
        async def write(self, operations: Any, **options: Any) -> None:
            sizes.append(len(operations))
            await super().write(operations, **options)

    counting = Counting(place.table()._client, place.name)
    repository = DynamoDbImageRepository(counting, quota=Quota(images=9))
    assert await repository.add(image, return_duplicate=True, completes=True, claim=claim) == image
    assert await repository.replace(image, msgspec.structs.replace(image, tags=tags[1], version=2))
    assert 80 < max(sizes) <= 100


# Answers that got lost


@pytest.fixture(params=[False, True], ids=["known again", "forgotten"])
def losing(place: Place, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Stores:
    """Stores to which DynamoDB's first answer to each transaction gets lost."""
    return losing_stores(place, monkeypatch, forgets=request.param)


def losing_stores(place: Place, monkeypatch: pytest.MonkeyPatch, *, forgets: bool) -> Stores:
    monkeypatch.setattr(dynamodb_client, "PAUSE", 0.0)
    client = LosingClient(place.table(), forgets=forgets)
    return stores_of(Table(lambda: client, place.name))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("return_duplicate", [False, True], ids=["store", "return"])
@pytest.mark.parametrize("completes", [False, True], ids=["new", "completed"])
async def test_an_add_whose_answer_was_lost(
    losing: Stores, stores: Stores, completes: bool, return_duplicate: bool
) -> None:
    """It is asked for again, and is one image, counted once, that goes without a trace."""
    upload, claim = make_upload(), make_claim()
    if completes:
        await stores.uploads.declare(upload)
    await stores.claims.take(claim)
    image = image_of(upload)
    added = await losing.images.add(image, return_duplicate=return_duplicate, completes=completes, claim=claim)
    assert added == image
    assert await outcome(stores, Outcome) == Outcome(image, True)
    assert await stores.images.list(ImageQuery()) == Page((image,), None)
    assert await stores.images.usage(None) == await stores.images.usage("ann") == Usage(1, 10)
    assert await tag_counts(stores.images) == {"cat": 1}
    assert await stores.images.remove(image.image_id) == image
    again = make_image(sha256=image.sha256)
    assert await stores.images.add(again, return_duplicate=True) == again


async def test_a_replace_whose_answer_was_lost(losing: Stores, stores: Stores, place: Place) -> None:
    before = place.contents()
    image = await stores.images.add(make_image(tags=("cat", "sun")), return_duplicate=True)
    changed = msgspec.structs.replace(image, tags=("dog", "sun"), version=2)
    assert await losing.images.replace(image, changed) is True
    assert await stores.images.get(image.image_id) == changed
    assert await tag_counts(stores.images) == {"dog": 1, "sun": 1}
    assert await stores.images.usage("ann") == Usage(1, image.size)
    assert await stores.images.remove(image.image_id) == changed
    assert place.contents() == before


@pytest.mark.parametrize("with_claim", [False, True], ids=["plain", "with a claim"])
async def test_a_declaration_whose_answer_was_lost(losing: Stores, stores: Stores, with_claim: bool) -> None:
    claim, upload = make_claim(), make_upload(sha256=ONE, tags=("cat",))
    await stores.claims.take(claim)
    await losing.uploads.declare(upload, claim=claim if with_claim else None)
    assert await stores.uploads.get(upload.image_id) == upload
    if with_claim:
        assert await outcome(stores, Upload) == upload


async def test_a_pin_whose_answer_was_lost(losing: Stores, stores: Stores) -> None:
    upload = make_upload()
    await stores.uploads.declare(upload)
    assert await losing.uploads.pin(upload.image_id, ONE) is True
    assert await losing.uploads.pin(upload.image_id, "22" * 32) is False


async def test_a_claim_whose_answer_was_lost(losing: Stores, stores: Stores) -> None:
    """Whoever took it is told so, and can finish."""
    claim = make_claim()
    assert await losing.claims.take(claim) == claim
    assert await stores.claims.take(make_claim()) == claim
    await losing.claims.finish(claim, RESULT)
    assert await stores.claims.take(make_claim()) == with_result(claim)


async def test_a_release_whose_answer_was_lost(losing: Stores, stores: Stores) -> None:
    claim, other = make_claim(), make_claim()
    await stores.claims.take(claim)
    await losing.claims.release(claim)
    assert await stores.claims.take(other) == other


async def test_a_removal_whose_answer_was_lost(place: Place, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was can't be read again: here it counts on DynamoDB to know the transaction by its token."""
    losing = losing_stores(place, monkeypatch, forgets=False)
    before = place.contents()
    upload = make_upload()
    await stores.uploads.declare(upload)
    assert await losing.uploads.cancel(upload.image_id) is True
    image = await stores.images.add(make_image(tags=("cat",)))
    assert await losing.images.remove(image.image_id) == image
    assert place.contents() == before


async def test_a_completion_as_a_duplicate_whose_answer_was_lost(
    place: Place, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If DynamoDB forgot it, it is told as what somebody else has done: the upload says what it became."""
    losing = losing_stores(place, monkeypatch, forgets=True)
    older = await stores.images.add(make_image(sha256=ONE))
    upload = make_upload()
    await stores.uploads.declare(upload)
    with pytest.raises(UploadNotOpen):
        await losing.images.add(image_of(upload, sha256=ONE), return_duplicate=True, completes=True)
    found = await stores.uploads.get(upload.image_id)
    assert found is not None
    assert found.completed == older.image_id


# Expressions

OPERATORS = {"ADD", "AND", "OR", "BETWEEN", "SET", "attribute_exists", "attribute_not_exists"}


async def test_no_expression_names_a_reserved_word(place: Place) -> None:
    """DynamoDB refuses those, which the emulator does only in a projection; and values that are not used."""
    expressions: list[str] = []

    class Noting(Table):
        def _operation(self, kind: str, what: Any, condition: str | None, values: Any) -> Any:
            used = [text for text in (condition, what.get("update_expression")) if text is not None]
            placeholders = {name for text in used for name in re.findall(r":\w+", text)}
            assert placeholders == set(values or ()), used
            assert values is None or values, used  # nor may there be none of them
            expressions.extend(used)
            return super()._operation(kind, what, condition, values)

    table = Noting(place.table()._client, place.name)
    noting = stores_of(table)
    claim, upload = make_claim(), make_upload()
    await noting.claims.take(claim)
    await noting.uploads.declare(msgspec.structs.replace(upload, size=1))
    await noting.uploads.declare(upload, replaces=msgspec.structs.replace(upload, size=1), claim=claim)
    await noting.uploads.pin(upload.image_id, ONE)
    image = image_of(upload, sha256=ONE)
    await noting.images.add(image, completes=True, return_duplicate=True, claim=claim)
    await noting.images.replace(image, msgspec.structs.replace(image, version=2))
    await noting.images.remove(image.image_id)
    await noting.uploads.cancel(upload.image_id)
    await noting.claims.release(claim)
    limited = DynamoDbImageRepository(table, quota=Quota(images=2, bytes=10**9))
    for image in [await limited.add(make_image()) for _ in range(2)]:
        await limited.remove(image.image_id)
    names = {name for text in expressions for name in re.findall(r"(?<![:#\w])[A-Za-z_]\w*", text)} - OPERATORS
    assert {
        "pk",
        "image",
        "images",
        "bytes",
        "completed",
        "sha256",
        "expires_at",
        "holder",
        "outcome",
        "locked_until",
    } <= names
    dynamodb = place.emulator.client("dynamodb")
    key = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    for name in sorted(names):
        dynamodb.get_item(TableName=place.name, Key=key, ProjectionExpression=name)
    with pytest.raises(botocore.exceptions.ClientError, match="reserved keyword"):
        dynamodb.get_item(TableName=place.name, Key=key, ProjectionExpression="token")
