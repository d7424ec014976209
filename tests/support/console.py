"""The commands in a Markdown page's fenced blocks, run as a reader would run them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.server import ROOT

SERVICE = "http://127.0.0.1:8000"  # as pages write it
TIME = 60  # seconds for all commands of a walk
HEADING = re.compile(r"#+ (.*)")
FENCE = re.compile(r" *```(\w*)")
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
# What differs from one run to the next, in the order in which it is replaced.
VARYING = (
    (re.compile(ID), "ID"),
    (re.compile(r"(originals|incoming)/\w\w/"), r"\1/XX/"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r'"request_id":"[0-9a-f]{32}"'), '"request_id":"REQUEST"'),
    (re.compile(r"X-Amz-Signature=[0-9a-f]+…?"), "X-Amz-Signature=SIGNATURE"),
    # The picture is not the README's, so what is measured of its bytes differs.
    (re.compile(r'"(size|color|placeholder|sha256)":("[^"]*"|\d+)'), r'"\1":MEASURED'),
)


class Step(NamedTuple):
    """A command behind `$ `, and what the page says that it prints, where `…` stands for anything."""

    command: str
    expected: str


class Block(NamedTuple):
    """A fenced block, and the heading that it stands below."""

    page: str
    heading: str
    language: str
    text: str

    @property
    def is_console(self) -> bool:
        return self.language == "console" and self.text.startswith("$ ")

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0].partition("  #")[0].rstrip()

    def steps(self) -> list[Step]:
        """Take a console block apart; a command goes on behind a backslash."""
        found: list[list[str]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append([line.removeprefix("$ "), ""])
            elif found[-1][0].endswith("\\") and not found[-1][1]:
                found[-1][0] += f"\n{line}"
            else:
                found[-1][1] += f"{line}\n"
        return [Step(command, expected) for command, expected in found]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order. One that is not closed is an AssertionError."""
    heading, language, lines = "", None, []
    for line in page.read_text().splitlines():
        fence = FENCE.match(line)
        if language is None:
            if fence:
                language, lines = fence[1], []
            elif match := HEADING.match(line):
                heading = match[1]
        elif fence:
            yield Block(page.relative_to(ROOT).as_posix(), heading, language, "\n".join(lines))
            language = None
        else:
            lines.append(line)
    assert language is None, f"{page}: a block that is not closed"


def walk(steps: Sequence[Step], directory: Path, *, service: str = SERVICE, **environment: str) -> None:
    """Run commands one after the other in one shell; each has to succeed and to print what is expected.

    What pages call the service and its Python is `service` and ours.
    """
    printed = run([step.command for step in steps], directory, service=service, **environment)
    for (command, expected), got in zip(steps, printed, strict=True):
        assert matches(expected.strip(), got.strip()), f"$ {command}\nprinted\n{got}\nand not\n{expected}"


def run(commands: Sequence[str], directory: Path, *, service: str = SERVICE, **environment: str) -> list[str]:
    """Run commands one after the other in one shell, and return what each printed. One that fails is an error."""
    script = "\n".join(f"{command}\nprintf '\\x1e%d\\x1e' $?" for command in commands)
    script = script.replace(".venv/bin/python -m src", f"PYTHONPATH={ROOT} python3 -m src")
    script = script.replace(SERVICE, service).replace("python3", sys.executable)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIME,
    )
    parts = done.stdout.replace(service, SERVICE).split("\x1e")[:-1]
    for command, status, printed in zip(commands, parts[1::2], parts[::2], strict=True):
        assert status == "0", f"$ {command}\nended with {status}: {printed}{done.stderr}"
    return parts[::2]


def matches(expected: str, got: str) -> bool:
    """Compare two outputs, where `…` in the expected one stands for anything."""
    for pattern, replacement in VARYING:
        expected, got = pattern.sub(replacement, expected), pattern.sub(replacement, got)
    return re.fullmatch(".*".join(re.escape(part) for part in expected.split("…")), got, re.DOTALL) is not None
