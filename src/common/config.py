"""Settings: defaults -> environment -> validated -> frozen."""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from .errors import ConfigurationError

# Visible ASCII but for some; ranges up to Unicode's end would take milliseconds to compile.
_URL = re.compile(r"https?://[!\"$&->@-\[\]-~]+")
_JWKS_URL = re.compile(r"https?://[!\"$-\[\]-~]+")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_PEM = re.compile("----[- ]BEGIN ")
_SSH = ("ssh-", "ecdsa-")
MAX_DIGITS = 15  # more than any setting needs, and few enough for int()


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(" or ".join(choices))
        return text

    return parse


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and low <= int(text) <= high):
            raise ValueError(f"an integer from {low} to {high}")
        return int(text)

    return parse


def _endpoint(text: str) -> str:
    wanted = ValueError("a URL such as https://images.example.com, in ASCII and without user, query or fragment")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise wanted from None
    if not _URL.fullmatch(text) or not url.hostname or port == 0 or "@" in url.netloc:
        raise wanted
    return text.rstrip("/")


def _jwks_url(text: str) -> str:
    wanted = ValueError(
        "a URL such as https://login.example.com/.well-known/jwks.json; http only to a host of your own network"
    )
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
        is_own = url.scheme == "http" and _is_own_network(host)
    except ValueError:
        raise wanted from None
    is_url = _JWKS_URL.fullmatch(text) and host and port != 0 and not set(url.netloc) & set("@%")
    if not is_url or not (url.scheme == "https" or is_own):
        raise wanted
    return text


