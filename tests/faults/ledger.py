"""What clients have sent and been told: what has to be there after a crash, what may, and what must not."""

import hashlib
import random
import struct
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

import httpx

from tests.support.pictures import ENCODERS, noise, picture

type Image = dict[str, Any]  # as the API describes it

USERS = ("ann", "bob", "anonymous")
TAGS = ("cat", "dog", "night", "sea", "ünïcode")
PADDINGS = (16, 16, 16, 3_000, 60_000)  # bytes
LARGE = 1_200_000  # bytes: more than the service keeps in memory
ON_THE_WAY = ("url", "thumbnail_url", "expires_at")  # what an answer has besides the image


@cache
def _pictures() -> tuple[tuple[str, bytes], ...]:
    made = [(name, picture(name, *size)) for name in ENCODERS for size in ((40, 30), (120, 90))]
    return (*made, ("jpeg", noise(160, 120, "jpeg")), ("png", noise(80, 60)))


class Sent:
    """A picture like no other, and the fields that are sent with it."""

    def __init__(self, chance: random.Random, number: int) -> None:
        name, data = chance.choice(_pictures())
        size = LARGE if number % 50 == 7 else chance.choice(PADDINGS)
        # A box that AVIF has for what is to be skipped; the other formats don't mind what follows their end.
        self.data = data + struct.pack(">I4s", 8 + size, b"free") + chance.randbytes(16) + bytes(size - 16)
        self.content_type = f"image/{name}"
        self.sha256 = hashlib.sha256(self.data).hexdigest()
        self.user_id = chance.choice(USERS)
        self.tags = chance.sample(TAGS, chance.randrange(4))
        self.description = f"number {number}"
        self.filename = f"ä {number}.bin"

    def fields(self) -> dict[str, Any]:
        return {
            "user_id": self.user_id,
            "tags": self.tags,
            "description": self.description,
            "filename": self.filename,
        }

    def differences(self, image: Image) -> list[str]:
        """Return in which fields the image is not what was sent."""
        expected = self.fields() | {"size": len(self.data), "sha256": self.sha256, "content_type": self.content_type}
        return [name for name, value in expected.items() if image[name] != value]


class Entry:
    """An image as last answered, and what else an unanswered request may have made of it (None: it is gone)."""

    def __init__(self, sent: Sent, image: Image) -> None:
        self.sent = sent
        self.image = image
        self.possible: list[Image | None] = []
        self.is_checked = False

    @property
    def image_id(self) -> str:
        return str(self.image["image_id"])

    def allows(self, image: Image | None) -> bool:
        if image == self.image:
            return True
        return any(image == other or (image and other and same(image, other)) for other in self.possible)


def same(image: Image, other: Image) -> bool:
    """Tell whether two images are the same but for the moment of a change."""
    return {**image, "updated_at": None} == {**other, "updated_at": None}


def bare(answer: Mapping[str, Any]) -> Image:
    return {name: value for name, value in answer.items() if name not in ON_THE_WAY}


class Operation(Protocol):
    def __call__(self, http: httpx.Client) -> None:
        """Do it, or try again. Raises httpx.TransportError if it was not answered."""

    def may_have_made(self, image: Image) -> bool: ...

    def adopt(self, entry: Entry) -> None: ...


class Ledger:
    """All that clients have been told. One operation at a time has hold of an image."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.gone: set[str] = set()
        self.unanswered: list[Operation] = []
        self._idle: list[Entry] = []
        self._numbers = 0
        self._lock = threading.Lock()

    def number(self) -> int:
        with self._lock:
            self._numbers += 1
            return self._numbers

    def retry(self) -> Operation | None:
        """Return what was not answered and nobody is trying again, if there is any such thing."""
        with self._lock:
            return self.unanswered.pop() if self.unanswered else None

    def put_off(self, operation: Operation) -> None:
        with self._lock:
            self.unanswered.append(operation)

    def take(self, chance: random.Random, count: int) -> list[Entry]:
        """Take hold of up to so many images."""
        with self._lock:
            taken = chance.sample(self._idle, min(count, len(self._idle)))
            self._idle = [entry for entry in self._idle if entry not in taken]
            return taken

    def any(self, chance: random.Random) -> Entry | None:
        """Return some image, whoever has hold of it."""
        with self._lock:
            return chance.choice(list(self.entries.values())) if self.entries else None

    def stored(self, entry: Entry, *, idle: bool = True) -> None:
        """Take note of a new image."""
        with self._lock:
            self.entries[entry.image_id] = entry
            if idle:
                self._idle.append(entry)

    def settle(self, entry: Entry, image: Image) -> None:
        """Take note of what an image is now, and let go of it."""
        with self._lock:
            entry.image, entry.possible = image, []
            self._idle.append(entry)

    def deleted(self, entry: Entry) -> None:
        with self._lock:
            del self.entries[entry.image_id]
            self.gone.add(entry.image_id)

    def may_be_gone(self, image_id: str) -> bool:
        with self._lock:
            entry = self.entries.get(image_id)
            return image_id in self.gone or (entry is not None and None in entry.possible)

    def cancelled(self, image_id: str) -> None:
        """Take note that there will be no image with this id."""
        with self._lock:
            self.gone.add(image_id)
