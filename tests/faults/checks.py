"""What is there after a crash, against what clients have been told."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
from PIL import Image as Pictures

from src.models.image import original_key
from tests.faults.ledger import TAGS, USERS, Entry, Image, Ledger, bare
from tests.support.tally import TALLY, What


class Wrong(AssertionError):
    """What the checks have found, by kind."""

    def __init__(self, found: list[tuple[What, str]]) -> None:
        super().__init__("\n".join(f"{kind}: {text}" for kind, text in found[:20]))


class Checks:
    """Of one data directory. Everything that is wrong goes into the tally, and is then raised."""

    def __init__(self, ledger: Ledger, data_dir: Path) -> None:
        self.ledger = ledger
        self._objects = data_dir / "objects"
        self._found: list[tuple[What, str]] = []
        self._seen_gone: set[str] = set()

    def after_start(self, http: httpx.Client, *, every_byte: bool) -> dict[str, Image]:
        """Check everything that can be seen; with `every_byte` get all images, and not only those that are new.

        Returns what is listed.
        """
        listed = everything(http)
        self._check_promises(listed)
        self._adopt(listed)
        self._check_lists(http, listed)
        for image_id, image in listed.items():
            self._check_file(image)
            entry = self.ledger.entries.get(image_id)
            if every_byte or entry is None or not entry.is_checked:
                self._check_image(http, image, entry)
        for image_id in self.ledger.gone - self._seen_gone:
            self._expect(http.get(f"/images/{image_id}").status_code == 404, "half-visible", f"{image_id} is deleted")
        self._seen_gone = set(self.ledger.gone)
        self._report()
        return listed

    def after_reconcile(self, listed: dict[str, Image]) -> None:
        """Check that the files are the originals of the images that are there, and renditions of them; nothing else."""
        files = {path.relative_to(self._objects).as_posix() for path in self._objects.rglob("*") if path.is_file()}
        originals = {original_key(image["image_id"], image["content_type"]) for image in listed.values()}
        for key in originals - files:
            self._wrong("lost", f"{key} is missing")
        for key in files - originals:
            image_id = key.split("/")[2] if key.count("/") == 3 else ""
            if key.startswith("renditions/") and image_id in listed and "#" not in key:
                with Pictures.open(self._objects / key) as rendition:
                    rendition.load()
            else:
                self._wrong("left", key)
        self._report()

    def _check_promises(self, listed: dict[str, Image]) -> None:
        """What was acknowledged is there as it was answered, and what was deleted is not."""
        for image_id, entry in self.ledger.entries.items():
            image = listed.get(image_id)
            self._expect(entry.allows(image), "lost", f"{image} was answered as {entry.image}, or {entry.possible}")
        for image_id in self.ledger.gone & listed.keys():
            self._wrong("half-visible", f"{image_id} is deleted, but listed")

    def _adopt(self, listed: dict[str, Image]) -> None:
        """Take what nobody was told of as an image, if there is an unanswered request that it may be of."""
        for image_id in listed.keys() - self.ledger.entries.keys() - self.ledger.gone:
            image = listed[image_id]
            made = [operation for operation in self.ledger.unanswered if operation.may_have_made(image)]
            if made:
                made[0].adopt(Entry(made[0].sent, image))  # type: ignore[attr-defined]
            else:
                is_known = any(entry.sent.sha256 == image["sha256"] for entry in self.ledger.entries.values())
                self._wrong("doubled" if is_known else "half-visible", f"nobody has made {image}")

    def _check_lists(self, http: httpx.Client, listed: dict[str, Image]) -> None:
        """Lists by owner and by tag, and all counts, agree with the list of all."""
        images = listed.values()
        for user_id in USERS:
            own = _chosen(listed, lambda image, user_id=user_id: image["user_id"] == user_id)
            self._same(everything(http, user_id=user_id), own, f"images of {user_id}")
            self._same(_tags(http, user_id=user_id), _count_tags(own.values()), f"tags of {user_id}")
            self._same(_get(http, "/usage", user_id=user_id), _count(own.values()), f"usage of {user_id}")
        for tag in TAGS:
            tagged = _chosen(listed, lambda image, tag=tag: tag in image["tags"])
            self._same(everything(http, tags=tag), tagged, f"images with {tag}")
        self._same(_tags(http), _count_tags(images), "tags")
        self._same(_get(http, "/usage"), _count(images), "usage")

    def _check_image(self, http: httpx.Client, image: Image, entry: Entry | None) -> None:
        answer = http.get(f"/images/{image['image_id']}")
        self._expect(answer.status_code == 200, "half-visible", f"{image}: {answer.text}")
        self._same(bare(answer.json()), image, image["image_id"])
        content = http.get(answer.json()["url"])
        is_whole = content.status_code == 200 and _is_of(content.content, image)
        self._expect(is_whole, "half-visible", f"{image}: {content.status_code}")
        if entry and not entry.is_checked:
            self._expect(content.content == entry.sent.data, "lost", f"{image} has other bytes")
            entry.is_checked = True
            TALLY.add("images")

    def _check_file(self, image: Image) -> None:
        path = self._objects / original_key(image["image_id"], image["content_type"])
        self._expect(path.is_file() and _is_of(path.read_bytes(), image), "half-visible", f"the file of {image}")

    def _same(self, found: object, expected: object, what: str) -> None:
        self._expect(found == expected, "half-visible", f"{what}: {found}, wants {expected}")

    def _expect(self, holds: bool, kind: What, text: str) -> None:
        if not holds:
            self._wrong(kind, text)

    def _wrong(self, kind: What, text: str) -> None:
        TALLY.add(kind)
        self._found.append((kind, text))

    def _report(self) -> None:
        if self._found:
            raise Wrong(self._found)


def everything(http: httpx.Client, **filters: str) -> dict[str, Image]:
    """Return all images that the filters let through, by id, from all pages."""
    return {image["image_id"]: image for image in _pages(http, "/images", "images", filters)}


def _tags(http: httpx.Client, **filters: str) -> dict[str, int]:
    return {tag["tag"]: tag["count"] for tag in _pages(http, "/tags", "tags", filters)}


def _pages(http: httpx.Client, path: str, name: str, filters: dict[str, str]) -> Iterable[dict[str, Any]]:
    answer = http.get(path, params={"limit": "100", **filters})
    while True:
        assert answer.status_code == 200, answer.text
        yield from answer.json()[name]
        if "next" not in answer.links:
            return
        answer = http.get(answer.links["next"]["url"])


def _get(http: httpx.Client, path: str, **parameters: str) -> dict[str, int]:
    answer = http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _chosen(listed: dict[str, Image], condition: Callable[[Image], bool]) -> dict[str, Image]:
    return {image_id: image for image_id, image in listed.items() if condition(image)}


def _count(images: Iterable[Image]) -> dict[str, int]:
    sizes = [image["size"] for image in images]
    return {"images": len(sizes), "bytes": sum(sizes)}


def _count_tags(images: Iterable[Image]) -> dict[str, int]:
    return dict(Counter(tag for image in images for tag in image["tags"]))


def _is_of(data: bytes, image: Image) -> bool:
    return len(data) == image["size"] and hashlib.sha256(data).hexdigest() == image["sha256"]
