"""AWS Signature Version 4 in the query: against AWS's published example, against botocore, and against tampering."""

import datetime as dt
import string
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any
from unittest.mock import patch
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from src.common.errors import LinkExpired, SignatureInvalid
from src.common.sigv4 import CLOCK_SKEW, LONGEST_LIFE, Credentials, PresignedUrl, presign, verify

KEY = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
TEMPORARY_KEY = Credentials("ASIAIOSFODNN7EXAMPLE", "secret", "a session/token+with=signs~and ünicode")
REGION = "us-east-1"
NOW = dt.datetime(2013, 5, 24, tzinfo=dt.UTC)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
INSTANT = dt.timedelta(microseconds=1)
ORIGIN = "http://images.example.com:8000"
PATH = "/objects/a b/ü+~%.jpg"
DISPOSITION = {"response-content-disposition": "inline; filename=\"a b.jpg\"; filename*=UTF-8''%C3%BC+~"}
URL_LEGAL = string.ascii_letters + string.digits + "-._~:/?#[]@!$&'()*+,;=%"


def signed(path: str = PATH, **options: Any) -> PresignedUrl:
    defaults: dict[str, Any] = {
        "credentials": KEY,
        "region": REGION,
        "now": NOW,
        "expires_in": 600,
        "parameters": DISPOSITION,
    }
    return presign("GET", options.pop("origin", ORIGIN), path, **{**defaults, **options})


def check(target: str, **options: Any) -> Mapping[str, str]:
    """Verify `path?query` as a server gets it."""
    path, _, query = target.partition("?")
    defaults: dict[str, Any] = {
        "method": "GET",
        "host": urlsplit(ORIGIN).netloc,
        "secret_for": {key.access_key_id: key.secret_access_key for key in (KEY, TEMPORARY_KEY)}.get,
        "region": REGION,
        "now": NOW,
    }
    return verify(path=path, query=query, **{**defaults, **options}).parameters


def target_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def refused(target: str, **options: Any) -> bool:
    try:
        check(target, **options)
    except SignatureInvalid:
        return True
    return False


def by_botocore(
    path: str,
    parameters: Mapping[str, str],
    *,
    key: Credentials = KEY,
    service: str = "s3",
    region: str = REGION,
    expires_in: int | str = 600,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> str:
    """Return the URL that botocore signs at NOW."""
    request = AWSRequest(
        method=method, url=ORIGIN + quote(path, safe="/-_.~"), params=dict(parameters), headers=dict(headers or {})
    )
    credentials = BotocoreCredentials(key.access_key_id, key.secret_access_key, key.session_token)
    with patch("botocore.auth.get_current_datetime", lambda *_, **__: NOW):
        S3SigV4QueryAuth(credentials, service, region, expires=expires_in).add_auth(request)
    return request.url


def taken_apart(url: str) -> tuple[str, list[str]]:
    address, _, query = url.partition("?")
    return address, sorted(query.split("&"))


def test_the_example_that_aws_publishes() -> None:
    """S3 API reference, "Authenticating Requests: Using Query Parameters", its example to the letter."""
    url, expires_at = presign(
        "GET",
        "https://examplebucket.s3.amazonaws.com",
        "/test.txt",
        credentials=KEY,
        region=REGION,
        now=NOW,
        expires_in=86_400,
    )
    assert taken_apart(url) == taken_apart(
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    assert expires_at == dt.datetime(2013, 5, 25, tzinfo=dt.UTC)


parameter_texts = st.text(max_size=12) | st.text(alphabet=" /+~%&=;?#ü€'\"", max_size=12)
# The names that begin so are the signature's own.
parameter_names = parameter_texts.filter(lambda name: name and not name.startswith("X-Amz-"))
parameter_sets = st.dictionaries(parameter_names, parameter_texts, max_size=4)


@pytest.mark.parametrize("key", [KEY, TEMPORARY_KEY], ids=["lasting", "temporary"])
@settings(deadline=None)
@given(path=parameter_texts, parameters=parameter_sets)
def test_signs_like_botocore(key: Credentials, path: str, parameters: dict[str, str]) -> None:
    """The same URL but for the order of parameters, for any path, parameters and kind of credentials."""
    ours = signed(f"/{path}", credentials=key, parameters=parameters).url
    assert taken_apart(ours) == taken_apart(by_botocore(f"/{path}", parameters, key=key))


@settings(deadline=None)
@given(path=parameter_texts, parameters=parameter_sets)
def test_accepts_what_botocore_signs(path: str, parameters: dict[str, str]) -> None:
    """What an independent client signs is accepted, and its own parameters come back."""
    assert check(target_of(by_botocore(f"/{path}", parameters, key=TEMPORARY_KEY))) == parameters


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://images.example.com:80", "images.example.com"),
        ("https://images.example.com:443", "images.example.com"),
        ("http://images.example.com:443", "images.example.com:443"),
        ("https://[::1]:8443", "[::1]:8443"),
        ("http://Images.Example.COM:8000", "images.example.com:8000"),
    ],
)
def test_signs_the_host_that_clients_send(origin: str, host: str) -> None:
    """Clients leave out a scheme's own port, and browsers write host names in lower case; so does botocore."""
    url = signed(origin=origin).url
    assert urlsplit(url).netloc.lower() == host
    assert check(target_of(url), host=host) == DISPOSITION


