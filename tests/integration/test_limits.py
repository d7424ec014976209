"""How much one caller may ask for, and from which web sites."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette

from src.bootstrap import build_services
from src.common.config import Settings
from src.handlers.app import create_app
from tests.support.api import assert_problem, raw, uploaded
from tests.support.pictures import picture
from tests.support.tokens import SECRET, bearer, token, unsigned
from tests.support.uploads import declared, receive, send

pytestmark = pytest.mark.anyio

SECRET_ONLY = {"AUTH_SECRET": SECRET}
PNG = picture("png")


class Home:
    """Applications, and clients of them at any address."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self._directory, self._stack = directory, stack

    def app(self, environment: dict[str, str] = SECRET_ONLY, **options: Any) -> Starlette:
        settings = Settings.from_environment({"DATA_DIR": str(self._directory / "data"), **environment})
        services = build_services(settings)
        self._stack.push_async_callback(services.close)
        return create_app(services, **options)

    def client(self, app: Starlette, user: str = "", *, address: str = "192.0.2.1") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, client=(address, 12345))
        headers = bearer(token(user, "images:admin")) if user else {}
        return httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers)


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Home]:
    start = math.floor(time.time())
    monkeypatch.setattr("throttled.utils.now_sec", lambda: start)  # no bucket fills unless the test says so
    async with AsyncExitStack() as stack:
        yield Home(tmp_path, stack)


