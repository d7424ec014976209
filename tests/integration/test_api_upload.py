"""`POST /images`: the three bodies, what their fields become, and what is answered."""

import base64
import hashlib
from typing import Any

import httpx
import pytest

from src.common.config import Settings
from tests.support.api import BOUNDARY, assert_problem, form, raw, stored_files, uploaded
from tests.support.pictures import ENCODERS, animation, noise, picture, turned

pytestmark = pytest.mark.anyio

DATA = picture("png", 64, 48)
FIELDS = {
    "user_id": "ann@example.com",
    "filename": "a walk.png",
    "description": "Line one\nline two",
    "width": 64,
    "height": 48,
    "on_duplicate": "store",
}
TEXT_FIELDS = {name: str(value) for name, value in FIELDS.items()}


def encoded(data: bytes = DATA) -> str:
    return base64.b64encode(data).decode()


BODIES: dict[str, dict[str, Any]] = {
    "multipart": {
        "files": {"file": ("other.png", DATA)},
        "data": {**TEXT_FIELDS, "tags": ["Walk,sun", "sun", " Blue sky "]},
    },
    "JSON": {"json": {"image_data": encoded(), **FIELDS, "tags": ["Walk", "sun", "sun", " Blue sky "]}},
    "JSON with a text of tags": {"json": {"image_data": encoded(), **FIELDS, "tags": "Walk,sun,sun, Blue sky "}},
    "raw": {"params": {**TEXT_FIELDS, "tags": ["Walk,sun", "Blue sky,"]}, **raw(DATA, "image/png")},
    "multipart and query": {
        "files": {"file": ("other.png", DATA)},
        "params": {**TEXT_FIELDS, "tags": "Walk,sun,Blue sky"},
    },
    "JSON and query": {
        "json": {"image_data": encoded()},
        "params": {**TEXT_FIELDS, "tags": ["Walk", "sun", "Blue sky"]},
    },
}


