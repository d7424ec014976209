"""`PATCH /images/{image_id}`: a merge patch, on condition or not, and everything that is listed from it."""

import asyncio
import datetime as dt
import json
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from src.common.config import Settings
from src.models.image import Image
from src.services import image_service
from tests.support.api import assert_nothing_stored, assert_problem, raw, uploaded
from tests.support.pictures import picture

NOBODY = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"  # not one of the moment: all processes have to find the same tests

pytestmark = pytest.mark.anyio

MERGE_PATCH = "application/merge-patch+json"
FIELDS: dict[str, Any] = {"tags": "a,b", "description": "text", "filename": "a.jpg", "user_id": "ann"}


@pytest.fixture
async def image(client: httpx.AsyncClient) -> dict[str, Any]:
    return await uploaded(client, **FIELDS)


async def patched(client: httpx.AsyncClient, image: dict[str, Any], patch: object, **headers: str) -> dict[str, Any]:
    answer = await client.patch(f"/images/{image['image_id']}", json=patch, headers=headers)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


async def stored(client: httpx.AsyncClient, image: dict[str, Any]) -> dict[str, Any]:
    """Return the image as it is told now, without its link."""
    linked = (await client.get(f"/images/{image['image_id']}")).json()
    return {name: linked[name] for name in image}


async def listed(client: httpx.AsyncClient, **params: str) -> list[str]:
    return [image["image_id"] for image in (await client.get("/images", params=params)).json()["images"]]


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({"tags": ["C", " a "]}, {"tags": ["c", "a"]}),
        ({"tags": "C, a,,c"}, {"tags": ["c", "a"]}),
        ({"tags": ["c,d", "e"]}, {"tags": ["c", "d", "e"]}),
        ({"tags": ["b", "a"]}, {"tags": ["b", "a"]}),  # another order is another list
        ({"tags": []}, {"tags": []}),
        ({"tags": ""}, {"tags": []}),
        ({"tags": None}, {"tags": []}),
        ({"description": "A\u030a\n"}, {"description": "Å\n"}),
        ({"description": ""}, {"description": ""}),
        ({"description": None}, {"description": ""}),
        ({"filename": "dir/b.gif"}, {"filename": "b.gif"}),
        ({"filename": None}, {"filename": "{image_id}.jpg"}),
        ({"tags": ["c"], "description": None}, {"tags": ["c"], "description": ""}),
        (
            {"tags": None, "description": "other", "filename": "b"},
            {"tags": [], "description": "other", "filename": "b"},
        ),
    ],
    ids=json.dumps,
)
async def test_what_is_named_changes(
    client: httpx.AsyncClient, image: dict[str, Any], patch: dict[str, Any], changed: dict[str, Any]
) -> None:
    """And nothing else but the version and when it was changed; the answer is what `GET` says from then on."""
    before = dt.datetime.now(dt.UTC)
    answer = await client.patch(f"/images/{image['image_id']}", json=patch)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    updated_at = dt.datetime.fromisoformat(found.pop("updated_at"))
    assert before - dt.timedelta(milliseconds=1) <= updated_at <= dt.datetime.now(dt.UTC)
    assert updated_at.microsecond % 1000 == 0
    if changed.get("filename"):
        changed = changed | {"filename": changed["filename"].format(**image)}
    assert found == {name: v for name, v in image.items() if name != "updated_at"} | changed | {"version": 2}
    assert await stored(client, image) == answer.json()
    got = await client.get(f"/images/{image['image_id']}")
    assert got.headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"tags": ["A", "b", "b"]},
        {"description": "text"},
        {"filename": "x/a.jpg"},
        {name: FIELDS[name] for name in ("tags", "description", "filename")},
    ],
    ids=json.dumps,
)
async def test_what_changes_nothing(
    app: Starlette,
    client: httpx.AsyncClient,
    image: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    patch: dict[str, Any],
) -> None:
    """Is no new version, and nothing is written: whoever has the image keeps what it has."""
    monkeypatch.delattr(type(app.state.services.repository), "replace")
    etag = (await client.get(f"/images/{image['image_id']}")).headers["etag"]
    answer = await client.patch(f"/images/{image['image_id']}", json=patch)
    assert (answer.status_code, answer.json(), answer.headers["etag"]) == (200, image, etag)
    assert await stored(client, image) == image


