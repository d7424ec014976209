"""What `scripts/deploy.sh` makes on the emulator, run as a user runs it."""

import subprocess
import sys
import uuid
from pathlib import Path

import httpx

from tests.support.aws_process import CREDENTIALS, REGION
from tests.support.emulator import Emulator
from tests.support.environments import ensure_venv
from tests.support.server import ROOT
from tests.support.tokens import bearer, token

VENV = ROOT / ".venv-awscli"
RUNTIME = "python{}.{}".format(*sys.version_info)  # which the emulator runs
TIME = 300  # seconds; it takes some ten, and a first run twenty, most of them to download
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class Deployment:
    """Names of its own on the emulator, under which it deploys.

    Once it is deployed `url` is the API's, and `said` what the script said on its way.
    """

    url = said = ""

    def __init__(self, emulator: Emulator, *, home: Path) -> None:
        ensure_venv(VENV, ROOT / "requirements" / "awscli.txt")
        name = uuid.uuid4().hex[:12]
        self.emulator = emulator
        self.bucket = f"bucket-{name}"
        self.table = f"table-{name}"
        self.function = f"images_{name}"
        self.stack = f"images-{name}"
        self.environment = {
            "PATH": f"{VENV / 'bin'}:{SYSTEM_PATH}",
            "HOME": str(home),  # where nobody's profile lies
            "PYTHON": sys.executable,
            "BUCKET_NAME": self.bucket,
            "TABLE_NAME": self.table,
            "FUNCTION_NAME": self.function,
            "API_NAME": f"api-{name}",
            "LAMBDA_RUNTIME": RUNTIME,
            "AWS_ENDPOINT_URL": emulator.url,
            "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key_id,
            "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_access_key,
            "AWS_DEFAULT_REGION": REGION,
        }
        home.mkdir(exist_ok=True)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        script = ["/bin/bash", ROOT / "scripts" / "deploy.sh", *arguments]
        variables = self.environment | environment
        return subprocess.run(script, env=variables, capture_output=True, text=True, timeout=TIME)

    def deploy(self, *arguments: str, **environment: str) -> str:
        """Run the script, which has to succeed and to keep the secret, and return what it said on its way."""
        done = self.run(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        self.url, self.said = done.stdout.removesuffix("\n"), done.stderr
        secret = self.secret()
        assert not secret or secret not in done.stdout + done.stderr
        return self.said

    def secret(self) -> str:
        """Return the secret that the function has; nothing if it asks for no tokens."""
        function = self.emulator.client("lambda").get_function_configuration(FunctionName=self.function)
        secret: str = function["Environment"]["Variables"]["AUTH_SECRET"]
        return secret

    def delete(self) -> None:
        """Delete the stack, as a user takes the service down."""
        stacks = self.emulator.client("cloudformation")
        stacks.delete_stack(StackName=self.stack)
        stacks.get_waiter("stack_delete_complete").wait(StackName=self.stack, WaiterConfig={"Delay": 1})

    def http(self) -> httpx.Client:
        """Return a client that may do everything."""
        secret = self.secret()
        client = self.anonymous()
        if secret:
            client.headers.update(bearer(token("somebody", "images:admin", secret=secret)))
        return client

    def anonymous(self) -> httpx.Client:
        return httpx.Client(transport=LocalhostTransport(), base_url=self.url, timeout=60)

    def refused(self, **environment: str) -> str:
        """Run the script, which has to fail with one line, and return that."""
        done = self.run(**environment)
        assert done.returncode != 0
        assert done.stdout == ""
        return done.stderr.splitlines()[-1]


class LocalhostTransport(httpx.HTTPTransport):
    """Finds names below `localhost` here, as browsers and curl do (RFC 6761)."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host.endswith(".localhost"):
            request.url = request.url.copy_with(host="127.0.0.1")  # the Host header stays
        return super().handle_request(request)
