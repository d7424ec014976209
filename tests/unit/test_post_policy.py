"""Forms with AWS Signature Version 4: against AWS's published example, against botocore, and against tampering."""

import base64
import datetime as dt
import json
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from unittest.mock import patch

import botocore.session
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from src.common.errors import InvalidRequest, LinkExpired, LinkRefused, SignatureInvalid
from src.common.post_policy import AllowedUpload, sign_form, verify_form
from src.common.sigv4 import CLOCK_SKEW, Credentials, scope_of, sign

KEY = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
TEMPORARY_KEY = Credentials("ASIAIOSFODNN7EXAMPLE", "secret", "a session/token+with=signs")
REGION = "us-east-1"
BUCKET = "sigv4examplebucket"
OBJECT = "incoming/1a/a photo.png"
NOW = dt.datetime(2015, 12, 29, tzinfo=dt.UTC)
LIFE = dt.timedelta(hours=1)
INSTANT = dt.timedelta(microseconds=1)
ALLOWED = AllowedUpload(OBJECT, "image/png", 1234, 1234)

# AWS, S3 API reference, "Example: Browser-Based Upload using HTTP POST (Using AWS Signature Version 4)".
AWS_POLICY = """{ "expiration": "2015-12-30T12:00:00.000Z",
  "conditions": [
    {"bucket": "sigv4examplebucket"},
    ["starts-with", "$key", "user/user1/"],
    {"acl": "public-read"},
    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},
    ["starts-with", "$Content-Type", "image/"],
    {"x-amz-meta-uuid": "14365123651274"},
    {"x-amz-server-side-encryption": "AES256"},
    ["starts-with", "$x-amz-meta-tag", ""],

    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
    {"x-amz-date": "20151229T000000Z" }
  ]
}""".replace("\n", "\r\n")


def signed(**options: Any) -> dict[str, str]:
    defaults: dict[str, Any] = {
        "bucket": BUCKET,
        "key": OBJECT,
        "content_type": "image/png",
        "size": 1234,
        "credentials": KEY,
        "region": REGION,
        "now": NOW,
        "expires_at": NOW + LIFE,
    }
    return sign_form(**{**defaults, **options})


def check(fields: Mapping[str, str] | Iterable[tuple[str, str]], **options: Any) -> AllowedUpload:
    defaults: dict[str, Any] = {
        "bucket": BUCKET,
        "secret_for": {key.access_key_id: key.secret_access_key for key in (KEY, TEMPORARY_KEY)}.get,
        "region": REGION,
        "now": NOW,
    }
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    return verify_form(pairs, **{**defaults, **options})


def refused(fields: Mapping[str, str] | Iterable[tuple[str, str]], **options: Any) -> bool:
    try:
        check(fields, **options)
    except (InvalidRequest, LinkRefused):
        return True
    return False