async def test_defaults_again(client: httpx.AsyncClient) -> None:
    """Null for what has its default already changes nothing either."""
    image = await uploaded(client)
    assert await patched(client, image, {"tags": None, "description": None, "filename": None}) == image


async def test_time_does_not_go_back(client: httpx.AsyncClient, app: Starlette, image: dict[str, Any]) -> None:
    """`updated_at` is never before it was, whatever clocks say."""
    now = await app.state.services.repository.get(image["image_id"])
    ahead = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    assert await app.state.services.repository.replace(now, msgspec.structs.replace(now, updated_at=ahead))
    assert (await patched(client, image, {"description": "new"}))["updated_at"] == "2100-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "content_type",
    [
        MERGE_PATCH,
        "application/json",
        "Application/Merge-Patch+JSON; charset=utf-8",
        "application/json ; charset=utf-8",
    ],
)
async def test_both_types(client: httpx.AsyncClient, image: dict[str, Any], content_type: str) -> None:
    answer = await client.patch(f"/images/{image['image_id']}", **raw(b'{"description": "new"}', content_type))
    assert (answer.status_code, answer.json()["description"]) == (200, "new")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *[
            {"Content-Type": content_type}
            for content_type in ("", "text/json", "application/json-patch+json", "multipart/form-data; boundary=x")
        ],
        {"Content-Type": MERGE_PATCH, "Content-Encoding": "gzip"},
    ],
    ids=str,
)
async def test_other_types(client: httpx.AsyncClient, image: dict[str, Any], headers: dict[str, str]) -> None:
    answer = await client.patch(f"/images/{image['image_id']}", content=b'{"description": "new"}', headers=headers)
    assert_problem(answer, 415, "unsupported_request_body")
    assert await stored(client, image) == image


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"color": "red"}, ["color"]),
        ({"color": None}, ["color"]),
        ({"user_id": "bob", "version": 7, "image_id": "x", "description": "new"}, ["user_id", "version", "image_id"]),
        ({"": 1}, [""]),
        *[({"tags": value}, ["tags"]) for value in (1, True, {}, {"a": "b"}, ["a", 1], [None], [["a"]])],
        ({"tags": ["x" * 65]}, ["tags"]),
        ({"tags": [str(i) for i in range(21)]}, ["tags"]),
        ({"tags": "a\0b"}, ["tags"]),
        *[({"description": value}, ["description"]) for value in (1, False, [], ["a"], {}, "x" * 2_001, "\x1b")],
        *[({"filename": value}, ["filename"]) for value in (1, [], {}, "", " ", "..", "a/", "x" * 256, "a\nb")],
        ({"tags": 1, "description": 2, "filename": 3, "x": None}, ["tags", "description", "filename", "x"]),
        *[(value, ["body"]) for value in ([], "x", 1, None, [{"op": "remove", "path": "/tags"}])],
    ],
    ids=lambda value: json.dumps(value)[:40],
)
async def test_what_is_malformed(
    client: httpx.AsyncClient, image: dict[str, Any], body: object, fields: list[str]
) -> None:
    """All of it is named, and nothing of it is done."""
    for media_type in (MERGE_PATCH, "application/json"):
        answer = await client.patch(f"/images/{image['image_id']}", **raw(json.dumps(body).encode(), media_type))
        assert_problem(answer, 400, "invalid_request", *fields)
    assert await stored(client, image) == image


