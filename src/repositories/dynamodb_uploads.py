"""Declared uploads in DynamoDB, whose TTL removes them: late, so that here they end by `expires_at` itself."""

import datetime as dt

import msgspec

from ..common.errors import StoreFailed
from ..models.claim import Claim
from ..models.upload import Upload, kept_until
from .dynamodb_claims import DynamoDbClaimRepository, finished
from .dynamodb_client import ConditionFailed, Table
from .dynamodb_items import Item, upload_key
from .ports import ClaimLost

_decode = msgspec.msgpack.Decoder(Upload).decode
_encode = msgspec.msgpack.encode

_IS_OPEN = "attribute_exists(pk) AND attribute_not_exists(completed) AND expires_at > :now"


class DynamoDbUploadRepository:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._claims = DynamoDbClaimRepository(table)

    async def declare(self, upload: Upload, *, claim: Claim | None = None) -> None:
        item = {**upload_key(upload.image_id), "upload": _encode(upload), "expires_at": _end(upload.image_id)}
        if upload.sha256:
            item["sha256"] = upload.sha256
        operations = [self._table.put(item, "attribute_not_exists(pk)")]
        if claim:
            operations.append(finished(self._table, claim, msgspec.json.encode(upload)))
        try:
            await self._table.write(operations)
        except ConditionFailed as error:
            if await self.get(upload.image_id) == upload:  # an attempt before had been answered too late
                return
            if claim and not await self._claims.holds(claim):
                raise ClaimLost(claim.key) from error
            raise StoreFailed(f"There is an upload {upload.image_id} already.") from error

    async def get(self, image_id: str) -> Upload | None:
        item = await self._table.get(upload_key(image_id))
        if item is None or item["expires_at"] <= _now():
            return None
        return msgspec.structs.replace(
            _decode(item["upload"]), sha256=item.get("sha256"), completed=item.get("completed")
        )

    async def pin(self, image_id: str, sha256: str) -> bool:
        condition = f"{_IS_OPEN} AND (attribute_not_exists(sha256) OR sha256 = :sha256)"
        values = {":sha256": sha256, ":now": _now()}
        pin = self._table.update(upload_key(image_id), "SET sha256 = :sha256", condition, values)
        try:
            await self._table.write([pin])
        except ConditionFailed:
            return False
        return True

    async def cancel(self, image_id: str) -> bool:
        try:
            await self._table.write([self._table.delete(upload_key(image_id), _IS_OPEN, {":now": _now()})])
        except ConditionFailed:
            return False
        return True

    async def remove_expired(self) -> list[Upload]:
        return []


def completed(table: Table, image_id: str, as_image: str) -> Item:
    """Return the operation that marks an upload as completed, if it is open."""
    values = {":completed": as_image, ":now": _now()}
    return table.update(upload_key(image_id), "SET completed = :completed", _IS_OPEN, values)


def _now() -> int:
    return int(dt.datetime.now(dt.UTC).timestamp())


def _end(image_id: str) -> int:
    return int(kept_until(image_id).timestamp())
