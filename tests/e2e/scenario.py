"""The main job, step by step, over HTTP. Every home is driven through this same scenario."""

import base64
import hashlib
import io
import uuid

import httpx
import PIL.Image

from tests.support.pictures import picture

NOBODY = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"


def run(http: httpx.Client) -> None:
    """Upload a picture in each form, find it by tag, open its link, look at renditions, delete it.

    Then the same with what goes straight to storage, is repeated, is changed and is deleted with others.
    """
    data = picture("png", 320, 200)
    owner = f"ann-{uuid.uuid4().hex}"  # nobody else's images count
    uploads = (
        http.post("/images", files={"file": ("a.png", data)}, data={"tags": "Walk,sun", "user_id": owner}),
        http.post(
            "/images",
            json={"image_data": base64.b64encode(data).decode(), "tags": ["walk", "sun"], "user_id": owner},
        ),
        http.post(
            "/images",
            params={"tags": "walk,sun", "user_id": owner},
            content=data,
            headers={"Content-Type": "image/png"},
        ),
    )
    for answer in uploads:
        assert answer.status_code == 201, answer.text
        image = answer.json()
        assert answer.headers["location"].endswith(f"/images/{image['image_id']}")
        assert (image["width"], image["height"], image["content_type"]) == (320, 200, "image/png")
        assert image["tags"] == ["walk", "sun"]
    ids = [answer.json()["image_id"] for answer in uploads]

    counted = {entry["tag"]: entry["count"] for entry in http.get("/tags", params={"user_id": owner}).json()["tags"]}
    assert counted == {"sun": 3, "walk": 3}
    assert http.get("/usage", params={"user_id": owner}).json() == {"images": 3, "bytes": 3 * len(data)}

    found = []
    query: dict[str, str | int] = {"tags": "sun,walk", "user_id": owner, "limit": 2}
    while True:
        page = http.get("/images", params=query)
        assert page.status_code == 200, page.text
        found += [image["image_id"] for image in page.json()["images"] if image["image_id"] in ids]
        if page.json()["last_key"] is None:
            break
        query["last_key"] = f'{{"image_id": "{page.json()["last_key"]["image_id"]}"}}'
    assert found == ids[::-1]

    for image_id in ids:
        image = http.get(f"/images/{image_id}", params={"expires_in": 60})
        assert image.status_code == 200
        link = httpx.get(image.json()["url"])
        assert (link.status_code, link.content) == (200, data)
        assert link.headers["content-type"] == "image/png"
        renditions = look_at_renditions(http, image_id, owner)
        assert http.delete(f"/images/{image_id}").status_code == 204
        assert http.get(f"/images/{image_id}").status_code == 404
        assert http.delete(f"/images/{image_id}").status_code == 404
        for url in (image.json()["url"], *renditions):
            assert httpx.get(url).status_code == 404
        assert http.get(f"/images/{image_id}/content", params={"width": 64}).status_code == 404
    assert http.get("/usage", params={"user_id": owner}).json() == {"images": 0, "bytes": 0}
    upload_directly(http, data, owner)
    repeat_and_change(http, data, owner)


def upload_directly(http: httpx.Client, data: bytes, owner: str) -> None:
    """Declare an upload, send the bytes to the address in the answer, complete it."""
    declared = {
        "content_type": "image/png",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "user_id": owner,
    }
    answer = http.post("/uploads", json=declared)
    assert answer.status_code == 201, answer.text
    upload = answer.json()
    path = f"/uploads/{upload['image_id']}"
    assert answer.headers["location"].endswith(path)
    assert http.post(f"{path}/complete").json()["code"] == "upload_incomplete"
    form = upload["upload"]
    assert httpx.post(form["url"], data=form["fields"], files={"file": ("a", data[:-1])}).status_code == 400
    answer = httpx.post(form["url"], data=form["fields"], files={"file": ("a", data)})
    assert answer.status_code == 204, answer.text
    assert http.get(path).json()["status"] == "received"
    assert http.get("/images", params={"user_id": owner}).json()["count"] == 0
    completed = http.post(f"{path}/complete")
    assert completed.status_code == 201, completed.text
    again = http.post(f"{path}/complete")
    assert (again.status_code, again.json()) == (200, completed.json())
    assert http.get(path).json()["completed_as"] == upload["image_id"]
    url = http.get(f"/images/{upload['image_id']}").json()["url"]
    assert httpx.get(url, follow_redirects=True).content == data
    assert http.delete(path).status_code == 409
    assert http.delete(f"/images/{upload['image_id']}").status_code == 204

    other = http.post("/uploads", json={**declared, "content_type": "image/jpeg"}).json()
    form = other["upload"]
    assert httpx.post(form["url"], data=form["fields"], files={"file": ("a", data)}).status_code == 204
    path = f"/uploads/{other['image_id']}"
    refused = http.post(f"{path}/complete")
    assert (refused.status_code, refused.json()["code"]) == (422, "upload_mismatch")
    assert http.get(path).json()["status"] == "waiting"
    assert http.delete(path).status_code == 204
    assert http.get(path).status_code == 404


