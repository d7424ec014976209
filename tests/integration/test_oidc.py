"""Tokens of an OpenID Connect provider, which is a real one as far as it is needed: it serves its keys over HTTP."""

import asyncio
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import RSAAlgorithm

from src.bootstrap import build_services
from src.common.config import Settings
from src.common.errors import KeysUnavailable
from src.handlers.app import create_app
from src.repositories import jwks
from src.repositories.jwks import COOLDOWN, FRESH, KEPT, JwksKeys
from tests.support.api import assert_problem
from tests.support.jws import PrivateKey, claims, ec_key, part, public_jwk, public_pem, rsa_key, signed
from tests.support.provider import Provider, respond
from tests.support.tokens import bearer

pytestmark = pytest.mark.anyio

ISSUER, AUDIENCE = "https://login.example.com/", "images"
OLD, NEW, CURVE = rsa_key("old"), rsa_key("new"), ec_key("oidc")


class Clock:
    """The time of the keys: it goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        provider.keys = [public_jwk(OLD, "old"), public_jwk(CURVE, "curve")]
        yield provider


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(jwks, "JwksKeys", lambda url: JwksKeys(url, now=clock))
    return clock


@asynccontextmanager
async def calling(url: str, directory: Path, **environment: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.from_environment(
        {
            "DATA_DIR": str(directory),
            "AUTH_JWKS_URL": url,
            "AUTH_ISSUER": ISSUER,
            "AUTH_AUDIENCE": AUDIENCE,
            "RATE_LIMIT": "0",
            **environment,
        }
    )
    services = build_services(settings)
    transport = httpx.ASGITransport(create_app(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client
    await services.close()


@pytest.fixture
async def client(provider: Provider, clock: Clock, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(provider.url, tmp_path / "data") as client:
        yield client


def token(key: PrivateKey | bytes, kid: str | None = None, alg: str | None = None, **changed: Any) -> str:
    header = {"alg": alg or ("ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"), "typ": "at+jwt"}
    return signed(
        header if kid is None else {**header, "kid": kid}, claims(iss=ISSUER, **{"aud": [AUDIENCE], **changed}), key
    )


async def get(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/images", headers=bearer(token))


async def status(client: httpx.AsyncClient, token: str) -> int:
    return (await get(client, token)).status_code


async def refused(client: httpx.AsyncClient, token: str) -> str:
    answer = await get(client, token)
    problem = assert_problem(answer, 401, "token_invalid")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert len(answer.headers["www-authenticate"]) < 300
    detail: str = problem["detail"]
    return detail


async def unavailable(client: httpx.AsyncClient, token: str) -> None:
    answer = await get(client, token)
    assert_problem(answer, 503, "keys_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


# What is accepted.


async def test_both_kinds_of_keys(client: httpx.AsyncClient, provider: Provider) -> None:
    assert await status(client, token(OLD, "old")) == 200
    assert await status(client, token(CURVE, "curve")) == 200
    assert provider.requests == 1


async def test_a_token_is_all_that_counts(client: httpx.AsyncClient) -> None:
    upload: dict[str, Any] = {"content": b"", "headers": {"Content-Type": "image/png"}}
    for scope, expected in (("images:read", 403), ("images:write", 400)):
        upload["headers"] |= bearer(token(OLD, "old", scope=scope))
        assert (await client.post("/images", **upload)).status_code == expected


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"iss": "https://login.example.com"}, "another issuer"),
        ({"iss": None}, "wants exp and sub, and iss and aud"),
        ({"aud": "other"}, "another audience"),
        ({"aud": None}, "wants exp and sub, and iss and aud"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "wants exp"),
        ({"nbf": 9_999_999_999}, "not valid yet"),
        ({"sub": "a b"}, "subject"),
        ({"sub": None}, "wants exp and sub"),
    ],
    ids=str,
)
async def test_claims_count_here_too(changed: dict[str, Any], said: str, client: httpx.AsyncClient) -> None:
    whole = claims(iss=ISSUER, aud=AUDIENCE) | changed
    whole = {name: value for name, value in whole.items() if value is not None}
    assert said in await refused(client, signed({"alg": "RS256", "kid": "old"}, whole, OLD))


async def test_what_a_stranger_makes_up(client: httpx.AsyncClient, provider: Provider) -> None:
    pem = public_pem(OLD)
    other = rsa_key("hostile")
    assert await status(client, token(OLD, "old")) == 200
    for made_up in (
        token(other, "old"),
        token(ec_key("hostile"), "curve"),
        token(OLD, "curve"),
        token(CURVE, "old"),
        token(pem, "old", "HS256"),
        token(pem, "old", "RS256"),
        token(pem.strip(), "old", "HS256"),
        token(b"", "old", "HS256"),
        token(OLD, "old", "none"),
        token(OLD, "old", "PS256"),
        f"{token(OLD, 'old', 'none').rpartition('.')[0]}.",
        f"{token(OLD, 'old').rpartition('.')[0]}.",
        signed(
            {"alg": "RS256", "kid": "old", "jwk": public_jwk(other, "old")}, claims(iss=ISSUER, aud="images"), other
        ),
        signed({"alg": "RS256", "kid": "old", "jku": provider.url}, claims(iss=ISSUER, aud="images"), other),
        signed({"alg": "RS256", "kid": "old", "crit": ["x"], "x": 1}, claims(iss=ISSUER, aud="images"), OLD),
        signed({"alg": "RS256", "kid": ["old"]}, claims(iss=ISSUER, aud="images"), OLD),
        signed({"alg": "x" * 8_000, "kid": "old"}, claims(iss=ISSUER, aud="images"), OLD),
        "x",
        "",
    ):
        await refused(client, made_up) if made_up else None
    assert provider.requests == 1


# Rotation.


async def test_a_new_key(client: httpx.AsyncClient, provider: Provider, clock: Clock) -> None:
    """It is found without a restart, once the provider may be asked again."""
    assert await status(client, token(OLD, "old")) == 200
    provider.keys.append(public_jwk(NEW, "new"))
    assert "does not have" in await refused(client, token(NEW, "new"))
    assert provider.requests == 1
    clock.sleep(COOLDOWN + 1)
    assert await status(client, token(NEW, "new")) == 200
    assert await status(client, token(OLD, "old")) == 200
    assert provider.requests == 2


async def test_a_key_that_is_withdrawn(client: httpx.AsyncClient, provider: Provider, clock: Clock) -> None:
    """It is good for as long as keys are fresh, and then no longer."""
    assert await status(client, token(OLD, "old")) == 200
    provider.keys = [public_jwk(NEW, "new")]
    clock.sleep(FRESH)
    assert await status(client, token(OLD, "old")) == 200
    clock.sleep(1)
    assert "does not have" in await refused(client, token(OLD, "old"))
    assert await status(client, token(NEW, "new")) == 200
    assert provider.requests == 2


async def test_all_keys_are_withdrawn(client: httpx.AsyncClient, provider: Provider, clock: Clock) -> None:
    """That is no failure of the provider, after which the old keys would go on."""
    assert await status(client, token(OLD, "old")) == 200
    provider.keys = []
    clock.sleep(FRESH + 1)
    assert "does not have" in await refused(client, token(OLD, "old"))


async def test_another_key_under_the_same_id(client: httpx.AsyncClient, provider: Provider, clock: Clock) -> None:
    assert await status(client, token(OLD, "old")) == 200
    provider.keys = [public_jwk(NEW, "old")]
    assert "signature" in await refused(client, token(NEW, "old"))
    clock.sleep(FRESH + 1)
    assert await status(client, token(NEW, "old")) == 200
    assert "signature" in await refused(client, token(OLD, "old"))


async def test_keys_stay_fresh(client: httpx.AsyncClient, provider: Provider, clock: Clock) -> None:
    """One question each five minutes, however many requests there are."""
    for _ in range(3):
        for _ in range(10):
            assert await status(client, token(OLD, "old")) == 200
        clock.sleep(FRESH + 1)
    assert provider.requests == 3


# Not asking too often.


async def test_made_up_key_ids_do_not_reach_the_provider(
    client: httpx.AsyncClient, provider: Provider, clock: Clock
) -> None:
    """1000 of them in 100 seconds, one by one and all at once."""
    made_up = [token(b"", uuid.uuid4().hex, "RS256") for _ in range(1_000)]
    for each in made_up[:100]:
        assert await status(client, each) == 401
    assert provider.requests == 1
    for start in range(100, 1_000, 100):
        clock.sleep(COOLDOWN + 1)
        answers = await asyncio.gather(*(get(client, each) for each in made_up[start : start + 100]))
        assert {answer.status_code for answer in answers} == {401}
    assert provider.requests == 10
    assert await status(client, token(OLD, "old")) == 200


async def test_many_first_requests_ask_once(client: httpx.AsyncClient, provider: Provider) -> None:
    provider.answer = Slow(provider)
    answers = await asyncio.gather(*(get(client, token(OLD, "old")) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert provider.requests == 1


async def test_nobody_waits_for_keys_that_are_there(
    client: httpx.AsyncClient, provider: Provider, clock: Clock
) -> None:
    """While one asks, the others go on with the old ones."""
    assert await status(client, token(OLD, "old")) == 200
    provider.answer = Slow(provider)
    clock.sleep(FRESH + 1)
    asking = asyncio.create_task(get(client, token(OLD, "old")))
    while provider.requests < 2:
        await asyncio.sleep(0.01)
    for _ in range(5):
        assert await status(client, token(CURVE, "curve")) == 200
    assert not asking.done()
    assert (await asking).status_code == 200
    assert provider.requests == 2


class Slow:
    """Serves the keys, but takes its time."""

    seconds = 0.2

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        time.sleep(self.seconds)
        self._provider.serve_keys(handler)


# A provider that fails.


async def test_down_at_the_start(provider: Provider, client: httpx.AsyncClient, clock: Clock) -> None:
    """The service starts, says so to whoever brings a token, and needs nobody once the provider is back."""
    provider.stop()
    await unavailable(client, token(OLD, "old"))
    assert_problem(await client.get("/images"), 401, "token_missing")
    assert (await client.get("/readyz")).status_code == 200
    provider.start()
    clock.sleep(COOLDOWN + 1)
    assert await status(client, token(OLD, "old")) == 200


async def test_down_later(client: httpx.AsyncClient, provider: Provider, clock: Clock) -> None:
    """What keys there are go on for a day; then they are as good as none, and good again when it is back."""
    assert await status(client, token(OLD, "old")) == 200
    provider.stop()
    for seconds in (FRESH + 1, 3_600, KEPT - 3_600 - FRESH - 1):
        clock.sleep(seconds)
        assert await status(client, token(OLD, "old")) == 200
        assert await status(client, token(OLD, "unknown")) == 401
    clock.sleep(1)
    await unavailable(client, token(OLD, "old"))
    provider.start()
    clock.sleep(COOLDOWN + 1)
    assert await status(client, token(OLD, "old")) == 200


async def test_whoever_can_t_be_known_is_counted_by_address(provider: Provider, tmp_path: Path) -> None:
    """Each of these has an error in the log, and anybody can make them up."""
    provider.stop()
    async with calling(provider.url, tmp_path / "data", RATE_LIMIT="1", RATE_BURST="3") as client:
        found = [await status(client, token(rsa_key("hostile"), "x", sub=f"ann-{number}")) for number in range(5)]
    assert found[:3] == [503] * 3
    assert 429 in found[3:]


def answers(body: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda handler: respond(handler, body, status=status, **headers)


def breaks_off(handler: BaseHTTPRequestHandler) -> None:
    respond(handler, b'{"keys": [', **{"Content-Length": "1000"})


def resets(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def speaks_no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"220 smtp.example.com ESMTP\r\n")


GOOD = json.dumps({"keys": [public_jwk(OLD, "old")]}).encode()
FAILURES: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "500": answers(GOOD, 500),
    "404": answers(GOOD, 404),
    "429": answers(b"", 429, **{"Retry-After": "1"}),
    "204": answers(b"", 204),
    "redirect": answers(b"", 302, Location="http://127.0.0.1:9/"),
    "redirect to a file": answers(b"", 301, Location="file:///etc/passwd"),
    "nothing": answers(b""),
    "a page": answers(b"<!doctype html><title>Sign in</title>"),
    "no text": answers(b"\xff\xfe\x00"),
    "half": answers(GOOD[:100]),
    "broken off": breaks_off,
    "reset": resets,
    "no HTTP": speaks_no_http,
    "nested": answers(b"[" * 100_000),
    "nested keys": answers(b'{"keys":' * 100_000),
    "a long number": answers(b'{"keys": ' + b"9" * 10_000 + b"}"),
    "compressed": answers(b"\x1f\x8b\x08" + bytes(100), **{"Content-Encoding": "gzip"}),
    **{
        f"JSON {text}": answers(text.encode())
        for text in (
            "null", "[]", "1", '"keys"', "{}", '{"keys": null}', '{"keys": {}}', '{"keys": "old"}', '{"keys": 1}',
            '{"error": "no keys today"}',
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES)
async def test_no_keys_are_in_the_answer(failure: str, provider: Provider) -> None:
    """At the start there are none, later the old keys stay; and it recovers by itself."""
    clock = Clock()
    keys = JwksKeys(provider.url, now=clock)
    provider.answer = FAILURES[failure]
    for _ in range(2):
        with pytest.raises(KeysUnavailable):
            await keys.find("old")
    assert provider.requests == 1
    provider.answer = provider.serve_keys
    clock.sleep(COOLDOWN + 1)
    assert await keys.find("old")
    provider.answer = FAILURES[failure]
    clock.sleep(FRESH + 1)
    for _ in range(2):
        assert await keys.find("old")
    assert provider.requests == 3


async def test_a_failure_is_told_and_recovered_from(
    client: httpx.AsyncClient, provider: Provider, clock: Clock
) -> None:
    provider.answer = FAILURES["500"]
    for _ in range(2):
        await unavailable(client, token(OLD, "old"))
    provider.answer = FAILURES["a page"]
    clock.sleep(COOLDOWN + 1)
    await unavailable(client, token(OLD, "old"))
    provider.answer = provider.serve_keys
    clock.sleep(COOLDOWN + 1)
    assert await status(client, token(OLD, "old")) == 200
    provider.answer = FAILURES["nested"]
    clock.sleep(FRESH + 1)
    assert await status(client, token(OLD, "old")) == 200
    assert provider.requests == 4


async def test_a_redirect_is_not_followed(client: httpx.AsyncClient, provider: Provider) -> None:
    """It might lead into our own network, and back out of HTTPS."""
    with Provider() as other:
        other.keys = provider.keys
        provider.answer = answers(b"", 307, Location=other.url)
        await unavailable(client, token(OLD, "old"))
        assert other.requests == 0


async def test_a_provider_that_hangs(
    client: httpx.AsyncClient, provider: Provider, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who wait all get their answer when it is given up, and those who come with a known key need not wait."""
    monkeypatch.setattr(jwks, "TIMEOUT", 0.1)

    def hangs(_: BaseHTTPRequestHandler) -> None:
        # Of the time that the keys know, it takes longer than they wait between two questions.
        clock.sleep(COOLDOWN + 1)
        provider.ended.wait(10)

    provider.answer = hangs
    started = time.perf_counter()
    found = await asyncio.gather(*(get(client, token(OLD, "old")) for _ in range(20)))
    assert {answer.status_code for answer in found} == {503}
    assert provider.requests == 1
    assert time.perf_counter() - started < 2
    provider.ended.set()
    provider.answer = provider.serve_keys
    clock.sleep(COOLDOWN + 1)
    assert await status(client, token(OLD, "old")) == 200


