"""The scenario through `lambda_handler`, with events of every kind, on the emulator's S3 and DynamoDB."""

import asyncio
import importlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from src.handlers import stages
from src.handlers.stages import split_path
from src.repositories.dynamodb_images import DynamoDbImageRepository
from src.repositories.object_store import S3ObjectStore
from tests.e2e import scenario
from tests.support.emf import checked
from tests.support.emulator import Emulator
from tests.support.gateway import STAGE, GatewayTransport, function_url_event, http_event, rest_event
from tests.support.pictures import picture
from tests.support.server import ROOT, environment_with

KINDS = {
    "REST API": (rest_event, f"https://api.example.com/{STAGE}"),
    "REST API, JSON as text": (partial(rest_event, text=True), f"https://api.example.com/{STAGE}"),
    "HTTP API": (http_event, f"https://api.example.com/{STAGE}"),
    "function URL": (function_url_event, "https://abc.lambda-url.us-east-1.on.aws"),
}


@pytest.fixture(scope="module")
def environment(emulator: Emulator) -> dict[str, str]:
    """What a function's environment holds; STORAGE is not in it."""
    return {
        "BUCKET_NAME": emulator.new_bucket(),
        "TABLE_NAME": emulator.new_table(),
        "AWS_ENDPOINT_URL": emulator.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture(scope="module")
def handler(environment: dict[str, str]) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        module = importlib.import_module("src.handlers.image_handler")
        yield module.lambda_handler
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.modules.pop("src.handlers.image_handler")
        asyncio.get_event_loop().close()  # in Lambda it lives as long as the process
        asyncio.set_event_loop(None)


@pytest.fixture(params=KINDS)
def http(request: pytest.FixtureRequest, handler: Any) -> Iterator[httpx.Client]:
    make_event, base_url = KINDS[request.param]
    with httpx.Client(transport=GatewayTransport(handler, make_event), base_url=base_url) as http:
        yield http


def test_scenario(http: httpx.Client) -> None:
    scenario.run(http)


def test_bytes_arrive_as_they_were_sent(http: httpx.Client) -> None:
    """Every value of a byte, also behind a picture that is JSON or text in no way."""
    data = picture("tiff") + bytes(range(256)) * 4
    image = http.post("/images", files={"file": ("a.tiff", data)}).json()
    url = http.get(f"/images/{image['image_id']}").json()["url"]
    assert httpx.get(url).content == data


def test_the_prefix_is_in_every_link(http: httpx.Client) -> None:
    """Location, the next page, the redirect, the documentation page's document."""
    prefix = http.base_url.path.rstrip("/")
    for _ in range(2):
        answer = http.post("/images", files={"file": ("a.png", picture("png"))}, data={"tags": "prefix"})
    assert answer.headers["location"] == f"{prefix}/images/{answer.json()['image_id']}"
    page = http.get("/images", params={"tags": "prefix", "limit": 1})
    assert page.links["next"]["url"].startswith(f"{prefix}/images?")
    following = http.get(page.links["next"]["url"].removeprefix(prefix))
    assert following.json()["images"][0]["image_id"] != page.json()["images"][0]["image_id"]
    assert f'<base href="{prefix or "."}/">' in http.get("/").text
    assert http.get("/openapi.json").json()["servers"] == [{"url": prefix or "/"}]
    assert http.get("/docs").text.startswith("<!doctype html>")
    assert "SwaggerUIBundle" in http.get("/docs/docs.js").text


def test_a_parameter_may_be_repeated(http: httpx.Client) -> None:
    answer = http.post(
        "/images",
        params=[("tags", "one"), ("tags", "two & a half"), ("user_id", "a+b|c")],
        content=picture("png"),
        headers={"Content-Type": "image/png"},
    )
    assert answer.json()["tags"] == ["one", "two & a half"]
    assert answer.json()["user_id"] == "a+b|c"


def test_errors_are_problems(http: httpx.Client) -> None:
    answer = http.get("/images", params={"limit": "0"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == "limit"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert http.get("/nowhere").status_code == 404
    assert http.get("/objects/originals/x").status_code == 404


def test_a_body_that_lambda_can_carry(http: httpx.Client) -> None:
    """The limits are those of the place: what is within them fits into an event, what is not is told the way around."""
    limits = http.get("/limits").json()
    most = limits["max_body_size"]
    assert most == limits["max_json_body_size"] < limits["max_image_size"]
    data = picture("tiff")
    image = http.post("/images", content=data + bytes(most - len(data)), headers={"Content-Type": "image/tiff"})
    assert image.status_code == 201, image.text
    assert image.json()["size"] == most
    for content_type in ("image/tiff", "application/json", "multipart/form-data; boundary=b"):
        answer = http.post("/images", content=b" " * (most + 1), headers={"Content-Type": content_type})
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        assert f"more than {most} bytes" in answer.json()["detail"]
        assert "POST /uploads" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("whole", "path", "proxy", "expected"),
    [
        ("/dev/images", "/images", "images", ("/dev", "/images")),
        ("/dev/", "/", None, ("/dev", "/")),
        ("/dev", "/", None, ("/dev", "/")),
        ("/images", "/images", "images", ("", "/images")),
        ("/", "/", None, ("", "/")),
        ("/pictures/images", "/pictures/images", "images", ("/pictures", "/images")),
        ("/images/images", "/images/images", "images", ("/images", "/images")),
        ("/pictures", "/pictures", None, ("/pictures", "/")),
        ("/pictures/images/", "/pictures/images/", "images", ("/pictures", "/images/")),
        ("/pictures/images/a%20b", "/pictures/images/a%20b", "images/a b", ("/pictures", "/images/a b")),
    ],
)
def test_the_prefix_of_a_rest_api(whole: str, path: str, proxy: str | None, expected: tuple[str, str]) -> None:
    """With a stage, at a custom domain's root, and below its base path."""
    event = {
        "resource": "/" if proxy is None else "/{proxy+}",
        "path": path,
        "pathParameters": None if proxy is None else {"proxy": proxy},
        "requestContext": {"path": whole, "stage": "dev"},
    }
    assert split_path(event) == expected


@pytest.mark.parametrize(
    ("raw_path", "stage", "proxy", "expected"),
    [
        ("/dev/images", "dev", None, ("/dev", "/images")),
        ("/dev", "dev", None, ("/dev", "/")),
        ("/images/a%20b", "$default", None, ("", "/images/a b")),
        ("/pictures/images", "$default", "images", ("/pictures", "/images")),
    ],
)
def test_the_prefix_of_an_http_api(raw_path: str, stage: str, proxy: str | None, expected: tuple[str, str]) -> None:
    event = {"version": "2.0", "rawPath": raw_path, "requestContext": {"stage": stage}}
    assert split_path(event | ({"pathParameters": {"proxy": proxy}} if proxy else {})) == expected


class AlmostOver:
    """The context of an invocation that has a tenth of a second left."""

    def get_remaining_time_in_millis(self) -> int:
        return stages.MARGIN * 1000 + 100


def test_a_request_ends_within_the_function_s_time(handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs is answered with 503, and not with the gateway's time-out."""

    async def hang(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(DynamoDbImageRepository, "list", hang)
    event = http_event(httpx.Request("GET", f"https://api.example.com/{STAGE}/images"))
    answer = handler(event, AlmostOver())
    assert answer["statusCode"] == 503
    assert json.loads(answer["body"])["code"] == "store_unavailable"


def test_an_upload_that_is_cut_off(handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread is at work and can't be stopped: the answer does not wait for it, says so, and the next one is whole."""
    released = threading.Event()
    monkeypatch.setattr(S3ObjectStore, "_write", lambda *_: released.wait(10))
    url = f"https://api.example.com/{STAGE}/images"
    event = http_event(httpx.Request("POST", url, content=picture("png"), headers={"Content-Type": "image/png"}))
    started = time.monotonic()
    answer = handler(event, AlmostOver())
    assert time.monotonic() - started < 2
    assert answer["statusCode"] == 503
    assert json.loads(answer["body"])["code"] == "outcome_unknown"
    assert handler(http_event(httpx.Request("GET", url)), AlmostOver())["statusCode"] == 200
    released.set()


def test_what_is_counted_is_written_for_cloudwatch(http: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    """By each invocation what it did itself, one line for each set of dimensions."""
    assert http.get("/metrics").status_code == 404
    capsys.readouterr()
    data = picture("png")
    assert http.post("/images", content=data, headers={"Content-Type": "image/png"}).status_code == 201
    lines = [checked(line) for line in capsys.readouterr().out.splitlines()]
    sets = [tuple(sorted(each.items())) for each in map(dimensions, lines)]
    assert len(sets) == len(set(sets))
    found = {name: line for line in lines for name in line if name.startswith("image_service_")}
    request = {"method": "POST", "route": "/images"}
    assert dimensions(found["image_service_http_requests_total"]) == {**request, "status": "201"}
    of_route = found["image_service_http_request_duration_seconds"]
    assert dimensions(of_route) == request
    assert of_route["image_service_http_request_bytes_total"] == len(data)
    assert len(of_route["image_service_http_request_duration_seconds"]) == 1
    accepted = found["image_service_uploads_accepted_total"]
    assert accepted["image_service_uploads_accepted_bytes_total"] == len(data)
    calls = {(each["store"], each["operation"], each.get("outcome")) for each in lines if "store" in each}
    assert {("objects", "put", "ok"), ("objects", "put", None), ("metadata", "images.add", "ok")} <= calls
    assert http.get("/healthz").status_code == 200
    (answered, took) = (checked(line) for line in capsys.readouterr().out.splitlines())
    assert dimensions(answered) == {"method": "GET", "route": "/healthz", "status": "200"}
    assert took["image_service_http_response_bytes_total"] == len(b'{"status":"ok"}')


def dimensions(line: dict[str, Any]) -> dict[str, str]:
    return {name: line[name] for name in line["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0]}


def test_nothing_is_written_where_it_is_not_to_be_paid_for(environment: dict[str, str]) -> None:
    code = """
import httpx, src.handlers.image_handler as entry
from tests.support.gateway import http_event
print(entry.lambda_handler(http_event(httpx.Request("GET", "https://x.example.com/dev/healthz")), None)["statusCode"])
"""
    assert start({**environment, "METRICS": "off"}, code).stdout == "200\n"
    assert len(start(environment, code).stdout.splitlines()) == 3


def start(environment: dict[str, str], code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment_with(**environment), capture_output=True, text=True
    )


def test_a_cold_start_imports_no_other_sdk(environment: dict[str, str]) -> None:
    """boto3 and botocore cost more time than the rest of a start together."""
    done = start(environment, "import sys, src.handlers.image_handler; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    assert "pydynox" in modules
    others = {"boto3", "botocore", "uvicorn", "click", "httpx", "pydantic", "PIL", "prometheus_client", "opentelemetry"}
    assert modules & others == set()


def test_an_open_start_says_so(environment: dict[str, str]) -> None:
    """An endpoint need not be an emulator's."""
    done = start(environment, "import src.handlers.image_handler")
    assert done.returncode == 0
    assert "nobody is asked who they are" in json.loads(done.stderr.splitlines()[0])["message"]


def test_a_start_that_fails_says_why(environment: dict[str, str]) -> None:
    for name, value in (("AWS_SECRET_ACCESS_KEY", ""), ("MAX_IMAGE_SIZE", "x"), ("AWS_ENDPOINT_URL", "")):
        done = start(environment | {name: value}, "import src.handlers.image_handler")
        assert done.returncode != 0
        lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        (line,) = [line for line in lines if line["message"] == "the start failed"]
        # Without an emulator's endpoint it is AWS itself, where anybody may reach the API.
        assert (name if name != "AWS_ENDPOINT_URL" else "ALLOW_ANONYMOUS") in line["traceback"]
