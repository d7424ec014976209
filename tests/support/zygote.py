"""Server processes within a tenth of the time: forks of one process that has imported everything and begun nothing.

Run as a module it is that process: each line on its standard input has a child of its own carry out one command of
`image-service`, as a process of that name would. The child first prints its pid; when it has ended, `ended` and its
exit code are printed. It ends, and its child with it, when its standard input does.
"""

import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.server import READY, ROOT, environment_with

ENDED = "ended "


class Zygote:
    """The process that children are forked from, and the one child at a time. A context that ends both."""

    def __init__(self, data_dir: Path, *, environment: Mapping[str, str] | None = None, install: str = "") -> None:
        """Serve `data_dir`, or what the environment says; `install` names a module whose `install()` children call."""
        self.data_dir = data_dir
        self.environment = environment or {}
        self._install = install
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote"],
            cwd=ROOT,
            env=environment_with(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]

    def begin(self, *command: str) -> None:
        """Have a child begin with a command, and return as soon as there is one."""
        order = {
            "command": command,
            "environment": {"DATA_DIR": str(self.data_dir), "PORT": "0", **self.environment},
            "log": str(self.log),
            "install": self._install,
        }
        print(json.dumps(order), file=self._process.stdin, flush=True)
        self.pid = int(self._line())

    def start(self) -> None:
        """Start a server and wait until it answers."""
        self.begin("serve")
        line = self._line()
        match = READY.match(line)
        assert match, f"not ready: {line!r}\n{self.log.read_text()[-5_000:]}"
        self.url = match[1]

    def kill(self) -> None:
        """`kill -9` of the child, however far it is."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()[0]

    def run(self, *command: str) -> tuple[int, str]:
        """Carry out a command; return the exit code (negative: the signal) and what it printed."""
        self.begin(*command)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """Wait until the child has ended; return its exit code and what it has printed since."""
        printed = ""
        while not (line := self._line()).startswith(ENDED):
            printed += line
        return int(line.removeprefix(ENDED)), printed

    def _line(self) -> str:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        assert line, "the zygote has ended"
        return str(line)


def main() -> None:
    """Be the zygote, and in a child its command."""
    from src import cli
    from src.cli import service  # noqa: F401 - with all that its commands load when they are carried out
    from src.handlers import app, reconciliation, server  # noqa: F401

    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, "a thread would be missing in the children"
    gc.freeze()  # what is never looked at again need not be copied
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order["environment"], order["log"])
            if order["install"]:
                importlib.import_module(order["install"]).install()
            sys.argv = ["image-service", *order["command"]]
            cli.run()
        _wait(pid)


def _become(environment: dict[str, str], log: str) -> None:
    """Make this process look like one that was started by itself."""
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    os.write(1, b"%d\n" % os.getpid())


def _wait(pid: int) -> None:
    """Wait for the child to end, and end it if nobody is interested any more."""
    child = os.pidfd_open(pid)
    if child not in select.select([0, child], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
        sys.exit()
    os.close(child)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(1, f"{ENDED}{code}\n".encode())


if __name__ == "__main__":
    main()
