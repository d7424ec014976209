"""Idempotency keys in DynamoDB, whose TTL removes them: late, so that here they end by `expires_at` itself."""

import datetime as dt

from ..common.errors import StoreUnavailable
from ..models.claim import Claim
from .dynamodb_client import ConditionFailed, Table
from .dynamodb_items import Item, claim_key
from .ports import ClaimLost

ATTEMPTS = 5  # when somebody else is at the same key

_IS_FREE = "attribute_not_exists(pk) OR expires_at <= :now OR (attribute_not_exists(outcome) AND locked_until <= :now)"
_IS_OURS = "holder = :holder"


class DynamoDbClaimRepository:
    def __init__(self, table: Table) -> None:
        self._table = table

    async def take(self, claim: Claim) -> Claim:
        key = claim_key(claim.scope, claim.key)
        item = {
            **key,
            "fingerprint": claim.fingerprint,
            "holder": claim.token,
            "locked_until": int(claim.locked_until.timestamp()),
            "expires_at": int(claim.expires_at.timestamp()),
        }
        for _ in range(ATTEMPTS):
            now = int(dt.datetime.now(dt.UTC).timestamp())
            try:
                await self._table.write([self._table.put(item, _IS_FREE, {":now": now})])
            except ConditionFailed:
                if found := await self._table.get(key):
                    return _claim(claim, found)
            else:
                return claim
        raise StoreUnavailable("The Idempotency-Key is taken and let go all the time.")

    async def finish(self, claim: Claim, result: bytes) -> None:
        try:
            await self._table.write([finished(self._table, claim, result)])
        except ConditionFailed as error:
            raise ClaimLost(claim.key) from error

    async def release(self, claim: Claim) -> None:
        key = claim_key(claim.scope, claim.key)
        condition = f"{_IS_OURS} AND attribute_not_exists(outcome)"
        try:
            await self._table.write([self._table.delete(key, condition, {":holder": claim.token})])
        except ConditionFailed:
            return

    async def holds(self, claim: Claim) -> bool:
        """Tell whether the key is still held by this claim."""
        return await self._held(claim) is not None

    async def has_result(self, claim: Claim) -> bool:
        """Tell whether the key is still held by this claim, and has what its request came to."""
        item = await self._held(claim)
        return item is not None and "outcome" in item

    async def _held(self, claim: Claim) -> Item | None:
        item = await self._table.get(claim_key(claim.scope, claim.key))
        return item if item and item["holder"] == claim.token else None

    async def release_orphans(self) -> None:
        return  # others may be at work: a key is free when its time is over

    async def remove_expired(self) -> None:
        return


def finished(table: Table, claim: Claim, result: bytes) -> Item:
    """Return the operation that records what a request came to, if its claim still holds the key."""
    values = {":outcome": result, ":holder": claim.token}
    return table.update(claim_key(claim.scope, claim.key), "SET outcome = :outcome", _IS_OURS, values)


def _claim(asked: Claim, item: Item) -> Claim:
    return Claim(
        scope=asked.scope,
        key=asked.key,
        fingerprint=item["fingerprint"],
        token=item["holder"],
        locked_until=dt.datetime.fromtimestamp(int(item["locked_until"]), dt.UTC),
        expires_at=dt.datetime.fromtimestamp(int(item["expires_at"]), dt.UTC),
        result=item.get("outcome"),
    )
