"""The AWS emulator (ministack) as a process of its own, in a virtual environment of its own."""

import os
import shutil
import socket
import uuid
from pathlib import Path

from tests.support.aws_process import CREDENTIALS, AwsProcess
from tests.support.environments import ensure_venv
from tests.support.server import ROOT

VENV = ROOT / ".venv-emulator"


class Emulator(AwsProcess):
    """A running emulator with checked signatures, on loopback.

    Of its root credentials, which these are, it checks the signatures of links, but of requests only the key's id.
    """

    def __init__(self, directory: Path) -> None:
        ensure_venv(VENV, ROOT / "requirements" / "emulator.txt")
        port = _free_port()
        self._scratch = directory / "scratch"
        self._scratch.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "STATE_DIR": str(directory / "state"),
            "TMPDIR": str(self._scratch),
        }
        super().__init__(
            [VENV / "bin" / "ministack"],
            url=f"http://127.0.0.1:{port}",
            health="/_ministack/health",
            directory=directory,
            environment=environment,
        )

    def stop(self) -> None:
        """End it, and remove what it unpacked: 79 MiB for each function that was deployed."""
        super().stop()
        shutil.rmtree(self._scratch)

    def home(self) -> dict[str, str]:
        """Return the environment of a server with a bucket and a table of its own."""
        return {
            "STORAGE": "aws",
            "BUCKET_NAME": self.new_bucket(),
            "TABLE_NAME": self.new_table(),
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key_id,
            "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_access_key,
        }

    def new_table(self, name: str = "") -> str:
        name = name or f"t-{uuid.uuid4().hex}"
        self.client("dynamodb").create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            BillingMode="PAY_PER_REQUEST",
        )
        return name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
