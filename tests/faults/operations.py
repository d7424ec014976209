"""What the clients of the fault suite do. An operation that was cut off is called again, as a client would retry it."""

import base64
import hashlib
import random
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.faults.ledger import TAGS, Entry, Image, Ledger, Sent, bare, same

PATIENCE = 5  # seconds, while another request with the same key is being carried out
MOST_AT_ONCE = 5  # images that are deleted by one request


class Step:
    """One operation, which is called again until it was answered: the calls after the first are retries."""

    def __init__(self, ledger: Ledger, chance: random.Random) -> None:
        self.ledger = ledger
        self.is_retry = False

    def __call__(self, http: httpx.Client) -> None:
        is_retry, self.is_retry = self.is_retry, True
        self.run(http, is_retry=is_retry)

    def run(self, http: httpx.Client, *, is_retry: bool) -> None:
        raise NotImplementedError

    def may_have_made(self, image: Image) -> bool:
        """Tell whether the image may be what came of it without being answered."""
        return False

    def adopt(self, entry: Entry) -> None:
        """Take note that the image has come of it."""
        raise NotImplementedError

    def __str__(self) -> str:
        plain = {name: value for name, value in vars(self).items() if isinstance(value, str | bool)}
        return f"{type(self).__name__} {plain}"


class Creation(Step):
    """Makes an image of a new picture."""

    def __init__(self, ledger: Ledger, chance: random.Random) -> None:
        super().__init__(ledger, chance)
        self.sent = Sent(chance, ledger.number())
        self.key = uuid.UUID(int=chance.getrandbits(128)).hex if chance.random() < 0.5 else None
        self.headers = {"Idempotency-Key": self.key} if self.key else {}
        self.returns = chance.random() < 0.3
        self.seen: Entry | None = None

    def may_have_made(self, image: Image) -> bool:
        return self.seen is None and not self.sent.differences(image)

    def adopt(self, entry: Entry) -> None:
        # Where every request makes an image, this one has nothing to do with the next.
        makes_only_one = self.returns or self.key is not None
        self.seen = entry if makes_only_one else None
        self.ledger.stored(entry, idle=not makes_only_one)

    def created(self, image: Image) -> None:
        """Take note of the answer, which has to be about the picture, and about the image that was there already."""
        assert not self.sent.differences(image), (str(self), image)
        if self.seen:
            assert self.seen.allows(image), f"{self}: answered {image}, there was {self.seen.image}"
            self.ledger.settle(self.seen, self.seen.image)
        else:
            self.ledger.stored(Entry(self.sent, image))


class Store(Creation):
    """`POST /images`, in one of the three forms, and sometimes twice at once with the same key."""

    def __init__(self, ledger: Ledger, chance: random.Random) -> None:
        super().__init__(ledger, chance)
        self.form = chance.choice(("multipart", "raw", "json"))
        self.is_twice = self.key is not None and chance.random() < 0.2

    def run(self, http: httpx.Client, *, is_retry: bool) -> None:
        if self.is_twice:
            with ThreadPoolExecutor(2) as two:
                answers = [future.result() for future in [two.submit(self._patiently, http) for _ in range(2)]]
        else:
            answers = [upload(http, self.sent, self.form, returns=self.returns, headers=self.headers)]
        # With a key it is the first answer again; without, the image of a request that was not answered is a duplicate.
        expected = (200, 201) if is_retry and self.returns and not self.key else (201,)
        for answer in answers:
            assert answer.status_code in expected, f"{self}: {answer.status_code} {answer.text}"
            assert answer.json() == answers[0].json()
        self.created(answers[0].json())

    def _patiently(self, http: httpx.Client) -> httpx.Response:
        end = time.monotonic() + PATIENCE
        while True:
            answer = upload(http, self.sent, self.form, returns=self.returns, headers=self.headers)
            if answer.status_code != 409 or time.monotonic() > end:
                return answer
            assert answer.json()["code"] == "request_in_progress", answer.text
            time.sleep(0.01)


