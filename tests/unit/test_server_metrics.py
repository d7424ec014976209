"""Where a server's processes count, and what becomes of it when one of them dies."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.supervisors import Multiprocess

from src.common.config import Settings
from src.common.errors import ConfigurationError
from src.common.metrics import UPLOADS
from src.common.snapshots import Counts, Remains, SharedCounts
from src.handlers import server
from src.handlers.telemetry import METRICS_DIRECTORY


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv(METRICS_DIRECTORY, "")


SEVERAL = Settings.from_environment({"WORKERS": "2"})


def test_the_directory_is_there_while_it_is_needed(tmp_path: Path) -> None:
    with server._metrics_directory(SEVERAL):
        assert [str(path) for path in tmp_path.iterdir()] == [os.environ[METRICS_DIRECTORY]]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("environment", [{"METRICS": "off", "WORKERS": "2"}, {"WORKERS": "1"}])
def test_there_is_none_where_nothing_is_shared(tmp_path: Path, environment: dict[str, str]) -> None:
    with server._metrics_directory(Settings.from_environment(environment)):
        assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="METRICS=off"), server._metrics_directory(SEVERAL):
        pass


@pytest.mark.parametrize("is_counted", [True, False])
def test_what_a_dead_process_counted_is_kept(
    is_counted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether or not anything is counted, the log says that it died."""
    for name in ("Spawn-1", "Spawn-2"):
        SharedCounts(tmp_path, name=name, pid=1).write(Counts({(UPLOADS.name, ()): 1}))
    supervisor: Any = server.Supervisor.__new__(server.Supervisor)
    supervisor._remains = Remains(tmp_path) if is_counted else None

    def processes(*numbers: int) -> list[Any]:
        return [SimpleNamespace(pid=n + 100, exitcode=-9, process=SimpleNamespace(name=f"Spawn-{n}")) for n in numbers]

    def restart(_: object) -> None:
        supervisor.processes = [*supervisor.processes[1:], *processes(3)]

    supervisor.processes = processes(1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Multiprocess, "keep_subprocess_alive", lambda _: None)
        supervisor.keep_subprocess_alive()
    assert (caplog.records, (tmp_path / "Spawn-1.counts").exists()) == ([], True)
    monkeypatch.setattr(Multiprocess, "keep_subprocess_alive", restart)
    supervisor.keep_subprocess_alive()
    (line,) = caplog.records
    assert (line.message, vars(line)["pid"], vars(line)["exit_code"]) == ("a server process died", 101, -9)
    found = {path.stem for path in tmp_path.iterdir()}
    assert found == ({"Spawn-2", "dead"} if is_counted else {"Spawn-1", "Spawn-2"})
