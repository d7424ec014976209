"""Settings: defaults -> environment -> validated -> frozen."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from .errors import ConfigurationError

_URL = re.compile(r"https?://[^\s%?#\\\x00-\x20\x7f-\U0010ffff]+")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
MAX_DIGITS = 12  # more than any setting needs, and few enough for int()


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


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("a region such as us-east-1")
    return text


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(","))
    if any(len(key) < 16 for key in keys):
        raise ValueError("comma-separated keys of at least 16 characters each")
    return keys


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
        _keys,
        "Comma-separated keys for links: the first signs, all verify; unset: one is made and kept, in `DATA_DIR` or "
        "in the table",
        secret=True,
    ),
    Variable(
        "ALLOW_ANONYMOUS",
        "allow_anonymous",
        "",
        _choice("1"),
        "`1`: listen on an address that is not loopback although anybody who reaches it may do everything",
    ),
    Variable(
        "LOG_LEVEL", "log_level", "INFO", _choice("DEBUG", "INFO", "WARNING", "ERROR"), "The least level that is logged"
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
    allow_anonymous: str | None
    log_level: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Raise ConfigurationError that says the variable's name, what it got and what it wants."""
        values: dict[str, Any] = {variable.field: _read(variable, environment) for variable in VARIABLES}
        return cls(**values)


def _read(variable: Variable, environment: Mapping[str, str]) -> object:
    text = environment.get(variable.name) or variable.default
    if not text:
        return None
    try:
        return variable.parse(text)
    except ValueError as error:
        got = "a value that is not shown" if variable.secret else repr(text)
        raise ConfigurationError(f"{variable.name}: got {got}, wants {error}") from None
