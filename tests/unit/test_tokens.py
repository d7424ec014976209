"""Tokens: which are believed, and all the ways to make one that must not be."""

import datetime as dt
import time
from collections.abc import Sequence
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt import PyJWK

from src.common import tokens
from src.common.errors import TokenInvalid
from tests.support.jws import claims, ec_key, part, public_jwk, public_pem, rsa_key, signed
from tests.support.tokens import HOUR, SECRET

OTHER = "another secret of the tests that is as long"
ISSUER, AUDIENCE = "https://login.example.com", "images"
HS256 = {"alg": "HS256", "typ": "JWT"}
INF = float("inf")


def verify(
    token: str, keys: Sequence[str | PyJWK] = (SECRET,), algorithms: Sequence[str] = ("HS256",), **checked: str
) -> Any:
    return tokens.verify(token, keys, algorithms=algorithms, **checked)


def verify_public(token: str, *jwks: dict[str, Any]) -> Any:
    return verify(token, [PyJWK(jwk) for jwk in jwks], tokens.PUBLIC_ALGORITHMS)


def refusal(token: str, *arguments: Any, **checked: str) -> str:
    with pytest.raises(TokenInvalid) as refused:
        verify(token, *arguments, **checked)
    assert token not in refused.value.detail
    return refused.value.detail


def minted(secret: str = SECRET, **more: str) -> str:
    now = dt.datetime.now(dt.UTC)
    return tokens.mint(secret, user_id="ann", scope="images:read images:write", now=now, life=HOUR, **more)


