"""The emulator with the stores of both contestants in it, and processes of theirs."""

import compileall
import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.support.emulator import Emulator
from tests.support.environments import ensure_venv
from tests.support.gateway import STAGE, rest_event
from tests.support.server import ROOT, environment_with

PEERS = ROOT / ".venv-peers"
OURS = "ours"
FASTAPI = "fastapi"
CLIENTS = "clients"


class Result(NamedTuple):
    """CPU seconds."""

    first: float
    rounds: list[float]


class LambdaHome:
    """Runs contestants as Lambda would, each with a bucket and a table of its own."""

    def __init__(self, emulator: Emulator) -> None:
        ensure_venv(PEERS, ROOT / "requirements" / "peers.txt")
        for directory in ("src", "bench"):  # as artifacts are deployed: with bytecode
            compileall.compile_dir(ROOT / directory, quiet=1)
        self._emulator = emulator
        stores = {OURS: emulator.new_table(), FASTAPI: new_plain_table(emulator)}
        self._environments = {
            name: environment_with(
                ALLOW_ANONYMOUS="1",
                AWS_ENDPOINT_URL=emulator.url,
                AWS_ACCESS_KEY_ID="test",
                AWS_SECRET_ACCESS_KEY="test",  # noqa: S106 - the emulator's
                AWS_DEFAULT_REGION="us-east-1",
                BUCKET_NAME=emulator.new_bucket(),
                TABLE_NAME=table,
                LOG_LEVEL="WARNING",  # the other one logs nothing
            )
            for name, table in stores.items()
        }
        self._environments[CLIENTS] = self._environments[FASTAPI]

    def run(self, contestant: str, events: Sequence[dict[str, Any]], rounds: int = 0) -> Result:
        """Answer the events in a new process: the first of them once, and all of them in each round."""
        interpreter = ROOT / ".venv" if contestant == OURS else PEERS
        done = subprocess.run(  # noqa: S603 - ours
            [interpreter / "bin" / "python", "-m", "bench.lambda_process", contestant],
            input=json.dumps({"events": events, "rounds": rounds}),
            env=self._environments[contestant],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{contestant}: {done.stderr}")
        return Result(**json.loads(done.stdout))


@contextmanager
def lambda_home() -> Iterator[LambdaHome]:
    with tempfile.TemporaryDirectory() as directory:
        emulator = Emulator(Path(directory))
        try:
            yield LambdaHome(emulator)
        finally:
            emulator.stop()


def new_plain_table(emulator: Emulator) -> str:
    """Make the table of the FastAPI service: by id, with an index by user and time."""
    name = emulator.new_bucket()  # a name that nothing else has
    attributes = ("image_id", "user_id", "created_at")
    emulator.client("dynamodb").create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": attribute, "AttributeType": "S"} for attribute in attributes],
        KeySchema=[{"AttributeName": "image_id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-user",
                "KeySchema": [
                    {"AttributeName": "user_id", "KeyType": "HASH"},
                    {"AttributeName": "created_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


def event(method: str, path: str, **options: Any) -> dict[str, Any]:
    """Return API Gateway's event for a request."""
    request = httpx.Request(method, f"https://api.example.com/{STAGE}{path}", **options)
    request.read()
    return rest_event(request)
