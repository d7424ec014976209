"""A client that openapi-python-client makes from `GET /openapi.json` does the main job, with nothing else."""

import base64
import datetime
import hashlib
import importlib
import io
import json
import pkgutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from types import ModuleType
from typing import Any

import httpx
import pytest

from src.models.image import FORMATS
from tests.e2e.scenario import NOBODY
from tests.support.pictures import picture
from tests.support.server import Server

PACKAGE = "image_service_client"
DATA = picture("png", 320, 200)
CONFIG = {
    # The generator takes a body that is not JSON, a form or this for one that it knows nothing about.
    "content_type_overrides": {format_.content_type: "application/octet-stream" for format_ in FORMATS},
    "post_hooks": [],  # nobody reads it
}


@pytest.fixture(scope="module")
def generated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package with all of its modules loaded. Nothing in the document may make the generator warn."""
    directory = tmp_path_factory.mktemp("generated")
    (directory / "openapi.json").write_bytes(server.http.get("/openapi.json").content)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json"]
    options = ["--config", "config.json", "--meta", "none", "--output-path", PACKAGE, "--fail-on-warning"]
    made = subprocess.run([*command, *options], cwd=directory, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stdout.strip(), made.stderr) == (0, f"Generating {PACKAGE}", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(directory)
        package = importlib.import_module(PACKAGE)
        for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
            importlib.import_module(module.name)
        yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


class Api:
    """The generated functions by their names, called for one owner's client."""

    def __init__(self, generated: ModuleType, client: Any) -> None:
        self._groups = [group for name, group in vars(generated.api).items() if not name.startswith("_")]
        self._client = client

    def __call__(self, operation_id: str, *args: Any, status: int = 200, **kwargs: Any) -> Any:
        """Return what the answer was parsed to."""
        (operation,) = [getattr(group, operation_id) for group in self._groups if hasattr(group, operation_id)]
        answer = operation.sync_detailed(*args, client=self._client, **kwargs)
        assert answer.status_code == HTTPStatus(status), answer.content
        return answer.parsed


@pytest.fixture
def call(generated: ModuleType, server: Server) -> Iterator[Api]:
    with generated.Client(base_url=server.url, raise_on_unexpected_status=True) as client:
        yield Api(generated, client)


@pytest.fixture
def models(generated: ModuleType) -> Any:
    return generated.models


@pytest.fixture
def file(generated: ModuleType) -> Any:
    return generated.types.File(io.BytesIO(DATA), "a.png", "image/png")


@pytest.fixture
def owner() -> str:
    return f"ann-{uuid.uuid4().hex}"  # nobody else's images count


def test_every_form_of_upload(call: Api, models: Any, file: Any, owner: str) -> None:
    details = {"user_id": owner, "tags": ["Walk", "sun"], "description": "At noon", "width": 320}
    encoded = base64.b64encode(DATA).decode()
    uploads = [
        call("upload_image", body=models.MultipartUpload(file=file, **details), status=201),
        call("upload_image", body=models.JsonUpload(image_data=encoded, **details), status=201),
    ]
    file.payload.seek(0)
    uploads.append(call("upload_image", body=file, **details, status=201))
    for image in uploads:
        assert isinstance(image, models.Image)
        assert (image.width, image.height, image.content_type) == (320, 200, "image/png")
        assert (image.user_id, image.tags, image.description) == (owner, ["walk", "sun"], "At noon")
        assert datetime.datetime.now(datetime.UTC) - image.created_at < datetime.timedelta(minutes=5)
    assert uploads[0].filename == "a.png"
    usage = call("get_usage", user_id=owner)
    assert (usage.images, usage.bytes_) == (3, 3 * len(DATA))


def test_repeated_and_duplicate_uploads(call: Api, models: Any, file: Any, owner: str) -> None:
    key = uuid.uuid4().hex
    images = []
    for _ in range(2):
        file.payload.seek(0)
        body = models.MultipartUpload(file=file, user_id=owner)
        images.append(call("upload_image", body=body, idempotency_key=key, status=201))
    file.payload.seek(0)
    mode = models.MultipartUploadOnDuplicate.RETURN
    images.append(call("upload_image", body=models.MultipartUpload(file=file, user_id=owner, on_duplicate=mode)))
    assert images[0] == images[1] == images[2]