def by_hand(header: object = HS256, **changed: Any) -> str:
    return signed(header, claims(**changed), SECRET.encode())


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> int:
    """Stop the clock that tokens are verified by."""
    now = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)

    class Stopped(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return now

    monkeypatch.setattr("jwt.api_jwt.datetime", Stopped)
    return int(now.timestamp())


# Keys.


def test_what_is_minted_is_verified() -> None:
    before = int(time.time())
    found = verify(minted())
    assert (found["sub"], found["scope"], found["exp"] - found["iat"]) == ("ann", "images:read images:write", 3_600)
    assert before <= found["iat"] <= time.time()
    assert set(found) == {"sub", "scope", "iat", "exp"}
    found = verify(minted(issuer=ISSUER, audience=AUDIENCE), issuer=ISSUER, audience=AUDIENCE)
    assert (found["iss"], found["aud"]) == (ISSUER, AUDIENCE)


def test_a_secret_may_be_any_of_several() -> None:
    """Which is how it is changed; those that were taken away are no good."""
    assert verify(minted(OTHER), (SECRET, OTHER))["sub"] == "ann"
    assert refusal(minted(OTHER)) == "The token's signature does not match."
    assert refusal(minted(), (OTHER, OTHER[::-1])) == "The token's signature does not match."


def test_the_reason_is_that_of_the_right_secret() -> None:
    token = signed(HS256, claims(exp=1), OTHER.encode())
    for secrets in ((SECRET, OTHER), (OTHER, SECRET)):
        assert refusal(token, secrets) == "The token has expired."


@pytest.mark.parametrize("secret", ["", " ", SECRET.upper(), SECRET[:-1], f"{SECRET}\n", f"{SECRET}\1"])
def test_nearly_the_secret(secret: str) -> None:
    assert refusal(signed(HS256, claims(), secret.encode())) == "The token's signature does not match."


def test_every_bit_of_the_signature_counts() -> None:
    head, body, signature = by_hand().split(".")
    for wrong in ("", signature[:-1], signature + "A", f"{signature}.{signature}", "A" * 43, signature.swapcase()):
        refusal(f"{head}.{body}.{wrong}")
    assert refusal(f"{head}.{part(claims(sub='bob'))}.{signature}") == "The token's signature does not match."
    assert refusal(f"{part({'alg': 'HS256'})}.{body}.{signature}") == "The token's signature does not match."


# Algorithms.


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", " none", "none ", "", "\0none", None, False, [], {}])
@pytest.mark.parametrize("signature", ["", "A", "of-the-secret"])
def test_unsigned(alg: object, signature: str) -> None:
    token = signed({"alg": alg}, claims(), SECRET.encode())
    token = token if signature == "of-the-secret" else f"{token.rpartition('.')[0]}.{signature}"
    refusal(token)
    refusal(token, [PyJWK(public_jwk(rsa_key()))], tokens.PUBLIC_ALGORITHMS)
    refusal(token, [""])


@pytest.mark.parametrize(
    "alg", ["hs256", "HS256 ", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "HS", "*", ["HS256"], {"HS256": 1}]
)
def test_other_algorithms_than_that_of_the_secret(alg: object) -> None:
    assert refusal(by_hand({"alg": alg})) == "The token is signed with an algorithm that is not accepted."


def test_no_algorithm_at_all() -> None:
    assert refusal(by_hand({})) == "The token is signed with an algorithm that is not accepted."


def test_public_keys() -> None:
    for alg, key in (("RS256", rsa_key()), ("ES256", ec_key())):
        assert verify_public(signed({"alg": alg}, claims(), key), public_jwk(key))["sub"] == "ann"


@pytest.mark.parametrize("alg", ["HS256", "RS256", "ES256"])
def test_a_public_key_is_no_secret(alg: str) -> None:
    """Everybody has it: a token that it has signed as a secret would, is nobody's."""
    for key in (rsa_key(), ec_key()):
        pem, jwk = public_pem(key), public_jwk(key)
        for secret in (
            pem,
            pem.strip(),
            pem.replace(b"\n", b""),
            part(jwk).encode(),
            jwk.get("n", jwk.get("x")).encode(),
        ):
            token = signed({"alg": alg}, claims(), secret)
            refusal(token, [PyJWK(jwk)], tokens.PUBLIC_ALGORITHMS)
            refusal(token, [PyJWK(jwk)], ("HS256", *tokens.PUBLIC_ALGORITHMS))  # even if both were accepted


def test_a_key_is_for_one_algorithm() -> None:
    rs, es = public_jwk(rsa_key()), public_jwk(ec_key())
    for alg, signer, jwk in (
        ("ES256", rsa_key(), rs),
        ("RS256", ec_key(), es),
        ("RS256", rsa_key(), es),
        ("ES256", ec_key(), rs),
        ("RS256", rsa_key(), {**rs, "alg": "PS256"}),
        ("PS256", rsa_key(), {**rs, "alg": "PS256"}),
        ("ES384", ec_key("", ec.SECP384R1), public_jwk(ec_key("", ec.SECP384R1))),
        ("ES256", ec_key("", ec.SECP384R1), public_jwk(ec_key("", ec.SECP384R1))),
    ):
        with pytest.raises(TokenInvalid):
            verify_public(signed({"alg": alg}, claims(), signer), jwk)


def test_an_empty_signature_of_a_curve() -> None:
    """CVE-2022-21449: r and s of zero."""
    head, body, _ = signed({"alg": "ES256"}, claims(), ec_key()).split(".")
    for signature in (b"", bytes(64), bytes(63) + b"\1", b"\xff" * 64, bytes(63), bytes(65)):
        with pytest.raises(TokenInvalid):
            verify_public(f"{head}.{body}.{part(signature)}", public_jwk(ec_key()))


def test_a_key_that_is_too_short() -> None:
    """It can be computed from the public one, so what it signs is anybody's (RFC 7518, 3.3)."""
    key = rsa_key("short", 1_024)
    with pytest.raises(TokenInvalid):
        verify_public(signed({"alg": "RS256"}, claims(), key), public_jwk(key))


# What else a header may say.


def test_keys_in_the_token_are_ignored() -> None:
    """Whoever makes up a token has a key that fits it."""
    own = rsa_key("hostile")
    for header in (
        {"jwk": public_jwk(own)},
        {"jku": "http://127.0.0.1:9/keys"},
        {"x5u": "http://127.0.0.1:9/chain"},
        {"x5c": [part(public_pem(own))]},
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1 --"},
    ):
        token = signed({"alg": "RS256", **header}, claims(), own)
        with pytest.raises(TokenInvalid, match="signature does not match"):
            verify_public(token, public_jwk(rsa_key()))
        token = signed({"alg": "HS256", **header}, claims(), b"")
        assert refusal(token) == "The token's signature does not match."
        assert verify(by_hand({**HS256, **header}))["sub"] == "ann"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": ["http://example.com/unknown"], "http://example.com/unknown": True},
        {"crit": []},
        {"crit": "exp"},
        {"crit": None},
        {"crit": [1]},
        {"crit": ["b64"]},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"kid": 1},
        {"kid": ["a"]},
        {"kid": None},
    ],
    ids=str,
)
def test_what_has_to_be_understood_and_is_not(header: dict[str, Any]) -> None:
    """RFC 7515, 4.1.11."""
    token = by_hand({**HS256, **header})
    assert refusal(token) == "This is not a token that can be read."
    with pytest.raises(TokenInvalid):
        tokens.key_id(token)


