"""Settings: defaults, every bad value refused in one clear line, secrets kept."""

import datetime as dt
import traceback
from pathlib import Path

import pytest

from src.common import tokens
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
    "auth_secret": None,
    "auth_jwks_url": None,
    "auth_issuer": None,
    "auth_audience": None,
    "allow_anonymous": None,
    "cors_allow_origins": None,
    "rate_limit": None,
    "rate_burst": 200,
    "max_concurrent_uploads": None,
    "quota_images": None,
    "quota_bytes": None,
    "log_level": "INFO",
    "metrics": "on",
}
KEY = "0123456789abcdef"
INTEGERS = {
    "PORT": (0, 65_535),
    "WORKERS": (1, 64),
    "PRESIGNED_URL_EXPIRATION": (1, 604_800),
    "MAX_IMAGE_SIZE": (1, 2**30),
    "MAX_IMAGE_PIXELS": (1, 2**31),
    "RATE_LIMIT": (0, 1_000_000),
    "RATE_BURST": (1, 1_000_000),
    "MAX_CONCURRENT_UPLOADS": (0, 1_000_000),
    "QUOTA_IMAGES": (0, 2**39),
    "QUOTA_BYTES": (0, 2**49),
}
AUTH_KEY = "0123456789abcdef" * 2
JWKS = "https://login.example.com/.well-known/jwks.json"
OIDC = {"AUTH_JWKS_URL": JWKS, "AUTH_ISSUER": "https://login.example.com/", "AUTH_AUDIENCE": "images"}
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
            "METRICS": "off",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
    )
    assert settings.data_dir == Path("/srv/images")
    assert settings.host == "0.0.0.0"
    assert settings.public_endpoint == "https://images.example.com/files"
    assert settings.url_signing_keys == (f"{KEY}new", f"{KEY}old")
    assert settings.allow_anonymous == "1"
    assert settings.log_level == "DEBUG"
    assert not settings.is_measured
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
        ("ALLOW_ANONYMOUS", "yes", "1 or localhost"),
        ("ALLOW_ANONYMOUS", "0", "1 or localhost"),
        ("LOG_LEVEL", "info", "DEBUG or INFO or WARNING or ERROR"),
        ("LOG_LEVEL", "TRACE", "DEBUG or INFO or WARNING or ERROR"),
        ("METRICS", "1", "on or off"),
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
    assert secret == {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "URL_SIGNING_KEYS", "AUTH_SECRET"}


# Who may call.


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        (AUTH_KEY, (AUTH_KEY,)),
        (f"{AUTH_KEY}new, {AUTH_KEY} ", (f"{AUTH_KEY}new", AUTH_KEY)),
        ("ä" * 32, ("ä" * 32,)),
    ],
)
def test_secrets_of_tokens(value: str, secrets: tuple[str, ...]) -> None:
    settings = Settings.from_environment({"AUTH_SECRET": value})
    assert settings.auth_secret == secrets
    assert not settings.is_open


@pytest.mark.parametrize(
    "value",
    [
        AUTH_KEY[:-1],
        f"{AUTH_KEY},",
        f"{AUTH_KEY},{AUTH_KEY[:-1]}",
        " " * 40,
        f" {AUTH_KEY[:-1]} ",
        "\udcff" * 32,  # as bytes that are no UTF-8 come from the environment
        f"{AUTH_KEY},\udcff{AUTH_KEY}",
        f"-----BEGIN PUBLIC KEY-----\n{AUTH_KEY}\n-----END PUBLIC KEY-----",
        f"{AUTH_KEY},-----BEGIN RSA PRIVATE KEY----- {AUTH_KEY} -----END RSA PRIVATE KEY-----",
        f"---- BEGIN SSH2 PUBLIC KEY ---- {AUTH_KEY} ---- END SSH2 PUBLIC KEY ----",
        f"ssh-rsa {AUTH_KEY}",
        f"ssh-ed25519 {AUTH_KEY}",
        f"ecdsa-sha2-nistp256 {AUTH_KEY}",
    ],
    ids=repr,
)
def test_a_bad_secret_is_refused_without_being_shown(value: str) -> None:
    error = refusal("AUTH_SECRET", value)
    assert str(error).startswith("AUTH_SECRET: got a value that is not shown, wants ")
    assert str(error).count("\n") == 0
    shown = "".join(traceback.format_exception(error))
    assert AUTH_KEY[:-1] not in shown
    assert "udcff" not in shown


def test_whatever_is_a_secret_can_sign() -> None:
    """What the library that makes tokens refuses, the settings have refused before."""
    for value in (AUTH_KEY, "ä" * 32, "-----BEGIN" + AUTH_KEY, '"' * 32, "\\" * 32, "\x01" * 32):
        (secret,) = Settings.from_environment({"AUTH_SECRET": value}).auth_secret or ()
        tokens.mint(secret, user_id="ann", scope="", now=dt.datetime.now(dt.UTC), life=dt.timedelta(1))


