"""Settings: defaults, every bad value refused in one clear line, secrets kept."""

import traceback
from pathlib import Path

import pytest

from src.common.config import VARIABLES, Settings
from src.common.errors import ConfigurationError

DEFAULTS = {
    "storage": "local",
    "data_dir": Path("data"),
    "host": "127.0.0.1",
    "port": 8000,
    "workers": 1,
    "presigned_url_expiration": 3600,
    "max_image_size": 10_485_760,
    "max_image_pixels": 50_000_000,
    "bucket_name": "image-service-bucket",
    "table_name": "image-metadata",
    "use_localstack": None,
    "endpoint": None,
    "s3_endpoint": None,
    "dynamodb_endpoint": None,
    "access_key_id": None,
    "secret_access_key": None,
    "session_token": None,
    "region": "us-east-1",
    "public_endpoint": None,
    "url_signing_keys": None,
    "allow_anonymous": None,
    "log_level": "INFO",
}
KEY = "0123456789abcdef"
INTEGERS = {
    "PORT": (0, 65_535),
    "WORKERS": (1, 64),
    "PRESIGNED_URL_EXPIRATION": (1, 604_800),
    "MAX_IMAGE_SIZE": (1, 2**30),
    "MAX_IMAGE_PIXELS": (1, 2**31),
}
FIELD_OF = {variable.name: variable.field for variable in VARIABLES}


def refusal(name: str, value: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environment({name: value})
    return refused.value


def test_defaults() -> None:
    settings = Settings.from_environment({})
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    assert set(DEFAULTS) == set(Settings.__struct_fields__)


def test_every_variable_is_a_setting() -> None:
    """One each way, and each says what it is for."""
    assert sorted(FIELD_OF.values()) == sorted(Settings.__struct_fields__)
    assert len(FIELD_OF) == len(VARIABLES)
    assert all(variable.help for variable in VARIABLES)
    assert all(variable.name == variable.name.upper() for variable in VARIABLES)


def test_an_empty_value_is_an_unset_one() -> None:
    """As a compose file or a CI passes on what it does not have itself."""
    assert Settings.from_environment({variable.name: "" for variable in VARIABLES}) == Settings.from_environment({})


def test_only_its_own_variables_are_read() -> None:
    assert Settings.from_environment({"PATH": "/bin", "port": "1", "IMAGE_PORT": "1"}) == Settings.from_environment({})


def test_values() -> None:
    settings = Settings.from_environment(
        {
            "DATA_DIR": "/srv/images",
            "HOST": "0.0.0.0",
            "S3_PUBLIC_ENDPOINT": "https://images.example.com/files/",
            "URL_SIGNING_KEYS": f"{KEY}new, {KEY}old ",
            "ALLOW_ANONYMOUS": "1",
            "LOG_LEVEL": "DEBUG",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
    )
    assert settings.data_dir == Path("/srv/images")
    assert settings.host == "0.0.0.0"
    assert settings.public_endpoint == "https://images.example.com/files"
    assert settings.url_signing_keys == (f"{KEY}new", f"{KEY}old")
    assert settings.allow_anonymous == "1"
    assert settings.log_level == "DEBUG"
    assert settings.region == "eu-central-1"


@pytest.mark.parametrize("name", INTEGERS)
def test_the_bounds_of_integers(name: str) -> None:
    for bound in INTEGERS[name]:
        assert getattr(Settings.from_environment({name: str(bound)}), FIELD_OF[name]) == bound


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize(
    "kind", ["below", "above", "-1", "+1", " 1", "1.0", "1e3", "0x10", "1_000", "ten", "٣", "²", "long"]
)
def test_what_is_no_such_integer(name: str, kind: str) -> None:
    low, high = INTEGERS[name]
    value = {"below": str(low - 1), "above": str(high + 1), "long": "9" * 5_000}.get(kind, kind)
    assert str(refusal(name, value)) == f"{name}: got {value!r}, wants an integer from {low} to {high}"


@pytest.mark.parametrize(
    ("name", "value", "wants"),
    [
        ("STORAGE", "s3", "local or aws"),
        ("STORAGE", "LOCAL", "local or aws"),
        ("ALLOW_ANONYMOUS", "yes", "1"),
        ("ALLOW_ANONYMOUS", "0", "1"),
        ("LOG_LEVEL", "info", "DEBUG or INFO or WARNING or ERROR"),
        ("LOG_LEVEL", "TRACE", "DEBUG or INFO or WARNING or ERROR"),
    ],
)
def test_what_is_no_such_choice(name: str, value: str, wants: str) -> None:
    assert str(refusal(name, value)) == f"{name}: got {value!r}, wants {wants}"


@pytest.mark.parametrize(
    "value",
    [
        "images.example.com",
        "//images.example.com",
        "ftp://images.example.com",
        "https://",
        "https:///path",
        "https://images.example.com?a=b",
        "https://images.example.com#a",
        "http://[::1",
        "http://images.example.com:port",
        "http://images.example.com:65536",
    ],
)
def test_what_is_no_endpoint(value: str) -> None:
    """A mistake here would make every link a dead one, so it stops the start."""
    assert str(refusal("S3_PUBLIC_ENDPOINT", value)).startswith(
        f"S3_PUBLIC_ENDPOINT: got {value!r}, wants a URL such as "
    )


@pytest.mark.parametrize("value", ["short", f"{KEY},", f",{KEY}", f"{KEY},short", f"{KEY}, ,{KEY}", " " * 20])
def test_a_bad_key_is_refused_without_being_shown(value: str) -> None:
    """Neither in the message nor in a traceback's chain, which both end up in logs."""
    error = refusal("URL_SIGNING_KEYS", value)
    assert str(error) == (
        "URL_SIGNING_KEYS: got a value that is not shown, wants comma-separated keys of at least 16 characters each"
    )
    shown = "".join(traceback.format_exception(error))
    assert KEY not in shown
    assert "short" not in shown


def test_what_is_secret() -> None:
    secret = {variable.name for variable in VARIABLES if variable.secret}
    assert secret == {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "URL_SIGNING_KEYS"}


def test_settings_are_frozen() -> None:
    settings = Settings.from_environment({})
    for name in Settings.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(settings, name, getattr(settings, name))
