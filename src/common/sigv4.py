"""AWS Signature Version 4 in the query string ("presigned URLs"), made and verified.

Source: AWS, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)" in the S3 API reference.
Only the `host` header is signed, and the payload is not (`UNSIGNED-PAYLOAD`), as S3 clients do.
"""

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from .errors import LinkExpired, SignatureInvalid

ALGORITHM = "AWS4-HMAC-SHA256"
LONGEST_LIFE = 604_800  # seconds: what S3 allows
CLOCK_SKEW = dt.timedelta(minutes=15)
TIME_FORMAT = "%Y%m%dT%H%M%SZ"
LONGEST_KEPT = 200  # characters of a text whose encoding is kept
_INTEGER = re.compile(r"[0-9]{1,6}")


class Credentials(NamedTuple):
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires_at: dt.datetime | None = None  # of temporary ones, where that is known


class Verified(NamedTuple):
    """What a URL that may be followed says: its own parameters, and the moment from which it is refused."""

    parameters: Mapping[str, str]
    expires_at: dt.datetime


class PresignedUrl(NamedTuple):
    """A URL and the moment from which it is refused."""

    url: str
    expires_at: dt.datetime


def presign(
    method: str,
    origin: str,
    path: str,
    *,
    credentials: Credentials,
    region: str,
    now: dt.datetime,
    expires_in: int,
    parameters: Mapping[str, str] | None = None,
) -> PresignedUrl:
    """Sign `origin + path` (`http://host:port`, and the unencoded path) for `expires_in` seconds from `now`."""
    scheme, _, host = origin.partition("://")
    host = host_header(scheme, host)
    started = now.astimezone(dt.UTC).replace(microsecond=0)
    time = _written(started)
    scope = scope_of(time, region)
    pairs = [(_encode(name), _encode(value)) for name, value in (parameters or {}).items()]
    pairs += _own_pairs(credentials.access_key_id, credentials.session_token, scope, time, expires_in)
    encoded_path = quote(path, safe="/-_.~")
    canonical_query = "&".join([f"{name}={value}" for name, value in sorted(pairs)])
    signature = _signature(
        credentials.secret_access_key, time, scope, _canonical_request(method, encoded_path, canonical_query, host)
    )
    return PresignedUrl(
        f"{scheme}://{host}{encoded_path}?{canonical_query}&X-Amz-Signature={signature}",
        started + dt.timedelta(seconds=expires_in),
    )


def verify(
    method: str,
    path: str,
    query: str,
    host: str,
    *,
    secret_for: Callable[[str], str | None],
    region: str,
    now: dt.datetime,
) -> Verified:
    """Check a presigned URL, taken apart but still percent-encoded.

    The URL must be spelt exactly as `presign` spells it: another spelling of the same is refused too, so that every
    changed byte is. Raises SignatureInvalid or LinkExpired.
    """
    values, unsigned = _taken_apart(path, query)
    signature = values.pop("X-Amz-Signature", "")
    time = values.get("X-Amz-Date", "")
    access_key_id, _, scope = values.get("X-Amz-Credential", "").partition("/")
    try:
        started = _read(time[:LONGEST_KEPT])
    except ValueError:
        raise SignatureInvalid("The link carries no valid X-Amz-Date.") from None
    expires_in = values.get("X-Amz-Expires", "")
    secret = secret_for(access_key_id)
    if (
        secret is None
        or values.get("X-Amz-Algorithm") != ALGORITHM
        or values.get("X-Amz-SignedHeaders") != "host"
        or scope != scope_of(time, region)
        or not _INTEGER.fullmatch(expires_in)
        or not 1 <= int(expires_in) <= LONGEST_LIFE
    ):
        raise SignatureInvalid("The link is not one that this service has signed.")
    expected = _signature(secret, time, scope, _canonical_request(method, path, unsigned, host.lower()))
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        raise SignatureInvalid("The link's signature does not match its address, method or parameters.")
    expires_at = started + dt.timedelta(seconds=int(expires_in))
    if now >= expires_at:
        raise LinkExpired("The link has expired. Ask for a new one.")
    if started > now + CLOCK_SKEW:
        raise SignatureInvalid("The link is signed for a time that has not come.")
    own = {name: value for name, value in values.items() if not name.startswith("X-Amz-")}
    return Verified(own, expires_at)


