"""Who may do what: every cell of the table in `docs/security.md`, in both homes."""

import datetime as dt
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from starlette.applications import Starlette

from src.common.ids import new_id
from src.handlers.admission import guard_of
from src.handlers.app import METRICS_ROUTES, OBJECT_ROUTES, ROUTES
from src.handlers.gallery import files_version
from src.models.caller import ADMIN, METRICS, READ, WRITE
from tests.support.api import raw, uploaded
from tests.support.homes import HOMES, home_app
from tests.support.pictures import picture
from tests.support.server import ROOT
from tests.support.tokens import AUTH, HOUR, bearer, token, unsigned
from tests.support.uploads import DATA, declaration, declared, receive, send

pytestmark = pytest.mark.anyio

OWNER, OTHER = "owner", "somebody-else"
NOBODY = "01a20387-a2de-74e1-8a8e-1f81a90f15ac"
OTHER_SECRET = "another secret of the tests that is as long"
CALLERS: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "no token": dict,
    "expired": lambda: bearer(token(OWNER, ADMIN, life=-dt.timedelta(minutes=2))),
    "wrong key": lambda: bearer(token(OWNER, ADMIN, secret=OTHER_SECRET)),
    "alg=none": lambda: bearer(unsigned(OWNER, ADMIN)),
    "other user": lambda: bearer(token(OTHER, WRITE)),
    "read-only": lambda: bearer(token(OWNER, READ)),
    "owner": lambda: bearer(token(OWNER, WRITE)),
    "admin": lambda: bearer(token("admin", ADMIN)),
}


class Home(NamedTuple):
    app: Starlette
    client: httpx.AsyncClient  # without a token
    owner: httpx.AsyncClient

    async def image(self, **fields: Any) -> dict[str, Any]:
        return await uploaded(self.owner, **fields)

    async def upload(self) -> dict[str, Any]:
        """Declare an upload, all of whose bytes are there."""
        upload = await declared(self.owner)
        await receive(self.app, upload)
        return upload

    async def signed(self, image: Mapping[str, Any]) -> str:
        """Return a signed link to `/content`."""
        images = (await self.owner.get("/images", params={"include": "urls"})).json()["images"]
        return next(str(each["thumbnail_url"]) for each in images if each["image_id"] == image["image_id"])


