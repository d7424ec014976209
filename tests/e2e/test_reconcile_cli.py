"""`image-service reconcile` as a process: what it prints, what it does, and how it ends."""

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from src.cli import main
from src.cli.exits import AtOnce
from src.models.image import original_key
from src.models.rendition import renditions_prefix
from src.repositories.sqlite_database import SqliteDatabase
from tests.support.images import make_image, numbered_id
from tests.support.server import ROOT, environment_with
from tests.support.sqlite import entries, seed

HOURS = 3_600  # seconds
IMAGES = tuple(make_image(image_id=numbered_id(i, i), tags=("cat",)) for i in range(3))
ORIGINALS = tuple(original_key(image.image_id, image.content_type) for image in IMAGES)
STRAY = numbered_id(9, 9)


def command(data_dir: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "src", "reconcile", "--data-dir", str(data_dir), *options]


def reconcile(
    data_dir: Path, *options: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = environment_with(**environment or {})
    return subprocess.run(
        command(data_dir, *options), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30
    )


def store(data_dir: Path, key: str, size: int = 10, *, age: int = 2 * HOURS) -> None:
    path = data_dir / "objects" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)


def snapshot(data_dir: Path) -> tuple[dict[str, int], set[str]]:
    objects = {path.relative_to(data_dir).as_posix() for path in (data_dir / "objects").rglob("*") if path.is_file()}
    return entries(data_dir / "images.sqlite3"), objects


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return a home with three images, of which all is right."""
    data_dir = tmp_path / "data"
    (data_dir / "objects").mkdir(parents=True)
    SqliteDatabase(data_dir / "images.sqlite3").close()
    seed(data_dir / "images.sqlite3", *IMAGES)
    for key in ORIGINALS:
        store(data_dir, key)
    return data_dir


@pytest.fixture
def damaged(data_dir: Path) -> Path:
    store(data_dir, original_key(STRAY, "image/png"), 1_500)
    store(data_dir, f"{renditions_prefix(STRAY)}1x1.webp", 20 * 1024 * 1024)
    store(data_dir, f"{renditions_prefix(STRAY)}2x2.webp", 1)
    store(data_dir, "incoming/ab/left.png", 3_000_000)
    store(data_dir, f"{ORIGINALS[0]}#17", 7)
    store(data_dir, original_key(numbered_id(10, 0), "image/png"), age=HOURS // 2)
    with closing(sqlite3.connect(data_dir / "images.sqlite3")) as connection, connection:
        connection.execute("INSERT INTO image_tags VALUES ('sea', ?, 'ann')", (STRAY,))
        connection.execute("DELETE FROM image_tags WHERE image_id = ?", (IMAGES[1].image_id,))
        connection.execute("UPDATE usage SET images = 5, bytes = bytes + 9 WHERE user_id = 'ann'")
    return data_dir


LINES = rf"""
\w+: object without a record: {original_key(STRAY, "image/png")} \(of [0-9T:-]+Z, 1\.5 KiB\)
\w+: renditions without a record: {renditions_prefix(STRAY)} \(2 objects, 20\.0 MiB\)
\w+: part of a broken write: {ORIGINALS[0]}#17 \(of [0-9T:-]+Z, 7 bytes\)
\w+: bytes without an upload: incoming/ab/left\.png \(of [0-9T:-]+Z, 2\.9 MiB\)
\w+: entry without a record: {STRAY} \(tag 'sea' of ann\)
\w+: entry that is missing: {IMAGES[1].image_id} \(tag 'cat' of ann\)
\w+: wrong counter: usage of ann \(\+2 images, \+9 bytes\)
Looked at 10 records and objects\.
       1 x bytes without an upload
       1 x entry that is missing
       1 x entry without a record
       1 x object without a record
       1 x part of a broken write
       1 x renditions without a record
       1 x wrong counter