# Keys that are not for this.


BROKEN = (
    None, 1, "RSA", [], {}, {"kty": "RSA", "kid": "old"}, {"kty": "RSA", "kid": "old", "n": 5, "e": "AQAB"},
    {"kty": ["RSA"]}, {"kty": {}}, {"kty": "RSA", "alg": ["RS256"]}, {"kty": "RSA", "alg": {}}, {"kty": "RSA", "n": ""},
    {"kty": "EC", "crv": ["P-256"], "x": "AA", "y": "AA"}, {"kty": "EC", "crv": "P-256", "x": None, "y": {}},
    {"kty": "EC", "crv": "P-256", "x": part(bytes(32)), "y": part(bytes(32))},
)  # fmt: skip


async def test_keys_of_other_kinds(client: httpx.AsyncClient, provider: Provider) -> None:
    """Those that can be used are, and the others are as if they were not there: above all a secret is none."""
    secret = b"a secret that the provider should never have published"
    p384 = ec_key("p384", ec.SECP384R1)
    weak = rsa_key("short", 1_024)
    private = json.loads(RSAAlgorithm.to_jwk(rsa_key("private")))
    foreign: list[tuple[dict[str, Any], str]] = [
        ({"kty": "oct", "kid": "oct", "k": part(secret)}, token(secret, "oct", "HS256")),
        ({"kty": "oct", "kid": "oct-rs", "alg": "RS256", "k": part(secret)}, token(secret, "oct-rs", "RS256")),
        (public_jwk(NEW, "enc", use="enc"), token(NEW, "enc")),
        (public_jwk(NEW, "odd", use=["sig"]), token(NEW, "odd")),
        (public_jwk(NEW, "pss", alg="PS256"), token(NEW, "pss")),
        (public_jwk(NEW, "hs", alg="HS256"), token(public_pem(NEW), "hs", "HS256")),
        (public_jwk(NEW, "none", alg="none"), token(NEW, "none", "none")),
        (public_jwk(NEW, "es", alg="ES256"), token(NEW, "es")),
        (public_jwk(p384, "p384"), token(p384, "p384")),
        (public_jwk(p384, "p384-as-256", alg="ES256"), token(p384, "p384-as-256")),
        ({"kty": "OKP", "crv": "Ed25519", "kid": "okp", "x": part(bytes(32))}, token(NEW, "okp", "RS256")),
        (public_jwk(weak, "weak"), token(weak, "weak")),
        ({**private, "kid": "private", "key_ops": ["verify"]}, token(rsa_key("private"), "private")),
        ({**public_jwk(NEW), "kid": ["list"]}, token(NEW, "list")),
        ({**public_jwk(NEW), "kid": 1}, token(NEW, "number")),
        ({"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"}, token(NEW, "broken")),
    ]
    provider.keys = [*BROKEN, *(jwk for jwk, _ in foreign), *provider.keys]
    assert await status(client, token(OLD, "old")) == 200
    assert await status(client, token(CURVE, "curve")) == 200
    for jwk, made in foreign:
        assert await status(client, made) == 401, jwk
    assert provider.requests == 1