def _is_own_network(host: str) -> bool:
    """Tell whether nobody outside can answer for the host: a name without a dot, or a private address."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(","))
    if origins != ("*",) and not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("* or comma-separated origins such as https://app.example.com, without a path")
    return origins


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("a region such as us-east-1")
    return text


def _keys(length: int) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        keys = tuple(key.strip() for key in text.split(","))
        if any(len(key) < length for key in keys):
            raise ValueError(f"comma-separated keys of at least {length} characters each")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("keys in UTF-8") from None
        return keys

    return parse


def _secrets(length: int) -> Callable[[str], tuple[str, ...]]:
    parse_keys = _keys(length)

    def parse(text: str) -> tuple[str, ...]:
        secrets = parse_keys(text)
        # What could be public is none; and HS256 is refused with it (RFC 8725, 2.1).
        if any(_PEM.search(secret) or secret.startswith(_SSH) for secret in secrets):
            raise ValueError("secrets, and no public or private key (PEM or SSH)")
        return secrets

    return parse


class Variable(NamedTuple):
    """One environment variable. An empty default means unset."""

    name: str
    field: str
    default: str
    parse: Callable[[str], Any]
    help: str
    secret: bool = False


VARIABLES = (
    Variable(
        "STORAGE",
        "storage",
        "local",
        _choice("local", "aws"),
        "Where images live: `local` (files and SQLite) or `aws` (S3 and DynamoDB)",
    ),
    Variable("DATA_DIR", "data_dir", "./data", Path, "The directory that holds everything"),
    Variable("HOST", "host", "127.0.0.1", str, "The address to listen on"),
    Variable("PORT", "port", "8000", _integer(0, 65_535), "The port to listen on; 0 takes a free one"),
    Variable("WORKERS", "workers", "1", _integer(1, 64), "Server processes"),
    Variable(
        "PRESIGNED_URL_EXPIRATION",
        "presigned_url_expiration",
        "3600",
        _integer(1, 604_800),
        "Seconds that a link works when the request does not say",
    ),
    Variable("MAX_IMAGE_SIZE", "max_image_size", "10485760", _integer(1, 1 << 30), "Bytes that one image may have"),
    Variable(
        "MAX_IMAGE_PIXELS",
        "max_image_pixels",
        "50000000",
        _integer(1, 1 << 31),
        "Pixels that one image may have: width × height × frames",
    ),
    Variable("BUCKET_NAME", "bucket_name", "image-service-bucket", str, "aws: the bucket"),
    Variable("TABLE_NAME", "table_name", "image-metadata", str, "aws: the table"),
    Variable(
        "USE_LOCALSTACK",
        "use_localstack",
        "",
        _choice("1"),
        "`1`: aws at `http://localhost:4566`, with the credentials `test` where none are set",
    ),
    Variable("AWS_ENDPOINT_URL", "endpoint", "", _endpoint, "aws: the endpoint of S3 and DynamoDB, if not AWS's own"),
    Variable("AWS_ENDPOINT_URL_S3", "s3_endpoint", "", _endpoint, "aws: the endpoint of S3 alone"),
    Variable("AWS_ENDPOINT_URL_DYNAMODB", "dynamodb_endpoint", "", _endpoint, "aws: the endpoint of DynamoDB alone"),
    Variable("AWS_ACCESS_KEY_ID", "access_key_id", "", str, "aws: credentials, as Lambda sets them"),
    Variable("AWS_SECRET_ACCESS_KEY", "secret_access_key", "", str, "aws: credentials", secret=True),
    Variable("AWS_SESSION_TOKEN", "session_token", "", str, "aws: of temporary credentials", secret=True),
    Variable("AWS_DEFAULT_REGION", "region", "us-east-1", _region, "The region that signatures are made for"),
    Variable(
        "S3_PUBLIC_ENDPOINT",
        "public_endpoint",
        "",
        _endpoint,
        "The URL under which clients reach the objects, used in links; unset: as the request reached us, "
        "or the endpoint of S3",
    ),
    Variable(
        "URL_SIGNING_KEYS",
        "url_signing_keys",
        "",
        _keys(16),
        "Comma-separated keys for links: the first signs, all verify; unset: one is made and kept, in `DATA_DIR` or "
        "in the table",
        secret=True,
    ),
    Variable(
        "AUTH_SECRET",
        "auth_secret",
        "",
        _secrets(32),  # RFC 7518, 3.2: as long as the hash
        "Ask for tokens, signed with this (HS256): comma-separated secrets, the first makes tokens, all verify",
        secret=True,
    ),
    Variable(
        "AUTH_JWKS_URL",
        "auth_jwks_url",
        "",
        _jwks_url,
        "Ask for tokens of an OpenID Connect provider (RS256, ES256): where its keys are; wants the next two",
    ),
    Variable("AUTH_ISSUER", "auth_issuer", "", str, "The `iss` that tokens must have"),
    Variable("AUTH_AUDIENCE", "auth_audience", "", str, "The `aud` that tokens must have"),
    Variable(
        "ALLOW_ANONYMOUS",
        "allow_anonymous",
        "",
        _choice("1", "localhost"),
        "`1`: without tokens, listen on an address that is not loopback although anybody who reaches it may do "
        "everything; `localhost`: the same, for a container whose port is published on loopback: requests to other "
        "host names are refused",
    ),
    Variable(
        "CORS_ALLOW_ORIGINS",
        "cors_allow_origins",
        "",
        _origins,
        "Comma-separated origins of web sites whose pages may call the API, or `*`; unset: none",
    ),
    Variable(
        "RATE_LIMIT",
        "rate_limit",
        "",
        _integer(0, 1_000_000),
        "Requests a second that one caller may make in the long run, 0 for any number; unset: 100 where tokens are "
        "asked for. Each server process counts for itself",
    ),
    Variable("RATE_BURST", "rate_burst", "200", _integer(1, 1_000_000), "Requests that one caller may make at once"),
    Variable(
        "MAX_CONCURRENT_UPLOADS",
        "max_concurrent_uploads",
        "",
        _integer(0, 1_000_000),
        "Uploads that one caller may have under way, 0 for any number; unset: 16 where tokens are asked for. Each "
        "server process counts for itself",
    ),
    Variable(
        "QUOTA_IMAGES", "quota_images", "", _integer(0, 1 << 39), "Images that one user may have; unset: any number"
    ),
    Variable(
        "QUOTA_BYTES",
        "quota_bytes",
        "",
        _integer(0, 1 << 49),
        "Bytes that the originals of one user may have; unset: any number",
    ),
    Variable(
        "LOG_LEVEL", "log_level", "INFO", _choice("DEBUG", "INFO", "WARNING", "ERROR"), "The least level that is logged"
    ),
    Variable(
        "METRICS",
        "metrics",
        "on",
        _choice("on", "off"),
        "Whether the server has `/metrics`, and a Lambda function writes metrics for CloudWatch: `on` or `off`",
    ),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment says, validated."""

    storage: str
    data_dir: Path
    host: str
    port: int
    workers: int
    presigned_url_expiration: int
    max_image_size: int
    max_image_pixels: int
    bucket_name: str
    table_name: str
    use_localstack: str | None
    endpoint: str | None
    s3_endpoint: str | None
    dynamodb_endpoint: str | None
    access_key_id: str | None
    secret_access_key: str | None
    session_token: str | None
    region: str
    public_endpoint: str | None
    url_signing_keys: tuple[str, ...] | None
    auth_secret: tuple[str, ...] | None
    auth_jwks_url: str | None
    auth_issuer: str | None
    auth_audience: str | None
    allow_anonymous: str | None
    cors_allow_origins: tuple[str, ...] | None
    rate_limit: int | None
    rate_burst: int
    max_concurrent_uploads: int | None
    quota_images: int | None
    quota_bytes: int | None
    log_level: str
    metrics: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raise ConfigurationError that says the variable's name, what it got and what it wants."""
        values: dict[str, Any] = {variable.field: _read(variable, environment) for variable in VARIABLES}
        _check_together(values)
        return cls(**values)

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who they are."""
        return self.auth_secret is None and self.auth_jwks_url is None

    @property
    def is_measured(self) -> bool:
        return self.metrics == "on"

    @property
    def is_local(self) -> bool:
        """Whether it is for those on this machine alone."""
        return self.is_open and self.allow_anonymous != "1"


def _check_together(values: Mapping[str, Any]) -> None:
    if values["auth_jwks_url"] and values["auth_secret"]:
        raise ConfigurationError("AUTH_SECRET, AUTH_JWKS_URL: got both, wants one of them")
    for name in ("auth_issuer", "auth_audience"):
        if values["auth_jwks_url"] and not values[name]:
            raise ConfigurationError(f"{name.upper()}: got nothing, wants what tokens have, since AUTH_JWKS_URL is set")
        if values[name] and not (values["auth_jwks_url"] or values["auth_secret"]):
            # Whoever sets it believes that tokens are asked for.
            raise ConfigurationError(f"AUTH_SECRET, AUTH_JWKS_URL: got neither, wants one since {name.upper()} is set")


def _read(variable: Variable, environment: Mapping[str, str]) -> object:
    text = environment.get(variable.name) or variable.default
    if not text:
        return None
    try:
        return variable.parse(text)
    except ValueError as error:
        got = "a value that is not shown" if variable.secret else repr(text)
        raise ConfigurationError(f"{variable.name}: got {got}, wants {error}") from None
