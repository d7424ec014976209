"""Fixtures for every suite."""

import logging
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from src.bootstrap import build_services
from src.common.config import Settings
from src.handlers.app import create_app
from tests.support.emulator import Emulator
from tests.support.seaweedfs import SeaweedFS
from tests.support.server import Server
from tests.support.tally import TALLY


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes
        session.config.workeroutput["tally"] = TALLY.counts()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what one of several processes has counted."""
    for what, count in getattr(node, "workeroutput", {}).get("tally", {}).items():
        TALLY.add(what, count)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY:
        terminalreporter.write_line(str(TALLY))


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Give the tests their log back, which commands that run in this process take for themselves."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def tls() -> Iterator[None]:
    """One TLS context for all clients, none of which speaks TLS: to make one for each takes 20 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", cache(httpx.create_ssl_context))
        yield


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"DATA_DIR": str(tmp_path / "data")})


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[Starlette]:
    """The application, in this process."""
    services = build_services(settings)
    yield create_app(services)
    await services.close()


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


@pytest.fixture(scope="session")
def disk() -> Iterator[Path]:
    """A directory where files usually lie: `tmp_path` may be in memory, of which the system knows fewer calls."""
    with TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def server(disk: Path) -> Iterator[Server]:
    """A server process that tests share: none may rely on what else is stored in it."""
    with Server(disk / "server") as server:
        yield server


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The AWS emulator. Tests make buckets and tables of their own in it."""
    emulator = Emulator(tmp_path_factory.mktemp("emulator"))
    yield emulator
    emulator.stop()


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A second S3. Tests make buckets of their own in it."""
    seaweedfs = SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))
    yield seaweedfs
    seaweedfs.stop()
