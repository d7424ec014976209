"""`image-service token`: a token for whoever is to call the service."""

import datetime as dt
from collections.abc import Sequence

from ..common.config import Settings
from ..common.errors import ConfigurationError
from ..common.validation import normal_user_id

LONGEST_LIFE = dt.timedelta(days=3_650)


def token(settings: Settings, *, user_id: str, scopes: Sequence[str], life: dt.timedelta) -> str:
    """Return a token that the service with these settings accepts. Raises ConfigurationError."""
    if settings.auth_secret is None:
        raise ConfigurationError("AUTH_SECRET: got nothing, wants the secret of the service that the token is for")
    try:
        normal_user_id(user_id)
    except ValueError as error:
        raise ConfigurationError(f"--user: got {user_id!r}, {error}") from None
    if not dt.timedelta(0) < life <= LONGEST_LIFE:
        raise ConfigurationError(f"--expires: wants more than nothing, and at most {LONGEST_LIFE.days}d")
    from ..common import tokens  # only where it is needed, since it takes 80 ms to import

    return tokens.mint(
        settings.auth_secret[0],
        user_id=user_id,
        scope=" ".join(scopes),
        now=dt.datetime.now(dt.UTC),
        life=life,
        issuer=settings.auth_issuer,
        audience=settings.auth_audience,
    )