def test_pages_and_filters(call: Api, models: Any, owner: str) -> None:
    ids = [uploaded(call, models, owner, tags=["all", tag]).image_id for tag in ("one", "two", "three")]
    found: list[str] = []
    query: dict[str, Any] = {"user_id": owner, "tags": ["all"], "limit": 2, "order": models.ListImagesOrder.OLDEST}
    while True:
        page = call("list_images", **query, include=[models.ListImagesIncludeItem.URLS])
        found += [image.image_id for image in page.images]
        assert all(httpx.get(image.url).content == DATA for image in page.images)
        if page.last_key is None:
            break
        query["last_key"] = json.dumps(page.last_key.to_dict())
    assert found == ids

    either = call("list_images", user_id=owner, tags=["one", "two"], tag_mode=models.ListImagesTagMode.ANY)
    assert [image.image_id for image in either.images] == [ids[1], ids[0]]
    others = call("list_images", user_id=owner, exclude_tags=["one", "two"])
    assert [image.image_id for image in others.images] == [ids[2]]
    since = call("list_images", user_id=owner, created_after=either.images[0].created_at)
    assert [image.image_id for image in since.images] == [ids[2], ids[1]]

    first = call("list_tags", user_id=owner, limit=3)
    rest = call("list_tags", user_id=owner, last_key=json.dumps(first.last_key.to_dict()))
    counted = {entry.tag: entry.count for entry in (*first.tags, *rest.tags)}
    assert counted == {"all": 3, "one": 1, "two": 1, "three": 1}
    assert rest.last_key is None


def test_links_and_renditions(call: Api, models: Any, owner: str) -> None:
    image_id = uploaded(call, models, owner).image_id
    linked = call("get_image", image_id, expires_in=60, download=True)
    answer = httpx.get(linked.url)
    assert (answer.content, answer.headers["content-type"]) == (DATA, "image/png")
    assert "attachment" in answer.headers["content-disposition"]
    assert linked.expires_at > linked.created_at
    small = call("get_image", image_id, width=64, format_=models.GetImageFormat.WEBP)
    assert httpx.get(small.url).headers["content-type"] == "image/webp"
    call("get_content", image_id, width=64, status=302)


def test_changes_and_deletions(call: Api, models: Any, owner: str) -> None:
    image_id, other_id = (uploaded(call, models, owner, tags=["one"], description="old").image_id for _ in range(2))
    changed = call("update_image", image_id, body=models.PatchFields(tags=["two"]))
    assert (changed.tags, changed.description, changed.version) == (["two"], "old", 2)
    cleared = call("update_image", image_id, body=models.PatchFields(description=None))
    assert (cleared.tags, cleared.description) == (["two"], "")
    refused = call("update_image", image_id, body=models.PatchFields(tags=[]), if_match='"other"', status=412)
    assert refused.code == "precondition_failed"

    call("delete_image", other_id, status=204)
    assert call("get_image", other_id, status=404).code == "image_not_found"
    deletions = call("delete_images", body=models.DeleteFields(image_ids=[image_id, NOBODY]))
    assert [result.status for result in deletions.results] == ["deleted", "not_found"]
    assert deletions.deleted == 1
    assert call("list_images", user_id=owner).images == []


def test_direct_uploads(call: Api, models: Any, owner: str) -> None:
    declared = models.NewUploadFields(
        content_type=models.NewUploadFieldsContentType.IMAGEPNG,
        size=len(DATA),
        sha256=hashlib.sha256(DATA).hexdigest(),
        user_id=owner,
    )
    upload = call("declare_upload", body=declared, status=201)
    assert call("complete_upload", upload.image_id, status=409).code == "upload_incomplete"
    form = upload.upload
    sent = httpx.request(form.method, form.url, data=form.fields.to_dict(), files={"file": ("a", DATA)})
    assert sent.status_code == 204, sent.text
    assert call("get_upload", upload.image_id).status == "received"
    image = call("complete_upload", upload.image_id, status=201)
    assert call("complete_upload", upload.image_id) == image
    assert call("get_upload", upload.image_id).completed_as == image.image_id

    other = call("declare_upload", body=declared, status=201)
    call("cancel_upload", other.image_id, status=204)
    assert call("get_upload", other.image_id, status=404).code == "upload_not_found"


def test_what_the_service_says_of_itself(call: Api) -> None:
    assert [entry.content_type for entry in call("get_limits").formats] == [entry.content_type for entry in FORMATS]
    assert call("get_healthz").status == "ok"
    assert call("get_readyz").status == "ready"


def test_problems_are_models(call: Api, models: Any) -> None:
    problem = call("list_images", limit=0, last_key="x", status=400)
    assert isinstance(problem, models.Problem)
    assert (problem.status, problem.code) == (400, "invalid_request")
    assert [error.field for error in problem.errors] == ["limit", "last_key"]
    encoded = base64.b64encode(b"text").decode()
    assert call("upload_image", body=models.JsonUpload(image_data=encoded), status=415).code == (
        "unsupported_image_format"
    )


def uploaded(call: Api, models: Any, owner: str, **details: Any) -> Any:
    body = models.JsonUpload(image_data=base64.b64encode(DATA).decode(), user_id=owner, **details)
    return call("upload_image", body=body, status=201)
