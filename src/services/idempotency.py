"""Idempotency keys: a request that is repeated with its key gets its first answer again and changes nothing."""

import asyncio
import datetime as dt
import hashlib
import logging
import uuid
from collections.abc import Awaitable, Callable

import msgspec

from ..common.errors import IdempotencyKeyReused, OutcomeUnknown, RequestInProgress
from ..models.caller import ANONYMOUS
from ..models.claim import Claim
from ..models.image import NewImage
from ..models.upload import NewUpload
from ..repositories.ports import ClaimLost, ClaimRepository

log = logging.getLogger(__name__)

KEPT = dt.timedelta(days=1)
# More than a request takes. If one takes longer all the same, and another one its key, it can no longer commit.
LOCKED = dt.timedelta(minutes=1)


class IdempotencyService:
    def __init__(self, claims: ClaimRepository) -> None:
        self._claims = claims

    async def run[T](
        self,
        key: str | None,
        fingerprint: str,
        work: Callable[[Claim | None], Awaitable[T]],
        *,
        result: type[T],
        commits: bool = True,
        is_final: Callable[[T], bool] = lambda _: True,
        scope: str = ANONYMOUS,
    ) -> T:
        """Do the work, or return what it came to before. Without a key, just do the work.

        The work commits its result together with what it writes, on condition that the claim it gets still holds;
        unless it has nothing to commit it with, since to do it again does no harm. What is not final is not kept.
        Raises IdempotencyKeyReused, RequestInProgress, or what the work raises: then the key is free again.
        """
        if key is None:
            return await work(None)
        now = dt.datetime.now(dt.UTC)
        claim = Claim(
            scope=scope,
            key=key,
            fingerprint=fingerprint,
            token=uuid.uuid4().hex,
            locked_until=now + LOCKED,
            expires_at=now + KEPT,
        )
        holder = await self._claims.take(claim)
        if holder.fingerprint != fingerprint:
            raise IdempotencyKeyReused("The key was used for a request with other content.")
        if holder.result is not None:
            return msgspec.json.decode(holder.result, type=result)
        if holder.token != claim.token:
            raise RequestInProgress("A request with the same key is being carried out.")
        try:
            outcome = await work(claim)
            if not commits and is_final(outcome):
                await self._claims.finish(claim, msgspec.json.encode(outcome))
            elif not commits:
                await self._release(claim)
        except ClaimLost:
            raise RequestInProgress("This took so long that a request with the same key has taken over.") from None
        except OutcomeUnknown:
            raise  # it may have happened, with its result
        except Exception:
            await self._release(claim)
            raise
        return outcome

    async def _release(self, claim: Claim) -> None:
        try:
            await self._claims.release(claim)
        except Exception:  # it must not hide what the caller has to say
            log.warning("an idempotency key stays taken for a minute", exc_info=True)


async def fingerprint_of_image(new: NewImage) -> str:
    """Return the fingerprint of an upload, whichever form it came in."""
    fields = {name: getattr(new, name) for name in new.__struct_fields__ if name != "payload"}
    return fingerprint_of("upload_image", await asyncio.to_thread(new.payload.sha256), fields)


def fingerprint_of_upload(new: NewUpload) -> str:
    """Return the fingerprint of a declaration; without an id, what it was before there were images that keep theirs."""
    fields = msgspec.structs.asdict(new)
    if new.image_id is None:
        fields = {name: value for name, value in fields.items() if name not in ("image_id", "version", "updated_at")}
    return fingerprint_of("declare_upload", fields)


def fingerprint_of(operation: str, *content: object) -> str:
    """Return what tells requests apart that differ in what they ask for, however they spell it."""
    return hashlib.sha256(msgspec.msgpack.encode((operation, *content))).hexdigest()
