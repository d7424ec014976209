"""The embedded server: uvicorn in one process, or in several that share a socket."""

import asyncio
import http.client
import logging as stdlib_logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from ..bootstrap import build_services
from ..common import logging
from ..common.config import Settings
from ..common.errors import ConfigurationError, StoreError
from ..common.snapshots import Remains, discard
from ..common.telemetry import Telemetry
from .app import OPEN, OPEN_LOCALLY, from_environment
from .http_protocol import BoundedHttpProtocol
from .telemetry import METRICS_DIRECTORY, tracing_of

log = stdlib_logging.getLogger(__name__)

GRACE = 30  # seconds that requests in flight get when the server is told to end
KEEP_ALIVE = 75  # seconds
BACKLOG = 2_048  # connections that wait to be accepted
ACCEPTED_AT_ONCE = 16  # connections, in one turn of the loop


def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then finish the requests in flight.

    `announce` gets the URL once it answers. Raises ConfigurationError if the address or the stores can't be had.
    """
    logging.configure(settings.log_level)
    os.environ.pop(METRICS_DIRECTORY, None)  # which would be somebody else's
    listener = _bind(settings)
    if settings.is_open and not ip_address(listener.getsockname()[0]).is_loopback:
        log.warning(OPEN_LOCALLY if settings.is_local else OPEN)
    asyncio.run(_try(settings))
    with _metrics_directory(settings) as directory:
        _spool_beside_the_data(settings)
        threading.Thread(target=_announce, args=(listener, announce), daemon=True).start()
        _run(settings, listener, Remains(directory) if directory else None)


def _run(settings: Settings, listener: socket.socket, remains: Remains | None) -> None:
    config = uvicorn.Config(
        f"{__name__}:worker_app",
        factory=True,
        workers=settings.workers,
        log_config=None,
        access_log=False,
        http=BoundedHttpProtocol,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=KEEP_ALIVE,
    )
    if settings.workers > 1:
        # They share one socket: with more, the first of them takes everybody.
        supervisor = Supervisor(config, [listener], remains)
        # uvicorn would restart the workers: the service would outlive the terminal that is closed.
        signal.signal(signal.SIGHUP, lambda *_: supervisor.should_exit.set())
        supervisor.run()
        return
    server = uvicorn.Server(config)
    # uvicorn raises the signal that ended it once more, for whoever listened before it: that is us, and it is well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    # The loop accepts one connection of each socket in a turn, and then answers whoever is connected: with one socket,
    # the last of 64 clients that come at once waited for two thousand answers.
    server.run(sockets=[listener, *(listener.dup() for _ in range(ACCEPTED_AT_ONCE - 1))])


class Supervisor(Multiprocess):
    """Starts a server process anew that has ended, and keeps what the one before has counted."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], remains: Remains | None) -> None:
        super().__init__(config, sockets)
        self._remains = remains

    def keep_subprocess_alive(self) -> None:
        before = list(self.processes)
        super().keep_subprocess_alive()
        for process in before:
            if process not in self.processes:
                log.error("a server process died", extra={"pid": process.pid, "exit_code": process.exitcode})
        if self._remains:
            self._remains.take({process.process.name for process in self.processes})


@contextmanager
def _metrics_directory(settings: Settings) -> Iterator[Path | None]:
    """Have a directory for what several server processes count, which they find in the environment."""
    if not settings.is_measured or settings.workers == 1:
        yield None
        return
    try:
        directory = TemporaryDirectory(prefix="image-service-metrics-")
    except OSError as error:
        raise ConfigurationError(
            f"TMPDIR: wants a directory that can be written to, or METRICS=off ({error})"
        ) from error
    with directory:
        os.environ[METRICS_DIRECTORY] = directory.name
        yield Path(directory.name)


async def _try(settings: Settings) -> None:
    """Open everything once and close it again, so that a start which can't succeed fails here and in one process."""
    services = build_services(settings, Telemetry(tracing=tracing_of(os.environ)))
    try:
        await services.housekeeper.begin()
    except StoreError as error:
        raise ConfigurationError(f"the start failed: {error}") from error
    finally:
        await services.close()


def _spool_beside_the_data(settings: Settings) -> None:
    """Have uploads on their way in go to the disk of DATA_DIR, unless TMPDIR says where to: /tmp may be memory."""
    if settings.storage == "local" and "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = str(settings.data_dir.absolute())  # for the server processes, too
        tempfile.tempdir = None  # what was found before


def worker_app() -> Starlette:
    """Build the application of one server process."""
    if multiprocessing.parent_process() is not None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    return from_environment()


def _end_with_parent() -> None:
    """End this worker when its parent has died without ending it: else it would keep the port, and the directory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        if directory := os.environ.get(METRICS_DIRECTORY):
            discard(Path(directory))
        os.kill(os.getpid(), signal.SIGTERM)


type Address = tuple[int, int, int, Any]


def _resolve(settings: Settings) -> list[Address]:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"HOST: got {settings.host!r}, wants an address of this machine ({error})") from error
    is_safe = all(ip_address(str(address[0])).is_loopback for *_, address in found)
    if settings.is_open and not settings.allow_anonymous and not is_safe:
        raise ConfigurationError(
            f"HOST: got {settings.host!r}, wants a loopback address such as 127.0.0.1, or AUTH_SECRET or "
            "AUTH_JWKS_URL: nobody is asked who they are, so whoever reaches the address may do everything "
            "(ALLOW_ANONYMOUS=1 allows that)"
        )
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]


def _bind(settings: Settings) -> socket.socket:
    failures = []
    for family, kind, protocol, address in _resolve(settings):
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            failures.append(error.strerror)
        else:
            return listener
    raise ConfigurationError(
        f"HOST, PORT: got {settings.host!r}, {settings.port}, wants an address that is free ({failures[0]})"
    )


def _announce(listener: socket.socket, announce: Callable[[str], None]) -> None:
    host, port = listener.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    while not _answers(reachable, port):
        time.sleep(0.02)
    announce(f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}")


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
