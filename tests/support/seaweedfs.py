"""SeaweedFS as a process of its own: an S3 that shares no code with the emulator."""

import json
import os
import socket
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from tests.support.aws_process import CREDENTIALS, AwsProcess

WEED = Path(sys.executable).with_name("weed")
GRPC_OFFSET = 10_000  # from a service's HTTP port to its gRPC port
SERVICES = ("master", "volume", "filer", "s3", "admin")
SOCKETS = Path("/tmp")  # where it puts Unix sockets, whatever it is told
IDENTITY = {
    "name": "test",
    "credentials": [{"accessKey": CREDENTIALS.access_key_id, "secretKey": CREDENTIALS.secret_access_key}],
    "actions": ["Admin"],
}


class SeaweedFS(AwsProcess):
    """A running SeaweedFS with checked signatures, on loopback, all of it in one process."""

    stop_time = 0.2  # it would wait a second for connections of its own; nothing that it holds is needed any more

    def __init__(self, directory: Path) -> None:
        self._ports = dict(zip(SERVICES, _free_ports(len(SERVICES)), strict=True))
        config = directory / "s3.json"
        config.write_text(json.dumps({"identities": [IDENTITY]}))
        data = directory / "data"
        data.mkdir()
        ours = ("AWS_", "S3_", "WEED_")  # what it would take options and credentials from
        super().__init__(
            [
                WEED,
                "-logtostderr=true",
                "mini",
                f"-dir={data}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                *(f"-{service}.port={port}" for service, port in self._ports.items()),
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-webdav=false",
                "-admin.ui=false",
                "-master.telemetry=false",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=1000",  # each bucket has a volume of its own, which grows as it is written to
                "-volume.preStopSeconds=0",
                f"-s3.config={config}",
                "-s3.autoCreateBucket=false",  # as at AWS
            ],
            url=f"http://127.0.0.1:{self._ports['s3']}",
            health="/status",
            directory=directory,
            environment={name: value for name, value in os.environ.items() if not name.startswith(ours)},
        )

    def new_bucket(self) -> str:
        """Make a bucket with the volume for its objects, for which the first write would wait a fifth of a second."""
        name = super().new_bucket()
        query = f"collection={name}&count=1&replication=000"
        urllib.request.urlopen(f"http://127.0.0.1:{self._ports['master']}/vol/grow?{query}", timeout=10).close()
        return name

    def stop(self) -> None:
        super().stop()
        for port in self._ports.values():
            for number in (port, port + GRPC_OFFSET):
                for path in SOCKETS.glob(f"seaweedfs-*-{number}.sock"):
                    path.unlink()


def _free_ports(count: int) -> list[int]:
    """Return ports for HTTP that are free, as are those for gRPC that belong to them."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            grpc, http = (held.enter_context(socket.socket()) for _ in range(2))
            grpc.bind(("127.0.0.1", 0))
            port = grpc.getsockname()[1] - GRPC_OFFSET
            try:
                http.bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            ports.append(port)
    return ports
