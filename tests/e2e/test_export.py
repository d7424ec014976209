"""`image-service export`, and `import` of what it made: nothing is lost, from one home to the other and back."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.command import Done, invoke
from tests.support.emulator import Emulator
from tests.support.library import listed, original
from tests.support.pictures import ENCODERS, animation, noise, picture
from tests.support.server import Server
from tests.support.tokens import AUTH, bearer, token


def fill(http: httpx.Client) -> None:
    """Store pictures of every format and several users, with odd texts, changed ones, and two of the same bytes."""
    pictures = {f"{name}.{name}": picture(name) for name in ENCODERS} | {
        "animation.gif": animation("gif"),
        "large.png": noise(1_400, 1_300),  # of more than 5 MiB
        "Größe \u202f“x”.png": noise(5, 5),
        "again.jpeg": picture("jpeg"),
    }
    for number, (name, data) in enumerate(pictures.items()):
        fields: dict[str, Any] = {
            "user_id": ("ann", "bob", "c|x@y.z")[number % 3],
            "tags": ["every", f"nr {number}", "naïve"],
            "description": "two\nlines, “quoted” 🐈" if number % 2 else "",
        }
        answer = http.post("/images", files={"file": (name, data)}, data=fields)
        assert answer.status_code == 201, answer.text
        image_id = answer.json()["image_id"]
        for change in range(number % 3):
            http.patch(f"/images/{image_id}", json={"description": f"changed {change}"})


def run(server: Server, *arguments: object, token: str = "") -> Done:
    return invoke(*arguments, IMAGE_SERVICE_URL=server.url, **({"IMAGE_SERVICE_TOKEN": token} if token else {}))


def state(server: Server) -> tuple[list[dict[str, Any]], dict[str, bytes], Any, Any]:
    """Return the list, the bytes of all originals, and both kinds of counts."""
    images = list(listed(server.http))
    contents = {image["image_id"]: original(server.http, image["image_id"]) for image in images}
    return images, contents, server.http.get("/tags").json(), server.http.get("/usage").json()


def test_from_the_embedded_home_to_aws_and_back(emulator: Emulator, tmp_path: Path) -> None:
    """Lists, records, bytes and counts are the same everywhere; and each step can be repeated and changes nothing."""
    there, back = tmp_path / "there", tmp_path / "back"
    with (
        Server(tmp_path / "one") as one,
        Server(tmp_path / "aws", environment=emulator.home()) as aws,
        Server(tmp_path / "two") as two,
    ):
        fill(one.http)
        before = state(one)
        assert {image["version"] for image in before[0]} == {1, 2, 3}
        for source, folder, target in ((one, there, aws), (aws, back, two)):
            done = run(source, "export", folder)
            assert (done.code, done.err) == (0, "")
            for status in ("restored", "there already"):
                done = run(target, "import", folder)
                assert (done.code, done.err) == (0, "")
                assert f"10 files: 10 {status}" in done.out
            assert state(target) == before
        assert tree(there) == tree(back)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Home:
    """A server with three images, and an export of it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder

    def export(self, *options: object) -> Done:
        return run(self.server, "export", self.folder, *options)

    def import_(self, *options: object) -> Done:
        return run(self.server, "import", self.folder, *options)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "metadata.jsonl").read_text().splitlines()]

    def write(self, *records: dict[str, Any]) -> None:
        (self.folder / "metadata.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Server(tmp_path / "data") as server:
        for number in range(3):
            files = {"file": (f"{number}.png", noise(6, 6))}
            server.http.post("/images", files=files, data={"user_id": f"u{number}", "tags": f"t{number}"})
        yield Home(server, tmp_path / "export")


def test_an_export_is_brought_up_to_date(home: Home) -> None:
    assert home.export().out.startswith("3 files: 3 downloaded")
    gone, kept, changed = (image["image_id"] for image in home.records())
    home.server.http.delete(f"/images/{gone}")
    home.server.http.patch(f"/images/{changed}", json={"description": "new"})
    (home.folder / "originals" / kept[-2:] / f"{kept}.png").write_bytes(b"damaged")
    done = home.export("--json")
    assert {result["image_id"]: result["status"] for result in done.objects()[:-1]} == {
        kept: "downloaded",
        changed: "present",
    }
    assert [(record["image_id"], record["description"]) for record in home.records()] == [(kept, ""), (changed, "new")]
    assert [record["image_id"] for record in home.records()] == sorted([kept, changed])


def test_what_the_options_name(home: Home) -> None:
    """And once it is made, an export is of these: others would take the place of their records."""
    assert home.export("--tag", "t1").code == 0
    assert [record["tags"] for record in home.records()] == [["t1"]]
    for options in ((), ("--tag", "t2"), ("--tag", "t1", "--after", "2020-01-01")):
        done = home.export(*options)
        assert (done.code, done.out) == (2, "")
        assert "has an export of other images" in done.err
    assert [record["tags"] for record in home.records()] == [["t1"]]
    assert home.export("--tag", "t1").code == 0


@pytest.mark.parametrize("name", ["thesis.txt", "metadata.jsonl", "export.json"])
def test_a_folder_with_something_else_in_it(home: Home, name: str) -> None:
    """Also of the names that an export has: others use them, too."""
    home.folder.mkdir()
    (home.folder / name).write_text('{"file_name": "cat.png"}')
    done = home.export()
    assert (done.code, done.out) == (2, "")
    assert "wants to be empty" in done.err or "is not that of an export" in done.err
    assert "broke off" not in done.err
    assert tree(home.folder) == {name: b'{"file_name": "cat.png"}'}


def test_an_original_that_the_service_has_lost(home: Home) -> None:
    """It is told as what it is: a backup must not pass over it."""
    image_id = next(listed(home.server.http))["image_id"]
    (path,) = home.server.data_dir.rglob(f"originals/*/{image_id}.png")
    path.unlink()
    done = home.export()
    assert (done.code, done.out.startswith("3 files: 2 downloaded, 1 refused")) == (1, True)
    assert "[object_not_found]" in done.err
    assert image_id not in {record["image_id"] for record in home.records()}


def test_one_export_at_a_time(home: Home) -> None:
    home.export()
    with (home.folder / "export.json").open("rb") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        done = home.export()
    assert (done.code, "another export is at it" in done.err) == (2, True)
    assert len(home.records()) == 3


def test_what_a_killed_export_left_is_cleared(home: Home) -> None:
    home.export()
    left = home.folder / "originals" / "00" / ".0123456789abcdef.part"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half a picture")
    assert home.export().code == 0
    assert not left.exists()


def test_one_that_broke_off_is_not_imported(home: Home) -> None:
    home.export()
    (home.folder / "metadata.jsonl").rename(home.folder / "metadata.jsonl.part")
    done = home.import_()
    assert (done.code, done.out) == (2, "")
    assert "broke off; run it again first" in done.err
    assert home.export().out.startswith("3 files: 3 there already")


def test_after_a_deletion_all_comes_back(home: Home) -> None:
    before = state(home.server)
    home.export()
    ids = [image["image_id"] for image in before[0]]
    assert home.server.http.post("/images/delete", json={"image_ids": ids}).json()["deleted"] == 3
    assert home.import_().out.startswith("3 files: 3 restored")
    assert state(home.server) == before


def test_what_is_there_in_another_way_stays(home: Home) -> None:
    home.export()
    one, two, _ = home.records()
    home.server.http.patch(f"/images/{one['image_id']}", json={"tags": ["newer"]})
    done = home.import_()
    assert (done.code, done.out) == (1, "3 files: 2 there already, 1 refused\n")
    what = "is there with another tags, updated_at, version [image_exists]"
    assert f"{one['image_id']}.png: refused: {what}" in done.err
    assert home.server.http.get(f"/images/{one['image_id']}").json()["tags"] == ["newer"]
    other = noise(4, 4)
    path = home.folder / "originals" / two["image_id"][-2:] / f"{two['image_id']}.png"
    path.write_bytes(other)
    home.write({**two, "sha256": hashlib.sha256(other).hexdigest(), "size": len(other)})
    done = home.import_()
    assert done.code == 1
    assert "refused: is there with another size, sha256 [image_exists]" in done.err
    assert original(home.server.http, two["image_id"]) != other


def test_what_has_changed_is_replaced_if_that_is_asked_for(home: Home) -> None:
    before = state(home.server)
    home.export()
    one, *_ = home.records()
    home.server.http.patch(f"/images/{one['image_id']}", json={"tags": ["newer"]})
    assert home.import_("--replace").out.startswith("3 files: 1 restored, 2 there already")
    assert state(home.server) == before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"image_id": "../../../etc/passwd"}, "invalid_record"),
        ({"content_type": "text/html"}, "invalid_record"),
        ({"size": "many"}, "invalid_record"),
        ({"user_id": "nobody/else"}, "invalid_request"),
        ({"updated_at": "2001-01-01T00:00:00Z"}, "invalid_request"),
    ],
)
def test_records_that_can_not_be(home: Home, change: dict[str, Any], code: str) -> None:
    """One is refused, and the others are imported."""
    home.export()
    first, *others = home.records()
    home.write({**first, **change}, *others)
    for record in [*home.records()[1:], first]:
        home.server.http.delete(f"/images/{record['image_id']}")
    done = home.import_("--json")
    assert done.code == 1
    *results, summary = done.objects()
    assert summary["counts"] == {"refused": 1, "restored": 2}
    assert [result["code"] for result in results if result["status"] == "refused"] == [code]


