"""`image-service import` of a folder: what becomes of it, however often and wherever it breaks off."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.command import Done, invoke
from tests.support.library import listed, make_library
from tests.support.pictures import noise, picture
from tests.support.server import ROOT, Server, environment_with

NUMBER = 2_000


def run(server: Server, folder: Path, *options: object) -> Done:
    return invoke("import", folder, *options, IMAGE_SERVICE_URL=server.url)


def begun(server: Server, folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "src", "import", str(folder), "--url", server.url, *options],
        cwd=ROOT,
        env=environment_with(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored(server: Server) -> int:
    images: int = server.http.get("/usage").json()["images"]
    return images


def test_two_thousand_photos_with_kill_9(tmp_path: Path) -> None:
    """However often it is killed in the middle, and the server too: each is there in the end, and none twice."""
    sums = make_library(tmp_path / "photos", NUMBER)
    with Server(tmp_path / "data") as server:
        for reached in (NUMBER // 4, NUMBER // 2):
            process = begun(server, tmp_path / "photos")
            while stored(server) < reached:
                time.sleep(0.05)
                assert process.poll() is None, process.communicate()
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL
            assert reached <= stored(server) < NUMBER
        process = begun(server, tmp_path / "photos")
        while stored(server) < NUMBER * 3 // 4:
            time.sleep(0.05)
            assert process.poll() is None, process.communicate()
        server.kill()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 4, errors
        assert "so far; it broke off. Run it again to go on." in errors
        server.start()
        before = stored(server)
        done = begun(server, tmp_path / "photos", "--json")
        printed, errors = done.communicate(timeout=60)
        assert (done.returncode, errors) == (0, "")
        *results, summary = map(json.loads, printed.splitlines())
        assert [result["path"] for result in results] == sorted(sums)
        assert summary["counts"] == {"present": before, "uploaded": NUMBER - before}
        images = list(listed(server.http))
        assert Counter(image["sha256"] for image in images) == Counter(sums.values())
        assert {f"{image['filename']} {image['sha256']}" for image in images} == {
            f"{Path(name).name} {digest}" for name, digest in sums.items()
        }


@pytest.fixture
def user() -> str:
    return f"u-{uuid.uuid4().hex}"


def test_a_folder_of_many_kinds(server: Server, tmp_path: Path, user: str) -> None:
    """Pictures are stored, each once; what is none is left out, what is broken refused, and all of that is told."""
    folder = tmp_path / "photos"
    for name, data in {
        "a.jpg": picture("jpeg", 300, 200),
        "again.jpeg": picture("jpeg", 300, 200),
        "Summer 2025/Sea/b.PNG": noise(9, 9),
        "Summer 2025/c.webp": picture("webp"),
        "Summer 2025/empty.gif": b"",
        "broken.jpg": picture("jpeg", 300, 200)[:700],
        "really-text.png": b"no picture",
        "notes.txt": b"notes",
        ".hidden.jpg": noise(7, 7),
        ".thumbnails/d.jpg": noise(7, 8),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    options = ("--user", user, "--tag", "All", "--tags-from-folders")

    dry = run(server, folder, *options, "--dry-run", "--json")
    assert dry.code == 0
    assert dry.objects()[-1]["counts"] == {"skipped": 1, "missing": 6, "repeated": 1}
    assert list(listed(server.http, user_id=user)) == []

    done = run(server, folder, *options)
    assert done.code == 1
    counts = "3 uploaded, 1 with the bytes of another file, 1 no pictures, 3 refused"
    assert re.fullmatch(rf"8 files: {counts} \([\d.]+ KiB moved\)\n", done.out)
    told = dict(re.findall(r"^(.+): refused: .+ \[(\w+)\]$", done.err, re.MULTILINE))
    assert told == {
        "Summer 2025/empty.gif": "invalid_request",
        "broken.jpg": "undecodable_image",
        "really-text.png": "unsupported_image_format",
    }
    assert "again.jpeg: repeated: has the same bytes as a.jpg" in done.err
    tags = {image["filename"]: image["tags"] for image in listed(server.http, user_id=user)}
    assert tags == {
        "a.jpg": ["all"],
        "b.PNG": ["all", "summer 2025", "sea"],
        "c.webp": ["all", "summer 2025"],
    }

    again = run(server, folder, *options, "--json")
    assert again.code == 1
    assert again.objects()[-1]["counts"] == {"skipped": 1, "present": 3, "repeated": 1, "refused": 3}
    assert again.objects()[-1]["bytes_moved"] == 0


def test_what_can_not_be_read_does_not_keep_the_others(
    server: Server, tmp_path: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(noise(8, 8))
    (tmp_path / "b.jpg").symlink_to("nowhere")
    (tmp_path / "c.jpg").write_bytes(noise(8, 8))
    real = Path.open

    def opened(path: Path, *arguments: Any, **options: Any) -> IO[Any]:
        if path.name == "c.jpg":  # root reads everything
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
    done = run(server, tmp_path, "--user", user)
    assert len(list(listed(server.http, user_id=user))) == 1
    assert done.code == 1
    assert "b.jpg: refused: No such file or directory [unreadable]\n" in done.err
    assert "c.jpg: refused: Permission denied [unreadable]\n" in done.err


def test_an_empty_folder_and_none(server: Server, tmp_path: Path) -> None:
    assert run(server, tmp_path)[:2] == (0, "no files\n")
    assert run(server, tmp_path / "nowhere").code == 2
    (tmp_path / "a.jpg").write_bytes(picture())
    assert run(server, tmp_path / "a.jpg").code == 2
    assert run(server, tmp_path, "--as-new").code == 2


def test_what_all_files_would_meet_ends_it(tmp_path: Path) -> None:
    """A used up quota is told once, and not for each of what is left."""
    make_library(tmp_path / "photos", 300)
    with Server(tmp_path / "data", environment={"QUOTA_IMAGES": "10"}) as server:
        done = run(server, tmp_path / "photos")
        assert done.code == 3
        assert "[quota_exceeded]" in done.err
        assert stored(server) == 10
        assert re.search(r"^\d+ files: \d+ uploaded .* so far; it broke off", done.err, re.MULTILINE)


def test_a_bar_shows_rate_and_time_left(server: Server, tmp_path: Path, user: str) -> None:
    make_library(tmp_path / "photos", 120)
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    with subprocess.Popen(
        [sys.executable, "-m", "src", "import", str(tmp_path / "photos"), "--url", server.url, "--user", user],
        cwd=ROOT,
        env=environment_with(),
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                part = os.read(controller, 4096)
            except OSError:  # nobody writes to it any more
                break
            shown += part
    os.close(controller)
    assert process.returncode == 0
    assert re.search(rb"\d+/120 files: +\d+%.*[\d.]+[kM]?B/s", shown), shown


def test_interrupted_by_the_keyboard(server: Server, tmp_path: Path, user: str) -> None:
    """What is under way is finished, and it says how far it came."""
    make_library(tmp_path / "photos", 1_000)
    process = begun(server, tmp_path / "photos", "--user", user)
    while server.http.get("/usage", params={"user_id": user}).json()["images"] < 50:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert re.search(r"\d\d files: .* so far; it broke off. Run it again to go on.", errors)
    assert "Traceback" not in errors
