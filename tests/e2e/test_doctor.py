"""`image-service doctor`: it finds what is wrong, says what to do, and leaves nothing behind."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest

from src.handlers import machine_checks, store_checks
from tests.support.command import Done, invoke
from tests.support.emulator import Emulator
from tests.support.jws import public_jwk, rsa_key
from tests.support.pictures import picture
from tests.support.provider import Provider
from tests.support.server import Server


def doctor(**environment: str) -> Done:
    return invoke("doctor", "--json", **environment)


def statuses(done: Done) -> dict[str, str]:
    return {check["name"]: check["status"] for check in done.objects()}


def failed(done: Done) -> dict[str, Any]:
    """Return the one check that has failed."""
    assert done.code == 1
    (check,) = (check for check in done.objects() if check["status"] == "failed")
    return check


@pytest.fixture
def aws(emulator: Emulator) -> dict[str, str]:
    return {**emulator.home(), "AUTH_SECRET": "s" * 32}


# The embedded home


def test_before_the_first_start(tmp_path: Path) -> None:
    """All is well, and nothing is made."""
    done = doctor(DATA_DIR=str(tmp_path / "data"))
    assert done.code == 0
    assert set(statuses(done).values()) == {"ok"}
    assert list(tmp_path.iterdir()) == []


def test_beside_the_service(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        server.http.post("/images", files={"file": ("a.jpg", picture())})
        before = sorted((tmp_path / "data").rglob("*.*"))
        done = doctor(DATA_DIR=str(tmp_path / "data"))
        assert (done.code, set(statuses(done).values())) == (0, {"ok"})
        assert {"records", "objects", "clock", "DATA_DIR", "decoder", "access"} <= statuses(done).keys()
        (records,) = (check for check in done.objects() if check["name"] == "records")
        assert "1 images" in records["detail"]
        assert sorted((tmp_path / "data").rglob("*.*")) == before
    words = invoke("doctor", "--data-dir", tmp_path / "data")
    assert words.code == 0
    assert "ok       records: reads and writes; 1 images" in words.out


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "images.sqlite3").write_bytes(b"no database" * 100)
    check = failed(doctor(DATA_DIR=str(tmp_path)))
    assert "images.sqlite3" in check["detail"]
    assert check["advice"]


def test_objects_that_can_not_be_stored(tmp_path: Path) -> None:
    with Server(tmp_path / "data"):
        pass
    (tmp_path / "data" / "objects" / "incoming").write_text("a file where a folder ought to be")
    check = failed(doctor(DATA_DIR=str(tmp_path / "data")))
    assert check["name"] == "objects"
    assert "DATA_DIR" in check["advice"]


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    with Server(tmp_path / "data"):
        pass
    key = tmp_path / "data" / "url_signing_key"
    key.chmod(0o644)
    done = doctor(DATA_DIR=str(tmp_path / "data"))
    assert (done.code, statuses(done)["url_signing_key"]) == (0, "warning")
    words = invoke("doctor", DATA_DIR=str(tmp_path / "data"))
    assert f"-> chmod 600 {key}" in words.out


def test_a_disk_that_is_full_and_one_of_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "ROOM", 1 << 60)
    monkeypatch.setattr(machine_checks, "NETWORK", {machine_checks._filesystem(tmp_path)})
    done = doctor(DATA_DIR=str(tmp_path / "data"))
    warnings = [check["detail"] for check in done.objects() if check["name"] == "DATA_DIR"]
    assert done.code == 0
    assert " free at " in warnings[0]
    assert "network file system" in warnings[1]


def test_a_directory_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    check = failed(doctor(DATA_DIR=str(tmp_path / "data")))
    assert (check["name"], "chown" in check["advice"]) == ("DATA_DIR", True)


def test_a_clock_that_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(tmp_path / "data") as server:
        server.http.post("/images", files={"file": ("a.jpg", picture())})
    monkeypatch.setattr(store_checks, "SKEW", dt.timedelta(days=-1))
    done = doctor(DATA_DIR=str(tmp_path / "data"))
    assert (done.code, statuses(done)["clock"]) == (0, "warning")


def test_a_setting_that_is_not_understood() -> None:
    done = doctor(MAX_IMAGE_SIZE="much")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("image-service: MAX_IMAGE_SIZE: got 'much'")


# aws


def test_all_is_well_on_aws(aws: dict[str, str], emulator: Emulator) -> None:
    done = doctor(**aws)
    assert (done.code, set(statuses(done).values())) == (0, {"ok"}), done.out
    assert {"records", "objects", "signed links", "forms of direct uploads", "clock"} <= statuses(done).keys()
    assert "Contents" not in emulator.client("s3").list_objects_v2(Bucket=aws["BUCKET_NAME"])
    assert emulator.client("dynamodb").scan(TableName=aws["TABLE_NAME"])["Items"] == []


@pytest.mark.parametrize(
    ("change", "name", "advice"),
    [
        ({"BUCKET_NAME": "no-such-bucket"}, "objects", "BUCKET_NAME"),
        ({"TABLE_NAME": "no-such-table"}, "records", "TABLE_NAME"),
        ({"S3_PUBLIC_ENDPOINT": "http://127.0.0.1:9"}, "signed links", "S3_PUBLIC_ENDPOINT"),
    ],
)
def test_what_is_not_there(aws: dict[str, str], change: dict[str, str], name: str, advice: str) -> None:
    done = doctor(**aws | change)
    assert done.code == 1
    checks = {check["name"]: check for check in done.objects()}
    assert checks[name]["status"] == "failed"
    assert advice in checks[name]["advice"]


def test_a_secret_that_is_wrong(aws: dict[str, str]) -> None:
    """The emulator checks the signatures of links, and says why it refuses them."""
    done = doctor(**aws | {"AWS_SECRET_ACCESS_KEY": "wrong"})
    checks = {check["name"]: check for check in done.objects()}
    assert checks["signed links"]["status"] == "failed"
    assert "SignatureDoesNotMatch" in checks["signed links"]["detail"]


def test_a_clock_that_is_not_the_buckets(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_checks, "SKEW", dt.timedelta(days=-1))
    done = doctor(**aws)
    assert next(check["status"] for check in done.objects() if check["name"] == "clock") == "failed"


def test_the_keys_of_a_provider(tmp_path: Path) -> None:
    settings = {"DATA_DIR": str(tmp_path / "data"), "AUTH_ISSUER": "https://issuer.example", "AUTH_AUDIENCE": "images"}
    with Provider() as provider:
        provider.keys = [public_jwk(rsa_key(), "1")]
        done = doctor(AUTH_JWKS_URL=provider.url, **settings)
        assert (done.code, statuses(done)["access"]) == (0, "ok")
    check = failed(doctor(AUTH_JWKS_URL=provider.url, **settings))
    assert (check["name"], "jwks_uri" in check["advice"]) == ("access", True)


def test_an_open_service_is_told_of(tmp_path: Path) -> None:
    done = doctor(DATA_DIR=str(tmp_path / "data"), ALLOW_ANONYMOUS="1")
    assert (done.code, statuses(done)["access"]) == (0, "warning")
