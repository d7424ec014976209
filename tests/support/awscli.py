"""The AWS command line within a third of the time: `aws` is a fork of one process that has read it all.

That process (`SERVE`) takes the arguments, directory, environment and open files of each call from the `aws` that
stands in for it (`CALL`), carries the call out in a child, and sends back the exit code.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.deployment import VENV
from tests.support.environments import ensure_venv
from tests.support.server import ROOT

SERVE = """
import json, os, socket, sys
import awscli.clidriver, awscli.customizations.s3.s3
data_path = {"AWS_DATA_PATH": os.environ["AWS_DATA_PATH"]}  # which awscli sets as it is imported
driver = awscli.clidriver.create_clidriver()
loader = driver.session.get_component("data_loader")  # which keeps what it has read
sys.modules[type(driver.session).__module__].create_loader = lambda *_: loader
for service in ("s3", "dynamodb", "cloudformation"):
    driver.session.create_client(service, "us-east-1")
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
while True:
    caller, _ = listener.accept()
    data, files, _, _ = socket.recv_fds(caller, 1_000_000, 3)
    child = os.fork()
    if not child:
        for number, file in enumerate(files):
            os.dup2(file, number)
        arguments, directory, environment = json.loads(data)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment | data_path)
        sys.exit(awscli.clidriver.create_clidriver().main(arguments))
    for file in files:
        os.close(file)
    _, status = os.waitpid(child, 0)
    caller.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
    caller.close()
"""
CALL = """#!{python} -ISE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [call], [0, 1, 2])
sys.exit((server.recv(1) or b"\\xff")[0])
"""


@contextmanager
def quick_aws(directory: Path) -> Iterator[Path]:
    """Make a directory for `PATH` with such an `aws` in it."""
    ensure_venv(VENV, ROOT / "requirements" / "awscli.txt")
    address = directory / "socket"
    command = [VENV / "bin" / "python", "-c", SERVE, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stdout.readline() == "ready\n"
            aws = directory / "aws"
            aws.write_text(CALL.format(python=VENV / "bin" / "python", address=str(address)))
            aws.chmod(0o755)
            yield directory
        finally:
            server.kill()