async def test_nothing_but_keys_of_other_kinds(client: httpx.AsyncClient, provider: Provider, clock: Clock) -> None:
    for provider.keys in ([], list(BROKEN), [public_jwk(OLD, "old", use="enc")]):
        clock.sleep(COOLDOWN + 1)
        assert "does not have" in await refused(client, token(OLD, "old"))
    assert "does not have" in await refused(client, token(OLD))
    provider.keys = [public_jwk(OLD, "old", use="sig", alg="RS256")]
    clock.sleep(COOLDOWN + 1)
    assert await status(client, token(OLD, "old")) == 200


@pytest.mark.parametrize("kid", [None, "old"])
async def test_one_key_needs_no_id(kid: str | None, client: httpx.AsyncClient, provider: Provider) -> None:
    provider.keys = [public_jwk(OLD, kid)]
    assert await status(client, token(OLD)) == 200
    assert "signature" in await refused(client, token(NEW))
    assert "not accepted" in await refused(client, token(CURVE))


async def test_several_keys_need_one(client: httpx.AsyncClient, provider: Provider) -> None:
    """As OpenID Connect Core says (10.1)."""
    assert "does not have" in await refused(client, token(OLD))
    assert "does not have" in await refused(client, token(CURVE))
    assert await status(client, token(OLD, "old")) == 200
    assert provider.requests == 1