def test_a_host_is_the_same_in_capitals() -> None:
    """Host names have no case (RFC 9110, 4.2.3): a client that sends it in capitals follows the same link."""
    assert check(target_of(signed().url), host="IMAGES.Example.com:8000") == DISPOSITION


@settings(deadline=None)
@given(microseconds=st.integers(10**12, 10**17), hours=st.integers(-23, 23))
def test_expires_when_it_says(microseconds: int, hours: int) -> None:
    """Whatever the clock's zone and fraction: accepted to the last microsecond before `expires_at`, refused at it."""
    now = (EPOCH + microseconds * INSTANT).astimezone(dt.timezone(dt.timedelta(hours=hours)))
    link = signed(now=now, expires_in=LONGEST_LIFE)
    target = target_of(link.url)
    assert check(target, now=link.expires_at - INSTANT) == DISPOSITION
    with pytest.raises(LinkExpired):
        check(target, now=link.expires_at)


def test_a_clock_may_be_fifteen_minutes_off() -> None:
    """A link dated ahead of our clock is accepted within 15 minutes, as S3 does, and not beyond."""
    target = target_of(signed().url)
    assert check(target, now=NOW - CLOCK_SKEW) == DISPOSITION
    assert refused(target, now=NOW - CLOCK_SKEW - INSTANT)


def test_any_changed_byte_is_refused() -> None:
    """Every byte of path and query, changed to every other byte that a URL may hold."""
    target = target_of(signed().url)
    accepted = [
        changed
        for i, original in enumerate(target)
        for byte in URL_LEGAL
        if byte != original and not refused(changed := target[:i] + byte + target[i + 1 :])
    ]
    assert accepted == []


def test_any_left_out_doubled_or_swapped_byte_is_refused() -> None:
    target = target_of(signed().url)
    mutants = {target[:i] + target[i + 1 :] for i in range(len(target))}
    mutants |= {target[:i] + target[i] + target[i:] for i in range(len(target))}
    mutants |= {target[:i] + target[i + 1] + target[i] + target[i + 2 :] for i in range(len(target) - 1)}
    assert [mutant for mutant in mutants - {target} if not refused(mutant)] == []


def pairs() -> tuple[str, list[str]]:
    path, _, query = target_of(signed().url).partition("?")
    return path, query.split("&")


@pytest.mark.parametrize("index", range(7))
def test_a_removed_or_repeated_parameter_is_refused(index: int) -> None:
    path, all_pairs = pairs()
    assert len(all_pairs) == 7  # all of them are tried
    assert refused(f"{path}?{'&'.join(all_pairs[:index] + all_pairs[index + 1 :])}")
    assert refused(f"{path}?{'&'.join([*all_pairs, all_pairs[index]])}")
    # Of two values a careless reader would take the other one.
    name = all_pairs[index].partition("=")[0]
    assert refused(f"{path}?{'&'.join([*all_pairs, f'{name}=other'])}")
    assert refused(f"{path}?{'&'.join([f'{name}=other', *all_pairs])}")


@pytest.mark.parametrize(
    "added",
    ["a=b", "a=", "a", "", "=", "response-content-type=text%2Fhtml", "X-Amz-Signature=", "x-amz-expires=600"],
)
def test_an_added_parameter_is_refused(added: str) -> None:
    target = target_of(signed().url)
    path, _, query = target.partition("?")
    assert refused(f"{target}&{added}")
    assert refused(f"{path}?{added}&{query}")


