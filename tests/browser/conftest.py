"""Fixtures of the browser tests: the gallery of a server of one's own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser

from tests.support.browser import Gallery, chromium
from tests.support.server import Server
from tests.support.zygote import Zygote


class ForkedServer:
    """What a Server is to these tests, as the one child of a zygote: it is there in a fifth of the time."""

    def __init__(self, zygote: Zygote, data_dir: Path, environment: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self._zygote = zygote
        self._environment = environment
        self._is_running = False

    def __enter__(self) -> "ForkedServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_running:
            self.kill()

    def start(self) -> None:
        self._zygote.data_dir, self._zygote.environment = self.data_dir, self._environment
        self._zygote.start()
        self._is_running = True
        self.url = self._zygote.url
        self.http = httpx.Client(base_url=self.url, timeout=30, verify=False)  # no TLS: to set it up takes 20 ms

    def kill(self) -> None:
        """`kill -9`. It may be started again."""
        self._is_running = False
        self._zygote.kill()
        self.http.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # For a module, and not for all of them: while it runs, no test of coroutines can in the same process.
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote") / "data") as zygote:
        yield zygote


@pytest.fixture
def start_server(tmp_path: Path, zygote: Zygote) -> Iterator[Callable[..., Server | ForkedServer]]:
    """Start servers with nothing in them, with an environment, and perhaps a command. They end with the test."""
    with ExitStack() as stack:
        numbers = count(1)

        def start(*command: str, **environment: str) -> Server | ForkedServer:
            number = next(numbers)
            data = tmp_path / f"data-{number}"
            if command:
                return stack.enter_context(Server(data, environment=environment, command=command))
            if number == 1:
                return stack.enter_context(ForkedServer(zygote, data, environment))
            return stack.enter_context(Server(data, environment=environment))

        yield start


@pytest.fixture
def own_server(start_server: Callable[..., Server]) -> Server:
    """A server with nothing in it."""
    return start_server()


@pytest.fixture
def open_gallery(browser: Browser, start_server: Callable[..., Server]) -> Iterator[Callable[..., Gallery]]:
    """Make galleries, with the arguments of Gallery, that are checked and closed at the end of the test.

    It uses `start_server`, so that no server ends before a page that may still be asking it for something.
    """
    galleries: list[Gallery] = []

    def make(url: str, *storages: str, **context: Any) -> Gallery:
        galleries.append(Gallery(browser, url, *storages, **context))
        return galleries[-1]

    yield make
    for gallery in galleries:
        gallery.close()


@pytest.fixture
def gallery(open_gallery: Callable[..., Gallery], own_server: Server) -> Gallery:
    """The gallery of `own_server`, not opened yet."""
    return open_gallery(own_server.url)
