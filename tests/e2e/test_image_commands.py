"""The commands for single images, against a server: what they do, print and end with."""

import hashlib
import json
import re
import uuid
from pathlib import Path

import httpx
import pytest

from src.cli import _COMMANDS
from src.cli.exits import EXITS
from tests.support.command import Done, invoke
from tests.support.pictures import noise, picture
from tests.support.server import ROOT, Server

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
NOBODY = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"


class Shell:
    """Commands of one user against a server, below a directory with pictures."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.user = f"u-{uuid.uuid4().hex}"
        self.directory = directory
        self.http = server.http
        self._url = server.url

    def run(self, *arguments: object, given: bytes | None = None) -> Done:
        return invoke(*arguments, given=given, IMAGE_SERVICE_URL=self._url)

    def picture(self, name: str = "cat.png") -> Path:
        """Make a file whose bytes no other has."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(8, 8))
        return path

    def uploaded(self, *options: object, name: str = "cat.png") -> str:
        """Return the id of a new image."""
        done = self.run("upload", self.picture(name), "--user", self.user, *options)
        assert (done.code, done.err) == (0, "")
        assert ID.fullmatch(done.out.strip())
        return done.out.strip()

    def record(self, image_id: str) -> dict[str, object]:
        record: dict[str, object] = self.http.get(f"/images/{image_id}").json()
        return record


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    return Shell(server, tmp_path)


# upload


def test_an_upload_says_what_it_is_told(shell: Shell) -> None:
    image_id = shell.uploaded("--tag", "Cat", "--tag", "garden", "--description", "In May")
    record = shell.record(image_id)
    assert record["tags"] == ["cat", "garden"]
    assert (record["filename"], record["description"], record["user_id"]) == ("cat.png", "In May", shell.user)


def test_several_files_and_standard_input(shell: Shell) -> None:
    done = shell.run("upload", shell.picture("a.png"), shell.picture("b.png"), "--user", shell.user)
    assert (done.code, len(ID.findall(done.out))) == (0, 2)
    given = shell.picture("c.png").read_bytes()
    done = shell.run("upload", "-", "--filename", "c.png", "--user", shell.user, "--json", given=given)
    (image,) = done.objects()
    assert (image["filename"], image["is_new"]) == ("c.png", True)
    assert image["sha256"] == hashlib.sha256(given).hexdigest()


def test_once(shell: Shell) -> None:
    image_id = shell.uploaded()
    done = shell.run("upload", shell.directory / "cat.png", "--user", shell.user, "--once")
    assert (done.code, done.out.strip()) == (0, image_id)


def test_one_that_is_refused_does_not_keep_the_others(shell: Shell) -> None:
    broken = shell.directory / "broken.jpg"
    broken.write_bytes(picture("jpeg", 200, 200)[:500])
    done = shell.run("upload", broken, shell.picture(), "--user", shell.user)
    assert done.code == 1
    assert "broken.jpg" in done.err
    assert "[undecodable_image]" in done.err
    assert len(ID.findall(done.out)) == 1
    alone = shell.run("upload", broken, "--user", shell.user)
    assert (alone.code, alone.out) == (3, "")
    assert re.search(r"\[undecodable_image\] \(request \w+\)\n$", alone.err)


def test_what_is_no_file(shell: Shell) -> None:
    nowhere = shell.directory / "nowhere.png"
    words = f"image-service: {nowhere}: No such file or directory\n"
    assert shell.run("upload", nowhere) == (2, "", words, b"")
    done = shell.run("upload", shell.picture("a.png"), nowhere, shell.picture("b.png"), "--user", shell.user)
    assert (done.code, done.err, len(ID.findall(done.out))) == (1, words, 2)


# list, get, tags


def test_lists(shell: Shell) -> None:
    red = shell.uploaded("--tag", "red", name="red.png")
    both = shell.uploaded("--tag", "red", "--tag", "blue", name="a name that is much too long for its column.png")
    own = ("list", "--user", shell.user)

    def ids(*options: object) -> list[str]:
        done = shell.run(*own, "--json", *options)
        assert done.code == 0, done.err
        return [image["image_id"] for image in done.objects()]

    assert ids() == [both, red]
    assert ids("--oldest") == [red, both]
    assert ids("--tag", "red", "--tag", "blue") == [both]
    assert ids("--tag", "red", "--tag", "blue", "--any") == [both, red]
    assert ids("--tag", "red", "--without", "blue") == [red]
    assert ids("--limit", 1) == [both]
    assert ids("--all") == [both, red]
    assert ids("--after", "2999-01-01") == []
    assert ids("--before", "2999-01-01", "--after", "2020-01-31T09:30:00Z") == [both, red]
    lines = shell.run(*own).out.splitlines()
    assert [line.split()[0] for line in lines] == ["IMAGE", both, red]
    assert lines[1].endswith("red, blue")
    assert "a name that is much too…" in lines[1]
    assert all("thumbnail_url" in image for image in shell.run(*own, "--json", "--urls").objects())


def test_a_time_that_is_none(shell: Shell) -> None:
    done = shell.run("list", "--after", "yesterday")
    assert done.code == 2
    assert "wants a day such as 2026-01-31" in done.err