def test_files_that_are_not_as_they_were(home: Home) -> None:
    home.export()
    one, two, three = home.records()
    for record in (one, two, three):
        home.server.http.delete(f"/images/{record['image_id']}")
    shutil.rmtree(home.folder / "originals" / one["image_id"][-2:])
    path = home.folder / "originals" / two["image_id"][-2:] / f"{two['image_id']}.png"
    path.parent.mkdir(exist_ok=True)  # both may have been in it
    path.write_bytes(noise(6, 6))
    done = home.import_("--json")
    assert done.code == 1
    codes = {result["image_id"]: result.get("code") for result in done.objects()[:-1]}
    assert codes[one["image_id"]] == "unreadable"
    assert codes[two["image_id"]] in ("changed", "unreadable")
    assert home.server.http.get(f"/images/{two['image_id']}").status_code == 404


def test_files_that_are_not_as_they_were_are_no_new_images(home: Home) -> None:
    home.export()
    one, *_ = home.records()
    (home.folder / "originals" / one["image_id"][-2:] / f"{one['image_id']}.png").write_bytes(noise(6, 6))
    done = home.import_("--as-new", "--json")
    assert done.code == 1
    codes = [result["code"] for result in done.objects()[:-1] if result["status"] == "refused"]
    assert codes == ["changed"]
    assert home.server.http.get("/usage").json()["images"] == 3