@pytest.fixture(params=HOMES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    async with home_app(request.param, tmp_path, lambda: request.getfixturevalue("emulator"), AUTH) as app:
        options: dict[str, Any] = {"transport": httpx.ASGITransport(app), "base_url": "http://testserver"}
        headers = bearer(token(OWNER, WRITE))
        async with httpx.AsyncClient(**options) as client, httpx.AsyncClient(**options, headers=headers) as owner:
            yield Home(app, client, owner)


class Call(NamedTuple):
    """A request but for who makes it."""

    method: str
    url: str
    options: Mapping[str, Any] = {}

    async def send(self, home: Home, headers: Mapping[str, str]) -> httpx.Response:
        options = {**self.options, "headers": {**self.options.get("headers", {}), **headers}}
        return await home.client.request(self.method, self.url, **options)


async def _of_image(home: Home, method: str, suffix: str = "", **options: Any) -> Call:
    return Call(method, f"/images/{(await home.image())['image_id']}{suffix}", options)


async def _of_upload(home: Home, method: str, suffix: str = "") -> Call:
    return Call(method, f"/uploads/{(await home.upload())['image_id']}{suffix}")


async def _signed_content(home: Home, *, changed: bool = False) -> Call:
    url = await home.signed(await home.image())
    return Call("GET", url.replace("width=320", "width=321") if changed else url)


async def _signed_object(home: Home) -> Call:
    image = await home.image()
    return Call("GET", (await home.owner.get(f"/images/{image['image_id']}")).json()["url"])


async def _unsigned_object(home: Home) -> Call:
    return Call("GET", (await _signed_object(home)).url.partition("?")[0])


async def _form(home: Home, **changed: str) -> Call:
    upload = await declared(home.owner)
    fields = {**upload["upload"]["fields"], **changed}
    return Call("POST", upload["upload"]["url"], {"data": fields, "files": {"file": ("a.png", DATA)}})


async def _plain(call: Call) -> Call:
    return call


REQUESTS: Mapping[str, Callable[[Home], Awaitable[Call]]] = {
    "`POST /images`": lambda _: _plain(Call("POST", "/images", raw(DATA))),
    "`POST /images?user_id=owner`": lambda _: _plain(Call("POST", "/images?user_id=owner", raw(DATA))),
    "`GET /images`": lambda home: _after_upload(home, Call("GET", "/images")),
    "`GET /images?user_id=owner`": lambda home: _after_upload(home, Call("GET", "/images?user_id=owner")),
    "`GET /images/o`": lambda home: _of_image(home, "GET"),
    "`GET /images/o?width=16`": lambda home: _of_image(home, "GET", "?width=16"),
    "`GET /images/o/content`": lambda home: _of_image(home, "GET", "/content"),
    "`GET /images/o/content?width=16`": lambda home: _of_image(home, "GET", "/content?width=16"),
    "`GET /images/o/content` by a signed link": _signed_content,
    "`GET /images/o/content` by a link that is changed": lambda home: _signed_content(home, changed=True),
    "`PATCH /images/o`": lambda home: _of_image(home, "PATCH", json={"tags": ["changed"]}),
    "`DELETE /images/o`": lambda home: _of_image(home, "DELETE"),
    "`POST /images/delete`": lambda home: _deletion(home),
    "`POST /uploads`": lambda _: _plain(Call("POST", "/uploads", {"json": declaration()})),
    "`POST /uploads` with an `image_id`": lambda _: _plain(
        Call("POST", "/uploads", {"json": declaration(image_id=new_id())})
    ),
    "`GET /uploads/o`": lambda home: _of_upload(home, "GET"),
    "`POST /uploads/o/complete`": lambda home: _of_upload(home, "POST", "/complete"),
    "`DELETE /uploads/o`": lambda home: _of_upload(home, "DELETE"),
    "`GET /tags`": lambda home: _after_upload(home, Call("GET", "/tags")),
    "`GET /usage`": lambda home: _after_upload(home, Call("GET", "/usage")),
    "`GET /checksums`": lambda home: _after_upload(
        home, Call("GET", f"/checksums?user_id={OWNER}&sha256={hashlib.sha256(picture()).hexdigest()}")
    ),
    **{
        f"`GET {path}`": lambda _, path=path: _plain(Call("GET", path))
        for path in ("/healthz", "/readyz", "/limits", "/openapi.json", "/docs", "/docs/docs.js", "/")
    },
    "`GET /gallery/v/main.js`": lambda _: _plain(Call("GET", f"/gallery/{files_version()}/main.js")),
    "`GET /metrics`": lambda home: _after_upload(home, Call("GET", "/metrics")),
    "`GET /objects/o` by a signed link": _signed_object,
    "`GET /objects/o`": _unsigned_object,
    "`POST /objects/` with a signed form": _form,
    "`POST /objects/` with a form that is changed": lambda home: _form(home, key="originals/ac/a.png"),
}


async def _after_upload(home: Home, call: Call) -> Call:
    await home.image(tags="secret")
    return call


async def _deletion(home: Home) -> Call:
    return Call("POST", "/images/delete", {"json": {"image_ids": [(await home.image())["image_id"]]}})


def documented() -> dict[str, dict[str, int]]:
    """Return the table: request -> caller -> status."""
    lines = (ROOT / "docs" / "security.md").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| request |"))
    head = [cell.strip() for cell in lines[start].strip("|").split("|")][1:]
    table = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        request, *statuses = (cell.strip() for cell in line.strip("|").split("|"))
        table[request] = dict(zip(head, map(int, statuses), strict=True))
    return table


TABLE = documented()


def test_the_table_is_whole() -> None:
    """Every route is in it, with every caller, and everything in it is tried."""
    assert TABLE.keys() == REQUESTS.keys()
    assert all(row.keys() == CALLERS.keys() for row in TABLE.values())
    tried = {re.match(r"`(\w+) ([^?`]+)", request).groups() for request in TABLE}  # type: ignore[union-attr]
    for route in (*ROUTES, *OBJECT_ROUTES, *METRICS_ROUTES):
        pattern = re.compile(re.sub(r"\{.*?\}", "[^/]+", route.path))
        for method in (route.methods or set()) - {"HEAD"}:
            assert any(each == method and pattern.fullmatch(path) for each, path in tried), (method, route.path)


def test_what_takes_no_token_is_known() -> None:
    public = {route.path for route in (*ROUTES, *OBJECT_ROUTES, *METRICS_ROUTES) if guard_of(route.endpoint)[0] is None}
    known = {"/healthz", "/readyz", "/limits", "/openapi.json", "/docs", "/docs/{name}"}
    pages = {"/", "/gallery/{version}/{name}"}
    assert public == known | pages | {"/objects/", "/objects/{key:path}"}
    changes = [route for route in ROUTES if not (route.methods or set()) & {"GET"}]
    assert all(guard_of(route.endpoint)[0] == WRITE for route in changes)


@pytest.mark.parametrize("request_", TABLE)
async def test_the_table(home: Home, request_: str) -> None:
    if "/objects/" in request_ and home.app.state.services.settings.storage == "aws":
        answer = await home.client.get("/objects/x")  # no such route: links and forms lead to S3
        assert answer.status_code == 404
        return
    guarded = request_.startswith(("`GET /images", "`GET /tags", "`GET /usage", "`GET /checksums", "`GET /uploads"))
    found = {}
    for caller, headers in CALLERS.items():
        call = await REQUESTS[request_](home)
        answer = await call.send(home, headers())
        found[caller] = answer.status_code
        _check_challenge(answer)
        if caller == "other user" and guarded:
            assert "secret" not in answer.text
            assert "owner" not in answer.text
    assert found == TABLE[request_]


def _check_challenge(answer: httpx.Response) -> None:
    challenge = answer.headers.get("www-authenticate", "")
    code = answer.json()["code"] if answer.status_code in (401, 403) else ""
    assert challenge.startswith("Bearer ") == (answer.status_code == 401 or code == "insufficient_scope")
    assert ('error="invalid_token"' in challenge) == (code == "token_invalid")
    if code == "insufficient_scope":
        assert re.search(r'error="insufficient_scope", scope="(images:write|images:admin|metrics:read)"', challenge)


async def test_head_is_guarded_as_get_is(home: Home) -> None:
    image = await home.image()
    for route in ROUTES:
        if "HEAD" in (route.methods or ()) and guard_of(route.endpoint)[0]:
            path = route.path.replace("{image_id}", image["image_id"])
            assert (await home.client.head(path)).status_code == 401


async def test_what_is_refused_changes_nothing(home: Home) -> None:
    image, upload = await home.image(tags="kept"), await home.upload()
    path = f"/images/{image['image_id']}"
    calls = [
        Call("PATCH", path, {"json": {"tags": ["changed"]}}),
        Call("DELETE", path),
        Call("POST", "/images/delete", {"json": {"image_ids": [image["image_id"]]}}),
        Call("DELETE", f"/uploads/{upload['image_id']}"),
        Call("POST", f"/uploads/{upload['image_id']}/complete"),
        Call("POST", "/images?user_id=owner", raw(DATA)),
        Call("POST", "/images", {"json": {"user_id": OWNER, "image_data": "QUJD"}}),
        Call("POST", "/images", {"data": {"user_id": OWNER}, "files": {"file": ("a.png", DATA)}}),
        Call("POST", "/uploads", {"json": declaration(user_id=OWNER)}),
    ]
    for caller in ("no token", "expired", "wrong key", "alg=none", "other user", "read-only"):
        for call in calls:
            answer = await call.send(home, CALLERS[caller]())
            assert answer.status_code in (401, 403, 404) or answer.json()["results"][0]["status"] == "not_found", call
    listed = (await home.owner.get("/images")).json()["images"]
    assert listed == [image]
    assert (await home.owner.get(f"/uploads/{upload['image_id']}")).json()["status"] == "received"


async def test_another_s_image_is_as_good_as_none(home: Home) -> None:
    """Not a word of the answer tells it from one that does not exist."""
    image, upload = await home.image(), await home.upload()
    headers = CALLERS["other user"]()
    for method, path, image_id in [
        ("GET", "/images/{}", image["image_id"]),
        ("GET", "/images/{}/content", image["image_id"]),
        ("GET", "/images/{}?width=16", image["image_id"]),
        ("PATCH", "/images/{}", image["image_id"]),
        ("DELETE", "/images/{}", image["image_id"]),
        ("GET", "/uploads/{}", upload["image_id"]),
        ("DELETE", "/uploads/{}", upload["image_id"]),
        ("POST", "/uploads/{}/complete", upload["image_id"]),
        ("POST", "/uploads/{}/complete", image["image_id"]),  # which an image's id would answer 200
    ]:
        options = {"json": {"tags": []}} if method == "PATCH" else {}
        answers = []
        for each in (image_id, NOBODY):
            answer = await Call(method, path.format(each), options).send(home, headers)
            own = {"x-request-id", "content-length"}
            kept = sorted((name, value) for name, value in answer.headers.items() if name not in own)
            problem = {name: str(value).replace(each, "...") for name, value in answer.json().items()}
            answers.append((answer.status_code, kept, {**problem, "request_id": ""}))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    result = await Call("POST", "/images/delete", {"json": {"image_ids": [image["image_id"]]}}).send(home, headers)
    assert result.json() == {"results": [{"image_id": image["image_id"], "status": "not_found"}], "deleted": 0}


async def test_lists_and_counts_are_one_s_own(home: Home) -> None:
    """By whatever filter, page or order one looks, also from the id of another's image."""
    theirs = await uploaded_by(home, OTHER, tags="cat,theirs")
    ours = [await home.image(tags="cat,ours") for _ in range(3)]
    newest = await uploaded_by(home, OTHER, tags="cat")
    for query in (
        {},
        {"tags": "cat"},
        {"tags": "theirs,ours", "tag_mode": "any"},
        {"exclude_tags": "theirs"},
        {"order": "oldest"},
        {"user_id": OWNER},
        {"last_key": f'{{"image_id": "{newest["image_id"]}"}}'},
        {"last_key": f'{{"image_id": "{theirs["image_id"]}"}}', "order": "oldest"},
        {"limit": 1},
    ):
        found = []
        page: dict[str, Any] = {"last_key": ...}
        while page["last_key"]:
            page = (await home.owner.get("/images", params=query)).json()
            found += page["images"]
            if page["last_key"]:
                query = {**query, "last_key": f'{{"image_id": "{page["last_key"]["image_id"]}"}}'}
        assert sorted(image["image_id"] for image in found) == [image["image_id"] for image in ours], query
    assert (await home.owner.get("/images", params={"user_id": OTHER})).json()["images"] == []
    tags = (await home.owner.get("/tags")).json()["tags"]
    assert tags == [{"tag": "cat", "count": 3}, {"tag": "ours", "count": 3}]
    assert (await home.owner.get("/tags", params={"user_id": OTHER})).json()["tags"] == []
    assert (await home.owner.get("/usage")).json()["images"] == 3
    assert (await home.owner.get("/usage", params={"user_id": OTHER})).json() == {"images": 0, "bytes": 0}
    admin = CALLERS["admin"]()
    assert (await Call("GET", "/images").send(home, admin)).json()["count"] == 5
    assert (await Call("GET", f"/images?user_id={OTHER}").send(home, admin)).json()["count"] == 2
    assert (await Call("GET", "/usage").send(home, admin)).json()["images"] == 5
    assert (await Call("GET", "/tags?prefix=c").send(home, admin)).json()["tags"] == [{"tag": "cat", "count": 5}]


async def uploaded_by(home: Home, user_id: str, **fields: str) -> dict[str, Any]:
    answer = await home.client.post("/images", params=fields, **with_token(raw(picture()), user_id))
    assert answer.status_code == 201, answer.text
    image: dict[str, Any] = answer.json()
    return image


def with_token(options: dict[str, Any], user_id: str) -> dict[str, Any]:
    return {**options, "headers": {**options["headers"], **bearer(token(user_id))}}


async def test_the_subject_is_the_owner(home: Home) -> None:
    assert (await home.image())["user_id"] == OWNER
    upload = await home.upload()
    assert (await home.owner.post(f"/uploads/{upload['image_id']}/complete")).json()["user_id"] == OWNER
    admin = CALLERS["admin"]()
    options = {**raw(DATA), "headers": {"Content-Type": "image/png", **admin}}
    assert (await home.client.post("/images", **options)).json()["user_id"] == "admin"
    assert (await home.client.post("/images?user_id=somebody", **options)).json()["user_id"] == "somebody"


async def test_duplicates_and_keys_are_one_s_own(home: Home) -> None:
    """The same bytes, and the same Idempotency-Key, of two users have nothing to do with each other."""
    answers = []
    for user_id in (OWNER, OTHER):
        options = with_token(raw(DATA), user_id)
        options["headers"]["Idempotency-Key"] = "the-same"
        answers += [await home.client.post("/images?on_duplicate=return", **options) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 201]
    ids = [answer.json()["image_id"] for answer in answers]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert [answer.json()["user_id"] for answer in answers] == [OWNER, OWNER, OTHER, OTHER]


async def test_a_link_is_for_one_image(home: Home) -> None:
    """Nor does it open another picture of the same owner, or a rendition that it is not for."""
    image, other = await home.image(), await home.image()
    url = await home.signed(image)
    assert (await home.client.get(url)).status_code == 302
    for changed in (
        url.replace(image["image_id"], other["image_id"]),
        url.replace("width=320", "width=32"),
        f"{url}&download=true",
        url.replace("expires=", "expires=1"),
        url.partition("&signature=")[0],
        f"/images/{image['image_id']}/content?signature=",
        f"/images/{image['image_id']}/content?expires=9999999999",
    ):
        answer = await home.client.get(changed)
        assert (answer.status_code, answer.json()["code"]) == (403, "signature_invalid"), changed
        # And a token does not make good a link that is wrong.
        assert (await home.owner.get(changed)).status_code == 403


@pytest.mark.parametrize("home", ["embedded"], indirect=True)
async def test_a_form_brings_only_its_own_upload(home: Home) -> None:
    """Whoever has it needs no token; what comes of it is the owner's, and only the owner completes it."""
    upload = await declared(home.owner)
    assert (await send(home.client, upload)).status_code == 204
    path = f"/uploads/{upload['image_id']}/complete"
    assert (await home.client.post(path)).status_code == 401
    assert (await home.client.post(path, headers=bearer(token(OTHER)))).status_code == 404
    assert (await home.owner.post(path)).json()["user_id"] == OWNER


async def test_who_may_only_read_gets_no_form(home: Home) -> None:
    """With it, bytes could be sent."""
    path = f"/uploads/{(await home.upload())['image_id']}"
    for caller, expected in (("read-only", False), ("owner", True), ("admin", True)):
        answer = (await home.client.get(path, headers=CALLERS[caller]())).json()
        assert ("upload" in answer) == expected
        assert answer["status"] == "received"


async def test_a_token_without_scope(home: Home) -> None:
    headers = bearer(token(OWNER, "openid profile"))
    for call, missing in ((Call("GET", "/images"), READ), (Call("POST", "/images", raw(DATA)), WRITE)):
        answer = await call.send(home, headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        assert f'scope="{missing}"' in answer.headers["www-authenticate"]
        assert missing in answer.json()["detail"]


async def test_a_scraper_s_token_opens_the_metrics_alone(home: Home) -> None:
    """It lies about in a file, so it is good for nothing else; and what is told is of nobody's images."""
    await home.image(tags="secret", user_id=OWNER)
    headers = bearer(token("prometheus", METRICS))
    answer = await home.client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert "image_service_uploads_accepted_total 1.0" in answer.text
    assert not {"secret", OWNER, "prometheus"} & set(re.findall(r"[a-z]+", answer.text))
    for path in ("/images", "/tags", "/usage", f"/images/{NOBODY}"):
        assert (await home.client.get(path, headers=headers)).status_code == 403
    assert (await home.client.post("/images", **with_token(raw(DATA), "x"))).status_code == 201
    both = bearer(token(OWNER, f"{READ} {METRICS}"))
    assert [(await home.client.get(path, headers=both)).status_code for path in ("/images", "/metrics")] == [200, 200]


async def test_a_token_that_lasts_is_good_until_its_end(home: Home) -> None:
    within = bearer(token(OWNER, life=-dt.timedelta(seconds=50)))  # a minute of clock skew is allowed
    assert (await Call("GET", "/images").send(home, within)).status_code == 200
    assert (await Call("GET", "/images").send(home, bearer(token(OWNER, life=HOUR)))).status_code == 200


async def test_without_authentication_tokens_are_not_looked_at(client: httpx.AsyncClient) -> None:
    """As a proxy may add a header of its own."""
    for value in ("Bearer x", "Basic eDp5", "AWS4-HMAC-SHA256 Credential=x"):
        assert (await client.get("/images", headers={"Authorization": value})).status_code == 200


async def test_an_admin_s_answers_are_not_given_again_to_who_is_none(home: Home) -> None:
    """A key is good for a day, and in that time its user may have lost a scope."""
    upload = await home.upload()
    call = Call("POST", f"/uploads/{upload['image_id']}/complete", {"headers": {"Idempotency-Key": "k"}})
    first = await call.send(home, bearer(token(OTHER, ADMIN)))
    assert first.status_code == 201
    assert (await call.send(home, bearer(token(OTHER, ADMIN)))).json() == first.json()
    assert (await call.send(home, bearer(token(OTHER, WRITE)))).status_code == 404


async def test_no_cache_keeps_what_a_token_opened(home: Home) -> None:
    """The next one in the same browser may be somebody else."""
    image = await home.image()
    path = f"/images/{image['image_id']}/content"
    for scope in (WRITE, ADMIN):
        answer = await home.client.get(path, headers=bearer(token(OWNER, scope)))
        assert (answer.status_code, answer.headers["cache-control"]) == (302, "private, no-store")
    assert "max-age" in (await home.client.get(await home.signed(image))).headers["cache-control"]