def sleep(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    now = math.floor(time.time()) + seconds + 1
    monkeypatch.setattr("throttled.utils.now_sec", lambda: now)


async def statuses(client: httpx.AsyncClient, number: int, path: str = "/usage", **options: Any) -> Counter[int]:
    return Counter([(await client.get(path, **options)).status_code for _ in range(number)])


def assert_too_many(answer: httpx.Response, code: str = "too_many_requests") -> None:
    assert_problem(answer, 429, code)
    assert int(answer.headers["retry-after"]) == 1
    assert "www-authenticate" not in answer.headers


LIMITED = {**SECRET_ONLY, "RATE_LIMIT": "2", "RATE_BURST": "5"}


async def test_requests_of_a_user(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever token and address; and nobody else feels it."""
    app = home.app(LIMITED)
    ann, elsewhere = home.client(app, "ann"), home.client(app, "ann", address="2001:db8::1")
    assert await statuses(ann, 5) == {200: 5}
    assert_too_many(await ann.get("/usage"))
    assert_too_many(await elsewhere.get("/images"))
    assert_too_many(await ann.get("/images/x", headers=bearer(token("ann", "images:read"))))
    assert_too_many(await ann.post("/images", **raw(PNG)))
    assert_too_many(await ann.delete("/images/x"))
    for other in (home.client(app, "bob"), home.client(app, "Ann", address="192.0.2.7")):
        assert await statuses(other, 6) == {200: 5, 429: 1}
    sleep(monkeypatch, 1)
    assert (await statuses(ann, 10))[200] >= 2


async def test_whoever_may_not_is_counted_too(home: Home) -> None:
    ann = home.client(home.app(LIMITED))
    answers = [await ann.get("/usage", headers=bearer(token("ann", "openid"))) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [403] * 5 + [429]


@pytest.mark.parametrize(
    "header",
    [
        lambda number: {},
        lambda number: {"Authorization": "Basic eDp5"},
        lambda number: bearer("x"),
        lambda number: bearer(unsigned(f"ann-{number}")),
        lambda number: bearer(token(f"ann-{number}", secret=f"a secret that somebody tries, the {number}th of many")),
    ],
)
async def test_bad_tokens_are_counted_by_address(header: Callable[[int], dict[str, str]], home: Home) -> None:
    """Trying another one each time is no way around; and whoever has a good one there is not locked out."""
    app = home.app(LIMITED)
    stranger = home.client(app)
    answers = [await stranger.get("/usage", headers=header(number)) for number in range(7)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
    assert_too_many(answers[-1])
    assert await statuses(home.client(app, "ann-1"), 5) == {200: 5}
    assert (await home.client(app, address="192.0.2.2").get("/usage")).status_code == 401


async def test_a_bad_token_says_nothing_of_whose_it_is(home: Home) -> None:
    """Nobody uses up what somebody else may ask for by tokens in that name."""
    app = home.app(LIMITED)
    assert await statuses(home.client(app), 20, headers=bearer(unsigned("ann"))) == {401: 5, 429: 15}
    named = bearer(token("address 192.0.2.9"))  # no user id
    assert await statuses(home.client(app, address="192.0.2.3"), 7, headers=named) == {401: 5, 429: 2}
    assert await statuses(home.client(app, "ann"), 5) == {200: 5}
    assert await statuses(home.client(app, address="192.0.2.9"), 5) == {401: 5}


async def test_links_and_forms_are_counted_by_address(home: Home) -> None:
    app = home.app(LIMITED)
    ann = home.client(app, "ann")
    await uploaded(ann)
    upload = await declared(ann)
    url = (await ann.get("/images?include=urls")).json()["images"][0]["thumbnail_url"]
    follower, other = home.client(app), home.client(app, address="192.0.2.2")
    assert await statuses(follower, 7, url) == {302: 5, 429: 2}
    assert_too_many(await send(follower, upload))
    assert (await send(other, upload)).status_code == 204
    assert (await ann.get("/usage")).status_code == 200


async def test_what_takes_no_token_is_not_counted(home: Home) -> None:
    """Above all what a load balancer asks."""
    client = home.client(home.app(LIMITED))
    for path in ("/healthz", "/readyz", "/limits", "/openapi.json", "/docs"):
        assert await statuses(client, 7, path) == {200: 7}


async def test_the_limits_where_nothing_is_said(home: Home) -> None:
    """They are there where tokens are asked for."""
    ann = home.client(home.app(SECRET_ONLY), "ann")
    assert await statuses(ann, 201) == {200: 200, 429: 1}


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({}, {}),
        ({**SECRET_ONLY, "RATE_LIMIT": "0"}, {}),
        ({**SECRET_ONLY, "RATE_LIMIT": "1", "RATE_BURST": "1"}, {"behind_gateway": True}),
    ],
)
async def test_no_limits(environment: dict[str, str], options: dict[str, Any], home: Home) -> None:
    """An open service has none unless it is told to, and behind a gateway it is the gateway's task."""
    assert await statuses(home.client(home.app(environment, **options), "ann"), 210) == {200: 210}


async def test_limits_of_an_open_service(home: Home) -> None:
    """By address, since nobody is asked who they are: a token that nobody looks at makes no difference."""
    app = home.app({"RATE_LIMIT": "1", "RATE_BURST": "3"})
    assert await statuses(home.client(app), 3) == {200: 3}
    assert_too_many(await home.client(app).get("/usage"))
    assert_too_many(await home.client(app, "ann").get("/usage"))
    assert await statuses(home.client(app, address="192.0.2.2"), 3) == {200: 3}


# Uploads.


class Uploading:
    """An upload whose body comes to a stop in the middle, until it is told to go on or away."""

    def __init__(self, client: httpx.AsyncClient, data: bytes = PNG) -> None:
        self._goes_on = asyncio.Event()
        self.has_begun = asyncio.Event()
        self.is_gone = False
        self._data = data
        self.task = asyncio.create_task(
            client.post("/images", content=self._body(), headers={"Content-Type": "image/png"})
        )

    async def _body(self) -> AsyncIterator[bytes]:
        yield self._data[:10]
        self.has_begun.set()
        await self._goes_on.wait()
        if self.is_gone:
            raise ConnectionResetError
        yield self._data[10:]

    async def end(self) -> int:
        self._goes_on.set()
        return (await self.task).status_code


async def begin(client: httpx.AsyncClient, number: int = 1, data: bytes = PNG) -> list[Uploading]:
    uploads = [Uploading(client, data) for _ in range(number)]
    for upload in uploads:
        await upload.has_begun.wait()
    return uploads


BUSY = {**SECRET_ONLY, "RATE_LIMIT": "0", "MAX_CONCURRENT_UPLOADS": "2"}


async def test_uploads_at_once(home: Home) -> None:
    """Of each user; whoever has too many may still look, and others may still upload."""
    app = home.app(BUSY)
    ann, bob = home.client(app, "ann"), home.client(app, "bob")
    first, second = await begin(ann, 2)
    assert_too_many(await ann.post("/images", **raw(PNG)), "too_many_uploads")
    assert_too_many(await home.client(app, "ann", address="192.0.2.2").post("/images", **raw(PNG)), "too_many_uploads")
    assert_too_many(
        await ann.post("/images", files={"file": ("a.png", PNG)}, headers={"Idempotency-Key": "k"}), "too_many_uploads"
    )
    assert await statuses(ann, 3) == {200: 3}
    await uploaded(bob)
    assert await first.end() == 201
    await uploaded(ann)
    assert await second.end() == 201
    for _ in range(3):
        await uploaded(ann)
    assert app.state.allowances.uploads._under_way == {}


async def test_direct_uploads_count_when_they_are_verified(home: Home) -> None:
    app = home.app(BUSY)
    ann = home.client(app, "ann")
    upload = await declared(ann)
    await receive(app, upload)
    uploads = await begin(ann, 2)
    assert_too_many(await ann.post(f"/uploads/{upload['image_id']}/complete"), "too_many_uploads")
    assert [await each.end() for each in uploads] == [201, 201]
    assert (await ann.post(f"/uploads/{upload['image_id']}/complete")).status_code == 201


async def test_what_is_refused_frees_its_slot(home: Home) -> None:
    app = home.app({**BUSY, "MAX_CONCURRENT_UPLOADS": "1", "MAX_IMAGE_SIZE": "10000"})
    ann = home.client(app, "ann")
    for options, status in (
        (raw(b"no picture"), 415),
        (raw(PNG[:60], "image/png"), 422),
        (raw(b""), 400),
        (raw(PNG * 1_000), 413),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"json": {"image_data": "!"}}, 400),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
    ):
        assert (await ann.post("/images", **options)).status_code == status
    (bad,) = await begin(ann, data=b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert await bad.end() == 422
    assert app.state.allowances.uploads._under_way == {}
    await uploaded(ann)


async def test_a_client_that_goes_away_frees_its_slot(home: Home) -> None:
    """In the middle of its body, and also if the server breaks the request off."""
    app = home.app({**BUSY, "MAX_CONCURRENT_UPLOADS": "1"})
    for _ in range(2):
        async with Left(app, "ann"):
            assert app.state.allowances.uploads._under_way == {"user ann": 1}
            assert_too_many(await home.client(app, "ann").post("/images", **raw(PNG)), "too_many_uploads")
        assert app.state.allowances.uploads._under_way == {}
    (cut,) = await begin(home.client(app, "ann"))
    cut.task.cancel()
    await asyncio.wait([cut.task])
    assert app.state.allowances.uploads._under_way == {}
    await uploaded(home.client(app, "ann"))


class Left:
    """A context in which an upload is under way, whose client is gone when it ends."""

    def __init__(self, app: Starlette, user: str) -> None:
        self._app, self._user = app, user

    async def __aenter__(self) -> None:
        self._leaves, reading = anyio.Event(), anyio.Event()
        messages = iter([{"type": "http.request", "body": PNG[:10], "more_body": True}])

        async def receive() -> dict[str, Any]:
            if message := next(messages, None):
                return message
            reading.set()
            await self._leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pytest.fail("nobody is there")

        headers = {"host": "testserver", "content-type": "image/png", **bearer(token(self._user))}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/images",
            "raw_path": b"/images",
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "server": ("testserver", 80),
            "client": ("192.0.2.1", 12345),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self._task = asyncio.create_task(self._app(scope, receive, send))  # type: ignore[arg-type]
        await reading.wait()

    async def __aexit__(self, *_: object) -> None:
        self._leaves.set()
        await self._task


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({}, {}),
        ({**SECRET_ONLY, "MAX_CONCURRENT_UPLOADS": "0"}, {}),
        ({**SECRET_ONLY, "MAX_CONCURRENT_UPLOADS": "1"}, {"behind_gateway": True}),
    ],
)
async def test_any_number_of_uploads(environment: dict[str, str], options: dict[str, Any], home: Home) -> None:
    uploads = await begin(home.client(home.app(environment, **options), "ann"), 20)
    assert {await each.end() for each in uploads} == {201}


