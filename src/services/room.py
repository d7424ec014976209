"""Whether a user has room for one image more, before much is done for it. The commit itself has the last word."""

from ..models.caller import ANONYMOUS
from ..models.usage import UNLIMITED, Quota
from ..repositories.ports import ImageRepository


class Room:
    def __init__(self, repository: ImageRepository, quota: Quota = UNLIMITED) -> None:
        self._repository = repository
        self._quota = quota

    async def check(self, user_id: str | None, size: int, *, return_duplicate: bool) -> None:
        """Raise QuotaExceeded if there is none; what may turn out to be a duplicate takes none."""
        if self._quota == UNLIMITED or return_duplicate:
            return
        usage = await self._repository.usage(user_id or ANONYMOUS)
        if refusal := self._quota.refusal(usage, size):
            raise refusal