def test_parameters_may_come_in_any_order() -> None:
    """The canonical request sorts them, so the order is not signed."""
    path, all_pairs = pairs()
    random = Random(1)
    for _ in range(20):
        random.shuffle(all_pairs)
        assert check(f"{path}?{'&'.join(all_pairs)}") == DISPOSITION


@pytest.mark.parametrize(
    "expires_in", ["0", "604801", "999999", "1000000", "-5", "+5", " 5", "5.0", "1e3", "abc", "", "٥"]
)
def test_a_life_out_of_bounds_is_refused(expires_in: str) -> None:
    """Even signed with the right key."""
    assert refused(target_of(by_botocore(PATH, {}, expires_in=expires_in)))


def variants() -> Iterator[tuple[str, str, dict[str, Any]]]:
    target = target_of(signed().url)
    yield "signed for another region", target_of(by_botocore(PATH, {}, region="eu-west-1")), {}
    yield "signed for another service", target_of(by_botocore(PATH, {}, service="sqs")), {}
    yield "signed for another method", target_of(by_botocore(PATH, {}, method="PUT")), {}
    yield "signed with more headers", target_of(by_botocore(PATH, {}, headers={"x-amz-meta-a": "b"})), {}
    yield "signed by a stranger", target_of(signed(credentials=Credentials("stranger", "x")).url), {}
    yield "signed with another secret", target_of(signed(credentials=KEY._replace(secret_access_key="x")).url), {}
    yield "another algorithm", target.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), {}
    yield "another method", target, {"method": "DELETE"}
    yield "another host", target, {"host": "images.example.org:8000"}
    yield "another port", target, {"host": "images.example.com"}
    yield "no host", target, {"host": ""}
    yield "another region", target, {"region": "eu-west-1"}
    yield "the signature in capitals", target[:-64] + target[-64:].upper(), {}
    yield "no query", target.partition("?")[0], {}


@pytest.mark.parametrize(("target", "options"), [pytest.param(*rest, id=name) for name, *rest in variants()])
def test_what_is_signed_for_something_else_is_refused(target: str, options: dict[str, Any]) -> None:
    assert refused(target, **options)


@pytest.mark.parametrize(
    ("spelling", "other"),
    [
        ("%2F", "%2f"),  # an escape in lower case
        ("%2Fs3%2F", "/s3/"),  # an escape left out
        ("X-Amz-Date", "X-Amz-Dat%65"),  # an unreserved character escaped, in a name,
        ("=600&", "=%3600&"),  # in a value
        ("/objects/", "/%6Fbjects/"),  # and in the path
        ("%20b.jpg", "+b.jpg"),  # as HTML forms write a space
        ("~%25.jpg", "%7E%25.jpg"),
        ("%C3%BC%2B~", "%C3%BC+~"),
        ("/objects/", "//objects/"),
        ("/objects/", "/./objects/"),
        ("/objects/", "/x/../objects/"),
    ],
)
def test_another_spelling_of_the_same_is_refused(spelling: str, other: str) -> None:
    target = target_of(signed().url)
    assert spelling in target
    assert refused(target.replace(spelling, other, 1))


raw = st.binary(max_size=60).map(lambda data: data.decode("latin-1"))


@settings(deadline=None, max_examples=300)
@given(path=st.text() | raw, query=st.text() | raw, host=st.text() | raw, method=st.text())
def test_garbage_is_refused(path: str, query: str, host: str, method: str) -> None:
    """Nothing but SignatureInvalid comes out, whatever comes in."""
    with pytest.raises(SignatureInvalid):
        verify(method, path, query, host, secret_for={}.get, region=REGION, now=NOW)


@settings(deadline=None, max_examples=300)
@given(index=st.integers(0, 6), value=st.text() | raw | st.from_regex(r"[0-9]{8}T[0-9]{6}Z"))
def test_garbage_in_one_parameter_is_refused(index: int, value: str) -> None:
    path, all_pairs = pairs()
    name, _, before = all_pairs[index].partition("=")
    if (encoded := quote(value, safe="-_.~")) != before:
        all_pairs[index] = f"{name}={encoded}"
        assert refused(f"{path}?{'&'.join(all_pairs)}")