7 put right, 22\.9 MiB freed\.
"""


def test_nothing_is_wrong(data_dir: Path) -> None:
    before = snapshot(data_dir)
    done = reconcile(data_dir)
    assert (done.returncode, done.stdout) == (0, "Looked at 6 records and objects.\nEverything agrees.\n")
    assert done.stderr == ""
    assert snapshot(data_dir) == before


def test_a_dry_run_tells_what_is_then_done(damaged: Path) -> None:
    """Line by line; nothing has changed until it is done, and then nothing is left."""
    before = snapshot(damaged)
    planned = reconcile(damaged, "--dry-run")
    assert (planned.returncode, planned.stderr) == (1, "")
    assert snapshot(damaged) == before
    done = reconcile(damaged)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(LINES.lstrip("\n"), done.stdout), done.stdout
    promised = planned.stdout.replace("would remove", "removed").replace("would mend", "mended")
    assert promised.replace("Nothing was changed. Without --dry-run: ", "") == done.stdout
    assert "Nothing was changed." in planned.stdout
    young = original_key(numbered_id(10, 0), "image/png")
    assert snapshot(damaged) == (
        {"images": 3, "image_tags": 3},
        {f"objects/{key}" for key in (*ORIGINALS, young)},
    )
    again = reconcile(damaged)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "Everything agrees.")
    assert reconcile(damaged, "--dry-run").returncode == 0


def test_for_machines(damaged: Path) -> None:
    """An object for each finding, and one for all of them."""
    done = reconcile(damaged, "--json", "--dry-run")
    assert (done.returncode, done.stderr) == (1, "")
    *findings, summary = map(json.loads, done.stdout.splitlines())
    assert {"done": "would remove", "kind": "bytes without an upload", "what": "incoming/ab/left.png"}.items() <= next(
        finding for finding in findings if finding["what"] == "incoming/ab/left.png"
    ).items()
    assert summary["type"] == "summary"
    assert sum(summary["counts"].values()) == len(findings) > 5
    assert summary["looked_at"] > len(findings)


@pytest.mark.parametrize(
    ("older_than", "is_found"), [("0s", True), ("1200s", True), ("20m", True), ("2h", False), ("999999d", False)]
)
def test_how_old_it_has_to_be(data_dir: Path, older_than: str, is_found: bool) -> None:
    stray = original_key(STRAY, "image/png")
    store(data_dir, stray, age=HOURS // 2)
    done = reconcile(data_dir, "--older-than", older_than)
    assert done.returncode == 0
    assert (stray in done.stdout) is is_found
    assert (data_dir / "objects" / stray).exists() is not is_found


def test_no_time_at_all_is_everything(data_dir: Path) -> None:
    """Also what was stored in this very second."""
    store(data_dir, original_key(STRAY, "image/png"), age=0)
    assert original_key(STRAY, "image/png") not in reconcile(data_dir, "--older-than", "1m").stdout
    store(data_dir, original_key(STRAY, "image/png"), age=0)
    assert original_key(STRAY, "image/png") in reconcile(data_dir, "--older-than", "0s").stdout


def test_what_is_lost(data_dir: Path) -> None:
    """It is told, each time, and nothing is removed for it: that is 1."""
    (data_dir / "objects" / ORIGINALS[1]).unlink()
    before = snapshot(data_dir)
    for options in ((), ("--dry-run",), ()):
        done = reconcile(data_dir, *options)
        assert done.returncode == 1
        assert done.stdout.splitlines() == [
            f"LOST: record without its object: {IMAGES[1].image_id} (image/jpeg)",
            "Looked at 5 records and objects.",
            "       1 x record without its object",
            "1 image is LOST: restore the bytes, or delete what has none.",
        ]
        assert snapshot(data_dir) == before


@pytest.mark.parametrize("value", ["", "1", "h", "-1h", "1.5h", "1w", "1 h", "1h30m", "9999999h", "１h"])
def test_a_bad_age(value: str, tmp_path: Path) -> None:
    """It is refused before anything is opened."""
    done = CliRunner().invoke(main, ["reconcile", "--data-dir", str(tmp_path / "data"), f"--older-than={value}"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--older-than" in done.stderr
    assert "such as 90s, 15m, 1h or 2d" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"STORAGE": "tape"}, "STORAGE: got 'tape', wants local or aws"),
        ({"STORAGE": "aws"}, "AWS_ACCESS_KEY_ID"),
        ({"MAX_IMAGE_SIZE": "0"}, "MAX_IMAGE_SIZE: got '0'"),
    ],
    ids=str,
)
def test_bad_settings(environment: dict[str, str], said: str, tmp_path: Path) -> None:
    """One line that says why."""
    refused(reconcile(tmp_path / "data", environment=environment), said)


def test_stores_that_fail(tmp_path: Path) -> None:
    """The same for a directory that is none, and a table that does not answer."""
    (tmp_path / "data").write_text("a file")
    refused(reconcile(tmp_path / "data"), "DATA_DIR")
    aws = {"STORAGE": "aws", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    done = reconcile(tmp_path / "data", environment={**aws, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert (done.returncode, done.stdout) == (2, "")
    # What else it says, if anything, is of threads of the AWS SDK that are surprised by the end.
    assert done.stderr.splitlines()[0] == "image-service: The database does not answer."


def refused(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("image-service: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_terminal_shows_a_bar(damaged: Path) -> None:
    """On standard error alone, from nothing to all, and no line of the plan is mixed up with it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(damaged), cwd=ROOT, env=environment_with(TERM="xterm"), stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while data := read(ours):
            shown += data
    os.close(ours)
    assert process.returncode == 0
    text = shown.decode().replace("\r\n", "\n")
    assert "Looking" in text
    assert re.search(r"\[#+\] +100%", text), text
    lines = [line.rpartition("\r\033[K")[2] for line in text.split("\n")]
    found = [line for line in lines if line.startswith(("removed: ", "mended: "))]
    assert len(found) == 7
    assert not any("Looking" in line for line in found)
    assert lines[-2] == "7 put right, 22.9 MiB freed."


