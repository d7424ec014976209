"""JSON Web Tokens (RFC 7519): made with a secret, verified with a key.

Apart from the rest of `common` because of what it takes to import: 80 ms, as much as all of the embedded home.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from jwt import PyJWK

from .errors import TokenInvalid

SECRET_ALGORITHM = "HS256"  # noqa: S105 - no secret
PUBLIC_ALGORITHMS = ("RS256", "ES256")
CLOCK_SKEW = 60  # seconds that the clock of whoever makes tokens may be ahead or behind
MAX_LENGTH = 16 * 1024  # characters; a header with a token has some hundreds

# Why a token is refused, in words that tell whoever holds it what to do. The most special class comes first.
_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "The token has expired."),
    (jwt.ImmatureSignatureError, "The token is not valid yet."),
    (jwt.InvalidIssuerError, "The token is from another issuer."),
    (jwt.InvalidAudienceError, "The token is for another audience."),
    (jwt.InvalidAlgorithmError, "The token is signed with an algorithm that is not accepted."),
    (jwt.InvalidSignatureError, "The token's signature does not match."),
    (
        jwt.MissingRequiredClaimError,
        "The token wants exp and sub, and iss and aud where they are checked.",
    ),
)


def mint(
    secret: str,
    *,
    user_id: str,
    scope: str,
    now: dt.datetime,
    life: dt.timedelta,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """Make a token with which its holder acts as `user_id`, with a scope, for as long as `life`."""
    claims = {"iss": issuer, "aud": audience, "sub": user_id, "scope": scope, "iat": now, "exp": now + life}
    return jwt.encode(
        {name: claim for name, claim in claims.items() if claim is not None}, secret, algorithm=SECRET_ALGORITHM
    )


def key_id(token: str) -> tuple[str | None, str]:
    """Return which key and which algorithm a token says it is signed with. Raises TokenInvalid."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise _refused(error) from error
    return header.get("kid"), str(header.get("alg"))


def verify(
    token: str,
    keys: Sequence[str | PyJWK],
    *,
    algorithms: Sequence[str],
    issuer: str | None = None,
    audience: str | None = None,
) -> Mapping[str, Any]:
    """Return the claims of a token that one of these keys has signed. Raises TokenInvalid."""
    required = ["exp", "sub", *(["iss"] if issuer else []), *(["aud"] if audience else [])]
    failure: jwt.PyJWTError = jwt.InvalidSignatureError()
    for key in keys:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=algorithms,
                issuer=issuer,
                audience=audience,
                leeway=CLOCK_SKEW,
                # An audience that is not configured is not checked.
                options={
                    "require": required,
                    "verify_aud": audience is not None,
                    "enforce_minimum_key_length": True,  # RFC 7518, 3.2 and 3.3
                },
            )
        except jwt.PyJWTError as error:
            failure = error
            if not isinstance(error, jwt.InvalidSignatureError):
                break  # the key is right, or none would be
    raise _refused(failure) from failure


def _refused(error: jwt.PyJWTError) -> TokenInvalid:
    for cls, reason in _REASONS:
        if isinstance(error, cls):
            return TokenInvalid(reason)
    return TokenInvalid("This is not a token that can be read.")