def _taken_apart(path: str, query: str) -> tuple[dict[str, str], str]:
    """Return the decoded parameters and the canonical query without the signature."""
    if quote(unquote(path), safe="/-_.~") != path:
        raise SignatureInvalid("The link's path is not spelt as it was signed.")
    values: dict[str, str] = {}
    unsigned = []
    for pair in query.split("&"):
        decoded = _decoded(pair) if len(pair) <= LONGEST_KEPT else _decoded.__wrapped__(pair)
        if decoded is None or decoded[0] in values:
            raise SignatureInvalid("The link's parameters are not spelt as they were signed.")
        values[decoded[0]] = decoded[1]
        if decoded[0] != "X-Amz-Signature":
            unsigned.append(pair)
    unsigned.sort(key=_name_of)
    return values, "&".join(unsigned)


@lru_cache(maxsize=1_024)  # but for the signature, most of them come again
def _decoded(pair: str) -> tuple[str, str] | None:
    """Return the decoded name and value, or None if they are not spelt as we spell them."""
    name, equals, value = pair.partition("=")
    decoded_name, decoded_value = unquote(name), unquote(value)
    if not equals or pair != f"{_encode(decoded_name)}={_encode(decoded_value)}":
        return None
    return decoded_name, decoded_value


def _name_of(pair: str) -> str:
    return pair.partition("=")[0]


@lru_cache(maxsize=16)  # they are those of all links that are signed within a second
def _own_pairs(
    access_key_id: str, session_token: str | None, scope: str, time: str, expires_in: int
) -> tuple[tuple[str, str], ...]:
    own = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{access_key_id}/{scope}",
        "X-Amz-Date": time,
        "X-Amz-Expires": str(expires_in),
        "X-Amz-SignedHeaders": "host",
    }
    if session_token:
        own["X-Amz-Security-Token"] = session_token
    return tuple((name, _encode(value)) for name, value in own.items())


def _canonical_request(method: str, encoded_path: str, canonical_query: str, host: str) -> str:
    return f"{method}\n{encoded_path}\n{canonical_query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"


def _signature(secret: str, time: str, scope: str, canonical_request: str) -> str:
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    return sign(secret, scope, f"{ALGORITHM}\n{time}\n{scope}\n{digest}")


def scope_of(time: str, region: str) -> str:
    """Return the credential scope of something signed at `time`, which is as TIME_FORMAT has it."""
    return f"{time[:8]}/{region}/s3/aws4_request"


def sign(secret: str, scope: str, string_to_sign: str) -> str:
    """Return the signature, in hex."""
    return _hmac(_signing_key(secret, scope), string_to_sign).hex()


@lru_cache(maxsize=16)
def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


@lru_cache(maxsize=1_024)
def _read(time: str) -> dt.datetime:
    return dt.datetime.strptime(time, TIME_FORMAT).replace(tzinfo=dt.UTC)


@lru_cache(maxsize=16)
def _written(moment: dt.datetime) -> str:
    return moment.strftime(TIME_FORMAT)


def _encode(text: str) -> str:
    """Percent-encode a parameter's name or value; most of them come again with every link."""
    return _encoded(text) if len(text) <= LONGEST_KEPT else quote(text, safe="-_.~")


@lru_cache(maxsize=1_024)
def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def host_header(scheme: str, host: str) -> str:
    """Return the Host header that clients send: in small letters, and without the scheme's own port."""
    return host.lower().removesuffix({"http": ":80", "https": ":443"}.get(scheme, ""))
