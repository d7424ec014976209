"""The wheel: what is in it, and that it works where nothing of the repository is."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.e2e import scenario
from tests.support.pictures import picture
from tests.support.server import ROOT, Server

pytestmark = pytest.mark.timeout(300)  # packages are downloaded

NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "data")


def run(*command: str | Path, directory: Path) -> str:
    """Run a command that must succeed, away from the repository; return its standard output."""
    done = subprocess.run(
        [str(part) for part in command], cwd=directory, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def environment() -> dict[str, str]:
    """Return the environment without what leads Python back to the repository."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def pip(python: str | Path, *arguments: str | Path, directory: Path) -> None:
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, directory=directory)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that the repository stays as it is."""
    copy = tmp_path_factory.mktemp("build") / "copy"
    shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", copy.parent / "wheels", ".", directory=copy)
    (wheel,) = (copy.parent / "wheels").iterdir()
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` directory of a new virtual environment with the wheel, and what it is pinned to run on."""
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory / "venv", with_pip=True, symlinks=True)
    programs = directory / "venv" / "bin"
    pins = ROOT / "requirements" / "runtime.txt"
    pip(programs / "python", "install", "--require-hashes", "-r", pins, directory=directory)
    pip(programs / "python", "install", "--no-deps", wheel, directory=directory)
    return programs


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_one_package(wheel: Path) -> None:
    """`image_service` and the metadata: neither `src`, nor tests, nor scripts."""
    tops = {name.partition("/")[0] for name in names_in(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"image_service"}
    assert len(tops) == 2


def test_wheel_holds_every_file(wheel: Path) -> None:
    """Whoever adds a package, or a file of a new kind, finds here that pyproject.toml must list it."""
    files = [path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*") if path.is_file()]
    wanted = {f"image_service/{path.as_posix()}" for path in files if "__pycache__" not in path.parts}
    found = {name for name in names_in(wheel) if name.startswith("image_service/")}
    assert found == wanted
    assert {"image_service/py.typed", "image_service/web/docs.html", "image_service/web/docs.js"} <= found


def test_wheel_wants_what_is_pinned(installed: Path, tmp_path: Path) -> None:
    """The pins satisfy the wheel's own requirements."""
    pip(installed / "python", "check", directory=tmp_path)


def test_version(installed: Path, wheel: Path, tmp_path: Path) -> None:
    """The command says the version that the wheel carries."""
    version = wheel.name.split("-")[1]
    assert run(installed / "image-service", "--version", directory=tmp_path).split()[-1] == version


def test_nothing_else_is_importable(installed: Path, tmp_path: Path) -> None:
    """No package of ours takes a name as common as `src` in a user's environment."""
    names = ("src", "tests", "bench", "image_service")
    program = f"from importlib.util import find_spec; print([name for name in {names} if find_spec(name)])"
    assert run(installed / "python", "-c", program, directory=tmp_path).strip() == "['image_service']"


CLIENT = """
import sys
from image_service import Client, errors

with Client(sys.argv[1]) as client:
    image = client.upload(sys.stdin.buffer, user_id="of-the-wheel", tags=["a"])
    assert [found.image_id for found in client.images(user_id="of-the-wheel")] == [image.image_id]
    print(len(client.content(image.image_id)))
    client.delete(image.image_id)
    try:
        client.get(image.image_id)
    except errors.ImageNotFound as error:
        print(error.code)
"""


def test_installed_client(installed: Path, server: Server, tmp_path: Path) -> None:
    data = picture()
    done = subprocess.run(
        [installed / "python", "-c", CLIENT, server.url],
        input=data,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == [str(len(data)), "image_not_found"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_installed_service(workers: str, installed: Path, tmp_path: Path) -> None:
    """The installed command serves from any directory, and pictures go in and come out."""
    command = [str(installed / "image-service")]
    server = Server(
        tmp_path / "data",
        "--workers",
        workers,
        environment={"PYTHONPATH": ""},
        command=command,
        directory=tmp_path,
    )
    with server:
        scenario.run(server.http)
        for page in ("/docs", "/docs/docs.js", "/docs/swagger-ui.css", "/openapi.json"):
            assert server.http.get(page).status_code == 200
        assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()
