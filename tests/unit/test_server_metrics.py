"""Where a server's processes count, and what becomes of it when one of them dies."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.supervisors import Multiprocess

from src.common.config import Settings
from src.common.errors import ConfigurationError
from src.handlers import server
from src.handlers.telemetry import METRICS_DIRECTORY


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv(METRICS_DIRECTORY, "")


def test_the_directory_is_there_while_it_is_needed(settings: Settings, tmp_path: Path) -> None:
    with server._metrics_directory(settings):
        assert [str(path) for path in tmp_path.iterdir()] == [os.environ[METRICS_DIRECTORY]]
    assert list(tmp_path.iterdir()) == []


def test_there_is_none_where_nothing_is_counted(tmp_path: Path) -> None:
    with server._metrics_directory(Settings.from_environment({"METRICS": "off"})):
        assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="METRICS=off"), server._metrics_directory(settings):
        pass


@pytest.mark.parametrize("is_counted", [True, False])
def test_the_gauges_of_a_dead_process_go(is_counted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whether or not anything is counted, the others live on."""
    monkeypatch.setenv(METRICS_DIRECTORY, str(tmp_path) if is_counted else "")
    for name in ("counter_1", "gauge_livesum_1", "gauge_livesum_2"):
        (tmp_path / f"{name}.db").touch()
    supervisor: Any = server.Supervisor.__new__(server.Supervisor)

    def check(pids: list[int]) -> None:
        supervisor.processes = [SimpleNamespace(pid=pid) for pid in pids]
        supervisor.keep_subprocess_alive()

    monkeypatch.setattr(Multiprocess, "keep_subprocess_alive", lambda _: None)
    check([1, 2])
    assert len(list(tmp_path.iterdir())) == 3
    check([2, 3])
    left = {path.stem for path in tmp_path.iterdir()}
    assert left == {"counter_1", "gauge_livesum_2"} | (set() if is_counted else {"gauge_livesum_1"})