def repeat_and_change(http: httpx.Client, data: bytes, owner: str) -> None:
    """Upload twice with one key and once as a duplicate, change the image, delete it with one that is not there."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    answers = [
        http.post("/images", files={"file": ("a.png", data)}, data={"user_id": owner, "tags": "one"}, headers=key)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201], answers[1].text
    image = answers[0].json()
    assert answers[1].json() == image
    other = http.post("/images", files={"file": ("a.png", data)}, data={"user_id": owner}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    same = http.post("/images", files={"file": ("b.png", data)}, data={"user_id": owner, "on_duplicate": "return"})
    assert (same.status_code, same.json()) == (200, image)

    path = f"/images/{image['image_id']}"
    match = {"If-Match": answers[0].headers["etag"]}
    changed = http.patch(path, json={"tags": ["two"], "description": "changed"}, headers=match)
    assert changed.status_code == 200, changed.text
    assert (changed.json()["tags"], changed.json()["version"]) == (["two"], 2)
    assert http.patch(path, json={"tags": []}, headers=match).status_code == 412
    for tag, count in (("one", 0), ("two", 1)):
        assert http.get("/images", params={"user_id": owner, "tags": tag}).json()["count"] == count
    tags = http.get("/tags", params={"user_id": owner}).json()["tags"]
    assert tags == [{"tag": "two", "count": 1}]

    answer = http.post("/images/delete", json={"image_ids": [image["image_id"], NOBODY]})
    assert [result["status"] for result in answer.json()["results"]] == ["deleted", "not_found"]
    assert http.get("/images", params={"user_id": owner}).json()["count"] == 0


def look_at_renditions(http: httpx.Client, image_id: str, owner: str) -> list[str]:
    """Follow the stable address, the link and the thumbnail of a 320 x 200 picture; return where the bytes were."""
    urls = []
    path = f"/images/{image_id}"
    content = f"{path}/content"
    expected = {"width": 64, "format": "webp"}, ("WEBP", (64, 40))
    for params, made in (expected, expected, ({"width": 50, "height": 50, "format": "jpeg"}, ("JPEG", (50, 50)))):
        answer = http.get(content, params=params)
        assert answer.status_code == 302, answer.text
        keeps = answer.headers["cache-control"].removeprefix("private, max-age=")
        # What a token opens no cache may keep.
        assert keeps == "private, no-store" if "authorization" in http.headers else 0 < int(keeps) <= 1_800
        urls.append(answer.headers["location"])
        assert looked_at(urls[-1]) == made
    linked = http.get(path, params={"height": 100, "format": "png"})
    assert linked.status_code == 200, linked.text
    urls.append(linked.json()["url"])
    assert looked_at(urls[-1]) == ("PNG", (160, 100))

    listed = http.get("/images", params={"user_id": owner, "include": "urls"}).json()["images"]
    thumbnail = next(str(image["thumbnail_url"]) for image in listed if image["image_id"] == image_id)
    answer = http.get(thumbnail, headers={"Accept": "image/webp"})
    assert answer.status_code == 302, answer.text
    urls.append(answer.headers["location"])
    assert looked_at(urls[-1]) == ("WEBP", (320, 200))
    answer = http.get(thumbnail.replace("width=320", "width=321"))
    assert (answer.status_code, answer.json()["code"]) == (403, "signature_invalid")
    return urls


def looked_at(url: str) -> tuple[str | None, tuple[int, int]]:
    """Return the format and size of the picture at a link, as Pillow sees it."""
    answer = httpx.get(url, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    with PIL.Image.open(io.BytesIO(answer.content)) as image:
        assert answer.headers["content-type"] == PIL.Image.MIME[image.format or ""]
        return image.format, image.size
