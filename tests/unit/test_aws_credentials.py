"""Credentials that somebody else provides: found, renewed, and the same for whoever uses them."""

import datetime as dt
import json
import logging
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from src.bootstrap import build_services
from src.common.config import Settings
from src.common.errors import ConfigurationError
from src.common.sigv4 import Credentials
from src.repositories import aws_credentials
from src.repositories.aws_credentials import CredentialSource, provider_chain
from src.repositories.dynamodb_client import open_table
from tests.support.server import wait_until

EXPIRES_AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials anywhere."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_nothing_is_found() -> None:
    assert provider_chain("us-east-1") is None
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: got none"):
        build_services(Settings.from_environment({"STORAGE": "aws"}))


def test_botocore_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    assert provider_chain("us-east-1") is None


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_of_them(name: str) -> None:
    """A typing error, and no reason to look for others."""
    other = {"AWS_ACCESS_KEY_ID": "AWS_SECRET_ACCESS_KEY"}.get(name, "AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigurationError, match=rf"^{other}: got nothing"):
        build_services(Settings.from_environment({"STORAGE": "aws", name: "test", "USE_LOCALSTACK": "1"}))


def profile(directory: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = directory / "config"
    path.write_text(f"[default]\n{text}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))


def test_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile(tmp_path, monkeypatch, "aws_access_key_id = key\naws_secret_access_key = secret")
    source = provider_chain("us-east-1")
    assert source is not None
    assert source() == Credentials("key", "secret")


def test_a_command_that_tells_when_they_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expires_at = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(hours=2)
    told = {"Version": 1, "AccessKeyId": "key", "SecretAccessKey": "secret", "SessionToken": "token"}
    (tmp_path / "told").write_text(json.dumps(told | {"Expiration": expires_at.isoformat()}))
    profile(tmp_path, monkeypatch, f"credential_process = cat {tmp_path / 'told'}")
    source = provider_chain("us-east-1")
    assert source is not None
    assert source() == Credentials("key", "secret", "token", expires_at)


@pytest.mark.parametrize("command", ["false", "echo no JSON"])
def test_a_command_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """The start ends with one line, whatever the command's trouble is."""
    profile(tmp_path, monkeypatch, f"credential_process = {command}")
    with pytest.raises(ConfigurationError, match=r"^AWS_ACCESS_KEY_ID: "):
        provider_chain("us-east-1")


class Frozen(NamedTuple):
    access_key: str
    secret_key: str = "secret"
    token: str = "token"


class Provided:
    """Hands out new credentials each time, but for the second, when it fails."""

    _expiry_time = EXPIRES_AT

    def __init__(self) -> None:
        self.asked = 0

    def get_frozen_credentials(self) -> Frozen:
        self.asked += 1
        if self.asked == 2:
            raise RuntimeError("expired")
        return Frozen(f"key {self.asked}")


def test_they_are_renewed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Without whoever asks waiting for it; those that there are stay in use while that fails."""
    monkeypatch.setattr(aws_credentials, "INTERVAL", 0.01)
    source = aws_credentials._Renewed(Provided())
    assert source() == Credentials("key 1", "secret", "token", EXPIRES_AT)
    with caplog.at_level(logging.WARNING):
        wait_until(lambda: source().access_key_id != "key 1")
    assert "could not be renewed" in caplog.text


def test_the_table_is_reached_with_those_of_the_moment() -> None:
    moment = [Credentials("one", "secret")]
    source: CredentialSource = lambda: moment[0]  # noqa: E731
    table = open_table("table", region="us-east-1", endpoint="http://127.0.0.1:9", credentials=source)
    first = table._client()
    assert table._client() is first
    moment[0] = Credentials("two", "secret")
    assert table._client() is not first
    assert table._client() is table._client()
