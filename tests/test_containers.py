"""Dockerfile, .dockerignore and docker-compose.yml, as far as that can be told without Docker."""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from src import VERSION
from src.common.config import VARIABLES
from src.handlers.server import GRACE
from tests.support.server import ROOT, Server, environment_with
from tests.support.tokens import SECRET, bearer

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = ("server", "embedded")
KNOWN = {variable.name for variable in VARIABLES}

type Instructions = list[tuple[str, str]]


def stages() -> list[Instructions]:
    """Return the Dockerfile's stages: the instructions of each with their arguments."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    found: list[Instructions] = []
    for name, _, arguments in (line.strip().partition(" ") for line in lines if line.strip()):
        if name == "FROM":
            found.append([])
        found[-1].append((name, arguments.strip()))
    return found


BUILDER, IMAGE = stages()


def arguments_of(name: str, instructions: Instructions = IMAGE) -> list[str]:
    return [arguments for instruction, arguments in instructions if instruction == name]


def the(name: str) -> str:
    """Return the arguments of an instruction that the image has once."""
    (arguments,) = arguments_of(name)
    return arguments


def image_environment() -> dict[str, str]:
    pairs = (pair for arguments in arguments_of("ENV") for pair in shlex.split(arguments))
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def health_check() -> list[str]:
    match = re.fullmatch(r"(?:--\S+\s+)*CMD\s+(\[.*\])", the("HEALTHCHECK"))
    assert match
    command: list[str] = json.loads(match[1])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


def is_ignored(path: str, patterns: list[str]) -> bool:
    """Tell what .dockerignore says of a path: the last pattern that matches it, or a directory that it is in, wins."""
    parts = path.split("/")
    candidates = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    ignored = False
    for pattern in patterns:
        regex = re.escape(pattern.removeprefix("!").strip("/")).replace(r"\[", "[").replace(r"\]", "]")
        regex = regex.replace(r"\*\*/", "(.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        if any(re.fullmatch(regex, candidate) for candidate in candidates):
            ignored = not pattern.startswith("!")
    return ignored


def ignore_patterns() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def copies(instructions: Instructions) -> Iterator[tuple[str, str]]:
    """Yield what is copied from the repository, and where to."""
    directory = "/"
    for name, arguments in instructions:
        if name == "WORKDIR":
            directory = arguments
        if name in ("COPY", "ADD") and "--from=" not in arguments:
            *sources, target = [word for word in arguments.split() if not word.startswith("--")]
            for source in sources:
                yield source.rstrip("/"), f"{directory.rstrip('/')}/{target}" if target[0] != "/" else target


def files_of(source: str) -> list[str]:
    """Return the files that COPY takes: those at or below `source` that are not ignored."""
    found = [ROOT / source] if (ROOT / source).is_file() else (ROOT / source).rglob("*")
    names = sorted(path.relative_to(ROOT).as_posix() for path in found if path.is_file())
    return [name for name in names if not is_ignored(name, ignore_patterns())]


def copy_into(root: Path) -> None:
    """Copy as the image's COPY instructions do, with `root` as its root directory."""
    for source, target in copies(IMAGE):
        for name in files_of(source):
            below = Path(name).relative_to(source) if (ROOT / source).is_dir() else Path(name).name
            path = root / target.lstrip("/") / below
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path)


def test_the_ignore_patterns_are_read_as_docker_reads_them() -> None:
    patterns = ["*", "!kept/one", "!src", "**/__pycache__", "**/*.py[cod]"]
    assert not is_ignored("kept/one", patterns)
    assert not is_ignored("src/a/b.py", patterns)
    assert is_ignored("kept/other", patterns)
    assert is_ignored("src/a/__pycache__/b.txt", patterns)
    assert is_ignored("src/b.pyc", patterns)
    assert is_ignored(".env", patterns)


