"""The main job, step by step, over HTTP. Every home is driven through this same scenario."""

import base64
import uuid

import httpx

from tests.support.pictures import picture


def run(http: httpx.Client) -> None:
    """Upload a picture in each form, find it by tag, open its link, delete it."""
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
        assert http.delete(f"/images/{image_id}").status_code == 204
        assert http.get(f"/images/{image_id}").status_code == 404
        assert http.delete(f"/images/{image_id}").status_code == 404
        assert httpx.get(image.json()["url"]).status_code == 404
    assert http.get("/usage", params={"user_id": owner}).json() == {"images": 0, "bytes": 0}
