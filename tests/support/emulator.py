"""The AWS emulator (ministack) as a process of its own, in a virtual environment of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config

from tests.support.server import ROOT

VENV = ROOT / ".venv-emulator"
PINS = ROOT / "requirements" / "emulator.txt"
START_TIME = 60  # seconds; it takes about two
ADMIN = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
REGION = "us-east-1"


class Emulator:
    """A running emulator with checked signatures, on loopback."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "emulator.log"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._clients: dict[str, Any] = {}
        self._process = self._start(directory)

    def _start(self, directory: Path) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            "STATE_DIR": str(directory / "state"),
        }
        with self._log.open("wb") as log:
            process = subprocess.Popen([VENV / "bin" / "ministack"], env=environment, stdout=log, stderr=log)
        end = time.monotonic() + START_TIME
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=1).close()
            except OSError:
                assert process.poll() is None, self._log.read_text()
                assert time.monotonic() < end, self._log.read_text()
                time.sleep(0.05)
            else:
                return process

    def stop(self) -> None:
        for client in self._clients.values():
            client.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def client(self, service: str) -> Any:
        """Return botocore's client: independent of what is tested."""
        if service not in self._clients:
            self._clients[service] = self._new_client(service)
        return self._clients[service]

    def _new_client(self, service: str) -> Any:
        config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
        return botocore.session.get_session().create_client(
            service, region_name=REGION, endpoint_url=self.url, config=config, **ADMIN
        )

    def new_bucket(self) -> str:
        name = f"b-{uuid.uuid4().hex}"
        self.client("s3").create_bucket(Bucket=name)
        return name

    def new_table(self) -> str:
        name = f"t-{uuid.uuid4().hex}"
        self.client("dynamodb").create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            BillingMode="PAY_PER_REQUEST",
        )
        return name


def ensure_venv() -> None:
    """Make the emulator's environment as it is pinned; a second call does nothing."""
    stamp = VENV / "requirements.stamp"
    pins = PINS.read_text()
    if stamp.exists() and stamp.read_text() == pins:
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    pip = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", PINS], check=True)
    stamp.write_text(pins)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
