"""What moves many files: what it finds in a folder, in which order it works, and what ends it."""

import mimetypes
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from src.client import Client
from src.client.errors import ServiceUnreachable, UnexpectedAnswer
from src.common.errors import (
    QuotaExceeded,
    ServiceError,
    StoreFailed,
    StoreUnavailable,
    TokenInvalid,
    TooManyRequests,
    UndecodableImage,
)
from src.transfer.archives import Archive, NotAnExport, Writer
from src.transfer.folders import FolderOptions, scan
from src.transfer.parallel import AHEAD, in_order
from src.transfer.results import Result, refused
from tests.support.images import make_image


def test_results_come_in_order_and_things_are_taken_as_needed() -> None:
    """The first one takes longest; of a thousand things no more are taken than there is work for."""
    first, taken = threading.Event(), []

    def things() -> Iterator[int]:
        for number in range(1_000):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        if number == 0:
            assert first.wait(10)
        elif number == AHEAD * 3 - 1:
            first.set()
        return -number

    results = in_order(work, things(), jobs=3)
    assert next(results) == 0
    assert len(taken) == AHEAD * 3
    assert list(results) == [-number for number in range(1, 1_000)]


def at_work() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("transfer")]


def test_what_is_raised_ends_the_work() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise StoreFailed("no")
        return number

    results = in_order(work, range(1_000), jobs=2)
    with pytest.raises(StoreFailed):
        list(results)
    assert len(begun) <= 5 + AHEAD * 2 + 2
    assert not at_work()


def test_what_is_done_is_told_before_what_went_wrong() -> None:
    first, later = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert first.wait(10)
            raise StoreFailed("no")
        if number == AHEAD * 2 - 1:
            first.set()
            assert later.wait(10)
        return number

    results = in_order(work, range(1_000), jobs=2)
    told = []
    threading.Timer(0.05, later.set).start()
    with pytest.raises(StoreFailed):
        told.extend(results)
    assert told == list(range(1, AHEAD * 2))


def test_who_stops_reading_ends_the_work() -> None:
    results = in_order(abs, range(1_000), jobs=2)
    assert next(results) == 0
    results.close()
    assert not at_work()


def test_what_a_folder_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mimetypes, "guess_type", mimetypes.MimeTypes(filenames=()).guess_type)  # as in a container
    files = "b/2.JPG b/1.jpeg a.tif c.pdf .x.png .git/d.png README e.avif f.webp h.jfif i.heic"
    for name in files.split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.tif")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    pictures, others = scan(tmp_path)
    names = ["a.tif", "b/1.jpeg", "b/2.JPG", "e.avif", "f.webp", "h.jfif", "i.heic", "link.png"]
    assert [(found.name, found.size) for found in pictures] == [(name, 3) for name in names]
    assert {other.path: (other.status, other.detail) for other in others} == {
        "README": ("skipped", "is no picture"),
        "c.pdf": ("skipped", "is no picture"),
        "dangling.png": ("refused", "No such file or directory"),
        "loop": ("skipped", "is a link to a folder, which is not followed"),
        "pipe.png": ("skipped", "is no picture"),
    }


def test_names_of_any_bytes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"123")
    ((found,), _) = scan(tmp_path)
    assert found.name == "caf\ufffd.png"
    assert found.path.read_bytes() == b"123"


def test_a_folder_that_can_not_be_read_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"123")
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    pictures, (closed,) = scan(tmp_path)
    assert [found.name for found in pictures] == ["a.png"]
    assert (closed.path, closed.status, closed.detail) == ("closed", "refused", "Permission denied")


def test_tags_of_folders(tmp_path: Path) -> None:
    (tmp_path / "2025" / "Sea").mkdir(parents=True)
    (tmp_path / "2025" / "Sea" / "a.png").write_bytes(b"")
    ((found,), _) = scan(tmp_path)
    assert FolderOptions(tags=("all",), tags_from_folders=True).tags_of(found) == ("all", "2025", "Sea")
    assert FolderOptions(tags=("all",)).tags_of(found) == ("all",)


def client_of(status: int) -> Client:
    """Return a client of a service whose stores answer so."""
    answer = {"status": "ready"} if status == 200 else {"code": "store_unavailable", "status": status}
    full = {"type": "", "title": "", "detail": "", **answer}
    return Client(
        "http://service", retries=0, transport=httpx.MockTransport(lambda _: httpx.Response(status, json=full))
    )


def of_status(cls: type[ServiceError], status: int | None = None) -> ServiceError:
    error = cls("words")
    error.status = status
    return error


THIS = Result(path="a", status="missing", size=1)
FOR_ALL = [of_status(TokenInvalid), of_status(TooManyRequests)]
OUTAGES = [of_status(ServiceUnreachable), of_status(StoreUnavailable), of_status(UnexpectedAnswer, 502)]
OWN = [of_status(UndecodableImage), of_status(StoreFailed), of_status(QuotaExceeded)]


@pytest.mark.parametrize("error", FOR_ALL + OUTAGES, ids=lambda error: type(error).__name__)
def test_what_all_files_would_meet_is_raised(error: ServiceError) -> None:
    with pytest.raises(type(error)):
        refused(client_of(503), THIS, error)


@pytest.mark.parametrize("error", OUTAGES + OWN, ids=lambda error: type(error).__name__)
def test_what_one_file_meets_is_told(error: ServiceError) -> None:
    """As long as the service itself is well: one poisonous file does not keep the others."""
    result = refused(client_of(200), THIS, error)
    assert (result.path, result.status, result.code, result.detail) == ("a", "refused", error.code, "words")


def test_a_file_that_is_at_fault_itself() -> None:
    unreadable = refused(client_of(200), THIS, PermissionError(13, "Permission denied"))
    assert (unreadable.code, unreadable.detail) == ("unreadable", "Permission denied")
    assert refused(client_of(200), THIS, ValueError("it changed")).code == "changed"


def test_an_export_is_there_when_it_is_whole(tmp_path: Path) -> None:
    """What a writer leaves that does not come to its end is not taken for an export, and a former one stays."""
    archive, image = Archive(tmp_path / "export"), make_image()
    with archive.begun({"tags": ()}):
        with Writer(archive) as writer:
            writer.add(image)
        with pytest.raises(NotAnExport):
            list(archive.records())
        with Writer(archive) as writer:
            writer.add(image)
            writer.finish()
        assert list(archive.records()) == [image]
        with pytest.raises(NotAnExport, match="another export"), archive.begun({"tags": ()}):
            pass
        with Writer(archive):
            pass
    with archive.begun({"tags": ()}):
        assert list(archive.records()) == [image]
    with pytest.raises(NotAnExport, match="other images"), archive.begun({"tags": ("cat",)}):
        pass


def test_one_of_another_format(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text('{"format": "image-service-export-2", "images": {}, "more": 1}')
    with pytest.raises(NotAnExport, match="image-service-export-2"):
        list(Archive(tmp_path).records())


def test_lines_that_are_no_records(tmp_path: Path) -> None:
    archive, image = Archive(tmp_path), make_image()
    with archive.begun({}), Writer(archive) as writer:
        writer.add(image)
        writer.finish()
    whole = (tmp_path / "metadata.jsonl").read_bytes().strip()
    broken = [b"{}", b"\xff", whole[:40], whole.replace(b'"image_id":"', b'"image_id":"../'), b"[]"]
    (tmp_path / "metadata.jsonl").write_bytes(b"\n".join(broken) + b"\n" + whole)
    *problems, read = archive.records()
    assert read == image
    assert [str(problem).split()[:2] for problem in problems] == [["line", str(number)] for number in range(1, 6)]