def upload(http: httpx.Client, sent: Sent, form: str, *, returns: bool, headers: dict[str, str]) -> httpx.Response:
    """Send the picture to `POST /images` in one of its forms."""
    fields = sent.fields() | ({"on_duplicate": "return"} if returns else {})
    if form == "json":
        body = fields | {"image_data": base64.b64encode(sent.data).decode()}
        return http.post("/images", json=body, headers=headers)
    texts = fields | {"tags": ",".join(sent.tags)}
    if form == "raw":
        headers = headers | {"Content-Type": sent.content_type}
        return http.post("/images", params=texts, content=sent.data, headers=headers)
    return http.post("/images", data=texts, files={"file": ("x", sent.data)}, headers=headers)


class StoreAgain(Step):
    """Upload a picture that its owner has already, which makes no other image."""

    def __init__(self, ledger: Ledger, chance: random.Random, entry: Entry) -> None:
        super().__init__(ledger, chance)
        self.entry = entry
        self.form = chance.choice(("multipart", "raw", "json"))

    def run(self, http: httpx.Client, *, is_retry: bool) -> None:
        answer = upload(http, self.entry.sent, self.form, returns=True, headers={})
        assert answer.status_code == 200, f"{self}: {answer.status_code} {answer.text}"
        assert answer.json()["sha256"] == self.entry.sent.sha256
        self.ledger.settle(self.entry, self.entry.image)


class Direct(Creation):
    """Declare an upload, post the file as its form says, complete it; on the way send what is no picture, or cancel."""

    def __init__(self, ledger: Ledger, chance: random.Random, entry: Entry | None = None) -> None:
        """With an entry: it is that picture, so the upload becomes that image."""
        super().__init__(ledger, chance)
        self.entry = entry
        if entry:
            self.sent, self.returns = entry.sent, True
        self.upload_id: str | None = None
        self.states_sha256 = chance.random() < 0.5
        self.is_spoiled = chance.random() < 0.2
        self.is_cancelled = entry is None and chance.random() < 0.15
        self.comes_late = chance.random() < 0.1
        # How far it was answered to be, and how far it may be.
        self.is_received = self.is_done = False
        self.may_be_received = self.may_be_completed = self.may_be_cancelled = False

    def may_have_made(self, image: Image) -> bool:
        if self.entry or not self.may_be_completed or image["image_id"] != self.upload_id:
            return False
        return super().may_have_made(image)

    def adopt(self, entry: Entry) -> None:
        self.seen = entry
        self.ledger.stored(entry, idle=False)

    def run(self, http: httpx.Client, *, is_retry: bool) -> None:
        if self.is_done:  # what came late was not answered, and is of no use anyway
            return
        declared = self._declared(http)
        if declared and declared["status"] != "completed":
            self._send(http, declared["upload"])
        if self.is_cancelled:
            self._cancel(http)
        elif declared:
            self._complete(http, declared)

    def _cancel(self, http: httpx.Client) -> None:
        expected = (204, 404) if self.may_be_cancelled else (204,)
        self.may_be_cancelled = True
        answer = http.delete(f"/uploads/{self.upload_id}")
        assert answer.status_code in expected, f"{self}: {answer.status_code} {answer.text}"
        self.ledger.cancelled(str(self.upload_id))

    def _complete(self, http: httpx.Client, declared: dict[str, Any]) -> None:
        self.may_be_completed = True
        answer = http.post(f"/uploads/{self.upload_id}/complete", headers=self.headers)
        # With a key it is the first answer again; without, it tells what there is already.
        is_old = self.entry or (declared["status"] == "completed" and not self.key)
        assert answer.status_code == (200 if is_old else 201), f"{self}: {answer.status_code} {answer.text}"
        if self.entry:
            assert answer.json()["sha256"] == self.sent.sha256
            self.ledger.settle(self.entry, self.entry.image)
        else:
            assert answer.json()["image_id"] == self.upload_id
            self.created(answer.json())
        self.is_done = True
        if self.comes_late and declared["status"] != "completed":
            self._post(http, declared["upload"], self.sent.data)

    def _declared(self, http: httpx.Client) -> dict[str, Any] | None:
        """Declare the upload, or ask how far it is: no less far than was answered."""
        if self.upload_id:
            answer = http.get(f"/uploads/{self.upload_id}")
            if self.may_be_cancelled and answer.status_code == 404:
                return None
            assert answer.status_code == 200, f"{self}: {answer.status_code} {answer.text}"
            declared: dict[str, Any] = answer.json()
            possible = {
                "waiting": not self.is_received,
                "received": self.may_be_received,
                "completed": self.may_be_completed,
            }
            assert possible[declared["status"]], f"{self}: {declared}"
            return declared
        body = self.sent.fields() | {"content_type": self.sent.content_type, "size": len(self.sent.data)}
        if self.states_sha256:
            body["sha256"] = self.sent.sha256
        if self.returns:
            body["on_duplicate"] = "return"
        headers = {"Idempotency-Key": f"{self.key}-declared"} if self.key else {}
        answer = http.post("/uploads", json=body, headers=headers)
        assert answer.status_code == 201, f"{self}: {answer.status_code} {answer.text}"
        self.upload_id = answer.json()["image_id"]
        return dict(answer.json())

    def _send(self, http: httpx.Client, form: dict[str, Any]) -> None:
        if self.is_spoiled:
            self._post(http, form, b"x" * len(self.sent.data))
            answer = http.post(f"/uploads/{self.upload_id}/complete", headers=self.headers)
            assert answer.status_code in (415, 422), f"{self}: {answer.status_code} {answer.text}"
            self.is_spoiled = False
        if not self.is_received:
            self._post(http, form, self.sent.data)
            self.is_received = True

    def _post(self, http: httpx.Client, form: dict[str, Any], data: bytes) -> None:
        self.may_be_received = True
        answer = http.request(form["method"], form["url"], data=form["fields"], files={"file": ("x", data)})
        assert answer.status_code == 204, f"{self}: {answer.status_code} {answer.text}"


