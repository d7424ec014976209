"""Who calls, by the Authorization header: its forms, and what a token says of its subject and scopes."""

from collections.abc import Sequence
from typing import Any

import pytest

from src.common.errors import TokenInvalid, TokenMissing, Unauthenticated
from src.common.tokens import MAX_LENGTH
from src.models.caller import ADMIN, ANYBODY, READ, WRITE, Caller, Scope
from src.services.access import OpenAccess
from src.services.authentication import ProviderKeys, Secrets, TokenAuthentication
from tests.support.jws import claims, ec_key, rsa_key, signed
from tests.support.tokens import SECRET, token

pytestmark = pytest.mark.anyio

ANN = Caller("ann", WRITE)


def authentication(*secrets: str) -> TokenAuthentication:
    return TokenAuthentication(Secrets(secrets or (SECRET,)), issuer=None, audience=None)


async def refusal(header: str | None) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as refused:
        await authentication().caller(header)
    return refused.value


async def found(**changed: Any) -> Caller:
    header = {"alg": "HS256"}
    return await authentication().caller(f"Bearer {signed(header, claims(**changed), SECRET.encode())}")


@pytest.mark.parametrize(
    "form", ["Bearer {}", "bearer {}", "BEARER {}", "bEaReR {}", "Bearer  {}", "Bearer   {}  ", "Bearer \t{}\t"]
)
async def test_a_token(form: str) -> None:
    """The name of a scheme has no case (RFC 9110, 11.1)."""
    assert await authentication().caller(form.format(token("ann"))) == ANN


@pytest.mark.parametrize(
    "form",
    [
        None,
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Bearer    ",
        "Bearer \t",
        "{}",
        "Basic {}",
        "Basic YW5uOmI=",
        "Digest username=ann",
        "DPoP {}",
        "Token {}",
        "Bearer:{}",
        "Bearer: {}",
        "Bearer={}",
        "Bearer\t{}",
        "Bearer{}",
        "Bearers {}",
        " Bearer {}",
        '"Bearer" {}',
        "B\xe9arer {}",
    ],
)
async def test_no_token(form: str | None) -> None:
    assert isinstance(await refusal(form and form.format(token("ann"))), TokenMissing)


@pytest.mark.parametrize(
    "form",
    [
        "Bearer {},",
        "Bearer {} {}",
        "Bearer {}, Bearer {}",
        "Bearer Bearer {}",
        'Bearer "{}"',
        "Bearer token={}",
        "Bearer {}; a=b",
        "Bearer {}\0",
        "Bearer {}\xa0x",
        "Bearer \xff{}",
        "Bearer \udcff{}",
        "Bearer \U0001f600",
        "Bearer null",
        "Bearer undefined",
    ],
)
async def test_a_token_that_is_none(form: str) -> None:
    error = await refusal(form.format(*[token("ann")] * 2))
    assert isinstance(error, TokenInvalid)
    assert SECRET not in error.detail


@pytest.mark.parametrize("size", [MAX_LENGTH + 1, 10 * MAX_LENGTH, 10_000_000])
async def test_a_token_that_is_huge(size: int) -> None:
    """Nobody begins to read it, however good it is."""
    for padding in ("a" * size, f"{'a' * size}.b.c"):
        assert str(MAX_LENGTH) in (await refusal(f"Bearer {padding}")).detail
    long = signed({"alg": "HS256"}, claims(padding="x" * size), SECRET.encode())
    assert str(MAX_LENGTH) in (await refusal(f"Bearer {long}")).detail


async def test_a_large_token_that_is_good() -> None:
    """As a provider makes it of somebody in many groups."""
    assert await found(groups=["a group of some length"] * 400) == ANN


