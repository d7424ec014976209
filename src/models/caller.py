"""Who calls, and what they may do."""

from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from ..common.errors import InsufficientScope

type Scope = Literal["images:read", "images:write", "images:admin", "metrics:read"]
SCOPES: tuple[Scope, ...] = get_args(Scope.__value__)
READ, WRITE, ADMIN, METRICS = SCOPES
IMAGE_SCOPES = (READ, WRITE, ADMIN)  # each includes those before it
ANONYMOUS = "anonymous"


class Caller(msgspec.Struct, frozen=True):
    """Who calls, by the user id that their images have, and the widest scope for images they have, if any.

    One who is no admin `may_read_metrics` only with a scope of its own, which allows nothing else: they tell of all.
    """

    user_id: str
    scope: Scope | None
    may_read_metrics: bool = False

    @property
    def owner(self) -> str | None:
        """The one whose images alone the caller sees and touches; None if that is everybody's."""
        return None if self.scope == ADMIN else self.user_id

    @property
    def namespace(self) -> str:
        """Where the caller's Idempotency-Keys are: one who sees less must not get an admin's answers again."""
        return self.user_id if self.owner else f"{self.user_id} {ADMIN}"  # no user id has a blank

    def may(self, scope: Scope) -> bool:
        """Tell whether the caller may do what takes this scope."""
        if scope == METRICS:
            return self.may_read_metrics or self.scope == ADMIN
        return self.scope is not None and IMAGE_SCOPES.index(self.scope) >= IMAGE_SCOPES.index(scope)

    def require(self, scope: Scope) -> None:
        """Raise InsufficientScope if the caller may not do what takes this scope."""
        if not self.may(scope):
            raise InsufficientScope(f"This takes a token with the scope {scope}.", scope)

    def owner_of_new(self, stated: str | None) -> str:
        """Return whose a new image is: the caller's, or as stated.

        Raises InsufficientScope if somebody else's is stated, which only an admin may do.
        """
        if stated is not None and stated != self.user_id and self.scope != ADMIN:
            raise InsufficientScope(
                f"user_id: an image of somebody else's takes a token with the scope {ADMIN}.", ADMIN
            )
        return stated or self.user_id


# Where nobody is asked who they are.
ANYBODY = Caller(ANONYMOUS, ADMIN)


def widest(scopes: Iterable[str]) -> Scope | None:
    """Return the widest scope for images among some."""
    ours = set(scopes)
    return next((scope for scope in reversed(IMAGE_SCOPES) if scope in ours), None)
