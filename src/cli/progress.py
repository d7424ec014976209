"""A bar for what takes long, on standard error where that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from tqdm import tqdm

from ..transfer.results import Result


@contextmanager
def bar(*, files: int | None, size: int | None) -> Iterator["Progress"]:
    """Show the files and bytes that are done, their rate, and the time that is left.

    A total that is None is not known.
    """
    shown: tqdm[NoReturn] = tqdm(
        total=size,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        file=sys.stderr,
        disable=None,  # where it is no terminal
        dynamic_ncols=True,
        mininterval=0.2,
    )
    with shown:
        yield Progress(shown, files)


class Progress:
    def __init__(self, shown: "tqdm[NoReturn]", files: int | None) -> None:
        self._bar = shown
        self._files = files
        self._done = 0

    def step(self, result: Result) -> None:
        self._done += 1
        total = "" if self._files is None else f"/{self._files:,}"
        self._bar.set_description_str(f"{self._done:,}{total} files", refresh=False)
        self._bar.update(result.size)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.write(line, file=sys.stderr)