def test_a_quota_ends_for_its_owner_alone(home: Home, tmp_path: Path) -> None:
    """And what is there already is so, however full it is."""
    for _ in range(2):
        files = {"file": ("more.png", noise(6, 6))}
        home.server.http.post("/images", files=files, data={"user_id": "u0"})
    home.export()
    with Server(tmp_path / "small", environment={"QUOTA_IMAGES": "1"}) as small:
        for moved in ("restored", "there already"):
            done = run(small, "import", home.folder)
            assert (done.code, done.out.startswith(f"5 files: 3 {moved}, 2 refused")) == (1, True), done
            assert done.err.count("[quota_exceeded]") == 2
        assert {image["user_id"] for image in listed(small.http)} == {"u0", "u1", "u2"}


def test_with_a_rate_limit_it_takes_longer(home: Home, tmp_path: Path) -> None:
    for number in range(20):
        home.server.http.post("/images", files={"file": (f"{number}.png", noise(6, 6))})
    home.export()
    limited = AUTH | {"RATE_LIMIT": "25", "RATE_BURST": "5"}
    with Server(tmp_path / "limited", environment=limited) as server:
        done = run(server, "import", home.folder, token=token("me", "images:admin"))
        assert (done.code, done.err) == (0, "")
        assert "23 files: 23 restored" in done.out


def test_only_an_admin_gives_images_back_their_ids(home: Home, tmp_path: Path) -> None:
    """Anybody else may have them as new ones, of their own."""
    home.export("--user", "u1")
    (record,) = home.records()
    with Server(tmp_path / "guarded", environment=AUTH) as server:
        own = token("u1")
        done = run(server, "import", home.folder, token=own)
        assert done.code == 3
        assert "[insufficient_scope]" in done.err
        done = run(server, "import", home.folder, "--as-new", "--json", token=own)
        assert done.code == 0, done.err
        image = server.http.get(f"/images/{done.objects()[0]['image_id']}", headers=bearer(own)).json()
        assert image["image_id"] != record["image_id"]
        for name in ("sha256", "tags", "filename", "description", "user_id"):
            assert image[name] == record[name]
        done = run(server, "import", home.folder, "--as-new", token=own)
        assert done.out == "1 file: 1 there already\n"


def test_an_export_says_all_itself(home: Home) -> None:
    home.export()
    assert home.import_("--tag", "more").code == 2
    assert home.import_("--as-new", "--replace").code == 2
