"""`image-service serve` as a process: how it starts, refuses to start, and ends."""

import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.support.pictures import noise, picture
from tests.support.server import ROOT, Server, environment_with, is_running, wait_until
from tests.support.tokens import AUTH

SECRET = "open-sesame"  # too short for a key
TRACED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(params=[1, 2], ids=["one-worker", "two-workers"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own."""
    with Server(tmp_path / "data", "--workers", str(request.param)) as server:
        # All are ready for a signal, not only the one that was the first to answer.
        wait_until(lambda: len(server.workers()) == (request.param if request.param > 1 else 0))
        wait_until(lambda: all(map(catches_sigterm, server.workers())))
        yield server


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


def catches_sigterm(pid: int) -> bool:
    """Tell whether the process has a handler for the signal (SigCgt in proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"SigCgt:\s+([0-9a-f]+)", status)
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def port_of(server: Server) -> int:
    return httpx.URL(server.url).port or 80


def serve_refused(*options: str, environment: Mapping[str, str]) -> str:
    """Run a serve that can't start; return the one line that says why."""
    done = subprocess.run(
        [sys.executable, "-m", "src", "serve", *options],
        cwd=ROOT,
        env=environment_with(**environment),
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("image-service: ")
    return done.stderr


def upload(server: Server, data: bytes) -> str:
    answer = server.http.post("/images", content=data, headers={"Content-Type": "image/png"})
    assert answer.status_code == 201, answer.text
    image_id: str = answer.json()["image_id"]
    return image_id


def begin_upload(server: Server, data: bytes) -> socket.socket:
    """Send the head of a raw upload and half of its body, and return once the service has begun to read it."""
    connection = socket.create_connection(("127.0.0.1", port_of(server)), timeout=20)
    connection.sendall(
        b"POST /images HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(data)
    )
    # The server says so when the application asks for the body.
    assert b"100 Continue" in connection.recv(1000)
    connection.sendall(data[: len(data) // 2])
    return connection


def everything_from(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


# Starting.


def test_prints_one_line_and_answers_then(fresh: Server) -> None:
    """Standard output carries the URL, which answers by then, and nothing else until the end."""
    assert fresh.http.get("/readyz").status_code == 200
    assert fresh.stop() == 0
    assert fresh.process.stdout is not None
    assert fresh.process.stdout.read() == ""


def test_second_start_is_quick(tmp_path: Path) -> None:
    for _ in range(2):
        started = time.monotonic()
        with Server(tmp_path / "data") as server:
            assert server.http.get("/images").status_code == 200
            taken = time.monotonic() - started
            assert server.stop() == 0
    assert taken < 10


def test_any_address_when_that_is_allowed(tmp_path: Path) -> None:
    """The announced URL is one that can be followed from here."""
    with Server(tmp_path / "data", environment={"HOST": "0.0.0.0", "ALLOW_ANONYMOUS": "1"}) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert server.http.get("/images").json()["count"] == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_needs_no_permission(host: str, tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--host", host) as server:
        assert server.http.get("/images").status_code == 200


@pytest.mark.parametrize("host", ["evil.example.com", "192.168.1.5:8000", "localhost.evil.example.com", "[::2]", "x@"])
def test_an_open_service_answers_to_its_own_name_alone(server: Server, host: str) -> None:
    """Else a page whose host name is made to point at 127.0.0.1 could do everything."""
    for method, path in (("GET", "/images"), ("POST", "/images"), ("DELETE", "/images/x")):
        answer = server.http.request(method, path, headers={"Host": host})
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_refused")


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "LOCALHOST", "127.0.0.1", "[::1]:80", "app.localhost"])
def test_an_open_service_answers_to_each_of_its_names(server: Server, host: str) -> None:
    assert server.http.get("/images", headers={"Host": host}).status_code == 200


def test_an_open_service_in_a_container_answers_to_its_own_name_alone(tmp_path: Path) -> None:
    """It listens on all addresses there, and the port is published on loopback."""
    with Server(tmp_path / "data", environment={"HOST": "0.0.0.0", "ALLOW_ANONYMOUS": "localhost"}) as server:
        assert server.http.get("/images", headers={"Host": "localhost:8000"}).status_code == 200
        assert server.http.get("/images", headers={"Host": "evil.example.com"}).status_code == 403
        assert "other host names than localhost are refused" in server.log.read_text()


def test_others_answer_to_any_name(tmp_path: Path) -> None:
    """As behind a proxy; whoever may call is asked for a token, or is meant to be anybody."""
    elsewhere = {"Host": "images.example.com"}
    for settings, status in (({"ALLOW_ANONYMOUS": "1"}, 200), (AUTH, 401)):
        with Server(tmp_path / str(status), environment=settings) as server:
            assert server.http.get("/images", headers=elsewhere).status_code == status
    with Server(tmp_path / "named", environment={"S3_PUBLIC_ENDPOINT": "https://images.example.com"}) as server:
        assert server.http.get("/images", headers=elsewhere).status_code == 200


def test_options_win_over_the_environment(tmp_path: Path, taken_port: int) -> None:
    """All four options replace what the environment says, and it isn't even read."""
    environment = {"HOST": "0.0.0.0", "PORT": str(taken_port), "WORKERS": "many", "DATA_DIR": "/proc/nothing"}
    data_dir = tmp_path / "data"
    options = ("--host", "127.0.0.1", "--port", "0", "--workers", "2", "--data-dir", str(data_dir))
    with Server(data_dir, *options, environment=environment) as server:
        wait_until(lambda: len(server.workers()) == 2)
        upload(server, picture("png"))
        assert (data_dir / "images.sqlite3").is_file()


@pytest.mark.parametrize("name", ["with a space", "50% #1?", "dünn [x]* a'b\"c"])
def test_data_dir_may_have_any_name(name: str, tmp_path: Path) -> None:
    """Names that mean something in a URL, a glob or SQL are nothing but names."""
    data = picture("png")
    with Server(tmp_path / name) as server:
        image_id = upload(server, data)
        assert httpx.get(server.http.get(f"/images/{image_id}").json()["url"]).content == data
    assert [path.read_bytes() for path in (tmp_path / name / "objects").rglob("*.png")] == [data]


def test_relative_data_dir_is_the_callers(tmp_path: Path) -> None:
    """`./data` lies below the directory that the command runs in, in the workers too."""
    (tmp_path / "here").mkdir()
    relative = os.path.relpath(tmp_path / "here", ROOT)
    with Server(tmp_path / "here", "--workers", "2", environment={"DATA_DIR": relative}) as server:
        upload(server, picture("png"))
    assert len(list((tmp_path / "here" / "objects").rglob("*.png"))) == 1


# Not starting.


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PORT": "abc"}, ["PORT", "'abc'", "65535"]),
        ({"PORT": "65536"}, ["PORT", "'65536'"]),
        ({"WORKERS": "0"}, ["WORKERS", "'0'"]),
        ({"MAX_IMAGE_SIZE": "0"}, ["MAX_IMAGE_SIZE", "'0'"]),
        ({"HOST": "0.0.0.0"}, ["HOST", "'0.0.0.0'", "ALLOW_ANONYMOUS"]),
        ({"HOST": "::"}, ["HOST", "'::'", "ALLOW_ANONYMOUS"]),
        ({"HOST": "192.0.2.1", "ALLOW_ANONYMOUS": "1"}, ["HOST", "'192.0.2.1'"]),  # TEST-NET-1: nobody's
        ({"HOST": "nowhere.invalid", "ALLOW_ANONYMOUS": "1"}, ["HOST", "'nowhere.invalid'"]),
        ({"HOST": "no..where", "ALLOW_ANONYMOUS": "1"}, ["HOST", "'no..where'"]),
        ({"HOST": "n" * 64, "ALLOW_ANONYMOUS": "1"}, ["HOST", "'nnn"]),
        ({"OTEL_TRACES_EXPORTER": "otpl", "WORKERS": "2"}, ["OTEL_TRACES_EXPORTER", "'otpl'"]),
        (TRACED | {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "z"}, ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "got z"]),
    ],
    ids=lambda value: " ".join(f"{k}={v[:20]}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_bad_variable_is_named(environment: dict[str, str], said: list[str], tmp_path: Path) -> None:
    """One line: the variable, what it got and what it wants."""
    line = serve_refused(environment={"DATA_DIR": str(tmp_path / "data"), "PORT": "0", **environment})
    for words in [*said, "wants"]:
        assert words in line


def test_bad_option_is_named_like_its_variable(tmp_path: Path) -> None:
    line = serve_refused("--port", "abc", environment={"DATA_DIR": str(tmp_path / "data")})
    assert "PORT: got 'abc'" in line


@pytest.mark.parametrize("keys", [SECRET, f"a-key-that-is-long-enough,{SECRET}", f"{SECRET},"])
def test_bad_keys_are_not_shown(keys: str, tmp_path: Path) -> None:
    line = serve_refused(environment={"DATA_DIR": str(tmp_path / "data"), "PORT": "0", "URL_SIGNING_KEYS": keys})
    assert "URL_SIGNING_KEYS" in line
    assert SECRET not in line
    assert "long-enough" not in line


def test_port_in_use(taken_port: int, tmp_path: Path) -> None:
    line = serve_refused(environment={"DATA_DIR": str(tmp_path / "data"), "PORT": str(taken_port)})
    assert "PORT" in line
    assert str(taken_port) in line


def test_port_of_another_server(fresh: Server, tmp_path: Path) -> None:
    """A second server on the same port is refused, and the first goes on as if nothing had been."""
    port = str(port_of(fresh))
    assert port in serve_refused(environment={"DATA_DIR": str(tmp_path / "other"), "PORT": port})
    assert fresh.http.get("/readyz").status_code == 200


def a_file(path: Path) -> Path:
    path.write_text("not a directory")
    return path


def below_a_file(path: Path) -> Path:
    return a_file(path) / "data"


def unwritable(_: Path) -> Path:
    return Path("/proc/nothing")  # to root, too


def with_a_file_for_objects(path: Path) -> Path:
    path.mkdir()
    (path / "objects").write_text("not a directory")
    return path


def with_another_database(path: Path) -> Path:
    path.mkdir()
    (path / "images.sqlite3").write_bytes(b"no SQLite file begins like this. " * 100)
    return path


def with_a_directory_for_key(path: Path) -> Path:
    (path / "url_signing_key").mkdir(parents=True)
    return path


def with_an_empty_key(path: Path) -> Path:
    path.mkdir()
    (path / "url_signing_key").touch()
    return path


def with_a_binary_key(path: Path) -> Path:
    path.mkdir()
    (path / "url_signing_key").write_bytes(b"\xff\xfe" * 20)
    return path


def of_a_newer_release(path: Path) -> Path:
    path.mkdir()
    with closing(sqlite3.connect(path / "images.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 999")
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (a_file, "data"),
        (below_a_file, "data"),
        (unwritable, "/proc/nothing"),
        (with_a_file_for_objects, "objects"),
        (with_another_database, "images.sqlite3"),
        (with_a_directory_for_key, "url_signing_key"),
        (with_an_empty_key, "url_signing_key"),  # or anybody could sign links
        (with_a_binary_key, "url_signing_key"),
        (of_a_newer_release, "999"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_bad_data_dir(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    line = serve_refused(environment={"DATA_DIR": str(make(tmp_path / "data")), "PORT": "0"})
    assert "DATA_DIR" in line
    assert said in line


def test_newer_database_is_left_alone(tmp_path: Path) -> None:
    directory = of_a_newer_release(tmp_path / "data")
    serve_refused(environment={"DATA_DIR": str(directory), "PORT": "0"})
    with closing(sqlite3.connect(directory / "images.sqlite3")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (999,)
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


# Ending.


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_ends_when_told_to(fresh: Server, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end it soon, although a client keeps its connection open; no traceback, nothing stays."""
    upload(fresh, picture("png"))
    workers = fresh.workers()
    fresh.process.send_signal(number)
    assert fresh.process.wait(timeout=10) == 0
    assert "Traceback" not in fresh.log.read_text()
    wait_until(lambda: not any(map(is_running, workers)))
    with closing(socket.create_server(("127.0.0.1", port_of(fresh)))):
        pass


def test_ends_on_ctrl_c(fresh: Server) -> None:
    """A terminal sends SIGINT to the workers too."""
    for pid in (fresh.process.pid, *fresh.workers()):
        os.kill(pid, signal.SIGINT)
    assert fresh.process.wait(timeout=10) == 0
    assert "Traceback" not in fresh.log.read_text()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_request_in_flight_is_answered(fresh: Server, number: signal.Signals) -> None:
    """A server that is told to end takes no new connection, finishes what it has begun, and then ends."""
    data = noise(300, 200)
    with begin_upload(fresh, data) as connection:
        workers = len(fresh.workers())
        fresh.process.send_signal(number)
        if workers:
            wait_until(lambda: len(fresh.workers()) == 1)  # the one that the request is at
        else:
            wait_until(lambda: not accepts(port_of(fresh)))
        assert fresh.process.poll() is None
        for i in range(len(data) // 2, len(data), len(data) // 8):
            connection.sendall(data[i : i + len(data) // 8])
            time.sleep(0.1)  # a slow client, on purpose
        assert everything_from(connection).startswith(b"HTTP/1.1 201 ")
    assert fresh.process.wait(timeout=10) == 0
    assert "Traceback" not in fresh.log.read_text()
    with Server(fresh.data_dir) as again:
        (image,) = again.http.get("/images", params={"include": "urls"}).json()["images"]
        assert httpx.get(image["url"]).content == data


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """`kill -9` of the parent leaves no worker behind, nor the port taken, nor the files of its metrics."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    with Server(tmp_path / "data", "--workers", "2", environment={"TMPDIR": str(scratch)}) as server:
        wait_until(lambda: len(list(scratch.rglob("SpawnProcess-*.counts"))) == 2)
        workers = server.workers()
        server.kill()
        try:
            wait_until(lambda: not any(map(is_running, workers)))
            with closing(socket.create_server(("127.0.0.1", port_of(server)))):
                pass
            assert list(scratch.iterdir()) == []
        finally:
            for pid in filter(is_running, workers):
                os.kill(pid, signal.SIGKILL)


def test_killed_worker_is_replaced(tmp_path: Path) -> None:
    """Two workers serve again after one of them has died, and what was uploaded before is there."""
    with Server(tmp_path / "data", "--workers", "2") as server:
        wait_until(lambda: len(server.workers()) == 2)
        image_id = upload(server, picture("png"))
        dead, other = server.workers()
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda: len(server.workers()) == 2 and dead not in server.workers())
        assert other in server.workers()
        with httpx.Client(base_url=server.url) as http:  # the old client's connection may have been the dead one's
            assert http.get(f"/images/{image_id}").status_code == 200
        assert server.stop() == 0


# Across restarts.


def test_signing_key_is_private_and_stays(tmp_path: Path) -> None:
    """The key is made once and only its owner may read it; a link made before a restart works after it."""
    data = picture("png")
    key = tmp_path / "data" / "url_signing_key"
    with Server(tmp_path / "data") as first:
        url = first.http.get(f"/images/{upload(first, data)}").json()["url"]
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        made = key.read_text()
        assert re.fullmatch(r"[A-Za-z0-9_-]{32,}", made)
        assert first.stop() == 0
    with Server(tmp_path / "data", "--port", str(port_of(first))) as second:
        assert httpx.get(url).content == data
        assert second.stop() == 0
    assert key.read_text() == made
    assert [path.name for path in key.parent.glob(".url_signing_key*")] == []


def test_link_survives_a_change_of_keys(tmp_path: Path) -> None:
    """A key that has moved to the second place still verifies; one that was taken away doesn't."""
    data = picture("png")
    old, new = "the-key-that-signed-before", "the-key-that-signs-from-now-on"
    with Server(tmp_path / "data", environment={"URL_SIGNING_KEYS": old}) as server:
        url = server.http.get(f"/images/{upload(server, data)}").json()["url"]
    port = str(port_of(server))
    with Server(tmp_path / "data", "--port", port, environment={"URL_SIGNING_KEYS": f"{new},{old}"}):
        assert httpx.get(url).content == data
    with Server(tmp_path / "data", "--port", port, environment={"URL_SIGNING_KEYS": new}):
        assert httpx.get(url).status_code == 403