@pytest.mark.parametrize("body", BODIES)
async def test_every_body_with_all_fields(client: httpx.AsyncClient, body: str) -> None:
    """The same image comes of each, and is what `GET` answers afterwards."""
    answer = await client.post("/images", **BODIES[body])
    assert answer.status_code == 201, answer.text
    assert answer.headers["content-type"] == "application/json"
    image = answer.json()
    assert answer.headers["location"] == f"/images/{image['image_id']}"
    for name in ("user_id", "filename", "description", "width", "height"):
        assert image[name] == FIELDS[name]
    assert image["tags"] == ["walk", "sun", "blue sky"]
    assert image["content_type"] == "image/png"
    assert image["size"] == len(DATA)
    assert image["frames"] == 1
    assert image["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert image["color"] == "#dc1e28"
    assert image["placeholder"].startswith("data:image/webp;base64,")
    assert image["created_at"] == image["updated_at"]
    assert image["created_at"].endswith("Z")
    assert image["version"] == 1
    got = await client.get(answer.headers["location"])
    assert got.headers["etag"] == answer.headers["etag"]
    assert {name: value for name, value in got.json().items() if name not in ("url", "expires_at")} == image
    assert (await client.get(got.json()["url"])).content == DATA


@pytest.mark.parametrize(
    "body",
    [form(('form-data; name="file"; filename=""', DATA)), {"json": {"image_data": encoded()}}, raw(DATA, "image/png")],
    ids=["multipart", "JSON", "raw"],
)
async def test_what_is_not_said(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    image = (await client.post("/images", **body)).json()
    assert image["user_id"] == "anonymous"
    assert image["filename"] == f"{image['image_id']}.png"
    assert (image["tags"], image["description"]) == ([], "")


async def test_json_null_is_not_said(client: httpx.AsyncClient) -> None:
    names = ("user_id", "filename", "tags", "description", "width", "height", "on_duplicate", "content_type")
    answer = await client.post("/images", json={"image_data": encoded(), **dict.fromkeys(names)})
    assert answer.status_code == 201, answer.text
    assert answer.json()["user_id"] == "anonymous"


@pytest.mark.parametrize(("width", "height"), [(64, 48), ("64", "48"), ("64", 48)])
async def test_json_numbers_may_be_texts(client: httpx.AsyncClient, width: object, height: object) -> None:
    answer = await client.post("/images", json={"image_data": encoded(), "width": width, "height": height})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    "image_data",
    [
        f"data:image/png;base64,{encoded()}",
        f"data:text/html;base64,{encoded()}",  # what it says it is does not matter
        f"data:;base64,{encoded()}",
        "\r\n".join(encoded()[i : i + 76] for i in range(0, len(encoded()), 76)),
        f"data:image/png;base64,\n{encoded()}\n",
    ],
)
async def test_spellings_of_base64(client: httpx.AsyncClient, image_data: str) -> None:
    answer = await client.post("/images", json={"image_data": image_data, "content_type": "image/png"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["sha256"] == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("said", ["image/png", "image/jpeg", "image/svg+xml", "image/x-unheard-of"])
async def test_a_mislabelled_picture_has_its_real_type(client: httpx.AsyncClient, name: str, said: str) -> None:
    """Neither the header nor the name decides, and the link serves it as what it is."""
    data = picture(name)
    answer = await client.post("/images", params={"filename": "a.html"}, **raw(data, said))
    assert answer.status_code == 201, answer.text
    assert answer.json()["content_type"] == f"image/{name}"
    url = (await client.get(answer.headers["location"])).json()["url"]
    served = await client.get(url)
    assert served.headers["content-type"] == f"image/{name}"
    assert served.content == data


async def test_a_mislabelled_part_has_its_real_type(client: httpx.AsyncClient) -> None:
    answer = await client.post("/images", files={"file": ("a.gif", DATA, "text/html")})
    assert (answer.json()["content_type"], answer.json()["filename"]) == ("image/png", "a.gif")
    answer = await client.post("/images", json={"image_data": encoded(), "content_type": "text/html"})
    assert answer.json()["content_type"] == "image/png"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\Users\\ann\\a walk.png", "a walk.png"),
        ("A\u030a.png", "Å.png"),
        ("日本語 €.png", "日本語 €.png"),
    ],
)
async def test_names_lose_their_directories(client: httpx.AsyncClient, sent: str, kept: str) -> None:
    """As a field, and as what a browser says with the part."""
    as_field = await uploaded(client, filename=sent)
    part = form((f'form-data; name="file"; filename="{sent.replace("\\", "\\\\")}"', DATA))
    as_part = await client.post("/images", **part)
    assert (as_field["filename"], as_part.json()["filename"]) == (kept, kept)


@pytest.mark.parametrize("where", ["data", "params"])
async def test_the_field_wins_over_the_part_s_name(client: httpx.AsyncClient, where: str) -> None:
    answer = await client.post("/images", files={"file": ("part.png", DATA)}, **{where: {"filename": "field.png"}})
    assert answer.json()["filename"] == "field.png"


@pytest.mark.parametrize("orientation", [1, 6])
async def test_stated_dimensions_are_as_displayed(client: httpx.AsyncClient, orientation: int) -> None:
    width, height = (64, 48) if orientation == 1 else (48, 64)
    data = turned("jpeg", orientation)
    image = await uploaded(client, data, width=width, height=height)
    assert (image["width"], image["height"]) == (width, height)
    for params, fields in (
        ({"width": width + 1}, ["width"]),
        ({"height": height - 1, "width": width}, ["height"]),
        ({"width": height, "height": width}, ["width", "height"]),
    ):
        answer = await client.post("/images", params=params, **raw(data))
        assert_problem(answer, 422, "dimensions_mismatch", *fields)


async def test_an_animation(client: httpx.AsyncClient) -> None:
    image = await uploaded(client, animation("gif", 4))
    assert (image["frames"], image["content_type"]) == (4, "image/gif")


async def test_a_picture_that_is_spooled_to_disk(client: httpx.AsyncClient, settings: Settings) -> None:
    """Over a mebibyte, in each body: the bytes that are served are those that were sent."""
    data = noise(800, 700)
    assert len(data) > 1024 * 1024
    for body in (raw(data), {"files": {"file": ("a.png", data)}}, {"json": {"image_data": encoded(data)}}):
        answer = await client.post("/images", **body)
        assert answer.status_code == 201, answer.text
        url = (await client.get(answer.headers["location"])).json()["url"]
        assert (await client.get(url)).content == data
    assert sorted(path.stat().st_size for path in stored_files(settings)) == [len(data)] * 3


async def test_a_body_that_comes_in_pieces(client: httpx.AsyncClient) -> None:
    """One byte at a time, without a length beforehand, in each body."""
    bodies = [raw(DATA, "image/png"), form(('form-data; name="file"; filename="a.png"', DATA))]
    bodies.append(
        {"content": b'{"image_data": "%s"}' % encoded().encode(), "headers": {"Content-Type": "application/json"}}
    )
    for body in bodies:

        async def pieces(content: bytes = body["content"]):  # type: ignore[no-untyped-def]
            for i in range(len(content)):
                yield content[i : i + 1]

        answer = await client.post("/images", content=pieces(), headers=body["headers"])
        assert answer.status_code == 201, answer.text
        assert answer.json()["sha256"] == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize("content_type", ["IMAGE/PNG", "image/png; charset=binary", " image/png "])
async def test_spellings_of_a_content_type(client: httpx.AsyncClient, content_type: str) -> None:
    assert (await client.post("/images", **raw(DATA, content_type))).status_code == 201


async def test_a_boundary_in_quotes(client: httpx.AsyncClient) -> None:
    body = form(('form-data; name="file"; filename="a.png"', DATA))
    body["headers"]["Content-Type"] = f'Multipart/Form-Data; charset=utf-8; boundary="{BOUNDARY}"'
    assert (await client.post("/images", **body)).status_code == 201


async def test_a_duplicate_is_stored_or_returned(client: httpx.AsyncClient, settings: Settings) -> None:
    """`return` finds the owner's image of the same bytes, and only the owner's; nothing is stored twice for it."""
    first = await uploaded(client, DATA, user_id="ann", filename="first.png")
    again = await client.post(
        "/images",
        params={"user_id": "ann", "filename": "again.png", "tags": "x", "on_duplicate": "return"},
        **raw(DATA),
    )
    assert (again.status_code, again.json()) == (200, first)
    assert again.headers["location"] == f"/images/{first['image_id']}"
    assert len(stored_files(settings)) == 1
    for params in ({"user_id": "bob", "on_duplicate": "return"}, {"on_duplicate": "return"}, {"user_id": "ann"}):
        stored = await client.post("/images", params=params, **raw(DATA))
        assert stored.status_code == 201
        assert stored.json()["image_id"] != first["image_id"]
    # Of several that exist already, always the same one is returned: the oldest.
    again = await client.post("/images", params={"user_id": "ann", "on_duplicate": "return"}, **raw(DATA))
    assert again.json() == first
    assert len(stored_files(settings)) == 4


async def test_a_deleted_image_is_no_duplicate(client: httpx.AsyncClient) -> None:
    first = await uploaded(client, DATA, on_duplicate="return")
    assert (await client.delete(f"/images/{first['image_id']}")).status_code == 204
    assert (await uploaded(client, DATA, on_duplicate="return"))["image_id"] != first["image_id"]


async def test_on_duplicate_in_every_body(client: httpx.AsyncClient) -> None:
    first = await uploaded(client, DATA)
    for body in (
        {"files": {"file": ("a.png", DATA)}, "data": {"on_duplicate": "return"}},
        {"json": {"image_data": encoded(), "on_duplicate": "return"}},
        {"params": {"on_duplicate": "return"}, **raw(DATA)},
    ):
        answer = await client.post("/images", **body)
        assert (answer.status_code, answer.json()["image_id"]) == (200, first["image_id"])


async def test_empty_form_fields_are_not_said(client: httpx.AsyncClient) -> None:
    """HTML forms send every field, filled in or not."""
    empty = {"user_id": "", "tags": "", "description": "", "width": "", "height": "", "on_duplicate": ""}
    answer = await client.post("/images", files={"file": ("a.png", picture("png"))}, data=empty)
    assert answer.status_code == 201, answer.text
    image = answer.json()
    assert (image["user_id"], image["tags"], image["description"]) == ("anonymous", [], "")


@pytest.mark.parametrize("mark", ["\u202e", "\u2066"])
async def test_a_name_whose_ending_is_hidden(client: httpx.AsyncClient, mark: str) -> None:
    answer = await client.post("/images", params={"filename": f"cat{mark}gpj.exe"}, **raw(picture("png")))
    assert_problem(answer, 400, "invalid_request", "filename")


@pytest.mark.parametrize("listed", [False, True])
async def test_answers_with_links_are_not_kept(client: httpx.AsyncClient, listed: bool) -> None:
    """A cache that was told "not modified" would serve a link that has expired meanwhile."""
    image = await uploaded(client)
    path = "/images?include=urls" if listed else f"/images/{image['image_id']}"
    assert (await client.get(path)).headers["cache-control"] == "private, no-store"