class Change(Step):
    """`PATCH` an image, sometimes only if it is as it was."""

    def __init__(self, ledger: Ledger, chance: random.Random, entry: Entry) -> None:
        super().__init__(ledger, chance)
        self.entry = entry
        self.patch: dict[str, Any] = {"description": f"changed by {ledger.number()}"}
        if chance.random() < 0.7:
            self.patch["tags"] = chance.sample(TAGS, chance.randrange(4)) if chance.random() < 0.9 else None
        if chance.random() < 0.3:
            self.patch["filename"] = f"{ledger.number()}.bin"
        self.after = entry.image | self.patch | {"version": entry.image["version"] + 1}
        self.after["tags"] = self.after["tags"] or []
        self.etag = f'"{entry.image_id}.{entry.image["version"]}"' if chance.random() < 0.5 else None

    def run(self, http: httpx.Client, *, is_retry: bool) -> None:
        self.entry.possible = [self.after]
        headers = {"Content-Type": "application/merge-patch+json"} | ({"If-Match": self.etag} if self.etag else {})
        answer = http.patch(f"/images/{self.entry.image_id}", json=self.patch, headers=headers)
        if is_retry and self.etag and answer.status_code == 412:
            answer = http.get(f"/images/{self.entry.image_id}")  # then it happened, and that was not answered
        assert answer.status_code == 200, f"{self}: {answer.status_code} {answer.text}"
        image = bare(answer.json())
        assert same(image, self.after), f"{self}: {image}, wants {self.after}"
        self.ledger.settle(self.entry, image)


class Remove(Step):
    """`DELETE` an image."""

    def __init__(self, ledger: Ledger, chance: random.Random, entry: Entry) -> None:
        super().__init__(ledger, chance)
        self.entry = entry

    def run(self, http: httpx.Client, *, is_retry: bool) -> None:
        self.entry.possible = [None]
        answer = http.delete(f"/images/{self.entry.image_id}")
        expected = (204, 404) if is_retry else (204,)
        assert answer.status_code in expected, f"{self}: {answer.status_code} {answer.text}"
        self.ledger.deleted(self.entry)


