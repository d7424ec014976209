"""Count the request units that each operation takes of DynamoDB, on the AWS emulator: what the README's costs are of.

    bash scripts/bench.sh costs

The repository does its work through botocore here, which tells the consumed capacity of every request. Only Queries
count by size, since the emulator takes each for one unit: strongly consistent, 4 KB of items are one (AWS, "DynamoDB
read and write operations" and "DynamoDB item sizes").
"""

import asyncio
import datetime as dt
import math
import tempfile
import uuid
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from src.models.claim import Claim
from src.models.image import Image
from src.models.page import ImageQuery
from src.models.upload import Upload
from src.models.usage import Quota, TagQuery
from src.repositories.dynamodb_claims import DynamoDbClaimRepository
from src.repositories.dynamodb_client import Table
from src.repositories.dynamodb_images import DynamoDbImageRepository
from src.repositories.dynamodb_items import Item, Key
from src.repositories.dynamodb_uploads import DynamoDbUploadRepository
from tests.support.emulator import Emulator
from tests.support.images import make_image

IMAGES = 200
READ_UNIT = 4096  # bytes
PLACEHOLDER = f"data:image/webp;base64,{'A' * 160}"  # of the usual length
TYPES = {str: "S", bytes: "B", bool: "BOOL", int: "N"}
# Of an operation, what has the same name in AWS's own request.
EXPRESSIONS = {"item", "key", "condition_expression", "update_expression", "expression_attribute_values"}


class CountingTable(Table):
    """A table that adds up the units it uses. Operations look as pydynox wants them."""

    def __init__(self, dynamodb: Any, name: str) -> None:
        super().__init__(lambda: dynamodb, name)
        self._dynamodb = dynamodb
        self.units = 0.0

    def _used(self, answer: dict[str, Any]) -> dict[str, Any]:
        capacities = answer["ConsumedCapacity"]
        for capacity in capacities if isinstance(capacities, list) else [capacities]:
            self.units += capacity["CapacityUnits"]
        return answer

    async def get(self, key: Key) -> Item | None:
        answer = self._used(
            self._dynamodb.get_item(
                TableName=self._name, Key=packed(key), ConsistentRead=True, ReturnConsumedCapacity="TOTAL"
            )
        )
        return _unpacked(answer["Item"]) if "Item" in answer else None

    async def between(self, pk: str, low: str, high: str, *, forward: bool, limit: int) -> tuple[list[Item], bool]:
        answer = self._dynamodb.query(
            TableName=self._name,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :low AND :high",
            ExpressionAttributeValues=packed({":pk": pk, ":low": low, ":high": high}),
            Limit=limit,
            ScanIndexForward=forward,
            ConsistentRead=True,
        )
        self.units += max(1, math.ceil(sum(map(_size, answer["Items"])) / READ_UNIT))
        return [_unpacked(item) for item in answer["Items"]], "LastEvaluatedKey" in answer

    async def increase(self, key: Key, amounts: Mapping[str, int]) -> dict[str, int]:
        answer = self._used(
            self._dynamodb.update_item(
                TableName=self._name,
                Key=packed(key),
                UpdateExpression="ADD " + ", ".join(f"#{name} :{name}" for name in amounts),
                ExpressionAttributeNames={f"#{name}": name for name in amounts},
                ExpressionAttributeValues={f":{name}": {"N": str(amount)} for name, amount in amounts.items()},
                ReturnConsumedCapacity="TOTAL",
                ReturnValues="UPDATED_NEW",
            )
        )
        return {name: int(value["N"]) for name, value in answer["Attributes"].items()}

    async def write(self, operations: Sequence[Item], *, attempts: int = 1) -> None:
        items = []
        for operation in operations:
            item = {"TableName": self._name}
            for name, value in operation.items():
                if name in EXPRESSIONS:
                    item["".join(map(str.title, name.split("_")))] = value if isinstance(value, str) else packed(value)
            items.append({operation["type"].title(): item})
        self._used(self._dynamodb.transact_write_items(TransactItems=items, ReturnConsumedCapacity="TOTAL"))


def packed(item: Any) -> dict[str, Any]:
    values = {name: str(value) if type(value) is int else value for name, value in item.items()}
    return {name: {TYPES[type(item[name])]: value} for name, value in values.items()}