@pytest.mark.parametrize(
    ("more", "scope"),
    [
        ({"scope": "images:read"}, READ),
        ({"scope": "images:read images:write"}, WRITE),
        ({"scope": "  openid\timages:admin\n email "}, ADMIN),
        ({"scope": ["openid", "images:read"]}, READ),
        ({"scope": None, "scp": "images:write"}, WRITE),
        ({"scope": None, "scp": ["images:read", "images:admin"]}, ADMIN),
        ({"scope": "images:read", "scp": ["images:write"]}, WRITE),
        ({"scope": "openid", "scp": "profile"}, None),
        ({"scope": None}, None),
        ({"scope": ""}, None),
        ({"scope": []}, None),
        ({"scope": "images:read,images:write"}, None),
        ({"scope": "IMAGES:ADMIN images:* images:admin:x ximages:admin images"}, None),
        ({"scope": ["images:admin images:read"]}, None),  # a member of a list is one scope
        ({"scope": [["images:admin"]]}, None),
        ({"scope": [1, None, True, {"images:admin": 1}]}, None),
        ({"scope": {"images:admin": True}}, None),
        ({"scope": 7}, None),
        ({"scope": True}, None),
        ({"scope": None, "scopes": "images:admin", "roles": ["images:admin"], "permissions": ["images:admin"]}, None),
    ],
    ids=str,
)
async def test_scopes(more: dict[str, Any], scope: Scope | None) -> None:
    """Whoever has none of ours is known all the same: that is 403, not 401."""
    assert await found(**more) == Caller("ann", scope)


@pytest.mark.parametrize("sub", ["ann", "a", "A.b_c@d:e|f+g-h", "auth0|507f1f77bcf86cd799439020", "7" * 128])
async def test_a_subject_is_the_user_id(sub: str) -> None:
    assert (await found(sub=sub)).user_id == sub


@pytest.mark.parametrize(
    "sub",
    ["", " ", "a b", "ann\n", "\nann", "ann\0", "a/b", "../ann", "änn", "аnn", "a" * 129, "a,b", "a#b", "a%62", "*"],
)
async def test_a_subject_that_can_t_be_one(sub: str) -> None:
    """Keys of the table and lines of the log are made of it."""
    with pytest.raises(TokenInvalid, match="subject"):
        await found(sub=sub)


async def test_nothing_in_a_refusal_helps() -> None:
    """Neither a secret nor what was sent; and nobody learns which of several secrets is nearest."""
    details = set()
    for secret in ("a secret that is wrong in every way it can be", f"{SECRET}x", SECRET[:-1] + "x"):
        details.add((await refusal(f"Bearer {token('ann', secret=secret)}")).detail)
    assert details == {"The token's signature does not match."}


async def test_open_access() -> None:
    for header in (None, "", "Basic eDp5", "Bearer x", f"Bearer {token('ann')}"):
        assert await OpenAccess().caller(header) is ANYBODY


class Provider:
    """Notes who asks."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def find(self, key_id: str | None) -> None:
        self.asked.append(key_id)


@pytest.mark.parametrize(
    "alg", ["HS256", "none", "PS256", "RS512", None, ["RS256"], "RS256 ", 'x"\\\r\nSet-Cookie: a=b']
)
async def test_a_provider_is_not_asked_in_vain(alg: object) -> None:
    """And the answer, which goes in a header too, holds nothing of what the token says of itself."""
    provider = Provider()
    text = signed({"alg": alg, "kid": "k"}, claims(), rsa_key())
    with pytest.raises(TokenInvalid) as refused:
        await TokenAuthentication(ProviderKeys(provider), issuer="i", audience="a").caller(f"Bearer {text}")
    assert provider.asked == []
    assert refused.value.detail == "The token is signed with an algorithm other than RS256 or ES256."


@pytest.mark.parametrize("header", [{"kid": "k"}, {"kid": "k" * 5_000}, {"kid": ""}, {}])
async def test_a_key_that_a_provider_does_not_have(header: dict[str, str]) -> None:
    provider = Provider()
    keys: Sequence[Any] = [("RS256", rsa_key()), ("ES256", ec_key())]
    for alg, key in keys:
        text = signed({"alg": alg, **header}, claims(), key)
        with pytest.raises(TokenInvalid, match="a key that its issuer does not have"):
            await TokenAuthentication(ProviderKeys(provider), issuer="i", audience="a").caller(f"Bearer {text}")
    assert provider.asked == [header.get("kid")] * 2
