"""Every command in the README and in docs/ is run, or it is said here why that can't be and what is done instead."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.console import Step, blocks, matches, walk
from tests.support.pictures import picture
from tests.support.server import ROOT, Server
from tests.support.tokens import SECRET

PAGES = ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")))
BLOCKS = [block for page in PAGES for block in blocks(ROOT / page)]
README_WALK = ("A walk through it", "Direct uploads")


def steps(page: str, *headings: str) -> list[Step]:
    """Return the commands below these headings of a page, in order."""
    found = [block for block in BLOCKS if block.is_console and block.page == page and block.heading in headings]
    assert {block.heading for block in found} == set(headings)
    return [step for block in found for step in block.steps()]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return the reader's directory, with a picture in it."""
    (tmp_path / "cat.jpg").write_bytes(picture("jpeg", 350, 206))
    return tmp_path


@pytest.fixture
def own_server(directory: Path) -> Iterator[Server]:
    with Server(directory / "data") as server:
        yield server


def test_the_walk_is_as_it_was_written_down(own_server: Server, directory: Path) -> None:
    """Every command of the README's walk prints what stands there."""
    walk(steps("README.md", *README_WALK), directory, service=own_server.url)


def test_the_walk_with_a_token(directory: Path) -> None:
    secret = {"AUTH_SECRET": SECRET}
    with Server(directory / "data", environment=secret) as server:
        walk(steps("README.md", "Access"), directory, service=server.url, **secret)


def test_the_walk_can_fail(directory: Path) -> None:
    assert matches('{"a":"…","b":1}', '{"a":"xyz","b":1}')
    assert not matches('{"a":"…","b":1}', '{"a":"xyz","b":2}')
    walk([Step("echo a", "a\n")], directory)
    for wrong in (Step("echo a", "b\n"), Step("false", ""), Step("exit 0", "")):
        with pytest.raises((AssertionError, ValueError)):
            walk([wrong], directory)