def _size(packed: dict[str, Any]) -> int:
    values = [value for typed in packed.values() for value in typed.values()]
    sizes = [
        1 if isinstance(value, bool) else len(value.encode() if isinstance(value, str) else value) for value in values
    ]
    return sum(map(len, packed)) + sum(sizes)


def _unpacked(item: dict[str, Any]) -> Item:
    return {name: int(value) if kind == "N" else value for name, typed in item.items() for kind, value in typed.items()}


async def count(table: CountingTable) -> None:
    repository = DynamoDbImageRepository(table)

    async def row(what: str, work: Awaitable[object]) -> None:
        before = table.units
        await work
        print(f"{what:36}{table.units - before:8.1f}")

    plain = _image(())
    tagged = _image(("cat", "garden", "walk"))
    await row("upload without tags", repository.add(plain))
    await row("upload with 3 tags", repository.add(tagged))
    retagged = msgspec.structs.replace(tagged, tags=("cat", "garden", "sun"), version=2)
    await row("change of the description", repository.replace(tagged, described := _described(tagged)))
    await row("change of one of 3 tags", repository.replace(described, retagged))
    await row("delete with 3 tags", repository.remove(tagged.image_id))
    quota = DynamoDbImageRepository(table, quota=Quota(images=1_000_000, bytes=1 << 40))
    await quota.add(_image(()))
    await row("with a quota: upload without tags", quota.add(bounded := _image(())))
    await row("... to look whether there is room", quota.usage("ann"))
    await row("... delete without tags", quota.remove(bounded.image_id))
    await row("delete without tags", repository.remove(plain.image_id))
    await repository.add(plain)
    claims, claim = DynamoDbClaimRepository(table), _claim()
    await row("an Idempotency-Key: to take it", claims.take(claim))
    await row("upload without tags, with the key", repository.add(_image(()), claim=claim))
    uploads, declared = DynamoDbUploadRepository(table), _image(())
    await row("direct upload: to declare it", uploads.declare(_upload(declared)))
    await row("... to read and pin it", _read_and_pin(uploads, declared))
    await row("... to complete it, without tags", repository.add(declared, completes=True))
    for _ in range(IMAGES):
        await repository.add(_image(("cat", "garden", "walk")))
    await row("get", repository.get(plain.image_id))
    await row("the tags of a user", repository.tags(TagQuery(user_id="ann")))
    await row("the tags of all", repository.tags(TagQuery()))
    await row("the usage of a user", repository.usage("ann"))
    await row("10 checksums, of which it has one", repository.find_by_checksum("ann", _checksums(plain)))
    for name, user, tags in (("of a user", "ann", ()), ("of all", None, ()), ("of a user with a tag", "ann", ("cat",))):
        await row(f"a page of 20 {name}", repository.list(ImageQuery(user_id=user, tags=tags, limit=20)))


def _described(image: Image) -> Image:
    return msgspec.structs.replace(image, description="a walk in the garden", version=2)


def _checksums(image: Image) -> list[str]:
    return [image.sha256, *(f"{number:064x}" for number in range(9))]


def _claim() -> Claim:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    key = {"scope": "anonymous", "key": uuid.uuid4().hex, "fingerprint": "0" * 64, "token": uuid.uuid4().hex}
    return Claim(**key, locked_until=soon, expires_at=soon)


def _upload(image: Image) -> Upload:
    return Upload(
        image_id=image.image_id,
        user_id=image.user_id,
        filename=image.filename,
        content_type=image.content_type,
        size=image.size,
        expires_at=image.created_at,
    )


async def _read_and_pin(uploads: DynamoDbUploadRepository, image: Image) -> None:
    await uploads.get(image.image_id)
    await uploads.pin(image.image_id, image.sha256)


def _image(tags: tuple[str, ...]) -> Image:
    return make_image(user_id="ann", filename="a picture.jpg", tags=tags, placeholder=PLACEHOLDER)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        emulator = Emulator(Path(directory))
        try:
            asyncio.run(count(CountingTable(emulator.client("dynamodb"), emulator.new_table())))
        finally:
            emulator.stop()


if __name__ == "__main__":
    main()