@pytest.mark.parametrize("body", [b"", b"{", b'{"description": "\xff"}', b"{} x", b'{"description": NaN}'])
async def test_what_is_no_json(client: httpx.AsyncClient, image: dict[str, Any], body: bytes) -> None:
    answer = await client.patch(f"/images/{image['image_id']}", **raw(body, MERGE_PATCH))
    assert_problem(answer, 400, "invalid_request", "body")


async def test_parameters_are_refused(client: httpx.AsyncClient, image: dict[str, Any]) -> None:
    """What is to change is in the body: whoever says it elsewhere must not think that it was done."""
    answer = await client.patch(f"/images/{image['image_id']}", json={}, params={"description": "new"})
    assert_problem(answer, 400, "invalid_request", "description")


async def test_the_longest_patch_and_a_longer_one(client: httpx.AsyncClient, image: dict[str, Any]) -> None:
    """What is allowed fits, even spelt with escapes; what is larger is not read."""
    patch = {"description": "€" * 2_000, "filename": "€" * 255, "tags": [f"{i:02}" + "€" * 62 for i in range(20)]}
    body = json.dumps(patch, ensure_ascii=True).encode()
    answer = await client.patch(f"/images/{image['image_id']}", **raw(body, MERGE_PATCH))
    assert (answer.status_code, answer.json()["description"]) == (200, patch["description"])
    answer = await client.patch(f"/images/{image['image_id']}", **raw(body + b" " * 65_536, MERGE_PATCH))
    assert_problem(answer, 413, "payload_too_large")


@pytest.mark.parametrize("body", [{"description": "new"}, {}], ids=["something", "nothing"])
@pytest.mark.parametrize("image_id", [NOBODY, "x", "%00", "delete", NOBODY.upper(), "a" * 3_000], ids=lambda v: v[:9])
async def test_no_such_image(client: httpx.AsyncClient, image_id: str, body: dict[str, str]) -> None:
    for headers in ({}, {"If-Match": "*"}):
        assert_problem(await client.patch(f"/images/{image_id}", json=body, headers=headers), 404, "image_not_found")


# Conditions


async def test_an_etag_is_of_one_version(client: httpx.AsyncClient, image: dict[str, Any]) -> None:
    """A cache that asks with the old one gets the image anew, and 304 with the new one."""
    path = f"/images/{image['image_id']}"
    etags = [(await client.get(path)).headers["etag"]]
    texts = ("b", "c", "text")  # back to what it was is a new version all the same
    etags += [(await client.patch(path, json={"description": text})).headers["etag"] for text in texts]
    assert len(set(etags)) == 4
    assert all(etag.startswith('"') and etag.endswith('"') for etag in etags)
    for etag in etags:
        answer = await client.get(path, headers={"If-None-Match": etag})
        assert answer.status_code == (304 if etag == etags[-1] else 200)
        assert answer.headers["etag"] == etags[-1]


@pytest.mark.parametrize(
    ("spelling", "matches"),
    [
        ("{now}", True),
        ("*", True),
        ('"other", {now}', True),
        ('"other" ,W/"another",{now} ', True),
        ("{then}, {now}", True),
        ("{then}", False),
        ("W/{now}", False),
        ('W/{now}, "other"', False),
        ("{unquoted}", False),
        ('"other"', False),
        ("", False),
        ("**", False),
        ('"*"', False),
    ],
)
@pytest.mark.parametrize("patch", [{"description": "new"}, {}], ids=["a change", "no change"])
async def test_if_match(
    client: httpx.AsyncClient, image: dict[str, Any], patch: dict[str, str], spelling: str, matches: bool
) -> None:
    """RFC 9110, 13.1.1: strong comparison, any of a list, or whatever there is; else nothing is changed."""
    path = f"/images/{image['image_id']}"
    then = (await client.get(path)).headers["etag"]
    now = (await client.patch(path, json={"tags": ["z"]})).headers["etag"]
    before = await stored(client, image)
    value = spelling.format(now=now, then=then, unquoted=now.strip('"'))
    answer = await client.patch(path, json=patch, headers={"If-Match": value})
    if matches:
        assert answer.status_code == 200, answer.text
        assert answer.json()["version"] == 2 + len(patch)
        return
    assert_problem(answer, 412, "precondition_failed")
    assert await stored(client, image) == before


