"""Images and uploads that exist, for requests that are made up: else all would end at "there is no such image"."""

import base64
import itertools
from collections.abc import Mapping
from typing import Any, Literal

import httpx
from schemathesis import Case, GenerationMode, Response
from schemathesis.core.parameters import ParameterLocation

from tests.support.pictures import animation, picture

PICTURES: Mapping[str, bytes] = {
    "image/jpeg": picture("jpeg", 24, 16),
    "image/png": picture("png", 16, 24),
    "image/webp": picture("webp", 20, 20),
    "image/gif": animation("gif", 2, 12, 12),
    "image/avif": picture("avif", 16, 16),
    "image/tiff": picture("tiff", 8, 12),
}
TAGS = ("garden", "cat", "café")
MAX_DELETIONS = 100
_OF_RESTORED = ("version", "updated_at")

type Stage = Literal["waiting", "received", "completed"]


class Seeds:
    """Puts ids, cursors, entity tags and pictures that exist into made-up requests: into every other one that could.

    By turns and not at random, so that each run puts the same into the same request.
    """

    def __init__(self, http: httpx.Client) -> None:
        self.counted = 0
        self._http = http
        self._turns = itertools.count()
        self._pictures = itertools.cycle(PICTURES.items())
        self._gone: set[str] = set()
        self._uploads: dict[str, None] = {}
        self._images = [self.image() for _ in PICTURES]
        self._known = itertools.cycle([self.upload("waiting"), self.upload("received"), self.upload("completed")])

    def image(self) -> str:
        content_type, data = next(self._pictures)
        answer = self._http.post(
            "/images", params={"tags": ",".join(TAGS)}, content=data, headers={"Content-Type": content_type}
        )
        assert answer.status_code == 201, answer.text
        image_id: str = answer.json()["image_id"]
        return image_id

    def upload(self, stage: Stage) -> str:
        content_type, data = next(self._pictures)
        answer = self._http.post("/uploads", json={"content_type": content_type, "size": len(data)})
        assert answer.status_code == 201, answer.text
        image_id: str = answer.json()["image_id"]
        self._uploads[image_id] = None
        if stage != "waiting":
            form = answer.json()["upload"]
            sent = self._http.post(form["url"], data=form["fields"], files={"file": ("a", data)})
            assert sent.status_code == 204, sent.text
        if stage == "completed":
            completed = self._http.post(f"/uploads/{image_id}/complete")
            assert completed.status_code == 201, completed.text
        return image_id

    def before_call(self, case: Case[Any]) -> None:
        """Put what exists into a request, where that leaves it as right or wrong as it was made up to be."""
        meta, turn = case.meta, next(self._turns)
        assert meta is not None
        if turn % 2 and "image_id" in case.path_parameters and not meta.is_negative_at(ParameterLocation.PATH):
            case.path_parameters["image_id"] = self._id_for(case)
        if turn % 4 in (1, 2) and meta.generation.mode == GenerationMode.POSITIVE:
            self._complete(case, turn)

    def after_call(self, case: Case[Any], response: Response) -> None:
        """Note what came to be, and what is gone."""
        self.counted += 1
        operation_id = case.operation.definition.raw["operationId"]
        if operation_id == "declare_upload" and response.status_code == 201:
            self._uploads[response.json()["image_id"]] = None
        elif operation_id == "delete_image" and response.status_code == 204:
            self._gone.add(str(case.path_parameters["image_id"]))
        elif operation_id == "delete_images" and response.status_code == 200:
            self._gone |= {result["image_id"] for result in response.json()["results"]}

    def delete_everything(self) -> None:
        """Delete all images and uploads, through the API as a client would."""
        for upload in self._uploads:
            assert self._http.delete(f"/uploads/{upload}").status_code in (204, 404, 409)  # 409: it is completed
        while images := self._http.get("/images", params={"limit": MAX_DELETIONS}).json()["images"]:
            answer = self._http.post("/images/delete", json={"image_ids": [image["image_id"] for image in images]})
            assert answer.json()["deleted"] == len(images), answer.text

    def _id_for(self, case: Case[Any]) -> str:
        match case.operation.definition.raw["operationId"]:
            case "delete_image":
                return self.image()
            case "cancel_upload":
                return self.upload("waiting")
            case "complete_upload":
                return self.upload("received")
            case "get_upload":
                return next(self._known)
        return self._some_image()

    def _some_image(self) -> str:
        slot = next(self._turns) % len(self._images)
        if self._images[slot] in self._gone:
            self._images[slot] = self.image()
        return self._images[slot]

    def _complete(self, case: Case[Any], turn: int) -> None:
        """Put what exists into the query, the headers or the body."""
        match case.operation.definition.raw["operationId"]:
            case "list_images":
                case.query["last_key"] = f'{{"image_id": "{self._some_image()}"}}'
                case.query["tags"] = [TAGS[turn % len(TAGS)]]
            case "list_tags":
                case.query["last_key"] = f'{{"tag": "{TAGS[turn % len(TAGS)]}"}}'
            case "get_image" | "update_image" as operation_id:
                name = "If-None-Match" if operation_id == "get_image" else "If-Match"
                case.headers[name] = self._etag(str(case.path_parameters["image_id"]))
            case "delete_images":
                case.body = {"image_ids": [self.image(), self.image(), "01a20387-a2de-74e1-8a8e-1f81a90f15ac"]}
            case "declare_upload" if isinstance(case.body, dict):
                if not case.body.get("image_id"):  # then nothing may be said of an image's former life
                    case.body = {name: value for name, value in case.body.items() if name not in _OF_RESTORED}
                if turn % 8 == 1:
                    case.body = case.body | {"size": 1 << 40}
            case "upload_image" if isinstance(case.body, dict) and "image_data" in case.body:
                data = next(self._pictures)[1]
                # Width and height may be any there, and would be those of no picture.
                fields = {name: value for name, value in case.body.items() if name not in ("width", "height")}
                case.body = fields | {"image_data": base64.b64encode(data).decode()}
                case.query = {name: value for name, value in case.query.items() if name not in ("width", "height")}

    def _etag(self, image_id: str) -> str:
        answer = self._http.get(f"/images/{image_id}") if image_id in self._images else None
        return answer.headers.get("etag", "*") if answer else "*"
