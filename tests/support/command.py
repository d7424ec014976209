"""`image-service` in this process, which takes less time than one of its own."""

import json
import os
from typing import Any, NamedTuple

from click.testing import CliRunner

from src.cli import main
from tests.support.server import environment_with


class Done(NamedTuple):
    """What a command ended with and printed."""

    code: int
    out: str
    err: str
    raw: bytes

    def objects(self) -> list[dict[str, Any]]:
        """Return what was printed with --json."""
        return [json.loads(line) for line in self.out.splitlines()]


def invoke(*arguments: object, given: bytes | None = None, **environment: str) -> Done:
    """Run a command with nothing of ours in its environment but `environment`."""
    before = dict(os.environ)
    own = environment_with(**environment)
    own.pop("IMAGE_SERVICE_URL", None)
    own.pop("IMAGE_SERVICE_TOKEN", None)
    own |= environment
    try:
        absent = dict.fromkeys(before.keys() - own.keys())
        done = CliRunner().invoke(main, [str(argument) for argument in arguments], input=given, env={**absent, **own})
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Done(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)
