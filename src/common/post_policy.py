"""Forms signed with AWS Signature Version 4 ("presigned POST"), made and verified.

Source: AWS, "Browser-Based Uploads Using POST (AWS Signature Version 4)" in the S3 API reference. Of the policy
language there is only what our forms need: one value for each field, and a range for the file's length.
"""

import base64
import datetime as dt
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, NamedTuple

import msgspec

from .errors import FieldError, InvalidRequest, LinkExpired, SignatureInvalid
from .sigv4 import ALGORITHM, CLOCK_SKEW, TIME_FORMAT, Credentials, scope_of, sign

_EXPIRATION_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_RANGE = "content-length-range"
_OF_SIGNATURE = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
_NOT_IN_POLICY = ("policy", "x-amz-signature", "file")
_IGNORED = "x-ignore-"


class AllowedUpload(NamedTuple):
    """What a form that may be followed stores: a file of `low` to `high` bytes."""

    key: str
    content_type: str
    low: int
    high: int


class _Policy(msgspec.Struct):
    expiration: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    conditions: list[dict[str, str] | tuple[str, int, int]]


_decode = msgspec.json.Decoder(_Policy).decode


def sign_form(
    *,
    bucket: str,
    key: str,
    content_type: str,
    size: int,
    credentials: Credentials,
    region: str,
    now: dt.datetime,
    expires_at: dt.datetime,
) -> dict[str, str]:
    """Return the fields, in order, of a form that stores a file of exactly `size` bytes: to the byte as botocore."""
    time = now.astimezone(dt.UTC).strftime(TIME_FORMAT)
    scope = scope_of(time, region)
    signed_with = {
        "x-amz-algorithm": ALGORITHM,
        "x-amz-credential": f"{credentials.access_key_id}/{scope}",
        "x-amz-date": time,
    }
    if credentials.session_token:
        signed_with["x-amz-security-token"] = credentials.session_token
    exact = {"bucket": bucket, "key": key, **signed_with}
    document = {
        "expiration": expires_at.astimezone(dt.UTC).strftime(_EXPIRATION_FORMAT),
        "conditions": [
            {"Content-Type": content_type},
            [_RANGE, size, size],
            *({name: value} for name, value in exact.items()),
        ],
    }
    policy = base64.b64encode(json.dumps(document).encode()).decode()
    signature = sign(credentials.secret_access_key, scope, policy)
    return {"key": key, "Content-Type": content_type, **signed_with, "policy": policy, "x-amz-signature": signature}


def verify_form(
    fields: Iterable[tuple[str, str]],
    *,
    bucket: str,
    secret_for: Callable[[str], str | None],
    region: str,
    now: dt.datetime,
) -> AllowedUpload:
    """Check the fields that stand before the file.

    Raises SignatureInvalid or LinkExpired; InvalidRequest where fields are missing or are no signature at all, which
    S3 tells from a wrong one too.
    """
    values = _by_name(fields)
    started, access_key_id, scope = _signature_fields(values, region)
    secret = secret_for(access_key_id)
    if secret is None:
        raise SignatureInvalid("The form is not one that this service has signed.")
    expected = sign(secret, scope, values["policy"])
    if not hmac.compare_digest(values["x-amz-signature"].encode(), expected.encode()):
        raise SignatureInvalid("The form's signature does not match its policy.")
    policy = _decoded(values["policy"])
    if now >= policy.expiration:
        raise LinkExpired("The form has expired. Ask for a new one.")
    if started > now + CLOCK_SKEW:
        raise SignatureInvalid("The form is signed for a time that has not come.")
    if values.setdefault("bucket", bucket) != bucket:
        raise SignatureInvalid("The form is for another bucket.")
    low, high = _checked(policy, values)
    return AllowedUpload(values["key"], values["content-type"], low, high)


def _by_name(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the values by name, which has no case. A repeated field's values are joined, and so are not as signed."""
    values: dict[str, str] = {}
    for given, value in fields:
        name = given.lower()
        if not name.startswith(_IGNORED):
            values[name] = f"{values[name]},{value}" if name in values else value
    return values


def _signature_fields(values: Mapping[str, str], region: str) -> tuple[dt.datetime, str, str]:
    """Return when the form was signed, with which key, and the scope."""
    if values.get("key") and not any(name in values for name in _OF_SIGNATURE):
        raise SignatureInvalid("The form is not signed.")
    missing = [name for name in ("key", "policy", *_OF_SIGNATURE) if not values.get(name)]
    if missing:
        raise InvalidRequest.of(*(FieldError(name, "wants to stand in the form, before the file") for name in missing))
    if values["x-amz-algorithm"] != ALGORITHM:
        raise InvalidRequest.field("x-amz-algorithm", f"wants {ALGORITHM}")
    time = values["x-amz-date"]
    try:
        started = dt.datetime.strptime(time, TIME_FORMAT).replace(tzinfo=dt.UTC)
    except ValueError:
        raise InvalidRequest.field("x-amz-date", "wants a moment such as 20260131T093000Z") from None
    access_key_id, _, scope = values["x-amz-credential"].partition("/")
    if scope != scope_of(time, region):
        raise InvalidRequest.field("x-amz-credential", "wants the scope of the date, of this region, and of s3")
    return started, access_key_id, scope


def _decoded(policy: str) -> _Policy:
    try:
        return _decode(base64.b64decode(policy, validate=True))
    except (ValueError, msgspec.DecodeError):
        raise SignatureInvalid("The form's policy is not one that this service makes.") from None


def _checked(policy: _Policy, values: Mapping[str, str]) -> tuple[int, int]:
    """Return the range of the file's length, if each field has the value that a condition names, and each its field."""
    ranges = [condition for condition in policy.conditions if isinstance(condition, tuple)]
    exact = [item for condition in policy.conditions if isinstance(condition, dict) for item in condition.items()]
    wanted = [(name.lower(), value) for name, value in exact]
    actual = {name: value for name, value in values.items() if name not in _NOT_IN_POLICY}
    wrong = {name for name, value in wanted if actual.get(name) != value}
    wrong |= actual.keys() - {name for name, _ in wanted}
    if wrong:
        raise SignatureInvalid(f"The form's fields are not as they were signed: {', '.join(sorted(wrong))}.")
    if len(ranges) != 1 or ranges[0][0] != _RANGE or "content-type" not in actual:
        raise SignatureInvalid("The form's policy is not one that this service makes.")
    return ranges[0][1:]
