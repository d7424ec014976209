"""Bearer tokens (RFC 6750): whose they are, and what they allow."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..common import tokens
from ..common.errors import TokenInvalid, TokenMissing
from ..common.validation import is_user_id
from ..models.caller import METRICS, Caller, widest
from ..repositories.ports import PublicKeys


class Keys(Protocol):
    """What a token may be signed with."""

    @property
    def algorithms(self) -> Sequence[str]: ...

    async def keys(self, token: str) -> Sequence[Any]:
        """Return the keys that may have signed it. Raises TokenInvalid or KeysUnavailable."""
        ...


class Secrets:
    """Of our own: tokens are made with the first and verified with any, so that they can be changed."""

    algorithms = (tokens.SECRET_ALGORITHM,)

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets

    async def keys(self, token: str) -> Sequence[str]:
        return self._secrets


class ProviderKeys:
    """Of an OpenID Connect provider, by the key id in the token."""

    algorithms = tokens.PUBLIC_ALGORITHMS

    def __init__(self, provider: PublicKeys) -> None:
        self._provider = provider

    async def keys(self, token: str) -> Sequence[Any]:
        key_id, algorithm = tokens.key_id(token)
        if algorithm not in self.algorithms:  # not worth asking the provider
            raise TokenInvalid(f"The token is signed with an algorithm other than {' or '.join(self.algorithms)}.")
        key = await self._provider.find(key_id)
        if key is None:
            raise TokenInvalid("The token is signed with a key that its issuer does not have.")
        return (key,)


class TokenAuthentication:
    is_open = False

    def __init__(self, keys: Keys, *, issuer: str | None, audience: str | None) -> None:
        """Check issuer and audience where they are given."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    async def caller(self, authorization: str | None) -> Caller:
        token = _bearer_token(authorization)
        claims = tokens.verify(
            token,
            await self._keys.keys(token),
            algorithms=self._keys.algorithms,
            issuer=self._issuer,
            audience=self._audience,
        )
        user_id = claims["sub"]
        if not is_user_id(user_id):
            raise TokenInvalid("The token's subject can't be a user id: it wants 1 to 128 of A-Z a-z 0-9 . _ @ : | + -")
        scopes = _scopes(claims)
        return Caller(user_id, widest(scopes), METRICS in scopes)


def _bearer_token(authorization: str | None) -> str:
    if authorization is None:
        raise TokenMissing("Bring one in a header: Authorization: Bearer ...")
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise TokenMissing("Bring one of the kind Bearer in a header: Authorization: Bearer ...")
    if len(token) > tokens.MAX_LENGTH:
        raise TokenInvalid(f"The token has more than {tokens.MAX_LENGTH} characters.")
    if not token.isascii():
        raise TokenInvalid("The token has characters that no token has.")
    return token


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    """Return the scopes of a token: as RFC 9068 has them in `scope`, or as others do, in `scp`; in a text or a list."""
    found: list[str] = []
    for name in ("scope", "scp"):
        value = claims.get(name)
        if isinstance(value, str):
            found += value.split()
        elif isinstance(value, list):
            found += [each for each in value if isinstance(each, str)]
    return found