def test_get_shows_an_image_and_a_link(shell: Shell) -> None:
    image_id = shell.uploaded("--tag", "x", "--description", "two\nlines")
    done = shell.run("get", image_id, "--expires-in", "10m")
    assert done.code == 0
    assert re.search(r"^tags +x$", done.out, re.MULTILINE)
    assert re.search(r"^description +two\n {15}lines$", done.out, re.MULTILINE)
    link = re.search(r"^link +(\S+)$", done.out, re.MULTILINE)
    assert link
    assert httpx.get(link[1]).content == (shell.directory / "cat.png").read_bytes()
    (image,) = shell.run("get", image_id, "--json", "--width", 4, "--format", "jpeg").objects()
    answer = httpx.get(image["url"], follow_redirects=True)
    assert answer.headers["content-type"] == "image/jpeg"


def test_tags(shell: Shell) -> None:
    shell.uploaded("--tag", "sea", "--tag", "sand")
    shell.uploaded("--tag", "sea")
    done = shell.run("tags", "--user", shell.user, "--json")
    assert done.objects() == [{"tag": "sand", "count": 1}, {"tag": "sea", "count": 2}]
    assert shell.run("tags", "--user", shell.user, "--prefix", "se").out.split() == ["IMAGES", "TAG", "2", "sea"]


# download


def test_downloads(shell: Shell) -> None:
    one, two = shell.uploaded(name="one.png"), shell.uploaded(name="two.png")
    data = {name: (shell.directory / name).read_bytes() for name in ("one.png", "two.png")}
    target = shell.directory / "saved"
    target.mkdir()
    done = shell.run("download", one, two, "-o", target)
    assert (done.code, done.out.split()) == (0, [str(target / "one.png"), str(target / "two.png")])
    assert {path.name: path.read_bytes() for path in target.iterdir()} == data
    assert shell.run("download", one, "-o", "-").raw == data["one.png"]
    named = shell.directory / "small.webp"
    assert shell.run("download", one, "--width", 4, "--format", "webp", "-o", named).code == 0
    assert named.read_bytes()[8:12] == b"WEBP"
    assert shell.run("download", one, two, "-o", shell.directory / "no-folder").code == 2
    done = shell.run("download", NOBODY, two, "-o", shell.directory)
    assert (done.code, done.out, "[image_not_found]" in done.err) == (1, "", True)  # two.png is there already
    assert "two.png" in done.err


def test_a_download_of_nothing_leaves_nothing(shell: Shell) -> None:
    done = shell.run("download", NOBODY, "-o", shell.directory / "x.png")
    assert (done.code, done.out) == (3, "")
    assert "[image_not_found]" in done.err
    assert list(shell.directory.iterdir()) == []


# update, delete


def test_changes(shell: Shell) -> None:
    image_id = shell.uploaded("--tag", "a", "--tag", "b")
    assert shell.run("update", image_id, "--add-tag", "c", "--remove-tag", "A", "--description", "new").code == 0
    assert shell.record(image_id)["tags"] == ["b", "c"]
    assert shell.run("update", image_id, "--tags", "x,y", "--filename", "z.png").code == 0
    record = shell.record(image_id)
    assert (record["tags"], record["description"], record["filename"]) == (["x", "y"], "new", "z.png")
    (changed,) = shell.run("update", image_id, "--tags", "", "--description", "", "--filename", "", "--json").objects()
    assert (changed["tags"], changed["description"], changed["filename"]) == ([], "", f"{image_id}.png")


def test_changes_that_can_not_be(shell: Shell) -> None:
    image_id = shell.uploaded()
    assert shell.run("update", image_id).code == 2
    assert shell.run("update", image_id, "--tags", "a", "--add-tag", "b").code == 2
    stale = shell.run("update", image_id, "--description", "x", "--if-version", 7)
    assert stale.code == 3
    assert "is at version 1, and not 7 [precondition_failed]" in stale.err
    assert shell.record(image_id)["version"] == 1


def test_deletes(shell: Shell) -> None:
    one, two, three = (shell.uploaded() for _ in range(3))
    done = shell.run("delete", one, NOBODY)
    assert (done.code, done.out) == (1, f"{one}  deleted\n{NOBODY}  not found\n")
    done = shell.run("delete", "-", "--json", given=f"{two}\n\n{three}\n".encode())
    assert (done.code, [result["status"] for result in done.objects()]) == (0, ["deleted", "deleted"])
    assert shell.run("list", "--user", shell.user).out == ""


# All of them


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_is_worth_reading(command: str) -> None:
    done = invoke(command, "--help")
    assert done.code == 0
    assert f"image-service {command}" in done.out.partition("Options:")[0], "an example"
    options = re.findall(r"^  (?:-\w, )?--[\w-]+.*$", done.out, re.MULTILINE)
    assert len(options) > 1
    assert max(map(len, done.out.splitlines())) <= 100


def test_all_commands_and_exit_codes_are_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    section = text.partition("## Command line\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)[^`]*` \|", section, re.MULTILINE)) == set(_COMMANDS)
    assert dict(re.findall(r"^\| (\d+) \| (.+) \|$", section, re.MULTILINE)) == {
        str(code): meaning for code, meaning in EXITS.items()
    }


def test_what_there_is_no_command_for() -> None:
    done = invoke("uplaod")
    assert done.code == 2
    assert "No such command" in done.err


def test_a_service_that_is_not_there() -> None:
    done = invoke("tags", "--url", "http://127.0.0.1:9", IMAGE_SERVICE_TOKEN="x")
    assert (done.code, done.out) == (4, "")
    assert "http://127.0.0.1:9" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8000", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    done = invoke("tags", "--url", url)
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_json_is_one_object_a_line(shell: Shell) -> None:
    image_id = shell.uploaded()
    (line,) = shell.run("get", image_id, "--json").out.splitlines()
    assert json.loads(line)["image_id"] == image_id
