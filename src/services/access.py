"""Who calls: where nobody is asked, and what a service that asks has to offer."""

from typing import Protocol

from ..models.caller import ANYBODY, Caller


class Authentication(Protocol):
    is_open: bool

    async def caller(self, authorization: str | None) -> Caller:
        """Return who calls, by the request's Authorization header.

        Raises TokenMissing, TokenInvalid, or KeysUnavailable.
        """
        ...


class OpenAccess:
    """Nobody is asked who they are: everybody may do everything."""

    is_open = True

    async def caller(self, authorization: str | None) -> Caller:
        return ANYBODY