def read(terminal: int) -> bytes:
    """Return what comes next; nothing once the other side has been closed."""
    try:
        return os.read(terminal, 65_536)
    except OSError:  # EIO, on Linux
        return b""


def test_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "src", "reconcile", "--help"],
        cwd=ROOT,
        env=environment_with(COLUMNS="100"),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0
    for words in ("--dry-run", "--older-than DURATION", "[default: 1h]", "--storage", "--data-dir", "Exits with 0"):
        assert words in done.stdout


@pytest.mark.parametrize("command", ["reconcile", "doctor"])
@pytest.mark.parametrize("setting", [[], ["--storage", "?"]], ids=["done", "refused"])
def test_it_ends_at_once(data_dir: Path, command: str, setting: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the interpreter's own ending, in which threads of obstore would abort the process now and then."""
    monkeypatch.setattr(os, "environ", {**os.environ})  # which options go into
    done = CliRunner().invoke(main, [command, "--data-dir", str(data_dir), *setting])
    assert done.exc_info
    assert done.exc_info[0] is AtOnce
    assert done.exit_code == (2 if setting else 0)


def test_records_that_are_lost(data_dir: Path) -> None:
    """Where there are pictures and no record at all, nothing is removed before somebody says that it is meant so."""
    (data_dir / "images.sqlite3").unlink()
    SqliteDatabase(data_dir / "images.sqlite3").close()
    before = snapshot(data_dir)
    plan = reconcile(data_dir, "--dry-run")
    assert (plan.returncode, plan.stdout.count("would remove")) == (1, len(ORIGINALS))
    refused = reconcile(data_dir)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "not a single record" in refused.stderr
    assert snapshot(data_dir) == before
    forced = reconcile(data_dir, "--force")
    assert (forced.returncode, forced.stdout.count("removed: ")) == (0, len(ORIGINALS))
    assert snapshot(data_dir)[1] == set()


def test_a_directory_that_is_none_of_ours(tmp_path: Path) -> None:
    """A name that is mistyped is an error, and nothing is made under it."""
    answer = reconcile(tmp_path / "data", "--dry-run")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("image-service: DATA_DIR: got ")
    assert not (tmp_path / "data").exists()
