"""The embedded server as a process of its own, as a user starts it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
READY = re.compile(r"^Image Service is ready at (http://\S+)$", re.MULTILINE)
START_TIME = 20  # seconds; it takes well under one, but not on a machine that does something else


class Server:
    """`image-service serve` on a free port. A context that ends the process, by its pid."""

    def __init__(self, data_dir: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        self._options = options
        self._environment = environment or {}

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.http.close()
        self.process.stdout.close()  # type: ignore[union-attr]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "src", "serve", *self._options],
                cwd=ROOT,
                env=environment_with(DATA_DIR=str(self.data_dir), PORT="0", **self._environment),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        match = READY.match(line)
        if match is None:
            raise AssertionError(f"not ready: {line!r}\n{self.log.read_text()}")
        self.url = match[1]
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def kill(self) -> None:
        """`kill -9`."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=40)

    def rss(self) -> int:
        """Return the resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]

    def peak_rss(self) -> int:
        """Return the most that the resident memory has ever been, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def environment_with(**variables: str) -> dict[str, str]:
    """Return an environment with nothing of ours in it but `variables`."""
    from src.common.config import VARIABLES

    ours = {variable.name for variable in VARIABLES}
    return {name: value for name, value in os.environ.items() if name not in ours} | variables


def wait_until(condition, *, seconds: float = 10) -> None:  # type: ignore[no-untyped-def]
    """Poll `condition()` until it holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.02)
