"""PocketBase, to compare with: its server, and a database that is filled as ours is.

Its collections are what its documentation leads to: `images` with the file and with indexes for the lists, `tags`, and
`image_tags` with a row for each tag of each picture. A relation to many in the picture itself is JSON, which no index
helps; it is there, too, so that both ways of asking can be timed.
"""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import httpx

from src.models.image import Image
from tests.support.environments import ensure_venv
from tests.support.server import ROOT, START_TIME, environment_with

PEERS = ROOT / ".venv-peers"
PROGRAM = PEERS / "bin" / "pocketbase"
EMAIL, PASSWORD = "bench@example.com", "only-for-this-run"
THUMBNAIL = "320x0"
FILENAME = "picture.jpg"
LINKS = 30_000  # to a copy, from each contestant: a file can have some 65,000

_ANYBODY = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), "")
_CREATED = {"name": "created", "type": "autodate", "onCreate": True, "onUpdate": False}


class PocketBase:
    """A server. A context that ends it."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self._directory = directory
        self._environment = environment_with(**environment)

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.process = subprocess.Popen(  # noqa: S603 - of the bench's own environment
            [PROGRAM, "serve", "--dir", self._directory, "--http", self.address],
            stdout=subprocess.DEVNULL,
            env=self._environment,
        )
        self.http = httpx.Client(base_url=f"http://{self.address}", timeout=60)
        end = time.monotonic() + START_TIME
        while not self._is_ready():
            if time.monotonic() > end:
                raise SystemExit("PocketBase does not start.")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        self.http.close()

    def _is_ready(self) -> bool:
        try:
            return self.http.get("/api/health").is_success
        except httpx.TransportError:
            return False

    def create(self, name: str, **collection: Any) -> str:
        """Make a collection that anybody may read and write, and return its id."""
        collection_id: str = self._ask(
            "POST", "/api/collections", {"name": name, "type": "base", **_ANYBODY, **collection}
        )["id"]
        return collection_id

    def allow_batches(self) -> None:
        """Let several records be made in one request and transaction, which is off by default."""
        self._ask("PATCH", "/api/settings", {"batch": {"enabled": True, "maxRequests": 50, "timeout": 30}})

    def _ask(self, method: str, path: str, content: dict[str, Any]) -> Any:
        identity = {"identity": EMAIL, "password": PASSWORD}
        answer = self.http.post("/api/collections/_superusers/auth-with-password", json=identity)
        headers = {"Authorization": answer.raise_for_status().json()["token"]}
        answer = self.http.request(method, path, json=content, headers=headers)
        if not answer.is_success:
            raise SystemExit(f"PocketBase: {answer.text}")
        return answer.json()


def make(directory: Path, images: Sequence[Image], file: Path) -> None:
    """Make a database with these images, each with a hard link to the same file."""
    ensure_venv(PEERS, ROOT / "requirements" / "peers.txt")
    upsert = [PROGRAM, "superuser", "upsert", EMAIL, PASSWORD, "--dir", directory]
    subprocess.run(upsert, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - as above
    with PocketBase(directory) as server:
        collection = _make_collections(server)
        server.allow_batches()
    with closing(sqlite3.connect(directory / "data.db")) as connection, connection:
        tags = sorted({tag for image in images for tag in image.tags})
        connection.executemany("INSERT INTO tags (id, name) VALUES (?, ?)", [(tag_id(tag), tag) for tag in tags])
        for number, image in enumerate(images):
            moment = image.created_at.strftime("%F %T.%f")[:-3] + "Z"
            connection.execute(
                "INSERT INTO images (id, file, user, description, tags, created) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    record_id(number),
                    FILENAME,
                    image.user_id,
                    image.description,
                    json.dumps([tag_id(tag) for tag in image.tags]),
                    moment,
                ),
            )
            connection.executemany(
                "INSERT INTO image_tags (image, tag, created) VALUES (?, ?, ?)",
                [(record_id(number), tag, moment) for tag in image.tags],
            )
        connection.execute("ANALYZE")
    attributes = file.with_suffix(".attrs")
    attributes.write_text('{"user.content_type": "image/jpeg"}')
    for number in range(len(images)):
        path = directory / "storage" / collection / record_id(number) / FILENAME
        path.parent.mkdir(parents=True)
        link(file, path, number)
        link(attributes, path.with_name(f"{FILENAME}.attrs"), number)


def record_id(number: int) -> str:
    return f"p{number:014}"


def tag_id(tag: str) -> str:
    return f"{tag:0<15}"


def link(file: Path, path: Path, number: int) -> None:
    """Link a new path to a file, or to a copy of it where that has enough links."""
    copy = file.with_name(f"{number // LINKS}-{file.name}")
    if not copy.exists():
        shutil.copyfile(file, copy)
    os.link(copy, path)


def _make_collections(server: PocketBase) -> str:
    tags = server.create(
        "tags",
        fields=[{"name": "name", "type": "text"}],
        indexes=["CREATE UNIQUE INDEX tags_by_name ON tags (name)"],
    )
    pictures = server.create(
        "images",
        fields=[
            {"name": "file", "type": "file", "maxSelect": 1, "maxSize": 20_000_000, "thumbs": [THUMBNAIL]},
            {"name": "user", "type": "text"},
            {"name": "description", "type": "text"},
            {"name": "tags", "type": "relation", "collectionId": tags, "maxSelect": 50},
            _CREATED,
        ],
        indexes=[
            "CREATE INDEX images_by_time ON images (created)",
            "CREATE INDEX images_by_user ON images (user, created)",
        ],
    )
    server.create(
        "image_tags",
        fields=[
            {"name": "image", "type": "relation", "collectionId": pictures, "maxSelect": 1},
            {"name": "tag", "type": "text"},
            _CREATED,
        ],
        indexes=[
            "CREATE INDEX image_tags_by_tag ON image_tags (tag, created)",
            "CREATE INDEX image_tags_by_image ON image_tags (image)",
        ],
    )
    return pictures