def test_which_key_is_said_to_have_signed() -> None:
    assert tokens.key_id(by_hand({"alg": "RS256", "kid": "k"})) == ("k", "RS256")
    assert tokens.key_id(by_hand({"alg": "RS256"})) == (None, "RS256")
    assert tokens.key_id(by_hand({})) == (None, "None")


# Times.


@pytest.mark.parametrize(
    ("name", "seconds", "said"),
    [
        ("exp", 0, None),
        ("exp", -59, None),
        ("exp", -60, "The token has expired."),
        ("exp", -61, "The token has expired."),
        ("exp", -1e9, "The token has expired."),
        ("exp", 1e9, None),
        ("nbf", -1, None),
        ("nbf", 59, None),
        ("nbf", 60, None),
        ("nbf", 61, "The token is not valid yet."),
        ("iat", -1e9, None),
        ("iat", 59, None),
        ("iat", 60, None),
        ("iat", 61, "The token is not valid yet."),
    ],
)
def test_a_minute_of_clock_skew(name: str, seconds: float, said: str | None, now: int) -> None:
    token = by_hand(**{"exp": now + 3_600, name: now + seconds})
    if said:
        assert refusal(token) == said
    else:
        assert verify(token)["sub"] == "ann"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value", ["", "soon", "2099-01-01T00:00:00Z", INF, -INF, float("nan"), [], [9e9], {}, {"a": 1}, "9" * 5_000, "1e9"]
)
def test_what_is_no_time(name: str, value: object) -> None:
    refusal(by_hand(**{name: value}))


@pytest.mark.parametrize("value", [True, False, 0, -1, 1.5, -1e300])
def test_what_is_long_ago(value: object) -> None:
    assert refusal(by_hand(exp=value)) == "The token has expired."


@pytest.mark.parametrize("value", [9e9, 9_999_999_999.5, 1e300, 10**4_000])
def test_what_is_far_ahead(value: float) -> None:
    """It may never end; but it is not valid before it begins."""
    assert verify(by_hand(exp=value))["sub"] == "ann"
    for name in ("nbf", "iat"):
        assert refusal(by_hand(**{name: value})) == "The token is not valid yet."


def test_a_number_that_is_too_long_to_be_read() -> None:
    body = b'{"sub": "ann", "exp": ' + b"9" * 5_000 + b"}"
    assert refusal(signed(HS256, body, SECRET.encode())) == "This is not a token that can be read."


# Other claims.


@pytest.mark.parametrize("name", ["exp", "sub"])
@pytest.mark.parametrize("is_null", [False, True])
def test_what_a_token_wants(name: str, is_null: bool) -> None:
    whole = claims()
    del whole[name]
    token = signed(HS256, {**whole, **({name: None} if is_null else {})}, SECRET.encode())
    assert refusal(token) == "The token wants exp and sub, and iss and aud where they are checked."


@pytest.mark.parametrize("sub", [1, 1.5, True, ["ann"], {"ann": 1}])
def test_a_subject_is_a_text(sub: object) -> None:
    assert refusal(by_hand(sub=sub)) == "This is not a token that can be read."


