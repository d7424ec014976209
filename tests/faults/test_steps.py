"""Every request struck at every call of a store, in every way, in both homes (`tests.support.strikes` says which).

Each strike has an owner of its own, so that what is there can be counted; each request is then repeated, as its client
would, until it is answered.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.support.emulator import Emulator
from tests.support.pictures import picture
from tests.support.strikes import DELAY, FATAL, HARMLESS
from tests.support.tally import TALLY
from tests.support.zygote import Zygote

AT_ONCE = 12  # requests that are struck, but don't take the server with them
PATIENCE = 15  # seconds in which a repeated request is answered
HOMES = ("embedded", "aws")
BUSY = (409, 502, 503)
PICTURE = picture("png", 32, 24)

type Json = dict[str, Any]


class Home:
    """A server that can be killed, and what its clients do."""

    def __init__(self, zygote: Zygote) -> None:
        self.zygote = zygote
        self.start()

    def start(self) -> None:
        self.zygote.start()
        self.http = httpx.Client(base_url=self.zygote.url, timeout=30)

    def restart(self) -> None:
        """Start again after a kill."""
        self.http.close()
        self.zygote.wait()
        self.start()

    def close(self) -> None:
        self.http.close()
        assert self.zygote.stop() == 0

    def upload(self, owner: str, **fields: str) -> Json:
        answer = self.http.post("/images", **_raw(owner, **fields))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def declare(self, owner: str, **fields: str) -> Json:
        answer = self.http.post("/uploads", json=_declaration(owner, **fields))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def images(self, owner: str) -> list[Json]:
        """Return the images of an owner, having checked that each is whole, and in the lists of its tags alone."""
        images = self._list(user_id=owner)
        for image in images:
            answer = httpx.get(image["url"])
            is_whole = (
                answer.status_code == 200
                and hashlib.sha256(answer.content).hexdigest() == image["sha256"]
                and len(answer.content) == image["size"]
                and self.http.get(f"/images/{image['image_id']}").json().get("version") == image["version"]
            )
            if not is_whole and _states([image])[0] not in _states(self._list(user_id=owner)):
                return self.images(owner)  # what was struck, and not answered, went on meanwhile
            TALLY.add("half-visible", not is_whole)
            assert is_whole, image
        for tag in ("old", "new"):
            tagged = [image for image in images if tag in image["tags"]]
            is_listed = _states(self._list(user_id=owner, tags=tag)) == _states(tagged)
            if not is_listed and _states(self._list(user_id=owner)) != _states(images):
                return self.images(owner)
            assert is_listed, (tag, images)
        return images

    def everything(self) -> list[tuple[Any, ...]]:
        return _states(self._list())

    def _list(self, **query: str) -> list[Json]:
        images: list[Json] = []
        page: Json = {"last_key": {}}
        while page["last_key"] is not None:
            last_key = {"last_key": json.dumps(page["last_key"])} if page["last_key"] else {}
            answer = self.http.get("/images", params={**query, **last_key, "include": "urls", "limit": 100})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            images += page["images"]
        return images


def _states(images: list[Json]) -> list[tuple[Any, ...]]:
    """Return what tells one state of an image from another."""
    return [(image["image_id"], image["version"], image["tags"], image["description"]) for image in images]


class Operation(NamedTuple):
    """A request, after what `prepare` did for an owner, which may be repeated; and what holds at any time after it.

    `holds` gets the owner's images and whether the request was acknowledged.
    """

    prepare: Callable[[Home, str], Json]
    send: Callable[[httpx.Client, str, Json, dict[str, str]], httpx.Response]
    holds: Callable[[list[Json], bool], bool]
    homes: tuple[str, ...] = HOMES
    deletes: bool = False  # so that 404 says that it is done


def _raw(owner: str, **fields: str) -> Json:
    return {
        "content": PICTURE,
        "params": {"user_id": owner, "tags": "old", **fields},
        "headers": {"Content-Type": "image/png"},
    }


def _declaration(owner: str, **fields: str) -> Json:
    return {"user_id": owner, "content_type": "image/png", "size": len(PICTURE), "tags": "old", **fields}


def _post_image(http: httpx.Client, owner: str, headers: dict[str, str], **fields: str) -> httpx.Response:
    request = _raw(owner, **fields)
    return http.post("/images", **{**request, "headers": {**request["headers"], **headers}})


def _sent(home: Home, owner: str, **fields: str) -> Json:
    upload = home.declare(owner, **fields)
    form = upload["upload"]
    answer = httpx.post(form["url"], data=form["fields"], files={"file": ("a.png", PICTURE)})
    assert answer.status_code == 204, answer.text
    return upload


def _two(home: Home, owner: str) -> Json:
    return {"image_ids": [home.upload(owner)["image_id"] for _ in range(2)]}


OPERATIONS = {
    "upload": Operation(
        lambda home, owner: {},
        lambda http, owner, context, headers: _post_image(http, owner, headers),
        lambda images, done: len(images) == 1 if done else len(images) <= 1,
    ),
    "the first upload of some bytes": Operation(
        lambda home, owner: {},
        lambda http, owner, context, headers: _post_image(http, owner, headers, on_duplicate="return"),
        lambda images, done: len(images) == 1 if done else len(images) <= 1,
    ),
    "upload of a duplicate": Operation(
        lambda home, owner: home.upload(owner),
        lambda http, owner, context, headers: _post_image(http, owner, headers, on_duplicate="return"),
        lambda images, done: len(images) == 1,
    ),
    "declaration": Operation(
        lambda home, owner: {},
        lambda http, owner, context, headers: http.post("/uploads", json=_declaration(owner), headers=headers),
        lambda images, done: images == [],
    ),
    "form": Operation(
        lambda home, owner: home.declare(owner),
        lambda http, owner, context, headers: http.post(
            "/objects/", data=context["upload"]["fields"], files={"file": ("a", PICTURE)}, headers=headers
        ),
        lambda images, done: images == [],
        homes=("embedded",),
    ),
    "completion": Operation(
        _sent,
        lambda http, owner, context, headers: http.post(f"/uploads/{context['image_id']}/complete", headers=headers),
        lambda images, done: len(images) == 1 if done else len(images) <= 1,
    ),
    "completion of a duplicate": Operation(
        lambda home, owner: {"first": home.upload(owner), **_sent(home, owner, on_duplicate="return")},
        lambda http, owner, context, headers: http.post(f"/uploads/{context['image_id']}/complete", headers=headers),
        lambda images, done: len(images) == 1,
    ),
    "cancellation": Operation(
        _sent,
        lambda http, owner, context, headers: http.delete(f"/uploads/{context['image_id']}", headers=headers),
        lambda images, done: images == [],
        deletes=True,
    ),
    "change": Operation(
        lambda home, owner: home.upload(owner),
        lambda http, owner, context, headers: http.patch(
            f"/images/{context['image_id']}", json={"tags": ["new"], "description": "new"}, headers=headers
        ),
        lambda images, done: (
            [(i["tags"], i["description"], i["version"]) for i in images]
            in ([[(["new"], "new", 2)]] if done else [[(["new"], "new", 2)], [(["old"], "", 1)]])
        ),
    ),
    "deletion": Operation(
        lambda home, owner: home.upload(owner),
        lambda http, owner, context, headers: http.delete(f"/images/{context['image_id']}", headers=headers),
        lambda images, done: images == [] if done else len(images) <= 1,
        deletes=True,
    ),
    "deletion of several": Operation(
        _two,
        lambda http, owner, context, headers: http.post("/images/delete", json=context, headers=headers),
        lambda images, done: images == [] if done else len(images) <= 2,
    ),
    "rendition": Operation(
        lambda home, owner: home.upload(owner),
        lambda http, owner, context, headers: http.get(
            f"/images/{context['image_id']}/content", params={"width": 8}, headers=headers
        ),
        lambda images, done: len(images) == 1,
    ),
}


@pytest.fixture(scope="module")
def homes(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Home]]:
    aws = emulator.home()
    directory: Path = tmp_path_factory.mktemp("steps")
    with ExitStack() as stack:
        homes = {}
        for name, environment in (("embedded", {}), ("aws", aws)):
            zygote = Zygote(directory / name, environment=environment, install="tests.support.strikes")
            homes[name] = Home(stack.enter_context(zygote))
        yield homes
        for home in homes.values():
            home.close()


@pytest.fixture
def home(request: pytest.FixtureRequest, homes: dict[str, Home]) -> Home:
    return homes[request.param]


def points(home: Home, operation: Operation) -> list[tuple[int, str]]:
    """Return each call that the request makes of a store, with each way in which it can be struck."""
    owner = uuid.uuid4().hex
    answer = operation.send(home.http, owner, operation.prepare(home, owner), {"X-Strike": "0:none", **_key()})
    assert answer.is_success or answer.is_redirect, answer.text
    calls = answer.headers["x-calls"].split(",")
    numbers = range(1, len(calls) + 1)
    # To be killed before a call is the same as after the one before it.
    return [(1, "kill-before"), *((number, way) for number in numbers for way in ("kill-after", *HARMLESS))]


def _key() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


class Struck:
    """One request that is struck, what is there then, and what after it was repeated."""

    def __init__(self, home: Home, operation: Operation, number: int, way: str) -> None:
        TALLY.add("points")
        self.home = home
        self.operation = operation
        self.owner = uuid.uuid4().hex
        self.key = _key()
        self.acknowledged: set[str] = set()
        self.context = operation.prepare(home, self.owner)
        done = False
        try:
            answer = self.send(**{"X-Strike": f"{number}:{way}"})
            done = self.is_acknowledged(answer)
            assert way not in FATAL, f"call {number} was not made: {answer.headers['x-calls']}"
        except httpx.TransportError:
            assert way in FATAL
            home.restart()
        self.check(done=done)

    def send(self, **headers: str) -> httpx.Response:
        return self.operation.send(self.home.http, self.owner, self.context, {**headers, **self.key})

    def is_acknowledged(self, answer: httpx.Response) -> bool:
        if answer.is_success and answer.headers.get("content-type") == "application/json":
            self.acknowledged.add(answer.json().get("image_id"))
        if '"failed"' in answer.text:  # this is how far it came: what has failed is another request
            self.key = _key()
            return False
        return answer.is_success or answer.is_redirect or (answer.status_code == 404 and self.operation.deletes)

    def repeat(self) -> None:
        """Repeat the request until it is answered."""
        end = time.monotonic() + PATIENCE
        while not self.is_acknowledged(answer := self.send()):
            assert answer.status_code in (200, *BUSY), answer.text
            assert time.monotonic() < end, answer.text
            time.sleep(0.05)
        images = self.check(done=True)
        TALLY.add("images", len(images))
        doubled = self.acknowledged - {None, *(image["image_id"] for image in images)} if images else set()
        TALLY.add("doubled", len(doubled))
        assert not doubled
        for image_id in self.acknowledged if not images else ():  # what is open is no garbage
            self.home.http.delete(f"/uploads/{image_id}")

    def check(self, *, done: bool) -> list[Json]:
        images = self.home.images(self.owner)
        holds = self.operation.holds(images, done)
        TALLY.add("lost", not holds)
        assert holds, images
        return images


@pytest.mark.parametrize(
    ("home", "name"),
    [(home, name) for home in HOMES for name, operation in OPERATIONS.items() if home in operation.homes],
    indirect=["home"],
)
def test_a_request_that_is_struck(home: Home, name: str) -> None:
    """Nothing acknowledged is lost, nothing is there by halves, and to repeat the request is to have it once."""
    operation = OPERATIONS[name]
    everything = points(home, operation)
    assert everything
    fatal = [point for point in everything if point[1] in FATAL]
    others = [point for point in everything if point[1] not in FATAL]
    with ThreadPoolExecutor(AT_ONCE) as clients:
        list(clients.map(lambda point: Struck(home, operation, *point).repeat(), others))
        struck = [Struck(home, operation, *point) for point in fatal]
        list(clients.map(Struck.repeat, struck))


@pytest.mark.parametrize("home", HOMES, indirect=True)
def test_nothing_is_left_after_reconcile(home: Home) -> None:
    """What all those strikes have left behind is found, removed, and nothing else with it."""
    time.sleep(2 * DELAY)  # the last that was late has come
    kept = home.everything()
    assert kept
    home.close()
    code, printed = home.zygote.run("reconcile", "--older-than", "0s")
    assert code == 0, printed
    code, printed = home.zygote.run("reconcile", "--older-than", "0s", "--dry-run")
    TALLY.add("left", code)
    assert (code, printed.splitlines()[-1]) == (0, "Everything agrees."), printed
    home.start()
    assert home.everything() == kept
