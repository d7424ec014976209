"""The embedded server as a process of its own, as a user starts it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
READY = re.compile(r"^Image Service is ready at (http://\S+)$", re.MULTILINE)
START_TIME = 20  # seconds; it takes well under one, but not on a machine that does something else


class Server:
    """`image-service serve` on a free port. A context that ends the process, by its pid."""

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "src"),
        directory: Path = ROOT,
    ) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        self._options = options
        self._environment = environment or {}
        self._command = command
        self._directory = directory

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
                [*self._command, "serve", *self._options],
                cwd=self._directory,
                env=environment_with(**{"DATA_DIR": str(self.data_dir), "PORT": "0", **self._environment}),
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
        """`kill -9`. It may be started again."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.http.close()
        self.process.stdout.close()  # type: ignore[union-attr]

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=40)

    def workers(self) -> list[int]:
        """Return the pids of the server processes that the one we started has started itself."""
        return [child for child in _children(self.process.pid) if b"spawn_main" in _command_line(child)]

    def rss(self) -> int:
        """Return the resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]

    def peak_rss(self) -> int:
        """Return the most that the resident memory has ever been, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def is_running(pid: int) -> bool:
    """Tell whether the process is there and not merely waiting for its parent to take note of its end."""
    return _stat(pid)[:1] not in ([], ["Z"])


def _children(pid: int) -> list[int]:
    everyone = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [other for other in everyone if _stat(other)[1:2] == [str(pid)]]


def _stat(pid: int) -> list[str]:
    """Return state, parent and so on, as in proc(5); nothing if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def environment_with(**variables: str) -> dict[str, str]:
    """Return an environment with nothing of ours, of AWS or OpenTelemetry in it but `variables`, not even a profile."""
    from src.common.config import VARIABLES

    ours = {variable.name for variable in VARIABLES}
    others = {n: value for n, value in os.environ.items() if n not in ours and not n.startswith(("AWS_", "OTEL_"))}
    nowhere = {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_CONFIG_FILE": os.devnull}
    return others | nowhere | {"AWS_EC2_METADATA_DISABLED": "true"} | variables


def wait_until(condition, *, seconds: float = 10) -> None:  # type: ignore[no-untyped-def]
    """Poll `condition()` until it holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.02)
