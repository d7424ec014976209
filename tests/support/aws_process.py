"""A process that speaks AWS's protocols, as a stand-in for AWS, and botocore's clients for it."""

import subprocess
import time
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config

from src.common.sigv4 import Credentials

START_TIME = 60  # seconds; it takes one or two
REGION = "us-east-1"
CREDENTIALS = Credentials("test", "test")  # those that a stand-in knows


class AwsProcess:
    """Answers at `url` once it is made. Whoever made it stops it."""

    stop_time = 10.0  # seconds that it has to end by itself

    def __init__(
        self, command: Sequence[str | Path], *, url: str, health: str, directory: Path, environment: Mapping[str, str]
    ) -> None:
        """Run `command` in `directory` until the path `health` answers; if it never does, fail with what it logged."""
        self.url = url
        self._clients: dict[str, Any] = {}
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
        try:
            self._wait_until_ready(health)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, health: str) -> None:
        end = time.monotonic() + START_TIME
        while True:
            try:
                urllib.request.urlopen(f"{self.url}{health}", timeout=1).close()
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < end, self._log.read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        for client in self._clients.values():
            client.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=self.stop_time)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def client(self, service: str) -> Any:
        """Return botocore's client: independent of what is tested."""
        if service not in self._clients:
            self._clients[service] = self.new_client(service)
        return self._clients[service]

    def new_client(self, service: str, config: Config | None = None) -> Any:
        """Return another one, with a configuration of its own, which the caller closes."""
        own = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
        return botocore.session.get_session().create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            config=own.merge(config) if config else own,
            aws_access_key_id=CREDENTIALS.access_key_id,
            aws_secret_access_key=CREDENTIALS.secret_access_key,
        )

    def new_bucket(self, name: str = "") -> str:
        name = name or f"b-{uuid.uuid4().hex}"
        self.client("s3").create_bucket(Bucket=name)
        return name