def test_what_is_copied_is_there_and_nothing_else_is_sent() -> None:
    sources = [source for stage in (BUILDER, IMAGE) for source, _ in copies(stage)]
    assert sources == ["requirements/runtime.txt", "src"]
    for source in sources:
        assert files_of(source), source
    code = [path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert files_of("src") == sorted(path.relative_to(ROOT).as_posix() for path in code)
    for other in (".env", "data/images.sqlite3", ".venv/bin/python", "requirements/test.txt", "tests/conftest.py"):
        assert is_ignored(other, ignore_patterns()), other


def test_only_what_runs_is_installed_and_every_byte_of_it_is_pinned() -> None:
    runs = arguments_of("RUN", BUILDER + IMAGE)
    (words,) = (shlex.split(found[1]) for run in runs for found in re.finditer(r"\bpip\b.*? install ([^&]*)", run))
    assert "--require-hashes" in words
    ((pins, target),) = copies(BUILDER)
    assert [word for word in words if not word.startswith("--")] == ["-r", f"{target}{Path(pins).name}"]
    assert [arguments.split()[0] for arguments in arguments_of("FROM", BUILDER + IMAGE)] == [
        "python:3.12-slim-bookworm"
    ] * 2


def test_the_image_runs_without_root_and_gets_its_signals() -> None:
    user, _, group = the("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    # Set before the volume is declared: later changes of what is in it are lost.
    names = [name for name, _ in IMAGE]
    owned = next(index for index, (_, arguments) in enumerate(IMAGE) if f"--owner={user} --group={group}" in arguments)
    assert the("VOLUME") == image_environment()["DATA_DIR"]
    assert f" {the('VOLUME')}" in IMAGE[owned][1]
    assert owned < names.index("VOLUME") < names.index("USER")
    assert json.loads(the("ENTRYPOINT")) == ["python", "-m", "src"]
    assert json.loads(the("CMD")) == ["serve"]
    assert the("STOPSIGNAL") == "SIGTERM"
    assert the("EXPOSE") == image_environment()["PORT"]


def test_the_image_sets_what_the_service_knows_and_allows_nobody() -> None:
    names = {name for name in image_environment() if not name.startswith("PYTHON")} - {"PATH"}
    assert names <= KNOWN
    assert "ALLOW_ANONYMOUS" not in names


def test_the_image_tells_its_version() -> None:
    labels = dict(pair.split("=", 1) for pair in shlex.split(the("LABEL")))
    assert labels["org.opencontainers.image.version"] == VERSION


@pytest.mark.parametrize("service", OURS)
def test_services_set_variables_that_there_are(service: str) -> None:
    environment = COMPOSE["services"][service]["environment"]
    assert set(environment) <= KNOWN
    # An empty value would do as well, but not for the SDKs that look for some of them themselves.
    assert "" not in environment.values()


@pytest.mark.parametrize("service", OURS)
def test_services_ask_for_tokens_if_the_caller_says_so(service: str) -> None:
    """Each setting about who may do what, and how much, is the caller's. Without them it works as it is."""
    environment = COMPOSE["services"][service]["environment"]
    ours = re.compile(r"(AUTH|QUOTA|RATE|CORS|URL_SIGNING|MAX|PRESIGNED)_")
    expected = {variable.name for variable in VARIABLES if ours.match(variable.name)}
    assert {name for name in expected if name not in environment or environment[name] is not None} == set()
    assert environment["ALLOW_ANONYMOUS"] == "localhost"


@pytest.mark.parametrize("service", OURS)
def test_services_are_confined(service: str) -> None:
    settings = COMPOSE["services"][service]
    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert settings["profiles"] == [service]
    assert [mount.rpartition(":")[2] for mount in settings["volumes"]] == [image_environment()["DATA_DIR"]]
    assert int(settings["stop_grace_period"].removesuffix("s")) > GRACE


def test_localstack_is_the_last_one_that_needs_no_account() -> None:
    assert COMPOSE["services"]["localstack"]["image"] == "localstack/localstack:4.14.0"


@pytest.mark.parametrize("service", ["localstack", *OURS])
def test_ports_are_published_on_loopback_only(service: str) -> None:
    ports = COMPOSE["services"][service]["ports"]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_named_volumes_are_declared() -> None:
    mounts = [mount for service in COMPOSE["services"].values() for mount in service["volumes"]]
    named = {mount.partition(":")[0] for mount in mounts if not mount.startswith(("/", "."))}
    assert named == set(COMPOSE["volumes"])


def check_health(port: int) -> int:
    environment = environment_with(PORT=str(port), http_proxy="http://127.0.0.1:1", no_proxy="")
    return subprocess.run(health_check(), env=environment, capture_output=True, timeout=30).returncode


def test_the_health_check_tells_a_server_from_none(server: Server) -> None:
    port = urlsplit(server.url).port
    assert port is not None
    assert check_health(port) == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        assert check_health(taken.getsockname()[1]) != 0


def test_what_is_copied_is_enough_to_serve(tmp_path: Path) -> None:
    copy_into(tmp_path)
    directory = tmp_path / the("WORKDIR").lstrip("/")
    environment = {name: value for name, value in image_environment().items() if name != "PATH"}
    environment |= {"DATA_DIR": str(tmp_path / "data"), "PORT": "0", "HOST": "127.0.0.1"}
    command = [sys.executable, *json.loads(the("ENTRYPOINT"))[1:]]
    with Server(tmp_path / "data", command=command, environment=environment, directory=directory) as server:
        assert server.http.get("/healthz").status_code == 200
        assert server.http.get("/docs").status_code == 200  # the files that are not Python
        assert server.stop() == 0


def test_the_image_as_it_is_refuses_to_serve_everybody(tmp_path: Path) -> None:
    environment = environment_with(**image_environment() | {"DATA_DIR": str(tmp_path), "PATH": ""})
    command = [sys.executable, *json.loads(the("ENTRYPOINT"))[1:], *json.loads(the("CMD"))]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30)
    assert run.returncode == 2
    assert "AUTH_SECRET" in run.stderr
    assert "ALLOW_ANONYMOUS=1" in run.stderr


def test_the_image_serves_those_with_a_token(tmp_path: Path) -> None:
    """On all addresses, as it does, and with nothing but a secret; it makes tokens too."""
    environment = {name: value for name, value in image_environment().items() if name != "PATH"}
    environment |= {"DATA_DIR": str(tmp_path / "data"), "PORT": "0", "AUTH_SECRET": SECRET}
    command = [sys.executable, *json.loads(the("ENTRYPOINT"))[1:]]
    token = subprocess.run(
        [*command, "token", "--user", "ann"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    with Server(tmp_path / "data", command=command, environment=environment) as server:
        assert server.http.get("/images").status_code == 401
        assert server.http.get("/images", headers=bearer(token.stdout.strip())).status_code == 200