class RemoveMany(Step):
    """`POST /images/delete`."""

    def __init__(self, ledger: Ledger, chance: random.Random, entries: list[Entry]) -> None:
        super().__init__(ledger, chance)
        self.entries = entries
        self.headers = {"Idempotency-Key": str(chance.getrandbits(64))} if chance.random() < 0.5 else {}

    def run(self, http: httpx.Client, *, is_retry: bool) -> None:
        for entry in self.entries:
            entry.possible = [None]
        body = {"image_ids": [entry.image_id for entry in self.entries]}
        answer = http.post("/images/delete", json=body, headers=self.headers)
        assert answer.status_code == 200, f"{self}: {answer.status_code} {answer.text}"
        expected = {"deleted", "not_found"} if is_retry else {"deleted"}
        results = {result["image_id"]: result["status"] for result in answer.json()["results"]}
        assert set(results) == set(body["image_ids"]), f"{self}: {answer.text}"
        assert set(results.values()) <= expected, f"{self}: {answer.text}"
        for entry in self.entries:
            self.ledger.deleted(entry)


class Render(Step):
    """Have a rendition made of an image, which others may be about to delete."""

    def __init__(self, ledger: Ledger, chance: random.Random, entry: Entry) -> None:
        super().__init__(ledger, chance)
        self.image_id = entry.image_id
        self.parameters = {"width": chance.randrange(8, 40), "format": chance.choice(("jpeg", "png", "webp"))}

    def run(self, http: httpx.Client, *, is_retry: bool) -> None:
        answer = http.get(f"/images/{self.image_id}", params=self.parameters)
        if answer.status_code == 200:
            answer = http.get(answer.json()["url"])
        if answer.status_code != 404 or not self.ledger.may_be_gone(self.image_id):
            assert answer.status_code == 200, f"{self}: {answer.status_code} {answer.text}"


class Look(Step):
    """List images: each has its bytes, unless it is deleted by then."""

    def __init__(self, ledger: Ledger, chance: random.Random) -> None:
        super().__init__(ledger, chance)
        self.parameters = {"limit": "3", "include": "urls"}
        if chance.random() < 0.5:
            self.parameters["tags"] = chance.choice(TAGS)

    def run(self, http: httpx.Client, *, is_retry: bool) -> None:
        answer = http.get("/images", params=self.parameters)
        assert answer.status_code == 200, f"{self}: {answer.status_code} {answer.text}"
        for image in answer.json()["images"]:
            content = http.get(image["url"])
            if content.status_code == 404 and self.ledger.may_be_gone(image["image_id"]):
                continue
            assert content.status_code == 200, f"{self}: {content.status_code} {content.text}"
            assert hashlib.sha256(content.content).hexdigest() == image["sha256"]


type Maker = Callable[[Ledger, random.Random], Step | None]


def _on_image(step: Callable[[Ledger, random.Random, Entry], Step]) -> Maker:
    def make(ledger: Ledger, chance: random.Random) -> Step | None:
        taken = ledger.take(chance, 1)
        return step(ledger, chance, taken[0]) if taken else None

    return make


def _render(ledger: Ledger, chance: random.Random) -> Step | None:
    entry = ledger.any(chance)
    return Render(ledger, chance, entry) if entry else None


def _remove_many(ledger: Ledger, chance: random.Random) -> Step | None:
    entries = ledger.take(chance, chance.randint(2, MOST_AT_ONCE))
    return RemoveMany(ledger, chance, entries) if entries else None


# How often each is done.
MIX: dict[Maker, int] = {
    Store: 35,
    Direct: 20,
    _on_image(StoreAgain): 3,
    _on_image(Direct): 3,
    _on_image(Change): 15,
    _on_image(Remove): 6,
    _remove_many: 3,
    _render: 8,
    Look: 4,
}


def next_operation(ledger: Ledger, chance: random.Random) -> Step:
    """Return what was not answered, to try it again, or something new."""
    if retry := ledger.retry():
        return retry
    while True:
        (make,) = chance.choices(list(MIX), list(MIX.values()))
        if step := make(ledger, chance):
            return step