async def test_uploads_where_nothing_is_said(home: Home) -> None:
    ann = home.client(home.app(SECRET_ONLY), "ann")
    uploads = await begin(ann, 16)
    assert_too_many(await ann.post("/images", **raw(PNG)), "too_many_uploads")
    assert {await each.end() for each in uploads} == {201}


# More than one header, and other sites.


async def test_two_headers_with_tokens(home: Home) -> None:
    """Which of them counted would depend on who reads it."""
    client = home.client(home.app())
    good, bad = bearer(token("ann"))["Authorization"], bearer("x")["Authorization"]
    for values in ([good, good], [good, bad], [bad, good], ["", good]):
        answer = await client.get("/usage", headers=[("Authorization", value) for value in values])
        assert_problem(answer, 401, "token_invalid")
    assert_problem(await client.get(f"/usage?access_token={token('ann')}"), 401, "token_missing")


FOREIGN = (
    "https://evil.example.com", "null", "", "http://testserver.evil.example.com", "http://eviltestserver",
    "http://testserver:81", "http://testserver@evil.example.com", "http://[::1", "http://[", "http://a]", "//", "x",
    "http://testserver, http://evil.example.com", "http://\xff", "https://app.example.com.evil.example.com",
)  # fmt: skip


@pytest.mark.parametrize("origin", FOREIGN)
async def test_pages_of_other_sites(origin: str, home: Home) -> None:
    """They could have a browser send this to a service on its own machine without asking us before."""
    client = home.client(home.app({"CORS_ALLOW_ORIGINS": "https://app.example.com"}))
    headers = [("Origin", origin.encode("latin-1")), ("Content-Type", "image/png")]
    for method, path in (("POST", "/images"), ("POST", "/uploads"), ("PATCH", "/images/x"), ("DELETE", "/images/x")):
        answer = await client.request(method, path, content=PNG, headers=headers)  # type: ignore[arg-type]
        assert_problem(answer, 403, "origin_refused")
        assert "access-control-allow-origin" not in answer.headers
    assert (await client.get("/images")).json()["count"] == 0


@pytest.mark.parametrize("origin", [None, "http://testserver", "https://app.example.com"])
async def test_pages_that_may(origin: str | None, home: Home) -> None:
    client = home.client(home.app({"CORS_ALLOW_ORIGINS": "https://app.example.com"}))
    options = raw(PNG)
    options["headers"] |= {"Origin": origin} if origin else {}
    assert (await client.post("/images", **options)).status_code == 201


async def test_with_tokens_the_origin_does_not_matter(home: Home) -> None:
    options = raw(PNG)
    options["headers"]["Origin"] = "https://evil.example.com"
    assert (await home.client(home.app(), "ann").post("/images", **options)).status_code == 201
    assert (await home.client(home.app()).post("/images", **options)).status_code == 401
