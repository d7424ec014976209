"""Fixtures of the browser tests: the gallery of a server of one's own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Gallery, chromium
from tests.support.server import Server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # For a module, and not for all of them: while it runs, no test of coroutines can in the same process.
    with chromium() as browser:
        yield browser


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers with nothing in them, with an environment, and perhaps a command. They end with the test."""
    with ExitStack() as stack:
        numbers = count(1)

        def start(*command: str, **environment: str) -> Server:
            data = tmp_path / f"data-{next(numbers)}"
            options: dict[str, Any] = {"command": command} if command else {}
            return stack.enter_context(Server(data, environment=environment, **options))

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
