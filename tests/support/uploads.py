"""Direct uploads over the API, with bytes that come by the form or are simply there."""

import hashlib
from contextlib import closing
from typing import Any

import httpx
from starlette.applications import Starlette

from src.common.payload import Payload
from src.models.image import EXTENSION_OF
from src.models.link import Form
from src.services.link_service import utc_now
from tests.support import forms
from tests.support.pictures import picture

DATA = picture("png")
SHA256 = hashlib.sha256(DATA).hexdigest()


def declaration(data: bytes = DATA, content_type: str = "image/png", **fields: Any) -> dict[str, Any]:
    return {"content_type": content_type, "size": len(data), **fields}


async def declared(client: httpx.AsyncClient, data: bytes = DATA, **fields: Any) -> dict[str, Any]:
    """Declare an upload of these bytes and return what was answered."""
    answer = await client.post("/uploads", json=declaration(data, **fields))
    assert answer.status_code == 201, answer.text
    upload: dict[str, Any] = answer.json()
    return upload


def key_of(upload: dict[str, Any]) -> str:
    image_id = upload["image_id"]
    return f"incoming/{image_id[-2:]}/{image_id}.{EXTENSION_OF[upload['content_type']]}"


async def receive(app: Starlette, upload: dict[str, Any], data: bytes = DATA) -> None:
    """Put bytes where the form would have put them, whether it would have taken them or not."""
    objects = app.state.services.objects
    with closing(Payload.of(data)) as payload:
        await objects.put(key_of(upload), payload, content_type=upload["content_type"])


async def send(client: httpx.AsyncClient, upload: dict[str, Any], data: bytes = DATA) -> httpx.Response:
    """Post the form as a client does."""
    form = upload["upload"]
    assert form["method"] == "POST"
    return await forms.post(client, Form(form["url"], form["fields"], utc_now()), data)


async def complete(client: httpx.AsyncClient, upload: dict[str, Any], **headers: str) -> httpx.Response:
    return await client.post(f"/uploads/{upload['image_id']}/complete", headers=headers)


async def completed(client: httpx.AsyncClient, app: Starlette, data: bytes = DATA, **fields: Any) -> dict[str, Any]:
    """Make an image by a direct upload."""
    upload = await declared(client, data, **fields)
    await receive(app, upload, data)
    answer = await complete(client, upload)
    assert answer.status_code == 201, answer.text
    image: dict[str, Any] = answer.json()
    return image