ISSUER_REASON = "The token is from another issuer."
AUDIENCE_REASON = "The token is for another audience."
MISSING = "The token wants exp and sub, and iss and aud where they are checked."


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"iss": ISSUER, "aud": AUDIENCE}, None),
        ({"iss": ISSUER, "aud": [AUDIENCE]}, None),
        ({"iss": ISSUER, "aud": ["other", AUDIENCE]}, None),
        ({"iss": f"{ISSUER}/", "aud": AUDIENCE}, ISSUER_REASON),
        ({"iss": ISSUER.upper(), "aud": AUDIENCE}, ISSUER_REASON),
        ({"iss": ISSUER[:-1], "aud": AUDIENCE}, ISSUER_REASON),
        ({"iss": [ISSUER], "aud": AUDIENCE}, ISSUER_REASON),
        ({"iss": "", "aud": AUDIENCE}, ISSUER_REASON),
        ({"iss": {ISSUER: 1}, "aud": AUDIENCE}, ISSUER_REASON),
        ({"aud": AUDIENCE}, MISSING),
        ({"iss": ISSUER}, MISSING),
        ({"iss": ISSUER, "aud": ""}, MISSING),
        ({"iss": ISSUER, "aud": []}, MISSING),
        ({"iss": ISSUER, "aud": "other"}, AUDIENCE_REASON),
        ({"iss": ISSUER, "aud": f"{AUDIENCE} other"}, AUDIENCE_REASON),
        ({"iss": ISSUER, "aud": AUDIENCE[:-1]}, AUDIENCE_REASON),
        ({"iss": ISSUER, "aud": ["other"]}, AUDIENCE_REASON),
        ({"iss": ISSUER, "aud": [AUDIENCE, 1]}, AUDIENCE_REASON),
        ({"iss": ISSUER, "aud": {AUDIENCE: 1}}, AUDIENCE_REASON),
        ({"iss": ISSUER, "aud": 1}, AUDIENCE_REASON),
        ({"iss": ISSUER, "aud": True}, AUDIENCE_REASON),
    ],
    ids=str,
)
def test_issuer_and_audience(found: dict[str, Any], said: str | None) -> None:
    token = by_hand(**found)
    if said:
        assert refusal(token, issuer=ISSUER, audience=AUDIENCE) == said
    else:
        assert verify(token, issuer=ISSUER, audience=AUDIENCE)["sub"] == "ann"


@pytest.mark.parametrize("found", [{"iss": "x"}, {"aud": "x"}, {"aud": ["x", "y"]}, {"iss": 1, "aud": 1}], ids=str)
def test_what_is_not_configured_is_not_checked(found: dict[str, Any]) -> None:
    assert verify(by_hand(**found))["sub"] == "ann"


# What is no token.


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a",
        "a.b",
        "a.b.c",
        "e30.e30.",
        "e30.e30.e30",
        " ",
        "\0",
        "%00.%00.%00",
        "ä.ö.ü",
        "\xff" * 10,
        "." * 10_000,
        "a" * 16_384,
        f"{part([])}.{part({})}.AA",
        f"{part('HS256')}.{part({})}.AA",
        f"{part(None)}.{part({})}.AA",
        f"{part(b'')}.{part({})}.AA",
        f"{part(b'{')}.{part({})}.AA",
        f"{part(bytes([0xFF]))}.{part({})}.AA",
        f"{part(b'[' * 10_000)}.{part({})}.AA",
        f"{part(b'{"a":' * 2_000)}.{part({})}.AA",
        f"{part(HS256)}==.{part(claims())}.AAAA",
        f"{part(HS256)}===.{part(claims())}.AAAA",
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA",  # a JWE
    ],
    ids=lambda token: repr(token[:20]),
)
def test_garbage(token: str) -> None:
    with pytest.raises(TokenInvalid):
        verify(token)
    with pytest.raises(TokenInvalid):
        verify(token, [PyJWK(public_jwk(rsa_key()))], tokens.PUBLIC_ALGORITHMS)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"1", b'"a"', b"\xff\xfe", b"[" * 10_000, b"{}"])
def test_a_good_signature_of_garbage(body: bytes) -> None:
    refusal(signed(HS256, body, SECRET.encode()))


def test_a_claim_that_comes_twice() -> None:
    """The last one counts, for all claims alike: there is one reader only."""
    body = b'{"sub": "ann", "sub": "bob", "exp": 1, "exp": 9999999999}'
    assert verify(signed(HS256, body, SECRET.encode())) == {"sub": "bob", "exp": 9_999_999_999}


def test_a_secret_of_any_script() -> None:
    secret = "größer als ein Wort, damit es lang genug ist"
    assert verify(minted(secret), (secret,))["sub"] == "ann"
    assert jwt.get_unverified_header(minted(secret))["alg"] == "HS256"