@pytest.mark.parametrize(
    "url",
    [
        JWKS,
        "https://login.example.com",
        "https://login.example.com:8443/realms/a%20b/certs?version=2&p=B2C_1",
        "https://192.0.2.1/keys",
        "https://[2001:db8::1]:8443/keys",
        "http://localhost:8080/keys",
        "http://keycloak/realms/images/protocol/openid-connect/certs",
        "http://127.0.0.1:9/keys",
        "http://[::1]/keys",
        "http://10.1.2.3/keys",
        "http://192.168.1.1:65535/keys",
    ],
)
def test_where_the_keys_of_a_provider_are(url: str) -> None:
    settings = Settings.from_environment({**OIDC, "AUTH_JWKS_URL": url})
    assert (settings.auth_jwks_url, settings.auth_issuer) == (url, "https://login.example.com/")
    assert settings.auth_audience == "images"
    assert not settings.is_open


@pytest.mark.parametrize(
    "url",
    [
        "login.example.com/keys",
        "//login.example.com/keys",
        "ftp://login.example.com/keys",
        "file:///etc/passwd",
        "HTTPS://login.example.com/keys",
        "https://",
        "https:///keys",
        "https://:443/keys",
        "https://user:pass@login.example.com/keys",
        "https://login.example.com@evil.example.com/",
        "https://login.example.com/keys#a",
        "https://login.example.com/a b",
        "https://login.example.com/keys\n",
        " https://login.example.com/keys",
        "https://login.example.com\\@evil.example.com/",
        "https://login.example.com:port/keys",
        "https://login.example.com:65536/keys",
        "https://login.example.com:0/keys",
        "https://login.example.com:-1/keys",
        "http://[::1/keys",
        "https://lögin.example.com/keys",
        # Anybody on the way could answer.
        "http://login.example.com/keys",
        "http://localhost.example.com/keys",
        "http://8.8.8.8/keys",
        "http://[2606:4700::1111]/keys",
        "http://login%2eexample%2ecom/keys",
        "http://127.0.0.1.example.com/keys",
    ],
)
def test_where_they_can_t_be(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environment({**OIDC, "AUTH_JWKS_URL": url})
    assert str(refused.value).startswith(f"AUTH_JWKS_URL: got {url!r}, wants a URL such as https://")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({**OIDC, "AUTH_SECRET": AUTH_KEY}, "AUTH_SECRET, AUTH_JWKS_URL: got both, wants one of them"),
        ({**OIDC, "AUTH_ISSUER": ""}, "AUTH_ISSUER: got nothing, wants what tokens have, since AUTH_JWKS_URL is set"),
        ({**OIDC, "AUTH_AUDIENCE": ""}, "AUTH_AUDIENCE: got nothing, wants what tokens have"),
        ({"AUTH_JWKS_URL": JWKS}, "AUTH_ISSUER: got nothing"),
        ({"AUTH_ISSUER": "x"}, "AUTH_SECRET, AUTH_JWKS_URL: got neither, wants one since AUTH_ISSUER is set"),
        ({"AUTH_AUDIENCE": "x"}, "AUTH_SECRET, AUTH_JWKS_URL: got neither, wants one since AUTH_AUDIENCE is set"),
        ({"AUTH_AUDIENCE": "x", "ALLOW_ANONYMOUS": "1"}, "AUTH_SECRET, AUTH_JWKS_URL: got neither"),
    ],
)
def test_what_does_not_go_together(environment: dict[str, str], said: str) -> None:
    """Nobody is to believe that tokens are checked when they are not."""
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environment(environment)
    assert str(refused.value).startswith(said)
    assert AUTH_KEY not in str(refused.value)


def test_what_goes_together() -> None:
    settings = Settings.from_environment({"AUTH_SECRET": AUTH_KEY, "AUTH_ISSUER": "a", "AUTH_AUDIENCE": "b"})
    assert (settings.auth_issuer, settings.auth_audience, settings.is_open) == ("a", "b", False)
    assert not Settings.from_environment({"AUTH_SECRET": AUTH_KEY, "ALLOW_ANONYMOUS": "1"}).is_open
    assert Settings.from_environment({"ALLOW_ANONYMOUS": "1"}).is_open
    assert Settings.from_environment({}).is_open


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("*", ("*",)),
        ("https://app.example.com", ("https://app.example.com",)),
        ("http://localhost:3000, https://a.b", ("http://localhost:3000", "https://a.b")),
        ("http://[::1]:3000", ("http://[::1]:3000",)),
    ],
)
def test_origins(value: str, origins: tuple[str, ...]) -> None:
    assert Settings.from_environment({"CORS_ALLOW_ORIGINS": value}).cors_allow_origins == origins


@pytest.mark.parametrize(
    "value",
    [
        "null",
        "app.example.com",
        "https://",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://APP.example.com",
        "https://*.example.com",
        "https://a.b,",
        ",",
        "*,https://a.b",
        "https://a.b *",
        "https://a.b https://c.d",
        "https://user@a.b",
        "https://a.b:port",
        "ftp://a.b",
        "https://ä.b",
    ],
)
def test_what_is_no_origin(value: str) -> None:
    error = refusal("CORS_ALLOW_ORIGINS", value)
    assert str(error).startswith(f"CORS_ALLOW_ORIGINS: got {value!r}, wants * or comma-separated origins")


def test_settings_are_frozen() -> None:
    settings = Settings.from_environment({})
    for name in Settings.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(settings, name, getattr(settings, name))
