"""The scenario against the same server in front of the emulator's S3 and DynamoDB."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e import scenario
from tests.support.emulator import Emulator
from tests.support.pictures import picture
from tests.support.server import Server


@pytest.fixture
def environment(emulator: Emulator) -> dict[str, str]:
    return emulator.home()


def test_scenario(tmp_path: Path, environment: dict[str, str]) -> None:
    with Server(tmp_path / "data", environment=environment) as server:
        scenario.run(server.http)


def test_nothing_is_kept_on_this_machine(tmp_path: Path, environment: dict[str, str]) -> None:
    """Another server sees what the first one stored, and the data directory of neither exists."""
    with (
        Server(tmp_path / "one", environment=environment) as one,
        Server(tmp_path / "two", environment=environment) as two,
    ):
        image = one.http.post("/images", files={"file": ("a.png", picture("png"))}).json()
        assert two.http.get(f"/images/{image['image_id']}").json()["sha256"] == image["sha256"]
        assert two.http.get("/readyz").status_code == 200
        assert two.http.get("/objects/x").status_code == 404
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_links_are_what_s3_accepts(tmp_path: Path, environment: dict[str, str]) -> None:
    """Path, download name and life are signed; S3, which checks it, serves the bytes under the measured type."""
    data = picture("jpeg")
    with Server(tmp_path / "data", environment=environment) as server:
        image = server.http.post("/images", files={"file": ("Übung.png", data)}).json()
        url = server.http.get(f"/images/{image['image_id']}", params={"download": "true"}).json()["url"]
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert httpx.get(url.replace("attachment", "inline")).status_code == 403


def test_the_credentials_of_a_role(tmp_path: Path, environment: dict[str, str], emulator: Emulator) -> None:
    """As ECS gives them to a container: temporary, and not in the environment. Both stores and the links use them."""
    with role_endpoint(emulator) as endpoint:
        ours = environment | {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        ours["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = endpoint
        with Server(tmp_path / "data", environment=ours) as server:
            scenario.run(server.http)
            image = server.http.post("/images", files={"file": ("a.png", picture("png"))}).json()
            linked = server.http.get(f"/images/{image['image_id']}", params={"expires_in": 600}).json()
            assert "X-Amz-Security-Token=" in linked["url"]


@contextmanager
def role_endpoint(emulator: Emulator) -> Iterator[str]:
    """Serve the credentials of a role that may do everything."""
    anybody = [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]
    everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    iam, name = emulator.client("iam"), f"server-{uuid.uuid4().hex}"
    role = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": anybody})
    )
    policy = json.dumps({"Version": "2012-10-17", "Statement": everything})
    iam.put_role_policy(RoleName=name, PolicyName="everything", PolicyDocument=policy)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = emulator.client("sts").assume_role(RoleArn=role["Role"]["Arn"], RoleSessionName="server")[
                "Credentials"
            ]
            body = {
                "AccessKeyId": given["AccessKeyId"],
                "SecretAccessKey": given["SecretAccessKey"],
                "Token": given["SessionToken"],
                "Expiration": given["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/credentials"
        finally:
            server.shutdown()
            thread.join()
