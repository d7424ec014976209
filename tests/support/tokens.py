"""Tokens, right and wrong, as callers bring them."""

import datetime as dt

import jwt

from src.common import tokens

SECRET = "the secret of the tests that is long enough"
AUTH = {"AUTH_SECRET": SECRET, "RATE_LIMIT": "0", "MAX_CONCURRENT_UPLOADS": "0"}
HOUR = dt.timedelta(hours=1)


def token(user_id: str, scope: str = "images:write", *, life: dt.timedelta = HOUR, secret: str = SECRET) -> str:
    return tokens.mint(secret, user_id=user_id, scope=scope, now=dt.datetime.now(dt.UTC), life=life)


def unsigned(user_id: str, scope: str = "images:admin") -> str:
    """Return a token that says of itself that it has no signature."""
    end = dt.datetime.now(dt.UTC) + HOUR
    return jwt.encode({"sub": user_id, "scope": scope, "exp": end}, None, algorithm="none")


def bearer(token: str) -> dict[str, str]:
    """Return the header that brings a token."""
    return {"Authorization": f"Bearer {token}"}
