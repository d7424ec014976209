"""Declared uploads in DynamoDB, whose TTL removes them: late, so that here they end by `expires_at` itself."""

import datetime as dt
from collections.abc import Sequence

import msgspec

from ..models.claim import Claim
from ..models.upload import Upload, kept_until
from .dynamodb_claims import DynamoDbClaimRepository, finished
from .dynamodb_client import ConditionFailed, Table
from .dynamodb_items import Item, upload_key
from .ports import ClaimLost, UploadExists

_decode = msgspec.msgpack.Decoder(Upload).decode
_encode = msgspec.msgpack.encode

_IS_OPEN = "attribute_exists(pk) AND attribute_not_exists(completed) AND expires_at > :now"
_MAY_BE = "(attribute_not_exists(sha256) OR sha256 = :sha256)"  # these bytes


class DynamoDbUploadRepository:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._claims = DynamoDbClaimRepository(table)

    async def declare(self, upload: Upload, *, replaces: Upload | None = None, claim: Claim | None = None) -> None:
        item = {**upload_key(upload.image_id), "upload": _encode(upload), "expires_at": _end(upload)}
        if upload.sha256:
            item["sha256"] = upload.sha256
        condition = "attribute_not_exists(pk) OR expires_at <= :now", {":now": _now()}
        if replaces is not None:
            condition = await self._is_still(replaces)
        operations = [self._table.put(item, *condition)]
        if claim:
            operations.append(finished(self._table, claim, msgspec.json.encode(upload)))
        try:
            await self._table.write(operations)
        except ConditionFailed as error:
            # An attempt before had been answered too late; or somebody else has declared the same, without our claim.
            if await self.get(upload.image_id) == upload and (claim is None or await self._claims.has_result(claim)):
                return
            if claim and not await self._claims.holds(claim):
                raise ClaimLost(claim.key) from error
            raise UploadExists(upload.image_id) from error

    async def _is_still(self, upload: Upload) -> tuple[str, Item]:
        """Return the condition, and its values, that an upload is as it was read. Raises UploadExists."""
        item = await self._table.get(upload_key(upload.image_id))
        if item is None or _unpacked(item) != upload:
            raise UploadExists(upload.image_id)
        known = {name: item[name] for name in ("upload", "sha256", "completed") if name in item}
        absent = [name for name in ("sha256", "completed") if name not in item]
        condition = " AND ".join(
            [*(f"{name} = :{name}" for name in known), *(f"attribute_not_exists({name})" for name in absent)]
        )
        return condition, {f":{name}": value for name, value in known.items()}

    async def get(self, image_id: str, *, ended: bool = False) -> Upload | None:
        item = await self._table.get(upload_key(image_id))
        if item is None or not (ended or item["expires_at"] > _now()):
            return None
        return _unpacked(item)

    async def pin(self, image_id: str, sha256: str) -> bool:
        values = {":sha256": sha256, ":now": _now()}
        pin = self._table.update(upload_key(image_id), "SET sha256 = :sha256", f"{_IS_OPEN} AND {_MAY_BE}", values)
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

    async def expired(self) -> list[Upload]:
        return []

    async def forget(self, uploads: Sequence[Upload]) -> None:
        return


def completed(table: Table, image_id: str, as_image: str, sha256: str) -> Item:
    """Return the operation that marks an upload as completed with these bytes, if it is open."""
    values = {":completed": as_image, ":sha256": sha256, ":now": _now()}
    return table.update(upload_key(image_id), "SET completed = :completed", f"{_IS_OPEN} AND {_MAY_BE}", values)


def _unpacked(item: Item) -> Upload:
    return msgspec.structs.replace(_decode(item["upload"]), sha256=item.get("sha256"), completed=item.get("completed"))


def _now() -> int:
    return int(dt.datetime.now(dt.UTC).timestamp())


def _end(upload: Upload) -> int:
    return int(kept_until(upload).timestamp())