def with_policy(change: Callable[[dict[str, Any]], object], fields: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a form whose policy is changed, and then signed with the right key."""
    fields = fields or signed()
    document = json.loads(base64.b64decode(fields["policy"]))
    change(document)
    return with_policy_text(json.dumps(document).encode(), fields)


def with_policy_text(text: bytes, fields: Mapping[str, str] | None = None) -> dict[str, str]:
    policy = base64.b64encode(text).decode()
    signature = sign(KEY.secret_access_key, scope_of("20151229T000000Z", REGION), policy)
    return {**(fields or signed()), "policy": policy, "x-amz-signature": signature}


def by_botocore(key: Credentials, **options: Any) -> dict[str, str]:
    """Return the fields that botocore signs at NOW."""
    client = botocore.session.get_session().create_client(
        "s3",
        region_name=REGION,
        config=Config(signature_version="s3v4"),
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        aws_session_token=key.session_token,
    )
    clocks = [patch(f"botocore.{module}.get_current_datetime", lambda *_, **__: NOW) for module in ("auth", "signers")]
    with clocks[0], clocks[1]:
        form = client.generate_presigned_post(BUCKET, **options)
    fields: dict[str, str] = form["fields"]
    return fields


def test_the_example_that_aws_publishes() -> None:
    """To the letter: its line ends are CRLF."""
    policy = base64.b64encode(AWS_POLICY.encode()).decode()
    signature = sign(KEY.secret_access_key, scope_of("20151229T000000Z", REGION), policy)
    assert signature == "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"


@pytest.mark.parametrize("key", [KEY, TEMPORARY_KEY], ids=["lasting", "temporary"])
@pytest.mark.parametrize("name", [OBJECT, "incoming/ü/€ \"quoted\" \\ and 'so'.png"])
def test_signs_like_botocore(key: Credentials, name: str) -> None:
    """The same fields, and so the same policy to the byte, for lasting and temporary credentials."""
    wanted = by_botocore(
        key,
        Key=name,
        Fields={"Content-Type": "image/png"},
        Conditions=[{"Content-Type": "image/png"}, ["content-length-range", 1234, 1234]],
        ExpiresIn=int(LIFE.total_seconds()),
    )
    assert signed(key=name, credentials=key) == wanted
    assert check(wanted) == ALLOWED._replace(key=name)


def test_accepts_a_range_that_botocore_signs() -> None:
    fields = by_botocore(
        KEY,
        Key=OBJECT,
        Fields={"Content-Type": "image/png"},
        Conditions=[["content-length-range", 1, 99], {"Content-Type": "image/png"}],
    )
    assert check(fields) == AllowedUpload(OBJECT, "image/png", 1, 99)


def test_the_fields_in_order() -> None:
    """The file has to come after them, the signature may as well be last."""
    assert [*signed()] == [
        "key",
        "Content-Type",
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "policy",
        "x-amz-signature",
    ]
    assert [*signed(credentials=TEMPORARY_KEY)][5] == "x-amz-security-token"


texts = st.text(max_size=20) | st.text(alphabet="\"\\/{}[]:,'$ ü€\0\r\n", max_size=9)


@settings(deadline=None)
@given(key=texts.filter(bool), content_type=texts, size=st.integers(0, 2**40), temporary=st.booleans())
def test_accepts_what_it_signs(key: str, content_type: str, size: int, temporary: bool) -> None:
    fields = signed(key=key, content_type=content_type, size=size, credentials=TEMPORARY_KEY if temporary else KEY)
    assert check(fields) == AllowedUpload(key, content_type, size, size)


def test_names_have_no_case_and_fields_no_order() -> None:
    fields = signed(credentials=TEMPORARY_KEY)
    assert check({name.upper(): value for name, value in fields.items()}) == ALLOWED
    assert check({name.title(): value for name, value in fields.items()}) == ALLOWED
    assert check(reversed(fields.items())) == ALLOWED


@pytest.mark.parametrize("name", ["x-ignore-a", "X-Ignore-", "file"])
def test_fields_that_no_policy_names(name: str) -> None:
    assert check({**signed(), name: "anything"}) == ALLOWED


def test_any_changed_byte_is_refused() -> None:
    """Every byte of every value, changed to every other printable one, left out, or doubled."""
    fields = signed(credentials=TEMPORARY_KEY)
    accepted = []
    for name, value in fields.items():
        alphabet = string.printable if name != "policy" else string.ascii_letters + string.digits + "+/=-_ "
        for i, original in enumerate(value):
            mutants = {value[:i] + byte + value[i + 1 :] for byte in alphabet if byte != original}
            mutants |= {value[:i] + value[i + 1 :], value[:i] + original + value[i:]}
            accepted += [(name, mutant) for mutant in mutants - {value} if not refused({**fields, name: mutant})]
    assert accepted == []


@pytest.mark.parametrize("name", signed(credentials=TEMPORARY_KEY))
def test_a_removed_repeated_or_renamed_field_is_refused(name: str) -> None:
    fields = signed(credentials=TEMPORARY_KEY)
    value = fields.pop(name)
    assert refused(fields)
    for other in (value, "other", ""):
        for one in (name, name.upper()):
            assert refused([(name, value), *fields.items(), (one, other)])
            assert refused([(one, other), (name, value), *fields.items()])
    assert refused({**fields, f"{name}x": value})


@pytest.mark.parametrize(
    "name",
    ["acl", "", "success_action_status", "x-amz-meta-a", "x-amz-security-token", "x-ignor", "filename", "signature"],
)
def test_an_added_field_is_refused(name: str) -> None:
    for value in ("", "a"):
        with pytest.raises(SignatureInvalid):
            check({**signed(), name: value})


def test_a_form_for_another_bucket_is_refused() -> None:
    for fields in (signed(bucket="another"), {**signed(bucket="another"), "bucket": "another"}):
        with pytest.raises(SignatureInvalid):
            check(fields)
    assert check({**signed(), "bucket": BUCKET}) == ALLOWED
    with pytest.raises(SignatureInvalid):
        check({**signed(), "bucket": "another"})


def test_what_is_signed_for_something_else_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        check(signed(credentials=KEY._replace(secret_access_key="another")))
    with pytest.raises(SignatureInvalid):
        check(signed(credentials=Credentials("stranger", "x")))
    for fields, options in ((signed(region="eu-west-1"), {}), (signed(), {"region": "eu-west-1"})):
        with pytest.raises(InvalidRequest) as raised:
            check(fields, **options)
        assert [error.field for error in raised.value.errors] == ["x-amz-credential"]


@pytest.mark.parametrize("name", ["key", "policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date"])
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_missing_is_named(name: str, value: str | None) -> None:
    """As S3 does, which tells a form that is no signed form from one that is signed wrongly."""
    fields = {**signed(), name: value or ""}
    if value is None:
        del fields[name]
    with pytest.raises(InvalidRequest) as raised:
        check(fields)
    assert [error.field for error in raised.value.errors] == [name]


def test_an_unsigned_form_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        check({"key": OBJECT, "Content-Type": "image/png"})
    with pytest.raises(InvalidRequest):
        check({})


def policies() -> Iterator[tuple[str, dict[str, str]]]:
    """What is signed with the right key, and yet is none of our forms."""
    range_ = ["content-length-range", 1234, 1234]

    def replaced(old: object, *new: object) -> dict[str, str]:
        def change(document: dict[str, Any]) -> None:
            i = document["conditions"].index(old)
            document["conditions"][i : i + 1] = new

        return with_policy(change)

    yield "no range", replaced(range_)
    yield "two ranges", replaced(range_, range_, ["content-length-range", 0, 10**9])
    yield "half a range", replaced(range_, range_[:2])
    yield "another operator", replaced(range_, ["content-length", 1234, 1234])
    yield "a range in words", replaced(range_, ["content-length-range", "a", "b"])
    yield "no bucket", replaced({"bucket": BUCKET})
    yield "no key", replaced({"key": OBJECT})
    yield "the beginning of a key", replaced({"key": OBJECT}, ["starts-with", "$key", "incoming/"])
    yield "any type", replaced({"Content-Type": "image/png"}, ["starts-with", "$Content-Type", ""])
    yield "no type", replaced({"Content-Type": "image/png"})
    yield "two keys", replaced({"key": OBJECT}, {"key": OBJECT}, {"KEY": "incoming/other.png"})
    yield "another key", replaced({"key": OBJECT}, {"key": "incoming/other.png"})
    yield "a field that is not there", replaced({"key": OBJECT}, {"key": OBJECT}, {"acl": "private"})
    yield "an empty field that is not there", replaced({"key": OBJECT}, {"key": OBJECT}, {"acl": ""})
    yield "a number for a value", replaced({"key": OBJECT}, {"key": OBJECT}, {"acl": 1})
    yield "no conditions", with_policy(lambda document: document.pop("conditions"))
    yield "no expiration", with_policy(lambda document: document.pop("expiration"))
    yield "no date for an expiration", with_policy(lambda document: document.update(expiration="never"))
    yield "no zone", with_policy(lambda document: document.update(expiration="2030-01-01T00:00:00"))
    yield "a list", with_policy_text(b"[]")
    yield "no JSON", with_policy_text(b"{")
    yield "no text", with_policy_text(b"\xff")
    yield (
        "no type in the form either",
        {name: value for name, value in replaced({"Content-Type": "image/png"}).items() if name != "Content-Type"},
    )


@pytest.mark.parametrize("fields", [pytest.param(fields, id=name) for name, fields in policies()])
def test_other_policies_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(SignatureInvalid):
        check(fields)


def test_the_tests_own_signature_is_right() -> None:
    assert check(with_policy(lambda document: None)) == ALLOWED


@settings(deadline=None)
@given(seconds=st.integers(1, 604_800), hours=st.integers(-23, 23))
def test_expires_when_it_says(seconds: int, hours: int) -> None:
    """Whatever the clock's zone: accepted to the last microsecond before, refused at it."""
    zone = dt.timezone(dt.timedelta(hours=hours))
    expires_at = (NOW + dt.timedelta(seconds=seconds)).astimezone(zone)
    fields = signed(now=NOW.astimezone(zone), expires_at=expires_at)
    assert check(fields, now=expires_at - INSTANT) == ALLOWED
    with pytest.raises(LinkExpired):
        check(fields, now=expires_at)


def test_a_clock_may_be_fifteen_minutes_off() -> None:
    assert check(signed(), now=NOW - CLOCK_SKEW) == ALLOWED
    with pytest.raises(SignatureInvalid):
        check(signed(), now=NOW - CLOCK_SKEW - INSTANT)


raw = st.binary(max_size=60).map(lambda data: data.decode("latin-1"))


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.sampled_from([*signed()]) | st.text(), st.text() | raw)))
def test_garbage_is_refused(fields: list[tuple[str, str]]) -> None:
    """Nothing but a refusal comes out, whatever comes in."""
    assert refused(fields)
    assert refused({**signed(), **dict(fields)}) or not {name.lower() for name, _ in fields} - {"file"}