async def test_if_match_in_several_lines(client: httpx.AsyncClient, image: dict[str, Any]) -> None:
    """They are one list (RFC 9110, 5.3)."""
    path = f"/images/{image['image_id']}"
    etag = (await client.get(path)).headers["etag"]
    lines = [("If-Match", '"other"'), ("If-Match", etag)]
    assert (await client.patch(path, json={"tags": ["z"]}, headers=lines)).status_code == 200
    assert_problem(await client.patch(path, json={"tags": []}, headers=lines), 412, "precondition_failed")


async def test_of_two_with_the_same_etag_one_changes_it(client: httpx.AsyncClient, image: dict[str, Any]) -> None:
    """So that nobody overwrites what he has not seen."""
    path = f"/images/{image['image_id']}"
    etag = (await client.get(path)).headers["etag"]
    answers = await asyncio.gather(
        *(client.patch(path, json={"description": str(i)}, headers={"If-Match": etag}) for i in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 9
    (done,) = [answer for answer in answers if answer.status_code == 200]
    assert await stored(client, image) == done.json()
    assert done.json()["version"] == 2


# What is listed from an image


async def test_lists_follow(client: httpx.AsyncClient, image: dict[str, Any]) -> None:
    """Old tags no longer find it, new ones do, alone and together, of the owner and of all; its place stays."""
    older, newer = await uploaded(client, tags="b,c"), await uploaded(client, tags="b,c", user_id="ann")
    await patched(client, image, {"tags": ["b", "c"]})
    ids = [newer["image_id"], image["image_id"], older["image_id"]]
    assert await listed(client, tags="a") == []
    assert await listed(client, tags="a", user_id="ann") == []
    assert set(await listed(client, tags="c")) == set(ids)
    assert await listed(client, tags="c", user_id="ann") == [newer["image_id"], image["image_id"]]
    assert await listed(client, tags="b,c", order="oldest") == [image["image_id"], older["image_id"], newer["image_id"]]
    assert await listed(client, tags="a,c", tag_mode="any") == await listed(client) == await listed(client, tags="c")
    assert await listed(client, exclude_tags="b") == []
    page = (await client.get("/images", params={"tags": "c"})).json()["images"]
    assert await stored(client, image) in page


async def test_counts_follow(client: httpx.AsyncClient, image: dict[str, Any]) -> None:
    usage = (await client.get("/usage")).json()
    await uploaded(client, tags="b")
    await patched(client, image, {"tags": ["b", "c"]})
    for params, counts in (({}, {"b": 2, "c": 1}), ({"user_id": "ann"}, {"b": 1, "c": 1})):
        tags = (await client.get("/tags", params=params)).json()["tags"]
        assert {tag["tag"]: tag["count"] for tag in tags} == counts
    await patched(client, image, {"tags": None, "description": "as large as before"})
    assert [tag["tag"] for tag in (await client.get("/tags")).json()["tags"]] == ["b"]
    assert (await client.get("/tags", params={"user_id": "ann"})).json()["tags"] == []
    assert (await client.get("/usage", params={"user_id": "ann"})).json() == usage


async def test_nothing_is_left_of_a_patched_image(client: httpx.AsyncClient, settings: Settings) -> None:
    image = await uploaded(client, tags="a,b")
    await patched(client, image, {"tags": ["b", "c"]})
    assert (await client.delete(f"/images/{image['image_id']}")).status_code == 204
    assert (await client.get("/tags")).json()["tags"] == []
    assert (await client.get("/usage")).json() == {"images": 0, "bytes": 0}
    for tag in "abc":
        assert await listed(client, tags=tag) == []
    await assert_nothing_stored(client, settings)


@pytest.mark.parametrize(
    ("filename", "shown"), [("b.gif", '"b.gif"'), (None, '"{image_id}.jpg"'), ("€", "UTF-8''%E2%82%AC")]
)
async def test_a_download_gets_the_new_name(
    client: httpx.AsyncClient, image: dict[str, Any], filename: str | None, shown: str
) -> None:
    """The bytes are the same, under the same key."""
    path = f"/images/{image['image_id']}"
    old = (await client.get(path)).json()["url"]
    await patched(client, image, {"filename": filename})
    new = (await client.get(path, params={"download": "true"})).json()["url"]
    served = await client.get(new)
    assert served.headers["content-disposition"].startswith("attachment; ")
    assert served.headers["content-disposition"].endswith(shown.format(**image))
    assert new.partition("?")[0] == old.partition("?")[0]
    assert (await client.get(old)).content == served.content == picture()


# Several at once


async def test_twenty_at_once(client: httpx.AsyncClient, image: dict[str, Any]) -> None:
    """All of them are done, one after the other, and none undoes what another has changed."""
    patches = [{("tags", "description", "filename")[i % 3]: f"new {i}"} for i in range(20)]
    versions = await asyncio.gather(*(patched(client, image, patch) for patch in patches))
    assert sorted(version["version"] for version in versions) == list(range(2, 22))
    state: dict[str, Any] = image
    for version, patch in sorted(zip(versions, patches, strict=True), key=lambda entry: entry[0]["version"]):
        ((name, value),) = patch.items()
        state = state | {name: [value] if name == "tags" else value}
        assert {name: version[name] for name in FIELDS} == {name: state[name] for name in FIELDS}
    assert await stored(client, image) == max(versions, key=lambda version: int(version["version"]))
    tags = (await client.get("/tags")).json()["tags"]
    assert [{"tag": tag, "count": 1} for tag in state["tags"]] == tags


@pytest.mark.parametrize("others", [15, 1_000])
async def test_others_who_are_always_faster(
    app: Starlette, client: httpx.AsyncClient, image: dict[str, Any], monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """Their changes stay, and ours is made upon them; but not for ever."""
    repository = app.state.services.repository
    replace, changes = repository.replace, iter(range(others))

    async def overtaken(old: Image, new: Image) -> bool:
        if (change := next(changes, None)) is not None:
            assert await replace(old, msgspec.structs.replace(old, description=str(change), version=old.version + 1))
        replaced: bool = await replace(old, new)
        return replaced

    monkeypatch.setattr(image_service, "LONGEST_PAUSE", 0)
    monkeypatch.setattr(repository, "replace", overtaken)
    answer = await client.patch(f"/images/{image['image_id']}", json={"tags": ["new"]})
    if others < 100:
        assert answer.status_code == 200, answer.text
        assert (answer.json()["tags"], answer.json()["description"]) == (["new"], str(others - 1))
        assert answer.json()["version"] == others + 2
    else:
        assert_problem(answer, 503, "store_unavailable")
        assert (await stored(client, image))["tags"] == image["tags"]


async def test_patches_and_a_delete_at_once(client: httpx.AsyncClient, settings: Settings) -> None:
    """Whatever comes first, the image stays deleted and nothing of it is listed."""
    for _ in range(5):
        image = await uploaded(client, tags="a")
        path = f"/images/{image['image_id']}"
        *patches, deleted = await asyncio.gather(
            *(client.patch(path, json={"tags": [f"new {i}"]}) for i in range(5)), client.delete(path)
        )
        assert deleted.status_code == 204
        assert {answer.status_code for answer in patches} <= {200, 404}
        assert_problem(await client.patch(path, json={"tags": ["b"]}), 404, "image_not_found")
        assert (await client.get("/tags")).json()["tags"] == []
    await assert_nothing_stored(client, settings)
